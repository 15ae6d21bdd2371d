"""A gateway that phones know by its IPv6 address alone."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from tests.app.phones import Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.net.peers import Application
from tests.ports import free_port


@pytest.mark.parametrize("dialled", ["1001@[::1]", "1001@[::1]:{port}"])
async def test_phones_register_and_call_at_its_address(tmp_path: Path, dialled: str) -> None:
    """The address of its listener is one of its names, with brackets as a URI has it, and with or without a port."""
    port = free_port()
    config = config_on_free_ports(tmp_path, SIP__LISTEN=f'["udp:[::1]:{port}", "tcp:[::1]:{port}"]')
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        caller = UserAgent(UserAgentConfig(listen=(("::1", 0),)), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        phone = await TcpPhone.open("::1", port, "1001", "[::1]", PASSWORDS["1001"])
        stack.push_async_callback(phone.close)
        contact = "sip:1001@a.invalid;transport=tcp"
        assert (await phone.register(contact=contact)).status == 200
        uri = f"sip:{dialled.format(port=port)}"
        call = Phone(caller, gateway.app, "1002", request_uri=uri, received=f"udp:[::1]:{port}")
        await phone.answer(await phone.request("INVITE"), contact)
        assert await call.status() == 200
        await phone.request("ACK")
        call.session.hangup()
        await phone.send(build.response(await phone.request("BYE"), 200))
