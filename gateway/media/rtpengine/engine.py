"""A rtpengine, or several, as the gateway's media engine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from gateway.media.delivery import EventDelivery
from gateway.media.described import LIMITS, Names, NoNames, described
from gateway.media.engine import (
    WHEN_FULL,
    AudioPort,
    CallStatistics,
    Capabilities,
    Conference,
    EventHandler,
    Kind,
    MediaError,
    MediaFailed,
    Party,
    Recording,
    RecordingFile,
)
from gateway.media.rtpengine import descriptions, kept
from gateway.media.rtpengine.agreements import Agreements, Said
from gateway.media.rtpengine.call import CallState, Patience
from gateway.media.rtpengine.client import Address, ClientConfig, NgHosts, Unreachable
from gateway.media.rtpengine.handover import Handover
from gateway.media.rtpengine.left import end_left
from gateway.media.rtpengine.moves import Moves
from gateway.media.rtpengine.ng import Request
from gateway.media.rtpengine.profiles import DIGITS_READY, Policy
from gateway.media.rtpengine.recording import DaemonRecording
from gateway.media.rtpengine.requests import ask, delete
from gateway.media.rtpengine.statistics import heard
from gateway.media.rtpengine.watch import Pace, Rhythm, Watch
from sdp import SessionDescription

log = structlog.get_logger(__name__)

LONGEST_CANDIDATE = 1024
"""Characters."""
LONGEST_CALL_ID = 256
"""Characters, of a call id and of a tag."""
DIGITS = frozenset("0123456789*#ABCD")
_UNKNOWN_CALL = "unknown call"


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpengineConfig:
    """Where the daemons are, what they are told, how long and how much is borne."""

    hosts: tuple[Address, ...]
    """Host and UDP port of the ng protocol of each daemon."""
    policy: Policy = field(default_factory=Policy)
    client: ClientConfig = field(default_factory=ClientConfig)
    rhythm: Rhythm = field(default_factory=Rhythm)
    patience: Patience = field(default_factory=Patience)
    max_sessions: int = 1000
    """Calls at once; more are refused with 503."""
    owner: str = ""
    """What its calls begin with at the daemons, which may have other gateways' as well."""
    records: bool = False
    """The daemons have somewhere to write recordings to; they do not tell."""


class RtpengineEngine:
    """`gateway.media.engine.MediaEngine` by rtpengine's ng protocol. All methods raise MediaError only.

    What rtpengine 10.5 cannot do: answer before the other side has, make the first offer of a call, and be a party
    itself (built-in services, programs, conferences, files). What it records is in files of its own.
    """

    def __init__(
        self,
        config: RtpengineConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        names: Names | None = None,
    ) -> None:
        """`clock` gives monotonic seconds; `random(n)` n unguessable bytes. `names` looks up host names of media."""
        self.config = config
        """May be another one in the course of things; `hosts`, `client` and `rhythm` count at the start only."""
        self._clock = clock
        self._names = names or NoNames()
        self._calls: dict[str, CallState] = {}
        self.handover = Handover(self._name_of)
        self._hosts = NgHosts(config.hosts, config.client, clock, random, self.handover.passed)
        self._recordings: dict[str, DaemonRecording] = {}
        """The last of each call."""
        self._watch = Watch(config.rhythm, clock, self._look)
        self._delivery = EventDelivery()
        self._agreements = Agreements(lambda: self.config.policy, clock)
        self._moves = Moves(self._agreements, clock, self._delivery.emit)
        self._ending: asyncio.Task[None] | None = None
        self._doubted: set[str] = set()
        self._running = False

    @property
    def capabilities(self) -> Capabilities:
        policy = self.config.policy
        codecs = frozenset((*policy.webrtc_codecs, *policy.rtp_codecs)) if policy.transcode else frozenset[str]()
        return Capabilities(
            early_answer=False,
            services=frozenset(),
            transcodes=codecs,
            create_offer=True,
            recording=self.config.records,
            video=frozenset(policy.video),
            keeps=True,
            join=True,
            protections=frozenset({Kind.SDES, Kind.DTLS}),
            srtp_suites=frozenset(policy.srtp_suites),
        )

    @property
    def sessions(self) -> int:
        """Calls that have not been deleted."""
        return len(self._calls)

    @property
    def ports(self) -> None:
        """They are rtpengine's."""
        return None

    @property
    def trouble(self) -> str | None:
        return self._hosts.trouble

    async def busy(self) -> float | None:
        """It is rtpengine's."""
        return None

    def subscribe(self, handler: EventHandler) -> None:
        self._delivery.subscribe(handler)

    async def start(self) -> None:
        """Ask every daemon whether it is there; raises MediaError 503, with the addresses, where none is."""
        if self._running:
            return
        try:
            await self._hosts.open()
        except MediaError:
            await _closed_sockets()
            raise
        self._watch.start()
        self._running = True

    async def close(self) -> None:
        """Delete every call and release every socket; a daemon that is gone is not waited for long."""
        if not self._running:
            return
        self._running = False
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)
        await self._watch.stop()
        await asyncio.gather(*[self._end(call) for call in self._calls.values()])
        self._calls.clear()
        self._hosts.close()
        await _closed_sockets()

    async def offer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        self._check(call_id, source, target)
        said = self._agreements.read(source, await self._read(source, sdp))
        call = self._calls.get(call_id)
        if call is not None:
            async with call.lock:
                self._still_open(call)
                return await self._agreements.offer(call, source, target, said)
        if len(self._calls) >= self.config.max_sessions:
            raise MediaError("no room for another call", 503, limit="limits.max_calls", retry_after=WHEN_FULL)
        return await self._first_offer(call_id, source, target, said)

    async def accept(self, call_id: str, source: Party, ringback: str | None = None) -> str:
        """Answer a re-offer of `source` from what its peer last said; the first offer of a call is not answered so."""
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            call.party_of(source.tag)
            for peer in call.peers(source.tag):
                offer, state = call.offers.get((source.tag, peer)), call.parties[peer]
                if offer is not None and state.said is not None:
                    said, holds = state.said, state.holds
                    repeated = descriptions.repeated(said, offer.theirs)
                    answer = await self._agreements.answer(call, state.party, source, repeated)
                    state.said, state.holds = said, holds
                    self._watch.see(call_id)
                    return answer
            raise MediaError("rtpengine cannot answer an offer before the other side has", 501)

    async def answer(self, call_id: str, source: Party, target: Party | None, sdp: str) -> str:
        call = self._call(call_id)
        said = await self._read(source, sdp)
        async with call.lock:
            self._still_open(call)
            if target is None:
                await self._moves.commit(call, source, said)
                return ""
            answer = await self._agreements.answer(call, source, target, said)
            await self._moves.connect(call)  # an early callee that was heard before may have gone
        self._watch.see(call_id)
        return answer

    async def _read(self, source: Party, sdp: str) -> SessionDescription:
        return await described(sdp, source.kind, LIMITS, self._names)

    async def create_offer(self, call_id: str, target: Party, peer: Party | None = None) -> str:
        self._check(call_id, target)
        if call_id not in self._calls:
            raise MediaError("rtpengine makes no first offer of its own", 501)
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            return await self._moves.create_offer(call, target, peer)

    async def join(self, call_id: str, a: str, b: str) -> None:
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            await self._moves.join(call, a, b)
        self._watch.see(call_id)

    async def isolate(self, call_id: str, tag: str) -> None:
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            await self._moves.isolate(call, tag)

    async def release(self, call_id: str, tag: str) -> None:
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            await self._moves.release(call, tag)

    async def adopt(self, call_id: str, other_call_id: str, tag: str) -> None:
        """What it sends and where moves with the next offer, which `join` asks for."""
        call, other = self._call(call_id), self._call(other_call_id)
        if call is other:
            raise MediaError("the call has that party already", 500)
        first, second = sorted((call, other), key=lambda each: each.call_id)
        async with first.lock, second.lock:
            self._still_open(call)
            self._still_open(other)
            await self._moves.adopt(call, other, tag)

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        """Checked and ignored: rtpengine learns the browser's addresses from the checks it is sent."""
        if len(candidate) > LONGEST_CANDIDATE:
            raise MediaError("the candidate is too long", 400)
        self._call(call_id).party_of(tag)

    def watch(self, call_id: str, tag: str, seconds: float | None) -> None:
        """Looked at as often as the daemon is asked about the call."""
        call = self._calls.get(call_id)
        if call is not None and tag in call.parties:
            call.parties[tag].patience = seconds

    def doubt(self, owner: str, *, doubted: bool) -> None:
        """Look at each call of the owner at once, and closely while the doubt lasts."""
        (self._doubted.add if doubted else self._doubted.discard)(owner)
        for call in tuple(self._calls.values()):
            if any(state.party.owner == owner for state in call.parties.values()):
                self._watch.hurry(call.call_id)

    def narrows(self, call_id: str, tag: str) -> bool:
        call = self._calls.get(call_id)
        state = None if call is None else call.parties.get(tag)
        return state is not None and state.narrowed

    def request_key_frame(self, call_id: str, tag: str) -> None:
        raise MediaError("rtpengine asks for no key frames by itself", 501)

    async def send_dtmf(
        self, call_id: str, tag: str, digit: str, duration_ms: int = 160, *, tones: bool = False
    ) -> None:
        """The daemon makes an event of it where those were agreed, else tones."""
        if len(digit) != 1 or digit.upper() not in DIGITS:
            raise MediaError("not a digit", 400)
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            call.party_of(tag)
            speaker = call.peer_of(tag)
            if speaker is None:
                raise MediaError("the call has not been answered", 481)
            await self._ready_for_digits(call)
            request: Request = {
                "command": "play DTMF",
                "call-id": call.name,
                "from-tag": speaker,
                "code": digit.upper(),
                "duration": min(max(duration_ms, 100), 5000),
            }
            await ask(call.host, request)

    async def delete(self, call_id: str) -> CallStatistics:
        call = self._calls.get(call_id)
        if call is None:
            return CallStatistics()
        async with call.lock:
            if call.closed:
                return CallStatistics()
            await self._end(call)
            self._calls.pop(call_id, None)
            self.handover.over(call.name)
        return call.statistics()

    def audio(self, call_id: str, tag: str) -> AudioPort:
        raise MediaError("this media engine has no programs", 501)

    def conference(self, videos: int = 1, speakers: int = 0) -> Conference:
        raise MediaError("this media engine has no conferences", 501)

    def record(self, call_id: str, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recording:
        if not self.config.records:
            raise MediaError("this media engine does not record (media.rtpengine_records)", 501)
        if wanted.beep:
            raise MediaError("this media engine cannot say by a tone that it records (recording.beep)", 501)
        call = self._call(call_id)
        self._still_open(call)
        before = self._recordings.get(call_id)
        if before is not None and not before.stopped:
            raise MediaError("the call is recorded already", 500)
        made = self._recordings[call_id] = DaemonRecording(call, wanted, ended, self._clock, before)
        return made

    async def play(self, call_id: str, path: str, tags: Sequence[str] | None = None) -> None:
        raise MediaError("this media engine plays no files", 501)

    def stop_playing(self, call_id: str) -> None:
        raise MediaError("this media engine plays no files", 501)

    def values(self, call_id: str) -> dict[str, Any] | None:
        call = self._calls.get(call_id)
        return None if call is None else kept.values_of(call)

    async def resume(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        """The daemon has gone on with it; of a party with SDES a new description is wanted for digits and re-offers."""
        if not self._running:
            raise MediaError("the media engine is not running", 503)
        try:
            address = tuple(values["host"])
            host = next((each for each in self._hosts.all if each.address == address), None)
            if host is None:
                raise MediaError("its rtpengine is not this gateway's any more", 481)
            if not host.alive:  # many calls would each wait for it in vain, and no call comes in meanwhile
                raise MediaError("its rtpengine does not answer", 503)
            call = kept.resumed(call_id, values, host, self.config.policy, self._clock())
        except (KeyError, TypeError, ValueError):
            raise MediaError("it was not rtpengine that carried its media", 481) from None
        if self.config.records:  # by nobody's wish that this process knows of
            await ask(host, {"command": "stop recording", "call-id": call.name})
        await self._refresh(call)
        self._calls[call_id] = call
        self._watch.see(call_id)

    async def restore(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        raise MediaError("this media engine makes no media anew", 501)

    def end_left(self) -> None:
        """Delete at every daemon the calls of the process before that go on no more."""
        if self.config.owner and self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end_left())

    async def _end_left(self) -> None:
        elsewhere, owner = self.handover.elsewhere, self.config.owner
        await asyncio.gather(*[end_left(host, owner, self._calls, elsewhere) for host in self._hosts.all])

    async def query(self, call_id: str) -> CallStatistics:
        call = self._call(call_id)
        await self._refresh(call)
        return call.statistics()

    # Offers

    async def _first_offer(self, call_id: str, source: Party, target: Party, said: Said) -> str:
        """Give a new call to the first daemon that takes it; it stays there."""
        hosts = self._hosts.candidates()
        call = self._calls[call_id] = CallState(call_id, hosts[0], self.config.owner + call_id)
        async with call.lock:
            try:
                for place, call.host in enumerate(hosts):
                    try:
                        return await self._agreements.offer(call, source, target, said)
                    except Unreachable:
                        # It may have heard us though we did not hear it: its ports must not stay taken.
                        call.host.forget(delete(call.name))
                        if place == len(hosts) - 1 or not self._running:
                            raise
                raise Unreachable("there is no rtpengine")
            except MediaError:
                call.closed = True
                self._calls.pop(call_id, None)
                raise

    async def _ready_for_digits(self, call: CallState) -> None:
        """Say the last offer and answer of two plain phones again, ready for digits now: few calls need it."""
        if not call.digits:
            await self._agreements.repeat(call, call.joined, DIGITS_READY)

    # Requests

    async def _refresh(self, call: CallState) -> None:
        """Ask how the call is, and take what comes of it; raises MediaError."""
        reply = await ask(call.host, {"command": "query", "call-id": call.name})
        if not call.closed:
            for event in call.take(heard(reply), self._clock(), self.config.patience, self._doubted):
                self._delivery.emit(event)

    async def _end(self, call: CallState) -> None:
        """Delete at the daemon; what it last said is kept. A daemon that is gone frees the call by itself in time."""
        try:
            await self._refresh(call)
            call.closed = True
            await ask(call.host, delete(call.name))
        except MediaError as error:
            call.closed = True
            if error.status != 481:
                log.warning("call may linger at rtpengine", call_id=call.call_id, reason=error.reason)
        recording = self._recordings.pop(call.call_id, None)
        if recording is not None:
            await recording.finished()

    async def _look(self, call_id: str) -> Pace | None:
        """The watch's turn for one call."""
        call = self._calls.get(call_id)
        if call is None or call.closed:
            return None
        try:
            if not call.host.alive:
                raise call.host.unreachable
            await self._refresh(call)
        except MediaError as error:
            reason = self._is_lost(call, error)
            if reason is None:
                return Pace.STEADY if call.host.alive else Pace.CLOSE
            if not call.closed:
                tag = next(iter(call.parties), "")
                self._delivery.emit(MediaFailed(call_id, tag, reason))
            return None
        return call.pace(self._doubted)

    def _is_lost(self, call: CallState, error: MediaError) -> str | None:
        """Why a call has no media any more, None: it may have."""
        if error.status == 481:
            return "rtpengine does not know the call any more"
        patience = self.config.patience.daemon
        if not patience or not isinstance(error, Unreachable):
            return None
        return error.reason if self._clock() - call.host.silent_since >= patience else None

    # Small things

    def _check(self, call_id: str, *parties: Party) -> None:
        if not self._running:
            raise MediaError("the media engine is not running", 503)
        for text in (call_id, *(party.tag for party in parties)):
            if not 0 < len(text) <= LONGEST_CALL_ID:
                raise MediaError("a call id or tag that cannot be used", 500)
        if any(party.kind is Kind.SERVICE for party in parties):
            raise MediaError("rtpengine has no built-in services", 488)
        if len({party.tag for party in parties}) < len(parties):
            raise MediaError("a call needs two parties", 488)

    def _name_of(self, call_id: str) -> str | None:
        call = self._calls.get(call_id)
        return None if call is None else call.name

    def _call(self, call_id: str) -> CallState:
        if not self._running:
            raise MediaError("the media engine is not running", 503)
        call = self._calls.get(call_id)
        if call is None:
            raise MediaError(_UNKNOWN_CALL, 481)
        return call

    @staticmethod
    def _still_open(call: CallState) -> None:
        if call.closed:
            raise MediaError("the call has ended", 481)


async def _closed_sockets() -> None:
    """Transports close their sockets in the loop's next round."""
    await asyncio.sleep(0)
