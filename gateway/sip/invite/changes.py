"""Session changes in progress, each with its own request, response and ACK (RFC 3261 14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.absence import Absence
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.invite.accepted import AcceptedInvite
from gateway.sip.invite.acknowledgement import Acknowledgement
from gateway.sip.invite.events import SessionEvent
from gateway.sip.invite.offer_answer import Carrier, glare_delay
from gateway.sip.invite.session_timer import SessionTimer
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message, Response
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.server import ServerRequest

ANSWER_MISSING = 1.0
"""Seconds before repeating an offer after an unreadable answer."""
FIRST_WORD = 2.0
"""Seconds left to a reconnected peer for an offer of its own, as browsers restart ICE."""
OFFER_ATTEMPTS = 8
"""Attempts at sending an offer that crosses the peer's offers."""
RETRY_AFTER_LIMIT = 10
"""Longest Retry-After in seconds with which a 500 reports overlapping offers (RFC 3261 14.2) and is retried."""


Delay = Alarm[DialogUsage | None] | Absence
"""Cancellable wait for a time or a peer."""


class Modifiable(DialogUsage, Protocol):
    """Session interface needed by a change."""

    core: Core
    timer: SessionTimer
    changed: Callable[[], None]
    peer_allows: frozenset[str]
    local_body: bytes
    remote_body: bytes
    answers: bool
    accepted: AcceptedInvite | None

    @property
    def is_over(self) -> bool: ...

    @property
    def is_confirmed(self) -> bool: ...

    @property
    def may_update(self) -> bool:
        """Return True if an UPDATE with an offer may precede the 2xx."""

    def emit(self, event: SessionEvent) -> None: ...

    def exchange_number(self) -> int:
        """Return the next exchange number."""

    def commit(self, local: bytes, remote: bytes, *, answers: bool) -> None:
        """Record the two agreed descriptions; `answers`: ours answers the peer's offer."""

    def acknowledged(self) -> None:
        """Stop waiting for the ACK of the call's first 2xx: a later request of the peer implies the ACK."""

    def exchange_over(self) -> None:
        """Continue with the next waiting change or action."""

    def peer_says(self, message: Message) -> None:
        """Process the identity of the peer in an accepted target refresh."""

    def arm_timer(self) -> None: ...

    def lost(self, status: int) -> None:
        """End the session after the peer answered 408 or 481, or not at all."""

    def send_in_dialog(
        self,
        method: str,
        dialog: Dialog,
        done: Callable[[Response], None],
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> ClientRequest: ...


class Purpose(Enum):
    """Purpose of a session change of ours."""

    OFFER = "our user offers"
    ASK = "our user asks for an offer"
    REFRESH = "the session timer is due"
    IDENTIFY = "the peer talks with somebody else now"


@dataclass(slots=True)
class Want:
    """Session change of ours, waiting for its turn."""

    number: int
    purpose: Purpose
    body: bytes = b""
    attempts: int = 0
    told: Callable[[int], None] | None = None
    """Callback for the final status of a refresh."""
    headers: build.Fields = ()
    local: NameAddr | None = None
    """New local identity (RFC 4916)."""
    until: float | None = None
    """Time until which the change waits for a disconnected peer; None before any wait."""
    is_in_doubt: bool = False
    """True if the peer may have accepted the change but its answer was unreadable."""

    def doubt(self) -> float:
        """Mark the outcome as uncertain and return the seconds before a repetition: an equal offer gets an equal
        answer."""
        self.is_in_doubt = True
        return ANSWER_MISSING

    @property
    def repeats(self) -> bool:
        """Return True if the change offers the agreed description again."""
        return self.purpose in (Purpose.REFRESH, Purpose.IDENTIFY)


@dataclass(slots=True, eq=False)
class LocalChange:
    """Outgoing re-INVITE or UPDATE."""

    want: Want
    method: str
    body: bytes
    client: ClientRequest | None = None
    ack: Acknowledgement | None = None
    offer: bytes = b""
    """Offer in the 2xx to a re-INVITE without offer."""
    is_answered: bool = False
    """True after the final response."""

    @property
    def is_exchange(self) -> bool:
        """Return True if the change takes part in offer/answer; an UPDATE without description does not."""
        return self.method == "INVITE" or bool(self.body)

    def give_up(self, session: DialogUsage) -> None:
        """Complete or cancel the open request after the dialog's end."""
        if self.ack is not None and not self.ack.is_sent:
            self.ack.send(session)
        elif self.client is not None and self.method == "INVITE":
            # After a BYE the peer need not answer the INVITE, and an INVITE with a 1xx never times out.
            self.client.cancel()
        elif self.client is not None:
            self.client.abandon()


@dataclass(slots=True, eq=False)
class RemoteChange:
    """Peer's re-INVITE, UPDATE or PRACK with an offer, awaiting the application's answer."""

    number: int
    request: ServerRequest
    carrier: Carrier
    offer: bytes
    is_cut_off: bool = False
    """True if the request's connection closed, so that its sender has given up."""


@dataclass(slots=True, eq=False)
class Crossing:
    """Peer's re-INVITE or UPDATE sent before ours arrived; waits until ours ends."""

    request: ServerRequest
    carrier: Carrier
    alarm: Alarm[DialogUsage | None]


@dataclass(slots=True, eq=False)
class AcceptedChange:
    """Peer's re-INVITE, accepted by a 2xx without ACK yet; `offer`: the offer in the 2xx."""

    number: int
    accepted: AcceptedInvite
    offer: bytes = b""


def absence(session: Modifiable, dialog: Dialog, want: Want, then: Callable[[], None]) -> Absence | None:
    """Wait for a disconnected peer, then call `then`; return None for a connected peer or an expired wait.

    Nothing is sent at once after the reconnection, so that an offer from the peer crosses none of ours.
    """
    return _waits(session, dialog, want, then) if dialog.has_lost_flow and dialog.is_by_its_connection else None


def absence_after(session: Modifiable, dialog: Dialog, change: LocalChange, then: Callable[[], None]) -> Delay | None:
    """Wait likewise for a change whose connection closed before the answer, even if the dialog has not noticed."""
    core, client, want = session.core, change.client, change.want
    if client is None or not client.is_broken or not dialog.is_by_its_connection or want.attempts >= OFFER_ATTEMPTS:
        return None
    if client.flow != dialog.flow:
        return core.at(core.now() + FIRST_WORD, then, session)  # the peer has reconnected
    return _waits(session, dialog, want, then)


def _waits(session: Modifiable, dialog: Dialog, want: Want, then: Callable[[], None]) -> Absence | None:
    core = session.core
    if want.until is None:
        want.until = core.now() + core.config.flow_grace
    return core.absences.wait(dialog, want.until, then, session, pause=FIRST_WORD)


def retry_delay(session: Modifiable, dialog: Dialog, change: LocalChange, response: Response) -> float | None:
    """Return the seconds before retrying a rejected change; None to give up."""
    random = session.core.random()
    if response.status == 491:
        return glare_delay(dialog.is_initiator, random)
    wait = response.retry_after
    if response.status == 500 and wait is not None and wait <= RETRY_AFTER_LIMIT:
        return wait + random
    if response.status == 422 and session.timer.too_small(response):
        return 0.0
    if change.method == "UPDATE" and response.status in (405, 501):
        session.peer_allows -= {"UPDATE"}
        return 0.0
    # A rejection does not revoke an earlier acceptance of the offer.
    return ANSWER_MISSING if change.want.is_in_doubt and response.status not in (408, 481) else None
