"""Descriptions whose optional lines are dropped, emptied or garbled, against the media engine of calls.

`BASES` are descriptions that a call is made with; `fault` says how a mutated one was refused.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from gateway.legs.sip_bodies import kind_of
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Kind, MediaError, Party
from sdp import SdpError, SessionDescription, answer
from sdp.codecs import STATIC
from tests.media.engine_support import config
from tests.sdp import corpus
from tests.sdp.plans import phone_plan

_KEYS = (
    "1 AEAD_AES_128_GCM inline:" + "A" * 37 + "=",
    "2 AEAD_AES_256_GCM inline:" + "B" * 58 + "A=",
    "3 AES_CM_128_HMAC_SHA1_80 inline:" + "C" * 40,
)
_PRINT = "a=fingerprint:sha-256 " + ":".join(["A1"] * 32)
_HEAD = "v=0|o=- 1 1 IN IP4 127.0.0.1|s=-|c=IN IP4 127.0.0.1|b=CT:128|b=AS:64|t=0 0|a=tool:x"
_AUDIO = (
    "b=AS:64|b=TIAS:64000|b=RS:600|b=RR:1800|a=rtpmap:0 PCMU/8000|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-15|"
    "a=ptime:20|a=maxptime:60|a=rtcp:4001 IN IP4 127.0.0.1|a=sendrecv|a=label:1|a=content:main|a=ssrc:1 cname:x"
)
_OWN = {
    "phone": f"{_HEAD}|m=audio 4000 RTP/AVP 0 101|{_AUDIO}",
    "phone with more than it needs": (
        f"{_HEAD}|m=audio 4000 RTP/AVP 0 101|{_AUDIO}|{_PRINT}|a=setup:actpass|a=crypto:{_KEYS[2]}|a=ice-ufrag:abcd|"
        f"a=ice-pwd:{'p' * 22}|a=candidate:1 1 udp 1 127.0.0.1 4000 typ host|a=mid:0|a=rtcp-mux"
    ),
    "phone with SDES": f"{_HEAD}|m=audio 4000 RTP/SAVP 0 101|{_AUDIO}|" + "|".join(f"a=crypto:{key}" for key in _KEYS),
    "phone with DTLS": (
        f"{_HEAD}|m=audio 4000 UDP/TLS/RTP/SAVP 0 101|{_AUDIO}|{_PRINT}|a=setup:passive|a=rtcp-mux|"
        f"a=tls-id:{'t' * 20}|a=connection:new"
    ),
    "phone with a picture": (
        f"{_HEAD}|m=audio 4000 RTP/AVP 0 101|{_AUDIO}|m=video 4002 RTP/AVP 96|b=AS:500|a=rtpmap:96 VP8/90000|"
        "a=fmtp:96 max-fs=1200|a=rtcp-fb:96 nack pli|a=framerate:30|a=extmap:1 urn:3gpp:video-orientation"
    ),
}
GARBLED: Sequence[str] = (
    "",
    " ",
    ":",
    "x",
    "-1",
    "70000",
    "64.5",
    "99999999999999999999999",
    "0 0 0",
    "inline:",
    "IN IP4 nobody.invalid",
    "\t",
    "\x1b[31m",
    "\0",
    "a\0b",
    "x\r",
    "a\rb",
    "\x0b\x0c\x85\u2028",
    "\u202e\ufffd",
    "=" * 300,
    "x" * 3000,
)
"""Values that say nothing."""
_MAP = re.compile(r"a=rtpmap:(\d+)")
_PUT_IN = ("", " ", ":", ";", "/", "=", "\u00e9")
_NEEDED = {
    Kind.WEBRTC: ("fingerprint", "ice-ufrag", "ice-pwd"),
    Kind.DTLS: ("fingerprint",),
    Kind.SDES: ("crypto",),
}
"""Attributes of the voice of which one readable line must stay, by the kind of party; its payload types must always."""
CALLER = f"{_HEAD}|m=audio 4000 RTP/AVP 0 8 101|{_AUDIO}|a=rtpmap:8 PCMA/8000".replace("|", "\r\n") + "\r\n"


@dataclass(frozen=True, slots=True)
class Base:
    """A description with which a call comes about."""

    name: str
    lines: tuple[str, ...]
    is_answer: bool
    """Said by the callee; else by the caller."""

    @property
    def kind(self) -> Kind:
        return kind_of(written(self.lines))

    @property
    def optional(self) -> list[int]:
        """Indices of the b= and a= lines that the call does not need, and of the c= lines of who does ICE."""
        kind = self.kind
        # An ICE-lite peer sends no checks: ours go to the candidates that it names.
        always = {"rtpmap", "candidate"} if "a=ice-lite" in self.lines else {"rtpmap"}
        needed, types = _NEEDED.get(kind, ()), "abc" if kind is Kind.WEBRTC else "ab"
        starts = [0, *[place for place, line in enumerate(self.lines) if line.startswith("m=")], len(self.lines)]
        found: list[int] = []
        for start, end in pairwise(starts):
            names = [_name(line) for line in self.lines[start:end]]
            spoken = not self.lines[start].startswith("m=") or self.lines[start].startswith("m=audio")
            sole = {name for name in needed if spoken and names.count(name) == 1} | always
            for place, name in enumerate(names, start):
                if self.lines[place][0] in types and name not in sole:
                    found.append(place)
        return found

    def __str__(self) -> str:
        return f"{self.name} as {'an answer' if self.is_answer else 'an offer'}"


def _name(line: str) -> str:
    """Name of an attribute, "" for other lines and for the rtpmap of a static payload type, which needs none."""
    mapped = _MAP.match(line)
    if mapped is not None and int(mapped[1]) in STATIC:
        return ""
    return line[2:].partition(":")[0] if line[0] == "a" else ""


def written(lines: Sequence[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


class Bench:
    """A media engine on loopback, with a loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._numbers = count()
        self._engine = EmbeddedEngine(config())
        self.loop.run_until_complete(self._engine.start())

    def close(self) -> None:
        self.loop.run_until_complete(self._engine.close())
        self.loop.close()

    def refusal(self, base: Base, lines: Sequence[str]) -> str | None:
        """Why no call comes about with these lines in the place of the base's; None where one does."""
        return self.loop.run_until_complete(self._called(base, written(lines)))

    async def _called(self, base: Base, text: str) -> str | None:
        call = f"call {next(self._numbers)}"
        caller, callee = (Party(tag, Kind.RTP) for tag in ("caller", "callee"))
        kind = base.kind
        try:
            if base.is_answer:
                callee = Party("callee", kind)
                await self._engine.offer(call, caller, callee, CALLER)
                answered = await self._engine.answer(call, callee, caller, text)
            else:
                caller = Party("caller", kind)
                offer = await self._engine.offer(call, caller, callee, text)
                plain = answer(SessionDescription.parse(offer), phone_plan())
                answered = await self._engine.answer(call, callee, caller, str(plain))
        except (MediaError, SdpError) as error:
            return str(error)
        finally:
            await self._engine.delete(call)
        media = SessionDescription.parse(answered).media
        return None if any(each.kind == "audio" and each.port for each in media) else "no audio is left"


def bases(bench: Bench) -> list[Base]:
    """Our own descriptions and published ones, as far as a call comes about with them as they are."""
    texts = {name: text.replace("|", "\r\n") for name, text in _OWN.items()}
    texts |= corpus.every()
    found = [
        Base(name, tuple(filter(None, text.splitlines())), is_answer)
        for name, text in texts.items()
        for is_answer in (False, True)
    ]
    return [base for base in found if base.optional and bench.refusal(base, base.lines) is None]


def mutated(base: Base, place: int, chance: random.Random) -> list[str]:
    """The lines with one of them dropped, emptied or garbled."""
    line, lines = base.lines[place], list(base.lines)
    head, mark, value = line.partition(":") if line[0] == "a" else (line[:2], "", line[2:])
    mapped = _MAP.match(line)
    # Another text of an rtpmap may well be another codec.
    way = chance.randrange(4 if mapped is None else 3)
    if way == 0:
        del lines[place]
    elif way == 1:
        lines[place] = head + mark
    elif way == 2:
        said = "" if mapped is None else f"{mapped[1]} "
        lines[place] = head + (mark or ":") * (line[0] == "a") + said + chance.choice(GARBLED)
    else:
        text = list(value)
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.choice((0, 0, 1, 4))] = chance.choice((*_PUT_IN, "\0", "\r", "\x01"))
        lines[place] = head + mark + "".join(text)
    return lines


def fault(bench: Bench, base: Base, lines: Sequence[str]) -> str | None:
    """Say how a call was refused that comes about with the base's own lines; None where it came about."""
    refusal = bench.refusal(base, lines)
    if refusal is None:
        return None
    old, new = set(base.lines), set(lines)
    return f"{base}: {sorted(old - new)} -> {sorted(new - old)} gets {refusal!r}"


def hunt(chance: random.Random) -> Iterator[str | None]:
    """Try one mutation after the other, for ever; give what is wrong with each."""
    bench = Bench()
    try:
        known = bases(bench)
        while True:
            base = chance.choice(known)
            yield fault(bench, base, mutated(base, chance.choice(base.optional), chance))
    finally:
        bench.close()
