"""docs/troubleshooting.md, phones that do not register and echoes: each row is caused, and the page's commands tell."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.app import tone_peers
from tests.interop.gateway import PASSWORDS
from tests.interop.stranger import Stranger, authorization, stranger
from tests.interop.symptoms import PAGE, Rig, rigged
from tests.media.engine_support import until

# Each asks a command or two, which take seconds to start, and longer beside other work.
pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

REGISTER = "A phone does not register"
ECHO = "Everybody hears themselves"
SCANNER = "127.0.0.67"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    changes = {"SIP__LIMITS__FAILED_LOGINS": "3", "SIP__REGISTRATION__MIN_EXPIRES": "60", "SIP__BANS__NEVER": "[]"}
    async with rigged(tmp_path_factory.mktemp("gateway"), **changes) as running:
        yield running


def answer_of(response: bytes) -> str:
    """Its status and what stands behind that."""
    return response.decode().partition("\r\n")[0].removeprefix("SIP/2.0 ")


async def registered(phone: Stranger, rig: Rig, user: str, name: str, password: str, *headers: str) -> str:
    """What a phone is answered that registers `user` with these credentials."""
    domain = rig.gateway.config.domain
    uri, aor = f"sip:{domain}", f"sip:{user}@{domain}"
    headers = (f"Contact: <sip:{user}@{phone.place[0]}:{phone.place[1]}>", *headers)
    first = await phone.ask(phone.request("REGISTER", uri, user=user, to=aor, headers=headers), rig.gateway.sip)
    if not answer_of(first).startswith("401"):
        return answer_of(first)
    headers = (*headers, authorization(first, "REGISTER", uri, name, password))
    request = phone.request("REGISTER", uri, user=user, to=aor, headers=headers, cseq=2)
    return answer_of(await phone.ask(request, rig.gateway.sip))


def rows() -> list[str]:
    """The first column of the table."""
    [section] = re.findall(rf"^## {REGISTER}\n(.*?)(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)[1:]


async def test_each_answer_to_a_phone_that_does_not_register_has_its_cause(rig: Rig) -> None:
    """In the order of the table; `api/users` says who has a SIP account, and counts the phone that is let in."""
    again, no_account, other, waits, brief, nothing = rows()
    secret = PASSWORDS["1001"]
    async with stranger() as phone:
        assert (await registered(phone, rig, "1001", "1001", secret)).startswith("200 ")
        users = {one["id"]: one for one in (await rig.tells(REGISTER, "/api/users"))["users"]}
        assert (users["1001"]["sip"], users["1001"]["phones"], users["alice"]["sip"]) == (True, 1, False)
        said = await registered(phone, rig, "alice", "alice", PASSWORDS["alice"])
        assert f"{said[:3]} `{said[4:]}`" == no_account
        said = await registered(phone, rig, "1002", "1001", secret)
        assert f"{said[:3]} `{said[4:]}`" == other
        assert (await registered(phone, rig, "1001", "1001", secret, "Expires: 5"))[:3] == brief
        for name, password in (("1001", "wrong"), ("the desk phone", secret)):
            assert (await registered(phone, rig, "1001", name, password)).startswith(again.partition(" ")[0])
    async with stranger() as guesser:
        for _ in range(2):  # and one before: 1001 has signed in from this address, so what is guessed at it counts
            assert (await registered(guesser, rig, "1001", "1001", "wrong")).startswith("401 ")
        said = await registered(guesser, rig, "1001", "1001", secret)
        assert f"{said[:3]} `{said[4:]}`" == waits
    assert nothing == "nothing at all"


async def test_an_address_that_is_banned_hears_nothing_and_is_named(rig: Rig) -> None:
    """`gateway bans` has it with the reason; lifted, it is answered again."""
    domain = rig.gateway.config.domain
    async with stranger(SCANNER) as scanner, stranger() as phone:
        agents = [f"User-Agent: {name}" for name in ("friendly-scanner", "desk phone")]
        requests = [scanner.request("OPTIONS", f"sip:{domain}", headers=(agent,)) for agent in agents]
        assert "Nobody is banned." in await rig.prints(REGISTER, "gateway bans")
        for request in requests:
            scanner.send(request, rig.gateway.sip)
        # Its answer comes after theirs would have come.
        await phone.ask(phone.request("OPTIONS", f"sip:{domain}"), rig.gateway.sip)
        assert scanner.received == []
        told = await rig.prints(REGISTER, "gateway bans")
        assert re.search(rf"^{SCANNER} .* friendly-scanner", told, re.MULTILINE)
        lift = f"gateway bans --lift {SCANNER}"
        assert "is answered again" in await rig.prints(REGISTER, "gateway bans", lift)
        answer = await scanner.ask(scanner.request("OPTIONS", f"sip:{domain}"), rig.gateway.sip)
        assert answer_of(answer).startswith("200 ")


async def test_who_talks_hears_the_far_end_alone_and_in_the_echo_service_themselves(rig: Rig) -> None:
    """An echo is what the far end sends: the gateway gives nobody's voice back, and 600 does."""
    caller = tone_peers.Phone(rig.phone, rig.gateway, "1001")
    async with tone_peers.Browser("alice") as page:
        await page.open(rig.gateway.app.signed_in_url("alice"))
        dialling = asyncio.ensure_future(caller.dial("alice"))
        await page.status("ringing")
        await page.accept()
        assert await dialling == 200
        await until(lambda: caller.hears() == {tone_peers.TONES["alice"]})
        await until(lambda: page.hears() == {tone_peers.TONES["1001"]})
        [call] = rig.gateway.app.calls
        told = await rig.tells(ECHO, "CALL_ID", call.id)
        assert {one["party"].partition("@")[0] for one in told["media"]} == {"sip:1001", "sip:alice"}
        assert min(one["received"]["packets"] for one in told["media"]) > 0
        await until(lambda: caller.hears() == {tone_peers.TONES["alice"]})
        await caller.hang_up()
        await page.status("ready")
    echo = tone_peers.Phone(rig.phone, rig.gateway, "1001")
    assert await echo.dial("600") == 200
    await until(lambda: echo.hears() == {tone_peers.TONES["1001"]})
    await echo.hang_up()
    await rig.gateway.idle()
