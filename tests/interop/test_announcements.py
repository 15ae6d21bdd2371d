"""What callers hear before anybody has answered: why their call fails, and the ringback of whom they call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from tests.interop.gateway import NEAR, Gateway, config_on_free_ports, gateway_with
from tests.interop.sipp_phone import caller
from tests.media.tone_support import sine

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

BUSY_HZ, NOBODY_HZ, RINGING_HZ, VOICE_HZ = 1500, 1200, 700, 1000
_USERS = [
    {"id": "alice", "web": True},
    {"id": "1001", "sip": True},
    {"id": "1002", "sip": True, "ringback": "ringing.wav"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    files = {name: str(folder / f"{name}.wav") for name in ("busy", "nobody", "ringing")}
    for name, hertz in zip(files, (BUSY_HZ, NOBODY_HZ, RINGING_HZ), strict=True):
        sine(files[name], hertz, 1.5)
    users = [user | ({"ringback": files["ringing"]} if "ringback" in user else {}) for user in _USERS]
    changes = {"ANNOUNCEMENTS__BUSY": files["busy"], "ANNOUNCEMENTS__NOT_FOUND": files["nobody"]}
    config = config_on_free_ports(folder, USERS=json.dumps(users), **changes)
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    return await gateway.phone("1001")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(gateway: Gateway) -> DeskPhone:
    return await gateway.phone("1002", VOICE_HZ)


async def tone_at(phone: DeskPhone) -> float:
    return float((await phone.expect("tone", 30)).details["hz"])


@pytest.mark.parametrize(
    ("number", "codec", "hertz", "status"),
    [("1002", "PCMU", BUSY_HZ, 486), ("4711", "G722", NOBODY_HZ, 404)],
)
async def test_a_phone_hears_why_its_call_fails_and_is_told(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, number: str, codec: str, hertz: int, status: int
) -> None:
    """In early media: of a phone that is busy, and of a number that nobody has; then the status as ever."""
    phone.codecs(codec)
    second.on_incoming(486)
    phone.dial(gateway.uri(number))
    assert await tone_at(phone) == pytest.approx(hertz, abs=NEAR)
    assert (await phone.expect("state", 30, state="ended")).details["code"] == status
    await gateway.idle()


async def test_who_hangs_up_hears_no_more_of_it(gateway: Gateway, phone: DeskPhone) -> None:
    """CANCEL, while it is said."""
    phone.dial(gateway.uri("4711"))
    assert await tone_at(phone) == pytest.approx(NOBODY_HZ, abs=NEAR)
    phone.hangup()
    assert (await phone.expect("state", 30, state="ended")).details["code"] == 487
    await gateway.idle()


async def test_a_phone_hears_the_ringback_of_whom_it_calls_until_that_one_answers(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone
) -> None:
    """In early media; then the other's voice, by the same description."""
    phone.codecs("PCMU")
    second.on_incoming(180)
    phone.dial(gateway.uri("1002"))
    await second.expect("incoming", 30)
    assert await tone_at(phone) == pytest.approx(RINGING_HZ, abs=NEAR)
    second.answer()
    await phone.expect("state", 30, state="answered")
    await phone.listen()
    assert await tone_at(phone) == pytest.approx(VOICE_HZ, abs=NEAR)
    phone.hangup()
    await second.expect("state", 30, state="ended")
    await gateway.idle()


async def test_a_page_hears_why_its_call_fails_and_is_told(gateway: Gateway) -> None:
    """By the connection that it has made before."""
    alice = await gateway.browser("alice")
    await alice.dial("4711")
    await alice.tone(NOBODY_HZ)
    await alice.status("ready")
    assert alice.last_cause == "not-found"
    await gateway.idle()


async def test_a_caller_that_insists_on_reliable_responses_hears_it_in_one(gateway: Gateway) -> None:
    """The 183 is repeated until its PRACK has come."""
    async with caller(gateway, "gateway_announced", "4711") as sipp:
        await sipp.finish()
    await gateway.idle()
