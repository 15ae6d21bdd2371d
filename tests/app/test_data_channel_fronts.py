"""A data channel through each front of a whole gateway: one message to 600, and the same one back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.client import GatewayClient
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.media.data_support import Talker, opened
from tests.media.engine_support import until

MESSAGES: list[str | bytes] = ["héllo", bytes(range(256))]
Talks = Callable[[], Coroutine[Any, Any, None]]


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "gateway.log") as running:
        yield running


async def by_http(gateway: Gateway, browser: Talker, talks: Talks) -> None:
    """`POST /webrtc/offer`."""
    password = gateway.app.password("alice")
    async with GatewayClient(gateway.web, user="alice", password=password) as client:
        answer = await client.send_offer(await browser.offer(), to="600")
        await browser.take_answer(answer.sdp)
        await talks()
        await client.close_session(answer.session_id)


async def by_json_rpc(gateway: Gateway, browser: Talker, talks: Talks) -> None:
    """`offer` and its answer, as the page has them."""
    page = await gateway.browser("alice")
    await page.ask("offer", to_peer_id="600", sdp=await browser.offer(), type="offer")
    await browser.take_answer((await page.notified("answer"))["sdp"])
    await talks()
    await page.ask("disconnect", peer_id="600")


async def by_sip(gateway: Gateway, browser: Talker, talks: Talks) -> None:
    """An INVITE over WebSocket (RFC 7118)."""
    domain = gateway.config.domain
    url = gateway.web.replace("http", "ws", 1) + "/sip"
    phone = await WebSocketPhone.open(url, "1001", domain, PASSWORDS["1001"])
    echo, contact = Uri.of("600", domain), NameAddr.parse(f"<{CONTACT}>")
    answer = await phone.ask("INVITE", echo, echo, contact, (await browser.offer()).encode())
    assert answer.status == 200
    await browser.take_answer(answer.body.decode())
    await talks()
    [call] = gateway.app.calls
    call.stop()
    await phone.send(build.response(await phone.request("BYE"), 200))
    await phone.close()


@pytest.mark.parametrize("front", [by_http, by_json_rpc, by_sip])
async def test_a_message_goes_to_the_echo_and_back(
    gateway: Gateway, front: Callable[[Gateway, Talker, Talks], Coroutine[Any, Any, None]]
) -> None:
    """Text and octets, by a channel that the browser has opened."""
    browser = Talker()
    channel = browser.open("chat")

    async def talks() -> None:
        await opened(channel)
        for message in MESSAGES:
            channel.send(message)
        await until(lambda: browser.messages == [("chat", message) for message in MESSAGES])

    try:
        await front(gateway, browser, talks)
    finally:
        await browser.close()
