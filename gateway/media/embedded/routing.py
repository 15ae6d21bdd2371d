"""Routing of one party's packets to another party: routes of the plane, and handlers for punted packets."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import partial

from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.key_frame import Format
from gateway.media.embedded.plane.values import Action, Conversion, Fed, Route
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.sources.digits import EventHandler
from gateway.media.embedded.sources.numbering import NumberReader
from gateway.media.embedded.sources.packets import PacketHandler
from gateway.media.embedded.sources.program import Ear, ProgramAudio, SeatEar
from gateway.media.embedded.sources.tone_gate import ToneGate
from gateway.media.engine import MediaError
from sdp import Codec, MediaAgreement, payload_map
from sdp.codecs import NOISE, parameters, payload_number

PTIMES = (10, 20, 40, 60)
"""Packet durations in milliseconds that every codec of the engine can produce."""

Wanted = dict[int, tuple[Hashable, Callable[[], PacketHandler]]]
DROPPED = Route(action=Action.DROP)


@dataclass(slots=True)
class Routing:
    """Routes and packet handlers of one direction, by payload type."""

    routes: dict[int, Route] = field(default_factory=dict)
    handlers: Wanted = field(default_factory=dict)


def deaf_routes(heard: MediaAgreement, on_digit: Callable[[str, int], None]) -> Routing:
    """Return a routing that drops all packets except digits, which are read."""
    made = Routing()
    for codec in heard.arriving:
        if codec.payload_type is None:
            continue
        if codec.is_event:
            _read_only(made, codec, on_digit)
        else:
            clock = codec.clock_rate if codec.is_media else 0
            made.routes[codec.payload_type] = Route(action=Action.DROP, clock_rate=clock)
    return made


def heard_by_program(
    heard: MediaAgreement, has_heard: bool, audio: ProgramAudio, on_digit: Callable[[str, int], None]
) -> Routing:
    """Return a routing that passes decodable audio to a program, reads digits and drops the rest.

    Audio from a caller that holds a conference is dropped too.
    """
    made = deaf_routes(heard, on_digit)
    if audio.holds(heard.direction, has_heard) or not heard.direction.receives:
        return made
    seat = audio.seat
    for codec in heard.arriving:
        number, name = codec.payload_type, codec.key[0]
        if number is not None and codec.is_media and name in CODECS:
            made.routes[number] = Route(action=Action.PUNT, clock_rate=codec.clock_rate)
            if seat is None:
                made.handlers[number] = (("ear", number, name), lambda name=name: Ear(name, audio))  # type: ignore[misc]  # mypy cannot infer the lambda
            else:
                at_table = partial(SeatEar, seat, name)
                made.handlers[number] = (("seat", seat.number, number, name), at_table)
    return made


def tapped(routing: Routing, heard: MediaAgreement) -> dict[int, str]:
    """Change forwarding routes for audio to copying routes; return decodable codec names by payload type."""
    for number, route in routing.routes.items():
        if route.action is Action.FORWARD and route.clock_rate:
            routing.routes[number] = replace(route, action=Action.COPY)
    return {
        codec.payload_type: codec.key[0]
        for codec in heard.arriving
        if codec.payload_type is not None and codec.is_media and codec.key[0] in CODECS
    }


def routes_between(
    heard: MediaAgreement,
    told: MediaAgreement,
    config: EmbeddedConfig,
    on_digit: Callable[[str, int], None],
    *,
    native: bool = False,
) -> Routing:
    """Return the routing from the speaker's agreement `heard` to the listener's agreement `told`.

    With `native` the plane transcodes; otherwise packet handlers transcode.
    """
    made = Routing()
    forward = payload_map(heard.arriving, told.send)
    target = next((codec for codec in told.send if codec.is_media), None)
    converts = any(codec.is_media and codec.payload_type not in forward for codec in heard.arriving)
    for codec in heard.arriving:
        number = codec.payload_type
        if number is None:
            continue
        if codec.is_event:
            judged = converts or number in heard.contested
            _event(made, codec, forward, told, target, judged, on_digit)
        elif number in forward:
            clock = codec.clock_rate if codec.is_media else 0
            made.routes[number] = Route(action=Action.FORWARD, payload_type=forward[number], clock_rate=clock)
        elif codec.key[0] == NOISE:
            # Comfort noise belongs to the transcoder of its audio.
            made.routes[number] = Route(action=Action.TRANSCODE) if native and converts else DROPPED
        else:
            _converted(made, codec, target, told, config, native=native)
    return made


def without_tones(routing: Routing, heard: MediaAgreement, on_tone: Callable[[str, int], None]) -> None:
    """Insert a gate that detects and removes DTMF tones before each audio route."""
    for codec in heard.arriving:
        number, name = codec.payload_type, codec.key[0]
        route = routing.routes.get(number) if number is not None else None
        if number is None or route is None or not codec.is_media or name not in CODECS:
            continue
        key, inner = routing.handlers.get(number, (None, None))
        if isinstance(key, tuple) and key[0] == "seat":
            continue  # a conference seat detects tones by itself
        out = route.payload_type if route.action is Action.FORWARD else None
        routing.routes[number] = Route(action=Action.PUNT, clock_rate=route.clock_rate, rate_out=route.rate_out)
        routing.handlers[number] = (("tones", name, out, key), partial(_gate, name, on_tone, out, inner))


def with_numbers_read(routing: Routing, heard: MediaAgreement) -> None:
    """Route contested payload types to a `NumberReader`, which drops the packets until the numbering is known."""
    for number, (ours, theirs) in heard.contested.items():
        if ours.is_event or theirs.is_event:
            continue  # EventHandler detects audio by itself
        routing.routes[number] = Route(action=Action.PUNT, clock_rate=ours.clock_rate)
        routing.handlers[number] = (("number", number, ours, theirs), partial(NumberReader, ours, theirs))


def _gate(
    codec: str, on_tone: Callable[[str, int], None], out: int | None, inner: Callable[[], PacketHandler] | None
) -> ToneGate:
    to = inner() if inner is not None else None
    return ToneGate(codec, on_tone, out, to if isinstance(to, Transcoder | Ear) else None)


def video_routes(heard: MediaAgreement, told: MediaAgreement) -> dict[int, Route]:
    """Return the video routes from `heard` to `told`; retransmissions (RFC 4588) are unwrapped to original packets."""
    forward = payload_map(heard.arriving, told.send)
    for codec in heard.arriving:
        # Peers that answer an H.264 offer with a different profile send the answered profile: accept both.
        near = next((each for each in told.send if each.key == codec.key and each.traits[:1] == codec.traits[:1]), None)
        if codec.is_media and codec.payload_type is not None and near is not None and near.payload_type is not None:
            forward.setdefault(codec.payload_type, near.payload_type)
    routes: dict[int, Route] = {}
    for codec in heard.arriving:
        number = codec.payload_type
        if number is None:
            continue
        repeats = payload_number(parameters(codec.fmtp).get("apt", "")) if codec.key[0] == "rtx" else None
        if codec.is_media and number in forward:
            routes[number] = Route(action=Action.FORWARD, payload_type=forward[number], clock_rate=codec.clock_rate)
        elif repeats in forward:
            routes[number] = Route(action=Action.UNWRAP, payload_type=forward[repeats])
        else:
            routes[number] = Route(action=Action.DROP, clock_rate=codec.clock_rate if codec.is_media else 0)
    return routes


_FORMS = {"vp8": Format.VP8, "h264": Format.H264, "vp9": Format.VP9, "av1": Format.AV1}


def fed_types(heard: MediaAgreement, told: MediaAgreement) -> dict[int, Fed]:
    """Return the video payload types of `video_routes` for `Plane.feed`, with their key frame formats."""
    names = {codec.payload_type: codec.key[0] for codec in told.send}
    return {
        number: Fed(payload_type=route.payload_type, form=_FORMS.get(names.get(route.payload_type, ""), Format.ANY))
        for number, route in video_routes(heard, told).items()
        if route.action in (Action.FORWARD, Action.UNWRAP)
    }


def unrouted(heard: MediaAgreement) -> dict[int, Route]:
    """Return routes that send video to no flow by itself, so that only fed streams receive the video."""
    return {
        codec.payload_type: Route(action=Action.DROP, clock_rate=codec.clock_rate)
        if codec.is_media
        else Route(action=Action.UNWRAP)
        for codec in heard.arriving
        if codec.payload_type is not None and (codec.is_media or codec.key[0] == "rtx")
    }


def repeat_types(told: MediaAgreement) -> dict[int, int]:
    """Return the peer's rtx payload types by the payload type that each repeats (RFC 4588 section 8.1)."""
    types = {
        media: codec.payload_type
        for codec in told.send
        if codec.key[0] == "rtx" and (media := payload_number(parameters(codec.fmtp).get("apt", ""))) is not None
    }
    return {number: again for number, again in types.items() if again is not None}


def require_common(heard: MediaAgreement, told: MediaAgreement, config: EmbeddedConfig) -> None:
    """Raise MediaError 488 if no codec of the speaker can be forwarded or transcoded to the listener."""
    forward = payload_map(heard.arriving, told.send)
    target = next((codec for codec in told.send if codec.is_media), None)
    for codec in heard.arriving:
        if codec.is_media and (codec.payload_type in forward or _can_convert(codec, target, config)):
            return
    raise MediaError("no audio codec in common, and none can be turned into the other", 488)


def _can_convert(codec: Codec, target: Codec | None, config: EmbeddedConfig) -> bool:
    names = codec.key[0], target.key[0] if target is not None else ""
    return config.transcode and codec.is_media and CODECS.issuperset(names)


def _read_only(made: Routing, codec: Codec, on_digit: Callable[[str, int], None]) -> None:
    number, clock = codec.payload_type, codec.clock_rate
    if number is not None:
        made.routes[number] = Route(action=Action.PUNT)
        made.handlers[number] = (("event", number, clock), lambda: EventHandler(clock, on_digit))


def _event(
    made: Routing,
    codec: Codec,
    forward: dict[int, int],
    told: MediaAgreement,
    target: Codec | None,
    judged: bool,
    on_digit: Callable[[str, int], None],
) -> None:
    """Route telephone events: forwarded by the plane if the clock equals the stream's, otherwise re-timed by a handler.

    `judged` requires a handler, because the number may carry audio or the stream is transcoded.
    """
    number, clock, events = codec.payload_type, codec.clock_rate, told.send_events
    rate_out = target.clock_rate if target is not None else 8000
    if number is None:
        return
    if not events:
        _read_only(made, codec, on_digit)
        return
    if number in forward and clock == rate_out and not judged:
        made.routes[number] = Route(action=Action.COPY, payload_type=forward[number])
        made.handlers[number] = (("event", number, clock), lambda: EventHandler(clock, on_digit))
        return
    clock_out = rate_out if rate_out in events else clock if clock in events else next(iter(events))
    payload_type = events[clock_out]
    made.routes[number] = Route(action=Action.PUNT)
    made.handlers[number] = (
        ("event", number, clock, payload_type, clock_out, rate_out),
        lambda: EventHandler(clock, on_digit, payload_type=payload_type, clock_out=clock_out, rate_out=rate_out),
    )


def _converted(
    made: Routing, codec: Codec, target: Codec | None, told: MediaAgreement, config: EmbeddedConfig, *, native: bool
) -> None:
    """Route a codec through a transcoder; the handler's key keeps an existing transcoder if nothing changed."""
    number = codec.payload_type
    if number is None:
        return
    if target is None or target.payload_type is None or not _can_convert(codec, target, config):
        clock = codec.clock_rate if codec.is_media else 0
        made.routes[number] = Route(action=Action.DROP, clock_rate=clock)
        return
    names, out, frame_ms = (codec.key[0], target.key[0]), target.payload_type, frame_length(told)
    opus = config.opus.for_listener(target.fmtp) if names[1] == "opus" else config.opus
    clocks = codec.clock_rate, target.clock_rate
    if native:
        noise = next((each.payload_type for each in told.send if each.key[0] == NOISE), None)
        conversion = Conversion(
            source=names[0],
            target=names[1],
            frame_ms=frame_ms,
            noise=noise,
            opus=opus,
        )
        made.routes[number] = Route(
            action=Action.TRANSCODE, payload_type=out, clock_rate=clocks[0], rate_out=clocks[1], conversion=conversion
        )
        return
    made.routes[number] = Route(action=Action.PUNT, clock_rate=clocks[0], rate_out=clocks[1])
    made.handlers[number] = (
        ("transcode", names, out, frame_ms, opus),
        lambda: Transcoder(*names, out, frame_ms, opus),
    )


def frame_length(told: MediaAgreement) -> int:
    """Return the packet duration in milliseconds nearest to the listener's a=ptime, within its a=maxptime."""
    usable = [ptime for ptime in PTIMES if told.maxptime is None or ptime <= told.maxptime] or [PTIMES[0]]
    return min(usable, key=lambda ptime: abs(ptime - (told.ptime or 20)))
