"""An attempt to reach somebody: offer, ring, early media, and of several callees the first that answers.

The caller's offer is passed through the engine to each callee. A caller that made none (an INVITE
without a description) gets ours once a callee has answered the offer that we made to it; then each
side has an agreement of its own, and the two are joined.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from gateway.call.attempt_table import ENDS_UNANSWERED, TABLE
from gateway.call.branches import Branch, Waiting
from gateway.call.description import audio_codecs, has_video
from gateway.call.leg import Answered, CalleeLeg, CallerLeg, Confirmed, Leg, Offered, Redirected, Returned, Ringing
from gateway.call.machine import Machine, Scope, refused_by_media
from gateway.call.state import CallInput, Input, State
from gateway.call.status import Cause, most_telling
from gateway.call.timers import Timer
from gateway.media.engine import Kind, MediaError

log = structlog.get_logger(__name__)

_KEPT_PREVIEWS = 4
"""Early descriptions of one callee that are kept: its first usable one and the newest."""


class Attempt(Machine):
    """A caller, and everybody who is asked."""

    table = TABLE

    def __init__(self, scope: Scope, caller: CallerLeg, callees: Branch, offer: str | None) -> None:
        super().__init__(scope, State.NEW)
        self.caller = caller
        self._branches = [callees]
        self._newcomer: CallerLeg | None = None
        """Who has picked the call up in the place of those who are asked."""
        self.wants_another = False
        """The caller holds an early answer that is not the final one, and must be offered again."""
        self._offer = offer
        self._early: dict[str, list[str]] = {}
        """Early descriptions of callees that may be usable, by tag, the newest last."""
        self._ignored: set[str] = set()
        """Tags of callees of whom an early description could not be used."""
        self._heard: Leg | None = None
        """Callee whose early media the caller hears: the first, until it is silent or gone."""
        self._answer_sdp: str | None = None
        """What the caller is answered."""
        self._committed: str | None = None
        """The callee's description that it is made of."""
        self._given_early: str | None = None
        self._offers: list[tuple[CalleeLeg, str]] = []
        self._refusals: list[Cause] = []
        self._renamed: set[str] = set()
        """Tags of those who have said that they are somebody else than was known."""
        self._patience: Timer | None = None
        self._failed: Cause | None = None
        """Why nobody takes the call, while the caller hears it said."""

    @property
    def callees(self) -> tuple[CalleeLeg, ...]:
        """Everybody who is asked and has not refused."""
        return tuple(leg for branch in self._branches for leg in branch.legs)

    @property
    def legs(self) -> tuple[Leg, ...]:
        return (self.caller, *self.callees) if self._newcomer is None else (self.caller, self._newcomer, *self.callees)

    @property
    def winner(self) -> Leg | None:
        """The callee that answered, once one has."""
        if self.state not in (State.CONFIRMING, State.CONNECTED):
            return None
        return self._newcomer or self.callees[0]

    def other(self, leg: Leg | None) -> Leg | None:
        return self.caller if leg is not self.caller else next(iter(self.callees), None)

    def admits(self, what: CallInput) -> bool:
        if what.branch is not None:
            return what.branch in self._branches
        return what.leg is None or what.leg in self.legs

    def early(self, leg: Leg, sdp: str, *, is_another: bool = False) -> Input:
        """Keep a callee's early description; a caller without an offer can hear none.

        `is_another`: it is of another phone of the callee than those before.
        """
        if is_another:
            self._early.pop(leg.party.tag, None)
        kept = self._early.setdefault(leg.party.tag, [])
        kept.append(sdp)
        del kept[1 : 1 - _KEPT_PREVIEWS]
        return Input.CALLEE_RINGING if self._offer is None else Input.CALLEE_EARLY_MEDIA

    def renamed(self, leg: Leg) -> Input | None:
        """Whoever it talks with is told once there is somebody."""
        self._renamed.add(leg.party.tag)
        return None

    @property
    def acquainted(self) -> tuple[Leg, ...]:
        """Of the two who talk now, those who know with whom."""
        winner = self.winner
        if winner is None or self._newcomer is not None:
            return ()
        both: tuple[tuple[Leg, Leg], ...] = ((self.caller, winner), (winner, self.caller))
        return tuple(leg for leg, other in both if other.party.tag not in self._renamed)

    @property
    def answered_as(self) -> Input:
        """What a callee's answer is: to the caller's offer, or to ours."""
        return Input.CALLEE_ANSWERED if self._offer is not None else Input.CALLEE_TOOK_OFFER

    def close(self) -> None:
        super().close()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        for branch in self._branches:
            branch.stop()

    def _given_up_on(self, leg: Leg) -> CallInput:
        if leg is self.caller:
            return super()._given_up_on(leg)
        return CallInput(input=Input.CALLEE_FAILED, leg=leg, cause=Cause.UNAVAILABLE)  # the others ring on

    # -- actions -------------------------------------------------------------------

    async def _offer_media(self, _: CallInput) -> None:
        self._offers = [(leg, await self._offer_for(leg)) for leg in self.callees]

    async def _offer_for(self, leg: Leg) -> str:
        scope = self._scope
        if self._offer is None:
            if not scope.engine.capabilities.first_offer:
                raise MediaError("a call without an offer cannot be made with this media engine", 488)
            return await scope.engine.create_offer(scope.call_id, leg.party, self.caller.party)
        return await scope.engine.offer(scope.call_id, self.caller.party, leg.party, self._offer)

    async def _accept_early(self, _: CallInput) -> None:
        scope = self._scope
        if self._offer is None or self.caller.party.kind is not Kind.WEBRTC or not self.callees:
            return
        if not scope.engine.capabilities.early_answer or any(leg.party.kind is Kind.SERVICE for leg in self.callees):
            return  # a service answers in the same breath; an early answer would only come twice
        if has_video(self._offer, scope.engine.capabilities.video):
            return  # which video there will be is the callee's to say
        self._answer_sdp = await scope.engine.accept(scope.call_id, self.caller.party)
        self._given_early = self._answer_sdp
        await self.caller.early_answer(self._answer_sdp)

    async def _invite_callees(self, _: CallInput) -> None:
        offers, self._offers = self._offers, []
        if self._is_given_up:
            return  # while the engine worked
        [branch] = self._branches
        if not branch.legs:
            self._scope.follow(CallInput(input=Input.BRANCH_OVER, branch=branch, cause=branch.cause))
        for leg, sdp in offers:
            await self._invite(branch, leg, sdp)
        self._limit(branch)

    async def _invite(self, branch: Branch, leg: CalleeLeg, sdp: str) -> None:
        caller = self.caller.address
        if branch.diversions:
            caller = replace(caller, diversions=(*branch.diversions, *caller.diversions))
        await leg.invite(sdp, caller)

    def _limit(self, branch: Branch) -> None:
        """Have its end known when it may ring no longer."""
        if branch.time is not None:
            scope = self._scope
            late = CallInput(input=Input.BRANCH_TIMEOUT, branch=branch, cause=Cause.NO_ANSWER)
            branch.timer = scope.timers.call_later(branch.time, lambda: scope.post(late))

    async def _ask(self, branch: Branch) -> None:
        """Ask those of one more branch."""
        self._branches.append(branch)
        await self._ask_legs(branch, branch.legs)
        self._limit(branch)

    async def _ask_legs(self, branch: Branch, legs: Sequence[CalleeLeg]) -> None:
        """Ask these of a branch; who cannot be offered anything has refused."""
        for leg in list(legs):
            self._scope.listen(leg)
            try:
                sdp = await self._offer_for(leg)
            except MediaError as error:
                log.info("nothing to offer", call_id=self._scope.call_id, tag=leg.party.tag, reason=error.reason)
                cause = refused_by_media(self.caller, error)
                await self._end_leg(leg, cause)
                self._refused(branch, leg, cause)
            else:
                if not self._is_given_up:
                    await self._invite(branch, leg, sdp)

    @property
    def _is_given_up(self) -> bool:
        """The end of the attempt waits in the queue: no phone needs to ring for that."""
        # Who is being told why nobody came is told to the end.
        ends = ENDS_UNANSWERED if self._failed is None else ENDS_UNANSWERED - {Input.RING_TIMEOUT}
        return any(waiting in ends for waiting in self._scope.waiting())

    def _refused(self, branch: Branch, leg: Leg, cause: Cause) -> None:
        branch.legs = [one for one in branch.legs if one is not leg]
        branch.refusals.append(cause)
        if not branch.legs:
            self._scope.follow(CallInput(input=Input.BRANCH_OVER, branch=branch, cause=branch.cause))

    async def _ring_caller(self, what: CallInput) -> None:
        ringback = self._ringback_of(what.leg)
        if ringback is not None:
            scope = self._scope
            try:
                self._answer_sdp = await scope.engine.accept(scope.call_id, self.caller.party, ringback)
            except MediaError as error:
                log.info("no ringback", call_id=scope.call_id, reason=error.reason)
            else:
                self._given_early = self._answer_sdp
        await self.caller.ring(self._answer_sdp if ringback is not None else None)

    def _ringback_of(self, callee: Leg | None) -> str | None:
        """What a phone that calls hears of the gateway while this one rings; None: it rings by itself."""
        engine, caller = self._scope.engine.capabilities, self.caller.party
        if callee is None or self._offer is None or caller.kind in (Kind.WEBRTC, Kind.SERVICE):
            return None
        known = ("to", callee.party.owner), ("from", caller.owner)
        names = [f"{way} {owner}" for way, owner in known if owner is not None]
        found = next((name for name in names if name in engine.ringbacks), None)
        # Which video there will be is the callee's to say.
        return found if found is not None and not has_video(self._offer, engine.video) else None

    async def _early_media(self, what: CallInput) -> None:
        assert isinstance(what.event, Ringing)
        assert what.leg is not None
        assert what.event.sdp is not None
        leg, sdp = what.leg, what.event.sdp
        if self._heard is not None and not (self._heard is leg and what.event.is_another):
            return
        try:
            await self._hear(leg, sdp)
        except MediaError as error:
            if self._failed is None:
                self._ignore_preview(leg, sdp, error)
            else:
                log.info("not announced", call_id=self._scope.call_id, reason=error.reason)
                await self._drop_callee(CallInput(input=Input.CALLEE_FAILED, leg=leg))
            return
        self._scope.follow(CallInput(input=Input.PREVIEW_TAKEN, leg=leg))

    async def _hear(self, leg: Leg, sdp: str) -> None:
        """Let the caller hear a callee's early media; raises MediaError."""
        before, self._answer_sdp = self._answer_sdp, await self._answer_for_caller(leg, sdp)
        self._committed, self._early[leg.party.tag] = sdp, [sdp]
        self._heard = leg
        self._scope.engine.watch(self._scope.call_id, leg.party.tag, self._scope.settings.early_silence)
        if self.state is not State.EARLY or self._answer_sdp != before:
            await self.caller.ring(self._answer_sdp)

    async def _hear_another(self, what: CallInput) -> None:
        """Let the caller hear the next callee where the one that it hears is silent, or another far end of that one."""
        silent = self._heard
        if silent is None or silent is not what.leg:
            return
        callees = self.callees
        place = callees.index(silent) + 1
        await self._hear_one_of((*callees[place:], *callees[:place]), silent)

    async def _hear_one_of(self, legs: Sequence[CalleeLeg], silent: Leg) -> None:
        self._heard = None
        for leg in legs:
            following = leg.next_preview() if leg is silent else None
            previews = self._early.get(leg.party.tag, ()) if leg is not silent else (following,)
            for sdp in reversed([each for each in previews if each is not None]):
                try:
                    await self._hear(leg, sdp)
                except MediaError as error:
                    self._ignore_preview(leg, sdp, error)
                else:
                    return

    async def _release(self, leg: Leg) -> None:
        await super()._release(leg)
        self._early.pop(leg.party.tag, None)
        if leg is self._heard:
            self._committed = None
            await self._hear_one_of([each for each in self.callees if each is not leg], leg)

    def _ignore_preview(self, leg: Leg, sdp: str, error: MediaError) -> None:
        """Have an early description that cannot be used say no more than that the callee rings."""
        tag = leg.party.tag
        self._early[tag] = [each for each in self._early.get(tag, ()) if each != sdp]
        if tag not in self._ignored:
            self._ignored.add(tag)
            log.info("early description ignored", call_id=self._scope.call_id, tag=tag, reason=error.reason)
        self._scope.follow(CallInput(input=Input.CALLEE_RINGING, leg=leg))

    async def _answer_for_caller(self, source: Leg, sdp: str) -> str:
        scope = self._scope
        return await scope.engine.answer(scope.call_id, source.party, self.caller.party, sdp)

    async def _choose_callee(self, what: CallInput) -> None:
        others = [leg for leg in self.callees if leg is not what.leg]
        for branch in self._branches:
            branch.stop()
        self._branches = [Branch([leg for leg in self.callees if leg is what.leg])]
        self._heard = None
        for leg in others:
            self._stop_waiting_for(leg)
            await self._end_leg(leg, Cause.ELSEWHERE)
            await self._release(leg)

    async def _pick_up(self, what: CallInput) -> None:
        """The engine answers the newcomer and the caller; where it cannot, those who are asked ring on."""
        newcomer, event, scope = what.newcomer, what.event, self._scope
        assert newcomer is not None
        assert isinstance(event, Offered)
        assert event.sdp is not None
        if self._offer is None:
            await self._end_leg(newcomer, Cause.NOT_ACCEPTABLE)
            return
        try:
            given = await scope.engine.accept(scope.call_id, self.caller.party)
            await scope.engine.offer(scope.call_id, newcomer.party, self.caller.party, event.sdp)
            answer = await scope.engine.accept(scope.call_id, newcomer.party)
        except MediaError as error:
            log.info("not picked up", call_id=scope.call_id, tag=newcomer.party.tag, reason=error.reason)
            await self._end_leg(newcomer, refused_by_media(newcomer, error))
            await self._release(newcomer)
            for leg in self.callees:
                await self._offer_for(leg)
            return
        self._newcomer, self._answer_sdp = newcomer, given
        await newcomer.answer(answer)
        scope.follow(CallInput(input=Input.PICKED_UP, leg=newcomer))

    async def _end_callees(self, _: CallInput) -> None:
        await self._leave_callees(Cause.ELSEWHERE)

    async def _leave_callees(self, cause: Cause) -> None:
        """Ask nobody any more."""
        self._heard = None
        for leg in self.callees:
            self._stop_waiting_for(leg)
            await self._end_leg(leg, cause)
            await self._release(leg)
        for branch in self._branches:
            branch.stop()
        self._branches = []

    def _described(self, what: CallInput) -> list[str]:
        """The descriptions by which a callee may have accepted, the first that can be used counts.

        The answer of the 2xx, else the newest early one, else one before it, else what the 2xx repeats.
        """
        assert isinstance(what.event, Answered)
        assert what.leg is not None
        early = reversed(self._early.get(what.leg.party.tag, ()))
        answers = early if what.event.sdp is None else (what.event.sdp,)
        return [sdp for sdp in (*answers, what.event.repeated) if sdp is not None]

    async def _answer_media(self, what: CallInput) -> None:
        leg = what.leg
        assert leg is not None

        async def take(sdp: str) -> None:
            self._scope.engine.watch(self._scope.call_id, leg.party.tag, None)
            if sdp != self._committed or self._heard not in (None, leg):
                self._answer_sdp = await self._answer_for_caller(leg, sdp)
                self._committed = sdp

        if await self._takes_answer(what, take):
            self._scope.follow(CallInput(input=Input.ANSWER_TAKEN, leg=leg, event=what.event))

    async def _takes_answer(self, what: CallInput, take: Callable[[str], Awaitable[None]]) -> bool:
        """Give the call to a callee whose description the engine takes; one without any leaves the call to the others.

        Such a callee has answered 2xx, so it is ended by its leg.
        """
        leg = next(each for each in self.callees if each is what.leg)
        refused = MediaError("the callee accepted without a session description", 488)
        for sdp in self._described(what):
            try:
                await take(sdp)
            except MediaError as error:
                refused = error
            else:
                await leg.keep_answer()
                self._scope.learn(leg, sdp)
                return True
        log.info("answer refused", call_id=self._scope.call_id, tag=leg.party.tag, reason=refused.reason)
        refused_by_media(self.caller, refused)
        await leg.refuse_answer(refused_by_media(leg, refused))
        return False

    async def _answer_caller(self, _: CallInput) -> None:
        assert self._answer_sdp is not None
        self.wants_another = not await self.caller.answer(self._answer_sdp) or self._chose_otherwise()

    def _chose_otherwise(self) -> bool:
        """Whether the callee cannot take what the caller's early answer begins with, though both have another codec."""
        if self._given_early is None or not self._scope.engine.capabilities.create_offer:
            return False
        given, chosen = audio_codecs(self._given_early), audio_codecs(self._committed or self._given_early)
        return bool(given) and given[0] not in chosen and not set(given).isdisjoint(chosen)

    async def _commit_callee(self, what: CallInput) -> None:
        leg, scope = what.leg, self._scope
        assert leg is not None

        async def take(sdp: str) -> None:
            await scope.engine.answer(scope.call_id, leg.party, None, sdp)

        if await self._takes_answer(what, take):
            scope.follow(CallInput(input=Input.COUNTER_TAKEN, leg=leg, event=what.event))

    async def _offer_caller(self, what: CallInput) -> None:
        assert what.leg is not None
        scope = self._scope
        sdp = await scope.engine.create_offer(scope.call_id, self.caller.party, what.leg.party)
        late = CallInput(input=Input.OFFER_TIMEOUT, cause=Cause.NOT_ACCEPTABLE)
        self._patience = scope.timers.call_later(scope.settings.offer_timeout, lambda: scope.post(late))
        await self.caller.answer(sdp)

    async def _commit_caller(self, what: CallInput) -> None:
        assert isinstance(what.event, Confirmed)
        if what.event.sdp is None:
            raise MediaError("the caller took the call without answering our offer", 488)
        await self._scope.engine.answer(self._scope.call_id, self.caller.party, None, what.event.sdp)

    async def _join(self, _: CallInput) -> None:
        scope = self._scope
        talks = self._newcomer or self.callees[0]
        await scope.engine.join(scope.call_id, self.caller.party.tag, talks.party.tag)

    async def _drop_callee(self, what: CallInput) -> None:
        assert what.leg is not None
        branch = self._branch_of(what.leg)
        self._stop_waiting_for(what.leg)
        cause = what.cause or Cause.UNAVAILABLE
        self.caller.note_limit(cause, "", what.retry_after)
        if what.input is Input.CALLEE_FAILED:
            await self._end_leg(what.leg, cause)
        self._scope.ended(what.leg)  # others whom it had asked before may have yet to answer our CANCEL
        if not self._is_last(branch):
            await self._release(what.leg)
        self._refused(branch, what.leg, cause)

    def _branch_of(self, leg: Leg) -> Branch:
        return next(branch for branch in self._branches if leg in branch.legs)

    def _is_last(self, branch: Branch) -> bool:
        """Whether nobody is left when one leg of it is gone."""
        return len(self.callees) == 1 and branch.then is None

    async def _redirect(self, what: CallInput) -> None:
        """Those whom a callee names are asked beside the others of its rank; where none may be, it has refused."""
        assert isinstance(what.event, Redirected)
        assert what.leg is not None
        leg, branch = what.leg, self._branch_of(what.leg)
        if what.event.legs:
            await self._ask_again(branch, leg, what.event)
            return
        instead = await self._scope.redirect(leg, replace(what.event, diversions=branch.diversions))
        then = what.event.then
        if instead is not None:
            takes_place = what.event.is_over and branch.legs == [leg]
            instead.wait_for(Waiting(then, what.event.time) if then else branch.waiting if takes_place else None)
            await self._ask(instead)
        elif then is not None:
            then(Cause.UNAVAILABLE)
        if not what.event.is_over:
            return
        self._stop_waiting_for(leg)
        self._scope.ended(leg)
        if instead is None:
            self._refused(branch, leg, Cause.UNAVAILABLE)
            return
        await self._release(leg)
        branch.legs = [one for one in branch.legs if one is not leg]
        if not branch.legs:
            branch.stop()
            self._branches.remove(branch)

    async def _ask_again(self, branch: Branch, leg: Leg, event: Redirected) -> None:
        """The same callee is asked for other media: what holds of its branch, time and who comes next, holds still."""
        branch.legs.extend(event.legs)
        if event.is_over:
            branch.legs = [one for one in branch.legs if one is not leg]
            self._stop_waiting_for(leg)
            self._scope.ended(leg)
        await self._ask_legs(branch, event.legs)
        if event.is_over:
            await self._release(leg)

    async def _end_branch(self, what: CallInput) -> None:
        assert what.branch is not None
        for leg in list(what.branch.legs):
            self._stop_waiting_for(leg)
            await self._end_leg(leg, Cause.NO_ANSWER)
            await self._release(leg)
            self._refused(what.branch, leg, Cause.NO_ANSWER)

    async def _next_branch(self, what: CallInput) -> None:
        branch, cause = what.branch, what.cause or Cause.UNAVAILABLE
        assert branch is not None
        branch.stop()
        following = await branch.then(cause) if branch.then is not None else None
        self._branches.remove(branch)
        if following is not None:
            following.wait_for(branch.waiting)
            await self._ask(following)
        else:
            self._refusals.append(cause)
            if branch.waiting is not None:
                branch.waiting.then(cause)
        if not self._branches:
            await self._nobody_left(self._failed or most_telling(self._refusals))

    async def _give_up(self, what: CallInput) -> None:
        """Nobody is waited for any longer; who is being told why is told to the end."""
        if self._failed is not None:
            return
        await self._leave_callees(Cause.NO_ANSWER)
        await self._nobody_left(what.cause or Cause.NO_ANSWER)

    async def _nobody_left(self, cause: Cause) -> None:
        """The caller is told why, after it has heard it where there is something to hear."""
        leg = None
        # Who made no offer cannot be given early media; who has heard a callee's has heard it from there.
        if self._failed is None and self._offer is not None and self.state is not State.EARLY and not self._is_given_up:
            leg = self._scope.announce(cause)
        if leg is None:
            self._scope.follow(CallInput(input=Input.ALL_REJECTED, cause=cause))
            return
        self._failed = cause
        await self._ask(Branch([leg]))

    async def _take_back(self, what: CallInput) -> None:
        """A page that was reloaded while it dialled brings a new offer: the engine answers it, the callees ring on."""
        assert isinstance(what.event, Returned)
        assert what.leg is not None
        self._stop_waiting_for(what.leg)
        if what.event.sdp is None:
            return
        if what.leg is not self.caller or self.state is State.CONFIRMING:
            await what.leg.answer_offer(what.event.exchange, None, Cause.GLARE)
            return
        await self.caller.answer_offer(what.event.exchange, await self._accept_again(what.event.sdp))

    async def _accept_again(self, sdp: str) -> str:
        """The engine's answer to a new offer of the caller's; the callees go on with what they were offered."""
        scope, self._offer = self._scope, sdp
        for leg in self.callees:
            await self._offer_for(leg)
        ringback = self._ringback_of(next(iter(self.callees), None)) if self.state is State.RINGING else None
        self._answer_sdp = await scope.engine.accept(scope.call_id, self.caller.party, ringback)
        return self._answer_sdp

    async def _answer_early_offer(self, what: CallInput) -> None:
        """A new offer before the answer, by one whose first exchange is over (RFC 3311 section 5.1, RFC 6337).

        The engine answers it, and the other side goes on with what it has.
        """
        assert isinstance(what.event, Offered)
        assert what.event.sdp is not None
        leg, number, sdp, scope = what.leg, what.event.exchange, what.event.sdp, self._scope
        assert leg is not None
        try:
            if leg is self.caller and self._offer is not None and self._answer_sdp is not None:
                answer = await self._accept_again(sdp)
            elif leg is not self.caller and self._committed is not None and len(self.callees) == 1:
                await scope.engine.offer(scope.call_id, leg.party, self.caller.party, sdp)
                answer = await scope.engine.accept(scope.call_id, leg.party)
                self._committed, self._early[leg.party.tag] = sdp, [sdp]
            else:
                await self._refuse_glare(what)
                return
        except MediaError as error:
            log.info("early offer refused", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)
            refused_by_media(leg, error)
            await leg.answer_offer(number, None, Cause.NOT_ACCEPTABLE)
        else:
            await leg.answer_offer(number, answer)
