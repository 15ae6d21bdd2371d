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
from gateway.media.engine import (
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
from gateway.media.rtpengine import descriptions
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.call import CallState, Offer, Patience
from gateway.media.rtpengine.client import Address, ClientConfig, NgHost, NgHosts, Unreachable
from gateway.media.rtpengine.ng import Reply, Request
from gateway.media.rtpengine.profiles import Policy, flags, offer_flags
from gateway.media.rtpengine.statistics import heard
from gateway.media.rtpengine.watch import Rhythm, Watch
from sdp import MediaDescription, SessionDescription

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


class RtpengineEngine:
    """`gateway.media.engine.MediaEngine` by rtpengine's ng protocol. All methods raise MediaError only.

    What rtpengine 10.5 cannot do: answer before the other side has, and built-in services.
    """

    def __init__(
        self,
        config: RtpengineConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`clock` gives monotonic seconds; `random(n)` n unguessable bytes."""
        self.config = config
        """May be another one in the course of things; `hosts`, `client` and `rhythm` count at the start only."""
        self._clock = clock
        self._hosts = NgHosts(config.hosts, config.client, clock, random)
        self._calls: dict[str, CallState] = {}
        self._watch = Watch(config.rhythm, clock, self._look)
        self._delivery = EventDelivery()
        self._running = False

    @property
    def capabilities(self) -> Capabilities:
        policy = self.config.policy
        codecs = frozenset((*policy.webrtc_codecs, *policy.rtp_codecs)) if policy.transcode else frozenset[str]()
        return Capabilities(
            early_answer=False,
            services=frozenset(),
            transcodes=codecs,
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
        await self._watch.stop()
        await asyncio.gather(*[self._end(call) for call in self._calls.values()])
        self._calls.clear()
        self._hosts.close()
        await _closed_sockets()

    async def offer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        self._check(call_id, source, target)
        description = descriptions.read(sdp)
        suites = self.config.policy.srtp_suites
        audio = descriptions.audio_of(description, source.kind, suites)
        text = descriptions.only(description, audio, suites, source.codecs)
        call = self._calls.get(call_id)
        if call is not None:
            async with call.lock:
                self._still_open(call)
                return await self._offer(call, source, target, description, audio, text)
        if len(self._calls) >= self.config.max_sessions:
            raise MediaError("no room for another call", 503)
        return await self._first_offer(call_id, source, target, description, audio, text)

    async def accept(self, call_id: str, source: Party, ringback: str | None = None) -> str:
        """Answer a re-offer of `source` from what its peer last said; the first offer of a call is not answered so."""
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            self._party(call, source.tag)
            for peer in call.peers(source.tag):
                offer, state = call.offers.get((source.tag, peer)), call.parties[peer]
                if offer is not None and state.said is not None:
                    said = state.said
                    answer = await self._answer(call, state.party, source, descriptions.repeated(said, offer.theirs))
                    state.said = said
                    return answer
            raise MediaError("rtpengine cannot answer an offer before the other side has", 500)

    async def answer(self, call_id: str, source: Party, target: Party | None, sdp: str) -> str:
        if target is None:
            raise _cannot()
        call = self._call(call_id)
        async with call.lock:
            self._still_open(call)
            return await self._answer(call, source, target, sdp)

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
        """Checked and ignored: rtpengine learns the browser's addresses from the checks it is sent."""
        if len(candidate) > LONGEST_CANDIDATE:
            raise MediaError("the candidate is too long", 400)
        self._party(self._call(call_id), tag)

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
            self._party(call, tag)
            speaker = next((peer for peer in call.peers(tag) if peer in call.joined), None)
            if speaker is None or tag not in call.joined:
                raise MediaError("the call has not been answered", 481)
            await self._ready_for_digits(call)
            request: Request = {
                "command": "play DTMF",
                "call-id": call_id,
                "from-tag": speaker,
                "code": digit.upper(),
                "duration": min(max(duration_ms, 100), 5000),
            }
            await self._ask(call.host, request)

    async def delete(self, call_id: str) -> CallStatistics:
        call = self._calls.get(call_id)
        if call is None:
            return CallStatistics()
        async with call.lock:
            if call.closed:
                return CallStatistics()
            await self._end(call)
            self._calls.pop(call_id, None)
        return call.statistics()

    def audio(self, call_id: str, tag: str) -> AudioPort:
        raise MediaError("this media engine has no programs", 501)

    def conference(self, videos: int = 1, speakers: int = 0) -> Conference:
        raise MediaError("this media engine has no conferences", 501)

    def record(self, call_id: str, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recording:
        raise MediaError("this media engine does not record", 501)

    async def play(self, call_id: str, path: str, tags: Sequence[str] | None = None) -> None:
        raise MediaError("this media engine plays no files", 501)

    def stop_playing(self, call_id: str) -> None:
        raise MediaError("this media engine plays no files", 501)

    def values(self, call_id: str) -> None:
        """Its calls outlive this process, but what the parties were told does not."""

    async def resume(self, call_id: str, values: Mapping[str, Any]) -> None:
        raise MediaError("this media engine resumes no calls", 501)

    async def restore(self, call_id: str, values: Mapping[str, Any]) -> None:
        raise MediaError("this media engine resumes no calls", 501)

    def end_left(self) -> None:
        """What was left it ends by itself, after its own time-out."""

    async def query(self, call_id: str) -> CallStatistics:
        call = self._call(call_id)
        await self._refresh(call)
        return call.statistics()

    # Offers

    async def _first_offer(
        self,
        call_id: str,
        source: Party,
        target: Party,
        description: SessionDescription,
        audio: MediaDescription | None,
        text: str,
    ) -> str:
        """Give a new call to the first daemon that takes it; it stays there."""
        hosts = self._hosts.candidates()
        call = self._calls[call_id] = CallState(call_id, hosts[0])
        async with call.lock:
            try:
                for place, call.host in enumerate(hosts):
                    try:
                        return await self._offer(call, source, target, description, audio, text)
                    except Unreachable:
                        # It may have heard us though we did not hear it: its ports must not stay taken.
                        call.host.forget(_delete(call_id))
                        if place == len(hosts) - 1 or not self._running:
                            raise
                raise Unreachable("there is no rtpengine")
            except MediaError:
                call.closed = True
                self._calls.pop(call_id, None)
                raise

    async def _offer(
        self,
        call: CallState,
        source: Party,
        target: Party,
        description: SessionDescription,
        audio: MediaDescription | None,
        text: str,
    ) -> str:
        offered = [codec.key[0] for codec in descriptions.codecs_of(audio)]
        addresses = descriptions.addresses_of(description)
        request: dict[str, Encodable] = {
            "command": "offer",
            "call-id": call.call_id,
            "from-tag": source.tag,
            "to-tag": target.tag,
            "sdp": text,
            **offer_flags(self.config.policy, source, target, addresses, offered),
        }
        for party in (source, target):
            known = call.parties.get(party.tag)
            if known is not None and known.party.kind is not party.kind:
                raise MediaError("a party cannot change what it speaks", 500)
        told = await self._described(call.host, request, target, len(description.media))
        assert audio is not None
        place = _index(description, audio)
        section = told.media[place]
        if not any(codec.is_media for codec in descriptions.codecs_of(section)):
            raise MediaError("nothing that rtpengine could offer", 488)
        call.offered(source, target, Offer(request, audio, section, len(told.media), place), self._clock())
        return str(told)

    async def _answer(self, call: CallState, source: Party, target: Party, sdp: str) -> str:
        offer = call.offers.get((target.tag, source.tag))
        if offer is None:
            raise MediaError("no offer of this party is waiting for an answer", 481)
        description = descriptions.read(sdp)
        suites = self.config.policy.srtp_suites
        audio = descriptions.audio_of(description, source.kind, suites)
        if audio is None or not descriptions.fits(audio, offer.ours):
            raise MediaError("the answer has no audio in common with the offer", 488)
        if len(description.media) != offer.sections or _index(description, audio) != offer.place:
            raise MediaError("the answer has other sections than the offer", 488)
        request: dict[str, Encodable] = {
            "command": "answer",
            "call-id": call.call_id,
            "from-tag": target.tag,
            "to-tag": source.tag,
            "sdp": descriptions.only(description, audio, suites),
            **flags(self.config.policy, source, target, descriptions.addresses_of(description)),
        }
        answer = await self._described(call.host, request, target, offer.sections)
        if not descriptions.fits(answer.media[offer.place], offer.theirs):
            raise MediaError("nothing in common that rtpengine could carry", 488)
        now = self._clock()
        call.exchange, call.digits = (offer.request, request), False
        call.answered_at = call.answered_at or now
        call.joined = frozenset((source.tag, target.tag))
        for party, said, section in (
            (source, description, audio),
            (target, SessionDescription.parse(str(offer.request["sdp"])), answer.media[offer.place]),
        ):
            state = call.party(party, now)
            state.said, state.codec = said, _first_codec(section)
        self._watch.see(call.call_id)
        return str(answer)

    async def _described(self, host: NgHost, request: Request, target: Party, sections: int) -> SessionDescription:
        reply = await self._ask(host, request)
        text = reply.get("sdp")
        if not isinstance(text, str):
            raise MediaError("rtpengine gave no description", 500)
        description = descriptions.tidied(text, target.kind)
        if len(description.media) != sections:
            raise MediaError("rtpengine gave a description with other sections", 500)
        return description

    async def _ready_for_digits(self, call: CallState) -> None:
        """Say the last offer and answer again, ready for digits now.

        The flag takes the audio through rtpengine's transcoding path, so it is kept for calls that need it. The same
        descriptions give the same ports and keys; nobody outside notices.
        """
        if call.digits:
            return
        for request in call.exchange:
            wanted = request["flags"]
            assert isinstance(wanted, list)
            await self._ask(call.host, {**request, "flags": [*wanted, "inject-DTMF"]})
        call.digits = True

    # Requests

    async def _ask(self, host: NgHost, request: Request) -> Reply:
        """The daemon's reply; its refusals become MediaError."""
        reply = await host.ask(request)
        if reply.get("result") == "ok":
            return reply
        reason = reply.get("error-reason")
        raise _refusal(str(reason) if isinstance(reason, str) else "")

    async def _refresh(self, call: CallState) -> None:
        """Ask how the call is, and take what comes of it; raises MediaError."""
        reply = await self._ask(call.host, {"command": "query", "call-id": call.call_id})
        if not call.closed:
            for event in call.take(heard(reply), self._clock(), self.config.patience):
                self._delivery.emit(event)

    async def _end(self, call: CallState) -> None:
        """Delete at the daemon; what it last said is kept. A daemon that is gone frees the call by itself in time."""
        try:
            await self._refresh(call)
            call.closed = True
            await self._ask(call.host, _delete(call.call_id))
        except MediaError as error:
            call.closed = True
            if error.status != 481:
                log.warning("call may linger at rtpengine", call_id=call.call_id, reason=error.reason)

    async def _look(self, call_id: str) -> bool | None:
        """The watch's turn for one call."""
        call = self._calls.get(call_id)
        if call is None or call.closed:
            return None
        try:
            await self._refresh(call)
        except MediaError as error:
            if error.status != 481:
                return False
            if not call.closed:
                tag = next(iter(call.parties), "")
                self._delivery.emit(MediaFailed(call_id, tag, "rtpengine does not know the call any more"))
            return None
        return call.awaited

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

    def _call(self, call_id: str) -> CallState:
        if not self._running:
            raise MediaError("the media engine is not running", 503)
        call = self._calls.get(call_id)
        if call is None:
            raise MediaError(_UNKNOWN_CALL, 481)
        return call

    @staticmethod
    def _party(call: CallState, tag: str) -> None:
        if tag not in call.parties:
            raise MediaError("unknown party", 481)

    @staticmethod
    def _still_open(call: CallState) -> None:
        if call.closed:
            raise MediaError("the call has ended", 481)


async def _closed_sockets() -> None:
    """Transports close their sockets in the loop's next round."""
    await asyncio.sleep(0)


def _delete(call_id: str) -> Mapping[str, Encodable]:
    return {"command": "delete", "call-id": call_id, "delete delay": 0}


_REFUSALS = (
    ("unknown call", 481),
    ("parse sdp", 400),
    ("ports", 503),
    ("port", 503),
    ("limit", 503),
    ("load", 503),
    ("sessions", 503),
    ("unknown", 481),
)
"""What an error-reason contains, and the status that says so; the first that fits."""


def _refusal(reason: str) -> MediaError:
    lowered = reason.lower()
    status = next((status for words, status in _REFUSALS if words in lowered), 500)
    return MediaError(f"rtpengine refused: {reason[:200] or 'no reason given'}", status)


def _index(description: SessionDescription, section: MediaDescription) -> int:
    return next(place for place, each in enumerate(description.media) if each is section)


def _first_codec(section: MediaDescription) -> str | None:
    return next((codec.key[0] for codec in descriptions.codecs_of(section) if codec.is_media), None)


def _cannot() -> MediaError:
    return MediaError("this media engine cannot move parties", 501)
