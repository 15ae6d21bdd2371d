"""Who may offer when: the offer/answer rules of SIP as a table (RFC 3261 13.2, 14; RFC 3262, 3311, 6337).

The bodies themselves are not read here; callers say whether a message carries a session description.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gateway.sip.errors import DialogError
from gateway.sip.message.message import Request, Response


class Exchange(Enum):
    """Where the current offer/answer exchange stands, seen from one side."""

    STABLE = "no exchange under way"
    LOCAL_OFFER = "we offered"
    REMOTE_OFFER = "the peer offered"
    LOCAL_OFFER_PREVIEWED = "we offered; an unreliable 1xx showed the answer"
    REMOTE_OFFER_PREVIEWED = "the peer offered; our unreliable 1xx showed the answer"
    LOCAL_INVITED = "our INVITE had no offer: the peer is to make one"
    REMOTE_INVITED = "the peer's INVITE had no offer: we are to make one"
    LOCAL_COUNTER = "our response to an INVITE without offer made one"
    REMOTE_COUNTER = "the peer's response to our INVITE without offer made one"


class Carrier(Enum):
    """Messages that can carry a session description, or whose failure ends an exchange."""

    INVITE = "INVITE"
    PROVISIONAL = "unreliable 1xx"
    RELIABLE = "reliable 1xx"
    SUCCESS = "2xx of INVITE"
    FAILURE = "300-699 of INVITE"
    ACK = "ACK"
    PRACK = "PRACK"
    PRACK_SUCCESS = "2xx of PRACK"
    UPDATE = "UPDATE"
    UPDATE_SUCCESS = "2xx of UPDATE"
    UPDATE_FAILURE = "300-699 of UPDATE"


class Meaning(Enum):
    """What the description in a message is."""

    NOTHING = "no description, or one that says nothing new"
    OFFER = "an offer, to be answered"
    ANSWER = "the answer: it stands"
    PREVIEW = "an early copy of the answer; the reliable one will be the same (RFC 6337 3.1)"


class Way(Enum):
    """Who sent the message."""

    SENT = "sent"
    RECEIVED = "received"


Key = tuple[Exchange, Way, Carrier, bool]
_E, _C, _M = Exchange, Carrier, Meaning


def _rows() -> dict[Key, tuple[Meaning, Exchange]]:
    rows: dict[Key, tuple[Meaning, Exchange]] = {}
    sides = (
        (Way.SENT, Way.RECEIVED, _E.LOCAL_OFFER, _E.LOCAL_OFFER_PREVIEWED, _E.LOCAL_INVITED, _E.REMOTE_COUNTER),
        (Way.RECEIVED, Way.SENT, _E.REMOTE_OFFER, _E.REMOTE_OFFER_PREVIEWED, _E.REMOTE_INVITED, _E.LOCAL_COUNTER),
    )
    for asks, replies, offered, previewed, invited, counter in sides:
        # Requests that begin an exchange.
        rows[_E.STABLE, asks, _C.INVITE, True] = (_M.OFFER, offered)
        rows[_E.STABLE, asks, _C.INVITE, False] = (_M.NOTHING, invited)
        rows[_E.STABLE, asks, _C.UPDATE, True] = (_M.OFFER, offered)
        rows[_E.STABLE, asks, _C.PRACK, True] = (_M.OFFER, offered)
        # The offer came in the INVITE, the UPDATE or the PRACK.
        for state in (offered, previewed):
            rows[state, replies, _C.PROVISIONAL, True] = (_M.PREVIEW, previewed)
            rows[state, replies, _C.RELIABLE, True] = (_M.ANSWER, _E.STABLE)
            rows[state, replies, _C.SUCCESS, True] = (_M.ANSWER, _E.STABLE)
            rows[state, replies, _C.FAILURE, False] = (_M.NOTHING, _E.STABLE)
            rows[state, replies, _C.FAILURE, True] = (_M.NOTHING, _E.STABLE)
        rows[previewed, replies, _C.SUCCESS, False] = (_M.ANSWER, _E.STABLE)
        rows[offered, replies, _C.UPDATE_SUCCESS, True] = (_M.ANSWER, _E.STABLE)
        rows[offered, replies, _C.PRACK_SUCCESS, True] = (_M.ANSWER, _E.STABLE)
        for body in (False, True):
            rows[offered, replies, _C.UPDATE_FAILURE, body] = (_M.NOTHING, _E.STABLE)
            rows[_E.STABLE, replies, _C.SUCCESS, body] = (_M.NOTHING, _E.STABLE)
            rows[_E.STABLE, replies, _C.RELIABLE, body] = (_M.NOTHING, _E.STABLE)
            rows[_E.STABLE, replies, _C.FAILURE, body] = (_M.NOTHING, _E.STABLE)
            rows[invited, replies, _C.FAILURE, body] = (_M.NOTHING, _E.STABLE)
            rows[counter, replies, _C.FAILURE, body] = (_M.NOTHING, _E.STABLE)
        rows[_E.STABLE, replies, _C.PROVISIONAL, True] = (_M.NOTHING, _E.STABLE)
        # The INVITE had no offer: the first reliable response makes one, its acknowledgement answers.
        rows[invited, replies, _C.RELIABLE, True] = (_M.OFFER, counter)
        rows[invited, replies, _C.SUCCESS, True] = (_M.OFFER, counter)
        rows[counter, asks, _C.ACK, True] = (_M.ANSWER, _E.STABLE)
        rows[counter, asks, _C.PRACK, True] = (_M.ANSWER, _E.STABLE)
        rows[invited, replies, _C.PROVISIONAL, True] = (_M.NOTHING, invited)
    return rows


TABLE: Mapping[Key, tuple[Meaning, Exchange]] = _rows()
"""(state, who sent it, message, has a description) -> (what it is, next state)."""

_OFFERERS = frozenset((Carrier.INVITE, Carrier.UPDATE, Carrier.PRACK))
_WE_OFFERED = frozenset(
    (Exchange.LOCAL_OFFER, Exchange.LOCAL_OFFER_PREVIEWED, Exchange.LOCAL_INVITED, Exchange.LOCAL_COUNTER)
)


class OfferAnswer:
    """One dialog's offer/answer state; a message the table has no row for is refused and changes nothing."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = Exchange.STABLE

    def sent(self, carrier: Carrier, has_description: bool) -> Meaning:
        """Note a message that we send; raises DialogError (491 or 500) when we may not send that now."""
        return self._step(Way.SENT, carrier, has_description)

    def received(self, carrier: Carrier, has_description: bool) -> Meaning:
        """Note a message that came.

        Raises DialogError with the status that answers it: 491 when it crosses an offer of ours (RFC 3261 14.2,
        RFC 3311 5.2), 500 when the peer offers again before we have answered, 400 where a description is missing.
        """
        return self._step(Way.RECEIVED, carrier, has_description)

    def _step(self, way: Way, carrier: Carrier, has_description: bool) -> Meaning:
        row = TABLE.get((self.state, way, carrier, has_description))
        if row is not None:
            self.state = row[1]
            return row[0]
        if not has_description and (carrier is not Carrier.INVITE or self.state is Exchange.STABLE):
            return self._silent(way, carrier)
        if carrier in _OFFERERS:
            if way is Way.RECEIVED and self.state not in _WE_OFFERED:
                raise DialogError("an offer is not answered yet", status=500)
            raise DialogError(
                "an offer of ours is under way" if way is Way.RECEIVED else "may not offer now", status=491
            )
        raise DialogError(f"{carrier.value} may not carry a description now", status=400)

    def _silent(self, way: Way, carrier: Carrier) -> Meaning:
        # Messages without a description are lawful everywhere except where the exchange needs one; there the
        # exchange is over without result, and the caller ends the session (RFC 3261 13.2.1).
        needed = {
            (Carrier.SUCCESS, Way.RECEIVED): (Exchange.LOCAL_OFFER, Exchange.LOCAL_INVITED),
            (Carrier.SUCCESS, Way.SENT): (Exchange.REMOTE_OFFER, Exchange.REMOTE_INVITED),
            (Carrier.ACK, Way.RECEIVED): (Exchange.LOCAL_COUNTER,),
            (Carrier.ACK, Way.SENT): (Exchange.REMOTE_COUNTER,),
            (Carrier.UPDATE_SUCCESS, Way.RECEIVED): (Exchange.LOCAL_OFFER,),
            (Carrier.UPDATE_SUCCESS, Way.SENT): (Exchange.REMOTE_OFFER,),
        }
        if self.state in needed.get((carrier, way), ()):
            self.state = Exchange.STABLE
            raise DialogError(f"{carrier.value} lacks the description it needs", status=400)
        return Meaning.NOTHING


def carrier_of(message: Request | Response, *, reliable: bool = False) -> Carrier | None:
    """What a message is to this table, None when it has no part in offer/answer.

    `reliable` says that the session takes 100rel; a 1xx then counts as reliable by its RSeq and Require.
    """
    if isinstance(message, Request):
        return {
            "INVITE": Carrier.INVITE,
            "ACK": Carrier.ACK,
            "PRACK": Carrier.PRACK,
            "UPDATE": Carrier.UPDATE,
        }.get(message.method)
    method = message.cseq.method
    if method == "INVITE":
        if message.is_provisional:
            confirmed = reliable and message.rseq is not None and "100rel" in message.require
            return Carrier.RELIABLE if confirmed else Carrier.PROVISIONAL
        return Carrier.SUCCESS if message.is_success else Carrier.FAILURE
    if method == "UPDATE" and message.is_final:
        return Carrier.UPDATE_SUCCESS if message.is_success else Carrier.UPDATE_FAILURE
    return Carrier.PRACK_SUCCESS if method == "PRACK" and message.is_success else None


def glare_delay(owns_call_id: bool, random: float) -> float:
    """Seconds to wait after a 491 before the offer is made again, in steps of 10 ms (RFC 3261 14.1).

    2.1 to 4 s for the side that owns the Call-ID, 0 to 2 s for the other; `random` is in [0, 1).
    """
    low, steps = (210, 191) if owns_call_id else (0, 201)
    return (low + int(random * steps)) / 100


def overlap_delay(random: float) -> int:
    """Seconds for the Retry-After of a 500 to an INVITE that overlaps another one: 0 to 10 (RFC 3261 14.2)."""
    return int(random * 11)
