"""Credentials of one call or account, given only to the hop they are for (RFC 3261 22, CVE-2021-41158)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response

_HOP = "next hop"
_ELSEWHERE = "elsewhere"


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
    """Signs requests to the hosts it is bound to, and to nobody else: the callee behind a call gets no digest."""

    __slots__ = ("_client", "_credentials", "_hosts", "_token")

    def __init__(self, credentials: Credentials, token: Callable[[], str]) -> None:
        self._client = DigestClient(
            ClientCredentials(
                credentials.username, _HOP, credentials.realm, password=credentials.password, ha1=credentials.ha1
            )
        )
        self._credentials = credentials
        self._hosts: frozenset[str] = frozenset()
        self._token = token

    def values(self) -> dict[str, Any]:
        """What `resumed` needs; the secret is among it."""
        return {**asdict(self._credentials), "hosts": sorted(self._hosts)}

    @classmethod
    def resumed(cls, values: Mapping[str, Any], token: Callable[[], str]) -> Authenticator:
        """Of the same account, bound to the same hosts; no nonce is known, so that no count of one is used twice."""
        ha1 = tuple((algorithm, digest) for algorithm, digest in values["ha1"])
        made = cls(Credentials(values["username"], values["password"], values["realm"], ha1), token)
        made._hosts = frozenset(values["hosts"])
        return made

    def bind(self, flows: Iterable[Flow]) -> None:
        """Bind to the addresses that the account's server has; the first call decides."""
        if not self._hosts:
            self._hosts = frozenset(flow.host for flow in flows)

    def _peer(self, flow: Flow) -> str:
        return _HOP if flow.host in self._hosts else _ELSEWHERE

    def authorize(self, request: Request, flow: Flow) -> Request:
        """`request` signed for the challenges so far, if it goes to a bound host."""
        return self._client.authorize(request, self._peer(flow), self._token())

    def challenged(self, response: Response, flow: Flow) -> bool:
        """Take a 401 or 407; whether another try is worth it. Raises SipSyntaxError."""
        return self._client.challenged(response, self._peer(flow))

    def accepted(self, flow: Flow) -> None:
        """A signed request got through."""
        self._client.accepted(self._peer(flow))
