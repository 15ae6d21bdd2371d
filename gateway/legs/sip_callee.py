"""Leg of a called party: the phones of a callee or the hosts of a trunk, all sent the same offer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from gateway.call.leg import Address, Answered, DialogName, Offered, Redirected, Rejected, Ringing
from gateway.call.status import Cause, cause_of_status, most_telling
from gateway.legs.sip_answers import Answer, Answers, Previews
from gateway.legs.sip_bodies import refusal, text_of
from gateway.legs.sip_diversion import caller_fields, redirections
from gateway.legs.sip_flows import DeviceFlows, by_tls, ip_version, is_flow_failure, note_failure
from gateway.legs.sip_leg import SipLeg
from gateway.legs.sip_sessions import (
    CalleeSession,
    CalleeSettings,
    Destination,
    Inviter,
    Reader,
    names_of,
    nobody,
    nobody_asks,
)
from gateway.media.engine import Party
from gateway.sip.errors import SipError
from gateway.sip.invite import events
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri

log = structlog.get_logger(__name__)

_GLOBAL_FAILURE = 600
_TIMEOUT = 408
_NOBODY_THERE = frozenset((500, 502, 503, 504))
"""Statuses about an out-of-order server, not about the callee."""
_REDIRECTIONS = (300, 301, 302, 305)
_OTHER_MEDIA = frozenset((415, 488, 606))
"""Statuses that reject the description."""


class Turn:
    """Legs that ring together, and legs that ring after all of them have failed. A leg has one offer, and phones of two
    IP versions need two offers.
    """

    def __init__(self, ringing: int, following: Sequence[SipCalleeLeg]) -> None:
        """`ringing` is the number of legs that ring now."""
        self._ringing = ringing
        self._following = tuple(following)

    def only_secure(self) -> bool:
        """Drop following legs without TLS destinations; return True if a leg remains."""
        self._following = tuple(leg for leg in self._following if leg.only_secure())
        return bool(self._following)

    @property
    def is_last(self) -> bool:
        """True if no leg follows."""
        return not self._following

    def stop(self) -> None:
        """Drop all following legs."""
        self._following = ()

    def joined(self) -> None:
        """Count one more ringing leg."""
        self._ringing += 1

    def over(self) -> tuple[SipCalleeLeg, ...]:
        """Count one ringing leg less; return the following legs after the last."""
        self._ringing -= 1
        return () if self._ringing else self._following


class SipCalleeLeg(SipLeg):
    """Phones of a callee: all get the same offer, the first to accept gets the call.

    A phone with need of a different offer gets a new leg, reported in `Redirected`.
    """

    def __init__(
        self,
        tag: str,
        inviter: Inviter,
        address: Address,
        destinations: Sequence[Destination],
        settings: CalleeSettings,
        reads: Reader = nobody,
        turn: Turn | None = None,
    ) -> None:
        """`reads` returns a callee's identity from its messages during the call; `turn` holds the legs to try after the
        destinations.
        """
        # Media may be latched to the registration's address for a single phone only: with several, the answering phone
        # is not known in advance.
        sources = {flow.source for one in destinations[:1] for flow in (one, *one.others)}
        source = sources.pop() if len(destinations) == 1 and len(sources) == 1 else None
        party = Party(
            tag,
            settings.kind,
            prefer=settings.prefer,
            private_source=source,
            family=_family(destinations),
            dtmf=settings.dtmf,
            codecs=settings.codecs,
            owner=settings.owner,
        )
        super().__init__(party, address)
        self._inviter = inviter
        self._settings = settings
        self._turn = turn or Turn(1, ())
        self._take(destinations)
        self._reads = reads
        self._alerted: dict[int, CalleeSession] = {}
        self._answers, self._previews = Answers(), Previews()
        self._cancelled: list[CalleeSession] = []
        """Cancelled sessions without a final response yet."""
        self._on_left: Callable[[], None] = nobody_asks
        self._elsewhere = 0
        """Number of redirections in progress; the next rank waits for them."""
        self._patience: asyncio.TimerHandle | None = None
        self._offer, self._caller_address = b"", address
        self._refusals: list[Rejected] = []
        self.chosen: Destination | None = None
        """Destination that answered."""

    def _take(self, destinations: Sequence[Destination]) -> None:
        self._destinations = tuple(destinations)
        self._flows = DeviceFlows(destinations, self._settings.flow_timeout)
        ranks = sorted({destination.rank for destination in destinations})
        self._ranks = deque([n for n, one in enumerate(destinations) if one.rank == rank] for rank in ranks)
        """Numbers of destinations still to be tried, by rank."""

    def only_secure(self) -> bool:
        self._take(by_tls(self._destinations))
        self._party = replace(self._party, family=_family(self._destinations))
        return self._turn.only_secure() or bool(self._destinations)

    @property
    def identity(self) -> str | None:
        """Identity of the answering destination; while ringing, the common identity of all, else None."""
        if self.chosen is not None:
            return self.chosen.identity
        called = {destination.identity for destination in self._destinations}
        return called.pop() if len(called) == 1 else None

    @property
    def dialog_names(self) -> tuple[DialogName, ...]:
        """Early dialogs count: a ringing phone may be replaced (RFC 3891 section 3)."""
        return super().dialog_names or names_of(self._reached)

    @property
    def references(self) -> tuple[str, ...]:
        return super().references or tuple(session.call_id for session in self._reached)

    @property
    def _reached(self) -> list[CalleeSession]:
        """Sessions that ring, or have accepted and wait for the verdict on their description."""
        return [*self._answers.sessions, *self._alerted.values()]

    @property
    def is_unaware(self) -> bool:
        return not self._reached and self._session is None

    def values(self) -> dict[str, Any] | None:
        values = super().values() if self._session is not None else self._values(self._reached)
        assert values is not None
        cancelled = [kept for session in self._cancelled if (kept := session.values()) is not None]
        return {**values, "leaving": cancelled}

    def when_left(self, told: Callable[[], None]) -> bool:
        """Wait for the response to every BYE and cancelled INVITE."""
        self._on_left = told
        return super().when_left(self._one_has_left) or bool(self._cancelled)

    def _one_has_left(self) -> None:
        if not self._cancelled and not super().when_left(self._one_has_left):
            on_left, self._on_left = self._on_left, nobody_asks
            on_left()

    async def invite(self, sdp: str, caller: Address) -> None:
        self._offer, self._caller_address = sdp.encode(), caller
        self._ask_next()

    def _ask_next(self) -> None:
        """Invite the next rank; report the rejection after the last."""
        if self._elsewhere:
            return
        while self._ranks and not self._alerted and not self._over:
            rank = self._ranks.popleft()
            for number in rank:
                self._ask(number)
            self._wait_for_rank()
            for number, session in [(number, self._alerted[number]) for number in rank if number in self._alerted]:
                self._follow(number, session)
            self._changed()
        if not self._alerted and not self._over and self._session is None:
            self._over = True
            following = self._turn.over()
            if following:
                following[0].refused_before(self._refusals)
                self._deliver(Redirected((), is_over=True, legs=following))
            else:
                waits = [one.retry_after for one in self._refusals if one.retry_after is not None]
                cause = most_telling([one.cause for one in self._refusals])
                words = next((one.said for one in self._refusals if one.cause is cause and one.said), "")
                self._deliver(Rejected(cause, min(waits, default=None), words))

    def refused_before(self, refusals: Iterable[Rejected]) -> None:
        """Add the rejections of earlier legs of the turn."""
        self._refusals.extend(refusals)

    @property
    def _has_next(self) -> bool:
        """True while a further rank or leg remains."""
        return bool(self._ranks) or not self._turn.is_last

    def _ask_nobody_else(self) -> None:
        self._ranks.clear()
        self._turn.stop()

    def _ask(self, number: int) -> None:
        try:
            self._alerted[number] = self._send(self._flows[number], self._offer, self._caller_address)
        except SipError as error:
            log.warning("a contact cannot be invited", reason=str(error))
            self._refusals.append(Rejected(Cause.UNAVAILABLE))
        else:
            self._flows.asked(number, self._flow_is_silent)

    def _follow(self, number: int, session: CalleeSession) -> None:
        session.changed = self._changed
        session.listen(self._handler(number, session))

    def _flow_is_silent(self, number: int) -> None:
        session = self._alerted.get(number)
        if session is None or session.has_responded:
            return
        if self._try_next_flow(number, _TIMEOUT):
            self._cancel(session, Cause.ELSEWHERE)
        else:
            # A silent gateway of the cluster is given up earlier than a phone (Timer B, RFC 3261 17.1.1.2).
            self._cancel(session, Cause.CANCELLED)
            self._refused(number, Cause.UNREACHABLE.status, Rejected(Cause.UNREACHABLE))

    def _try_next_flow(self, number: int, status: int) -> bool:
        """Try the same device over its next flow; return False if none is left (RFC 5626 section 7)."""
        if not self._flows.advance(number, status):
            return False
        self._alerted.pop(number, None)
        flow = self._flows[number]
        if self._settings.by_version and ip_version(flow) not in (0, self.party.family):
            self._hand_over(number, flow, self._settings)
            return True
        self._ask(number)
        session = self._alerted.get(number)
        if session is not None:
            self._follow(number, session)
            self._changed()
        elif not self._try_next_flow(number, status) and not self._reached:
            self._ask_next()
        return True

    def _wait_for_rank(self) -> None:
        self._stop_waiting()
        if self._has_next and self._settings.patience > 0:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._settings.patience, self._rank_is_late)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _rank_is_late(self) -> None:
        """Give up a rank without an answer in time; with failover, only without any response."""
        self._patience = None
        if self._settings.failover and any(session.has_responded for session in self._alerted.values()):
            return
        for number in self._alerted:
            note_failure(self._flows[number], _TIMEOUT, has_responded=self._alerted[number].has_responded)
        self._refusals.append(Rejected(Cause.NO_ANSWER))
        self._silence(Cause.CANCELLED)
        self._ask_next()

    def _send(self, destination: Destination, body: bytes, caller: Address) -> CalleeSession:
        return self._inviter.invite(
            destination.uri,
            caller=destination.caller or NameAddr(Uri.parse(caller.uri), caller.display_name),
            body=body,
            route=destination.route,
            received=destination.received,
            family=destination.family,
            credentials=destination.credentials,
            timeout=self._settings.no_answer,
            max_forwards=caller.hops,
            identity=destination.identity,
            headers=[*caller_fields(caller, destination.uri, destination.shown), *destination.told(caller)],
            by_flow=destination.is_flow,
        )

    def _handler(self, number: int, session: CalleeSession) -> Callable[[events.SessionEvent], None]:
        return lambda event: self._happened(number, session, event)

    def _goes_on(self, status: int, *, has_responded: bool) -> bool:
        """Return True if a rejection leads to the next rank."""
        if not self._settings.failover:
            return status < _GLOBAL_FAILURE
        return status in _NOBODY_THERE or (status == _TIMEOUT and not has_responded)

    def _happened(self, number: int, session: CalleeSession, event: events.SessionEvent) -> None:
        if self._over:
            return
        if self._session is not None:
            if session is self._session:
                self._in_dialog(event)
            return
        is_heard = self._answers.hears(session, event)
        if not is_heard and session is self._alerted.get(number):  # else the session was given up
            self._alerting(number, event)

    def _alerting(self, number: int, event: events.SessionEvent) -> None:
        """Handle an event of a ringing destination."""
        match event:
            case events.Provisional(status=status, body=body):
                if body:
                    sdp = self._description(body)
                    self._deliver(Ringing(sdp if self._previews.add(number, sdp) else None))
                elif status in (180, 183):
                    self._deliver(Ringing())
            case events.Answered():
                self._accepted(number, event)
            case events.Identified(message=message):
                self._renamed(message)
            case events.Offered(exchange=exchange, body=body) if body and len(self._alerted) == 1:
                self._deliver(Offered(exchange, self._description(body)))
            case events.Offered(exchange=exchange):
                # With several early dialogs, the answering one is unknown.
                self._alerted[number].refuse_offer(exchange, Cause.GLARE.status)
            case events.InfoReceived():
                self._infos.received(self._alerted[number], event, self._deliver)
            case events.Failed():
                self._failed(number, event)
            case events.Ended():
                self._refused(number, event.cause or 480)

    def _accepted(self, number: int, event: events.Answered) -> None:
        self._stop_waiting()
        sdp = self._description(event.body) if event.body else self._previews.waiting(number)
        answered = Answered(sdp, text_of(event.repeated) or None)
        self._alerted[number].judge_answer()
        if self._answers.add(Answer(number, self._alerted.pop(number), answered)):
            self._deliver(answered)

    async def keep_answer(self) -> None:
        answer = self._answers.take()
        if answer is None:
            return
        self._session, self.chosen = answer.session, self._flows[answer.number]
        self._shown = self.chosen.shown
        answer.session.keep_answer()
        others = self._reached
        self._silence(Cause.ELSEWHERE, self._answers.clear())
        if others:
            self._changed()
        for event in answer.later:
            self._in_dialog(event)

    async def refuse_answer(self, cause: Cause) -> None:
        answer = self._answers.take()
        if answer is None:
            return
        self._alerted[answer.number] = answer.session
        following = self._answers.next()
        # A proxy may have forked the INVITE: further branches may answer or still ring.
        if not answer.session.refuse_answer(cause.status, self._reason(cause)):
            self._cancel(answer.session, cause)
            self._refused(answer.number, cause.status, Rejected(cause))
        if following is not None:
            self._deliver(following)
        elif self._alerted and not self._answers:
            self._wait_for_rank()
        self._changed()

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        """Answer the offer of an early dialog, if only one destination rings."""
        if self._session is not None:
            await super().answer_offer(exchange, sdp, cause)
        elif len(self._alerted) == 1:
            [session] = self._alerted.values()
            if sdp is None:
                session.refuse_offer(exchange, cause.status, self._reason(cause))
            else:
                session.answer_offer(exchange, sdp.encode())

    def next_preview(self) -> str | None:
        return self._previews.next()

    def _leaves(self, number: int) -> CalleeSession:
        """Forget a destination that stopped ringing; a waiting early description replaces its own."""
        session = self._alerted.pop(number)
        preview = self._previews.drop(number)
        if preview is not None:
            self._deliver(Ringing(preview, is_another=True))
        return session

    def _refused(self, number: int, status: int, rejection: Rejected | None = None) -> None:
        session = self._leaves(number)
        self._refusals.append(rejection or Rejected(cause_of_status(status)))
        if not self._goes_on(status, has_responded=session.has_responded):
            self._ask_nobody_else()
        if status >= _GLOBAL_FAILURE:
            self._silence(Cause.CANCELLED)  # a 6xx applies to all phones of the callee (RFC 3261 section 16.7)
        if not self._reached:
            self._ask_next()

    def _failed(self, number: int, event: events.Failed) -> None:
        destination, settings = self._flows[number], self._settings
        has_responded = self._alerted[number].has_responded
        note_failure(destination, event.status, has_responded=has_responded)
        if is_flow_failure(event.status, has_responded=has_responded) and self._try_next_flow(number, event.status):
            return
        if event.status in _REDIRECTIONS and event.contacts:
            targets = redirections(event.status, event.contacts, destination.uri)
            self._gives_way(number, Redirected(targets, is_over=False))
        elif event.status in _OTHER_MEDIA and settings.instead:
            # A phone that requires SRTP rejects plain RTP with 488 (RFC 4568 section 7.3).
            if settings.failover:
                self._ask_nobody_else()
            self._leaves(number)
            again = replace(settings, kind=settings.instead[0], instead=settings.instead[1:])
            self._hand_over(number, destination, again)
        else:
            self._refused(number, event.status, refusal(event, of_gateway=destination.looks_up))

    def _hand_over(self, number: int, destination: Destination, settings: CalleeSettings) -> None:
        """Move a phone with need of a different offer to a new leg; the next rank waits for the leg."""
        if self._ranks:
            rest = [self._flows[one] for rank in self._ranks for one in rank]
            self._turn = Turn(1, (self._another("next", rest, self._settings),))
            self._ranks.clear()
        self._turn.joined()
        leg = self._another(str(number), [destination], settings)
        self._over = not self._reached and not self._elsewhere
        if self._over:
            self._stop_waiting()
            self._turn.over()
            leg.refused_before(self._refusals)
        self._deliver(Redirected((), is_over=self._over, legs=(leg,)))

    def _another(self, name: str, destinations: Sequence[Destination], settings: CalleeSettings) -> SipCalleeLeg:
        tag = f"{self.party.tag}-{name}"
        return SipCalleeLeg(tag, self._inviter, self.address, destinations, settings, self._reads, self._turn)

    def _gives_way(self, number: int, event: Redirected) -> None:
        """Report a redirection of one phone; the rest ring on, and the next rank waits."""
        self._leaves(number)
        if self._settings.failover:
            self._ask_nobody_else()
        if self._has_next:
            self._elsewhere += 1
            event = replace(event, then=self._came_back, time=self._settings.patience or None)
        self._over = not self._reached and not self._elsewhere
        if not self._alerted:
            self._stop_waiting()
        self._deliver(replace(event, is_over=self._over))

    def _came_back(self, cause: Cause) -> None:
        """Continue after the targets of a redirection have failed."""
        self._elsewhere -= 1
        self._refusals.append(Rejected(cause))
        if not self._reached and self._session is None:
            self._ask_next()

    def _silence(self, cause: Cause, others: Sequence[CalleeSession] = ()) -> None:
        """Cancel all ringing sessions and hang up `others`, which accepted too late."""
        self._stop_waiting()
        self._flows.stop()
        alerted, self._alerted = self._alerted, {}
        self._previews.clear()
        for session in (*others, *alerted.values()):
            self._cancel(session, cause)

    def _cancel(self, session: CalleeSession, cause: Cause) -> None:
        """Cancel a session and keep it until its final response: a restart may lose the CANCEL."""

        def watch(event: events.SessionEvent) -> None:
            if isinstance(event, events.Failed | events.Ended):
                self._has_left(session)

        self._cancelled.append(session)
        session.listen(watch)
        session.hangup(self._reason(cause))

    def _has_left(self, session: CalleeSession) -> None:
        dialog = session.dialog
        if dialog is not None and dialog.is_leaving and dialog.when_over(lambda: self._has_left(session)):
            return  # a 2xx crossed our CANCEL, and a BYE is on its way
        self._cancelled.remove(session)
        self._one_has_left()
        self._changed()

    async def end(self, cause: Cause) -> None:
        if self._over:
            return
        self._over = True
        if self._session is not None:
            self._hang_up(cause)
        self._silence(cause, self._answers.clear())


def _family(destinations: Sequence[Destination]) -> int:
    """Return the IP version of the first destination."""
    return ip_version(destinations[0]) if destinations else 0
