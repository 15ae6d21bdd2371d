"""Offer/answer rules of one dialog as one table (RFC 3264; RFC 3261 13.2, 14; RFC 3262 5; RFC 3311 5; RFC 6337).

A state records the open INVITE's side, the open offer's side, and the message with the offer, which decides the
answering message. Bodies are not read: callers report whether a message has a description. Retransmissions are not fed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.sip.errors import DialogError


class Invite(Enum):
    """Side of the open INVITE; never two at once (RFC 3261 14.1)."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    NONE = "none"
    LOCAL = "ours"
    REMOTE = "the peer's"
    LOCAL_ACCEPTED = "ours, accepted; our ACK is due"
    REMOTE_ACCEPTED = "the peer's, accepted by us; no ACK yet"


class Offer(Enum):
    """Side of the open offer."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    NONE = "nobody"
    LOCAL = "we"
    REMOTE = "the peer"
    LOCAL_PREVIEWED = "we; an unreliable 1xx showed the answer"
    REMOTE_PREVIEWED = "the peer; our unreliable 1xx showed the answer"
    LOCAL_ASKED = "nobody yet: our INVITE asks the peer for one"
    REMOTE_ASKED = "nobody yet: the peer's INVITE asks us for one"


class Carrier(Enum):
    """Messages that carry a session description, or change the permission to send one."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    INVITE = "INVITE"
    PROVISIONAL = "unreliable 1xx"
    RELIABLE = "reliable 1xx"
    SUCCESS = "2xx of INVITE"
    FAILURE = "300-699 of INVITE"
    ACK = "ACK of a 2xx"
    PRACK = "PRACK"
    PRACK_SUCCESS = "2xx of PRACK"
    PRACK_FAILURE = "300-699 of PRACK"
    UPDATE = "UPDATE"
    UPDATE_SUCCESS = "2xx of UPDATE"
    UPDATE_FAILURE = "300-699 of UPDATE"


class Meaning(Enum):
    """Effect of a message on the exchange."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    NOTHING = "nothing, or nothing new"
    OFFER = "its description is an offer, to be answered"
    ANSWER = "the answer: both descriptions stand"
    PREVIEW = "an early copy of the answer, which the 2xx may still change (RFC 6337 3.1)"
    MISSING = "the description that had to be here is not: the exchange is over without a result"
    REFUSED = "the offer was refused: the session is as it was"


class Way(Enum):
    """Direction of a message."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Joint:
    """State of the table."""

    invite: Invite = Invite.NONE
    offer: Offer = Offer.NONE
    by: Carrier | None = None
    """Message with the open offer, or the INVITE that requests an offer."""

    def __str__(self) -> str:
        return f"INVITE {self.invite.name}, offer {self.offer.name}" + (f" by {self.by.name}" if self.by else "")


Key = tuple[Joint, Way, Carrier, bool]
Row = tuple[Meaning, Joint]
_I, _O, _C, _M = Invite, Offer, Carrier, Meaning
STABLE = Joint()
ACK_MISSING = Joint(Invite.REMOTE_ACCEPTED)
"""State after both descriptions of the peer's INVITE are agreed and only the ACK of our 2xx is missing."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Vocabulary of one INVITE side; the table is symmetric between sender and receiver."""

    sends: Way
    replies: Way
    invite: Invite
    accepted: Invite
    offered: Offer
    previewed: Offer
    asked: Offer
    countered: Offer


_SIDES = (
    _Side(Way.SENT, Way.RECEIVED, _I.LOCAL, _I.LOCAL_ACCEPTED, _O.LOCAL, _O.LOCAL_PREVIEWED, _O.LOCAL_ASKED, _O.REMOTE),
    _Side(
        Way.RECEIVED, Way.SENT, _I.REMOTE, _I.REMOTE_ACCEPTED, _O.REMOTE, _O.REMOTE_PREVIEWED, _O.REMOTE_ASKED, _O.LOCAL
    ),
)
_BODY = (False, True)
_SECOND = (_C.UPDATE, _C.PRACK)
"""Carriers of an offer during an INVITE with a complete exchange."""

Rows = Iterator[tuple[Key, Row]]


def _invite_with_offer(side: _Side) -> Rows:
    """Yield RFC 6337 patterns 1 to 3: offer in INVITE, answer in the 2xx or earlier in a reliable 1xx."""
    accepted, answered = Joint(side.accepted), Joint(side.invite)
    offered = Joint(side.invite, side.offered, _C.INVITE)
    previewed = Joint(side.invite, side.previewed, _C.INVITE)
    yield (STABLE, side.sends, _C.INVITE, True), (_M.OFFER, offered)
    for state in (offered, previewed):
        yield (state, side.replies, _C.PROVISIONAL, True), (_M.PREVIEW, previewed)
        yield (state, side.replies, _C.RELIABLE, True), (_M.ANSWER, answered)
        yield (state, side.replies, _C.SUCCESS, True), (_M.ANSWER, accepted)
    yield (offered, side.replies, _C.SUCCESS, False), (_M.MISSING, accepted)
    # Deviation from RFC 3261 13.2.1, seen in practice: the 2xx omits the answer shown in the 183.
    yield (previewed, side.replies, _C.SUCCESS, False), (_M.ANSWER, accepted)


def _invite_without_offer(side: _Side) -> Rows:
    """Yield RFC 6337 patterns 4 and 5: offer in the 2xx or a reliable 1xx, answer in ACK or PRACK."""
    accepted, answered = Joint(side.accepted), Joint(side.invite)
    asked = Joint(side.invite, side.asked, _C.INVITE)
    early = Joint(side.invite, side.countered, _C.RELIABLE)
    final = Joint(side.accepted, side.countered, _C.SUCCESS)
    yield (STABLE, side.sends, _C.INVITE, False), (_M.NOTHING, asked)
    yield (asked, side.replies, _C.PROVISIONAL, True), (_M.NOTHING, asked)
    yield (asked, side.replies, _C.RELIABLE, True), (_M.OFFER, early)
    yield (asked, side.replies, _C.SUCCESS, True), (_M.OFFER, final)
    yield (asked, side.replies, _C.SUCCESS, False), (_M.MISSING, accepted)
    yield (early, side.sends, _C.PRACK, True), (_M.ANSWER, answered)
    for body in _BODY:
        # Deviation from RFC 3262 section 3: a 2xx before the PRACK of the offer's 1xx; the ACK may carry the answer.
        yield (early, side.replies, _C.SUCCESS, body), (_M.NOTHING, final)
    yield (final, side.sends, _C.ACK, True), (_M.ANSWER, STABLE)
    yield (final, side.sends, _C.ACK, False), (_M.MISSING, STABLE)


def _invite_answered(side: _Side) -> Rows:
    """Yield the rows after an INVITE's exchange is complete, possibly with a second offer open."""
    for offer, by in _second_offers():
        open_, accepted = Joint(side.invite, offer, by), Joint(side.accepted, offer, by)
        for body in _BODY:
            yield (open_, side.replies, _C.SUCCESS, body), (_M.NOTHING, accepted)
            yield (open_, side.replies, _C.FAILURE, body), (_M.NOTHING, Joint(_I.NONE, offer, by))
            yield (accepted, side.sends, _C.ACK, body), (_M.NOTHING, Joint(_I.NONE, offer, by))
        yield (open_, side.replies, _C.PROVISIONAL, True), (_M.NOTHING, open_)
        yield (open_, side.replies, _C.RELIABLE, True), (_M.NOTHING, open_)
    unanswered = (
        Joint(side.invite, side.offered, _C.INVITE),
        Joint(side.invite, side.previewed, _C.INVITE),
        Joint(side.invite, side.asked, _C.INVITE),
        Joint(side.invite, side.countered, _C.RELIABLE),
    )
    for state in unanswered:
        for body in _BODY:
            yield (state, side.replies, _C.FAILURE, body), (_M.REFUSED, STABLE)


def _second_offers() -> tuple[tuple[Offer, Carrier | None], ...]:
    return ((_O.NONE, None), *((offer, by) for offer in (_O.LOCAL, _O.REMOTE) for by in _SECOND))


def _later_offers(side: _Side) -> Rows:
    """Yield UPDATE and PRACK: an offer whenever none is open (RFC 3311 5.1, RFC 3262 5)."""
    for invite in Invite:
        free = Joint(invite)
        for by, success, failure in (
            (_C.UPDATE, _C.UPDATE_SUCCESS, _C.UPDATE_FAILURE),
            (_C.PRACK, _C.PRACK_SUCCESS, _C.PRACK_FAILURE),
        ):
            open_ = Joint(invite, side.offered, by)
            if by is _C.UPDATE or invite is side.invite:
                yield (free, side.sends, by, True), (_M.OFFER, open_)
            yield (open_, side.replies, success, True), (_M.ANSWER, free)
            yield (open_, side.replies, success, False), (_M.MISSING, free)
            for body in _BODY:
                yield (open_, side.replies, failure, body), (_M.REFUSED, free)


def _rows() -> dict[Key, Row]:
    rows: dict[Key, Row] = {}
    for side in _SIDES:
        for part in (_invite_with_offer, _invite_without_offer, _invite_answered, _later_offers):
            rows.update(part(side))
    states = {state for state, *_ in rows} | {state for _, state in rows.values()}
    silent = set(_C) - {_C.INVITE, _C.SUCCESS, _C.FAILURE, _C.ACK}
    for state in states:
        for way in Way:
            for carrier in silent:
                # Without description these have no effect, except a PRACK that must carry the answer.
                if not (carrier is _C.PRACK and state.by is _C.RELIABLE):
                    rows.setdefault((state, way, carrier, False), (_M.NOTHING, state))
    return rows


TABLE: Mapping[Key, Row] = _rows()
"""(state, direction, message, has a description) -> (meaning, next state)."""

_OFFERERS = frozenset((_C.UPDATE, _C.PRACK))


class OfferAnswer:
    """Offer/answer state of a dialog; a message without a row is rejected and changes nothing."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = STABLE

    def may_send(self, carrier: Carrier, has_description: bool) -> bool:
        """Return True if the table permits sending the message now."""
        return (self.state, Way.SENT, carrier, has_description) in TABLE

    def sent(self, carrier: Carrier, has_description: bool) -> Meaning:
        """Record a sent message; raise DialogError (500, our bug) if `may_send` is False."""
        row = TABLE.get((self.state, Way.SENT, carrier, has_description))
        if row is None:
            raise DialogError(f"{carrier.value} may not be sent now ({self.state})")
        return self._take(row)

    def received(self, carrier: Carrier, has_description: bool) -> Meaning:
        """Record a received message.

        Raise DialogError with the status to answer: 491 if the message crosses our offer or INVITE (RFC 3261 14.2, RFC
        3311 5.2), 500 if an earlier request or its ACK is still open, otherwise 400.
        """
        row = TABLE.get((self.state, Way.RECEIVED, carrier, has_description))
        if row is None:
            raise DialogError(f"{carrier.value} crosses what is open ({self.state})", status=self._refusal(carrier))
        return self._take(row)

    def _take(self, row: Row) -> Meaning:
        self.state = row[1]
        return row[0]

    def _refusal(self, carrier: Carrier) -> int:
        state = self.state
        if carrier is Carrier.INVITE:
            theirs = state.invite in (_I.REMOTE, _I.REMOTE_ACCEPTED) or state.offer is _O.REMOTE
            return 500 if theirs and state.invite not in (_I.LOCAL, _I.LOCAL_ACCEPTED) else 491
        if carrier in _OFFERERS and state.by is not Carrier.RELIABLE:
            return 500 if state.offer in (_O.REMOTE, _O.REMOTE_PREVIEWED, _O.REMOTE_ASKED) else 491
        return 491 if carrier is Carrier.UPDATE else 400


def glare_delay(owns_call_id: bool, random: float) -> float:
    """Return the seconds to wait after a 491 before retrying, in steps of 10 ms (RFC 3261 14.1).

    2.1 to 4 s for the owner of the Call-ID, 0 to 2 s otherwise; `random` is in [0, 1).
    """
    low, steps = (210, 191) if owns_call_id else (0, 201)
    return (low + int(random * steps)) / 100


def overlap_delay(random: float) -> int:
    """Return the Retry-After seconds, 0 to 10, of a 500 to an overlapping request (RFC 3261 14.2)."""
    return int(random * 11)
