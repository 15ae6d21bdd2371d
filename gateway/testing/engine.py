"""A media engine that makes no media: scripted, deterministic, and it remembers every call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.media.engine import (
    AudioPort,
    CallStatistics,
    Capabilities,
    Conference,
    EventHandler,
    Kind,
    MediaError,
    MediaEvent,
    MediaHandover,
    MediaLost,
    Party,
    PartyStatistics,
    Recording,
    RecordingFile,
)

DESCRIPTION = (
    "v=0\r\n"
    "o=- {version} {version} IN IP4 192.0.2.1\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.1\r\n"
    "t=0 0\r\n"
    "a=x-fake:{verb} {call_id} {source} {target}\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
)
"""What the engine returns: a real description whose x-fake line says which request made it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request the engine was given, in the order of arrival."""

    verb: str
    """The method's name: offer, accept, create_offer, answer, join, isolate and so on."""
    call_id: str = ""
    source: str = ""
    """Tag of the party the request is about."""
    target: str = ""
    sdp: str = ""
    detail: tuple[object, ...] = ()
    """trickle: (candidate, mid); send_dtmf: (digit, duration_ms); adopt: (other call id,)."""


@dataclass(slots=True)
class _Call:
    parties: dict[str, Party] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)
    """Tags with an offer of our own that is not answered yet."""
    agreed: set[str] = field(default_factory=set)
    """Tags with an agreement."""
    lost: set[str] = field(default_factory=set)
    """Tags that have lost their transport, and have not agreed to another."""
    joined: dict[str, str] = field(default_factory=dict)
    """Tag to tag, both ways."""
    version: int = 0

    def part(self, tag: str) -> None:
        """Nobody is joined to `tag`."""
        peer = self.joined.pop(tag, None)
        if peer is not None and self.joined.get(peer) == tag:
            del self.joined[peer]

    def join(self, a: str, b: str) -> None:
        """These two, and nobody else, are joined to each other."""
        self.part(a)
        self.part(b)
        self.joined |= {a: b, b: a}


class FakeEngine:
    """`gateway.media.engine.MediaEngine` for the tests of other rooms.

    Every offer and answer gives `DESCRIPTION`, unless `script(verb, ...)` queued something else for
    that verb: a string is returned, a MediaError is raised. After `accept`, `answer` returns the
    description the target already has, as a real engine does while the media can run on it.
    """

    handover: MediaHandover | None = None

    def __init__(
        self,
        *,
        early_answer: bool = True,
        services: frozenset[str] = frozenset({"echo", "tone"}),
        movable: bool = True,
        ringbacks: frozenset[str] = frozenset(),
    ) -> None:
        """`movable` False is an engine that can neither make offers nor join parties anew."""
        self.requests: list[Request] = []
        """Everything asked of the engine."""
        self.watched: dict[str, float | None] = {}
        """By tag the silence that is to be told, in seconds."""
        self.narrowed: set[str] = set()
        """Tags of the parties that have less audio than they asked for."""
        self.started = False
        self._capabilities = Capabilities(
            early_answer=early_answer,
            services=services,
            transcodes=frozenset({"opus", "g722", "pcmu", "pcma"}),
            create_offer=movable,
            first_offer=movable,
            key_frames=True,
            video=frozenset({"vp8"}),
            join=movable,
            ringbacks=ringbacks,
        )
        self._handlers: list[EventHandler] = []
        self._calls: dict[str, _Call] = {}
        self._script: dict[str, deque[str | MediaError]] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def ports(self) -> tuple[int, int] | None:
        return None

    @property
    def trouble(self) -> str | None:
        return None

    async def busy(self) -> float | None:
        return None

    @property
    def calls(self) -> frozenset[str]:
        """Ids of the calls that have not been deleted."""
        return frozenset(self._calls)

    def joined(self, call_id: str, tag: str) -> str | None:
        """The tag of who hears this party now; None: nobody."""
        return self._calls[call_id].joined.get(tag)

    def parties(self, call_id: str) -> frozenset[str]:
        """Tags of the parties that a call has."""
        return frozenset(self._calls[call_id].parties)

    def script(self, verb: str, *outcomes: str | MediaError) -> None:
        """Queue what the next requests of `verb` give: an SDP to return, or an error to raise."""
        self._script.setdefault(verb, deque()).extend(outcomes)

    def verbs(self, call_id: str | None = None) -> list[str]:
        """The verbs asked for, in order, of one call or of all."""
        return [request.verb for request in self.requests if call_id in (None, request.call_id)]

    def emit(self, event: MediaEvent) -> None:
        """Deliver `event` to every subscriber, as if the media had caused it."""
        for handler in tuple(self._handlers):
            handler(event)

    def subscribe(self, handler: EventHandler) -> None:
        self._handlers.append(handler)

    async def start(self) -> None:
        self.requests.append(Request("start"))
        self.started = True

    async def close(self) -> None:
        self.requests.append(Request("close"))
        self._calls.clear()
        self.started = False

    async def offer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        self.requests.append(Request("offer", call_id, source.tag, target.tag, sdp))
        scripted = self._scripted("offer")
        call = self._calls.setdefault(call_id, _Call())
        call.parties |= {source.tag: source, target.tag: target}
        call.accepted.pop(source.tag, None)
        call.created -= {source.tag, target.tag}
        return scripted or self._describe("offer", call_id, source.tag, target.tag)

    async def accept(self, call_id: str, source: Party, ringback: str | None = None) -> str:
        self.requests.append(Request("accept", call_id, source.tag, ringback or ""))
        scripted = self._scripted("accept")
        call = self._known(call_id)
        if not self._capabilities.early_answer:
            raise MediaError("this engine cannot answer early", 500)
        call.agreed.add(source.tag)
        call.accepted[source.tag] = scripted or self._describe("accept", call_id, source.tag, source.tag)
        return call.accepted[source.tag]

    async def create_offer(self, call_id: str, target: Party, peer: Party | None = None) -> str:
        self.requests.append(Request("create_offer", call_id, target.tag, "" if peer is None else peer.tag))
        scripted = self._scripted("create_offer")
        self._must_be_movable()
        call = self._calls.setdefault(call_id, _Call())
        call.parties[target.tag] = target
        call.created.add(target.tag)
        return scripted or self._describe("create_offer", call_id, target.tag, target.tag)

    async def answer(self, call_id: str, source: Party, target: Party | None, sdp: str) -> str:
        self.requests.append(Request("answer", call_id, source.tag, "" if target is None else target.tag, sdp))
        scripted = self._scripted("answer")
        call = self._known(call_id)
        if target is None:
            if source.tag not in call.created:
                raise MediaError("no offer of ours is open", 481)
            call.created.discard(source.tag)
            call.agreed.add(source.tag)
            return ""
        call.agreed |= {source.tag, target.tag}
        call.join(source.tag, target.tag)
        given = call.accepted.get(target.tag)
        return scripted or given or self._describe("answer", call_id, source.tag, target.tag)

    async def join(self, call_id: str, a: str, b: str) -> None:
        self.requests.append(Request("join", call_id, a, b))
        self._scripted("join")
        self._must_be_movable()
        call = self._known(call_id)
        if not {a, b} <= call.agreed | call.lost:
            raise MediaError("a party that is to be joined has no agreement", 481)
        call.join(a, b)
        for tag in {a, b} - call.agreed:
            self.emit(MediaLost(call_id, tag))

    async def isolate(self, call_id: str, tag: str) -> None:
        self.requests.append(Request("isolate", call_id, tag))
        self._scripted("isolate")
        self._must_be_movable()
        call = self._known(call_id)
        if tag not in call.parties:
            raise MediaError("unknown party", 481)
        call.part(tag)

    async def release(self, call_id: str, tag: str) -> None:
        self.requests.append(Request("release", call_id, tag))
        self._scripted("release")
        self._must_be_movable()
        call = self._known(call_id)
        call.part(tag)
        call.parties.pop(tag, None)
        for tags in (call.created, call.agreed, call.lost):
            tags.discard(tag)

    async def adopt(self, call_id: str, other_call_id: str, tag: str) -> None:
        self.requests.append(Request("adopt", call_id, tag, detail=(other_call_id,)))
        self._scripted("adopt")
        self._must_be_movable()
        call, other = self._known(call_id), self._known(other_call_id)
        if tag not in other.agreed | other.lost:
            raise MediaError("unknown party", 481)
        if tag in call.parties:
            raise MediaError("the call has a party of that tag", 500)
        other.part(tag)
        (call.agreed if tag in other.agreed else call.lost).add(tag)
        call.parties[tag] = other.parties.pop(tag)
        other.agreed.discard(tag)
        other.lost.discard(tag)

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        self.requests.append(Request("trickle", call_id, tag, detail=(candidate, mid)))
        self._scripted("trickle")
        self._known(call_id)

    async def send_dtmf(
        self, call_id: str, tag: str, digit: str, duration_ms: int = 160, *, tones: bool = False
    ) -> None:
        verb = "send_tones" if tones else "send_dtmf"
        self.requests.append(Request(verb, call_id, tag, detail=(digit, duration_ms)))
        self._scripted(verb)
        self._known(call_id)

    def watch(self, call_id: str, tag: str, seconds: float | None) -> None:
        self.watched[tag] = seconds

    def doubt(self, owner: str, *, doubted: bool) -> None:
        self.requests.append(Request("doubt", detail=(owner, doubted)))

    def narrows(self, call_id: str, tag: str) -> bool:
        return tag in self.narrowed

    def request_key_frame(self, call_id: str, tag: str) -> None:
        self.requests.append(Request("request_key_frame", call_id, tag))
        self._scripted("request_key_frame")
        self._known(call_id)

    async def delete(self, call_id: str) -> CallStatistics:
        self.requests.append(Request("delete", call_id))
        self._scripted("delete")
        call = self._calls.pop(call_id, None)
        return self._statistics(call)

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

    def values(self, call_id: str) -> dict[str, Any] | None:
        call = self._calls.get(call_id)
        return None if call is None else {"agreed": sorted(call.agreed)}

    async def resume(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        self._scripted("resume")
        call = self._calls[call_id] = _Call(agreed=set(values["agreed"]))
        call.parties = {tag: Party(tag, Kind.RTP) for tag in values["agreed"]}

    async def restore(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        self._scripted("restore")
        call = self._calls[call_id] = _Call()
        call.parties = {tag: Party(tag, Kind.RTP) for tag in values["agreed"]}

    def lose(self, call_id: str) -> None:
        """The packet plane dies and is there again: nobody has an agreement any more, and each is to be offered."""
        call = self._calls[call_id]
        call.agreed.clear()
        call.created.clear()
        call.lost = set(call.parties)
        for tag in call.parties:
            self.emit(MediaLost(call_id, tag))

    def end_left(self) -> None:
        """There was none before it."""

    async def query(self, call_id: str) -> CallStatistics:
        self.requests.append(Request("query", call_id))
        self._scripted("query")
        return self._statistics(self._known(call_id))

    def _scripted(self, verb: str) -> str | None:
        queue = self._script.get(verb)
        if not queue:
            return None
        outcome = queue.popleft()
        if isinstance(outcome, MediaError):
            raise outcome
        return outcome

    def _must_be_movable(self) -> None:
        if not self._capabilities.join:
            raise MediaError("this engine cannot move parties", 501)

    def _known(self, call_id: str) -> _Call:
        call = self._calls.get(call_id)
        if call is None:
            raise MediaError("unknown call", 481)
        return call

    def _describe(self, verb: str, call_id: str, source: str, target: str) -> str:
        call = self._calls[call_id]
        call.version += 1
        return DESCRIPTION.format(version=call.version, verb=verb, call_id=call_id, source=source, target=target)

    @staticmethod
    def _statistics(call: _Call | None) -> CallStatistics:
        if call is None:
            return CallStatistics()
        return CallStatistics({tag: PartyStatistics() for tag in call.parties})
