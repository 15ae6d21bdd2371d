"""Mapping of leg and media events to inputs of the call's tables."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.call.attempt import Attempt
from gateway.call.bridge import Bridge
from gateway.call.leg import (
    AnswerChanged,
    Answered,
    Away,
    CandidateAdded,
    Confirmed,
    DigitPressed,
    HungUp,
    Leg,
    LegEvent,
    OfferAnswered,
    OfferCancelled,
    Offered,
    Redirected,
    Rejected,
    Renamed,
    Returned,
    Ringing,
)
from gateway.call.state import CallInput, Input
from gateway.call.status import Cause
from gateway.call.transferring import input_of_target
from gateway.media.engine import (
    Connected,
    DtmfReceived,
    FirstMedia,
    Kind,
    MediaEvent,
    MediaFailed,
    MediaLost,
    MediaTimeout,
    OfferWanted,
)

_PLAIN = {
    OfferCancelled: Input.OFFER_CANCELLED,
    AnswerChanged: Input.RENEGOTIATE,
    Away: Input.LEG_AWAY,
    Returned: Input.LEG_RETURNED,
    CandidateAdded: Input.CANDIDATE,
    DigitPressed: Input.DIGIT,
}
"""Events with a fixed input."""


def input_of_leg(machine: Attempt | Bridge, leg: Leg, event: LegEvent) -> CallInput | None:
    """Return the input for an event of `leg`; None for an event impossible in its role."""
    if leg in machine.legs:
        return _of_leg(machine, leg, event)
    return input_of_target(leg, event) if isinstance(machine, Bridge) and machine.is_target(leg) else None


def _of_leg(machine: Attempt | Bridge, leg: Leg, event: LegEvent) -> CallInput | None:
    what = _of_callee(machine, leg, event) if isinstance(event, Ringing | Answered | Rejected | Redirected) else None
    match event:
        case HungUp(cause=cause):
            return CallInput(input=_hung_up(machine, leg), leg=leg, event=event, cause=cause)
        case Rejected(cause=cause, retry_after=wait) if what is not None:
            return CallInput(input=what, leg=leg, event=event, cause=cause, retry_after=wait)
        case Offered(sdp=sdp):
            what = Input.OFFERED if sdp is not None else Input.OFFER_WANTED
        case Confirmed(exchange=0):
            what = Input.CALLER_CONFIRMED
        case OfferAnswered() | Confirmed():
            what = Input.OFFER_ANSWERED
        case Renamed():
            what = machine.renamed(leg)
        case _:
            what = what or _PLAIN.get(type(event))
    return None if what is None else CallInput(input=what, leg=leg, event=event)


def _of_callee(machine: Attempt | Bridge, leg: Leg, event: LegEvent) -> Input | None:
    """Return the input for an event of a callee in an unanswered call."""
    if isinstance(machine, Bridge) or leg is machine.caller:
        return None
    match event:
        case Ringing(sdp=str(sdp), is_another=is_another):
            return machine.early(leg, sdp, is_another=is_another)
        case Ringing():
            return Input.CALLEE_RINGING
        case Answered():
            return machine.answered_as
        case Redirected():
            return Input.CALLEE_REDIRECTED
        case _:
            return Input.CALLEE_REJECTED


def _hung_up(machine: Attempt | Bridge, leg: Leg) -> Input:
    if isinstance(machine, Bridge):
        return Input.TRANSFEROR_GONE if machine.is_transferor(leg) else Input.HUNG_UP
    return Input.CALLER_HUNG_UP if leg is machine.caller else Input.CALLEE_HUNG_UP


def input_of_media(machine: Attempt | Bridge, event: MediaEvent) -> CallInput | None:
    """Return the input for a media event; None if its party has left the call."""
    leg = next((leg for leg in machine.legs if leg.party.tag == event.tag), None)
    if leg is None:
        return None
    is_gone = isinstance(event, MediaTimeout) and event.is_doubted
    if isinstance(event, MediaTimeout | MediaFailed) and leg.may_return and isinstance(machine, Bridge) and not is_gone:
        return CallInput(input=Input.LEG_AWAY, leg=leg)
    match event:
        case Connected() | FirstMedia():
            return CallInput(input=Input.MEDIA_CONNECTED, leg=leg, event=event)
        case MediaTimeout():
            return CallInput(input=Input.MEDIA_TIMEOUT, leg=leg, event=event, cause=Cause.MEDIA_TIMEOUT)
        case MediaLost() if isinstance(machine, Bridge):
            return CallInput(input=Input.MEDIA_LOST, leg=leg, event=event)
        case OfferWanted() if isinstance(machine, Bridge):
            return CallInput(input=Input.RENEGOTIATE, leg=leg)
        case MediaFailed() | MediaLost():
            one_of_many = isinstance(machine, Attempt) and leg is not machine.caller
            what = Input.CALLEE_FAILED if one_of_many else Input.MEDIA_FAILED
            return CallInput(input=what, leg=leg, event=event, cause=Cause.MEDIA_FAILED)
        case DtmfReceived():
            return CallInput(input=Input.DIGIT, leg=leg, event=event)
    return None


def is_kept(what: CallInput) -> bool:
    """Return True for inputs that can change the stored state of an answered call."""
    if what.input is Input.MEDIA_CONNECTED:
        return isinstance(what.event, Connected) and what.leg is not None and what.leg.party.kind is Kind.WEBRTC
    return what.input not in (Input.DIGIT, Input.DIGIT_REFUSED, Input.CANDIDATE)


def changed_by(what: CallInput, caller: Leg) -> Sequence[Leg] | None:
    """Return the legs whose stored values an input can change; None for any."""
    if what.input is Input.MEDIA_CONNECTED:
        return ()
    # The callee's answer itself was stored on arrival.
    return (caller,) if what.input in (Input.ANSWER_TAKEN, Input.COUNTER_TAKEN) else None
