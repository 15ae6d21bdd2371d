"""Attempt to reach a callee: offer, ringing, early media, and the first answer of several callees.

The engine passes the caller's offer to each callee. A caller without an offer (INVITE without SDP) gets ours after a
callee has answered; the engine then joins two separate agreements.
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
"""Early descriptions kept for a callee: the first usable and the newest."""


class Attempt(Machine):
    """A caller and the callees of all branches."""

    table = TABLE

    def __init__(self, scope: Scope, caller: CallerLeg, callees: Branch, offer: str | None) -> None:
        super().__init__(scope, State.NEW)
        self.caller = caller
        self._branches = [callees]
        self._newcomer: CallerLeg | None = None
        """Leg that took the call by call pickup, instead of the callees."""
        self.wants_another = False
        """True if the caller's early answer differs from the final answer, so that a re-offer is needed."""
        self._offer = offer
        self._early: dict[str, list[str]] = {}
        """Usable early descriptions of callees, by tag, newest last."""
        self._ignored: set[str] = set()
        """Tags of callees with an unusable early description."""
        self._audible: Leg | None = None
        """Callee whose early media the caller hears: the first one, until silent or gone."""
        self._answer_sdp: str | None = None
        """Answer for the caller."""
        self._committed: str | None = None
        """Callee's description behind `_answer_sdp`."""
        self._given_early: str | None = None
        self._offers: list[tuple[CalleeLeg, str]] = []
        self._refusals: list[Cause] = []
        self._renamed: set[str] = set()
        """Tags of legs with a changed identity."""
        self._patience: Timer | None = None
        self._failed: Cause | None = None
        """Cause of the failure, while an announcement plays."""

    @property
    def callees(self) -> tuple[CalleeLeg, ...]:
        """Callees that have not rejected the call."""
        return tuple(leg for branch in self._branches for leg in branch.legs)

    @property
    def legs(self) -> tuple[Leg, ...]:
        return (self.caller, *self.callees) if self._newcomer is None else (self.caller, self._newcomer, *self.callees)

    @property
    def winner(self) -> Leg | None:
        """Leg that answered; None before the answer."""
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
        """Keep a callee's early description; without an offer the caller cannot hear early media.

        `is_another` marks the description of a different phone of the callee.
        """
        if is_another:
            self._early.pop(leg.party.tag, None)
        kept = self._early.setdefault(leg.party.tag, [])
        kept.append(sdp)
        del kept[1 : 1 - _KEPT_PREVIEWS]
        return Input.CALLEE_RINGING if self._offer is None else Input.CALLEE_EARLY_MEDIA

    def renamed(self, leg: Leg) -> Input | None:
        """Note a changed identity; the bridge announces it after the answer."""
        self._renamed.add(leg.party.tag)
        return None

    @property
    def acquainted(self) -> tuple[Leg, ...]:
        """Legs of the answered pair that know the identity of their peer."""
        winner = self.winner
        if winner is None or self._newcomer is not None:
            return ()
        both: tuple[tuple[Leg, Leg], ...] = ((self.caller, winner), (winner, self.caller))
        return tuple(leg for leg, other in both if other.party.tag not in self._renamed)

    @property
    def answered_as(self) -> Input:
        """Input for a callee's answer: to the caller's offer, or to ours."""
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
        return CallInput(input=Input.CALLEE_FAILED, leg=leg, cause=Cause.UNAVAILABLE)  # further callees ring on

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
            return  # a service answers at once, which makes an early answer redundant
        if has_video(self._offer, scope.engine.capabilities.video):
            return  # only the callee can tell its video codecs
        self._answer_sdp = await scope.engine.accept(scope.call_id, self.caller.party)
        self._given_early = self._answer_sdp
        await self.caller.early_answer(self._answer_sdp)

    async def _invite_callees(self, _: CallInput) -> None:
        offers, self._offers = self._offers, []
        if self._is_given_up:
            return  # given up while the engine worked
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
        """Start the timer that ends ringing of the branch."""
        if branch.time is not None:
            scope = self._scope
            late = CallInput(input=Input.BRANCH_TIMEOUT, branch=branch, cause=Cause.NO_ANSWER)
            branch.timer = scope.timers.call_later(branch.time, lambda: scope.post(late))

    async def _ask(self, branch: Branch) -> None:
        """Invite the callees of an additional branch."""
        self._branches.append(branch)
        await self._ask_legs(branch, branch.legs)
        self._limit(branch)

    async def _ask_legs(self, branch: Branch, legs: Sequence[CalleeLeg]) -> None:
        """Send the offer to each callee of the branch. A callee without a usable offer counts as rejected."""
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
        """True if the end of the attempt is queued, so that no further phone need ring."""
        # A playing announcement is not cut short by the ringing time-out.
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
        """Return the name of the ringback tone for the caller; None if the caller's phone plays its own."""
        engine, caller = self._scope.engine.capabilities, self.caller.party
        if callee is None or self._offer is None or caller.kind in (Kind.WEBRTC, Kind.SERVICE):
            return None
        known = ("to", callee.party.owner), ("from", caller.owner)
        names = [f"{way} {owner}" for way, owner in known if owner is not None]
        found = next((name for name in names if name in engine.ringbacks), None)
        # Only the callee can tell its video codecs.
        return found if found is not None and not has_video(self._offer, engine.video) else None

    async def _early_media(self, what: CallInput) -> None:
        assert isinstance(what.event, Ringing)
        assert what.leg is not None
        assert what.event.sdp is not None
        leg, sdp = what.leg, what.event.sdp
        if self._audible is not None and not (self._audible is leg and what.event.is_another):
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
        """Play a callee's early media to the caller; raises MediaError."""
        before, self._answer_sdp = self._answer_sdp, await self._answer_for_caller(leg, sdp)
        self._committed, self._early[leg.party.tag] = sdp, [sdp]
        self._audible = leg
        self._scope.engine.watch(self._scope.call_id, leg.party.tag, self._scope.settings.early_silence)
        if self.state is not State.EARLY or self._answer_sdp != before:
            await self.caller.ring(self._answer_sdp)

    async def _hear_another(self, what: CallInput) -> None:
        """Switch the caller from silent early media to the next callee or to a further phone of the same callee."""
        silent = self._audible
        if silent is None or silent is not what.leg:
            return
        callees = self.callees
        place = callees.index(silent) + 1
        await self._hear_one_of((*callees[place:], *callees[:place]), silent)

    async def _hear_one_of(self, legs: Sequence[CalleeLeg], silent: Leg) -> None:
        self._audible = None
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
        if leg is self._audible:
            self._committed = None
            await self._hear_one_of([each for each in self.callees if each is not leg], leg)

    def _ignore_preview(self, leg: Leg, sdp: str, error: MediaError) -> None:
        """Treat an unusable early description as plain ringing."""
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
        self._audible = None
        for leg in others:
            self._stop_waiting_for(leg)
            await self._end_leg(leg, Cause.ELSEWHERE)
            await self._release(leg)

    async def _pick_up(self, what: CallInput) -> None:
        """Connect a newcomer by call pickup; after a failure the callees ring on."""
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
        """Cancel all callees and branches."""
        self._audible = None
        for leg in self.callees:
            self._stop_waiting_for(leg)
            await self._end_leg(leg, cause)
            await self._release(leg)
        for branch in self._branches:
            branch.stop()
        self._branches = []

    def _described(self, what: CallInput) -> list[str]:
        """Return a callee's candidate descriptions; the first usable one counts.

        The 2xx answer, else early descriptions, newest first; at last the SDP repeated in the 2xx.
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
            if sdp != self._committed or self._audible not in (None, leg):
                self._answer_sdp = await self._answer_for_caller(leg, sdp)
                self._committed = sdp

        if await self._takes_answer(what, take):
            self._scope.follow(CallInput(input=Input.ANSWER_TAKEN, leg=leg, event=what.event))

    async def _takes_answer(self, what: CallInput, take: Callable[[str], Awaitable[None]]) -> bool:
        """Give the call to a callee if the engine takes its description; else the callee is ended and the rest ring on.

        The leg ends the callee, because it has sent a 2xx.
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
        """Return True if the callee lacks the first codec of the caller's early answer but shares a later one."""
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
        self._scope.ended(what.leg)  # further phones of the leg may still owe a response to our CANCEL
        if not self._is_last(branch):
            await self._release(what.leg)
        self._refused(branch, what.leg, cause)

    def _branch_of(self, leg: Leg) -> Branch:
        return next(branch for branch in self._branches if leg in branch.legs)

    def _is_last(self, branch: Branch) -> bool:
        """Return True if the branch holds the last callee and no successor."""
        return len(self.callees) == 1 and branch.then is None

    async def _redirect(self, what: CallInput) -> None:
        """Invite the targets of a redirection beside the callee's rank; without a permitted target the callee has
        rejected.
        """
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
        """Invite the same callee with a different offer; time and successor of the branch stay."""
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
        """Cancel the callees, unless an announcement plays."""
        if self._failed is not None:
            return
        await self._leave_callees(Cause.NO_ANSWER)
        await self._nobody_left(what.cause or Cause.NO_ANSWER)

    async def _nobody_left(self, cause: Cause) -> None:
        """End the attempt, after an announcement to the caller where one exists."""
        leg = None
        # Announcements need an offer from the caller, and are redundant after a callee's early media.
        if self._failed is None and self._offer is not None and self.state is not State.EARLY and not self._is_given_up:
            leg = self._scope.announce(cause)
        if leg is None:
            self._scope.follow(CallInput(input=Input.ALL_REJECTED, cause=cause))
            return
        self._failed = cause
        await self._ask(Branch([leg]))

    async def _take_back(self, what: CallInput) -> None:
        """Answer the new offer of a page that was reloaded while dialling; the callees ring on."""
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
        """Return the engine's answer to a new offer of the caller; the callees keep their offers."""
        scope, self._offer = self._scope, sdp
        for leg in self.callees:
            await self._offer_for(leg)
        ringback = self._ringback_of(next(iter(self.callees), None)) if self.state is State.RINGING else None
        self._answer_sdp = await scope.engine.accept(scope.call_id, self.caller.party, ringback)
        return self._answer_sdp

    async def _answer_early_offer(self, what: CallInput) -> None:
        """Answer an offer before the call is answered, after a completed first exchange (RFC 3311 section 5.1, RFC
        6337).

        The engine answers alone; the peer keeps its description.
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
