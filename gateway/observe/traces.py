"""A call as a trace: one span of the call, one of each of its legs, made when the call is over."""

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

_UNTOLD = frozenset({Input.DIGIT, Input.DIGIT_REFUSED, Input.CANDIDATE, Input.OFFER_WANTED, Input.EXCHANGE_OVER})
"""Steps that nobody looks for in a trace, or that tell what was typed and when."""
_MOST_LEGS = 64
"""Spans of one call; who else is asked or comes in has none."""
_MOST_MARKS = 64
"""Holds and ends of holds of one call; later ones have no events."""
_OUT_OF_ORDER = 27
"""The Q.850 cause of a far end that cannot be reached, whatever SIP calls it."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a span."""

    name: str
    at: float
    """Seconds since 1970."""
    attributes: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span, whole; times in seconds since 1970."""

    name: str
    role: Role
    """Who began: "server" for a caller's leg, "client" for one that the gateway calls, "internal" for the call."""
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
    """A sentence, where the gateway or a far end failed; a callee who declines is no fault."""


class Sink(Protocol):
    """Takes the spans of one call, at once, and never raises."""

    def __call__(self, spans: list[Span], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Side:
    """What a leg speaks."""

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
    """What the record of a call does not keep; times in seconds since the call began."""

    legs: dict[str, _SeenLeg] = field(default_factory=dict)
    holding: frozenset[str] = frozenset()
    marks: list[tuple[str, float, str]] = field(default_factory=list)
    """("hold" or "resume", when, tag of who did it)."""


class CallTraces:
    """An observer of the calls; it holds a few values of each call that is up."""

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
        """`clock` is that of the calls (seconds), `wall_clock` gives seconds since 1970.

        `share` (0 to 1) of the calls are traced, always the same ones of the same ids; `numbers`: spans tell who
        called whom.
        """
        self._sink = sink
        self._clock = clock
        self._wall_clock = wall_clock
        self._side_of = side_of
        self._share = share
        self._numbers = numbers
        self._seen: dict[str, _SeenCall] = {}

    def call_changed(self, call: Call) -> None:
        """See one change of one call."""
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
        steps = [step for step in call.history if step.input not in _UNTOLD]
        whole = Span(
            name="call",
            role="internal",
            trace_id=trace_id,
            span_id=root,
            began=zero,
            ended=zero + elapsed,
            attributes=self._of_call(record),
            happenings=_in_order([*_milestones(record, zero), *_told(steps, zero), *_marked(seen, zero)]),
            fault=_fault(record.cause),
        )
        return [whole, *(self._leg(call, tag, leg, seen, zero, elapsed) for tag, leg in seen.legs.items())]

    def _leg(self, call: Call, tag: str, leg: _SeenLeg, seen: _SeenCall, zero: float, elapsed: float) -> Span:
        own = [step for step in call.history if step.leg == tag and step.input not in _UNTOLD]
        # The first that is heard of a leg may come before the change of state in which it is seen.
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
            happenings=_in_order([*_told(own, zero), *_marked(seen, zero, tag)]),
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
    """Whether the call of that id is among the `share` that is traced; by its trace id, as other samplers do."""
    return trace_id_of(call_id) & (2**64 - 1) < share * 2**64


def trace_id_of(call_id: str) -> int:
    """Its trace's 128 bits, the same before and after a restart: the first half of the id's SHA-256."""
    return int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:16]) or 1


def _span_id(call_id: str, tag: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{call_id}\0{tag}".encode()).digest()[:8]) or 1


def _fault(cause: Cause | None) -> str | None:
    """As in HTTP, what a server has failed at is an error, and what somebody was refused is none."""
    if cause is None or not (500 <= cause.status < 600 or cause.q850 == _OUT_OF_ORDER):
        return None
    return cause.sentence


def _milestones(record: CallRecord, zero: float) -> list[Happening]:
    """Of these the record knows still when the steps of a long call are forgotten."""
    moments = (
        ("ringing", record.ringing_after_ms),
        ("answered", record.answered_after_ms),
        ("media", record.media_after_ms),
    )
    return [Happening(name, zero + after / 1000) for name, after in moments if after is not None]


def _told(steps: list[Step], zero: float) -> list[Happening]:
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
