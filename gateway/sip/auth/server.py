"""Digest arithmetic and server-side authentication (RFC 7616, RFC 8760, RFC 3261 section 22).

The server keeps no state per challenge: the nonce carries its time stamp and an HMAC. Against replay, the server keeps
used nonce counts in bounded memory. Secrets and time are arguments; HA1 values suffice, passwords are never needed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import AuthValue

_HASHES: Mapping[str, Callable[[bytes], str]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}
PREFERENCE = ("SHA-512-256", "SHA-256", "MD5")
"""Known algorithms, strongest first."""

_EARLY = 1.0
"""Seconds by which a nonce's time stamp may lie in the future."""
_STAMP = 6
"""Octets of the nonce's time stamp in ms."""
_MAKER = 2
"""Octets of the nonce that identify the issuing gateway."""
_MARK = 1
"""Octets of the nonce that identify the issuing process and its clock setting."""
_SALT = 1
"""Octets of the nonce that distinguish nonces of the same millisecond."""
_HEAD = _STAMP + _MAKER + _MARK + _SALT
"""Octets of the nonce covered by the HMAC."""
_SEAL = 8
"""Octets of the nonce's HMAC."""
_NONCE_LENGTH = 24

_QUOTED = frozenset(("realm", "nonce", "opaque", "domain", "username", "uri", "response", "cnonce"))


def hash_of(algorithm: str, text: str) -> str:
    """Return the hex digest of `text` under "MD5", "SHA-256" or "SHA-512-256"; a "-sess" suffix is ignored."""
    try:
        return _HASHES[_base(algorithm)](text.encode())
    except KeyError:
        raise SipBuildError("digest algorithm is not known") from None


def _base(algorithm: str) -> str:
    upper = algorithm.upper()
    return upper.removesuffix("-SESS")


def ha1_of(algorithm: str, username: str, realm: str, password: str) -> str:
    """Return H(username:realm:password), stored instead of the password (RFC 7616 3.4.2)."""
    return hash_of(algorithm, f"{username}:{realm}:{password}")


@dataclass(frozen=True, slots=True)
class DigestInput:
    """Inputs of a digest response besides HA1."""

    algorithm: str
    nonce: str
    method: str
    uri: str
    qop: str | None = None
    """ "auth", "auth-int" or None for RFC 2069 style."""
    cnonce: str = ""
    nc: str = ""
    """Eight hex digits."""
    body: bytes = b""


def response_of(ha1: str, given: DigestInput) -> str:
    """Compute the digest response (RFC 7616 3.4.1)."""
    algorithm = given.algorithm
    if algorithm.upper().endswith("-SESS"):
        ha1 = hash_of(algorithm, f"{ha1}:{given.nonce}:{given.cnonce}")
    a2 = f"{given.method}:{given.uri}"
    if given.qop == "auth-int":
        a2 += f":{_HASHES[_base(algorithm)](given.body)}"
    ha2 = hash_of(algorithm, a2)
    if given.qop is None:
        return hash_of(algorithm, f"{ha1}:{given.nonce}:{ha2}")
    return hash_of(algorithm, f"{ha1}:{given.nonce}:{given.nc}:{given.cnonce}:{given.qop}:{ha2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoncePolicy:
    """Lifetime and replay memory of nonces."""

    lifetime: float = 300.0
    """Seconds after which a nonce is stale."""
    remembered: int = 50_000
    """Used nonces kept against replay. The oldest is dropped first; from then on, nonces of its age or older are stale.
    """


@dataclass(frozen=True, slots=True)
class Nonces:
    """Nonces: time stamp, maker, mark, salt, and an HMAC over these octets, the realm and the source.

    24 characters: the nonce is the largest part of a challenge, which must not outweigh a phone's shortest REGISTER.
    """

    secret: bytes = field(repr=False)
    """At least 16 random bytes, equal in all processes of a realm."""
    realm: str

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise SipBuildError("nonce secret is shorter than 16 bytes")

    def make(self, now: float, salt: bytes = b"", source: str = "", by: bytes = bytes(_MAKER + _MARK)) -> str:
        """Return a nonce issued at `now` (seconds, clock of `issued_at`); `salt` distinguishes nonces of one moment."""
        head = int(now * 1000).to_bytes(_STAMP, "big") + by + salt[:_SALT].ljust(_SALT, b"\0")
        return base64.urlsafe_b64encode(head + self._seal(head, source)).decode()

    def issued_at(self, nonce: str, source: str = "") -> float | None:
        """Return the time at which `nonce` was issued to `source`, or None for a foreign nonce."""
        if len(nonce) != _NONCE_LENGTH or not nonce.isascii():
            return None
        try:
            whole = base64.b64decode(nonce, b"-_", validate=True)
        except ValueError:
            return None
        return _time_of(nonce) if hmac.compare_digest(whole[_HEAD:], self._seal(whole[:_HEAD], source)) else None

    def _seal(self, head: bytes, source: str) -> bytes:
        text = b"\0".join((head, self.realm.encode(), source.encode()))
        return hmac.digest(self.secret, text, "sha256")[:_SEAL]


def _time_of(nonce: str) -> float:
    """Return the time stamp of a verified nonce, in seconds."""
    return int.from_bytes(base64.urlsafe_b64decode(nonce)[:_STAMP], "big") / 1000


def _maker_of(nonce: str) -> bytes:
    """Return maker and mark of a verified nonce."""
    return base64.urlsafe_b64decode(nonce)[_STAMP : _STAMP + _MAKER + _MARK]


class DigestResult(Enum):
    """Result of checking a request's credentials."""

    OK = "ok"
    MISSING = "no credentials for this realm"
    STALE = "the nonce is not ours for this source, or the secret is right but the nonce is old or its count was used"
    WRONG = "wrong user, secret or digest"
    MALFORMED = "credentials that cannot be read"


@dataclass(frozen=True, slots=True)
class Checked:
    """Outcome of `DigestServer.check`."""

    result: DigestResult
    username: str | None = None
    """Claimed user name; authenticated if the result is `OK`."""
    algorithm: str = ""
    """Algorithm of a correct digest, without "-sess"."""

    @property
    def stale(self) -> bool:
        """Return True if the new challenge must carry stale=true."""
        return self.result is DigestResult.STALE


Ha1Lookup = Callable[[str, str], Mapping[str, str] | None]
"""(username, realm) -> {algorithm: HA1 in hex}, None for an unknown user."""


class DigestServer:
    """Challenges and checks requests for one realm."""

    __slots__ = (
        "_algorithms",
        "_before",
        "_forgotten",
        "_latest",
        "_maker",
        "_mark",
        "_nonces",
        "_seen",
        "policy",
        "realm",
    )

    def __init__(
        self,
        realm: str,
        secret: bytes,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        policy: NoncePolicy = NoncePolicy(),
        since: float = float("-inf"),
        *,
        node: str = "",
        mark: int = 0,
    ) -> None:
        """Nonces from before `since` are stale, as their used counts are unknown.

        `node` identifies the gateway among those with a common secret. `mark` (0 to 255) differs from the previous
        process, whose nonces are stale too, whatever their time stamps.
        """
        self.realm = realm
        self._algorithms = tuple(algorithms)
        self.policy = policy
        self._nonces = Nonces(secret, realm)
        self._seen: OrderedDict[tuple[str, str], _Window] = OrderedDict()
        self._latest = since
        self._maker, self._mark = hashlib.sha256(node.encode()).digest()[:_MAKER], mark
        """Maker and mark of issued nonces; the mark changes each time the clock is set back."""
        self._forgotten = self._before = since
        """Time up to which unremembered nonces are stale: `_forgotten` for the current mark, `_before` for other
        makers."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Return the accepted algorithms, preferred first."""
        return self._algorithms

    def challenges(
        self,
        now: float,
        *,
        stale: bool = False,
        salt: bytes = b"",
        source: str = "",
        algorithms: Sequence[str] | None = None,
    ) -> list[AuthValue]:
        """Return one WWW-Authenticate or Proxy-Authenticate value per algorithm, preferred first (RFC 8760 2.4).

        `algorithms` selects some of the server's; None means all. The nonce is valid only for `source` (RFC 7616 3.3),
        so that no host can fail or lock out requests in another host's name.
        """
        self._look_at(now)
        nonce = self._nonces.make(now, salt, source, self._by)
        found: list[AuthValue] = []
        for algorithm in self._algorithms if algorithms is None else algorithms:
            params = [("realm", self.realm), ("nonce", nonce), ("algorithm", algorithm), ("qop", "auth")]
            if stale:
                params.append(("stale", "true"))
            found.append(AuthValue("Digest", tuple(params), _QUOTED | {"qop"}))
        return found

    def gave(self, nonce: str | None, source: str = "") -> bool:
        """Return True if `nonce` was issued to `source` at any time; otherwise no secret need be looked up."""
        return nonce is not None and self._nonces.issued_at(nonce, source) is not None

    def check(
        self, request: Request, lookup: Ha1Lookup, now: float, *, proxy: bool = False, source: str = ""
    ) -> Checked:
        """Check the credentials of a request for the realm, comparing digests in constant time.

        Raise SipSyntaxError for malformed credentials. Costs at most one lookup.
        """
        values = request.proxy_authorization if proxy else request.authorization
        mine = next((v for v in values if v.scheme.lower() == "digest" and v.get("realm") == self.realm), None)
        if mine is None:
            return Checked(DigestResult.MISSING)
        username, algorithm = mine.get("username"), mine.get("algorithm") or "MD5"
        given = self._read(mine, request, algorithm)
        if username is None or given is None:
            return Checked(DigestResult.MALFORMED, username)
        issued = self._nonces.issued_at(given.nonce, source)
        if issued is None:
            # Answered before the secret is used: a guess with a forged nonce learns nothing.
            return Checked(DigestResult.STALE, username)
        known = lookup(username, self.realm)
        # An unknown user costs the same work as a wrong password, so timing reveals nothing.
        ha1 = (known or {}).get(_base(algorithm)) or "0" * 64
        right = hmac.compare_digest(response_of(ha1, given).encode(), (mine.get("response") or "").lower().encode())
        if not right or known is None or _base(algorithm) not in known:
            return Checked(DigestResult.WRONG, username)
        self._look_at(now)
        fresh = self._fresh(given, issued, username, now)
        return Checked(DigestResult.OK if fresh else DigestResult.STALE, username, _base(algorithm))

    def _read(self, value: AuthValue, request: Request, algorithm: str) -> DigestInput | None:
        qop, nc = value.get("qop"), value.get("nc") or ""
        nonce, uri, cnonce = value.get("nonce"), value.get("uri"), value.get("cnonce") or ""
        if not nonce or not uri or value.get("response") is None or algorithm.upper() not in self._accepted():
            return None
        if qop is not None and (qop.lower() not in ("auth", "auth-int") or not cnonce or not _is_count(nc)):
            return None
        if not _names_request(uri, request.uri):
            return None
        return DigestInput(
            algorithm, nonce, request.method, uri, qop.lower() if qop else None, cnonce, nc, request.body
        )

    def _accepted(self) -> set[str]:
        plain = {algorithm.upper() for algorithm in self._algorithms}
        return plain | {f"{algorithm}-SESS" for algorithm in plain}

    @property
    def _by(self) -> bytes:
        return self._maker + self._mark.to_bytes(_MARK, "big")

    def _look_at(self, now: float) -> None:
        if now < self._latest - _EARLY:
            # The clock was set back. Used counts of earlier nonces may be forgotten, or have expired by the previous
            # clock, and new nonces may repeat earlier time stamps: all earlier nonces become stale under a new mark.
            self._before = max(self._before, self._latest)
            self._forgotten = now - _EARLY
            self._mark = (self._mark + 1 + int(now * 1000) % 255) % 256
            self._latest = now
        self._latest = max(self._latest, now)

    def _fresh(self, given: DigestInput, issued: float, username: str, now: float) -> bool:
        if not -_EARLY <= now - issued <= self.policy.lifetime:
            return False
        key = (given.nonce, username)
        window = self._seen.get(key)
        if window is None:
            if issued <= self._stale_until(given.nonce):
                return False
            window = self._seen[key] = _Window()
            self._bound(now)
        # A client of RFC 2069 sends no count: its nonce is good for one request (RFC 3261 22.4 requires serving it).
        return window.take(int(given.nc, 16) if given.qop else 1)

    def _stale_until(self, nonce: str) -> float:
        """Return the time up to which unremembered nonces of this nonce's maker and mark are stale."""
        by = _maker_of(nonce)
        if by == self._by:
            return self._forgotten
        # All valid nonces with an earlier mark of ours are remembered; the previous process may have used any nonce.
        return math.inf if by.startswith(self._maker) else self._before

    def _bound(self, now: float) -> None:
        while len(self._seen) > self.policy.remembered:
            (nonce, _), _ = self._seen.popitem(last=False)
            if _maker_of(nonce) == self._by:
                self._forgotten = max(self._forgotten, _time_of(nonce))
            else:
                self._before = max(self._before, _time_of(nonce))
        # Expired nonces are stale without being remembered.
        while self._seen and now - _time_of(next(iter(self._seen))[0]) > self.policy.lifetime:
            self._seen.popitem(last=False)


class _Window:
    """Used counts of one nonce: the highest, and a window of 64 counts below.

    Requests of one client may overtake each other over UDP, so a new count below the highest is valid.
    """

    __slots__ = ("highest", "mask")

    def __init__(self) -> None:
        self.highest = 0
        self.mask = 0

    def take(self, count: int) -> bool:
        if count > self.highest:
            shift = count - self.highest
            self.mask = ((self.mask << shift) | 1) & 0xFFFFFFFFFFFFFFFF if shift < 64 else 1
            self.highest = count
            return True
        bit = 1 << (self.highest - count) if self.highest - count < 64 else 0
        if not bit or self.mask & bit:
            return False
        self.mask |= bit
        return True


def _is_count(text: str) -> bool:
    return len(text) == 8 and all(character in "0123456789abcdefABCDEF" for character in text) and int(text, 16) > 0


def _names_request(text: str, uri: Uri) -> bool:
    # The digest's uri must be the Request-URI (RFC 3261 22.4 item 7). Proxies and phones rewrite parameters and ports
    # on the way, so only user and host must agree.
    if text == str(uri):
        return True
    try:
        named = Uri.parse(text)
    except SipSyntaxError:
        return False
    return named.is_sip and uri.is_sip and named.user == uri.user and named.host.lower() == uri.host.lower()
