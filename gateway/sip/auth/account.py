"""Credentials of one call or account, sent only to the hop of its server (RFC 3261 22, CVE-2021-41158)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.flow import SECURE, Flow
from gateway.sip.message.message import Request, Response

MAX_PLACES = 8
"""Servers of one host with a kept challenge; the oldest is dropped."""

_HOP = "next hop"

Place = tuple[str, str, int]
"""Transport, host and port."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of one account at a trunk or proxy; `repr` hides the secret."""

    username: str
    password: str | None = field(default=None, repr=False)
    realm: str | None = None
    """Realm allowed to challenge; None accepts the first realm."""
    ha1: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(algorithm, HA1) pairs instead of the password."""


class Authenticator:
    """Sign requests to hops that have challenged, and answer only challenges of the bound hosts.

    The callee behind a call gets no digest. Another port of the server's host gets none before a challenge of its own.
    With servers on TLS, no digest leaves in the clear.
    """

    __slots__ = ("_clients", "_credentials", "_hosts", "_is_secure", "_token")

    def __init__(self, credentials: Credentials, token: Callable[[], str]) -> None:
        self._clients: dict[Place, DigestClient] = {}
        self._credentials = credentials
        self._hosts: frozenset[str] = frozenset()
        self._is_secure = False
        self._token = token

    def values(self) -> dict[str, Any]:
        """Return the values for `resumed`, including the secret."""
        return {**asdict(self._credentials), "hosts": sorted(self._hosts), "secure": self._is_secure}

    @classmethod
    def resumed(cls, values: Mapping[str, Any], token: Callable[[], str]) -> Authenticator:
        """Restore an authenticator with its hosts but without nonces, so that no nonce count is used twice."""
        ha1 = tuple((algorithm, digest) for algorithm, digest in values["ha1"])
        made = cls(Credentials(values["username"], values["password"], values["realm"], ha1), token)
        made._hosts = frozenset(values["hosts"])
        made._is_secure = values.get("secure", False)
        return made

    def bind(self, flows: Collection[Flow]) -> None:
        """Bind to the addresses of the account's server; only the first call binds."""
        if not self._hosts:
            self._hosts = frozenset(flow.host for flow in flows)
            self._is_secure = bool(flows) and all(flow.transport in SECURE for flow in flows)

    def authorize(self, request: Request, flow: Flow) -> Request:
        """Return `request` signed for the challenges received from the hop of `flow`."""
        client = self._clients.get(_place(flow))
        return request if client is None else client.authorize(request, _HOP, self._token())

    def challenged(self, response: Response, flow: Flow) -> bool:
        """Process a 401 or 407 received over `flow`. Return True if a retry may succeed. Raise SipSyntaxError."""
        if flow.host not in self._hosts or (self._is_secure and flow.transport not in SECURE):
            return False
        client = self._clients.get(_place(flow))
        if client is None:
            client = self._clients[_place(flow)] = self._new_client()
            if len(self._clients) > MAX_PLACES:
                del self._clients[next(iter(self._clients))]
        return client.challenged(response, _HOP)

    def accepted(self, flow: Flow) -> None:
        """Record that a signed request passed authentication."""
        if (client := self._clients.get(_place(flow))) is not None:
            client.accepted(_HOP)

    def _new_client(self) -> DigestClient:
        mine = self._credentials
        return DigestClient(ClientCredentials(mine.username, _HOP, mine.realm, password=mine.password, ha1=mine.ha1))


def _place(flow: Flow) -> Place:
    return flow.transport, flow.host, flow.port
