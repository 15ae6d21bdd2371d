"""Seeds: octets that take the parsers of what strangers send by every way that was found, kept for CI to try again.

    python -m tests.seeds --seconds 60

goes on where the last search ended: it mutates what is kept, and keeps what runs through lines of a parser in an order
that nothing before did (pairs of lines, as coverage-guided fuzzers count). Octets at which a parser fails are written
down as well: tests/test_seeds.py fails on them until the parser does not. The seeds are lines of zlib in base64 in
tests/data/seeds/KIND.txt; hunted.json beside them has how much processor time and how many inputs went into each kind.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from gateway.media.embedded.plane import rtcp, stun
from gateway.media.embedded.plane.packet import RtpError, RtpPacket
from gateway.media.embedded.webrtc import stun as webrtc_stun
from gateway.media.rtpengine import bencode
from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.message import Request
from gateway.sip.message.multipart import parts_of
from gateway.sip.message.parser import parse_message
from gateway.sip.requests.checks import Capabilities
from gateway.sip.requests.inspection import inspect_ack, inspect_credentials, inspect_request, inspect_response
from gateway.web.rpc import codec
from sdp import SdpError, SdpSyntaxError, SessionDescription, negotiate, read_codecs

FOLDER = Path(__file__).parent / "data" / "seeds"
HUNTED = "hunted.json"
MOST = 1_000
"""Seeds of one kind; where so many each have a way of their own, only faults are looked for."""
LONGEST = 4_096
"""Octets of one seed."""
_KEEP_EVERY = 60.0
"""Processor seconds after which what was found is written down."""


def _sip(data: bytes) -> None:
    message = parse_message(data)
    if isinstance(message, Request):
        inspect_request(message, Capabilities())
        inspect_credentials(message)
        inspect_ack(message)
    else:
        inspect_response(message)
    parts_of(message)
    parse_message(message.write())


def _sdp(data: bytes) -> None:
    description = SessionDescription.parse(data)
    assert SessionDescription.parse(str(description)) == description
    readers: list[Callable[[], object]] = [
        description.to_dict,
        lambda: negotiate(description, description, local="answerer"),
        lambda: (description.origin, description.timings, description.repeats, description.zones),
    ]
    for media in description.media:
        readers += [
            partial(read_codecs, media),
            partial(description.connection_of, media),
            partial(description.direction_of, media),
            *(partial(getattr, media, name) for name in ("candidates", "cryptos", "rtpmaps", "fmtps", "mid")),
        ]
    for read in readers:
        with suppress(SdpError):
            read()


def _stun(data: bytes) -> None:
    with suppress(stun.StunError):
        webrtc_stun.mapped_address(webrtc_stun.parse(data))
    stun.parse_binding_request(data)


def _rtp(data: bytes) -> None:
    with suppress(RtpError):
        RtpPacket.parse(data)
    rtcp.parse_compound(data)


def _json(data: bytes) -> None:
    codec.parse(data.decode("utf-8", "replace"), 10, 10)


def _ng(data: bytes) -> None:
    bencode.decode(data)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is parsed how."""

    parse: Callable[[bytes], None]
    errors: tuple[type[Exception], ...]
    """What it may raise, and nothing else."""
    rooms: tuple[str, ...]
    """Whose lines count."""
    first: tuple[bytes, ...]
    """What to begin with where nothing is kept."""
    fit: Callable[[bytes], bytes] = bytes
    """Puts right what would have a parser look no further."""


_OFFER = (
    b"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 192.0.2.1/127\r\nb=AS:64\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
    b"m=audio 9/2 UDP/TLS/RTP/SAVPF 111 0 126\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
    b"a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host generation 0\r\na=ssrc:1 cname:x\r\na=rtcp-mux\r\n"
    b"a=fingerprint:sha-256 AA:BB\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:YWJj|2^20|1:4\r\na=sendrecv\r\n"
    b"m=video 0 RTP/AVP 96\r\ni=x\r\na=rtcp-fb:96 nack pli\r\na=extmap:1/sendonly urn:x y\r\na=simulcast:send 1;~2\r\n"
)
_CHECK = webrtc_stun.Check(username="aaaa:bbbb", password="p" * 22).write(bytes(12), 1)
_MAPPED = stun.success_response(bytes(12), ("192.0.2.1", 3478), b"key")


def _fitted(data: bytes) -> bytes:
    """With the length and the FINGERPRINT that it should have."""
    body = data[20:-8]
    body += bytes(-len(body) % 4)
    head = data[:2].ljust(2, b"\0") + (len(body) + 8).to_bytes(2) + data[4:20].ljust(16, b"\0")
    return head + body + stun.FINGERPRINT_HEADER + (zlib.crc32(head + body) ^ stun.FINGERPRINT_XOR).to_bytes(4)


_REPORT = bytes.fromhex(
    "81c8000c0000000100000002000000030000000400000005000000060000000702000008000000090000000a0000000b"
)

KINDS = {
    "sip": Kind(
        _sip,
        (SipSyntaxError,),
        ("gateway/sip/",),
        (
            b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
            b"To: <sip:a@b>\r\n"
            b'Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContact: "A" <sip:a@[::1]:5060;lr>;q=0.5\r\n'
            b'Authorization: Digest username="a", realm="b", nonce="c", uri="sip:b", response="d"\r\n'
            b"Content-Length: 0\r\n\r\n",
        ),
    ),
    "sdp": Kind(_sdp, (SdpSyntaxError,), ("/sdp/",), (_OFFER,)),
    "stun": Kind(_stun, (stun.StunError,), ("stun.py",), (_CHECK, _MAPPED), _fitted),
    "rtp": Kind(
        _rtp,
        (RtpError,),
        ("plane/packet.py", "plane/rtcp.py"),
        (
            b"\x90\x80" + bytes(10) + b"\xbe\xde\x00\x01" + bytes(8),
            _REPORT,
            b"\x81\xca\x00\x03" + b"\0\0\0\x01\x01\x02ab\0\0\0\0",
            b"\x81\xcb\x00\x01\0\0\0\x01",
            b"\x81\xce\x00\x02" + bytes(8),
            b"\xb0\x00" + bytes(30) + b"\x04",
        ),
    ),
    "json": Kind(
        _json,
        (),
        ("web/rpc/codec.py", "web/checks.py", "json"),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "offer", "params": {"a": [1, -2.5e3, "\\u00e9", null, true]}}',
            b'[{"jsonrpc": "2.0", "method": "x", "params": [1]}, {"jsonrpc": "2.0", "id": null, "result": {}}]',
        ),
    ),
    "ng": Kind(_ng, (bencode.BencodeError,), ("bencode.py",), (b"d6:result2:ok4:listli1ei-2e3:abce3:sdp0:e",)),
}
_WORDS = (
    b"\r\n",
    b";",
    b"=",
    b",",
    b"<",
    b">",
    b'"',
    b"\\",
    b"%00",
    b"\0",
    b"\xff",
    b"-1",
    b"0",
    b"4294967296",
    b" ",
    b"\t",
    b":",
    b"@",
    b"[",
    b"]",
    b"{",
    b"}",
)


def seeds(kind: str, folder: Path = FOLDER) -> list[bytes]:
    """What is kept of that kind."""
    text = (folder / f"{kind}.txt").read_text(encoding="ascii")
    return [zlib.decompress(base64.b64decode(line)) for line in text.splitlines()]


def fault(kind: Kind, data: bytes) -> Exception | None:
    """What a parser raises that it may not."""
    try:
        kind.parse(data)
    except kind.errors:
        return None
    except Exception as error:
        return error
    return None


def _outcome(kind: Kind, data: bytes) -> str:
    """What comes of it, in words without numbers and names of the octets."""
    try:
        kind.parse(data)
    except Exception as error:
        return re.sub(r"\d+|'.*'|\".*\"", "", f"{type(error).__name__}: {error}")[:60]
    return ""


class Ways:
    """The pairs of lines that were run one after the other, about how often, and what came of it."""

    def __init__(self, rooms: Sequence[str]) -> None:
        self._rooms = tuple(rooms)
        self._files: dict[str, bool] = {}
        self._seen: set[tuple[str, int, int, int]] = set()

    def are_new(self, kind: Kind, data: bytes) -> bool:
        """Whether something was run as nothing before."""
        found: Counter[tuple[str, int, int]] = Counter()

        def called(frame: FrameType, event: str, _: Any) -> Any:
            name = frame.f_code.co_filename
            if name not in self._files:
                self._files[name] = any(room in name for room in self._rooms)
            if not self._files[name]:
                return None
            before = 0

            def line(frame: FrameType, event: str, _: Any) -> Any:
                nonlocal before
                found[name, before, frame.f_lineno] += 1
                before = frame.f_lineno
                return line

            return line

        sys.settrace(called)
        try:
            outcome = _outcome(kind, data)
        finally:
            sys.settrace(None)
        ways = {(*pair, times.bit_length()) for pair, times in found.items()} | {(outcome, 0, 0, 0)}
        new = not ways <= self._seen
        self._seen |= ways
        return new


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Some octets changed, taken, put in, or from another seed."""
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(len(data) + 1)
        end = min(len(data), place + chance.choice((1, 1, 2, 4, 16, 64)))
        match chance.randrange(6):
            case 0:
                data = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
            case 1:
                data = data[:place] + data[end:]
            case 2:
                data = data[:place] + chance.choice(_WORDS) + data[place:]
            case 3:
                data = data[:end] + data[place:end] * chance.choice((1, 1, 2, 30)) + data[end:]
            case 4:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                data = data[:place] + other[start : start + chance.choice((4, 16, 80, 400))] + data[end:]
            case _:
                lines = data.split(b"\r\n")
                chance.shuffle(lines) if chance.random() < 0.2 else lines.insert(
                    0, lines.pop(chance.randrange(len(lines)))
                )
                data = b"\r\n".join(lines)
    return data[:LONGEST]


def hunted(folder: Path = FOLDER) -> dict[str, dict[str, int]]:
    """Processor `seconds` and `inputs` that went into each kind so far."""
    path = folder / HUNTED
    found: dict[str, dict[str, int]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def thinned(kind: Kind, kept: Sequence[bytes]) -> list[bytes]:
    """Those of them that take, the newest first, a way that no newer one has taken: all ways are taken still."""
    ways = Ways(kind.rooms)
    return [data for data in reversed(kept) if ways.are_new(kind, data)][::-1]


def grow(name: str, seconds: float, folder: Path = FOLDER) -> tuple[int, int]:
    """Look for more of a kind for so much processor time; how many there are then, and how many were tried."""
    kind, ways = KINDS[name], Ways(KINDS[name].rooms)
    known = [*kind.first, *(seeds(name, folder) if (folder / f"{name}.txt").exists() else _given(name))]
    before = hunted(folder).get(name, {"seconds": 0, "inputs": 0})
    chance, tried = random.Random(f"{name} {before['inputs']}"), 0
    begun = kept_at = time.process_time()
    kept = [data for data in dict.fromkeys(known) if ways.are_new(kind, data)]
    while (now := time.process_time()) - begun < seconds:
        if now - kept_at > _KEEP_EVERY:
            kept_at = now
            _keep(name, folder, kept, before, now - begun, tried)
        data = mutated(chance.choice(kept), kept, chance)
        if chance.random() < 0.8:
            data = kind.fit(data)
        tried += 1
        error = fault(kind, data)
        if error is not None:
            sys.stdout.write(f"{name}: {type(error).__name__}: {error}: {data!r}"[:300] + "\n")
        if (error is not None or len(kept) < MOST) and ways.are_new(kind, data):
            kept.append(data)
            kept = thinned(kind, kept) if len(kept) == MOST else kept
    _keep(name, folder, kept, before, time.process_time() - begun, tried)
    return len(kept), tried


def _keep(name: str, folder: Path, kept: list[bytes], before: dict[str, int], seconds: float, tried: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [base64.b64encode(zlib.compress(data, 9)).decode() + "\n" for data in kept]
    _write(folder / f"{name}.txt", "".join(lines))
    all_kinds = hunted(folder)
    all_kinds[name] = {"seconds": before["seconds"] + round(seconds), "inputs": before["inputs"] + tried}
    _write(folder / HUNTED, json.dumps(all_kinds, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a search may be stopped at any time."""
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="ascii")
    os.replace(draft, path)


def _given(name: str) -> list[bytes]:
    folders = {"sip": ("rfc4475/*.dat", "sip/*.txt")}.get(name, ())
    return [path.read_bytes() for pattern in folders for path in sorted((Path(__file__).parent / "data").glob(pattern))]


def main() -> None:
    """Look for more of every kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.seeds", description="Look for more seeds of the parsers.")
    parser.add_argument("--seconds", type=float, default=60, help="of a processor, for each kind (default 60)")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="of these alone (may come more than once)")
    given = parser.parse_args()
    for name in given.kind or KINDS:
        count, tried = grow(name, given.seconds)
        sys.stdout.write(f"{name}: {count} seeds, {tried} tried\n")


if __name__ == "__main__":
    main()
