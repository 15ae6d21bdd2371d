"""kill -9 of `gateway run`: the next one finds the calls, between real phones and an aiortc browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bench.process import Gateway, cpu_of, running
from gateway.demo.phone import DeskPhone
from gateway.media.embedded.plane.native.process import find_program
from tests import peers
from tests.interop.gateway import BROWSER_HZ, NEAR, PASSWORDS, PHONE_HZ, RpcBrowser
from tests.media.plane_rig import until
from tests.ports import free_ports

OTHER_HZ = 1180
SIGNALLING_BACK = 2.0
"""Seconds of CPU from the start of the next process until it has taken its calls up."""

pytestmark = [pytest.mark.peer, pytest.mark.serial]


class House:
    """A gateway that is killed and started again, and its phones and browser."""

    def __init__(self, folder: Path, stack: AsyncExitStack, **changes: str) -> None:
        if find_program() is None:
            peers.missing("gateway-plane", "cargo, and run scripts/plane build")
        web, self.sip, webrtc, rtp = free_ports(4)
        users = [{"id": user, "web": True} for user in ("alice",)]
        users += [{"id": user, "sip": True} for user in ("1001", "1002")]
        values = {
            "WEB__LISTEN": f"127.0.0.1:{web}",
            "SIP__LISTEN": f'["udp:127.0.0.1:{self.sip}"]',
            "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
            "RTP__PORTS": f"{rtp}-{rtp + 99}",
            "IDENTITY__STORE": "sqlite:gateway.sqlite",
            "STATE_DIR": str(folder),
            "DOMAIN": "gateway.example",
            "MEDIA__PLANE": "native",
            "USERS": json.dumps(users),
            **{f"USERS__{user['id']}__PASSWORD": PASSWORDS[str(user["id"])] for user in users},
            **changes,
        }
        own = {f"GATEWAY_{key}": value for key, value in values.items()}
        # Without PYTHONDONTWRITEBYTECODE: compiled once, as where it is installed.
        others = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "PYTHONDONT"))}
        self.environ = others | own
        self.folder = folder
        self.starts = 0
        self._stack = stack
        self._up = AsyncExitStack()
        self._process: Gateway
        self.recovery = 0.0
        """Seconds that the latest start took."""
        self.cpu = 0.0
        """Seconds of CPU that it took: what it takes where nothing else runs."""

    async def start(self) -> None:
        self.starts += 1
        began = time.monotonic()
        self._process = await self._up.enter_async_context(running(self.environ, self.log))
        self.recovery = time.monotonic() - began
        self.cpu = cpu_of(self._process.process.pid)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.starts}.log"

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.process.kill()
        await asyncio.to_thread(self._process.process.wait)

    async def kill_plane(self) -> None:
        """SIGKILL."""
        plane = self._process.plane()
        assert plane is not None
        os.kill(plane, signal.SIGKILL)
        await until(lambda: self._process.plane() is None)

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self._process.process.terminate()
        return await asyncio.to_thread(self._process.process.wait)

    async def close(self) -> None:
        await self._up.aclose()
        for number in range(1, self.starts + 1):
            said = (self.folder / f"{number}.log").read_text(encoding="utf-8")
            assert "Traceback" not in said, said[-6000:]

    async def logged(self, words: str, times: int = 1) -> None:
        """Wait until the process that runs has said that so often."""
        await until(lambda: self.log.read_text(encoding="utf-8").count(words) >= times)

    async def phone(self, user: str, hz: int) -> DeskPhone:
        peers.pjsua2()
        phone = await DeskPhone.start()
        self._stack.push_async_callback(phone.close, 0.5)
        phone.speak(hz)
        phone.codecs("PCMU")  # with several it re-INVITEs to lock one, which may cross another
        await phone.register(user, PASSWORDS[user], "gateway.example", f"127.0.0.1:{self.sip}")
        return phone

    async def browser(self) -> RpcBrowser:
        browser = await self._stack.enter_async_context(RpcBrowser())
        await self.open(browser)
        return browser

    async def open(self, browser: RpcBrowser) -> None:
        account = urlencode({"user": "alice", "token": PASSWORDS["alice"]})
        await browser.open(f"http://{self.environ['GATEWAY_WEB__LISTEN']}/#{account}")

    async def take_back(self, browser: RpcBrowser) -> dict[str, object]:
        """The page connects again and names its call."""
        [call_id] = {params["call_id"] for _, params in browser.told if params.get("call_id")}
        await self.open(browser)
        found: dict[str, object] = await browser.ask("call.attach", call_id=call_id, after=100)
        return found


@contextlib.asynccontextmanager
async def house(folder: Path, **changes: str) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        made = House(folder, stack, **changes)
        stack.push_async_callback(made.close)
        await made.start()
        yield made


async def talk(one: DeskPhone, other: DeskPhone) -> None:
    """Each hears the other's tone, of now."""
    await asyncio.gather(one.listen(), other.listen())
    heard = await asyncio.gather(one.expect("tone", 8), other.expect("tone", 8))
    assert abs(float(heard[0].details["hz"]) - OTHER_HZ) <= NEAR
    assert abs(float(heard[1].details["hz"]) - PHONE_HZ) <= NEAR


async def hear_each_other(browser: RpcBrowser, phone: DeskPhone) -> None:
    browser.listen_anew()
    await phone.listen()
    heard = float((await phone.expect("tone", 8)).details["hz"])
    assert abs(heard - BROWSER_HZ) <= NEAR
    await browser.tone(PHONE_HZ, 8)


async def test_phones_go_on_with_their_call(tmp_path: Path) -> None:
    """After a kill they hear each other, each holds and takes back; after another each BYE reaches the other side."""
    async with house(tmp_path) as gateway:
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        for caller, callee, number in ((one, other, "1002"), (other, one, "1001")):
            caller.dial(f"sip:{number}@gateway.example")
            await callee.expect("state", state="answered")
            await talk(one, other)
            await gateway.kill()
            await gateway.start()
            assert gateway.cpu < SIGNALLING_BACK
            await talk(one, other)
            caller.hold()
            await gateway.logged("input=offer-answered", 1)
            caller.unhold()
            await gateway.logged("input=offer-answered", 2)
            await talk(one, other)
            (callee if caller is one else caller).hangup()
            await caller.expect("state", state="ended")
            await callee.expect("state", state="ended")


@pytest.mark.parametrize("incoming", [False, True])
async def test_a_page_takes_its_call_back(tmp_path: Path, incoming: bool) -> None:
    """It signs in again and names its call; they hear each other, a hold is shown, a hang-up of either is heard."""
    async with house(tmp_path) as gateway:
        phone, browser = await gateway.phone("1001", PHONE_HZ), await gateway.browser()
        if incoming:
            phone.dial("sip:alice@gateway.example")
            await browser.status("ringing")
            await browser.accept()
        else:
            await browser.dial("1001")
        await phone.expect("state", state="answered")
        await hear_each_other(browser, phone)
        await gateway.kill()
        await hear_each_other(browser, phone)
        await gateway.start()
        assert (await gateway.take_back(browser))["state"] == "answered"
        await gateway.logged("input=all-returned")
        await hear_each_other(browser, phone)
        phone.hold()
        await browser.notified("call_held", held=True)
        phone.unhold()
        await browser.notified("call_held", held=False)
        await hear_each_other(browser, phone)
        if incoming:
            phone.hangup()
            await browser.status("ready")
        else:
            await browser.hang_up()
        await phone.expect("state", state="ended")


async def test_what_was_being_set_up_ends_with_a_cause(tmp_path: Path) -> None:
    """A phone that rings is cancelled, the caller hears 500, a page is told when it asks; then calls work again."""
    async with house(tmp_path) as gateway:
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        other.on_incoming(180)
        one.dial("sip:1002@gateway.example")
        await one.expect("state", state="ringing")
        browser = await gateway.browser()
        await gateway.kill()
        await gateway.start()
        assert (await one.expect("state", state="ended")).details["code"] == 500
        await other.expect("state", state="ended")
        await gateway.open(browser)
        await browser.dial("1002")
        await other.expect("state", state="ringing")
        await gateway.kill()
        await gateway.start()
        await other.expect("state", state="ended")
        assert (await gateway.take_back(browser))["state"] == "ended"


async def test_a_restart_on_purpose_keeps_calls_where_that_is_wanted(tmp_path: Path) -> None:
    """SIGTERM ends the process at once and the call goes on; without a call it ends as any other."""
    async with house(tmp_path, LIMITS__KEEP_CALLS="restart") as gateway:
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        one.dial("sip:1002@gateway.example")
        await other.expect("state", state="answered")
        await talk(one, other)
        assert await gateway.terminate() == 0
        await gateway.start()
        await talk(one, other)
        one.hangup()
        await gateway.logged("state=ended")
        assert await gateway.terminate() == 0
        assert "Stopped." in gateway.log.read_text(encoding="utf-8")


async def test_where_the_plane_is_gone_too_both_sides_hear_of_an_end(tmp_path: Path) -> None:
    """Nothing flows any more, so that BYE goes to both."""
    async with house(tmp_path) as gateway:
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        one.dial("sip:1002@gateway.example")
        await other.expect("state", state="answered")
        await talk(one, other)
        await gateway.kill()
        await gateway.kill_plane()
        await gateway.start()
        await asyncio.gather(one.expect("state", state="ended"), other.expect("state", state="ended"))
