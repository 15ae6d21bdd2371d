"""Parties that change their peer, are without one, or come from another call: all by offers in another's words.

rtpengine makes no offers of its own. What one party said is offered to the next; who stays keeps its ports and keys.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from gateway.media.engine import Kind, MediaError, MediaEvent, OfferWanted, Party
from gateway.media.rtpengine.agreements import Agreements
from gateway.media.rtpengine.call import CallState, PartyState
from gateway.media.rtpengine.requests import ask, delete
from sdp import SessionDescription

log = structlog.get_logger(__name__)


class Moves:
    """Each method wants the call's lock held, and raises MediaError."""

    def __init__(self, agreements: Agreements, clock: Callable[[], float], emit: Callable[[MediaEvent], None]) -> None:
        self._agreements = agreements
        self._clock = clock
        self._emit = emit

    async def create_offer(self, call: CallState, target: Party, peer: Party | None) -> str:
        """An offer for a party in the words of its peer, or of whom it is to talk with."""
        tag = call.peer_of(target.tag) if peer is None else peer.tag
        if tag is None:
            raise MediaError("rtpengine makes no offer of its own", 488)
        speaker = call.party_of(tag)
        talking = call.joined
        offer = await self._agreements.offer(call, speaker.party, target, self._agreements.again(speaker))
        call.ours[target.tag] = tag
        if target.tag not in talking and talking in call.exchanges:
            # The daemon has taken the speaker from whom it talks with; until there is an answer they go on.
            await self._agreements.repeat(call, talking)
        return offer

    async def commit(self, call: CallState, source: Party, said: SessionDescription) -> None:
        """Take the answer to our offer."""
        tag = call.ours.get(source.tag)
        offer = None if tag is None else call.offers.get((tag, source.tag))
        if tag is None or offer is None:
            raise MediaError("no offer of ours is waiting for an answer", 481)
        if call.joined == {tag, source.tag}:
            changed = await self._answered(call, tag, source, said)
            await self._clear(call)
            self._want(call, changed)
        else:
            self._agreements.check(offer, source, said)
            call.agreed[tag, source.tag] = said
        call.ours.pop(source.tag, None)

    async def _answered(self, call: CallState, tag: str, source: Party, said: SessionDescription) -> str | None:
        """The two agree; gives the tag of whose words were offered where something has changed for it."""
        state = call.party_of(tag)
        before, narrowed = (state.transport, state.codec), state.narrowed
        await self._agreements.answer(call, source, state.party, said)
        state.narrowed = narrowed  # nobody tells that party of this answer
        return tag if (state.transport, state.codec) != before else None

    def _want(self, call: CallState, tag: str | None) -> None:
        """Have a party offered what has changed for it: the last that is done, since whom it is joined to counts."""
        if tag is not None:
            self._emit(OfferWanted(call.call_id, tag))

    async def join(self, call: CallState, a: str, b: str) -> None:
        """Let two parties hear each other."""
        states = {tag: call.party_of(tag) for tag in (a, b)}
        pair = frozenset(states)
        found = next((each for each in ((a, b), (b, a)) if each in call.agreed), None)
        wanted = None
        if found is not None:
            tag, answerer = found
            wanted = await self._answered(call, tag, states[answerer].party, call.agreed.pop(found))
        elif pair in call.exchanges:
            if pair != call.joined:
                await self._agreements.repeat(call, pair)
        else:
            wanted = _newcomer(states)
            call.joined = pair
        await self.connect(call)
        await self._clear(call)
        self._want(call, wanted)

    async def connect(self, call: CallState) -> None:
        """Let those who are joined hear each other after `isolate`."""
        if call.isolated:
            await ask(call.host, {"command": "unblock media", "call-id": call.name})
            call.isolated = False

    async def isolate(self, call: CallState, tag: str) -> None:
        """Let nobody hear anybody: there are two."""
        call.party_of(tag)
        if not call.isolated:
            await ask(call.host, {"command": "block media", "call-id": call.name})
            call.isolated = True

    async def release(self, call: CallState, tag: str) -> None:
        """Forget a party; the daemon does so once that takes nobody else along."""
        if tag in call.joined and len(call.parties) > 1:
            await self.isolate(call, tag)
        state = call.forget(tag)
        if state is None:
            return
        if tag in call.joined:
            call.joined = frozenset()
        if state.placed:
            call.gone.add(tag)
        await self._clear(call)

    async def _clear(self, call: CallState) -> None:
        """The daemon ends a call with any of two that it takes to talk: others may go once it is known who does."""
        if call.joined not in call.exchanges:
            return
        for tag in sorted(call.gone - call.joined):
            try:
                await ask(call.host, delete(call.name, tag))
            except MediaError as error:
                log.info("party may linger at rtpengine", call_id=call.call_id, tag=tag, reason=error.reason)
        call.gone.clear()

    async def adopt(self, call: CallState, other: CallState, tag: str) -> None:
        """Take a party of another call; it is offered this one's media once it is joined to somebody."""
        state = other.party_of(tag)
        if tag in call.parties:
            raise MediaError("the call has that party already", 500)
        if state.party.kind in (Kind.WEBRTC, Kind.DTLS) or not state.party.reoffered:
            # It would have to begin DTLS anew with who has the same certificate (RFC 8842 section 4).
            raise MediaError("rtpengine cannot take an association into another call", 501)
        await self.release(other, tag)
        moved = PartyState(state.party, self._clock(), codec=state.codec, said=state.said, placed=False)
        moved.narrow(state.narrowed)
        call.parties[tag] = moved


def _newcomer(states: dict[str, PartyState]) -> str:
    """Of two that have never agreed the one that is to be offered the other's words; MediaError 488 for none."""
    found = [tag for tag, state in states.items() if not state.placed]
    if len(found) != 1:
        raise MediaError("the two have agreed on nothing", 488)
    return found[0]
