"""Redis dies at one moment after the other of takeovers: every call goes on, once, and has one record."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from gateway.call.journal import UP, read
from gateway.store import journal_redis
from tests.identity.conftest import redis_server
from tests.interop.gateway import PHONE_HZ
from tests.interop.house import OTHER_HZ, House, talk
from tests.interop.two_gateways import KEY
from tests.media.plane_rig import until
from tests.ports import free_ports

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(300)]


def script(text: str) -> bytes:
    """By what Redis is asked to run it."""
    return hashlib.sha1(text.encode()).hexdigest().encode()


TAKEN, LEFT = "calls of another gateway were taken over", "another gateway has taken calls of this one over"
TAKE, READ, WRITE = (script(text) for text in (journal_redis._TAKE, journal_redis._READ, journal_redis._WRITE))


@dataclass(frozen=True, slots=True)
class Moment:
    """The first command to Redis, in a takeover, that has all these words in it."""

    words: tuple[bytes, ...]
    is_done: bool
    """Redis has done it, and its answer is lost with it."""


def moments(call_id: str) -> list[Moment]:
    """Of a takeover: calls are taken, what was taken is asked for and read, and written as a call that goes on."""
    commands = (TAKE,), (b"SMEMBERS", b":claimed:"), (READ,), (WRITE, call_id.encode())
    return [Moment(words, is_done) for words in commands for is_done in (False, True)]


class Redis:
    """A server that keeps what it was told, killed and started again at its port and in its folder."""

    def __init__(self, folder: Path) -> None:
        [self.port] = free_ports(1)
        self._folder = folder
        self._up = ExitStack()
        self._process: Popen[bytes]
        self.start()

    def start(self) -> None:
        self._process = self._up.enter_context(redis_server(self.port, self._folder, "--appendonly", "yes"))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._up.close()


class Wire:
    """The way of one gateway to Redis, on which Redis dies at a moment of a takeover by that gateway."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._moment: Moment | None = None
        self._has_taken = False
        self._died = asyncio.Event()
        self._server: asyncio.Server
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()

    def set(self, moment: Moment) -> None:
        self._moment, self._has_taken = moment, False
        self._died.clear()

    async def died(self) -> None:
        await asyncio.wait_for(self._died.wait(), 30)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, forward = await asyncio.open_connection("127.0.0.1", self._redis.port)
        except OSError:
            writer.close()  # Redis is away
            return
        asked = [b""]
        ways = [self._commands(reader, forward, asked), self._answers(there, writer, asked)]
        tasks = [asyncio.create_task(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        forward.close()

    async def _commands(self, reader: asyncio.StreamReader, forward: asyncio.StreamWriter, asked: list[bytes]) -> None:
        while data := await reader.read(65_536):
            asked[0] = data
            if self._is_now(data, is_done=False):
                self._die()
                return
            forward.write(data)

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]) -> None:
        while data := await there.read(65_536):
            # An error (it does not know the script yet), or a 0: nothing could be taken.
            if not data.startswith((b"-", b":0\r")):
                self._has_taken = self._has_taken or TAKE in asked[0]
                if self._is_now(asked[0], is_done=True):
                    self._die()
                    return
            writer.write(data)

    def _is_now(self, command: bytes, *, is_done: bool) -> bool:
        """Of commands other than the taking itself one that comes after it."""
        moment = self._moment
        if moment is None or moment.is_done is not is_done or not all(word in command for word in moment.words):
            return False
        return self._has_taken or TAKE in command

    def _die(self) -> None:
        self._moment = None
        self._redis.kill()
        self._died.set()


class Site:
    """Two gateways that take each other's calls, each by a wire of its own."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.redis = Redis(folder)
        stack.callback(self.redis.close)
        self._folder = folder
        self._stack = stack
        self.wires: dict[House, Wire] = {}

    async def gateway(self, name: str) -> House:
        wire = Wire(self.redis)
        await wire.open()
        self._stack.callback(wire.close)
        (self._folder / name).mkdir()
        store, journal = (f"redis://127.0.0.1:{port}/0" for port in (self.redis.port, wire.port))
        settings = {"IDENTITY__STORE": store, "CLUSTER__JOURNAL": journal, "CLUSTER__KEY": KEY, "CDR__ENABLED": "true"}
        gateway = House(self._folder / name, self._stack, **settings)
        self._stack.push_async_callback(gateway.close)
        await gateway.start(CLUSTER__NODE=f"sip:127.0.0.1:{gateway.sip}", CLUSTER__INTERVAL="0.3")
        self.wires[gateway] = wire
        return gateway

    async def sees(self, gateway: House, calls: int) -> None:
        """Wait until Redis knows that so many calls of a gateway are up: that is a moment after they are."""
        key = hmac.digest(KEY.encode(), b"gateway cluster: journal", "sha256")
        url, node = f"redis://127.0.0.1:{self.redis.port}/0", f"sip:127.0.0.1:{gateway.sip}"
        journal = journal_redis.RedisJournal(url, node, key, os.urandom)
        await journal.open()
        try:
            async with asyncio.timeout(30):
                while True:
                    found = await journal.records(ledger(gateway)[1])
                    if [read(record)["stage"] for record, _ in found.values()] == [UP] * calls:
                        return
                    await asyncio.sleep(0.02)
        finally:
            await journal.close()


def ledger(gateway: House) -> tuple[list[str], list[str]]:
    """Causes of the records it has, and ids of those that are open."""
    with contextlib.closing(sqlite3.connect(gateway.folder / "cdr.sqlite")) as book:
        ended = [str(json.loads(text)["cause"]) for (text,) in book.execute("SELECT detail FROM calls")]
        return ended, [call_id for (call_id,) in book.execute("SELECT id FROM talking")]


@contextlib.asynccontextmanager
async def died(gateway: House) -> AsyncIterator[None]:
    """With its plane."""
    await gateway.kill()
    await gateway.kill_plane()
    yield


async def test_redis_that_dies_in_a_takeover_costs_no_call(tmp_path: Path) -> None:
    """At each of its commands, done or not: both sides hear each other, and one record says how long they did.

    Who had the calls is dead, or was suspended and is back before Redis is.
    """
    async with AsyncExitStack() as stack:
        site = Site(tmp_path, stack)
        here, there = gateways = [await site.gateway(name) for name in ("first", "second")]
        one, other, third = [
            await here.phone(user, hz) for user, hz in (("1001", PHONE_HZ), ("1002", OTHER_HZ), ("1003", PHONE_HZ))
        ]
        one.dial("sip:1002@gateway.example")
        for phone in (one, other):
            await phone.expect("state", state="answered")
        began = time.monotonic()
        await until(lambda: len(ledger(here)[1]) == 1)
        [call_id] = ledger(here)[1]
        third.dial("sip:600@gateway.example")
        await third.expect("state", state="answered")
        await site.sees(here, 2)
        for number, moment in enumerate(moments(call_id)):
            taken, left = there.said(TAKEN), here.said(LEFT)
            site.wires[there].set(moment)
            async with here.suspended() if number % 4 in (1, 2) else died(here):
                await site.wires[there].died()
            await asyncio.to_thread(site.redis.start)
            await there.logged(TAKEN, taken + 1)
            await talk(one, other)
            if number % 4 in (1, 2):
                await here.logged(LEFT, left + 1)
            else:
                await here.start()
            here, there = there, here
        one.hangup()
        third.hangup()
        for phone in (one, other, third):
            await phone.expect("state", state="ended")
        lasted = time.monotonic() - began
        await until(lambda: sorted(cause for each in gateways for cause in ledger(each)[0]) == ["normal"] * 2)
        assert [ledger(each)[1] for each in gateways] == [[], []]
        [seconds] = [each["seconds"] for gateway in gateways for each in gateway.records() if each["id"] == call_id]
        assert abs(seconds - lasted) < 5
