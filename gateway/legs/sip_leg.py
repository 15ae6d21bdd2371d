"""Behaviour of SIP legs with an established session, shared by callers and callees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.call.journal import address_of, flat
from gateway.call.leg import (
    Address,
    AnswerChanged,
    Confirmed,
    DialogName,
    HungUp,
    LegName,
    OfferAnswered,
    OfferCancelled,
    Offered,
    Renamed,
    Returned,
    SignallingChanged,
    TransferReport,
    TransferRequested,
)
from gateway.call.status import Cause, cause_of_status
from gateway.legs.base import LegBase
from gateway.legs.sip_bodies import cause_of_q850, reason_of, text_of
from gateway.legs.sip_diversion import hidden, identity_fields, shows_itself
from gateway.legs.sip_info import LegInfos
from gateway.legs.sip_sessions import Reader, ResumedSession, Session, Shown, named_by, names_of, nobody
from gateway.media.engine import Kind, Party
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import Replaces
from gateway.sip.subscription.referral import Referral, Referred


class SipLeg(LegBase):
    """A SIP leg and the session with the call, in either role."""

    is_caller = False
    """True if the far end called the gateway."""

    def __init__(self, party: Party, address: Address, identity: str | None = None) -> None:
        super().__init__(party, address, identity)
        self._session: Session | None = None
        self._infos = LegInfos()
        self._reads: Reader = nobody
        self._shown = Shown()
        self._ours: dict[int, int] = {}
        """The call's offer numbers by the session's offer numbers."""
        self._wanted: set[int] = set()
        """Numbers of re-INVITEs without an offer, which asked for ours."""
        self._referral: Referral | None = None
        """Latest REFER of the far end."""
        self._asked: TransferReport | None = None
        """Report for the outcome of our latest REFER."""
        self._early_outcomes: list[events.OfferAnswered] | None = None
        """Answers received before `offer` has returned the offer's number; None outside `offer`."""

    @property
    def references(self) -> tuple[str, ...]:
        return () if self._session is None else (self._session.call_id,)

    @property
    def dialog_names(self) -> tuple[DialogName, ...]:
        """Names of the dialog with the call, or of every early dialog."""
        return () if self._session is None else names_of((self._session,))

    def when_left(self, told: Callable[[], None]) -> bool:
        dialog = None if self._session is None else self._session.dialog
        return dialog is not None and dialog.when_over(told)

    @property
    def may_return(self) -> bool:
        # The media of a reloaded page ends before its WebSocket does.
        return self._signalling_lost or self.party.kind is Kind.WEBRTC

    def awaited(self) -> None:
        self._signalling_lost = True

    def is_named(self, name: LegName) -> bool:
        return name in self.dialog_names

    async def offer(self, exchange: int, sdp: str) -> None:
        if self._session is None:
            self._deliver(OfferAnswered(exchange, None))
            return
        outcomes: list[events.OfferAnswered] = []
        self._early_outcomes = outcomes
        number = self._session.offer(sdp.encode())
        self._early_outcomes = None
        self._ours[number] = exchange
        for outcome in outcomes:
            self._in_dialog(outcome)

    def take_back_offer(self, exchange: int) -> bool:
        number = next((ours for ours, known in self._ours.items() if known == exchange), None)
        if self._session is None or number is None or not self._session.take_back_offer(number):
            return False
        del self._ours[number]
        return True

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        if self._session is None:
            return
        if sdp is None:
            self._wanted.discard(exchange)
            self._session.refuse_offer(exchange, cause.status, self._reason(cause))
            self._limits.pop(cause, None)
        else:
            self._session.answer_offer(exchange, sdp.encode())

    def refer(self, to: str, report: TransferReport, replaces: DialogName | None = None) -> None:
        def report_status(status: int, of_refer: bool) -> None:
            if status >= 300:
                cause = cause_of_status(status)
                # 481 is a normal end elsewhere, but no success of a transfer.
                report.ended(cause if cause is not Cause.NORMAL else Cause.UNAVAILABLE)
            elif of_refer:
                report.accepted()
            elif status >= 200:
                report.ended(Cause.NORMAL)
            else:
                report.ringing()

        if self._session is None or self._over:
            report.ended(Cause.UNAVAILABLE)
            return
        self._asked = report
        target = Uri.parse(to)
        if replaces is not None:
            wanted = Replaces(replaces.call_id, to_tag=replaces.local_tag, from_tag=replaces.remote_tag)
            target = target.with_header("Replaces", str(wanted))
        self._session.refer(target, report_status)

    @property
    def refers_by(self) -> Flow | None:
        """Address of the far end for a REFER; None if its Allow lacks REFER."""
        session = self._session
        if session is None or (session.peer_allows and "REFER" not in session.peer_allows):
            return None
        return session.source

    def _reason(self, cause: Cause) -> str:
        """Return a Reason value with the cause and the name of a reached limit."""
        return reason_of(cause, self.limit_of(cause)[0])

    def _hang_up(self, cause: Cause) -> None:
        """Send BYE, after the outcome of a pending REFER has been reported."""
        session = self._session
        assert session is not None
        if self._referral is None:
            session.hangup(self._reason(cause))
        else:
            self._referral.when_told(lambda: session.hangup(self._reason(cause)))

    def _in_dialog(self, event: events.SessionEvent) -> None:
        """Handle an event within a dialog, in either role."""
        if self._signalling_lost and self._comes_back(event):
            return
        match event:
            case events.FlowLost():
                # A closed connection says nothing about media, nor about a reconnection.
                self._signalling_lost = True
            case events.Ended():
                self._over = True
                if self._asked is not None:
                    self._asked.ended(Cause.CANCELLED)  # no NOTIFY counts after a BYE
                self._deliver(HungUp(_cause_of_end(event)))
            case events.Offered(exchange=exchange, body=body) if body:
                self._deliver(Offered(exchange, self._description(body), event.repeats))
            case events.Offered(exchange=exchange):
                self._wanted.add(exchange)
                self._deliver(Offered(exchange, None))
            case events.OfferCancelled(exchange=exchange):
                self._wanted.discard(exchange)
                self._deliver(OfferCancelled(exchange))
            case events.OfferAnswered():
                self._outcome(event)
            case events.Identified(message=message):
                self._renamed(message)
            case Referred(referral=referral):
                name = named_by(referral.replaces) if referral.replaces is not None else None
                self._referral = referral
                self._deliver(TransferRequested(str(referral.target), SipTransferReport(referral), name))
            case events.InfoReceived():
                assert self._session is not None
                self._infos.received(self._session, event, self._deliver)

    def _renamed(self, message: Message) -> None:
        """Adopt an identity announced by the far end, if believed, and report a change to the call."""
        announced = self._reads(message, self.identity)
        if announced is None:
            return
        known = self._address
        if known.asserted and not announced.asserted and not shows_itself(message):
            announced = hidden(announced)
        was = replace(known, display_name=known.display_name or known.user)
        new = replace(was, uri=announced.uri, display_name=announced.display_name, asserted=announced.asserted)
        if new == was:
            return
        # Verification and signature belong to the old name.
        self._address = replace(new, verified=announced.verified, signed=())
        if (new.uri, new.display_name) != (was.uri, was.display_name):
            self._deliver(Renamed())

    def values(self) -> dict[str, Any] | None:
        session = self._session
        return self._values([] if session is None else [session])

    def _values(self, sessions: Sequence[Session]) -> dict[str, Any]:
        kept = [values for session in sessions if (values := session.values()) is not None]
        return {"kind": "sip", "is_caller": self.is_caller, "shown": flat(self._shown), "sessions": kept}

    def _changed(self) -> None:
        """Report changed session values."""
        if not self._over:
            self._deliver(SignallingChanged())

    async def identified(self, peer: Address) -> None:
        if self._session is not None and not self._over:
            name = NameAddr(Uri.parse(peer.uri), peer.display_name)
            self._session.identify(name, identity_fields(peer, self._shown))

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        """Send the digit by INFO if the media did not carry it."""
        if sent or self._session is None:
            told(sent)
        else:
            self._infos.send_digit(self._session, self.party.dtmf, digit, duration_ms, told)

    def ask_key_frame(self) -> None:
        if self._session is not None and not self._over:
            self._infos.ask_key_frame(self._session)

    def _description(self, body: bytes) -> str:
        """Return a body's description and note its ICE session."""
        sdp = text_of(body)
        self._infos.described(sdp)
        return sdp

    def _comes_back(self, event: events.SessionEvent) -> bool:
        """Report a returned client to the call; return True if the event needs no further handling."""
        if isinstance(event, events.OfferAnswered) and event.status >= 300:
            return False  # possibly our own 408: no response came
        if not isinstance(event, events.Offered | events.OfferAnswered | events.InfoReceived | events.FlowFound):
            return False
        self._signalling_lost = False
        if isinstance(event, events.Offered) and event.body:
            self._deliver(Returned(event.exchange, self._description(event.body)))
            return True
        is_outcome = isinstance(event, events.OfferAnswered)
        if isinstance(event, events.OfferAnswered):
            self._outcome(event)  # first, because `Returned` discards pending offers
        self._deliver(Returned())
        return is_outcome

    def _outcome(self, event: events.OfferAnswered) -> None:
        """Route the answer to an offer of ours: requested by the call, by the peer, or sent as session refresh."""
        if self._early_outcomes is not None:
            self._early_outcomes.append(event)
            return
        sdp = self._description(event.body) if event.body and 200 <= event.status < 300 else None
        if event.exchange in self._wanted:
            self._wanted.discard(event.exchange)
            self._deliver(Confirmed(event.exchange, sdp))
        elif event.exchange in self._ours:
            refused = cause_of_status(event.status) if event.status >= 300 else Cause.NOT_ACCEPTABLE
            self._deliver(OfferAnswered(self._ours.pop(event.exchange), sdp, refused))
        elif sdp is not None:
            # The answer to a session refresh changed the description (RFC 3261 section 14.2).
            self._deliver(AnswerChanged())


class SipResumedLeg(SipLeg):
    """Far end of a call set up by a previous process."""

    def __init__(
        self, values: Mapping[str, Any], session: ResumedSession, party: Party, reads: Reader = nobody
    ) -> None:
        """`values` come from `SipLeg.values`; raises LookupError or TypeError for others."""
        super().__init__(party, address_of(values["address"]), values["identity"])
        self.is_caller = values["is_caller"]
        self._shown, self._reads = Shown(**values["shown"]), reads
        self._session = session
        session.changed = self._changed
        self.refresh_target = session.refresh_target
        session.listen(self._happened)

    def _happened(self, event: events.SessionEvent) -> None:
        if not self._over:
            self._in_dialog(event)

    async def end(self, cause: Cause) -> None:
        if not self._over:
            self._over = True
            self._hang_up(cause)


class SipTransferReport:
    """Reports a transfer to the sender of the REFER, by response and NOTIFYs."""

    def __init__(self, referral: Referral) -> None:
        self._referral = referral

    def accepted(self) -> None:
        self._referral.accept()

    def ringing(self) -> None:
        self._referral.progress(180)

    def ended(self, cause: Cause) -> None:
        status = cause.status
        if status >= 300:
            self._referral.refuse(status)
        self._referral.finish(status)


def _cause_of_end(event: events.Ended) -> Cause:
    """Return the cause of a dialog's end, from its Reason header field if present (RFC 3326)."""
    if event.by == "mistake":
        return Cause.ERROR
    if event.q850 is not None:
        return cause_of_q850(event.q850)
    if event.cause is not None and event.cause >= 300:
        return cause_of_status(event.cause)
    return Cause.NORMAL if event.by in ("remote", "local") else Cause.MEDIA_TIMEOUT
