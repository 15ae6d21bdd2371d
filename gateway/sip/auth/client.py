"""Digest authentication, client side: choice of challenge and credentials (RFC 8760, RFC 7616).

Credentials belong to a realm and a peer. Challenges from elsewhere are never answered: a caller that challenges our
requests must not get a digest to crack (CVE-2021-41158).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gateway.sip.auth.server import PREFERENCE, DigestInput, ha1_of, response_of
from gateway.sip.message.message import Request, Response
from gateway.sip.message.values import AuthValue

_QUOTED = frozenset(("realm", "nonce", "opaque", "username", "uri", "response", "cnonce"))


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Secret of one account, with the peer and realm allowed to challenge."""

    username: str
    peer: str
    """Peer allowed to challenge, in the caller's own spelling, e.g. "tls:sip.example.com"; compared exactly."""
    realm: str | None = None
    """Realm allowed to challenge; None accepts the peer's first realm."""
    password: str | None = field(default=None, repr=False)
    ha1: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(algorithm, HA1) pairs instead of the password."""

    def secret(self, algorithm: str, realm: str) -> str | None:
        """Return the HA1 for an algorithm, or None if unknown."""
        if self.realm is not None and self.realm != realm:
            return None
        if self.password is not None:
            return ha1_of(algorithm, self.username, realm, self.password)
        return dict(self.ha1).get(algorithm.upper().removesuffix("-SESS"))


@dataclass(frozen=True, slots=True)
class _Session:
    challenge: AuthValue
    proxy: bool
    credentials: ClientCredentials
    used: int = 0
    """Requests signed with the nonce of this challenge."""
    proven: bool = False
    """True once the peer accepted a signed request: a later challenge then only means an expired nonce."""
    rounds: int = 0
    """Consecutive challenges with stale=true."""


class DigestClient:
    """Authentication of one account towards one peer; keeps the nonce and its count for later requests."""

    __slots__ = ("_credentials", "_max_stale", "_sessions")

    def __init__(self, credentials: ClientCredentials, max_stale: int = 4) -> None:
        """`max_stale`: consecutive challenges with stale=true that are answered."""
        self._credentials = credentials
        self._max_stale = max_stale
        self._sessions: dict[tuple[bool, str], _Session] = {}

    def challenged(self, response: Response, peer: str) -> bool:
        """Process the challenges of a 401 or 407 from `peer`. Return True if a retry may succeed.

        False ends the request: wrong peer, no usable challenge, or credentials already rejected (RFC 3261 22.2). Raise
        SipSyntaxError.
        """
        if peer != self._credentials.peer or response.status not in (401, 407):
            return False
        proxy = response.status == 407
        values = response.proxy_authenticate if proxy else response.www_authenticate
        progressed = False
        realms: set[str] = set()
        for challenge in self._usable(values):
            realm = challenge.get("realm") or ""
            if realm in realms:
                continue
            realms.add(realm)
            progressed = self._take(challenge, proxy, realm) or progressed
        return progressed

    def _usable(self, values: Iterable[AuthValue]) -> list[AuthValue]:
        # RFC 8760 2.4 prefers the server's first challenge unless local policy differs. Ours takes the strongest first,
        # so that reordering by an attacker gains nothing; equals keep the server's order.
        found = [v for v in values if self._can_answer(v)]
        return sorted(found, key=lambda v: PREFERENCE.index(_algorithm(v).upper().removesuffix("-SESS")))

    def _can_answer(self, value: AuthValue) -> bool:
        realm, nonce = value.get("realm"), value.get("nonce")
        base = _algorithm(value).upper().removesuffix("-SESS")
        if value.scheme.lower() != "digest" or realm is None or not nonce or base not in PREFERENCE:
            return False
        qop = value.get("qop")
        if qop is not None and not {"auth", "auth-int"} & _options(qop):
            return False
        return self._credentials.secret(base, realm) is not None

    def _take(self, challenge: AuthValue, proxy: bool, realm: str) -> bool:
        before = self._sessions.get((proxy, realm))
        rounds = 0
        if before is not None and before.used:
            if (challenge.get("stale") or "").lower() == "true":
                # A server that calls every nonce stale would cause endless retries.
                rounds = before.rounds + 1
                if rounds > self._max_stale:
                    return False
            elif not before.proven:
                return False
        self._sessions[proxy, realm] = _Session(challenge, proxy, self._credentials, rounds=rounds)
        return True

    def accepted(self, peer: str) -> None:
        """Record a final response other than 401 or 407: the secret is right. A later challenge may be answered even
        without stale=true."""
        if peer == self._credentials.peer:
            for key, session in self._sessions.items():
                self._sessions[key] = replace(session, proven=session.used > 0, rounds=0)

    def authorize(self, request: Request, peer: str, cnonce: str) -> Request:
        """Return `request` with credentials for every realm that has challenged, if `peer` is the bound peer.

        Replaces older credentials; `cnonce` is fresh random text. ACK of a non-2xx and CANCEL cannot be challenged (RFC
        3261 22.1); the ACK of a 2xx copies the INVITE's fields.
        """
        if peer != self._credentials.peer or not self._sessions:
            return request
        headers = request.headers.without("Authorization", "Proxy-Authorization")
        for key, session in list(self._sessions.items()):
            used = session.used + 1
            self._sessions[key] = replace(session, used=used)
            value = _credentials_value(session, request, used, cnonce)
            headers = headers.add("Proxy-Authorization" if session.proxy else "Authorization", value)
        return request.with_headers(headers)


def _algorithm(value: AuthValue) -> str:
    return value.get("algorithm") or "MD5"


def _options(qop: str) -> set[str]:
    return {option.strip().lower() for option in qop.split(",")}


def _credentials_value(session: _Session, request: Request, used: int, cnonce: str) -> AuthValue:
    challenge = session.challenge
    realm, nonce = challenge.get("realm") or "", challenge.get("nonce") or ""
    algorithm = _algorithm(challenge)
    offered = challenge.get("qop")
    qop = None
    if offered is not None:
        qop = "auth" if "auth" in _options(offered) else "auth-int"
    uri, nc = str(request.uri), f"{used:08x}"
    ha1 = session.credentials.secret(algorithm.upper().removesuffix("-SESS"), realm) or ""
    given = DigestInput(algorithm, nonce, request.method, uri, qop, cnonce, nc, request.body)
    params = [
        ("username", session.credentials.username),
        ("realm", realm),
        ("nonce", nonce),
        ("uri", uri),
        ("response", response_of(ha1, given)),
    ]
    if challenge.get("algorithm") is not None:
        params.append(("algorithm", algorithm))
    if qop is not None:
        params += [("cnonce", cnonce), ("qop", qop), ("nc", nc)]
    elif algorithm.upper().endswith("-SESS"):
        params.append(("cnonce", cnonce))
    if (opaque := challenge.get("opaque")) is not None:
        params.append(("opaque", opaque))
    return AuthValue("Digest", tuple(params), _QUOTED)
