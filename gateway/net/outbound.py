"""One account registered by several flows at once: while one is down, calls find their way by another (RFC 5626)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gateway.net.registration import FlowId, Registration
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from gateway.sip.registration.client import FlowRecovery, RegistrationPolicy

logger = logging.getLogger(__name__)

_LONGEST_BY_UDP = 29.0
"""Seconds after which a NAT may have forgotten who sends nothing (RFC 5626 section 4.4)."""
_BACK_A_SECOND = 50
"""Accounts registered anew a second where the connection of many is gone, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """By which flows an account is registered."""

    instance: str
    """URN of this gateway, the same after a restart (RFC 5626 section 4.1)."""
    routes: tuple[tuple[NameAddr, ...], ...]
    """The route set of each flow: its edge proxy. The flows are numbered from 1 in this order (reg-id)."""
    recovery: FlowRecovery = field(default_factory=FlowRecovery)
    keep_alive: float = 120.0
    """Longest pause between keep-alives where the registrar asks for none (Flow-Timer), in seconds."""
    patience: float = 4.0
    """Seconds that an edge is given to answer as its flow is taken back."""


class Make(Protocol):
    """Makes the registration of one flow."""

    def __call__(
        self,
        policy: RegistrationPolicy,
        route: tuple[NameAddr, ...],
        changed: None,
        answered: Callable[[Registration], None],
        *,
        flow_id: FlowId,
        others_stand: Callable[[], bool],
    ) -> Registration: ...


class OutboundRegistration:
    """The flows of one account, as one registration; made by `UserAgent.register`, alive until `unregister`.

    A registrar that takes no flows (no `Require: outbound` in its 2xx) would have calls come in by each of them: there
    one stands alone, and the others take its place when it fails. Where only some edges take flows, those are kept,
    and asked again, as flows that fail are, while one without stands in for them.
    """

    def __init__(
        self,
        outbound: Outbound,
        policy: RegistrationPolicy,
        make: Make,
        keeper: FlowKeeper,
        answered: Callable[[OutboundRegistration], None] | None = None,
    ) -> None:
        """`answered` is called after the outcome of every REGISTER of every flow."""
        self._outbound = outbound
        self._policy = replace(policy, recovery=outbound.recovery)
        self._make = make
        self._keeper = keeper
        self._answered = answered
        self._alone: Registration | None = None
        """The only flow, at a registrar that takes no others."""
        self._unfit: set[int] = set()
        """Flows by edges that take none, while others do: those are left out as long as one of the others stands."""
        self._proven: set[int] = set()
        """Flows by edges that took them when they were asked last: what fails there is asked again, not given up."""
        self._is_over = False
        self.is_others = False
        """Whether another gateway has the account by now, or will in a moment."""
        self._beginning: dict[Registration, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = {number: self._new(number) for number in range(1, len(outbound.routes) + 1)}

    def _new(self, number: int) -> Registration:
        return self._make(
            self._policy,
            self._outbound.routes[number - 1],
            None,
            self._flow_answered,
            flow_id=FlowId(self._outbound.instance, number),
            others_stand=lambda: any(one.registered for key, one in self._flows.items() if key != number),
        )

    # -- as one registration -------------------------------------------------------------

    @property
    def _best(self) -> Registration:
        return next((one for one in self._flows.values() if one.registered), next(iter(self._flows.values())))

    @property
    def registered(self) -> bool:
        """Whether any flow stands."""
        return self._best.registered

    @property
    def status(self) -> int:
        """The last final response by the first flow that stands, or by the first where none does."""
        return self._best.status

    @property
    def said(self) -> str:
        """Status and reason phrase of that response."""
        return self._best.said

    @property
    def registrar(self) -> Uri:
        """Where that REGISTER went."""
        return self._best.registrar

    @property
    def expires(self) -> int:
        """Seconds that the registrar granted by that flow."""
        return self._best.expires

    @property
    def sources(self) -> tuple[Flow, ...]:
        """Where its flows stand."""
        return tuple(flow for one in self._flows.values() for flow in one.sources)

    @property
    def routes(self) -> list[tuple[NameAddr, ...]]:
        """The route sets of its flows, those that stand first."""
        standing = {number for number, one in self._flows.items() if one.registered}
        numbers = sorted(range(1, len(self._outbound.routes) + 1), key=lambda number: number not in standing)
        return [self._outbound.routes[number - 1] for number in numbers]

    def standing_on(self, flow: Flow) -> list[Registration]:
        """Those of its flows that were formed by this connection."""
        return [one for one in self._flows.values() if one.stands_on(flow)]

    def hurry(self, seconds: float) -> None:
        """Have the flows that stand registered again within so many seconds; others come when their wait is over."""
        for one in self._flows.values():
            if one.registered:
                one.hurry(seconds)

    async def begin(self) -> None:
        """Send the first REGISTER by every flow; returns once one stands or all have failed."""
        pending = {self._begin(one) for one in self._flows.values()}
        while pending and not self.registered:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    async def unregister(self) -> None:
        """Take every flow back, where they are still ours, and stop; an edge that is dead has `patience` to answer."""
        self._is_over = True
        for one in self._flows.values():
            self._spawn(self._take_back(one))
        if not self._tasks:
            return
        done, late = await asyncio.wait(self._tasks, timeout=self._outbound.patience)
        if late:
            logger.warning(
                "the registrar %s does not answer by every flow: what is bound there runs out", self.registrar
            )
            self.stop()
            await asyncio.wait(late)
        for task in done:
            task.result()

    async def leave(self) -> None:
        """Stop, for another gateway has the account and the flows of its instance."""
        self.is_others = True
        await self.unregister()

    def stop(self) -> None:
        """Stop refreshing; what is bound runs out by itself."""
        self._is_over = True
        for task in (*self._tasks, *self._beginning.values()):
            task.cancel()
        for one in self._flows.values():
            one.stop()

    # -- its flows -------------------------------------------------------------------------

    def _begin(self, one: Registration) -> asyncio.Task[None]:
        task = self._beginning[one] = asyncio.ensure_future(one.begin())
        task.add_done_callback(lambda done: self._has_begun(one, done))
        return task

    def _has_begun(self, one: Registration, task: asyncio.Task[None]) -> None:
        self._beginning.pop(one, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("no flow can be formed: %s", error)

    async def _take_back(self, one: Registration) -> None:
        if (beginning := self._beginning.get(one)) is not None:
            await asyncio.wait([beginning])
        await (one.leave() if self.is_others else one.unregister())

    def _flow_answered(self, one: Registration) -> None:
        if not self._is_over:
            # Who takes no flows need not answer a double CRLF either: its connection would be closed for nothing.
            if one.is_outbound or not any(flow.reliable for flow in one.sources):
                self._keeper.formed(one, self._outbound.keep_alive)
            self._arrange(one)
        if self._answered is not None:
            self._answered(self)

    def _arrange(self, one: Registration) -> None:
        """Keep all flows that stand where any is one among others, a single one where none is; `one` was answered."""
        standing = [each for each in self._flows.values() if each.registered]
        self._proven |= {number for number, each in self._flows.items() if each.registered and each.is_outbound}
        self._proven -= {number for number, each in self._flows.items() if each.registered and not each.is_outbound}
        good = next((each for each in standing if each.is_outbound), None)
        if good is not None:
            self._alone = None
            unfit = {number for number, each in self._flows.items() if each.registered and not each.is_outbound}
            self._unfit |= unfit
            self._give_up(unfit, good, "an edge to %s takes no flows (RFC 5626): it is left out")
            self._begin_missing()
        elif standing:
            self._alone = alone = self._alone if self._alone in standing else standing[0]
            # Whose first answer is awaited yet decides then: it may be one that takes flows.
            settled = {
                number
                for number, each in self._flows.items()
                if each is not alone and (each is one or each not in self._beginning)
            }
            settled -= self._proven
            self._give_up(settled, alone, "the registrar %s takes no flows (RFC 5626): one is kept")
        else:
            self._alone = None
            self._unfit.clear()
            self._begin_missing()

    def _begin_missing(self) -> None:
        for number in range(1, len(self._outbound.routes) + 1):
            if number not in self._flows and number not in self._unfit:
                self._begin(self._flows.setdefault(number, self._new(number)))

    def _give_up(self, numbers: Iterable[int], kept: Registration, why: str) -> None:
        """Take these flows back for the sake of `kept`."""
        for number in numbers:
            logger.warning(why, kept.registrar.host)
            self._spawn(self._leave(self._flows.pop(number), kept))

    async def _leave(self, one: Registration, kept: Registration) -> None:
        if (beginning := self._beginning.get(one)) is not None:
            await asyncio.wait([beginning])
        if one.contact == kept.contact:
            one.stop()  # what would take it back would take that one back, too
        else:
            await one.unregister()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Options(Protocol):
    """Asks by OPTIONS what somebody can do (`UserAgent.options`)."""

    async def __call__(self, target: Uri, *, received: Flow) -> Response: ...


async def answers(by_stream: Callable[[Flow], Awaitable[bool]], options: Options, patience: float, flow: Flow) -> bool:
    """Whether the far end of a flow answers a keep-alive: a double CRLF by a connection, else OPTIONS.

    By UDP RFC 5626 section 4.4.2 has STUN, which fewer edges answer. `patience` is how long it may take, in seconds.
    """
    if flow.reliable:
        return await by_stream(flow)
    try:
        async with asyncio.timeout(patience):
            response = await options(Uri.of(None, flow.host, flow.port), received=flow)
    except TimeoutError:
        return False
    return response.headers.count("Via") > 0  # none has what was made here for want of any


class FlowKeeper:
    """Keep-alives by flows, one for each far end however many accounts are registered by it (RFC 5626 section 4.4)."""

    def __init__(self, ping: Callable[[Flow], Awaitable[bool]], random: Callable[[], float]) -> None:
        """`ping` says whether a keep-alive was answered; `random` gives numbers in [0, 1)."""
        self._ping = ping
        self._random = random
        self._formed: dict[Flow, dict[Registration, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def formed(self, registration: Registration, pause: float) -> None:
        """Keep the flow alive that this registration stands on, with such pauses where the registrar says nothing."""
        for source in registration.sources:
            flow = Flow(source.transport, source.host, source.port, name=source.name)
            is_new = flow not in self._formed
            self._formed.setdefault(flow, {})[registration] = registration.flow_timer or pause
            if is_new:
                task = asyncio.ensure_future(self._keep(flow))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _keep(self, flow: Flow) -> None:
        known = self._formed[flow]
        while known:
            pause = min(known.values()) if flow.reliable else min(_LONGEST_BY_UDP, *known.values())
            # Between 80 and 100 % of it (RFC 5626 4.4).
            await asyncio.sleep(pause * (0.8 + 0.2 * self._random()))
            for gone in [one for one in known if not one.stands_on(flow)]:
                del known[gone]
            is_alive = bool(known) and await self._answers(flow)
            standing = [one for one in known if one.stands_on(flow)]
            for one in standing:
                if is_alive:
                    one.proven()
                else:
                    one.flow_failed(max(1.0, len(standing) / _BACK_A_SECOND))
        del self._formed[flow]

    async def _answers(self, flow: Flow) -> bool:
        try:
            return await self._ping(flow)
        except Exception as error:
            logger.error("a keep-alive by %s cannot be sent: %r", flow, error)
            return False

    async def close(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
