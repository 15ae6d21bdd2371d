"""The SIP user agent on asyncio: sockets, names, time and randomness around the sans-IO core."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from gateway.net.config import UserAgentConfig
from gateway.net.endpoint import Bound, Endpoint
from gateway.net.resolver import Resolver
from gateway.sip import build
from gateway.sip.flow import Flow
from gateway.sip.headers_values import NameAddr
from gateway.sip.message import Request, Response
from gateway.sip.uri import Uri
from gateway.sip.user_agent.authenticator import Authenticator, Credentials
from gateway.sip.user_agent.core import UserAgentCore
from gateway.sip.user_agent.events import Refused, Reply, Verdict
from gateway.sip.user_agent.session import InviteSession
from gateway.sip.user_agent.session_uac import OutgoingSession

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Hooks(Protocol):
    """The application's side of the user agent."""

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        """Who sent this request? Called for every request outside a dialog except ACK and CANCEL."""

    def invited(self, session: InviteSession, identity: str | None) -> None:
        """A call came in and was let in; `session` waits for `ring`, `answer` or `reject`."""

    async def register(self, request: Request, source: Flow, identity: str | None) -> Reply:
        """Answer a REGISTER that was let in."""


class UserAgent:
    """Places and receives calls. All methods are for the event loop's own thread.

    `start` binds; `close` ends every call tidily. Methods that place calls return at once.
    """

    def __init__(self, config: UserAgentConfig, hooks: Hooks) -> None:
        self.config = config
        self._hooks = hooks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endpoint = Endpoint(self._receive, self._send_failed, config.advertised, config.udp)
        self._core = UserAgentCore(config.core(), self)
        self._resolver = Resolver(config.resolver, now=self.now, random=lambda: secrets.randbelow(1 << 30) / (1 << 30))
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._woken = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- life

    async def start(self) -> None:
        """Bind the listening addresses; raises OSError when one is not to be had."""
        self._loop = asyncio.get_running_loop()
        await self._endpoint.open(self.config.listen)

    async def close(self) -> None:
        """Say BYE, CANCEL or 480 to every call, answer new ones 503, and close after at most `close_timeout`."""
        if self._loop is None:
            return
        self._core.refusing = True
        for session in list(self._core.sessions):
            session.hangup('SIP;cause=503;text="Shutting down"')
        self._drain()
        deadline = self._loop.time() + self.config.close_timeout
        while self._core.has_calls and self._loop.time() < deadline:
            self._quiet = self._loop.create_future()
            try:
                await asyncio.wait_for(self._quiet, deadline - self._loop.time())
            except TimeoutError:
                break
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._resolver.close()
        self._endpoint.close()
        self._loop = None

    _quiet: asyncio.Future[None] | None = None

    @property
    def listening(self) -> tuple[Bound, ...]:
        """(transport, host, port) of every bound socket, with real ports."""
        return self._endpoint.listening

    @property
    def counts(self) -> dict[str, int]:
        """What was dropped, refused or strange, by name; for metrics."""
        return {**self._core.counts, "datagram not sent": self._endpoint.dropped}

    @property
    def calls(self) -> int:
        """How many INVITE sessions are alive."""
        return len(self._core.sessions)

    # ---- placing requests

    def invite(
        self,
        target: Uri | str,
        *,
        caller: NameAddr | str,
        callee: NameAddr | str | None = None,
        body: bytes = b"",
        content_type: str = "application/sdp",
        headers: Iterable[tuple[str, object]] = (),
        route: Iterable[NameAddr | str] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        timeout: float = 0.0,
    ) -> OutgoingSession:
        """Call `target` (the Request-URI); outcomes are events of the session.

        `received` ("udp:192.0.2.7:5060") sends everything to that flow, as to a registered phone behind NAT.
        `timeout` is how long it may ring, in seconds, 0 for as long as the far end likes. Raises SipSyntaxError
        for a text that is no URI, SipBuildError for one that cannot be written.
        """
        uri = _uri(target)
        hops = tuple(_address(hop) for hop in route)
        hop = self._hop(uri, hops, received)
        sender = self._sender(caller)
        fields = [*headers, ("Allow", self._core.allow), ("Supported", ", ".join(self._core.config.advertised_options))]
        request = build.request(
            "INVITE",
            uri,
            from_=sender.with_tag(self.token()),
            to=_address(callee).with_tag(None) if callee is not None else NameAddr(uri.without_headers()),
            call_id=self.token(),
            cseq=1,
            route=hops,
            contact=self._core.contact(self._flow_for_contact(hop), sender.uri.user),
            headers=[*fields, *self._core.common_fields()],
            body=body,
            content_type=content_type if body else None,
        )
        return self._core.invite(request, hop, credentials=credentials, timeout=timeout)

    async def options(
        self,
        target: Uri | str,
        *,
        caller: NameAddr | str | None = None,
        route: Iterable[NameAddr | str] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        headers: Iterable[tuple[str, object]] = (),
    ) -> Response:
        """Ask `target` what it can do; silence is a 408, an unreachable host a 503. The health check of trunks."""
        uri = _uri(target)
        hops = tuple(_address(hop) for hop in route)
        fields = tuple(headers)
        return await self.request(
            "OPTIONS",
            uri,
            caller=caller,
            route=hops,
            received=received,
            credentials=credentials,
            headers=(*fields, ("Accept", "application/sdp")),
        )

    async def request(
        self,
        method: str,
        target: Uri,
        *,
        caller: NameAddr | str | None = None,
        callee: NameAddr | None = None,
        route: tuple[NameAddr, ...] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        authenticator: Authenticator | None = None,
        headers: Iterable[tuple[str, object]] = (),
        call_id: str | None = None,
        cseq: Callable[[], int] | None = None,
        contact: Callable[[Flow], NameAddr] | None = None,
    ) -> Response:
        """Send any request outside a dialog and wait for its final response."""
        hop = self._hop(target, route, received)
        sender = self._sender(caller).with_tag(self.token())
        number = cseq or _counter()
        identifier = call_id or self.token()
        fields = (*headers, *self._core.common_fields())
        if authenticator is None and credentials is not None:
            authenticator = Authenticator(credentials, self.token)

        def make() -> Request:
            return build.request(
                method,
                target,
                from_=sender,
                to=callee or NameAddr(target.without_headers()),
                call_id=identifier,
                cseq=number(),
                route=route,
                contact=contact(self._flow_for_contact(hop)) if contact else None,
                headers=fields,
            )

        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def done(response: Response) -> None:
            if not answer.done():
                answer.set_result(response)

        self._core.request(make, hop, done, authenticator=authenticator)
        return await answer

    def _sender(self, caller: NameAddr | str | None) -> NameAddr:
        if isinstance(caller, NameAddr):
            return caller.with_tag(None)
        domain = self.config.domains[0] if self.config.domains else self._own_host()
        if caller is None:
            return NameAddr(Uri.of(None, domain))
        if ":" in caller or "<" in caller:
            return _address(caller).with_tag(None)
        return NameAddr(Uri.of(caller, domain))

    def _own_host(self) -> str:
        return self._endpoint.sent_by(Flow("udp", "192.0.2.1", 5060))[0]

    def _hop(self, uri: Uri, route: tuple[NameAddr, ...], received: str | Flow | None) -> Uri | Flow:
        if received is not None:
            return received if isinstance(received, Flow) else Flow.parse(received)
        return route[0].uri if route else uri

    def _flow_for_contact(self, hop: Uri | Flow) -> Flow:
        return hop if isinstance(hop, Flow) else Flow("udp", hop.host.strip("[]"), hop.port or 5060)

    # ---- Surroundings

    def now(self) -> float:
        """Monotonic seconds of the event loop."""
        return self._loop.time() if self._loop is not None else 0.0

    def token(self) -> str:
        """96 random bits as hex."""
        return secrets.token_hex(12)

    def wake(self) -> None:
        """Drain the core soon, once for all that is done until then."""
        if not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon(self._drain)

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Our address as a peer on `flow` is to see it."""
        return self._endpoint.sent_by(flow)

    def resolve(self, uri: Uri, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """Look a name up."""

        def resolved(flows: tuple[Flow, ...] | None) -> None:
            done(flows or ())
            self.wake()

        self._spawn(self._resolver.resolve(uri), resolved)

    def authenticate(self, request: Request, source: Flow, done: Callable[[Verdict], None]) -> None:
        """Ask the hooks; a hook that fails or dawdles is a 503."""
        hook = asyncio.wait_for(self._hooks.authenticate(request, source), self.config.hook_timeout)
        self._spawn(hook, lambda verdict: done(verdict if verdict is not None else Refused(503)))

    def invited(self, session: InviteSession, identity: str | None) -> None:
        """Tell the hooks; a hook that fails ends the call with 500."""
        try:
            self._hooks.invited(session, identity)
        except Exception:
            logger.exception("the hook for a new call failed")
            session.hangup()

    def register(self, request: Request, source: Flow, identity: str | None, done: Callable[[Reply], None]) -> None:
        """Ask the hooks; a hook that fails or dawdles is a 503."""
        hook = asyncio.wait_for(self._hooks.register(request, source, identity), self.config.hook_timeout)
        self._spawn(hook, lambda reply: done(reply if reply is not None else Reply(503)))

    def _spawn(self, work: Awaitable[T], done: Callable[[T | None], None]) -> None:
        """Run `work` and give its result to `done`, None where it failed; cancelled work says nothing."""

        async def run() -> None:
            result: T | None = None
            try:
                result = await work
            except TimeoutError:
                logger.warning("a hook took too long")
            except Exception:
                logger.exception("a hook failed")
            done(result)

        self._start(run())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- the shell proper

    def _receive(self, data: bytes, flow: Flow) -> None:
        self._core.receive(data, flow)
        self._drain()

    def _send_failed(self, flow: Flow) -> None:
        # Not from inside a send: the core would be entered twice.
        if self._loop is not None:
            self._loop.call_soon(self._report_failure, flow)

    def _report_failure(self, flow: Flow) -> None:
        self._core.transport_failed(flow)
        self._drain()

    def _drain(self) -> None:
        self._woken = False
        send = self._endpoint.send
        for data, flow in self._core.datagrams():
            send(data, flow)
        self._arm()
        if self._quiet is not None and not self._quiet.done() and not self._core.has_calls:
            self._quiet.set_result(None)

    def _arm(self) -> None:
        """Keep one timer armed for the core's deadline; a later deadline is met by the timer already set."""
        deadline = self._core.deadline()
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
        self._core.handle_timer()
        self._drain()


def _uri(text: Uri | str) -> Uri:
    return text if isinstance(text, Uri) else Uri.parse(text)


def _address(text: NameAddr | str) -> NameAddr:
    return text if isinstance(text, NameAddr) else NameAddr.parse(text)


def _counter() -> Callable[[], int]:
    numbers = iter(range(1, 1 << 30))
    return lambda: next(numbers)
