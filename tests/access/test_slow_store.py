"""SIP passwords that are tried at once while the store takes its time: they count from their beginning."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.identity.model import Credential
from gateway.identity.store import StoreError
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.store.identity_memory import MemoryStore
from tests.access.door import PASSWORD, Door, credentials, from_there, request

AT_ONCE = 40


class SlowStore(MemoryStore):
    """A store as over a network, which may go away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.is_away = False

    async def credential(self, username: str, realm: str) -> Credential | None:
        self.asked += 1
        await asyncio.sleep(0.5)
        if self.is_away:
            raise StoreError("no connection")
        return await super().credential(username, realm)


async def at_once(door: Door, sources: list[Flow], password: str) -> Counter[int]:
    """Status of a REGISTER of 1001 from each source, all begun in the same moment; 200 for who is let in."""
    nonces = [await door.nonce(source) for source in sources]
    signed = [request("REGISTER", credentials("REGISTER", "1001", nonce, password)) for nonce in nonces]
    verdicts = await asyncio.gather(*(door.asked(*each) for each in zip(signed, sources, strict=True)))
    return Counter(200 if isinstance(one, events.Accepted) else one.status for one in verdicts)


@pytest.mark.parametrize(
    ("sources", "statuses"),
    [
        ([from_there(5000 + number, "198.51.100.1") for number in range(AT_ONCE)], {401: 3, 403: AT_ONCE - 3}),
        ([from_there(5060, f"198.51.100.{number}") for number in range(AT_ONCE)], {401: 5, 503: AT_ONCE - 5}),
    ],
    ids=["one source", "one user"],
)
async def test_wrong_passwords_at_once_are_as_many_as_one_after_the_other(
    sources: list[Flow], statuses: dict[int, int]
) -> None:
    """Of one source 403, of many sources for one user 503; the store is not asked for the rest."""
    store = SlowStore()
    door = await Door(store).opened()
    assert await at_once(door, sources, "guess") == statuses
    assert store.asked == statuses[401]


@pytest.mark.parametrize("is_away", [False, True])
async def test_right_passwords_at_once_are_all_let_in(is_away: bool) -> None:
    """Phones of a house behind one address after a power cut; a store that is away is nobody's wrong password."""
    store = SlowStore()
    door = await Door(store).opened()
    sources = [from_there(5000 + number, "198.51.100.1") for number in range(AT_ONCE)]
    store.is_away = is_away
    assert await at_once(door, sources, PASSWORD) == {503 if is_away else 200: AT_ONCE}
    store.is_away = False
    assert await at_once(door, sources[:1], PASSWORD) == {200: 1}
