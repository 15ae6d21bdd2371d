"""Kamailio as the PBX: the words of docs/pbx/kamailio.md, a browser as one of its extensions, within five minutes."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests import peers
from tests.browser.softphone import phone_hears
from tests.interop.gateway import BROWSER_HZ, PHONE_HZ
from tests.interop.kamailio import kamailio
from tests.ports import free_ports

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module")]

GUIDE = Path(__file__).parent.parent.parent / "docs" / "pbx" / "kamailio.md"
FIVE_MINUTES = 300.0


def block(begins: str) -> str:
    """The fenced block of the guide whose first line begins so."""
    blocks = [textwrap.dedent(text) for text in re.findall(r"```\w*\n(.*?)\n *```", GUIDE.read_text(), re.DOTALL)]
    (found,) = [text for text in blocks if text.startswith(begins)]
    return found


@dataclass(frozen=True)
class Guide:
    """What the guide says, on loopback and free ports."""

    pbx: str
    """kamailio.cfg."""
    pbx_port: int
    gateway: Path
    """gateway.yaml."""


def as_written(folder: Path) -> Guide:
    """The guide's two files, changed in nothing but addresses and ports."""
    pbx, sip, web, webrtc, rtp = free_ports(5)
    ours = block("domain:")
    for theirs, here in (
        ("sip:192.0.2.10:5060", f"sip:127.0.0.1:{pbx}"),
        ("udp:198.51.100.7:5060", f"udp:127.0.0.1:{sip}"),
        ("198.51.100.7:40000", f"127.0.0.1:{webrtc}"),
        ("127.0.0.1:8080", f"127.0.0.1:{web}"),
        ("listen: 198.51.100.7", f"listen: 127.0.0.1\n  ports: {rtp}-{rtp + 99}"),
    ):
        assert theirs in ours, f"the guide does not say {theirs} any more"
        ours = ours.replace(theirs, here)
    assert yaml.safe_load(ours)["users"][0]["account"]["password"] == "secret-of-201"
    file = folder / "gateway.yaml"
    file.write_text(f"{ours}\nstate_dir: {folder}/state\n")
    theirs = block("#!KAMAILIO").replace("192.0.2.10:5060", f"127.0.0.1:{pbx}")
    return Guide(theirs, pbx, file)


@dataclass(frozen=True)
class Rig:
    """The page of alice, who is extension 201, and the phone, which is 1001."""

    page: SoftphoneBrowser
    phone: DeskPhone
    pbx: str
    """Host and port of the Kamailio."""
    began: float


async def signed_in_link(process: asyncio.subprocess.Process) -> str:
    """The link that `gateway run` prints for alice."""
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode():
            seen += line
            if (found := re.search(r"http://\S+#user=alice\S*", line)) is not None:
                return found[0]
    raise AssertionError(f"gateway run printed no link: {seen}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    peers.pjsua2()
    chromium = peers.chromium()
    folder = tmp_path_factory.mktemp("guide")
    guide = as_written(folder)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(kamailio(folder, guide.pbx, "127.0.0.1", guide.pbx_port))
        phone = await DeskPhone.start()
        stack.push_async_callback(phone.close)
        phone.speak(PHONE_HZ)
        pbx = f"127.0.0.1:{guide.pbx_port}"
        await phone.register("1001", "secret-of-1001", pbx, pbx)
        began = time.monotonic()
        log = stack.enter_context((folder / "gateway.log").open("wb"))
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "run", "--config", str(guide.gateway)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={"COLUMNS": "300", "PATH": "/usr/bin:/bin"},
        )
        stack.push_async_callback(asyncio.wait_for, gateway.wait(), 20)
        stack.callback(gateway.terminate)
        link = await signed_in_link(gateway)
        page = await stack.enter_async_context(SoftphoneBrowser(chromium, BROWSER_HZ))
        await page.open(link)
        await page.status("ready")
        yield Rig(page, phone, pbx, began)


async def test_a_browser_calls_an_extension_within_five_minutes(rig: Rig) -> None:
    """From `gateway run` to two tones, each heard at the other end."""
    rig.phone.on_incoming(200)
    await rig.page.dial("1001")
    assert "201@" in (await rig.phone.expect("incoming")).details["uri"]
    await rig.page.status("talking")
    await phone_hears(rig.phone)
    await rig.page.tone(PHONE_HZ)
    assert time.monotonic() - rig.began < FIVE_MINUTES
    rig.phone.hangup()
    await rig.page.status("ready")


async def test_an_extension_calls_the_browser(rig: Rig) -> None:
    """Who dials 201 at the Kamailio rings the page."""
    rig.phone.dial(f"sip:201@{rig.pbx}")
    await rig.page.status("ringing")
    await rig.page.accept()
    await rig.phone.expect("state", state="answered")
    await phone_hears(rig.phone)
    await rig.page.tone(PHONE_HZ)
    await rig.page.hang_up()
    await rig.phone.expect("state", state="ended")
