"""A media engine that makes no media: scripted, deterministic, and it remembers every call."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.media.engine import (
    CallStatistics,
    Capabilities,
    EventHandler,
    MediaError,
    MediaEvent,
    Party,
    PartyStatistics,
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
    """offer, accept, answer, trickle, send_dtmf, delete, query, start or close."""
    call_id: str = ""
    source: str = ""
    """Tag of the party the request is about."""
    target: str = ""
    sdp: str = ""
    detail: tuple[object, ...] = ()
    """trickle: (candidate, mid); send_dtmf: (digit, duration_ms)."""


@dataclass(slots=True)
class _Call:
    parties: dict[str, Party] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    version: int = 0


class FakeEngine:
    """`gateway.media.engine.MediaEngine` for the tests of other rooms.

    Every offer and answer gives `DESCRIPTION`, unless `script(verb, ...)` queued something else for
    that verb: a string is returned, a MediaError is raised. After `accept`, `answer` returns the
    description the target already has, as a real engine does while the media can run on it.
    """

    def __init__(self, *, early_answer: bool = True, services: frozenset[str] = frozenset({"echo", "tone"})) -> None:
        self.requests: list[Request] = []
        """Everything asked of the engine."""
        self.started = False
        self._capabilities = Capabilities(early_answer, services, frozenset({"opus", "g722", "pcmu", "pcma"}))
        self._handlers: list[EventHandler] = []
        self._calls: dict[str, _Call] = {}
        self._script: dict[str, deque[str | MediaError]] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def calls(self) -> frozenset[str]:
        """Ids of the calls that have not been deleted."""
        return frozenset(self._calls)

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
        return scripted or self._describe("offer", call_id, source.tag, target.tag)

    async def accept(self, call_id: str, source: Party) -> str:
        self.requests.append(Request("accept", call_id, source.tag))
        scripted = self._scripted("accept")
        call = self._known(call_id)
        if not self._capabilities.early_answer:
            raise MediaError("this engine cannot answer early", 500)
        call.accepted[source.tag] = scripted or self._describe("accept", call_id, source.tag, source.tag)
        return call.accepted[source.tag]

    async def answer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        self.requests.append(Request("answer", call_id, source.tag, target.tag, sdp))
        scripted = self._scripted("answer")
        call = self._known(call_id)
        given = call.accepted.get(target.tag)
        return scripted or given or self._describe("answer", call_id, source.tag, target.tag)

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        self.requests.append(Request("trickle", call_id, tag, detail=(candidate, mid)))
        self._scripted("trickle")
        self._known(call_id)

    async def send_dtmf(self, call_id: str, tag: str, digit: str, duration_ms: int = 160) -> None:
        self.requests.append(Request("send_dtmf", call_id, tag, detail=(digit, duration_ms)))
        self._scripted("send_dtmf")
        self._known(call_id)

    async def delete(self, call_id: str) -> CallStatistics:
        self.requests.append(Request("delete", call_id))
        self._scripted("delete")
        call = self._calls.pop(call_id, None)
        return self._statistics(call)

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
