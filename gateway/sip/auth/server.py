"""Digest authentication, the arithmetic and the server side (RFC 7616, RFC 8760, RFC 3261 section 22).

The server keeps no state per challenge: the nonce carries its time stamp and an HMAC. What it keeps is which
nonce-counts it has seen, in bounded memory, against replay. Secrets and time are arguments; only HA1 values
are ever needed, never a password.
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
"""Algorithms that we know, the strongest first."""

_EARLY = 1.0
"""Seconds that a nonce may seem to come from later than now."""
_STAMP = 6
"""Octets of a nonce that are its time stamp in ms."""
_MAKER = 2
"""Octets of a nonce that say which gateway made it."""
_MARK = 1
"""Octets of a nonce that say which process of that gateway did, and by which setting of its clock."""
_SALT = 1
"""Octets of a nonce that keep two of one moment apart."""
_HEAD = _STAMP + _MAKER + _MARK + _SALT
"""Octets of a nonce that are sealed."""
_SEAL = 8
"""Octets of a nonce's HMAC."""
_NONCE_LENGTH = 24

_QUOTED = frozenset(("realm", "nonce", "opaque", "domain", "username", "uri", "response", "cnonce"))


def hash_of(algorithm: str, text: str) -> str:
    """Hex digest of `text` under "MD5", "SHA-256" or "SHA-512-256" (a "-sess" ending is ignored)."""
    try:
        return _HASHES[_base(algorithm)](text.encode())
    except KeyError:
        raise SipBuildError("digest algorithm is not known") from None


def _base(algorithm: str) -> str:
    upper = algorithm.upper()
    return upper.removesuffix("-SESS")


def ha1_of(algorithm: str, username: str, realm: str, password: str) -> str:
    """H(username:realm:password), what is stored in place of the password (RFC 7616 3.4.2)."""
    return hash_of(algorithm, f"{username}:{realm}:{password}")


@dataclass(frozen=True, slots=True)
class DigestInput:
    """Everything that a response is computed from, besides HA1."""

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
    """The digest response (RFC 7616 3.4.1)."""
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
    """How nonces live."""

    lifetime: float = 300.0
    """Seconds after which a nonce is stale."""
    remembered: int = 50_000
    """How many used nonces are remembered against replay; the oldest is forgotten first, and it and all that are
    older count as stale from then on."""


@dataclass(frozen=True, slots=True)
class Nonces:
    """Makes and reads nonces: time stamp, maker, mark, salt, and an HMAC over them, the realm and whom it was given to.

    24 characters: the nonce is the larger part of a challenge, which must not outweigh a phone's shortest REGISTER.
    """

    secret: bytes = field(repr=False)
    """At least 16 random bytes, the same in all processes that share a realm."""
    realm: str

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise SipBuildError("nonce secret is shorter than 16 bytes")

    def make(self, now: float, salt: bytes = b"", source: str = "", by: bytes = bytes(_MAKER + _MARK)) -> str:
        """A nonce of `now` (seconds, the same clock as `issued_at`); `salt` keeps two of one moment apart."""
        head = int(now * 1000).to_bytes(_STAMP, "big") + by + salt[:_SALT].ljust(_SALT, b"\0")
        return base64.urlsafe_b64encode(head + self._seal(head, source)).decode()

    def issued_at(self, nonce: str, source: str = "") -> float | None:
        """When we made `nonce` for `source`, None when we did not."""
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
    """The time stamp of a nonce that is known to be ours."""
    return int.from_bytes(base64.urlsafe_b64decode(nonce)[:_STAMP], "big") / 1000


def _maker_of(nonce: str) -> bytes:
    """Maker and mark of a nonce that is known to be ours."""
    return base64.urlsafe_b64decode(nonce)[_STAMP : _STAMP + _MAKER + _MARK]


class DigestResult(Enum):
    """How a request stands with its credentials."""

    OK = "ok"
    MISSING = "no credentials for this realm"
    STALE = "the nonce is not ours for this source, or the secret is right but the nonce is old or its count was used"
    WRONG = "wrong user, secret or digest"
    MALFORMED = "credentials that cannot be read"


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of `DigestServer.check`."""

    result: DigestResult
    username: str | None = None
    """Who it claims to be, and with `OK` is."""
    algorithm: str = ""
    """What a right digest was made with, without "-sess"."""

    @property
    def stale(self) -> bool:
        """Whether the new challenge is to say stale=true."""
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
        """Nonces from before `since` are stale: which of their counts were used then nobody here knows.

        `node` names us among those who share the secret; `mark` (0 to 255) is another one than the process before had,
        whose nonces are stale as well, whatever the time by their clock.
        """
        self.realm = realm
        self._algorithms = tuple(algorithms)
        self.policy = policy
        self._nonces = Nonces(secret, realm)
        self._seen: OrderedDict[tuple[str, str], _Window] = OrderedDict()
        self._latest = since
        self._maker, self._mark = hashlib.sha256(node.encode()).digest()[:_MAKER], mark
        """Of what is issued; another mark each time that the clock is set back."""
        self._forgotten = self._before = since
        """Up to when nonces that are not remembered are stale: those of this mark, and those of other makers."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What it may be answered with, the preferred first."""
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
        """One WWW-Authenticate or Proxy-Authenticate value per algorithm, the preferred first (RFC 8760 2.4).

        `algorithms` are some of the server's, None all of them.

        The nonce is good for requests from `source` only (RFC 7616 3.3), so that nobody can fail, or lock
        out, in the name of an address that is not its own.
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
        """Whether we gave `nonce` to `source`, at whatever time; without that no secret need be looked up."""
        return nonce is not None and self._nonces.issued_at(nonce, source) is not None

    def check(
        self, request: Request, lookup: Ha1Lookup, now: float, *, proxy: bool = False, source: str = ""
    ) -> Checked:
        """Judge the credentials of a request for this realm; each digest comparison takes constant time.

        Raises SipSyntaxError for credentials that break the grammar. Costs at most one lookup.
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
            # Said before the secret is looked at: a guess with a nonce of one's own making learns nothing.
            return Checked(DigestResult.STALE, username)
        known = lookup(username, self.realm)
        # An unknown user costs the same work as a wrong password, so that time tells nothing.
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
            # The clock was set back. Of what was issued before nobody knows which counts were used where there was no
            # room for it, or it came to its end by the other clock; what is issued now may be of the same times.
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
        # A client of RFC 2069 sends no count: its nonce is good for one request (RFC 3261 22.4 wants it served).
        return window.take(int(given.nc, 16) if given.qop else 1)

    def _stale_until(self, nonce: str) -> float:
        """Up to when those of its maker and mark are stale."""
        by = _maker_of(nonce)
        if by == self._by:
            return self._forgotten
        # Of our own by another mark we remember all that are good; the process before us may have taken any.
        return math.inf if by.startswith(self._maker) else self._before

    def _bound(self, now: float) -> None:
        while len(self._seen) > self.policy.remembered:
            (nonce, _), _ = self._seen.popitem(last=False)
            if _maker_of(nonce) == self._by:
                self._forgotten = max(self._forgotten, _time_of(nonce))
            else:
                self._before = max(self._before, _time_of(nonce))
        # What has come to the end of its life is stale without being remembered.
        while self._seen and now - _time_of(next(iter(self._seen))[0]) > self.policy.lifetime:
            self._seen.popitem(last=False)


class _Window:
    """Which nonce-counts of one nonce were used: the highest and a 64-count window below it.

    Requests of one client may overtake each other over UDP, so a count that is new but not the highest is fine.
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
    # The digest's uri must be the Request-URI (RFC 3261 22.4 item 7). Proxies and phones rewrite parameters and
    # ports on the way, so only the parts that say who is called must agree.
    if text == str(uri):
        return True
    try:
        named = Uri.parse(text)
    except SipSyntaxError:
        return False
    return named.is_sip and uri.is_sip and named.user == uri.user and named.host.lower() == uri.host.lower()
