"""What the configuration wants told of the calls: records of them, and copies of their messages for a collector."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import structlog

from gateway.app.settings import secret
from gateway.call.call import Call
from gateway.call.registry import Calls
from gateway.call.state import State
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.media.engine import CallStatistics, MediaEngine, MediaError
from gateway.net.tap import Direction
from gateway.net.user_agent import UserAgent
from gateway.observe.delivery import Delivery, FileSink, Sink, WebhookSink
from gateway.observe.hep import RTCP, SIP, Captured, Exporter, Place, report
from gateway.observe.ladder import Ladders
from gateway.observe.ledger import SqliteLedger
from gateway.observe.message_log import names_of
from gateway.observe.records import CallDetails
from gateway.sip.flow import Flow
from gateway.tasks import ended

log = structlog.get_logger(__name__)

FILE_NAME = "cdr.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What becomes of call detail records."""

    path: Path
    keep: float
    """Seconds."""
    file: Path | None
    webhook: str | None
    webhook_secret: str | None

    @property
    def sinks(self) -> list[Sink]:
        """Whom they are sent to."""
        found: list[Sink] = [] if self.file is None else [FileSink(self.file)]
        return found if self.webhook is None else [*found, WebhookSink(self.webhook, self.webhook_secret)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """Where copies of messages go."""

    collector: Place
    capture_id: int
    password: str | None
    report_interval: float
    """Seconds."""


def recording(config: Config) -> Recording | None:
    """What `cdr` says; None: nothing is recorded."""
    cdr = config.cdr
    if not cdr.wanted:
        return None
    path = config.state_dir / FILE_NAME
    return Recording(
        path=path, keep=cdr.keep, file=cdr.file, webhook=cdr.webhook, webhook_secret=secret(cdr.webhook_secret)
    )


def collecting(config: Config) -> Collecting | None:
    """What `hep` says; None: nothing is copied."""
    hep = config.hep
    if hep.collector is None:
        return None
    return Collecting(
        collector=(hep.collector.host, hep.collector.port),
        capture_id=hep.capture_id,
        password=secret(hep.password),
        report_interval=hep.report_interval,
    )


async def keep_records(
    settings: Recording | None,
    calls: Calls,
    wall_clock: Callable[[], float],
    stack: AsyncExitStack,
    going_on: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> SqliteLedger | None:
    """Keep call detail records until `stack` ends, or what is returned is closed; None: nobody wants any.

    Raises ConfigError where the file cannot be used.
    `going_on` are ids of calls that another process has begun and this one goes on with, `elsewhere` of those that
    another gateway has.
    """
    if settings is None:
        return None
    ledger, sinks = SqliteLedger(settings.path, settings.keep), settings.sinks
    try:
        names = [sink.name for sink in sinks]
        left = await asyncio.to_thread(ledger.open, wall_clock(), names, going_on, elsewhere)
    except (OSError, sqlite3.Error) as error:
        ledger.close()
        raise ConfigError(
            "cdr", f"{settings.path} cannot be used: {getattr(error, 'strerror', None) or error}"
        ) from None
    if left:
        log.warning("calls ended with the gateway that had them", calls=left)
    for delivery in [Delivery(settings.path, ledger, sink) for sink in sinks]:
        delivery.start()
        stack.push_async_callback(asyncio.to_thread, delivery.close)
    stack.push_async_callback(asyncio.to_thread, ledger.close)
    calls.observe(CallDetails(ledger, asyncio.get_running_loop().time, wall_clock).call_changed)
    return ledger


def keep_messages(config: Config, user_agent: UserAgent, wall_clock: Callable[[], float]) -> Ladders:
    """Keep the latest calls' messages for the operators' page, as far as `limits.ladder_memory` goes."""
    ladders = Ladders(config.limits.ladder_memory, wall_clock)
    if config.limits.ladder_memory:
        user_agent.taps.add(ladders)
    return ladders


async def copy_messages(
    settings: Collecting | None,
    user_agent: UserAgent,
    calls: Calls,
    engine: MediaEngine,
    wall_clock: Callable[[], float],
    stack: AsyncExitStack,
) -> None:
    """Copy messages and figures to a collector until `stack` ends; raises ConfigError without a socket."""
    if settings is None:
        return
    try:
        exporter = Exporter(settings.collector, settings.capture_id, settings.password)
    except OSError as error:
        raise ConfigError("hep.collector", f"cannot be used: {error.strerror}") from None
    capture = Capture(exporter, user_agent, calls, engine, wall_clock)
    stack.callback(exporter.close)
    user_agent.taps.add(capture)
    calls.observe(capture.call_changed)
    reports = asyncio.create_task(capture.report_for_ever(settings.report_interval))
    stack.push_async_callback(ended, reports)


class Capture:
    """A tap of the SIP messages, and a listener of the calls, for one HEP collector."""

    def __init__(
        self,
        exporter: Exporter,
        user_agent: UserAgent,
        calls: Calls,
        engine: MediaEngine,
        wall_clock: Callable[[], float],
    ) -> None:
        self._exporter = exporter
        self._user_agent = user_agent
        self._calls = calls
        self._engine = engine
        self._wall_clock = wall_clock

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """Copy one message (net.tap.MessageTap)."""
        ours, theirs = self._own(flow), (flow.host, flow.port)
        source, target = (theirs, ours) if direction is Direction.IN else (ours, theirs)
        captured = Captured(
            protocol=SIP,
            source=source,
            target=target,
            reliable=flow.reliable,
            at=self._wall_clock(),
            payload=data,
            call_id=names_of(data)[1],
        )
        self._exporter.send((captured,))

    def call_changed(self, call: Call) -> None:
        """Copy the last figures of a call that is over."""
        if call.state is State.ENDED:
            self._report(call, call.record.statistics)

    async def report_for_ever(self, interval: float) -> None:
        """Copy the figures of every call every `interval` seconds."""
        while True:
            await asyncio.sleep(interval)
            for call in self._calls:
                try:
                    self._report(call, await self._engine.query(call.id))
                except MediaError:
                    continue  # it has ended meanwhile, or has no media yet

    def _report(self, call: Call, statistics: CallStatistics) -> None:
        now = self._wall_clock()
        here: Place = ("127.0.0.1", 0)
        references = call.record.references
        known = next((names[0] for names in references.values() if names), call.id)
        self._exporter.send(
            Captured(
                protocol=RTCP,
                source=here,
                target=here,
                at=now,
                payload=report(tag, party),
                call_id=next(iter(references.get(tag, ())), known),
            )
            for tag, party in statistics.parties.items()
        )

    def _own(self, flow: Flow) -> Place:
        host, port = self._user_agent.own_place(flow)
        try:
            ip_address(host)
        except ValueError:  # a name is advertised
            host = "::" if ":" in flow.host else "0.0.0.0"
        return host, port or 0
