"""`gateway run` that is ended while somebody says something to a mailbox: what was said is a message all the same."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.media.embedded.audio.codecs import read_audio
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.tone_peers import TONES, Phone
from tests.interop.gateway import PASSWORDS
from tests.interop.house import House, house
from tests.media.engine_support import frequency_of
from tests.media.plane_rig import until
from tests.net.peers import Application

pytestmark = [pytest.mark.wall]

RATE, SAID, LATE = 16_000, 3.0, 1.0
"""Seconds that are said, and those of them that may be missing where the writer was killed."""


async def listed(there: House) -> list[dict[str, Any]]:
    bearer = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
    async with httpx.AsyncClient(base_url=f"http://{there.environ['GATEWAY_WEB__LISTEN']}") as http:
        return list((await http.get("/api/voicemail", headers=bearer)).json()["messages"])


async def begin(there: House, stack: AsyncExitStack) -> Phone:
    """1001 calls alice, who is not there, and speaks after the tone."""
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    stack.push_async_callback(agent.close)
    reached = SimpleNamespace(sip_hostport=f"127.0.0.1:{there.sip}", config=SimpleNamespace(domain="gateway.example"))
    phone = Phone(agent, SimpleNamespace(app=reached), "1001")
    assert await phone.dial("alice") == 200
    stack.push_async_callback(phone.rtp.close)
    await until(lambda: sounds(there) != [])
    await asyncio.sleep(SAID)  # so long is what is said
    return phone


def sounds(there: House) -> list[Path]:
    return sorted(there.folder.glob("voicemail/alice/*.opus"))


SETTINGS = {"VOICEMAIL__USERS": '["alice"]', "RECORDING__MIN_FREE": "0", "LIMITS__DRAIN_TIMEOUT": "0"}


@pytest.mark.parametrize("end", ["terminate", "kill"])
async def test_what_is_being_said_to_a_mailbox_when_the_gateway_ends_is_a_message(end: str, tmp_path: Path) -> None:
    """It is listed and its light is on when the gateway is there again, with what was said up to the last second."""
    async with house(tmp_path, **SETTINGS) as there, AsyncExitStack() as stack:
        await begin(there, stack)
        await getattr(there, end)()
        await there.start()
        (message,) = await listed(there)
        pcm = read_audio(str(sounds(there)[0]), RATE, 60)
        assert (message["caller"], message["new"]) == ("sip:1001@gateway.example", True)
        assert message["seconds"] == pytest.approx(len(pcm) / RATE, abs=0.3)
        assert len(pcm) / RATE > SAID - LATE
        assert abs(frequency_of(pcm[-RATE:], RATE) - TONES["1001"]) < 15
        async with there.browser() as page:
            assert await page.notified("voicemail") == {"new": 1, "old": 0}
