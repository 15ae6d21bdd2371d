"""My PBX in five minutes: a fresh clone, the words of docs/pbx/kamailio.md, a browser as an extension of Kamailio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
from tests.processes import reap

# The clone, its environment and the call are given the guide's five minutes; the rest is what it takes to say so.
pytestmark = [pytest.mark.wall, pytest.mark.timeout(360), pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "pbx" / "kamailio.md"
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
    pbx_secret: str
    """The command that makes what kamailio.cfg includes."""
    pbx_port: int
    gateway: str
    """pbx.yaml."""
    command: str


def as_written() -> Guide:
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
    theirs = block("#!KAMAILIO").replace("192.0.2.10:5060", f"127.0.0.1:{pbx}")
    return Guide(theirs, block("(umask"), pbx, ours, block("make run"))


def fresh_environment() -> dict[str, str]:
    """A reader's: this machine's pip, and nothing of the environment that runs the tests."""
    ours = ("GATEWAY_", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS", "CI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # The packet plane is built where there is cargo, which no fresh machine has.
    return {**kept, "PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin", "COLUMNS": "300"}


@dataclass(frozen=True)
class Rig:
    """The page of alice, who is extension 201, and the phone, which is 1001."""

    page: SoftphoneBrowser
    phone: DeskPhone
    pbx: str
    """Host and port of the Kamailio."""
    began: float


async def signed_in_link(process: asyncio.subprocess.Process) -> str:
    """The link that the guide's command prints for alice."""
    assert process.stdout is not None
    seen = ""
    while line := (await process.stdout.readline()).decode():
        seen += line
        if (found := re.search(r"http://\S+#user=alice\S*", line)) is not None:
            return found[0]
    raise AssertionError(f"{seen} has no link")


async def run_in(folder: Path, *command: str) -> None:
    """A command that ends; AssertionError with what it said where it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=fresh_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


@contextlib.asynccontextmanager
async def started(clone: Path, command: str, log: BinaryIO) -> AsyncIterator[str]:
    """The guide's command, running in the clone; the link that it prints."""
    process = await asyncio.create_subprocess_exec(
        *command.split(),
        cwd=clone,
        env=fresh_environment(),
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield await signed_in_link(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # of make and all that it has begun
        await reap(process)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """The PBX is there before; the clock runs from the clone on."""
    peers.pjsua2()
    chromium = peers.chromium()
    folder, guide = tmp_path_factory.mktemp("guide"), as_written()
    async with AsyncExitStack() as stack:
        await run_in(folder, "sh", "-c", guide.pbx_secret)
        await stack.enter_async_context(kamailio(folder, guide.pbx, "127.0.0.1", guide.pbx_port))
        phone = await DeskPhone.start()
        stack.push_async_callback(phone.close)
        phone.speak(PHONE_HZ)
        pbx = f"127.0.0.1:{guide.pbx_port}"
        await phone.register("1001", "secret-of-1001", pbx, pbx)
        log = stack.enter_context((folder / "gateway.log").open("wb"))
        began, clone = time.monotonic(), folder / "clone"
        async with asyncio.timeout(FIVE_MINUTES):
            await run_in(folder, "git", "clone", "--quiet", ROOT.as_uri(), str(clone))
            (clone / "pbx.yaml").write_text(guide.gateway)
            link = await stack.enter_async_context(started(clone, guide.command, log))
            page = await stack.enter_async_context(SoftphoneBrowser(chromium, BROWSER_HZ))
            await page.open(link)
            await page.status("ready")
        yield Rig(page, phone, pbx, began)


@pytest.mark.core
async def test_a_browser_calls_an_extension_within_five_minutes(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """From `git clone` to two tones, each heard at the other end."""
    rig.phone.on_incoming(200)
    await rig.page.dial("1001")
    assert "201@" in (await rig.phone.expect("incoming")).details["uri"]
    await rig.page.status("talking")
    await phone_hears(rig.phone)
    await rig.page.tone(PHONE_HZ)
    took = time.monotonic() - rig.began
    with capsys.disabled():
        sys.stdout.write(f"\nMy PBX: {took:.0f} s from git clone to a call\n")
    assert took < FIVE_MINUTES
    rig.phone.hangup()
    await rig.page.status("ready")


@pytest.mark.core
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
