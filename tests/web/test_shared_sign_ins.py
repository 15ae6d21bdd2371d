"""Whoever signed in at one gateway is signed in at all, and out of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.web.auth.shared_sign_ins import SharedSignIns
from gateway.web.auth.sign_ins import SignIns
from gateway.web.auth.tokens import TokenError, Tokens
from tests.rows import by_row

KEY = bytes(32)


class Clock:
    """Unix seconds, turned by hand."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Texts:
    """What both gateways have; away where told so."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.is_away = False

    async def text(self, name: str) -> str | None:
        self._check()
        return self.kept.get(name)

    async def put_text(self, name: str, text: str, expires_at: float) -> None:
        self._check()
        self.kept[name] = text

    def _check(self) -> None:
        if self.is_away:
            raise GatewayError("no connection")


class Gateway:
    """The sign-ins of one gateway."""

    def __init__(self, texts: Texts | None, clock: Clock, path: Path | None = None, limit: int = 20) -> None:
        self.table = SignIns(clock, path, grace=30, limit_per_user=limit)
        self.shared = SharedSignIns(self.table, texts)

    async def begin(self, user: str = "alice") -> tuple[str, str]:
        entry, token = self.table.begin(user, "m1")
        await self.shared.share(entry.id, entry.expires_at)
        return entry.id, token

    async def use(self, token: str) -> str | None:
        """The next token; "" where the same stands."""
        session_id = token.partition(".")[0]
        await self.shared.fetch(session_id)
        known = self.table.entry(session_id)
        used = self.table.use(token, lambda user: "m1")
        if known is not None:
            await self.shared.share(session_id, known.expires_at)
        return None if used is None else used[1] or ""

    async def lives(self, session_id: str) -> bool:
        await self.shared.fetch(session_id)
        return self.table.lives(session_id, lambda user: "m1")


async def test_a_sign_in_goes_on_at_another_gateway() -> None:
    """Its next token is made there, and the first gateway takes that one."""
    texts, clock = Texts(), Clock()
    one, two = Gateway(texts, clock), Gateway(texts, clock)
    session, token = await one.begin()
    assert await two.lives(session)
    second = await two.use(token)
    assert second
    clock.now += 60
    third = await one.use(second)
    assert third
    assert await two.use(third)


async def test_signing_out_anywhere_ends_it_everywhere() -> None:
    """And a token that was copied, used at two gateways, ends it as well."""
    texts, clock = Texts(), Clock()
    one, two = Gateway(texts, clock), Gateway(texts, clock)
    session, token = await one.begin()
    assert await two.lives(session)
    entry = two.table.entry(session)
    assert entry is not None
    two.table.end(session)
    await two.shared.share(session, entry.expires_at)
    assert not await one.lives(session)
    copied, first = await one.begin()
    assert await two.use(first)
    clock.now += 60
    assert await one.use(first) is None
    assert not await two.lives(copied)
    assert await one.use(token) is None


async def test_one_sign_in_too_many_ends_the_oldest_everywhere() -> None:
    """The limit of a user holds over all gateways as far as they know of each other's."""
    texts, clock = Texts(), Clock()
    one, two = Gateway(texts, clock, limit=2), Gateway(texts, clock, limit=2)
    sessions = []
    for _ in range(3):
        clock.now += 1
        sessions.append((await one.begin())[0])
    assert [await two.lives(session) for session in sessions] == [False, True, True]


async def test_while_the_store_is_away_each_gateway_goes_by_what_it_knows() -> None:
    """So does one whose store has lost everything; nobody is signed out for that."""
    texts, clock = Texts(), Clock()
    one, two = Gateway(texts, clock), Gateway(texts, clock)
    session, token = await one.begin()
    texts.is_away = True
    assert await one.lives(session)
    assert not await two.lives(session)
    assert await one.use(token)
    texts.is_away = False
    texts.kept.clear()
    assert await one.lives(session)


@by_row("text", ["null", "[]", "{", '{"id": "x"}', '"text"'])
async def test_what_cannot_be_read_is_nobodys_sign_in(text: str) -> None:
    """Written by another version, or by somebody else."""
    texts, clock = Texts(), Clock()
    one = Gateway(texts, clock)
    texts.kept["sign-in:x"] = text
    assert not await one.lives("x")


async def test_a_gateway_that_is_alone_keeps_its_own() -> None:
    """Nothing is asked of anybody."""
    one = Gateway(None, Clock())
    session, token = await one.begin()
    assert await one.lives(session)
    assert await one.use(token)


def test_tokens_of_one_key_are_read_by_all_who_have_it() -> None:
    """Also by one that has just begun, and over a change of keys; not by others, nor after their time."""
    clock = Clock()
    one, two = (Tokens("gw", clock, rotation=600, shared_key=KEY) for _ in range(2))
    stranger = Tokens("gw", clock, rotation=600, shared_key=bytes(31) + b"x")
    token = one.issue("alice", "s1")
    assert two.verify(token).user == "alice"
    with pytest.raises(TokenError):
        stranger.verify(token)
    with pytest.raises(TokenError):
        Tokens("gw", clock).verify(token)
    clock.now += 299
    assert two.verify(token).session == "s1"
    clock.now += 2
    with pytest.raises(TokenError):
        two.verify(token)
    for _ in range(8):
        clock.now += 150
        assert two.verify(one.issue("alice", "s1")).user == "alice"
