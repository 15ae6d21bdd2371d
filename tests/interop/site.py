"""Two gateways of a cluster that share a Redis and their journal; phones and pages are at the first."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway.demo.phone import DeskPhone
from gateway.store.journal_redis import RedisJournal
from tests.identity.conftest import redis_server
from tests.interop.house import House
from tests.ports import free_port

KEY = "the-key-of-the-cluster-in-these-tests"
TAKEN = "calls of another gateway were taken over"


@dataclass(slots=True)
class Site:
    """Two gateways of one Redis; phones and pages are at the first."""

    first: House
    second: House
    redis: str
    stack: AsyncExitStack

    async def phones(self, *users: tuple[str, int]) -> list[DeskPhone]:
        return [await self.first.phone(user, hz) for user, hz in users]

    def journal(self, key: bytes) -> RedisJournal:
        """As the second gateway has it."""
        return RedisJournal(self.redis, f"sip:127.0.0.1:{self.second.sip}", key, os.urandom)

    async def take_those_of_the_first(self) -> None:
        """Have the store move the calls of the first gateway to the second, as that does which then dies."""
        journal = self.journal(hmac.digest(KEY.encode(), b"gateway cluster: journal", "sha256"))
        await journal.open()
        try:
            async with asyncio.timeout(30):
                while not await journal.take(f"sip:127.0.0.1:{self.first.sip}"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            await journal.close()


@contextlib.asynccontextmanager
async def two_of_one_journal(folder: Path, first: dict[str, str], second: dict[str, str]) -> AsyncIterator[Site]:
    """Both run, each with settings of its own."""
    url = f"redis://127.0.0.1:{(port := free_port())}/0"
    async with AsyncExitStack() as stack:
        stack.enter_context(redis_server(port, folder))
        gateways = []
        for name, changes in (("first", first), ("second", second)):
            (folder / name).mkdir()
            shared = {"IDENTITY__STORE": url, "CLUSTER__JOURNAL": url, "CLUSTER__KEY": KEY, "CDR__ENABLED": "true"}
            gateway = House(folder / name, stack, **shared, **changes)
            stack.push_async_callback(gateway.close)
            await gateway.start(CLUSTER__NODE=f"sip:127.0.0.1:{gateway.sip}", CLUSTER__INTERVAL="0.3")
            gateways.append(gateway)
        yield Site(gateways[0], gateways[1], url, stack)


def recorded(gateway: House) -> list[object]:
    """The causes of the records it has, and None of each that is open."""
    with contextlib.closing(sqlite3.connect(gateway.folder / "cdr.sqlite")) as ledger:
        ended = [json.loads(text)["cause"] for (text,) in ledger.execute("SELECT detail FROM calls")]
        return [*ended, *(None for _ in ledger.execute("SELECT id FROM talking"))]


async def over(phone: DeskPhone) -> None:
    """Wait for the end of its call."""
    await phone.expect("state", state="ended")


async def dialled(one: DeskPhone, other: DeskPhone) -> None:
    """1001 calls 1002."""
    one.dial("sip:1002@gateway.example")
    for phone in (one, other):
        await phone.expect("state", state="answered")
