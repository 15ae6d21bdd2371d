"""Services that the user agent core needs from its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.sip.flow import Flow
from gateway.sip.invite.events import Reply, Verdict
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri


class Environment(Protocol):
    """Time, randomness, addresses, names and the application. Callbacks run once each, immediately or later."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def token(self) -> str:
        """Return a fresh random word of letters and digits, at least 64 bits."""

    def wake(self) -> None:
        """Report output to drain or a moved deadline outside `receive` and `handle_timer`."""

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Return our host and port for a peer on `flow`."""

    def resolve(self, uri: Uri, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """Pass the next hops of a URI with a host name, best first (RFC 3263), to `done`; () for none."""

    def authenticate(self, request: Request, source: Flow, done: Callable[[Verdict], None]) -> None:
        """Authenticate a request outside any dialog, or within one but from a new source."""

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        """Deliver an admitted incoming call."""

    def register(self, request: Request, source: Flow, identity: str | None, done: Callable[[Reply], None]) -> None:
        """Pass a REGISTER to the application for its answer."""
