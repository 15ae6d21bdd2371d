"""The asyncio shell of ng.py: one UDP socket a daemon, and the choice between several daemons."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.media.engine import MediaError
from gateway.media.rtpengine.ng import Exchanges, NgError, Reply, Request, Retries

log = structlog.get_logger(__name__)

Address = tuple[str, int]
"""Host name or IP address, and UDP port."""

_COOKIE_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How the daemons are spoken to."""

    retries: Retries = field(default_factory=Retries)
    in_flight: int = 64
    """Requests one daemon is given at once; more wait their turn."""
    waiting: int = 1_000
    """Requests that may wait for their turn; more are refused with 503."""
    ping_interval: float = 1.0
    """Seconds between two pings of a daemon. With the deadline of a ping: at most 5 s until its death is known."""


async def _at_once(request: Request) -> None:
    """There is nothing to wait for."""


class Unreachable(MediaError):
    """The daemon did not answer in time, or there is none at its address; status 503."""

    def __init__(self, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason, 503, retry_after=retry_after)


class NgHost(asyncio.DatagramProtocol):
    """One daemon: requests go out, replies find who waits for them."""

    def __init__(
        self,
        address: Address,
        config: ClientConfig,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        passed: Callable[[Request], Awaitable[None]] = _at_once,
    ) -> None:
        """`clock` gives monotonic seconds; `random(n)` n unguessable bytes, for the cookies.

        `passed` returns once a request may be sent, or raises MediaError.
        """
        self.address = address
        self.alive = True
        """Whether the last exchange was answered; new calls go to daemons that are."""
        self.silent_since = math.inf
        """Start of the first unanswered exchange since the last answer (clock seconds); infinity after an answer."""
        self._config = config
        self._clock = clock
        self._random = random
        self._passed = passed
        self._exchanges = Exchanges(config.retries)
        self._waiters: dict[str, asyncio.Future[Reply | None]] = {}
        self._turns = asyncio.Semaphore(config.in_flight)
        self._asking = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._forgetting: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """Host and port, for people."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def open(self) -> None:
        """Make the socket; raises Unreachable where the name means no address."""
        if self._transport is not None:
            return
        try:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self.address)
        except OSError as error:
            self._note(False, self._clock())
            raise Unreachable(f"rtpengine's address {self.name} cannot be used: {error.strerror or error}") from None

    def close(self) -> None:
        """Give up what is on its way and release the socket; idempotent."""
        for task in self._forgetting:
            task.cancel()
        self._exchanges.abandon()
        self._drain()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def ask(self, request: Request, *, may_be_large: bool = False) -> Reply:
        """The daemon's reply, whatever it says. `may_be_large`: none may mean that no datagram holds it.

        Raises Unreachable where none comes, MediaError 503 where too many wait already, 500 where the
        request is too large.
        """
        if self._asking >= self._config.in_flight + self._config.waiting:
            limit = f"{self._asking} requests at rtpengine"
            raise MediaError("too many requests wait for rtpengine", 503, limit=limit)
        self._asking += 1
        began = self._clock()
        try:
            await self._passed(request)
            async with self._turns:
                reply = await self._exchange(request)
        finally:
            self._asking -= 1
        if reply is not None or not may_be_large:
            self._note(reply is not None, began)
        if reply is None:
            raise self.unreachable
        return reply

    @property
    def unreachable(self) -> Unreachable:
        """Error of an unanswered request; `retry_after` allows for the next ping."""
        return Unreachable(f"rtpengine at {self.name} does not answer", math.ceil(self._config.ping_interval))

    def forget(self, request: Request) -> None:
        """Ask without waiting, and whatever comes of it."""
        if len(self._forgetting) < self._config.in_flight:
            task = asyncio.get_running_loop().create_task(self._try(request))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _try(self, request: Request) -> None:
        try:
            await self.ask(request)
        except MediaError as error:
            log.debug("request lost", host=self.name, reason=error.reason)

    async def _exchange(self, request: Request) -> Reply | None:
        if self._transport is None:
            raise Unreachable("the connection to rtpengine is closed")
        cookie = self._random(_COOKIE_BYTES).hex()
        try:
            self._exchanges.send(request, cookie, self._clock())
        except NgError as error:
            raise MediaError(str(error), 500) from None
        waiter = self._waiters[cookie] = asyncio.get_running_loop().create_future()
        self._drain()
        try:
            reply: Reply | None = await waiter
        finally:
            self._waiters.pop(cookie, None)
            self._exchanges.cancel(cookie)
        return reply

    def _note(self, alive: bool, began: float) -> None:
        """Record the outcome of an exchange that began at `began`."""
        if alive is self.alive:
            return
        self.alive = alive
        self.silent_since = math.inf if alive else began
        if alive:
            log.info("rtpengine answers again", host=self.name)
        else:
            log.warning("rtpengine does not answer", host=self.name)

    # What the socket and the timer say

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._exchanges.receive(data, self._clock())
        self._drain()

    def error_received(self, exc: Exception) -> None:
        # Nobody listens there (ICMP port unreachable): waiting longer would only keep a new call from another daemon.
        self._exchanges.abandon()
        self._drain()

    def _due(self) -> None:
        self._timer = None
        self._exchanges.handle_timer(self._clock())
        self._drain()

    def _drain(self) -> None:
        for data in self._exchanges.datagrams():
            if self._transport is not None:
                self._transport.sendto(data)
        for outcome in self._exchanges.outcomes():
            waiter = self._waiters.pop(outcome.cookie, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(outcome.reply)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._exchanges.get_timer()
        if due is not None and self._transport is not None:
            delay = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._due)


class NgHosts:
    """Several daemons that do the same work; a call stays where it began."""

    def __init__(
        self,
        addresses: Sequence[Address],
        config: ClientConfig,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        passed: Callable[[Request], Awaitable[None]] = _at_once,
    ) -> None:
        """As `NgHost`."""
        self.all = tuple(NgHost(address, config, clock, random, passed) for address in addresses)
        self._config = config
        self._next = 0
        self._pinging: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and ask each daemon whether it is there.

        Raises Unreachable, with every address that was tried, where none is.
        """
        try:
            await asyncio.gather(*[_ping(host) for host in self.all])
            if self.trouble is not None:
                raise Unreachable(self.trouble)
        except BaseException:
            self.close()
            raise
        self._pinging = asyncio.get_running_loop().create_task(self._ping_for_ever())

    def close(self) -> None:
        if self._pinging is not None:
            self._pinging.cancel()
            self._pinging = None
        for host in self.all:
            host.close()

    def candidates(self) -> list[NgHost]:
        """Where a new call may go, best first: those that answer in turns, then those that did not."""
        self._next += 1
        start = self._next % max(len(self.all), 1)
        turned = self.all[start:] + self.all[:start]
        return sorted(turned, key=lambda host: not host.alive)

    @property
    def trouble(self) -> str | None:
        """Reason, half a sentence, why no daemon takes calls; None: one does."""
        if any(host.alive for host in self.all):
            return None
        return f"no rtpengine answers at {', '.join(host.name for host in self.all) or 'no address at all'}"

    async def _ping_for_ever(self) -> None:
        """Ping each daemon by itself: one that is silent delays no other's ping."""
        await asyncio.gather(*map(self._ping_one, self.all))

    async def _ping_one(self, host: NgHost) -> None:
        while True:
            await asyncio.sleep(self._config.ping_interval)
            await _ping(host)


async def _ping(host: NgHost) -> None:
    try:
        await host.open()
        reply = await host.ask({"command": "ping"})
    except MediaError as error:
        log.debug("no answer to a ping", host=host.name, reason=error.reason)
        return
    if reply.get("result") != "pong":
        log.warning("rtpengine answers a ping with something else", host=host.name)
