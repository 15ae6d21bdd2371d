"""Transfer actions of a bridge: targets are invited before they replace a leg (RFC 5589 section 6).

Targets get offers with the media of the call itself. The first to answer replaces the transferor; until then the two
legs may talk on. If the transferor hangs up, its peer waits.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from gateway.call.leg import Answered, CalleeLeg, HungUp, Leg, Redirected, Rejected, Ringing
from gateway.call.machine import Machine, cause_of_media, refused_by_media
from gateway.call.state import CallInput, Input, Transfer
from gateway.call.status import Cause, most_telling
from gateway.media.engine import MediaError

log = structlog.get_logger(__name__)


class Transferring(Machine):
    """Transfer actions; one transfer at a time."""

    transfer: Transfer | None = None
    """Transfer in progress; None without."""

    def is_target(self, leg: Leg) -> bool:
        """Return True if `leg` is a target of the transfer."""
        return self.transfer is not None and leg in self.transfer.targets

    def is_transferor(self, leg: Leg) -> bool:
        """Return True if `leg` is to be replaced."""
        return self.transfer is not None and self.transfer.transferor is leg

    async def _invite_targets(self, what: CallInput) -> None:
        transfer = what.transfer
        assert transfer is not None
        staying = self.other(transfer.transferor)
        if self.transfer is not None or staying is None:
            await give_up(transfer, Cause.GLARE)
            return
        self.transfer = transfer
        scope = self._scope
        late = CallInput(input=Input.TRANSFER_FAILED, transfer=transfer, cause=Cause.NO_ANSWER)
        transfer.timer = scope.timers.call_later(scope.settings.ring_timeout, lambda: scope.post(late))
        transfer.report.accepted()
        await self._ask_targets(transfer.targets, staying)

    async def _ask_targets(self, legs: Sequence[CalleeLeg], staying: Leg) -> None:
        scope = self._scope
        for leg in list(legs):
            try:
                sdp = await scope.engine.create_offer(scope.call_id, leg.party, staying.party)
            except MediaError as error:
                log.info("nothing to offer", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)
                await self._drop(leg, cause_of_media(error))
            else:
                await leg.invite(sdp, staying.address)

    async def _tell_ringing(self, what: CallInput) -> None:
        assert self.transfer is not None
        assert isinstance(what.event, Ringing)
        if what.event.sdp is not None and what.leg is not None:
            self.transfer.early[what.leg.party.tag] = what.event.sdp
        self.transfer.report.ringing()

    async def _commit_target(self, what: CallInput) -> None:
        """Take the first target with a usable answer and end the rest."""
        assert isinstance(what.event, Answered)
        transfer, leg, scope = self.transfer, what.leg, self._scope
        assert transfer is not None
        assert leg is not None
        target = self._target_of(what)
        try:
            sdp = what.event.sdp or transfer.early.get(leg.party.tag) or what.event.repeated
            if not sdp:
                raise MediaError("the target accepted without a session description", 488)
            await scope.engine.answer(scope.call_id, leg.party, None, sdp)
        except MediaError as error:
            log.info("answer refused", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)
            await target.refuse_answer(refused_by_media(target, error))
            return
        await target.keep_answer()
        others, transfer.targets[:] = [each for each in transfer.targets if each is not target], [target]
        for other in others:
            await self._end_leg(other, Cause.ELSEWHERE)
            await self._release(other)
        scope.follow(CallInput(input=Input.REPLACE, leg=transfer.transferor, new_leg=leg, done=self._transfer_over))

    def _target_of(self, what: CallInput) -> CalleeLeg:
        assert self.transfer is not None
        return next(each for each in self.transfer.targets if each is what.leg)

    async def _ask_target_again(self, what: CallInput) -> None:
        """Invite the same target with a different offer or on its next phones; redirections are not followed."""
        transfer, event = self.transfer, what.event
        assert transfer is not None
        assert isinstance(event, Redirected)
        if event.then is not None:
            event.then(Cause.UNAVAILABLE)
            return
        staying = self.other(transfer.transferor)
        assert staying is not None
        transfer.targets.extend(event.legs)
        if event.is_over:
            leg = self._target_of(what)
            transfer.targets.remove(leg)
            self._scope.ended(leg)
            await self._release(leg)
        for again in event.legs:
            self._scope.listen(again)
        await self._ask_targets(event.legs, staying)

    async def _drop_target(self, what: CallInput) -> None:
        assert self.transfer is not None
        leg = self._target_of(what)
        await self._drop(leg, what.cause or Cause.UNAVAILABLE)

    async def _drop(self, leg: CalleeLeg, cause: Cause) -> None:
        transfer = self.transfer
        assert transfer is not None
        transfer.targets.remove(leg)
        transfer.refusals.append(cause)
        self._scope.ended(leg)  # further phones of the leg may still owe a response to our CANCEL
        await self._release(leg)
        if not transfer.targets:
            cause = most_telling(transfer.refusals)
            self._scope.follow(CallInput(input=Input.TRANSFER_FAILED, transfer=transfer, cause=cause))

    async def _fail_transfer(self, what: CallInput) -> None:
        transfer, cause = self.transfer, what.cause or Cause.UNAVAILABLE
        assert transfer is not None
        for leg in transfer.targets:
            await self._end_leg(leg, cause)
            await self._release(leg)
        transfer.targets.clear()
        self._transfer_over(cause)

    async def _let_go(self, what: CallInput) -> None:
        transfer = self.transfer
        assert transfer is not None
        assert what.leg is not None
        assert transfer.timer is not None
        self._stop_waiting_for(what.leg)
        # Away for good: the peer's offers are answered by the engine alone.
        self._reattach[what.leg.party.tag] = transfer.timer
        await self._isolate(what.leg)

    async def _isolate(self, leg: Leg) -> None:
        """Silence a leg toward its peer, if the engine supports isolation."""
        scope = self._scope
        if scope.engine.capabilities.join:
            try:
                await scope.engine.isolate(scope.call_id, leg.party.tag)
            except MediaError as error:
                log.info("party not isolated", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)

    def _transfer_over(self, cause: Cause) -> None:
        transfer, self.transfer = self.transfer, None
        if transfer is None:
            return
        if transfer.timer is not None:
            transfer.timer.cancel()
        transfer.report.ended(cause)
        is_gone = transfer.timer is self._reattach.get(transfer.transferor.party.tag)
        if cause is not Cause.NORMAL and is_gone:
            # The transferor has hung up, so that its peer is alone.
            self._scope.follow(CallInput(input=Input.STOP, cause=cause))

    async def _end_legs(self, what: CallInput) -> None:
        await super()._end_legs(what)
        if self.transfer is not None:
            for leg in self.transfer.targets:
                await self._end_leg(leg, Cause.CANCELLED)
            self._transfer_over(Cause.CANCELLED)


async def give_up(transfer: Transfer, cause: Cause) -> None:
    """Report the failure of a transfer before its start, and end its legs."""
    transfer.report.ended(cause)
    for leg in transfer.targets:
        await leg.end(cause)


def input_of_target(leg: Leg, event: object) -> CallInput | None:
    """Return the input for an event of a transfer target."""
    match event:
        case Ringing():
            return CallInput(input=Input.TARGET_RINGING, leg=leg, event=event)
        case Answered():
            return CallInput(input=Input.TARGET_ANSWERED, leg=leg, event=event)
        case Redirected(legs=legs, then=then) if legs or then is not None:
            return CallInput(input=Input.TARGET_ASKED_AGAIN, leg=leg, event=event)
        case Redirected(is_over=True):
            return CallInput(input=Input.TARGET_REJECTED, leg=leg, event=event, cause=Cause.UNAVAILABLE)
        case Rejected(cause=cause) | HungUp(cause=cause):
            return CallInput(input=Input.TARGET_REJECTED, leg=leg, event=event, cause=cause)
        case _:
            return None
