"""What the user agent core needs of the world around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.sip.flow import Flow
from gateway.sip.invite.events import Reply, Verdict
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri


class Environment(Protocol):
    """Time, randomness, addresses, names, and the application; callbacks may come at once or later, once each."""

    def now(self) -> float:
        """Monotonic seconds."""

    def token(self) -> str:
        """A fresh random word of letters and digits, at least 64 bits."""

    def wake(self) -> None:
        """Something is to be drained, or the deadline has moved, outside `receive` and `handle_timer`."""

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Our host and port as a peer on `flow` is to see them."""

    def resolve(self, uri: Uri, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """The next hops of a URI with a host name, best first (RFC 3263); () for none."""

    def authenticate(self, request: Request, source: Flow, done: Callable[[Verdict], None]) -> None:
        """Ask who sent a request outside any dialog, or one in a dialog that comes from elsewhere."""

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        """A call came in and was let in."""

    def register(self, request: Request, source: Flow, identity: str | None, done: Callable[[Reply], None]) -> None:
        """Ask the application to answer a REGISTER."""
