"""The media engine inside the gateway: browsers on one UDP port, phones on port pairs, packets relayed between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from random import Random, SystemRandom

from gateway.media.delivery import EventDelivery
from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.party import Workshop
from gateway.media.embedded.rtp.ports import PortPool
from gateway.media.embedded.session import Session
from gateway.media.embedded.settings import EmbeddedConfig, advertised_address
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.players import SERVICES, prepare_loops
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.engine import CallStatistics, Capabilities, EventHandler, MediaError, Party

logger = logging.getLogger("gateway.media")

SWEEP = 0.5
"""Seconds between two looks at what is due."""
LONGEST_CANDIDATE = 1024
"""Characters."""


class EmbeddedEngine:
    """`gateway.media.engine.MediaEngine` in this process. All methods raise MediaError only."""

    def __init__(
        self,
        config: EmbeddedConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """`clock` gives monotonic seconds; `random` draws keys, so it must be a SystemRandom outside tests."""
        self.config = config or EmbeddedConfig()
        self._clock = clock
        self._random = random or SystemRandom()
        self._delivery = EventDelivery()
        self._sessions: dict[str, Session] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._port: WebRtcPort | None = None
        self._shop: Workshop | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            early_answer=True, services=SERVICES, transcodes=CODECS if self.config.transcode else frozenset()
        )

    @property
    def sessions(self) -> int:
        """Calls that have not been deleted."""
        return len(self._sessions)

    @property
    def ports_in_use(self) -> int:
        """Pairs of RTP ports."""
        return self._shop.pool.in_use if self._shop is not None else 0

    @property
    def players(self) -> int:
        """Tones, silences and digits being played."""
        return len(self._shop.pacer) if self._shop is not None else 0

    def reports_received(self, call_id: str, tag: str) -> int:
        """RTCP packets read from a party; raises MediaError 481."""
        return self._session(call_id).party(tag).reporter.received

    def handlers_of(self, call_id: str) -> dict[str, int]:
        """Transcoders and event readers each party needs; raises MediaError 481."""
        return self._session(call_id).handlers()

    @property
    def port(self) -> WebRtcPort:
        """The one port of all browsers; raises MediaError before `start`."""
        return self._workshop().port

    def subscribe(self, handler: EventHandler) -> None:
        self._delivery.subscribe(handler)

    async def start(self) -> None:
        """Bind the browsers' port; raises MediaError 503 that names the address that would not."""
        if self._shop is not None:
            return
        config = self.config
        # Encoded once, beside the loop: later the first tone of a codec would hold up every call's packets.
        await asyncio.to_thread(prepare_loops, config.tone_frequency, config.tone_level)
        port = WebRtcPort(config.webrtc, clock=self._clock)
        await port.start()
        low, high = config.rtp_ports
        pool = PortPool(config.rtp_host, low, high, random=self._random, clock=self._clock, rest=config.port_rest)
        address = config.rtp_advertised or advertised_address(config.rtp_host)
        self._shop = Workshop(
            config, port, pool, Pacer(self._clock), self._clock, self._random, address, self._delivery.emit
        )
        self._arm()

    async def close(self) -> None:
        shop, self._shop = self._shop, None
        if shop is None:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for session in tuple(self._sessions.values()):
            session.close()
        self._sessions.clear()
        shop.pacer.close()
        shop.port.close()
        # Transports close their sockets in the loop's next round.
        await asyncio.sleep(0)

    async def offer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        shop = self._workshop()
        session = self._sessions.get(call_id)
        new = session is None
        if session is None:
            if len(self._sessions) >= self.config.max_sessions:
                raise MediaError("no room for another call", 503)
            session = self._sessions[call_id] = Session(shop, call_id)
        async with session.lock:
            self._still_open(session)
            try:
                with _own_faults():
                    return await session.offer(source, target, sdp)
            except BaseException:
                # Also when the request was cancelled: nothing may be left behind.
                if new:
                    self._drop(call_id)
                raise

    async def accept(self, call_id: str, source: Party) -> str:
        session = self._session(call_id)
        async with session.lock:
            self._still_open(session)
            with _own_faults():
                return session.accept(source)

    async def answer(self, call_id: str, source: Party, target: Party | None, sdp: str) -> str:
        if target is None:
            raise _cannot()
        session = self._session(call_id)
        async with session.lock:
            self._still_open(session)
            with _own_faults():
                return session.answer(source, target, sdp)

    async def create_offer(self, call_id: str, target: Party, peer: Party | None = None) -> str:
        raise _cannot()

    async def join(self, call_id: str, a: str, b: str) -> None:
        raise _cannot()

    async def isolate(self, call_id: str, tag: str) -> None:
        raise _cannot()

    async def release(self, call_id: str, tag: str) -> None:
        raise _cannot()

    async def adopt(self, call_id: str, other_call_id: str, tag: str) -> None:
        raise _cannot()

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        """Checked and ignored: a lite agent learns addresses from the checks themselves."""
        if len(candidate) > LONGEST_CANDIDATE:
            raise MediaError("the candidate is too long", 400)
        self._session(call_id).trickle(tag)

    async def send_dtmf(self, call_id: str, tag: str, digit: str, duration_ms: int = 160) -> None:
        self._session(call_id).send_dtmf(tag, digit, duration_ms)

    async def delete(self, call_id: str) -> CallStatistics:
        session = self._sessions.get(call_id)
        if session is None:
            return CallStatistics()
        async with session.lock:
            statistics = session.statistics()
            self._drop(call_id)
        return statistics

    async def query(self, call_id: str) -> CallStatistics:
        return self._session(call_id).statistics()

    def _workshop(self) -> Workshop:
        if self._shop is None:
            raise MediaError("the media engine is not running", 503)
        return self._shop

    def _session(self, call_id: str) -> Session:
        self._workshop()
        session = self._sessions.get(call_id)
        if session is None:
            raise MediaError("unknown call", 481)
        return session

    @staticmethod
    def _still_open(session: Session) -> None:
        if session.closed:
            raise MediaError("the call has ended", 481)

    def _drop(self, call_id: str) -> None:
        session = self._sessions.pop(call_id, None)
        if session is not None:
            session.close()

    def _arm(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP, self._on_timer)

    def _on_timer(self) -> None:
        self.sweep()
        self._arm()

    def sweep(self) -> None:
        """Do everything that is due; the engine's own timer calls it, tests may."""
        now = self._clock()
        for session in tuple(self._sessions.values()):
            try:
                session.sweep(now)
            except Exception:
                logger.exception("a call's timers failed")


@contextlib.contextmanager
def _own_faults() -> Iterator[None]:
    """A fault of ours is logged and becomes MediaError 500, which does not repeat its text."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        logger.exception("a request met an error of our own")
        raise MediaError("internal error of the media engine", 500) from error


def _cannot() -> MediaError:
    return MediaError("this media engine cannot move parties", 501)
