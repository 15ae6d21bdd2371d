"""A phone that was given less than audio both ways by its first peer is offered both ways with the next one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.client import GatewayClient
from gateway.identity.model import User
from gateway.sip.message.uri import Uri
from sdp.description import SessionDescription
from tests.app.desk import Desk, desks, direction_in
from tests.app.phones import name_of
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.media.rtpengine_support import shared
from tests.rows import by_row

HZ = {"1001": 400.0, "1002": 700.0, "1003": 1000.0}
USERS = json.dumps(
    [
        {"id": "alice", "web": True, "may_call": ["*"]},
        *[{"id": user, "sip": True, "may_call": ["*"]} for user in HZ],
    ]
)


async def hear_each_other(one: Desk, other: Desk) -> None:
    """Tones both ways, of now."""
    for phone in (one, other):
        phone.rtp.packets.clear()
    await until(lambda: one.hears(HZ[other.user]) and other.hears(HZ[one.user]))


async def agree_on_both_ways(gateway: Gateway, *phones: Desk) -> None:
    """Wait for the last exchange of the only call that is left, and look at what these phones have said in it."""
    await until(lambda: len(gateway.app.calls) == 1)
    [call] = gateway.app.calls
    await until(lambda: call.bridge is not None and call.bridge.exchange is None)
    for phone in phones:
        assert SessionDescription.parse(phone.said).media[0].port
        await until(lambda phone=phone: direction_in(phone.said) == "sendrecv")


async def passed_on(caller: Desk, to: str, status: list[int]) -> None:
    """The caller leaves the call to `to`."""
    caller.session.refer(Uri.parse(to), lambda code, of_refer: status.append(code))
    await until(lambda: 200 in status)


@pytest.mark.parametrize("plane", ["python", "native"])
@by_row("way", ["blind", "attended", "held"])
@by_row("direction", ["sendrecv", "sendonly", "recvonly", "inactive"])
async def test_who_changes_its_peer_is_heard_and_hears(tmp_path: Path, direction: str, way: str, plane: str) -> None:
    """The first peer has sent or heard nothing, or has held the phone, and passes it on to another one."""
    await pass_on(tmp_path, direction, way, MEDIA__PLANE=plane)


@pytest.mark.wall
@by_row("way", ["blind", "attended", "held"])
@by_row("direction", ["sendonly", "recvonly", "inactive"])
async def test_who_changes_its_peer_on_rtpengine_is_heard_and_hears(tmp_path: Path, direction: str, way: str) -> None:
    """The daemon is offered the new peer's words anew."""
    host, port = shared().address
    await pass_on(tmp_path, direction, way, MEDIA__ENGINE=f"rtpengine:{host}:{port}")


async def pass_on(tmp_path: Path, direction: str, way: str, **media: str) -> None:
    """Have a phone pass another one on, which then talks with a third one."""
    config = config_on_free_ports(tmp_path, USERS=USERS, **media)
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        first, again, stays, comes = Desk("1001"), Desk("1001"), Desk("1002"), Desk("1003")
        async with desks(gateway.app, first, again, stays, comes):
            first.direction = again.direction = direction
            first.dial(gateway.app, "1002")
            await first.is_up()
            await stays.is_up()
            to = f"sip:1003@{gateway.app.sip_hostport}"
            if way == "held":
                first.holds = True
                assert (await first.offer("INVITE"))[0] == 200
            elif way == "attended":
                again.dial(gateway.app, "1003")
                await again.is_up()
                await comes.is_up()
                to += f"?Replaces={name_of(again.session).replace(';', '%3B').replace('=', '%3D')}"
            await passed_on(first, to, [])
            await comes.is_up()
            stays.rtp.play(HZ["1002"])
            comes.rtp.play(HZ["1003"])
            await agree_on_both_ways(gateway, stays, comes)
            await hear_each_other(stays, comes)


async def test_a_phone_that_a_listening_program_leaves_hears_its_new_peer(tmp_path: Path) -> None:
    """`GatewayClient.call` without audio says recvonly; an operator passes the phone on."""
    config = config_on_free_ports(tmp_path, USERS=USERS)
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        stays, comes = Desk("1002"), Desk("1003")
        async with desks(gateway.app, stays, comes):
            client = GatewayClient(gateway.web, user="alice", password=PASSWORDS["alice"])
            async with client, await client.call("1002") as heard:
                await heard.answered()
                await stays.is_up()
                assert direction_in(stays.said) == "sendonly"
                [call] = gateway.app.calls
                operator = User("alice", may_call=("*",))
                party = next(leg for leg in call.legs if leg is not call.caller).address.uri
                await gateway.app._conferencing.transfer_call(operator, call.id, "1003", party)
                await comes.is_up()
                stays.rtp.play(HZ["1002"])
                comes.rtp.play(HZ["1003"])
                await agree_on_both_ways(gateway, stays, comes)
                await hear_each_other(stays, comes)
