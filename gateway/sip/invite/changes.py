"""One change of a session each: what belongs to it, so that nothing of another is taken for its own (RFC 3261 14)."""

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
"""Seconds until an offer is made again whose answer could not be read."""
FIRST_WORD = 2.0
"""Seconds that a peer which has come back is left to make an offer of its own: browsers restart ICE."""
OFFER_ATTEMPTS = 8
"""How often an offer of ours is made because it crossed one of the peer's."""
RETRY_AFTER_LIMIT = 10
"""A 500 that asks for no longer a wait than this says that offers overlapped (RFC 3261 14.2): it is tried again."""


Delay = Alarm[DialogUsage | None] | Absence
"""What waits, and can be called off."""


class Modifiable(DialogUsage, Protocol):
    """What a change asks of its session."""

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
        """Whether an UPDATE with an offer may be sent before the 2xx."""

    def emit(self, event: SessionEvent) -> None: ...

    def exchange_number(self) -> int:
        """The number of one more exchange."""

    def commit(self, local: bytes, remote: bytes, *, answers: bool) -> None:
        """Note the two descriptions that stand; `answers`: ours is the answer to the peer's offer."""

    def acknowledged(self) -> None:
        """The ACK of our 2xx to the INVITE of the call is not waited for any more: the peer has gone on."""

    def exchange_over(self) -> None:
        """Something that waited may go on."""

    def peer_says(self, message: Message) -> None:
        """A target refresh of the peer was accepted, which says who it is."""

    def arm_timer(self) -> None: ...

    def lost(self, status: int) -> None:
        """The peer does not answer in the dialog, or does not know it."""

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
    """Why we want to change the session."""

    OFFER = "our user offers"
    ASK = "our user asks for an offer"
    REFRESH = "the session timer is due"
    IDENTIFY = "the peer talks with somebody else now"


@dataclass(slots=True)
class Want:
    """A change of ours that waits for its turn."""

    number: int
    purpose: Purpose
    body: bytes = b""
    attempts: int = 0
    told: Callable[[int], None] | None = None
    """Gets the status that answered it, for a refresh that somebody waits for."""
    headers: build.Fields = ()
    local: NameAddr | None = None
    """Who we are from then on (RFC 4916)."""
    until: float | None = None
    """How long it waits for a peer that is away; None: it has not had to."""
    is_in_doubt: bool = False
    """Whether the peer may have taken it, since its answer could not be read."""

    def doubt(self) -> float:
        """The seconds until it is sent once more: the same offer gets the same answer."""
        self.is_in_doubt = True
        return ANSWER_MISSING

    @property
    def repeats(self) -> bool:
        """Whether it offers what stands."""
        return self.purpose in (Purpose.REFRESH, Purpose.IDENTIFY)


@dataclass(slots=True, eq=False)
class LocalChange:
    """A re-INVITE or UPDATE of ours."""

    want: Want
    method: str
    body: bytes
    client: ClientRequest | None = None
    ack: Acknowledgement | None = None
    offer: bytes = b""
    """What the 2xx offered where the re-INVITE asked for that."""
    is_answered: bool = False
    """Whether its final response was taken."""

    @property
    def is_exchange(self) -> bool:
        """Whether the joint table knows of it: an UPDATE without a description is none of its business."""
        return self.method == "INVITE" or bool(self.body)

    def give_up(self, session: DialogUsage) -> None:
        """Leave no request of it open in a dialog that is over."""
        if self.ack is not None and not self.ack.is_sent:
            self.ack.send(session)
        elif self.client is not None and self.method == "INVITE":
            # The sender of a BYE need not answer it any more, and an INVITE that has a 1xx waits for ever.
            self.client.cancel()
        elif self.client is not None:
            self.client.abandon()


@dataclass(slots=True, eq=False)
class RemoteChange:
    """A re-INVITE, an UPDATE or a PRACK of the peer's that waits for our user's answer."""

    number: int
    request: ServerRequest
    carrier: Carrier
    offer: bytes
    is_cut_off: bool = False
    """Whether the connection that it came by is gone, so that its sender has given it up."""


@dataclass(slots=True, eq=False)
class Crossing:
    """A re-INVITE or an UPDATE of the peer that was sent before it had ours, and waits for the end of ours."""

    request: ServerRequest
    carrier: Carrier
    alarm: Alarm[DialogUsage | None]


@dataclass(slots=True, eq=False)
class AcceptedChange:
    """A re-INVITE of the peer's whose 2xx waits for its ACK; `offer` is what that 2xx offered."""

    number: int
    accepted: AcceptedInvite
    offer: bytes = b""


def absence(session: Modifiable, dialog: Dialog, want: Want, then: Callable[[], None]) -> Absence | None:
    """What waits for a peer that is away, and calls `then`; None: it is there, or has had the time to come back.

    Nothing is sent yet, nor at once when it is back, so that what it offers itself then crosses nothing.
    """
    return _waits(session, dialog, want, then) if dialog.has_lost_flow and dialog.is_by_its_connection else None


def absence_after(session: Modifiable, dialog: Dialog, change: LocalChange, then: Callable[[], None]) -> Delay | None:
    """The same for a change whose connection has ended before it was answered, noticed by the dialog or not."""
    core, client, want = session.core, change.client, change.want
    if client is None or not client.is_broken or not dialog.is_by_its_connection or want.attempts >= OFFER_ATTEMPTS:
        return None
    if client.flow != dialog.flow:
        return core.at(core.now() + FIRST_WORD, then, session)  # it is back already
    return _waits(session, dialog, want, then)


def _waits(session: Modifiable, dialog: Dialog, want: Want, then: Callable[[], None]) -> Absence | None:
    core = session.core
    if want.until is None:
        want.until = core.now() + core.config.flow_grace
    return core.absences.wait(dialog, want.until, then, session, pause=FIRST_WORD)


def retry_delay(session: Modifiable, dialog: Dialog, change: LocalChange, response: Response) -> float | None:
    """Seconds until a change that was refused is worth another try, None for never."""
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
    # A refusal says nothing of the same offer that was answered before it.
    return ANSWER_MISSING if change.want.is_in_doubt and response.status not in (408, 481) else None
