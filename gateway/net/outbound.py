"""Registration of one account over several flows: calls use a second flow when the first is down (RFC 5626)."""

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
"""Longest keep-alive interval by UDP in seconds, below the time-out of NAT bindings (RFC 5626 section 4.4)."""
_BACK_A_SECOND = 50
"""Average number of accounts registered again per second after the loss of a shared connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """Flows of an account."""

    instance: str
    """Instance URN of the gateway, kept across restarts (RFC 5626 section 4.1)."""
    routes: tuple[tuple[NameAddr, ...], ...]
    """Route set of each flow, through its edge proxy. The flows are numbered from 1 in order (reg-id)."""
    recovery: FlowRecovery = field(default_factory=FlowRecovery)
    keep_alive: float = 120.0
    """Keep-alive interval in seconds where the registrar sends no Flow-Timer."""
    patience: float = 4.0
    """Seconds for an edge to answer the REGISTER that removes a flow."""


class Make(Protocol):
    """Factory of the registration of one flow."""

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
    """Flows of one account as one registration; made by `UserAgent.register_by_flows`, alive until `unregister`.

    A registrar without support for outbound (no `Require: outbound` in its 2xx) would fork calls to every flow. One
    flow then stays, and the remaining flows are stand-ins. Edges with support keep their flows.
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
        """The only flow kept at a registrar without outbound support."""
        self._unfit: set[int] = set()
        """Flow numbers of edges without outbound support, unused while a supporting edge has a flow."""
        self._proven: set[int] = set()
        """Flow numbers of edges whose last 2xx had outbound support; a failed flow of theirs is retried."""
        self._is_over = False
        self.is_others = False
        """True when a second gateway has, or is about to take, the account."""
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

    # -- the registration as a whole -------------------------------------------------------

    @property
    def _best(self) -> Registration:
        return next((one for one in self._flows.values() if one.registered), next(iter(self._flows.values())))

    @property
    def registered(self) -> bool:
        """True while any flow is registered."""
        return self._best.registered

    @property
    def status(self) -> int:
        """Status of the last final response, of the first registered flow or, without any, of the first flow."""
        return self._best.status

    @property
    def said(self) -> str:
        """Status and reason phrase of the response in `status`."""
        return self._best.said

    @property
    def registrar(self) -> Uri:
        """URI of the registrar of the flow in `status`."""
        return self._best.registrar

    @property
    def expires(self) -> int:
        """Seconds granted by the registrar for the flow in `status`."""
        return self._best.expires

    @property
    def sources(self) -> tuple[Flow, ...]:
        """Flows of all registrations that stand."""
        return tuple(flow for one in self._flows.values() for flow in one.sources)

    @property
    def routes(self) -> list[tuple[NameAddr, ...]]:
        """Route sets of all flows, registered flows first."""
        standing = {number for number, one in self._flows.items() if one.registered}
        numbers = sorted(range(1, len(self._outbound.routes) + 1), key=lambda number: number not in standing)
        return [self._outbound.routes[number - 1] for number in numbers]

    def standing_on(self, flow: Flow) -> list[Registration]:
        """Return the registrations formed over the connection of `flow`."""
        return [one for one in self._flows.values() if one.stands_on(flow)]

    def hurry(self, seconds: float) -> None:
        """Refresh registered flows within `seconds`; failed flows keep their retry time."""
        for one in self._flows.values():
            if one.registered:
                one.hurry(seconds)

    async def begin(self) -> None:
        """Send the first REGISTER over every flow; return once one is registered or all have failed."""
        pending = {self._begin(one) for one in self._flows.values()}
        while pending and not self.registered:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    async def unregister(self) -> None:
        """Remove every flow still owned by this gateway, and stop; a dead edge has `patience` to answer."""
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
        """Stop because a second gateway has taken the account and the flows of its instance."""
        self.is_others = True
        await self.unregister()

    def stop(self) -> None:
        """Stop refreshing; the bindings expire."""
        self._is_over = True
        for task in (*self._tasks, *self._beginning.values()):
            task.cancel()
        for one in self._flows.values():
            one.stop()

    # -- flows ----------------------------------------------------------------------------

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
            # A registrar without outbound support may ignore a double CRLF; keep-alives would close a good connection.
            if one.is_outbound or not any(flow.reliable for flow in one.sources):
                self._keeper.formed(one, self._outbound.keep_alive)
            self._arrange(one)
        if self._answered is not None:
            self._answered(self)

    def _arrange(self, one: Registration) -> None:
        """Keep all flows if any has outbound support, else a single flow; `one` has just been answered."""
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
            # A flow with a pending first answer is decided later: its edge may support outbound.
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
        """Remove the flows with these numbers in favour of `kept`."""
        for number in numbers:
            logger.warning(why, kept.registrar.host)
            self._spawn(self._leave(self._flows.pop(number), kept))

    async def _leave(self, one: Registration, kept: Registration) -> None:
        if (beginning := self._beginning.get(one)) is not None:
            await asyncio.wait([beginning])
        if one.contact == kept.contact:
            one.stop()  # removing an equal Contact would remove the kept binding
        else:
            await one.unregister()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Options(Protocol):
    """Sends OPTIONS to a far end (`UserAgent.options`)."""

    async def __call__(self, target: Uri, *, received: Flow) -> Response: ...


async def answers(by_stream: Callable[[Flow], Awaitable[bool]], options: Options, patience: float, flow: Flow) -> bool:
    """Return True if the far end of a flow answers a keep-alive: double CRLF on a connection, else OPTIONS.

    RFC 5626 section 4.4.2 has STUN for UDP, but fewer edges answer STUN. `patience` is in seconds.
    """
    if flow.reliable:
        return await by_stream(flow)
    try:
        async with asyncio.timeout(patience):
            response = await options(Uri.of(None, flow.host, flow.port), received=flow)
    except TimeoutError:
        return False
    return response.headers.count("Via") > 0  # a 408 or 503 made locally has no Via


class FlowKeeper:
    """Keep-alives of flows, one for each far end, shared by all accounts registered there (RFC 5626 section 4.4)."""

    def __init__(self, ping: Callable[[Flow], Awaitable[bool]], random: Callable[[], float]) -> None:
        """`ping` returns True for an answered keep-alive; `random` returns numbers in [0, 1)."""
        self._ping = ping
        self._random = random
        self._formed: dict[Flow, dict[Registration, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def formed(self, registration: Registration, pause: float) -> None:
        """Keep the flow of a registration alive; `pause` is the interval in seconds without a Flow-Timer."""
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
            # 80 to 100 % of the interval (RFC 5626 4.4).
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
        """Stop all keep-alives."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
