"""Credentials of one call or account, given only to the hop they are for (RFC 3261 22, CVE-2021-41158)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.flow import SECURE, Flow
from gateway.sip.message.message import Request, Response

MAX_PLACES = 8
"""Servers of one host that may each have challenged us; the oldest is forgotten."""

_HOP = "next hop"

Place = tuple[str, str, int]
"""Transport, host and port."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """One account at a trunk or proxy; the secret is never shown by `repr`."""

    username: str
    password: str | None = field(default=None, repr=False)
    realm: str | None = None
    """The realm that may challenge; None takes the first one."""
    ha1: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(algorithm, HA1) pairs in place of the password."""


class Authenticator:
    """Signs what goes where a challenge came from, and answers challenges of the hosts it is bound to alone.

    The callee behind a call gets no digest, nor does another port of the server's host until it asks for one, nor
    anybody in the clear where the servers are reached by TLS.
    """

    __slots__ = ("_clients", "_credentials", "_hosts", "_is_secure", "_token")

    def __init__(self, credentials: Credentials, token: Callable[[], str]) -> None:
        self._clients: dict[Place, DigestClient] = {}
        self._credentials = credentials
        self._hosts: frozenset[str] = frozenset()
        self._is_secure = False
        self._token = token

    def values(self) -> dict[str, Any]:
        """What `resumed` needs; the secret is among it."""
        return {**asdict(self._credentials), "hosts": sorted(self._hosts), "secure": self._is_secure}

    @classmethod
    def resumed(cls, values: Mapping[str, Any], token: Callable[[], str]) -> Authenticator:
        """Of the same account, bound to the same hosts; no nonce is known, so that no count of one is used twice."""
        ha1 = tuple((algorithm, digest) for algorithm, digest in values["ha1"])
        made = cls(Credentials(values["username"], values["password"], values["realm"], ha1), token)
        made._hosts = frozenset(values["hosts"])
        made._is_secure = values.get("secure", False)
        return made

    def bind(self, flows: Collection[Flow]) -> None:
        """Bind to the addresses that the account's server has; the first call decides."""
        if not self._hosts:
            self._hosts = frozenset(flow.host for flow in flows)
            self._is_secure = bool(flows) and all(flow.transport in SECURE for flow in flows)

    def authorize(self, request: Request, flow: Flow) -> Request:
        """`request` signed for the challenges that came from where it goes."""
        client = self._clients.get(_place(flow))
        return request if client is None else client.authorize(request, _HOP, self._token())

    def challenged(self, response: Response, flow: Flow) -> bool:
        """Take a 401 or 407 to what went by `flow`; whether another try is worth it. Raises SipSyntaxError."""
        if flow.host not in self._hosts or (self._is_secure and flow.transport not in SECURE):
            return False
        client = self._clients.get(_place(flow))
        if client is None:
            client = self._clients[_place(flow)] = self._new_client()
            if len(self._clients) > MAX_PLACES:
                del self._clients[next(iter(self._clients))]
        return client.challenged(response, _HOP)

    def accepted(self, flow: Flow) -> None:
        """A signed request got through."""
        if (client := self._clients.get(_place(flow))) is not None:
            client.accepted(_HOP)

    def _new_client(self) -> DigestClient:
        mine = self._credentials
        return DigestClient(ClientCredentials(mine.username, _HOP, mine.realm, password=mine.password, ha1=mine.ha1))


def _place(flow: Flow) -> Place:
    return flow.transport, flow.host, flow.port
