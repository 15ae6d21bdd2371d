"""Passwords that are tried at once, where their check takes its time: no more are tried than one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.identity.model import User
from gateway.web.auth.authenticator import Authenticator, TooManyFailures
from gateway.web.auth.site import SignInAttempt
from gateway.web.settings import WebSettings
from tests.rows import by_row
from tests.web.fake import FakeGateway

FEW = WebSettings(failure_burst=3, failures_per_second=1e-6, user_failures=5)
GUESSES = 40


class SlowGateway(FakeGateway):
    """Knows a password once the store has answered."""

    async def authenticate(self, user: str, secret: str | None) -> User | None:
        await asyncio.sleep(0.5)
        return await super().authenticate(user, secret)


class SlowSite:
    """A site's own sign-in, for which "right" is alice's password."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, attempt: SignInAttempt) -> str | None:
        self.asked += 1
        await asyncio.sleep(0.5)
        return "alice" if "right" in (attempt.password, attempt.headers.get("x-ticket")) else None


async def outcomes(attempt: Callable[[int], Awaitable[object]]) -> dict[str, int]:
    """How many of GUESSES attempts at once were let in, refused, and not tried."""
    found = await asyncio.gather(*map(attempt, range(GUESSES)), return_exceptions=True)
    waits = sum(isinstance(one, TooManyFailures) for one in found)
    assert not [one for one in found if isinstance(one, Exception) and not isinstance(one, TooManyFailures)]
    refused = found.count(None)
    return {"in": GUESSES - refused - waits, "refused": refused, "waits": waits}


def same(_: int) -> str:
    return "192.0.2.7"


def other(number: int) -> str:
    return f"198.51.100.{number}"


@pytest.mark.parametrize(("source", "tried"), [(same, 3), (other, 5)])
async def test_wrong_passwords_at_once_are_as_many_as_one_after_the_other(
    source: Callable[[int], str], tried: int
) -> None:
    """Of one source, and of many sources for one user; the rest is not tried."""
    gateway = SlowGateway()
    door = Authenticator(gateway, FEW)
    assert await outcomes(lambda number: door.user("alice", f"guess{number}", source(number))) == {
        "in": 0,
        "refused": tried,
        "waits": GUESSES - tried,
    }
    assert gateway.attempts == tried


async def test_where_the_user_has_signed_in_no_more_are_tried_at_once() -> None:
    """Others behind the address of the user's own have as few guesses as anybody."""
    gateway = SlowGateway()
    door = Authenticator(gateway, FEW)
    assert await door.user("alice", "wonder", same(0)) is not None
    found = await outcomes(lambda number: door.user("alice", f"guess{number}", same(number)))
    assert found == {"in": 0, "refused": 3, "waits": GUESSES - 3}


@pytest.mark.parametrize(("source", "tried"), [(same, 3), (other, 5)])
async def test_the_site_is_asked_for_as_many_as_one_after_the_other(source: Callable[[int], str], tried: int) -> None:
    """Of one source, and of many for one user."""
    site = SlowSite()
    door = Authenticator(FakeGateway(), FEW, site=site)
    found = await outcomes(lambda number: door.sign_in("alice", f"guess{number}", source(number), {}))
    assert (found, site.asked) == ({"in": 0, "refused": tried, "waits": GUESSES - tried}, tried)


async def test_the_site_is_asked_without_a_name_as_often_as_one_after_the_other() -> None:
    """By what a browser brings along, such as a ticket."""
    site = SlowSite()
    door = Authenticator(FakeGateway(), FEW, site=site)
    found = await outcomes(lambda number: door.sign_in("", "", same(number), {"x-ticket": f"guess{number}"}))
    assert (found, site.asked) == ({"in": 0, "refused": 3, "waits": GUESSES - 3}, 3)


@by_row("way", ["password", "site", "ticket"])
async def test_right_passwords_at_once_are_all_let_in(way: str) -> None:
    """A page that asks for much at once, and a house behind one address: a right one gives its place to the next."""
    door = Authenticator(SlowGateway(), FEW, site=SlowSite())

    async def attempt(number: int) -> object:
        if way == "password":
            return await door.user("alice", "wonder", same(number))
        if way == "site":
            return await door.sign_in("alice", "right", same(number), {})
        return await door.sign_in("", "", same(number), {"x-ticket": "right"})

    assert await outcomes(attempt) == {"in": GUESSES, "refused": 0, "waits": 0}


async def test_a_guess_that_is_given_up_gives_its_place_back() -> None:
    """Also one that still waited for its turn; and the store's fault is nobody's guess."""
    door = Authenticator(SlowGateway(), FEW)
    tries = [asyncio.ensure_future(door.user("alice", "guess", same(0))) for _ in range(GUESSES)]
    await asyncio.sleep(0.1)
    for one in tries:
        one.cancel()
    await asyncio.gather(*tries, return_exceptions=True)
    assert await door.user("alice", "wonder", same(0)) is not None


async def test_the_owner_is_let_in_while_others_guess_at_once() -> None:
    """From where it has signed in before, as fast as ever."""
    door = Authenticator(SlowGateway(), FEW)
    assert await door.user("alice", "wonder", same(0)) is not None
    loop = asyncio.get_running_loop()
    guesses = asyncio.ensure_future(outcomes(lambda number: door.user("alice", "guess", other(number))))
    await asyncio.sleep(0.1)
    began = loop.time()
    assert await door.user("alice", "wonder", same(0)) is not None
    assert loop.time() - began < 0.6
    assert (await guesses)["in"] == 0
