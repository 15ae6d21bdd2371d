"""Traces of calls: a span for the call and one for each leg, made at the end of the call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.call.call import Call
from gateway.call.leg import Leg
from gateway.call.record import CallRecord, Step
from gateway.call.state import Input, State
from gateway.call.status import Cause
from gateway.media.engine import PartyStatistics

Value = str | int | float | bool | tuple[str, ...]
Role = Literal["internal", "server", "client"]

_OMITTED = frozenset({Input.DIGIT, Input.DIGIT_REFUSED, Input.CANDIDATE, Input.OFFER_WANTED, Input.EXCHANGE_OVER})
"""Steps left out of traces: uninteresting, or revealing typed digits."""
_MOST_LEGS = 64
"""Largest number of leg spans of a call; further legs have none."""
_MOST_MARKS = 64
"""Largest number of hold and resume events of a call."""
_OUT_OF_ORDER = 27
"""Q.850 cause of an unreachable far end, independent of its SIP status."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Event of a span."""

    name: str
    at: float
    """Unix seconds."""
    attributes: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Complete span; times in Unix seconds."""

    name: str
    role: Role
    """"server" for a caller's leg, "client" for a called leg, "internal" for the call."""
    trace_id: int
    """128 bits."""
    span_id: int
    """64 bits."""
    parent: int | None = None
    began: float
    ended: float
    attributes: dict[str, Value]
    happenings: tuple[Happening, ...] = ()
    fault: str | None = None
    """Sentence about a failure of the gateway or a far end; a declined call is no failure."""


class Sink(Protocol):
    """Receiver of the spans of a call; returns at once and never raises."""

    def __call__(self, spans: list[Span], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Side:
    """Protocol and trunk of a leg."""

    protocol: str
    """"sip", "webrtc" or "service"."""
    trunk: str | None = None


@dataclass(slots=True)
class _SeenLeg:
    side: Side
    uri: str
    is_caller: bool
    began: float
    ended: float | None = None


@dataclass(slots=True)
class _SeenCall:
    """Facts missing from the call record; times in seconds since the start of the call."""

    legs: dict[str, _SeenLeg] = field(default_factory=dict)
    holding: frozenset[str] = frozenset()
    marks: list[tuple[str, float, str]] = field(default_factory=list)
    """("hold" or "resume", time, tag of the holding leg)."""


class CallTraces:
    """Observer of calls; keeps a few values for each current call."""

    def __init__(
        self,
        sink: Sink,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        side_of: Callable[[Leg], Side],
        *,
        share: float = 1.0,
        numbers: bool = False,
    ) -> None:
        """`clock` is the calls' clock in seconds, `wall_clock` returns Unix seconds.

        `share` (0 to 1) selects calls by id; `numbers` adds caller and callee to spans.
        """
        self._sink = sink
        self._clock = clock
        self._wall_clock = wall_clock
        self._side_of = side_of
        self._share = share
        self._numbers = numbers
        self._seen: dict[str, _SeenCall] = {}

    def call_changed(self, call: Call) -> None:
        """Take a change of state of a call."""
        if not is_sampled(call.id, self._share):
            return
        elapsed = self._clock() - call.record.started_at
        seen = self._seen.setdefault(call.id, _SeenCall())
        self._look(call, seen, elapsed)
        if call.state is State.ENDED:
            del self._seen[call.id]
            self._sink(self._spans(call, seen, elapsed))

    def _look(self, call: Call, seen: _SeenCall, elapsed: float) -> None:
        there, is_first = {leg.party.tag: leg for leg in call.legs}, not seen.legs
        for tag, leg in there.items():
            if tag in seen.legs:
                seen.legs[tag].ended = None
            elif len(seen.legs) < _MOST_LEGS:
                began = 0.0 if is_first else elapsed
                seen.legs[tag] = _SeenLeg(self._side_of(leg), leg.address.uri, leg is call.caller, began)
        for tag, known in seen.legs.items():
            if tag not in there and known.ended is None:
                known.ended = elapsed
        holding = frozenset(call.bridge.holding) if call.bridge is not None else frozenset()
        if holding != seen.holding and len(seen.marks) < _MOST_MARKS:
            seen.marks += [("hold", elapsed, tag) for tag in sorted(holding - seen.holding)]
            seen.marks += [("resume", elapsed, tag) for tag in sorted(seen.holding - holding)]
        seen.holding = holding

    def _spans(self, call: Call, seen: _SeenCall, elapsed: float) -> list[Span]:
        record, zero = call.record, self._wall_clock() - elapsed
        trace_id = trace_id_of(call.id)
        root = _span_id(call.id, "")
        steps = [step for step in call.history if step.input not in _OMITTED]
        whole = Span(
            name="call",
            role="internal",
            trace_id=trace_id,
            span_id=root,
            began=zero,
            ended=zero + elapsed,
            attributes=self._of_call(record),
            happenings=_in_order([*_milestones(record, zero), *_step_events(steps, zero), *_marked(seen, zero)]),
            fault=_fault(record.cause),
        )
        return [whole, *(self._leg(call, tag, leg, seen, zero, elapsed) for tag, leg in seen.legs.items())]

    def _leg(self, call: Call, tag: str, leg: _SeenLeg, seen: _SeenCall, zero: float, elapsed: float) -> Span:
        own = [step for step in call.history if step.leg == tag and step.input not in _OMITTED]
        # A leg's first step may precede the change of state that shows the leg.
        began = min([leg.began, *(step.at for step in own)])
        ended = elapsed if leg.ended is None else leg.ended
        return Span(
            name=f"{leg.side.protocol} leg",
            role="server" if leg.is_caller else "client",
            trace_id=trace_id_of(call.id),
            span_id=_span_id(call.id, tag),
            parent=_span_id(call.id, ""),
            began=zero + began,
            ended=zero + max(ended, began),
            attributes=self._of_leg(call.record, tag, leg),
            happenings=_in_order([*_step_events(own, zero), *_marked(seen, zero, tag)]),
        )

    def _of_call(self, record: CallRecord) -> dict[str, Value]:
        found: dict[str, Value] = {"gateway.call.id": record.id}
        found["gateway.sip.call_ids"] = tuple(sorted({name for names in record.references.values() for name in names}))
        found["gateway.media.transcoding"] = record.statistics.transcoding
        if record.cause is not None:
            found |= {
                "gateway.call.cause": record.cause.word,
                "gateway.call.sip_status": record.cause.status,
                "gateway.call.q850": record.cause.q850,
            }
            if _fault(record.cause) is not None:
                found["error.type"] = record.cause.word
        if self._numbers:
            found |= {"gateway.call.caller": record.caller.uri, "gateway.call.dialled": record.dialled}
        return found

    def _of_leg(self, record: CallRecord, tag: str, leg: _SeenLeg) -> dict[str, Value]:
        found: dict[str, Value] = {"gateway.call.id": record.id, "network.protocol.name": leg.side.protocol}
        names = record.references.get(tag)
        if names:
            found["gateway.sip.call_ids"] = tuple(names)
        if leg.side.trunk is not None:
            found["gateway.trunk"] = leg.side.trunk
        if self._numbers:
            found["gateway.leg.uri"] = leg.uri
        statistics = record.statistics.parties.get(tag)
        return found if statistics is None else found | _quality(statistics)


def is_sampled(call_id: str, share: float) -> bool:
    """Return True if the call belongs to the traced share; decided by trace id, as in other samplers."""
    return trace_id_of(call_id) & (2**64 - 1) < share * 2**64


def trace_id_of(call_id: str) -> int:
    """Return the 128-bit trace id of a call, stable over restarts: first half of the SHA-256 of its id."""
    return int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:16]) or 1


def _span_id(call_id: str, tag: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{call_id}\0{tag}".encode()).digest()[:8]) or 1


def _fault(cause: Cause | None) -> str | None:
    """Return the sentence of a server-side failure; as in HTTP traces, rejections are no errors."""
    if cause is None or not (500 <= cause.status < 600 or cause.q850 == _OUT_OF_ORDER):
        return None
    return cause.sentence


def _milestones(record: CallRecord, zero: float) -> list[Happening]:
    """Return the moments kept in the record even after early steps of a long call are dropped."""
    moments = (
        ("ringing", record.ringing_after_ms),
        ("answered", record.answered_after_ms),
        ("media", record.media_after_ms),
    )
    return [Happening(name, zero + after / 1000) for name, after in moments if after is not None]


def _step_events(steps: list[Step], zero: float) -> list[Happening]:
    return [
        Happening(f"call.{step.input.value}", zero + step.at, {"gateway.call.state": step.state.value})
        for step in steps
    ]


def _marked(seen: _SeenCall, zero: float, tag: str | None = None) -> list[Happening]:
    return [Happening(name, zero + at) for name, at, by in seen.marks if tag is None or tag == by]


def _in_order(happenings: list[Happening]) -> tuple[Happening, ...]:
    return tuple(sorted(happenings, key=lambda one: one.at))


def _quality(statistics: PartyStatistics) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for direction, stream in (("received", statistics.received), ("sent", statistics.sent)):
        prefix = f"gateway.media.{direction}"
        found |= {f"{prefix}.packets": stream.packets, f"{prefix}.lost": stream.lost}
        if stream.codec is not None:
            found[f"{prefix}.codec"] = stream.codec
        if stream.mos is not None:
            found[f"{prefix}.mos"] = round(stream.mos, 2)
    if statistics.rtt_ms is not None:
        found["gateway.media.rtt_ms"] = round(statistics.rtt_ms, 1)
    return found
