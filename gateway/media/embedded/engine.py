"""Media engine inside the gateway: browsers on one UDP port, phones on port pairs, packets relayed between them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from random import Random, SystemRandom
from typing import Any, TypeVar

from gateway.media.delivery import EventDelivery
from gateway.media.described import Names, NoNames, described
from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.audio.pcm import AudioError
from gateway.media.embedded.data.exchange import prepare
from gateway.media.embedded.describe import is_narrowed
from gateway.media.embedded.faults import own_faults
from gateway.media.embedded.flows import FlowTable
from gateway.media.embedded.occupancy import Occupancy
from gateway.media.embedded.plane.protocol import Plane, PlaneError
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.values import Inventory
from gateway.media.embedded.plane_loss import PlaneLoss
from gateway.media.embedded.play import play_file, ring_back, stop_files
from gateway.media.embedded.reporting import Reporting
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.resuming import restored, resumed, values_of
from gateway.media.embedded.rtp.ports import PortPool, PortPools
from gateway.media.embedded.session import Session
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.sources.conference import Conference
from gateway.media.embedded.sources.music import Music
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.players import SERVICES, prepare_loops
from gateway.media.embedded.sources.recorder import Recorder
from gateway.media.embedded.webrtc.certificate import DtlsCertificate
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.embedded.workers import Workers
from gateway.media.engine import (
    WHEN_FULL,
    AudioPort,
    CallStatistics,
    Capabilities,
    EventHandler,
    Kind,
    MediaError,
    Party,
    RecordingFile,
)

T = TypeVar("T")
logger = logging.getLogger("gateway.media")

SWEEP = 0.5
"""Seconds between two runs of due timers and reports."""
LONGEST_WRITING = 5.0
"""Seconds that `close` waits for unfinished recordings."""
LONGEST_CANDIDATE = 1024
"""Maximum length of a trickled candidate, in characters."""


class EmbeddedEngine:
    """In-process `gateway.media.engine.MediaEngine`. Methods raise only MediaError."""

    handover = None

    def __init__(
        self,
        config: EmbeddedConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Random | None = None,
        make_plane: Callable[[], Plane] | None = None,
        names: Names | None = None,
    ) -> None:
        """Create a stopped engine; `clock` returns monotonic seconds, `wall_clock` Unix seconds.

        `random` draws keys, so must be a SystemRandom outside tests. `make_plane` creates the packet plane, by default
        an in-process plane. `names` resolves host names in descriptions.
        """
        self.config = config or EmbeddedConfig()
        self._clock, self._wall_clock = clock, wall_clock
        self._random = random or SystemRandom()
        self._make_plane = make_plane or (lambda: PythonPlane(asyncio.get_running_loop(), clock))
        self._names = names or NoNames()
        self._delivery = EventDelivery()
        self._sessions: dict[str, Session] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._changing_music: asyncio.Task[None] | None = None
        self._resources: Resources | None = None
        self._occupancy = Occupancy()
        self.plane_loss = PlaneLoss(lambda: tuple(self._sessions.values()), lambda: self._resources)
        self.inherited = Inventory()
        """Ports and flows that the plane holds from a crashed process, while its calls may be resumed."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            early_answer=True,
            services=SERVICES,
            transcodes=CODECS if self.config.transcode else frozenset(),
            create_offer=True,
            first_offer=True,
            programs=True,
            conferences=True,
            recording=True,
            key_frames=True,
            video=frozenset(self.config.video.codecs),
            ringbacks=self._resources.music.ringbacks if self._resources is not None else frozenset(),
            protections=frozenset({Kind.SDES, Kind.DTLS, Kind.BEST_EFFORT}),
            srtp_suites=frozenset(self.config.srtp_suites),
            keeps=self._resources is not None and self._resources.plane.name == "native",
            join=True,
        )

    @property
    def sessions(self) -> int:
        """Number of calls that have not been deleted."""
        return len(self._sessions)

    @property
    def ports_in_use(self) -> int:
        """Number of RTP port pairs in use."""
        return self._resources.pools.in_use if self._resources is not None else 0

    @property
    def ports(self) -> tuple[int, int] | None:
        if self._resources is None or not self._resources.pools.size:
            return None
        pools = self._resources.pools
        return pools.size - pools.free, pools.size

    @property
    def trouble(self) -> str | None:
        return "the packet plane ended, and no other has come yet" if self.plane_loss.is_without_plane else None

    async def busy(self) -> float | None:
        return None if self._resources is None else await self._occupancy.of(self._resources.plane)

    @property
    def players(self) -> int:
        """Number of active tones, digits and transcoders."""
        return len(self._resources.pacer) if self._resources is not None else 0

    @property
    def port(self) -> WebRtcPort:
        """UDP port that all browsers share; raises MediaError before `start`."""
        return self._running().port

    def subscribe(self, handler: EventHandler) -> None:
        self._delivery.subscribe(handler)

    def change(self, config: EmbeddedConfig) -> None:
        """Use `config` for new calls. Existing calls keep their settings, and bound ports stay bound."""
        self.config = config
        if self._resources is None:
            return
        self._resources = replace(self._resources, config=config)
        self._stop_changing_music()
        if not self._resources.music.is_of(config.hold_music, config.hold_music_of, config.ringback_of):
            change = self._change_music(self._resources.music, config)
            self._changing_music = asyncio.get_running_loop().create_task(change)

    def _stop_changing_music(self) -> None:
        if self._changing_music is not None:
            self._changing_music.cancel()

    async def start(self) -> None:
        """Start the packet plane and bind the browsers' port.

        Raises MediaError 503 with the address that cannot be bound, and PlaneError if the packet plane fails to start.
        """
        if self._resources is not None:
            return
        config = self.config
        # In a thread before any call: encoding a tone on the event loop would delay every call's packets.
        await asyncio.to_thread(prepare_loops, config.tone_frequency, config.tone_level)
        if config.data.max_channels:
            await asyncio.to_thread(prepare)
        music = await self._prepare_music()
        plane, flows = self._make_plane(), FlowTable(self.plane_loss)
        self.inherited = await plane.start(flows)
        ids = itertools.count(1 + max([port.port for port in self.inherited.ports] + [*self.inherited.flows, 0]))
        try:
            port = await self._make_port(plane, ids.__next__)
            flows.port = port
            shared = [left for left in self.inherited.ports if left.shared]
            kept = next((left for left in shared if port.take_over(left)), None)
            for left in shared:
                if left is not kept:
                    plane.close_port(left.port)
            if kept is None:
                await port.start()
            await port.gather()
        except BaseException:
            await plane.close()
            raise
        self._resources = Resources(
            config=config,
            plane=plane,
            flows=flows,
            port=port,
            pools=PortPools([self._pool(host, told) for host, told in config.rtp_hosts]),
            pacer=Pacer(self._clock),
            workers=Workers(),
            writers=Workers("recorder"),
            clock=self._clock,
            wall_clock=self._wall_clock,
            random=self._random,
            ids=ids.__next__,
            music=music,
            emit=self._delivery.emit,
        )
        self._arm()

    async def _make_port(self, plane: Plane, ids: Callable[[], int]) -> WebRtcPort:
        """Return the browsers' port, with the certificates that peers of surviving calls know."""
        config = self.config.webrtc
        path = config.certificate_file if self.inherited.flows else None
        kept = await asyncio.to_thread(DtlsCertificate.left, path)
        port = WebRtcPort(config, plane=plane, ids=ids, clock=self._clock)
        port.inherit(kept)
        await asyncio.to_thread(port.keep_certificates)
        return port

    def _pool(self, host: str, told: str | None) -> PortPool:
        config, (low, high) = self.config, self.config.rtp_ports
        rest = config.port_rest
        return PortPool(host, low, high, random=self._random, clock=self._clock, rest=rest, told=told or "")

    async def _prepare_music(self) -> Music:
        music = Music()
        try:
            await music.prepare(self.config.hold_music, self.config.hold_music_of, self.config.ringback_of)
        except AudioError as error:
            raise MediaError(str(error), 500) from None
        return music

    async def _change_music(self, music: Music, config: EmbeddedConfig) -> None:
        try:
            await music.prepare(config.hold_music, config.hold_music_of, config.ringback_of)
        except AudioError as error:
            logger.warning(
                "the music for who is on hold, and what callers hear while it rings, stay what they were: %s", error
            )

    async def close(self) -> None:
        resources, self._resources = self._resources, None
        if resources is None:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self.plane_loss.close()
        self._stop_changing_music()
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
        for session in tuple(self._sessions.values()):
            session.close()
        self._sessions.clear()
        resources.pacer.close()
        resources.workers.close()
        await resources.writers.finish(LONGEST_WRITING)
        await resources.port.stop_gathering()
        resources.port.close()
        await resources.plane.close()

    async def offer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        self._running()
        said = await described(sdp, source.kind, self.config.sdp_limits, self._names)
        return await self._making(call_id, lambda session: session.offer(source, target, said))

    async def create_offer(self, call_id: str, target: Party, peer: Party | None = None) -> str:
        return await self._making(call_id, lambda session: session.create_offer(target, peer))

    async def _making(self, call_id: str, request: Callable[[Session], Awaitable[str]]) -> str:
        """Run `request`, which may create the call; retry once if the plane died, since offers contain its ports."""
        deaths = self.plane_loss.deaths
        try:
            return await self._made(call_id, request)
        except MediaError:
            if deaths == self.plane_loss.deaths:
                raise
        return await self._made(call_id, request)

    async def _made(self, call_id: str, request: Callable[[Session], Awaitable[str]]) -> str:
        resources = self._running()
        session = self._sessions.get(call_id)
        new = session is None
        if session is None:
            if len(self._sessions) >= self.config.max_sessions:
                raise MediaError("no room for another call", 503, limit="limits.max_calls", retry_after=WHEN_FULL)
            session = self._sessions[call_id] = Session(resources, call_id)
        try:
            async with self._ready(session):
                deaths, made = self.plane_loss.deaths, await request(session)
                await self._settle()
                if deaths != self.plane_loss.deaths:
                    raise MediaError("the packet plane ended", 503)
                return made
        except BaseException:
            # BaseException: a cancelled request must release its call too.
            if new:
                self._drop(call_id)
            raise

    async def accept(self, call_id: str, source: Party, ringback: str | None = None) -> str:
        def accepted(session: Session) -> str:
            made = session.accept(source)
            if ringback is not None:
                ring_back(session.party(source.tag), self._running().music.ringback(ringback))
            return made

        return await self._doing(call_id, accepted)

    async def answer(self, call_id: str, source: Party, target: Party | None, sdp: str) -> str:
        self._session(call_id)
        said = await described(sdp, source.kind, self.config.sdp_limits, self._names)
        return await self._doing(call_id, lambda session: session.answer(source, target, said))

    async def join(self, call_id: str, a: str, b: str) -> None:
        await self._doing(call_id, lambda session: session.join(a, b))

    async def isolate(self, call_id: str, tag: str) -> None:
        await self._doing(call_id, lambda session: session.isolate(tag))

    async def release(self, call_id: str, tag: str) -> None:
        await self._doing(call_id, lambda session: session.release(tag))

    async def adopt(self, call_id: str, other_call_id: str, tag: str) -> None:
        session, other = self._session(call_id), self._session(other_call_id)
        if session is other:
            raise MediaError("a call cannot adopt a party of its own", 500)
        async with self._ready(session, other):
            if session.has(tag):
                raise MediaError("the call has a party of that name", 500)
            session.take_in(other.give_up(tag))

    async def _doing(self, call_id: str, request: Callable[[Session], T]) -> T:
        session = self._session(call_id)
        async with self._ready(session):
            done = request(session)
            await self._settle()
            return done

    @contextlib.asynccontextmanager
    async def _ready(self, *sessions: Session) -> AsyncIterator[None]:
        """Lock the sessions and check that each is open; raises MediaError."""
        async with self.plane_loss.held(*sessions):
            for each in sessions:
                self._still_open(each)
            with own_faults():
                yield

    async def _settle(self) -> None:
        """Wait until the plane has executed all commands: packets may arrive once a description is sent.

        If the plane dies meanwhile, MediaLost reports the loss to the calls.
        """
        with contextlib.suppress(PlaneError):
            await self._running().plane.snapshot(())

    def values(self, call_id: str) -> dict[str, Any] | None:
        session = self._sessions.get(call_id)
        if session is None or not self.capabilities.keeps:
            return None
        return values_of({party.party.tag: party for party in session.parties})

    async def resume(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        session = Session(self._running(), call_id)
        try:
            with own_faults():
                for party in await resumed(self._running(), call_id, values, times):
                    session.take_in(party)
                for one, other in values["joined"]:
                    session.join(one, other)
        except BaseException:
            session.close()
            raise
        self._sessions[call_id] = session

    async def restore(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        with own_faults():
            self._sessions[call_id] = await restored(self._running(), call_id, values, times)

    def end_left(self) -> None:
        """Close every inherited port and flow that no call uses."""
        left, self.inherited = self.inherited, Inventory()
        plane, ours = self._running().plane, {each.flow for one in self._sessions.values() for each in one.parties}
        ended = [flow for flow in left.flows if flow not in ours]
        if ended:
            logger.warning("media of a gateway that died ends: %d flows", len(ended))
        for flow in ended:
            plane.close_flow(flow)
        used = {port for flow, port in left.flows.items() if flow in ours}
        for each in left.ports:
            if not each.shared and each.port not in used:
                plane.close_port(each.port)

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        """Add a trickled candidate of a full ICE agent; raises MediaError 400 if the candidate is too long."""
        if len(candidate) > LONGEST_CANDIDATE:
            raise MediaError("the candidate is too long", 400)
        transport = self._session(call_id).party(tag).transport
        if transport is not None:
            transport.trickle(candidate)

    async def send_dtmf(
        self, call_id: str, tag: str, digit: str, duration_ms: int = 160, *, tones: bool = False
    ) -> None:
        session = self._session(call_id)
        self._still_open(session)
        session.send_dtmf(tag, digit, duration_ms, tones=tones)

    def watch(self, call_id: str, tag: str, seconds: float | None) -> None:
        session = self._sessions.get(call_id)
        for party in session.parties if session is not None else ():
            if party.party.tag == tag:
                party.watch(seconds)

    def doubt(self, owner: str, *, doubted: bool) -> None:
        resources = self._running()
        (resources.doubted.add if doubted else resources.doubted.discard)(owner)
        for session in self._sessions.values():
            for party in session.parties:
                if party.party.owner == owner:
                    party.watch()

    def narrows(self, call_id: str, tag: str) -> bool:
        session = self._sessions.get(call_id)
        agreed = next((each.agreed for each in session.parties if each.party.tag == tag), None) if session else None
        return agreed is not None and is_narrowed(*agreed)

    def request_key_frame(self, call_id: str, tag: str) -> None:
        self._session(call_id).request_key_frame(tag)

    async def delete(self, call_id: str) -> CallStatistics:
        session = self._sessions.get(call_id)
        if session is None:
            return CallStatistics()
        async with session.lock:
            await self._refresh(session.parties)
            statistics = session.statistics()
            self._drop(call_id)
        return statistics

    def audio(self, call_id: str, tag: str) -> AudioPort:
        audio = self._session(call_id).party(tag).audio
        if audio is None:
            raise MediaError("this party is no program", 481)
        return audio

    def conference(self, videos: int = 1, speakers: int = 0) -> Conference:
        resources = self._running()
        return Conference(resources.pacer, resources.workers, resources.writers, videos, speakers)

    def record(self, call_id: str, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recorder:
        return self._session(call_id).record(wanted, ended)

    async def play(self, call_id: str, path: str, tags: Sequence[str] | None = None) -> None:
        await play_file(lambda: self._session(call_id), path, tags)

    def stop_playing(self, call_id: str) -> None:
        stop_files(self._session(call_id))

    async def query(self, call_id: str) -> CallStatistics:
        session = self._session(call_id)
        await self._refresh(session.parties)
        return session.statistics()

    async def _refresh(self, parties: Sequence[Reporting]) -> None:
        """Update the figures of `parties` from the plane."""
        flows = {party.flow: party for party in parties if party.flow is not None}
        if not flows or self._resources is None:
            return
        try:
            snapshots = await self._resources.plane.snapshot(tuple(flows))
        except PlaneError:
            # The plane is gone: keep the last figures.
            return
        for flow, snapshot in snapshots.items():
            flows[flow].note(snapshot)

    def _running(self) -> Resources:
        if self._resources is None:
            raise MediaError("the media engine is not running", 503)
        return self._resources

    def _session(self, call_id: str) -> Session:
        self._running()
        session = self._sessions.get(call_id)
        if session is None:
            raise MediaError("unknown call", 481)
        return session

    @staticmethod
    def _still_open(session: Session) -> None:
        if session.closed:
            raise MediaError("the call has ended", 481)
        if session.lost:
            raise MediaError("there is no packet plane at the moment", 503)

    def _drop(self, call_id: str) -> None:
        session = self._sessions.pop(call_id, None)
        if session is not None:
            session.close()

    def _arm(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP, self._on_timer)

    def _on_timer(self) -> None:
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.ensure_future(self.sweep())
        self._arm()

    async def sweep(self) -> None:
        """Run the due timers of all calls and send due reports. Called by the engine's timer, and by tests."""
        now = self._clock()
        due: list[Reporting] = []
        for session in tuple(self._sessions.values()):
            try:
                due += session.sweep(now)
            except Exception:
                logger.exception("a call's timers failed")
        await self._refresh(due)
        for party in due:
            try:
                if party.snapshot is not None:
                    party.report(party.snapshot)
            except Exception:
                logger.exception("a report failed")
