"""docs/troubleshooting.md: each symptom is caused, and the command under its heading tells which cause it is."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from tests import peers
from tests.app.ws_phone import WebSocketPhone
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module")]

PAGE = Path(__file__).parent.parent.parent / "docs" / "troubleshooting.md"
ADMIN = "admins-own-Secret-0815"
ORIGIN = "https://phone.example.com"


def command(heading: str, word: str) -> str:
    """The command under that heading that has this word, without the remark behind it."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).replace("\\\n", " ").splitlines()
    [found] = [line for line in lines if word in line]
    return re.sub(r"\s{2,}#.*", "", found)


def shell(line: str, folder: Path | None = None) -> str:
    """What a command prints."""
    peers.program("curl", "curl")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False
    )
    return done.stdout


@dataclass(frozen=True)
class Rig:
    """A gateway with an administrator, and a phone that sends no audio."""

    gateway: Gateway
    phone: UserAgent

    async def tells(self, heading: str, word: str, here: str = "") -> Any:
        """The JSON that the command prints; `here` is what stands in it instead of `word`."""
        line = command(heading, word).replace("http://127.0.0.1:8080", self.gateway.web).replace("PASSWORD", ADMIN)
        return json.loads(await asyncio.to_thread(shell, line.replace(word, here or word)))

    async def calls(self, number: str, body: bytes) -> tuple[Recorder, events.SessionEvent]:
        """A call of the phone, once it is answered or refused."""
        session = self.phone.invite(
            f"sip:{number}@{self.gateway.app.sip_hostport}",
            caller=f"<sip:1001@{self.gateway.config.domain}>",
            body=body,
            credentials=Credentials("1001", PASSWORDS["1001"]),
        )
        recorder = Recorder(session)
        return recorder, await recorder.wait_for_one_of(events.Answered, events.Failed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder = tmp_path_factory.mktemp("gateway")
    users: list[dict[str, Any]] = [{"id": "admin", "web": True, "role": "admin"}, {"id": "1001", "sip": True}]
    users.append({"id": "1002", "sip": True})
    config = config_on_free_ports(folder, USERS=json.dumps(users), USERS__ADMIN__PASSWORD=ADMIN)
    phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    async with gateway_with(config, folder / "gateway.log", secrets=[ADMIN]) as gateway:
        await phone.start()
        try:
            yield Rig(gateway, phone)
        finally:
            await phone.close()
            for call in gateway.app.calls:
                call.stop()
            await gateway.idle()


async def test_a_phone_that_sends_nothing_has_received_0(rig: Rig) -> None:
    """One side hears nothing: the phone's audio does not come."""
    _, answered = await rig.calls("600", OFFER + b"a=rtpmap:0 PCMU/8000\r\n")
    assert isinstance(answered, events.Answered)
    [call] = rig.gateway.app.calls
    told = await rig.tells("One side hears nothing", "CALL_ID", call.id)
    [phone] = [one for one in told["media"] if one["party"].startswith("sip:1001@")]
    assert phone["received"]["packets"] == 0
    call.stop()
    await rig.gateway.idle()


async def test_how_digits_come_is_in_the_messages_of_the_call(rig: Rig) -> None:
    """Digits are not understood: by INFO, where no telephone-event was agreed."""
    recorder, _ = await rig.calls("600", OFFER + b"a=rtpmap:0 PCMU/8000\r\n")
    [call] = rig.gateway.app.calls
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    recorder.session.info("application/dtmf-relay", b"Signal=5\r\n", done=answered.set_result)
    await asyncio.wait_for(answered, 5)
    told = await rig.tells("Digits are not understood", "CALL_ID", call.id)
    assert [one["title"] for one in told["messages"] if one["title"].startswith("INFO ")]
    assert not [one for one in told["messages"] if "telephone-event" in one["text"]]
    call.stop()
    await rig.gateway.idle()


async def test_a_user_whose_phone_is_not_registered_has_no_phones(rig: Rig) -> None:
    """It does not ring; once the phone is there, it is counted."""

    async def phones() -> int:
        told = await rig.tells("It does not ring", "/api/users")
        return int(next(user["phones"] for user in told["users"] if user["id"] == "1002"))

    assert await phones() == 0
    url, domain = rig.gateway.web.replace("http", "ws", 1) + "/sip", rig.gateway.config.domain
    phone = await WebSocketPhone.open(url, "1002", domain, PASSWORDS["1002"])
    try:
        assert (await phone.register()).status == 200
        assert await phones() == 1
        assert (await rig.tells("It does not ring", "2001", "1002"))["user"] == "1002"
        assert "error" in await rig.tells("It does not ring", "2001")
    finally:
        await phone.close()


async def test_an_offer_of_nothing_that_we_know_is_488_and_shown_by_its_codecs(rig: Rig, tmp_path: Path) -> None:
    """The page's two commands on that offer."""
    offer = OFFER.replace(b"AVP 0", b"AVP 18") + b"a=rtpmap:18 G729/8000\r\n"
    _, failed = await rig.calls("600", offer)
    assert isinstance(failed, events.Failed)
    assert failed.status == 488
    (tmp_path / "offer.sdp").write_bytes(offer)
    shown = await asyncio.to_thread(shell, command("488 Not Acceptable Here", "sdp show"), tmp_path)
    assert "G729" in shown
    assert "RTP/AVP" in shown
    linted = await asyncio.to_thread(shell, command("488 Not Acceptable Here", "sdp lint"), tmp_path)
    assert "0 errors" in linted


async def test_a_page_of_another_origin_gets_403_and_ours_101(rig: Rig) -> None:
    """Pages get 403, or the WebSocket closes at once."""
    line = command("Pages get 403, or the WebSocket closes at once", "curl")
    assert ORIGIN in line
    line = line.replace("http://127.0.0.1:8080", rig.gateway.web)
    assert (await asyncio.to_thread(shell, line)).startswith("HTTP/1.1 403 ")
    assert (await asyncio.to_thread(shell, line.replace(ORIGIN, rig.gateway.web))).startswith("HTTP/1.1 101 ")
