"""kill -9 of `gateway run` in mid call: audio goes on, the next gateway takes it up, no key and index comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pylibsrtp import Session

from bench.callee import Callee
from bench.calls import FORWARDED, Leg, calls_through
from bench.generator import SessionKey
from bench.process import environment, running
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from sdp import SessionDescription
from tests import peers
from tests.media.plane_rig import library_session, until
from tests.media.tone_support import Listening, Waits, frames, longest_gap, prefer_plane, speak, strength
from tests.ports import listening

MOST = 3000
"""Packets that are spoken while one gateway dies and the next starts: a minute, which is long for it."""
SOME = 40
LONGEST_GAP = 0.06
TONES = {"browser": 440, "phone": 1000}
HEADER = 12
BINDING_RESPONSE = b"\x01\x01"

pytestmark = [pytest.mark.wall, pytest.mark.serial]


@dataclass
class SdesPhone(Callee):
    """A phone whose RTP is protected with keys in its SDP (RFC 4568)."""

    keys: list[tuple[SrtpKey, SrtpKey]] = field(default_factory=list)
    """Of each call what the gateway sends with and what the phone sends with."""

    def _answer(self, number: str, body: bytes) -> str:
        known = number in self.calls
        plain = super()._answer(number, body)
        crypto = SessionDescription.parse(body).media[0].value("crypto")
        assert crypto is not None
        tag, suite, inline, *_ = crypto.split()
        if not known:
            profile = SrtpProfile.from_suite(suite)
            assert profile is not None
            self.keys.append((SrtpKey.from_inline(suite, inline), SrtpKey.generate(profile, secrets.token_bytes)))
        secured = plain.replace("RTP/AVP", "RTP/SAVP")
        return f"{secured}a=crypto:{tag} {suite} {self.keys[-1][1].to_inline()}\r\n"


def protect(key: SessionKey, packet: bytes) -> bytes:
    """SRTP with AES-GCM, before the first roll-over (RFC 7714 sections 8.1 and 9.1)."""
    return packet[:HEADER] + AESGCM(key.key).encrypt(_nonce(key, packet), packet[HEADER:], packet[:HEADER])


def opened(key: SessionKey, packet: bytes) -> bytes:
    """The payload of one that was protected so."""
    return AESGCM(key.key).decrypt(_nonce(key, packet), packet[HEADER:], packet[:HEADER])


def _nonce(key: SessionKey, packet: bytes) -> bytes:
    """Two zeros, SSRC, roll-over counter and sequence number, combined with the salt."""
    plain = bytes(2) + packet[8:12] + bytes(4) + packet[2:4]
    return bytes(one ^ other for one, other in zip(plain, key.salt, strict=True))


@dataclass(frozen=True, slots=True)
class Stream:
    """What the gateway sent under one key."""

    key: bytes
    rtcp_tail: int
    """Octets behind the index of an SRTCP packet."""
    heard: Listening

    def indices(self) -> Iterator[Any]:
        """Of every packet what must not come again under one key, RTP (before a roll-over) and RTCP apart."""
        for packet in self.heard.wire:
            yield self.key, "rtp", packet[8:12], packet[2:4]
        for packet in self.heard.reports:
            end = len(packet) - self.rtcp_tail
            yield self.key, "rtcp", packet[4:8], packet[end - 4 : end]


@dataclass(slots=True)
class Talk:
    """One call whose ends are ours: tones go both ways, what is heard is kept."""

    leg: Leg
    key: SrtpKey
    """What the gateway protects with toward the phone."""
    at_browser: Listening
    at_phone: Listening
    to_phone: Session
    """What the phone opens and protects with."""
    of_phone: Session

    @classmethod
    def of(cls, leg: Leg, phone: SdesPhone) -> Talk:
        sent, own = phone.keys[-1]
        at_browser, at_phone = Listening(leg.browser.socket), Listening(leg.phone.socket)
        inbound, outbound = library_session(sent, inbound=True), library_session(own, inbound=False)
        return cls(leg, sent, at_browser, at_phone, inbound, outbound)

    def speak(
        self, packets: int, enough: Callable[[], bool] = lambda: False
    ) -> asyncio.Future[tuple[list[float], list[float]]]:
        """A tone of each end; when the packets of browser and phone were sent."""
        leg, started = self.leg, asyncio.get_running_loop().time()
        browser, phone = leg.browser.socket, leg.phone.socket

        def say(packet: bytes) -> None:
            browser.sendto(protect(leg.connected.send, packet), leg.connected.remote)

        def say_back(packet: bytes) -> None:
            phone.sendto(self.of_phone.protect(packet), leg.phone.remote)

        return asyncio.gather(
            speak(say, frames(TONES["browser"]), packets, started, enough),
            speak(say_back, frames(TONES["phone"]), packets, started, enough),
        )

    def heard(self, packets: int) -> Callable[[], bool]:
        """Whether both ends have got so many."""
        return lambda: min(len(self.at_browser.wire), len(self.at_phone.wire)) >= packets

    def streams(self) -> list[Stream]:
        """What the gateway sends."""
        return [
            Stream(self.leg.connected.receive.key, SrtpProfile.AEAD_AES_128_GCM.rtcp_tail, self.at_browser),
            Stream(self.key.material, self.key.profile.rtcp_tail, self.at_phone),
        ]

    def stop(self) -> None:
        self.at_browser.stop()
        self.at_phone.stop()


def environment_of(state_dir: Path, phone: SdesPhone) -> dict[str, str]:
    """Of a gateway whose packets are the native plane's and both of whose legs are SRTP."""
    peers.plane()
    settings = {"MEDIA__PLANE": "native", "RTP__SRTP": "required", "CODECS__WEBRTC": ["pcmu"], "CODECS__RTP": ["pcmu"]}
    return environment(str(state_dir), phone.port, **listening(), **settings)


def is_bound(address: str) -> bool:
    """Whether the UDP port of that IPv4 address is anybody's."""
    return f":{int(address.rpartition(':')[2]):04X} " in Path("/proc/net/udp").read_text(encoding="ascii")


def assert_nothing_repeats(streams: list[Stream]) -> None:
    """Every stream has a key of its own, and no index comes twice under any."""
    assert len({stream.key for stream in streams}) == len(streams)
    times = Counter(index for stream in streams for index in stream.indices())
    assert [index for index, count in times.items() if count > 1] == []


@pytest.mark.core
async def test_a_call_outlives_the_gateway_that_made_it(tmp_path: Path) -> None:
    """No gap over 60 ms either way, checks answered; the next gateway takes it up without one, with keys of its own."""
    phone, next_phone = await SdesPhone.open(), await SdesPhone.open()
    logs = tmp_path / "first.log", tmp_path / "second.log"
    environ = environment_of(tmp_path, phone)
    following = environ | {"GATEWAY_ROUTES": environ["GATEWAY_ROUTES"].replace(str(phone.port), str(next_phone.port))}
    with contextlib.closing(phone), contextlib.closing(next_phone):
        async with running(environ, logs[0]) as first, calls_through(first, phone, FORWARDED) as calls:
            await calls.grow(1)
            prefer_plane(tmp_path)
            talk = Talk.of(calls.legs[0], phone)
            plane, over = first.plane(), asyncio.Event()
            assert plane is not None
            waits = Waits(plane)

            def enough() -> bool:
                waits.look()
                return over.is_set()

            speaking = talk.speak(MOST, enough)
            await until(talk.heard(SOME))
            first.process.kill()
            await asyncio.to_thread(first.process.wait)
            checks = len(talk.at_browser.others)
            talk.leg.browser.socket.sendto(talk.leg.connected.consent, talk.leg.connected.remote)
            await until(lambda: any(each.startswith(BINDING_RESPONSE) for each in talk.at_browser.others[checks:]))
            async with running(following, logs[1]) as second, calls_through(second, next_phone, FORWARDED) as others:
                assert "calls of the gateway before" in logs[1].read_text()
                assert "resumed=1 ended=0" in logs[1].read_text()
                await until(talk.heard(max(len(talk.at_browser.wire), len(talk.at_phone.wire)) + SOME))
                over.set()
                by_browser, by_phone = await speaking
                await until(lambda: len(talk.at_browser.wire) >= len(by_phone))
                await until(lambda: len(talk.at_phone.wire) >= len(by_browser))
                waits.look()
                assert max(len(by_browser), len(by_phone)) < MOST
                assert longest_gap(by_phone, talk.at_browser.times, waits) < LONGEST_GAP
                assert longest_gap(by_browser, talk.at_phone.times, waits) < LONGEST_GAP
                at_browser = [opened(talk.leg.connected.receive, packet) for packet in talk.at_browser.wire]
                at_phone = [talk.to_phone.unprotect(packet)[HEADER:] for packet in talk.at_phone.wire]
                assert strength(at_browser, TONES["phone"]) > 0.9
                assert strength(at_phone, TONES["browser"]) > 0.9
                await others.grow(1)
                another = Talk.of(others.legs[0], next_phone)
                await another.speak(SOME)
                await until(another.heard(SOME))
                another.stop()
                assert_nothing_repeats([*talk.streams(), *another.streams()])
            talk.stop()


@pytest.mark.core
async def test_when_the_plane_dies_its_calls_end_and_the_next_have_keys_of_their_own(tmp_path: Path) -> None:
    """The phone hears BYE; the gateway has another plane, and what that protects repeats nothing."""
    phone, log = await SdesPhone.open(), tmp_path / "log"
    environ = environment_of(tmp_path, phone)
    with contextlib.closing(phone):
        async with running(environ, log) as gateway, calls_through(gateway, phone, FORWARDED) as calls:
            await calls.grow(1)
            talk = Talk.of(calls.legs[0], phone)
            speaking = talk.speak(2 * SOME)
            await until(talk.heard(SOME))
            plane = gateway.plane()
            assert plane is not None
            os.kill(plane, signal.SIGKILL)
            await until(lambda: phone.ended == 1)
            await speaking
            await until(lambda: gateway.plane() not in (None, plane) and is_bound(environ["GATEWAY_WEBRTC__LISTEN"]))
            await calls.grow(2)
            another = Talk.of(calls.legs[1], phone)
            await another.speak(SOME)
            await until(another.heard(SOME))
            talk.stop()
            another.stop()
            assert len(talk.at_phone.wire) < 2 * SOME
            assert_nothing_repeats([*talk.streams(), *another.streams()])
