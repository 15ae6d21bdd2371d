"""asyncio shell of the sans-IO core: sockets, one timer, name resolution, randomness and application hooks."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from gateway.net.config import UserAgentConfig
from gateway.net.endpoint import Endpoint
from gateway.net.resolver import Resolver
from gateway.net.tap import Direction, Taps
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import DEFAULT_PORTS, Flow
from gateway.sip.invite.events import Accepted, Refused, Reply, Verdict
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.server import ServerRequest
from gateway.sip.user_agent import UserAgentCore

logger = logging.getLogger(__name__)

T = TypeVar("T")

Answer = Callable[[Request, Flow, str | None], Coroutine[Any, Any, Reply]]
"""Returns the response to a request, given its source and the sender's identity."""


class Hooks(Protocol):
    """Application side of the user agent."""

    def authenticate(self, request: Request, source: Flow) -> Verdict | Coroutine[Any, Any, Verdict]:
        """Return the sender of a request outside a dialog; called for every method except ACK and CANCEL.

        An immediate verdict, without a coroutine, saves a task and a timer.
        """

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        """Take an admitted call; `session` waits for `ring`, `answer` or `reject`."""

    def answer_register(self, request: Request, source: Flow, identity: str | None) -> Coroutine[Any, Any, Reply]:
        """Answer an admitted REGISTER."""


class Shell:
    """Feeds the core, drains it, sends, and keeps one timer armed; implements the core's `Environment`."""

    def __init__(self, config: UserAgentConfig, hooks: Hooks) -> None:
        self._config = config
        self._hooks = hooks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._woken = False
        self._feeding = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet: asyncio.Future[None] | None = None
        self.taps = Taps()
        self.waits: Callable[[], bool] = lambda: False
        """Returns True while sending is suspended; `go_on` ends the suspension."""
        self.loss_listeners: list[Callable[[Flow], None]] = []
        self.endpoint = Endpoint(config, self, self._send_failed)
        self.resolver = Resolver(config.names(), now=self.now, random=lambda: secrets.randbelow(1 << 30) / (1 << 30))
        self.core = UserAgentCore(config.core(), self)

    async def open(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Bind the listening addresses, after `prepare`; raises OSError for an address that cannot be bound."""
        self._loop = asyncio.get_running_loop()
        self._woken = True  # no wake-up before the drain below, which needs the sockets
        prepare()
        await self.endpoint.open()
        self._drain()

    @property
    def is_open(self) -> bool:
        """True between `open` and `close`."""
        return self._loop is not None

    async def quiet(self) -> None:
        """Wait until no call and no unanswered BYE is left."""
        self._drain()
        while self.core.has_calls and self._loop is not None:
            self._quiet = self._loop.create_future()
            await self._quiet

    async def close(self) -> None:
        """Close the sockets and cancel pending hooks and look-ups."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.resolver.close()
        await self.endpoint.close()
        self._loop = None

    # ---- Environment

    def now(self) -> float:
        """Monotonic seconds of the event loop."""
        return self._loop.time() if self._loop is not None else 0.0

    def token(self) -> str:
        """Return 96 random bits as hex."""
        return secrets.token_hex(12)

    def wake(self) -> None:
        """Schedule one drain of the core; a running step is drained in any case."""
        if not self._woken and not self._feeding and self._loop is not None:
            self._woken = True
            self._loop.call_soon(self._drain)

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Return our (host, port) as announced to a peer on `flow`."""
        return self.endpoint.sent_by(flow)

    def resolve(self, uri: Uri, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """Resolve a URI and pass the flows to `done`."""

        def resolved(flows: tuple[Flow, ...] | None) -> None:
            done(flows or ())
            self.wake()

        self._spawn(self.resolver.resolve(uri), resolved)

    def authenticate(self, request: Request, source: Flow, done: Callable[[Verdict], None]) -> None:
        """Ask the authentication hook; a failed or late hook gives 503."""
        try:
            verdict = self._hooks.authenticate(request, source)
        except Exception:
            logger.exception("a hook failed")
            verdict = Refused(503)

        def judged(said: Verdict) -> None:
            if isinstance(said, Accepted) and said.is_proof and said.identity is not None:
                self.endpoint.connections.proven(source)
            done(said)

        if isinstance(verdict, Coroutine):
            late = verdict
            self._spawn(late, lambda said: judged(said or Refused(503)), self._config.hook_timeout)
        else:
            judged(verdict)

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        """Pass a new call to the hook; a failed hook ends the call with 500."""
        try:
            self._hooks.invited(session, identity)
        except Exception:
            logger.exception("the hook for a new call failed")
            session.hangup()

    def register(self, request: Request, source: Flow, identity: str | None, done: Callable[[Reply], None]) -> None:
        """Ask the REGISTER hook; a failed or late hook gives 503."""
        work = self._hooks.answer_register(request, source, identity)
        self._spawn(work, lambda reply: done(reply or Reply(503)), self._config.hook_timeout)

    def serve(self, method: str, answer: Answer) -> None:
        """Answer requests of `method` outside dialogs by `answer`; a failed or late answer gives 503."""

        def handle(request: ServerRequest, identity: str | None) -> None:
            def answered(reply: Reply | None) -> None:
                reply = reply or Reply(503)
                request.respond(reply.status, reply.headers, reply.reason)
                self.wake()

            work = answer(request.request, request.source, identity)
            self._spawn(work, answered, self._config.hook_timeout)

        self.core.serve(method, handle)

    def _spawn(
        self, work: Coroutine[Any, Any, T], done: Callable[[T | None], None], timeout: float | None = None
    ) -> None:
        """Run `work` and pass its result to `done`, None after a failure; cancelled work reports nothing."""

        async def run() -> None:
            result: T | None = None
            try:
                async with asyncio.timeout(timeout):
                    result = await work
            except TimeoutError:
                logger.warning("a hook took too long")
            except Exception:
                logger.exception("a hook failed")
            done(result)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            work.close()  # a coroutine cancelled before its first step would warn about a missing await

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(over)

    # ---- feeding and draining

    def datagram(self, data: bytes, flow: Flow) -> None:
        """Process one datagram or WebSocket message."""
        if self.taps and data.strip(b"\r\n\0"):
            self.taps.message(Direction.IN, data, flow, self.now())
        self._feed(self.core.receive, data, flow)

    def message(self, message: Request | Response, flow: Flow, size: int) -> None:
        """Process one message of a stream."""
        if flow.transport == "tls" and isinstance(message, Request):
            self._note_alias(message, flow)
        if self.taps:
            self.taps.message(Direction.IN, message.write(), flow, self.now())
        self._feed(self.core.receive_message, message, flow, size)

    def _note_alias(self, request: Request, flow: Flow) -> None:
        try:
            via = request.top_via
        except SipSyntaxError:
            return  # the core answers malformed requests
        if via.param("alias") is not None:
            self.endpoint.connections.alias(flow, via.host, via.port or DEFAULT_PORTS["tls"])

    def broken(self, error: SipSyntaxError, flow: Flow, data: bytes) -> None:
        """Process an unusable message of a stream."""
        if self.taps:
            self.taps.message(Direction.IN, data, flow, self.now())
        self._feed(self.core.receive_broken, error, flow, len(data))

    def unreachable(self, data: bytes, flow: Flow) -> None:
        """Report an ICMP error to the core; deferred, because inside a send the core must not be entered again."""
        if self._loop is not None:
            self._loop.call_soon(self._feed, self.core.unreachable, data, flow)

    def _send_failed(self, flow: Flow) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._lost, flow)

    def _lost(self, flow: Flow) -> None:
        self._feed(self.core.transport_failed, flow)
        for listener in self.loss_listeners:
            self._feed(listener, flow)

    def _feed(self, step: Callable[..., None], *arguments: object) -> None:
        """Run one step of the core; after an exception, messages and timers of all remaining calls still work."""
        self._feeding = True
        try:
            step(*arguments)
        except Exception:
            self.core.counts["mistake of our own"] += 1
            logger.exception("a message or a timer was not dealt with")
        finally:
            self._feeding = False
        self._drain()

    def go_on(self) -> None:
        """Send the messages held back while `waits` returned True."""
        self._drain()

    def _drain(self) -> None:
        self._woken = False
        for data, flow in () if self.waits() else self.core.datagrams():
            if self.taps and data.strip(b"\r\n"):
                self.taps.message(Direction.OUT, data, flow, self.now())
            try:
                self.endpoint.send(data, flow)
            except Exception:
                logger.exception("a message was not sent")
        self._arm()
        if self._quiet is not None and not self._quiet.done() and not self.core.has_calls:
            self._quiet.set_result(None)

    def _arm(self) -> None:
        """Keep one timer armed for the core's deadline; an earlier timer also serves a later deadline."""
        if self._timer is not None and self._timer_at <= self.core.earliest():
            return
        deadline = self.core.deadline()
        loop = self._loop
        if deadline is None or loop is None:
            return
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._feed(self.core.handle_timer)
