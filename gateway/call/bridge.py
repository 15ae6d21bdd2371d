"""Bridge of two answered legs, which may renegotiate, vanish, return or be replaced.

One exchange is open at a time, identified by number. A late answer to a closed exchange changes nothing, but its sender
gets a new offer with the current description.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import structlog

from gateway.call.bridge_table import TABLE
from gateway.call.description import holds, is_two_way
from gateway.call.leg import Confirmed, Leg, OfferAnswered, OfferCancelled, Offered, Returned
from gateway.call.machine import Scope, cause_of_media, refused_by_media
from gateway.call.state import CallInput, Input, State
from gateway.call.status import Cause
from gateway.call.timers import Timer
from gateway.call.transferring import Transferring
from gateway.media.engine import Kind, MediaError

log = structlog.get_logger(__name__)

_NUMBERS = count(1)
"""Exchange numbers, unique in the process, because a leg may move to a second bridge."""
_NOT_OFFERED = 481
"""MediaError status for an answer to an offer whose media no longer exists."""
_MEDIA_GONE = (Input.MEDIA_TIMEOUT, Input.MEDIA_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An offer without an answer yet."""

    number: int
    """Number as known to `target`: ours, or the target's own after its request for an offer."""
    target: Leg
    """Leg that has to answer."""
    source: Leg | None = None
    """Leg that made the offer; None for our own offer."""
    source_number: int = 0
    """Number as known to `source`."""
    wanted: bool = False
    """True if `target` asked for an offer, so that its answer arrives as Confirmed."""
    said: str = ""
    """Offer of `source`."""
    offer: str = ""
    """Offer as sent to `target`."""
    renews: bool = False
    """True if the offer replaces a lost transport of `target`; without an answer the call ends."""

    @property
    def holds(self) -> bool:
        """True for an offer that puts the peer on hold."""
        return holds(self.said)

    def may_wait(self, leg: Leg) -> bool:
        """Return True if an offer of `leg` may be answered before the exchange goes out."""
        return leg is self.target and not (self.wanted or self.renews)


class Bridge(Transferring):
    """Two legs with separate agreements, joined by the engine."""

    table = TABLE

    def __init__(self, scope: Scope, a: Leg, b: Leg, acquainted: Sequence[Leg]) -> None:
        """`acquainted` are the legs that know the identity of their peer."""
        super().__init__(scope, State.CONNECTED)
        self._legs: tuple[Leg, ...] = (a, b)
        self._known: dict[str, tuple[str, str]] = {}
        """Known peer (URI, display name) of each leg, by tag."""
        for leg in (a, b):
            if leg in acquainted:
                self._acquaint(leg)
            else:
                scope.follow(CallInput(input=Input.RENAMED, leg=self.other(leg)))
        self.exchange: Exchange | None = None
        """Open exchange; None for no pending offer."""
        self.holding: set[str] = set()
        """Tags of legs that hold their peer."""
        self._patience: Timer | None = None
        self._given_up: set[int] = set()
        self._remembered: list[Leg] = []
        """Legs to be offered the current description after the open exchange."""
        self._silent: set[str] = set()
        """Tags of legs with a lost transport and no agreement on a new one."""

    @property
    def legs(self) -> tuple[Leg, ...]:
        return self._legs

    def other(self, leg: Leg | None) -> Leg | None:
        return next((one for one in self._legs if one is not leg), None)

    def admits(self, what: CallInput) -> bool:
        leg, event = what.leg, what.event
        if what.only_ringing:
            return False
        if what.input is Input.TRANSFER_FAILED:
            return self.transfer is not None and self.transfer is what.transfer
        if leg is not None and leg not in self._legs:
            return self.is_target(leg)
        if what.input is Input.OFFER_TIMEOUT:
            return self.exchange is not None and self.exchange.number == what.exchange
        if isinstance(event, OfferAnswered | Confirmed):
            return self._is_awaited(leg, event)
        if isinstance(event, OfferCancelled):
            exchange = self.exchange
            return exchange is not None and exchange.source is leg and exchange.source_number == event.exchange
        if leg is not None and self.is_away(leg):
            # A leg without a reachable client can only return or end.
            return what.input not in _MEDIA_GONE and what.input is not Input.LEG_AWAY
        return what.input is not Input.REATTACH_TIMEOUT

    def _is_awaited(self, leg: Leg | None, event: OfferAnswered | Confirmed) -> bool:
        exchange = self.exchange
        if exchange is not None and exchange.target is leg and exchange.number == event.exchange:
            return exchange.wanted is isinstance(event, Confirmed)
        if isinstance(event, OfferAnswered) and event.exchange in self._given_up:
            self._given_up.discard(event.exchange)
            if event.sdp is not None and leg is not None:
                # The leg believes in a description unknown to its peer.
                self._scope.follow(CallInput(input=Input.RENEGOTIATE, leg=leg))
        return False

    def entered(self) -> None:
        """Start postponed offers when no exchange is open; called after every step."""
        if self.state is State.CONNECTED and self._remembered:
            self._scope.follow(CallInput(input=Input.RENEGOTIATE, leg=self._remembered.pop(0)))

    def resume(self, away: Sequence[Leg], holding: Iterable[str]) -> None:
        """Continue a call of a previous process: media flows, and the clients of `away` are to return."""
        self.holding = set(holding)
        for leg in away:
            self._await_return(leg)
            self.state = State.AWAY

    def close(self) -> None:
        super().close()
        self._close_exchange()

    # -- exchanges -----------------------------------------------------------------

    def _open(self, exchange: Exchange) -> None:
        self.exchange = exchange
        late = CallInput(input=Input.OFFER_TIMEOUT, exchange=exchange.number)
        scope = self._scope
        self._patience = scope.timers.call_later(scope.settings.offer_timeout, lambda: scope.post(late))

    def _close_exchange(self) -> Exchange | None:
        exchange, self.exchange = self.exchange, None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return exchange

    async def _pass_offer(self, what: CallInput) -> None:
        assert isinstance(what.event, Offered)
        source, other = what.leg, self.other(what.leg)
        assert source is not None
        assert other is not None
        assert what.event.sdp is not None
        if what.event.repeats or not other.can_update:
            await self._answer_alone(what)
            self._scope.follow(CallInput(input=Input.EXCHANGE_OVER))
        else:
            await self._relay(source, other, what.event.exchange, what.event.sdp)

    async def _relay(self, source: Leg, target: Leg, number: int, sdp: str) -> None:
        """Pass an offer of `source`, with its number, to `target`."""
        scope = self._scope
        try:
            offer = await scope.engine.offer(scope.call_id, source.party, target.party, sdp)
        except MediaError as error:
            await self._refuse(source, number, error)
            scope.follow(CallInput(input=Input.EXCHANGE_OVER))
            return
        ours = next(_NUMBERS)
        self._open(Exchange(number=ours, target=target, source=source, source_number=number, said=sdp, offer=offer))
        await target.offer(ours, offer)

    async def _cross_offers(self, what: CallInput) -> None:
        """Answer the target of the open exchange first, if its offer crossed ours before sending."""
        assert isinstance(what.event, Offered)
        exchange, leg, number = self.exchange, what.leg, what.event.exchange
        assert exchange is not None
        assert leg is not None
        if not (exchange.may_wait(leg) and leg.take_back_offer(exchange.number)):
            await self._refuse_glare(what)
            return
        self._close_exchange()
        if what.event.sdp is None:
            # The far end asks for an offer, and one is waiting.
            self._open(replace(exchange, number=number, wanted=True))
            await leg.answer_offer(number, exchange.offer)
            return
        await self._answer_alone(what)
        if exchange.source is not None:
            await self._relay(exchange.source, leg, exchange.source_number, exchange.said)
        else:
            self._remembered.append(leg)
            self._scope.follow(CallInput(input=Input.EXCHANGE_OVER))

    async def _answer_alone(self, what: CallInput) -> None:
        """Answer an offer by the engine alone; the peer keeps its description."""
        assert isinstance(what.event, Offered | Returned)
        source, other = what.leg, self.other(what.leg)
        assert source is not None
        assert other is not None
        assert what.event.sdp is not None
        scope, number = self._scope, what.event.exchange
        try:
            await scope.engine.offer(scope.call_id, source.party, other.party, what.event.sdp)
            answer = await scope.engine.accept(scope.call_id, source.party)
            if self.is_away(other):
                await self._isolate(other)
        except MediaError as error:
            await self._refuse(source, number, error)
            return
        await self._speaks_again(source)
        await source.answer_offer(number, answer)
        if not (isinstance(what.event, Offered) and what.event.repeats):
            await self._show_hold(source, holds(what.event.sdp))

    async def _refuse(self, leg: Leg, number: int, error: MediaError) -> None:
        log.info("offer refused", call_id=self._scope.call_id, tag=leg.party.tag, reason=error.reason)
        crosses = error.status == Cause.GLARE.status
        refused_by_media(leg, error)
        await leg.answer_offer(number, None, Cause.GLARE if crosses else Cause.NOT_ACCEPTABLE)

    async def _make_offer(self, what: CallInput) -> None:
        assert isinstance(what.event, Offered)
        leg, other, number, scope = what.leg, self.other(what.leg), what.event.exchange, self._scope
        assert leg is not None
        try:
            sdp = await scope.engine.create_offer(scope.call_id, leg.party, None if other is None else other.party)
        except MediaError as error:
            await self._refuse(leg, number, error)
            scope.follow(CallInput(input=Input.EXCHANGE_OVER))
            return
        self._open(Exchange(number=number, target=leg, offer=sdp, wanted=True))
        await leg.answer_offer(number, sdp)

    async def _offer_again(self, what: CallInput) -> None:
        leg, other, scope = what.leg, self.other(what.leg), self._scope
        assert leg is not None
        if leg.can_update and scope.engine.capabilities.create_offer:
            try:
                sdp = await scope.engine.create_offer(scope.call_id, leg.party, None if other is None else other.party)
            except MediaError as error:
                log.info("no offer could be made", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)
            else:
                ours = next(_NUMBERS)
                self._open(Exchange(number=ours, target=leg, offer=sdp, renews=self._is_silent(leg)))
                await leg.offer(ours, sdp)
                return
        if self._is_silent(leg):
            self._stays_silent(leg)
        else:
            # the description stays, and the engine transcodes
            scope.follow(CallInput(input=Input.EXCHANGE_OVER))

    async def _remember(self, what: CallInput) -> None:
        if what.leg is not None and what.leg not in self._remembered:
            self._remembered.append(what.leg)

    async def _take_answer(self, what: CallInput) -> None:
        assert isinstance(what.event, OfferAnswered | Confirmed)
        exchange, sdp, scope = self._close_exchange(), what.event.sdp, self._scope
        assert exchange is not None
        source, target = exchange.source, exchange.target
        if sdp is None:
            if exchange.renews:
                self._stays_silent(target)
            if source is not None:
                cause = what.event.cause if isinstance(what.event, OfferAnswered) else Cause.NOT_ACCEPTABLE
                await source.answer_offer(exchange.source_number, None, cause)
            return
        try:
            sent_back = await scope.engine.answer(
                scope.call_id, target.party, None if source is None else source.party, sdp
            )
        except MediaError as error:
            log.info("answer refused", call_id=scope.call_id, tag=target.party.tag, reason=error.reason)
            if exchange.renews and error.status == _NOT_OFFERED:
                self._remembered.append(target)
            elif exchange.renews:
                self._stays_silent(target)
            if source is not None:
                refused_by_media(source, error)
                await source.answer_offer(exchange.source_number, None, Cause.NOT_ACCEPTABLE)
            return
        await self._speaks_again(target, source)
        if exchange.renews or is_two_way(exchange.said or exchange.offer):
            await self._show_hold(target, holds(sdp))
        if source is not None:
            await source.answer_offer(exchange.source_number, sent_back)
            await self._show_hold(source, exchange.holds)

    def _forget(self, *, timed_out: bool) -> Exchange | None:
        exchange = self._close_exchange()
        if exchange is not None:
            self._given_up.add(exchange.number)
            if not exchange.wanted:
                exchange.target.forget_offer(exchange.number, timed_out=timed_out)
        return exchange

    async def _give_up_offer(self, what: CallInput) -> None:
        exchange = self._forget(timed_out=what.input is Input.OFFER_TIMEOUT)
        if exchange is None:
            return
        if exchange.renews and what.input is Input.OFFER_TIMEOUT:
            self._stays_silent(exchange.target)
        elif exchange.renews:
            self._remembered.append(exchange.target)
        if exchange.source is not None:
            # After a time-out the offer is rejected; else a 491 lets the source offer to the new peer.
            cause = Cause.NOT_ACCEPTABLE if what.input is Input.OFFER_TIMEOUT else Cause.GLARE
            await exchange.source.answer_offer(exchange.source_number, None, cause)

    async def _forget_offer(self, _: CallInput) -> None:
        self._forget(timed_out=False)

    def renamed(self, leg: Leg) -> Input:
        """Return RENAMED for a leg with a changed identity."""
        return Input.RENAMED

    async def _identify(self, what: CallInput) -> None:
        await self._introduce(self.other(what.leg))

    def _acquaint(self, leg: Leg) -> bool:
        """Note the current peer of `leg`; return True if the identity is new to it."""
        other = self.other(leg)
        if other is None or other.party.kind is Kind.SERVICE:
            return False
        name = (other.address.uri, other.address.display_name)
        before, self._known[leg.party.tag] = self._known.get(leg.party.tag), name
        return before != name

    async def _introduce(self, leg: Leg | None) -> None:
        """Announce a changed peer to `leg`; a leg away gets the announcement on return."""
        if leg is not None and not self.is_away(leg) and self._acquaint(leg):
            other = self.other(leg)
            assert other is not None
            await leg.identified(other.address)

    async def _show_hold(self, source: Leg, held: bool) -> None:
        """Notify the peer when `source` starts or ends hold."""
        tag, other = source.party.tag, self.other(source)
        if held is (tag in self.holding) or other is None:
            return
        self.holding ^= {tag}
        if not self.is_away(other):
            await other.held(held)

    # -- away, returned, replaced ----------------------------------------------------

    async def _wait_for_return(self, what: CallInput) -> None:
        await super()._wait_for_return(what)
        assert what.leg is not None
        await self._isolate(what.leg)

    async def _take_back(self, what: CallInput) -> None:
        assert isinstance(what.event, Returned)
        assert what.leg is not None
        leg, other = what.leg, self.other(what.leg)
        self._stop_waiting_for(leg)
        if what.event.sdp is not None:
            await self._answer_alone(what)
        if other is not None and other.party.tag in self.holding:
            await leg.held(True)
        await self._introduce(leg)
        if not self._reattach:
            self._scope.follow(CallInput(input=Input.ALL_RETURNED))

    # -- lost media --------------------------------------------------------------------

    def _is_silent(self, leg: Leg) -> bool:
        return leg.party.tag in self._silent

    async def _lose_media(self, what: CallInput) -> None:
        leg = what.leg
        assert leg is not None
        self._silent.add(leg.party.tag)
        if self.exchange is not None and self.exchange.target is leg:
            self.exchange = replace(self.exchange, renews=False)  # the open offer describes the lost transport
        if leg.signalling_lost and not self.is_away(leg):
            self._scope.follow(CallInput(input=Input.LEG_AWAY, leg=leg))
        await self._remember(what)

    def _stays_silent(self, leg: Leg) -> None:
        """End the call: no new transport could be agreed with `leg`."""
        self._remembered.clear()
        self._scope.follow(CallInput(input=Input.MEDIA_FAILED, leg=leg, cause=Cause.MEDIA_FAILED))

    async def _speaks_again(self, *legs: Leg | None) -> None:
        """Note agreement on a new transport; join the legs once no silent leg remains."""
        if not self._silent:
            return
        for leg in legs:
            if leg is not None and self._is_silent(leg):
                self._silent.discard(leg.party.tag)
                self._remembered = [one for one in self._remembered if one is not leg]
        if not self._silent and not self._reattach:
            await self._join(CallInput(input=Input.ALL_RETURNED))

    async def _join(self, _: CallInput) -> None:
        scope = self._scope
        if scope.engine.capabilities.join and not self._silent:
            a, b = self._legs
            await scope.engine.join(scope.call_id, a.party.tag, b.party.tag)

    async def _replace_leg(self, what: CallInput) -> None:
        """Connect a new leg, whose media is in the call already, and end the leaving leg."""
        assert what.new_leg is not None
        assert what.leg is not None
        scope, leaving, coming = self._scope, what.leg, what.new_leg
        staying = self.other(leaving)
        assert staying is not None
        try:
            if not self.is_away(staying):
                await scope.engine.join(scope.call_id, staying.party.tag, coming.party.tag)
        except MediaError as error:
            await self._turn_back(staying, leaving, coming, error)
            if what.done is not None:
                what.done(cause_of_media(error))
            return
        self._stop_waiting_for(leaving)
        was_held = leaving.party.tag in self.holding
        self.holding.clear()
        self._remembered = [leg for leg in self._remembered if leg is not leaving]
        self._silent.discard(leaving.party.tag)
        self._legs = (staying, coming)
        self._known.pop(leaving.party.tag, None)
        if self.is_target(coming):
            self._acquaint(coming)  # the INVITE carried the caller's identity
        await self._release(leaving)
        if self.is_transferor(leaving) and not self.is_target(coming):
            # The transferor was replaced, which makes the transfer pointless.
            over = CallInput(input=Input.TRANSFER_FAILED, transfer=self.transfer, cause=Cause.ELSEWHERE)
            scope.follow(over)
        if what.done is not None:
            what.done(Cause.NORMAL)
        await self._end_leg(leaving, what.cause or Cause.NORMAL)
        await self._introduce(staying)
        await self._introduce(coming)
        await self._take_off_hold(staying if was_held else None, coming if what.held else None)
        self._widen(staying, coming)
        if not self._reattach and self.state is State.AWAY:
            scope.follow(CallInput(input=Input.ALL_RETURNED))

    async def _answer_newcomer(self, what: CallInput) -> None:
        """Answer the newcomer's offer, then replace the leg."""
        newcomer, event, scope = what.newcomer, what.event, self._scope
        assert newcomer is not None
        assert isinstance(event, Offered)
        assert event.sdp is not None
        staying = self.other(what.leg)
        assert staying is not None
        try:
            await scope.engine.offer(scope.call_id, newcomer.party, staying.party, event.sdp)
            answer = await scope.engine.accept(scope.call_id, newcomer.party)
        except MediaError as error:
            log.info("newcomer refused", call_id=scope.call_id, tag=newcomer.party.tag, reason=error.reason)
            cause = refused_by_media(newcomer, error)
            if what.done is not None:
                what.done(cause)
            await self._end_leg(newcomer, cause)
            await self._release(newcomer)
            return
        await newcomer.answer(answer)
        scope.follow(CallInput(input=Input.REPLACE, leg=what.leg, new_leg=newcomer, done=what.done))

    async def _turn_back(self, staying: Leg, leaving: Leg, coming: Leg, error: MediaError) -> None:
        """End a leg that could not be joined; restore the media of the old pair."""
        scope = self._scope
        log.info("leg not replaced", call_id=scope.call_id, tag=leaving.party.tag, reason=error.reason)
        await self._end_leg(coming, refused_by_media(coming, error))
        await self._release(coming)
        if self.is_away(leaving):
            await self._isolate(leaving)
            return
        try:
            await scope.engine.join(scope.call_id, staying.party.tag, leaving.party.tag)
        except MediaError as refused:
            log.info("party not joined", call_id=scope.call_id, tag=leaving.party.tag, reason=refused.reason)

    async def _take_off_hold(self, *legs: Leg | None) -> None:
        """Offer audio in both directions to legs whose holding peer has left."""
        for leg in legs:
            if leg is not None and not self.is_away(leg):
                await leg.held(False)
                self._remembered.append(leg)

    def _widen(self, *legs: Leg) -> None:
        """Queue an offer of two-way audio to legs limited by a former peer."""
        scope = self._scope
        narrow = [leg for leg in legs if leg.can_update and scope.engine.narrows(scope.call_id, leg.party.tag)]
        self._remembered += [leg for leg in narrow if leg not in self._remembered]

    async def _give_leg_away(self, what: CallInput) -> None:
        """Move a leg with its running media to a second call; the remaining leg is ended."""
        assert what.leg is not None
        scope, leg = self._scope, what.leg
        try:
            await scope.engine.adopt(what.to_call, scope.call_id, leg.party.tag)
        except MediaError as error:
            log.info("leg not moved", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)
            if what.done is not None:
                what.done(cause_of_media(error))
            return
        self._stop_waiting_for(leg)
        self._remembered = [one for one in self._remembered if one is not leg]
        self._legs = tuple(one for one in self._legs if one is not leg)
        scope.follow(CallInput(input=Input.STOP, cause=Cause.NORMAL))
        if what.done is not None:
            what.done(Cause.NORMAL)
