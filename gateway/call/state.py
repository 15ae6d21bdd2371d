"""States, inputs and actions of a call, and the type of its tables.

A call is an *attempt* until a callee has answered (attempt_table.py), then a *bridge* (bridge_table.py). Each is a
table `(state, input) -> (actions, next state)`; an input without a row is counted and logged, never a crash.
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
    """State of a call; every call goes from NEW to ENDED and never back."""

    __hash__ = object.__hash__  # identity hash: Enum's own would call Python code for every look-up in a table

    NEW = "new"
    CALLING = "calling"
    """The callee has our offer; no response yet."""
    RINGING = "ringing"
    EARLY = "early"
    """The callee sends early media (183 with SDP)."""
    CONFIRMING = "confirming"
    """The callee has answered; the caller, without an offer of its own, has ours."""
    CONNECTED = "connected"
    EXCHANGING = "exchanging"
    """Connected, with an offer pending at one leg."""
    AWAY = "away"
    """Connected; the client of at least one leg has vanished and may return."""
    ENDED = "ended"


class Input(Enum):
    """Input of a call, from any source."""

    __hash__ = object.__hash__  # identity hash: Enum's own would call Python code for every look-up in a table

    START = "start"
    CALLEE_RINGING = "callee-ringing"
    CALLEE_EARLY_MEDIA = "callee-early-media"
    CALLEE_ANSWERED = "callee-answered"
    """Answer to the caller's offer."""
    CALLEE_TOOK_OFFER = "callee-took-offer"
    """Answer to our offer, for a caller without an offer."""
    PREVIEW_TAKEN = "preview-taken"
    """Media of a callee's early description is running."""
    ANSWER_TAKEN = "answer-taken"
    """The engine accepted a callee's answer to the caller's offer."""
    COUNTER_TAKEN = "counter-taken"
    """The engine accepted a callee's answer to our offer."""
    CALLEE_REJECTED = "callee-rejected"
    CALLEE_FAILED = "callee-failed"
    """The media of one callee failed."""
    CALLEE_REDIRECTED = "callee-redirected"
    """A callee redirects the call."""
    BRANCH_TIMEOUT = "branch-timeout"
    """The ringing time of a branch is over."""
    BRANCH_OVER = "branch-over"
    """No callee of a branch took the call."""
    ALL_REJECTED = "all-rejected"
    CALLER_CONFIRMED = "caller-confirmed"
    """The caller answered our offer."""
    CALLER_HUNG_UP = "caller-hung-up"
    CALLEE_HUNG_UP = "callee-hung-up"
    HUNG_UP = "hung-up"
    OFFERED = "offered"
    OFFER_WANTED = "offer-wanted"
    """A leg asks for our offer (re-INVITE without SDP)."""
    OFFER_CANCELLED = "offer-cancelled"
    OFFER_ANSWERED = "offer-answered"
    OFFER_TIMEOUT = "offer-timeout"
    EXCHANGE_OVER = "exchange-over"
    RENEGOTIATE = "renegotiate"
    """A leg needs a new offer: its answer or its peer has changed."""
    REPLACE = "replace"
    """A leg is replaced by a new one."""
    TAKE_PLACE = "take-place"
    """A new leg with an offer replaces a leg (INVITE with Replaces)."""
    PICKED_UP = "picked-up"
    """A leg outside the branches took the call by pickup."""
    GIVE_AWAY = "give-away"
    """A leg moves to a second call, and the call ends."""
    TRANSFER = "transfer"
    """A leg is to be replaced by the first target to answer."""
    TARGET_RINGING = "target-ringing"
    TARGET_ANSWERED = "target-answered"
    TARGET_ASKED_AGAIN = "target-asked-again"
    TARGET_REJECTED = "target-rejected"
    TRANSFER_FAILED = "transfer-failed"
    """No target is left, or none answered in time."""
    TRANSFEROR_GONE = "transferor-gone"
    """The transferor hung up before the outcome."""
    LEG_AWAY = "leg-away"
    LEG_RETURNED = "leg-returned"
    ALL_RETURNED = "all-returned"
    REATTACH_TIMEOUT = "reattach-timeout"
    RENAMED = "renamed"
    """The peer's identity has changed."""
    CANDIDATE = "candidate"
    DIGIT = "digit"
    DIGIT_REFUSED = "digit-refused"
    """The far end of a leg did not take a digit by signalling."""
    MEDIA_CONNECTED = "media-connected"
    MEDIA_TIMEOUT = "media-timeout"
    MEDIA_FAILED = "media-failed"
    MEDIA_LOST = "media-lost"
    """A leg's transport is lost; a new one is to be offered."""
    RING_TIMEOUT = "ring-timeout"
    MAX_DURATION = "max-duration"
    FAULT = "fault"
    STOP = "stop"


class Action(Enum):
    """Action of a row; each is a method of Attempt, of Bridge, or of both."""

    __hash__ = object.__hash__  # identity hash: Enum's own would call Python code for every look-up in a table

    OFFER_MEDIA = "offer_media"
    """Translate the caller's offer for each callee, or create one for a caller without an offer."""
    ACCEPT_EARLY = "accept_early"
    """Answer a browser at once, so that ICE and DTLS come up while the phone rings."""
    INVITE_CALLEES = "invite_callees"
    RING_CALLER = "ring_caller"
    EARLY_MEDIA = "early_media"
    HEAR_ANOTHER = "hear_another"
    """Play the early media of the next callee to the caller."""
    """Use a callee's early description; an unusable one is ignored."""
    CHOOSE_CALLEE = "choose_callee"
    """Keep the answering callee and end the rest."""
    ANSWER_MEDIA = "answer_media"
    """Use a callee's answer to the caller's offer; an unusable one ends only the callee."""
    ANSWER_CALLER = "answer_caller"
    COMMIT_CALLEE = "commit_callee"
    """Use a callee's answer to our offer; an unusable one ends only the callee."""
    OFFER_CALLER = "offer_caller"
    """Answer the caller's INVITE with our offer."""
    COMMIT_CALLER = "commit_caller"
    DROP_CALLEE = "drop_callee"
    REDIRECT = "redirect"
    """Invite the targets of a redirection, within the caller's permissions."""
    END_BRANCH = "end_branch"
    NEXT_BRANCH = "next_branch"
    """Invite the next branch, or announce the failure to the caller."""
    GIVE_UP = "give_up"
    """Cancel all callees and announce the failure to the caller."""
    PASS_OFFER = "pass_offer"
    """Pass a leg's offer to its peer."""
    ANSWER_ALONE = "answer_alone"
    """Answer a leg's offer while the peer is absent."""
    MAKE_OFFER = "make_offer"
    """Answer a request for an offer with ours."""
    OFFER_AGAIN = "offer_again"
    LOSE_MEDIA = "lose_media"
    """Offer a leg a new transport, once available and without a pending exchange."""
    REMEMBER = "remember"
    """Postpone until the open exchange is closed."""
    REFUSE_GLARE = "refuse_glare"
    CROSS_OFFERS = "cross_offers"
    """Answer the crossing offer of a leg before ours is sent, or reject it if ours is already on its way."""
    ANSWER_EARLY_OFFER = "answer_early_offer"
    TAKE_ANSWER = "take_answer"
    GIVE_UP_OFFER = "give_up_offer"
    """Reject the offer of the source after a missing answer; descriptions stay."""
    FORGET_OFFER = "forget_offer"
    """Close the exchange without an answer."""
    ANSWER_NEWCOMER = "answer_newcomer"
    PICK_UP = "pick_up"
    """Answer the offers of a newcomer and of the caller, and connect the two."""
    END_CALLEES = "end_callees"
    REPLACE_LEG = "replace_leg"
    GIVE_LEG_AWAY = "give_leg_away"
    INVITE_TARGETS = "invite_targets"
    TELL_RINGING = "tell_ringing"
    COMMIT_TARGET = "commit_target"
    ASK_TARGET_AGAIN = "ask_target_again"
    """Invite the target's new legs with a different offer."""
    DROP_TARGET = "drop_target"
    FAIL_TRANSFER = "fail_transfer"
    """Report the failure to the transferor; end the call if the transferor has left."""
    LET_GO = "let_go"
    """Let the transferor go; its peer waits for the target."""
    WAIT_FOR_RETURN = "wait_for_return"
    TAKE_BACK = "take_back"
    JOIN = "join"
    IDENTIFY = "identify"
    """Announce the peer's identity to a leg."""
    ADD_CANDIDATE = "add_candidate"
    PASS_DIGIT = "pass_digit"
    PLAY_DIGIT = "play_digit"
    """Play a digit as tones, the last resort."""
    NOTE_MEDIA = "note_media"
    END_LEGS = "end_legs"
    """End every remaining leg with the cause."""
    DELETE_MEDIA = "delete_media"


Row = tuple[tuple[Action, ...], State]
Table = Mapping[tuple[State, Input], Row]

FINISH = (Action.END_LEGS, Action.DELETE_MEDIA)
"""Actions on every transition to ENDED."""


@dataclass(slots=True, kw_only=True, eq=False)
class Transfer:
    """A transfer in progress."""

    transferor: Leg
    """Leg to be replaced."""
    targets: list[CalleeLeg]
    """Targets that have not rejected the call."""
    report: TransferReport
    refusals: list[Cause] = field(default_factory=list)
    early: dict[str, str] = field(default_factory=dict)
    """Early descriptions of targets, by tag."""
    timer: Timer | None = None


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class CallInput:
    """An input with its details."""

    input: Input
    leg: Leg | None = None
    event: LegEvent | MediaEvent | None = None
    cause: Cause | None = None
    digit: DigitPressed | None = None
    """DIGIT_REFUSED: digit that `leg` did not receive."""
    exchange: int = 0
    """OFFER_TIMEOUT: number of the expired exchange."""
    new_leg: Leg | None = None
    """REPLACE: leg that replaces `leg`."""
    newcomer: CallerLeg | None = None
    """TAKE_PLACE: leg that replaces `leg`; `event` is its offer."""
    only_ringing: bool = False
    """TAKE_PLACE: applies only while `leg` is unanswered."""
    held: bool = False
    """REPLACE: `new_leg` was on hold in its old call."""
    transfer: Transfer | None = None
    """TRANSFER, TRANSFER_FAILED: transfer concerned."""
    branch: Branch | None = None
    """BRANCH_TIMEOUT, BRANCH_OVER: branch concerned."""
    retry_after: int | None = None
    """CALLEE_REJECTED: Retry-After of the callee in seconds."""
    to_call: str = ""
    """GIVE_AWAY: id of the call that adopts `leg`."""
    done: Callable[[Cause], None] | None = None
    """TAKE_PLACE of an answered leg, REPLACE, GIVE_AWAY: called once with the outcome."""
