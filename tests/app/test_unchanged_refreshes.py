"""A phone repeats what stands, whoever has offered last: the answer fits that offer, and nobody else hears of it."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import pytest

from gateway.app import GatewayApp
from sdp import negotiate
from sdp.description import SessionDescription
from tests.app.desk import Desk, Kind, desks, direction_in
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.media.rtpengine_support import shared
from tests.rows import by_row

USERS = json.dumps([{"id": user, "sip": True, "may_call": ["*"]} for user in ("1001", "1002")])
CALLER_HZ, CALLEE_HZ = 400.0, 700.0
COMPLEMENT = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}

Side = Literal["caller", "callee"]
Act = Callable[[GatewayApp, Desk, Desk], Awaitable[Desk]]
"""Makes a call of two phones and gives the one that is to repeat itself."""


async def talk(app: GatewayApp, caller: Desk, callee: Desk, body: bytes | None = None) -> None:
    caller.dial(app, callee.user, body)
    await caller.is_up()
    await callee.is_up()


async def gateway_invited(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee)
    return callee


async def phone_invited(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee)
    return caller


async def invited_without_offer(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee, b"")
    return caller


async def gateway_held(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee)
    caller.holds = True
    assert (await caller.offer("INVITE"))[0] == 200
    return callee


async def gateway_resumed(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await gateway_held(app, caller, callee)
    caller.holds = False
    assert (await caller.offer("INVITE"))[0] == 200
    return callee


async def phone_held(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee)
    callee.holds = True
    assert (await callee.offer("INVITE"))[0] == 200
    return callee


async def both_held(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await phone_held(app, caller, callee)
    caller.holds = True
    assert (await caller.offer("INVITE"))[0] == 200
    return callee


async def reinvited_without_offer(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee)
    before = len(callee.offers)
    callee.session.request_offer()
    await until(lambda: len(callee.offers) > before)
    return callee


async def video_refused(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await talk(app, caller, callee, caller.describe(video=True))
    return callee


async def video_refused_to_the_phone(app: GatewayApp, caller: Desk, callee: Desk) -> Desk:
    await video_refused(app, caller, callee)
    return caller


ACTS: tuple[Act, ...] = (
    gateway_invited,
    phone_invited,
    invited_without_offer,
    gateway_held,
    gateway_resumed,
    phone_held,
    both_held,
    reinvited_without_offer,
    video_refused,
    video_refused_to_the_phone,
)


def check(offer: bytes, answer: bytes) -> None:
    """Hold an answer against RFC 3264 section 6, RFC 4568 section 5.1.2 and RFC 5763 section 5."""
    asked, said = SessionDescription.parse(offer), SessionDescription.parse(answer)
    negotiate(asked, said, local="offerer")
    assert len(said.media) == len(asked.media)
    for one, other in zip(asked.media, said.media, strict=True):
        assert (other.kind, other.protocol) == (one.kind, one.protocol)
        assert set(other.formats) <= set(one.formats)
        assert bool(other.port) <= bool(one.port)
    assert direction_in(answer) == COMPLEMENT[direction_in(offer)]
    tags = re.findall(rb"^a=crypto:(\d+) ", answer, re.MULTILINE)
    assert len(tags) == min(1, offer.count(b"a=crypto:"))
    assert set(tags) <= set(re.findall(rb"^a=crypto:(\d+) ", offer, re.MULTILINE))
    assert b"a=setup:actpass" not in answer
    assert (b"a=setup:" in answer) == (b"a=setup:" in offer)


@by_row("kind", ["rtp", "sdes", "dtls"])
@by_row("act", ACTS, ids=lambda act: act.__name__)
async def test_an_unchanged_offer_gets_an_answer_to_exactly_it(tmp_path: Path, act: Act, kind: Kind) -> None:
    """By re-INVITE and by UPDATE, twice the same; the other phone is asked nothing, and both are as they were."""
    await repeat_after(tmp_path, act, kind)


@pytest.mark.wall
@by_row("kind", ["rtp", "sdes"])
@by_row("act", [act for act in ACTS if act is not invited_without_offer], ids=lambda act: act.__name__)
async def test_an_unchanged_offer_gets_such_an_answer_from_rtpengine(tmp_path: Path, act: Act, kind: Kind) -> None:
    """Which makes no first offer of its own."""
    host, port = shared().address
    await repeat_after(tmp_path, act, kind, MEDIA__ENGINE=f"rtpengine:{host}:{port}")


async def repeat_after(tmp_path: Path, act: Act, kind: Kind, **more: str) -> None:
    """Have one phone offer three times what stands."""
    changes = {"RTP__SRTP": "off" if kind == "rtp" else "required", "RTP__SRTP_KEYING": json.dumps([kind])}
    if kind == "rtp":
        del changes["RTP__SRTP_KEYING"]
    config = config_on_free_ports(tmp_path, USERS=USERS, **changes, **more)
    async with gateway_with(config, tmp_path / "gateway.log", secrets=PASSWORDS.values()) as gateway:
        caller, callee = Desk("1001", kind), Desk("1002", kind)
        async with desks(gateway.app, caller, callee):
            repeats = await act(gateway.app, caller, callee)
            other = caller if repeats is callee else callee
            asked = len(other.offers)
            repeated = repeats.said
            if kind == "dtls":
                repeated = repeated.replace(b"a=setup:active", b"a=setup:actpass")
            answers = []
            for method in ("INVITE", "UPDATE", "INVITE"):
                status, answer = await repeats.offer(method, repeated)
                assert status == 200, method
                check(repeated, answer)
                answers.append(answer)
            assert answers[1:] == answers[:1] * 2
            assert len(other.offers) == asked


@pytest.mark.parametrize("plane", ["python", "native"])
@pytest.mark.parametrize("act", [gateway_invited, gateway_resumed, reinvited_without_offer, invited_without_offer])
async def test_an_unchanged_offer_leaves_the_audio_as_it_is(tmp_path: Path, act: Act, plane: str) -> None:
    """Tones both ways, before and after."""
    config = config_on_free_ports(tmp_path, USERS=USERS, MEDIA__PLANE=plane)
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        caller, callee = Desk("1001"), Desk("1002")
        async with desks(gateway.app, caller, callee):
            repeats = await act(gateway.app, caller, callee)
            caller.rtp.play(CALLER_HZ)
            callee.rtp.play(CALLEE_HZ)
            await until(lambda: caller.hears(CALLEE_HZ) and callee.hears(CALLER_HZ))
            for method in ("INVITE", "UPDATE"):
                assert (await repeats.offer(method, repeats.said))[0] == 200
                caller.rtp.packets.clear()
                callee.rtp.packets.clear()
                await until(lambda: caller.hears(CALLEE_HZ) and callee.hears(CALLER_HZ))
