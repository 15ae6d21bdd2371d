"""Functions of the user agent core available to a dialog usage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from gateway.sip.alarms import Alarm
from gateway.sip.config import CoreConfig
from gateway.sip.dialogs.absence import Absences
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.transactions import Transaction

Hop = Uri | Flow
"""First hop of a request: a URI to resolve, or a known flow."""


class Core(Protocol):
    """Time, transactions, addresses and dialogs. Exceptions in callbacks of `at` and `locate` end their `owner`."""

    config: CoreConfig
    allow: str
    """Value of the Allow header."""
    counts: Counter[str]
    """Dropped messages and anomalies, by name."""
    absences: Absences
    """Requests waiting for disconnected peers."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def token(self) -> str:
        """Return a fresh random word."""

    def random(self) -> float:
        """Return a random number in [0, 1)."""

    def wake(self) -> None:
        """Report output to send or a moved deadline."""

    def at(self, deadline: float, callback: Callable[[], None], owner: DialogUsage | None) -> Alarm[DialogUsage | None]:
        """Schedule `callback` at `deadline`."""

    def locate(self, hop: Hop, done: Callable[[tuple[Flow, ...]], None], owner: DialogUsage | None) -> None:
        """Pass the flows to a hop, best first, to `done`; () for none. Synchronous if no name needs a lookup."""

    def by_tcp(self, request: Request, hop: Hop | None, flow: Flow) -> Flow | None:
        """Return the TCP flow for a request to `hop` too large for its UDP `flow`; None keeps UDP (RFC 3261 18.1.1)."""

    def only_by_udp(self, flow: Flow) -> None:
        """Record that the host of `flow` refuses TCP: large requests to it use UDP for a while."""

    def contact(self, flow: Flow, user: str | None, *, secure: bool = False) -> NameAddr:
        """Return our Contact for a peer on `flow`, a sips URI if `secure` (RFC 5630)."""

    def sign(self, request: Request, flow: Flow) -> Request:
        """Return `request` with the proof of our identity for the peer at `flow`."""

    def send_request(self, request: Request, flow: Flow) -> Transaction:
        """Start a client transaction; raise StackFullError or SipBuildError."""

    def send_again(self, request: Request, flow: Flow) -> Transaction:
        """Resume a client transaction of another process by repeating its request; raise StackFullError."""

    def take_up(self, request: Request, flow: Flow) -> Transaction:
        """Resume a server transaction of another process."""

    def send_cancel(self, invite: Transaction, headers: build.Fields) -> None:
        """Start the CANCEL of a pending INVITE (RFC 3261 9.1)."""

    def send_ack(self, ack: Request, flow: Flow) -> bytes:
        """Send the ACK of a 2xx; return its bytes for retransmission."""

    def send(self, data: bytes, flow: Flow) -> None:
        """Retransmit bytes."""

    def respond(self, transaction: Transaction, response: Response) -> bytes:
        """Answer a server transaction; return the bytes of the response."""

    def values_of(self, usage: DialogUsage) -> dict[str, Any] | None:
        """Return JSON values with which another process continues or ends a usage; None if nothing is needed."""

    def add_usage(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Deliver requests in `dialog` to `usage`."""

    def remove_usage(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Remove `usage` from `dialog`; a dialog without usages ends and answers 481."""

    def usage_over(self, usage: DialogUsage) -> None:
        """Report that `usage` has emitted its last event."""

    def not_built(self, error: SipError) -> None:
        """Count and log a message that could not be built."""

    def capabilities(self) -> build.Fields:
        """Return our Allow, Accept, Supported and Recv-Info fields."""

    def request_fields(self) -> build.Fields:
        """Return the fields of every request."""

    def response_fields(self) -> build.Fields:
        """Return the fields of every response."""
