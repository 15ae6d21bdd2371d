"""`gateway run` that is killed and started again on its state folder, with its phones and pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from bench.process import Gateway, running, waited_for_a_core
from gateway.app.observers import FILE_NAME
from gateway.call.journal import VERSION
from gateway.demo.phone import DeskPhone
from gateway.failover.recovery import open_journal
from gateway.observe.ledger import after, connect
from tests import peers
from tests.interop.gateway import BROWSER_HZ, NEAR, PASSWORDS, PHONE_HZ, RpcBrowser
from tests.interop.stranger import stranger
from tests.media.plane_rig import until
from tests.ports import free_ports

OTHER_HZ = 1180
_ASKS_EVERY = 0.02
"""Seconds between two copies of an OPTIONS to a gateway that starts."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start took: seconds."""

    signalling: float
    """Wall clock until SIP was answered."""
    whole: float
    """Wall clock until the page was there as well."""
    waited: float
    """What of `whole` it could have run, while others had the cores."""


class House:
    """A gateway that is killed and started again, and its phones and browser."""

    def __init__(self, folder: Path, stack: AsyncExitStack, **changes: str) -> None:
        peers.plane()
        web, self.sip, webrtc, rtp = free_ports(4)
        users = [{"id": user, "web": True} for user in ("alice",)]
        users += [{"id": user, "sip": True} for user in ("1001", "1002", "1003")]
        values = {
            "WEB__LISTEN": f"127.0.0.1:{web}",
            "SIP__LISTEN": f'["udp:127.0.0.1:{self.sip}", "tcp:127.0.0.1:{self.sip}"]',
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
        self.recoveries: list[Recovery] = []
        """Of each start but the first."""

    async def start(self, **changes: str) -> None:
        """Start the next process; `changes` are GATEWAY_ variables, from now on."""
        self.environ |= {f"GATEWAY_{key}": value for key, value in changes.items()}
        self.starts += 1
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            answered = group.create_task(self._answered())
            self._process = await self._up.enter_async_context(running(self.environ, self.log))
        if self.starts > 1:
            whole, waited = time.monotonic() - began, waited_for_a_core(self._process.process.pid)
            self.recoveries.append(Recovery(answered.result(), whole, waited))

    async def _answered(self) -> float:
        """Seconds until an OPTIONS is answered: by then the calls are taken up."""
        began = time.monotonic()
        async with stranger() as asking:
            request = asking.request("OPTIONS", f"sip:127.0.0.1:{self.sip}")
            while True:
                with contextlib.suppress(TimeoutError):
                    await asking.ask(request, ("127.0.0.1", self.sip), _ASKS_EVERY)
                    return time.monotonic() - began

    @property
    def log(self) -> Path:
        return self.folder / f"{self.starts}.log"

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.process.kill()
        await asyncio.to_thread(self._process.process.wait)

    @contextlib.asynccontextmanager
    async def suspended(self) -> AsyncIterator[None]:
        """SIGSTOP, and SIGCONT at the end; its plane runs on."""
        process = self._process.process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    async def kill_plane(self) -> None:
        """SIGKILL."""
        plane = self._process.plane()
        assert plane is not None
        os.kill(plane, signal.SIGKILL)
        await until(lambda: self._process.plane() is None)

    @property
    def plane(self) -> int | None:
        """Process id of the plane."""
        return self._process.plane()

    def age(self, seconds: float) -> None:
        """Between two processes: as if the one before had been dead for so much longer."""
        found = open_journal(self.folder, os.urandom, 100)
        assert found.file is not None
        for call_id, values in found.calls.items():
            older = _older(values, seconds) | {
                name: [(marshal.dumps({}), marshal.dumps(leg and _older(leg, seconds))) for leg in values[name]]
                for name in ("legs", "targets")
            }
            found.file.put(call_id, VERSION + marshal.dumps(older))
        found.close()

    def disguise(self, version: bytes) -> None:
        """Between two processes: as if the one before had written records of that version, with other fields."""
        found = open_journal(self.folder, os.urandom, 100)
        assert found.file is not None
        for call_id, values in found.calls.items():
            legs = {name: [_otherwise(leg) for leg in values[name]] for name in ("legs", "targets")}
            kept = {name: values[name] for name in ("id", "dialled")}
            found.file.put(call_id, version + marshal.dumps(kept | legs | {"stage": 7, "all": "otherwise"}))
        found.close()

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    def signal(self, number: int) -> None:
        self._process.process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has; the exit status."""
        return await asyncio.to_thread(self._process.process.wait)

    async def health(self) -> dict[str, Any]:
        """What /healthz says."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found: dict[str, Any] = (await client.get(f"http://{self.environ['GATEWAY_WEB__LISTEN']}/healthz")).json()
        return found

    async def drain(self) -> None:
        """SIGTERM, and wait until new calls are refused."""
        self.signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while (await self.health())["status"] != "draining":  # noqa: ASYNC110  # it tells only who asks
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._up.aclose()
        for number in range(1, self.starts + 1):
            said = (self.folder / f"{number}.log").read_text(encoding="utf-8")
            assert "Traceback" not in said, said[-6000:]

    async def logged(self, words: str, times: int = 1) -> None:
        """Wait until the process that runs has said that so often."""
        await until(lambda: self.said(words) >= times)

    def said(self, words: str) -> int:
        """How often the process that runs has said that."""
        return self.log.read_text(encoding="utf-8").count(words)

    def records(self) -> list[dict[str, Any]]:
        """The records of the calls that are over (`cdr.enabled`), oldest first."""
        with contextlib.closing(connect(self.folder / FILE_NAME)) as connection:
            return [json.loads(text) for _, _, text in after(connection, 0, 100)]

    async def phone(self, user: str, hz: int) -> DeskPhone:
        peers.pjsua2()
        phone = await DeskPhone.start()
        self._stack.push_async_callback(phone.close, 0.5)
        phone.speak(hz)
        phone.codecs("PCMU")  # with several it re-INVITEs to lock one, which may cross another
        await phone.register(user, PASSWORDS[user], "gateway.example", f"127.0.0.1:{self.sip}")
        return phone

    @contextlib.asynccontextmanager
    async def browser(self) -> AsyncIterator[RpcBrowser]:
        """Alice's page, signed in."""
        async with RpcBrowser() as browser:
            await self.open(browser)
            yield browser

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


async def two_phones(house: House) -> tuple[DeskPhone, DeskPhone]:
    """1001 has called 1002."""
    one, other = await house.phone("1001", PHONE_HZ), await house.phone("1002", OTHER_HZ)
    one.dial("sip:1002@gateway.example")
    for phone in (one, other):
        await phone.expect("state", state="answered")
    await talk(one, other)
    return one, other


async def talk(one: DeskPhone, other: DeskPhone) -> None:
    """Each hears the other's tone, of now."""
    await asyncio.gather(one.listen(), other.listen())
    heard = await asyncio.gather(one.expect("tone"), other.expect("tone"))
    assert abs(float(heard[0].details["hz"]) - OTHER_HZ) <= NEAR
    assert abs(float(heard[1].details["hz"]) - PHONE_HZ) <= NEAR


async def hear_each_other(browser: RpcBrowser, phone: DeskPhone, hz: float = PHONE_HZ) -> None:
    """Each hears the other's tone, of now; `hz` is the phone's."""
    browser.listen_anew()
    await phone.listen()
    heard = float((await phone.expect("tone")).details["hz"])
    assert abs(heard - BROWSER_HZ) <= NEAR
    await browser.tone(hz)


def _otherwise(leg: dict[str, Any] | None) -> tuple[bytes, bytes]:
    """A leg as another version may have it: of a SIP session the dialog alone is as it is here."""
    if leg is None:
        return marshal.dumps({}), marshal.dumps(None)
    sessions = [{"dialog": each["dialog"], "credentials": None, "timer": "x"} for each in leg.get("sessions", ())]
    named = {name: value for name, value in leg.items() if name in {"party", "address"}}
    own = {name: value for name, value in leg.items() if name not in {"party", "address", "sessions"}}
    return marshal.dumps(named), marshal.dumps(own | {"sessions": sessions, "more": [1]})


def _older(values: dict[str, Any], seconds: float) -> dict[str, Any]:
    name, at = values["on_boot"]
    return {**values, "taken_at": values["taken_at"] - seconds, "on_boot": (name, at - seconds)}
