"""The states, inputs and actions of a call, and what a table of them is.

A call is an *attempt* until one callee has answered (attempt_table.py) and a *bridge* from then on
(bridge_table.py). Each is a table `(state, input) -> (actions, next state)`; an input that has no
row is counted and logged, never a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.call.branches import Branch
from gateway.call.leg import CalleeLeg, CallerLeg, DigitPressed, Leg, LegEvent, TransferReport
from gateway.call.status import Cause
from gateway.call.timers import Timer
from gateway.media.engine import MediaEvent
from sdp.frozen import filled_at_once


class State(Enum):
    """Where a call is; every call goes from NEW to ENDED and never back."""

    __hash__ = object.__hash__  # by identity: Enum's own is a call of Python for every look at a table

    NEW = "new"
    CALLING = "calling"
    """The callee has our offer; nothing came back yet."""
    RINGING = "ringing"
    EARLY = "early"
    """The callee sends early media (183 with SDP)."""
    CONFIRMING = "confirming"
    """The callee has answered, and the caller, who made no offer, has ours."""
    CONNECTED = "connected"
    EXCHANGING = "exchanging"
    """Connected, and an offer is with one of the two sides."""
    AWAY = "away"
    """Connected, and the client of at least one side has vanished and may return."""
    ENDED = "ended"


class Input(Enum):
    """What can happen to a call, whoever it came from."""

    __hash__ = object.__hash__  # by identity: Enum's own is a call of Python for every look at a table

    START = "start"
    CALLEE_RINGING = "callee-ringing"
    CALLEE_EARLY_MEDIA = "callee-early-media"
    CALLEE_ANSWERED = "callee-answered"
    """With an answer to the caller's offer."""
    CALLEE_TOOK_OFFER = "callee-took-offer"
    """With an answer to an offer of ours, because the caller made none."""
    PREVIEW_TAKEN = "preview-taken"
    """The media of a callee's early description runs."""
    ANSWER_TAKEN = "answer-taken"
    """The engine has taken a callee's answer to the caller's offer."""
    COUNTER_TAKEN = "counter-taken"
    """The engine has taken a callee's answer to our offer."""
    CALLEE_REJECTED = "callee-rejected"
    CALLEE_FAILED = "callee-failed"
    """The media of one callee cannot come up."""
    CALLEE_REDIRECTED = "callee-redirected"
    """A callee names others to ask in its place."""
    BRANCH_TIMEOUT = "branch-timeout"
    """Those who are asked together have rung as long as they may."""
    BRANCH_OVER = "branch-over"
    """None of those who are asked together takes the call."""
    ALL_REJECTED = "all-rejected"
    CALLER_CONFIRMED = "caller-confirmed"
    """The caller's answer to our offer came."""
    CALLER_HUNG_UP = "caller-hung-up"
    CALLEE_HUNG_UP = "callee-hung-up"
    HUNG_UP = "hung-up"
    OFFERED = "offered"
    OFFER_WANTED = "offer-wanted"
    """A side asks for our offer (a re-INVITE without one)."""
    OFFER_CANCELLED = "offer-cancelled"
    OFFER_ANSWERED = "offer-answered"
    OFFER_TIMEOUT = "offer-timeout"
    EXCHANGE_OVER = "exchange-over"
    RENEGOTIATE = "renegotiate"
    """One side must be offered again by ourselves: its answer changed, or its peer."""
    REPLACE = "replace"
    """One leg makes room for another."""
    TAKE_PLACE = "take-place"
    """Another leg, with an offer of its own, takes the place of one (INVITE with Replaces)."""
    PICKED_UP = "picked-up"
    """Somebody who is not asked has taken the call in the place of those who are."""
    GIVE_AWAY = "give-away"
    """One leg moves to another call, and this one ends."""
    TRANSFER = "transfer"
    """One side leaves its place to whoever of the targets answers."""
    TARGET_RINGING = "target-ringing"
    TARGET_ANSWERED = "target-answered"
    TARGET_ASKED_AGAIN = "target-asked-again"
    TARGET_REJECTED = "target-rejected"
    TRANSFER_FAILED = "transfer-failed"
    """No target is left, or none answered in time."""
    TRANSFEROR_GONE = "transferor-gone"
    """Who asked for the transfer has hung up without waiting for its outcome."""
    LEG_AWAY = "leg-away"
    LEG_RETURNED = "leg-returned"
    ALL_RETURNED = "all-returned"
    REATTACH_TIMEOUT = "reattach-timeout"
    RENAMED = "renamed"
    """One side is somebody else than the other knows."""
    CANDIDATE = "candidate"
    DIGIT = "digit"
    DIGIT_REFUSED = "digit-refused"
    """The far end of a leg has not taken a digit by signalling."""
    MEDIA_CONNECTED = "media-connected"
    MEDIA_TIMEOUT = "media-timeout"
    MEDIA_FAILED = "media-failed"
    MEDIA_LOST = "media-lost"
    """What carried a side's media is gone, another transport is to be offered."""
    RING_TIMEOUT = "ring-timeout"
    MAX_DURATION = "max-duration"
    FAULT = "fault"
    STOP = "stop"


class Action(Enum):
    """What is done about it; each is one method of Attempt, of Bridge, or of both."""

    __hash__ = object.__hash__  # by identity: Enum's own is a call of Python for every look at a table

    OFFER_MEDIA = "offer_media"
    """Have the engine turn the caller's offer into one for each callee, or make one where there is none."""
    ACCEPT_EARLY = "accept_early"
    """Answer a browser at once, so that ICE and DTLS come up while the phone rings."""
    INVITE_CALLEES = "invite_callees"
    RING_CALLER = "ring_caller"
    EARLY_MEDIA = "early_media"
    HEAR_ANOTHER = "hear_another"
    """Let the caller hear the early media of the next callee that has some."""
    """Take a callee's early description; one that cannot be used is a preview that nobody needs."""
    CHOOSE_CALLEE = "choose_callee"
    """Keep the callee that answered, end every other."""
    ANSWER_MEDIA = "answer_media"
    """Take a callee's answer to the caller's offer; one that cannot be used ends that callee alone."""
    ANSWER_CALLER = "answer_caller"
    COMMIT_CALLEE = "commit_callee"
    """Take a callee's answer to the offer that we made; one that cannot be used ends that callee alone."""
    OFFER_CALLER = "offer_caller"
    """Accept the caller's INVITE with our offer."""
    COMMIT_CALLER = "commit_caller"
    DROP_CALLEE = "drop_callee"
    REDIRECT = "redirect"
    """Ask those whom a callee names, where the caller may call them."""
    END_BRANCH = "end_branch"
    NEXT_BRANCH = "next_branch"
    """Ask who comes after them, if anybody; have the caller hear why nobody takes the call, where there is a sound."""
    GIVE_UP = "give_up"
    """Ask nobody any more; have the caller hear why."""
    PASS_OFFER = "pass_offer"
    """Hand one side's offer to the other."""
    ANSWER_ALONE = "answer_alone"
    """Answer one side's offer without asking the other, who is not there to be asked."""
    MAKE_OFFER = "make_offer"
    """Reply to a request for an offer with one of our own."""
    OFFER_AGAIN = "offer_again"
    LOSE_MEDIA = "lose_media"
    """Offer one side another transport, as soon as nothing is in the way and it is there."""
    REMEMBER = "remember"
    """Do it once the open exchange is over."""
    REFUSE_GLARE = "refuse_glare"
    CROSS_OFFERS = "cross_offers"
    """Answer the offer of a side that was to be sent one, which then follows; refuse where that one is under way."""
    ANSWER_EARLY_OFFER = "answer_early_offer"
    TAKE_ANSWER = "take_answer"
    GIVE_UP_OFFER = "give_up_offer"
    """The answer never came: refuse the offer to the one who made it, all stays as it was."""
    FORGET_OFFER = "forget_offer"
    """Nobody waits for the answer any more."""
    ANSWER_NEWCOMER = "answer_newcomer"
    PICK_UP = "pick_up"
    """Answer a newcomer's offer and the caller's, who are to talk with each other."""
    END_CALLEES = "end_callees"
    REPLACE_LEG = "replace_leg"
    GIVE_LEG_AWAY = "give_leg_away"
    INVITE_TARGETS = "invite_targets"
    TELL_RINGING = "tell_ringing"
    COMMIT_TARGET = "commit_target"
    ASK_TARGET_AGAIN = "ask_target_again"
    """By the legs that it gives for other media."""
    DROP_TARGET = "drop_target"
    FAIL_TRANSFER = "fail_transfer"
    """Tell who asked; the call goes on as it was, or ends where that one has gone."""
    LET_GO = "let_go"
    """Who asked for the transfer is gone; the other side waits for who is to come."""
    WAIT_FOR_RETURN = "wait_for_return"
    TAKE_BACK = "take_back"
    JOIN = "join"
    IDENTIFY = "identify"
    """Tell one side who the other is."""
    ADD_CANDIDATE = "add_candidate"
    PASS_DIGIT = "pass_digit"
    PLAY_DIGIT = "play_digit"
    """Play a digit to a leg as tones, which is the last way there is."""
    NOTE_MEDIA = "note_media"
    END_LEGS = "end_legs"
    """Tell every leg that is still there why the call is over."""
    DELETE_MEDIA = "delete_media"


Row = tuple[tuple[Action, ...], State]
Table = Mapping[tuple[State, Input], Row]

FINISH = (Action.END_LEGS, Action.DELETE_MEDIA)
"""What every way to ENDED does."""


@dataclass(slots=True, kw_only=True, eq=False)
class Transfer:
    """One transfer of a call to somebody new, while it is under way."""

    transferor: Leg
    """Who leaves."""
    targets: list[CalleeLeg]
    """Who may come, as long as they have not refused."""
    report: TransferReport
    refusals: list[Cause] = field(default_factory=list)
    early: dict[str, str] = field(default_factory=dict)
    """Early descriptions of targets, by tag."""
    timer: Timer | None = None


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class CallInput:
    """One input with what came along."""

    input: Input
    leg: Leg | None = None
    event: LegEvent | MediaEvent | None = None
    cause: Cause | None = None
    digit: DigitPressed | None = None
    """DIGIT_REFUSED: which one `leg` has not got."""
    exchange: int = 0
    """OFFER_TIMEOUT: number of the exchange that was waited for."""
    new_leg: Leg | None = None
    """REPLACE: who comes in for `leg`."""
    newcomer: CallerLeg | None = None
    """TAKE_PLACE: who comes in for `leg`; its offer is the event."""
    only_ringing: bool = False
    """TAKE_PLACE: of a leg that has not answered yet, of no other."""
    held: bool = False
    """REPLACE: `new_leg` was on hold where it comes from."""
    transfer: Transfer | None = None
    """TRANSFER, TRANSFER_FAILED: which."""
    branch: Branch | None = None
    """BRANCH_TIMEOUT, BRANCH_OVER: which."""
    retry_after: int | None = None
    """CALLEE_REJECTED: seconds after which it may be asked again, where it has said so."""
    to_call: str = ""
    """GIVE_AWAY: id of the call that `leg` moves to."""
    done: Callable[[Cause], None] | None = None
    """TAKE_PLACE of a leg that talks, REPLACE, GIVE_AWAY: told once whether it came to that."""
