"""What a dialog usage asks of the user agent core, and all that it knows of it."""

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
"""Where a request goes first: a URI to be located, or a flow that is known to lead there."""


class Core(Protocol):
    """Time, transactions, addresses, dialogs. Callbacks of `at` and `locate` are guarded for their `owner`."""

    config: CoreConfig
    allow: str
    """Value of our Allow."""
    counts: Counter[str]
    """What was dropped or strange, by name."""
    absences: Absences
    """What waits for peers that are away."""

    def now(self) -> float:
        """Monotonic seconds."""

    def token(self) -> str:
        """A fresh random word."""

    def random(self) -> float:
        """A random number in [0, 1)."""

    def wake(self) -> None:
        """Something is to be sent, or a deadline has moved."""

    def at(self, deadline: float, callback: Callable[[], None], owner: DialogUsage | None) -> Alarm[DialogUsage | None]:
        """Have `callback` called at `deadline`."""

    def locate(self, hop: Hop, done: Callable[[tuple[Flow, ...]], None], owner: DialogUsage | None) -> None:
        """The flows to a hop, best first, () for none; at once where no name has to be looked up."""

    def by_tcp(self, request: Request, hop: Hop | None, flow: Flow) -> Flow | None:
        """By what a request to `hop` goes that is too large for its UDP `flow`; None: by that (RFC 3261 18.1.1)."""

    def only_by_udp(self, flow: Flow) -> None:
        """Nobody takes TCP where `flow` leads: for a while large requests go by UDP, too."""

    def contact(self, flow: Flow, user: str | None, *, secure: bool = False) -> NameAddr:
        """Our Contact as a peer on `flow` is to use it, a sips URI where `secure` (RFC 5630)."""

    def sign(self, request: Request, flow: Flow) -> Request:
        """`request` as it goes to `flow`, with what proves to a peer there who we are."""

    def send_request(self, request: Request, flow: Flow) -> Transaction:
        """Begin a client transaction; raises StackFullError, SipBuildError."""

    def send_again(self, request: Request, flow: Flow) -> Transaction:
        """Take up a client transaction of another process by sending its request once more; raises StackFullError."""

    def take_up(self, request: Request, flow: Flow) -> Transaction:
        """Take up a server transaction of another process."""

    def send_cancel(self, invite: Transaction, headers: build.Fields) -> None:
        """Begin the CANCEL of a pending INVITE (RFC 3261 9.1)."""

    def send_ack(self, ack: Request, flow: Flow) -> bytes:
        """Send the ACK of a 2xx; its bytes, to be sent again."""

    def send(self, data: bytes, flow: Flow) -> None:
        """Send bytes again."""

    def respond(self, transaction: Transaction, response: Response) -> bytes:
        """Give a server transaction its response; its bytes."""

    def values_of(self, usage: DialogUsage) -> dict[str, Any] | None:
        """What another process needs to go on with a usage or to end it, as JSON can hold it; None: nothing."""

    def add_usage(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Have requests in `dialog` reach `usage`."""

    def remove_usage(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Take `usage` out of `dialog`; without any usage the dialog is over and answers 481."""

    def usage_over(self, usage: DialogUsage) -> None:
        """`usage` has told its last event."""

    def not_built(self, error: SipError) -> None:
        """A message of ours could not be written: counted and logged."""

    def capabilities(self) -> build.Fields:
        """Allow, Accept, Supported and Recv-Info of ours."""

    def request_fields(self) -> build.Fields:
        """What every request of ours carries."""

    def response_fields(self) -> build.Fields:
        """What every response of ours carries."""
