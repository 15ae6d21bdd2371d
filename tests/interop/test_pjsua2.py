"""A pjsua2 desk phone, which shares no code with us, at a whole gateway."""

from __future__ import annotations

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone, PhoneError
from tests.interop.gateway import (
    NEAR,
    PHONE_HZ,
    TONE_HZ,
    Gateway,
    RpcBrowser,
    hear_each_other,
)

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

SECOND_HZ = 1000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    """Desk phone 1001, registered."""
    return await gateway.phone("1001", PHONE_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(gateway: Gateway) -> DeskPhone:
    """Desk phone 1002, registered."""
    return await gateway.phone("1002", SECOND_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opus_only(gateway: Gateway) -> RpcBrowser:
    """Alice with a browser that knows nothing but Opus."""
    return await gateway.browser("alice", codecs=("opus",))


@pytest.fixture(autouse=True)
def _all_codecs(phone: DeskPhone, second: DeskPhone) -> None:
    """Each test begins with phones that answer at once and know every codec."""
    for each in (phone, second):
        each.on_incoming(200)
        each.codecs("PCMU", "PCMA", "G722")


async def tone_at(phone: DeskPhone) -> float:
    return float((await phone.expect("tone")).details["hz"])


async def hang_up(gateway: Gateway, phone: DeskPhone, *others: DeskPhone) -> None:
    phone.hangup()
    for each in (phone, *others):
        await each.expect("state", state="ended")
    await gateway.idle()


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
async def test_two_phones_talk_through_the_gateway(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, codec: str
) -> None:
    """Both speak plain RTP; each hears the other's tone, and the callee's hanging up reaches the caller."""
    phone.codecs(codec)
    phone.dial(gateway.uri("1002"))
    incoming = await second.expect("incoming")
    assert "1001@" in incoming.details["uri"]
    assert await tone_at(second) == pytest.approx(PHONE_HZ, abs=NEAR)
    assert await tone_at(phone) == pytest.approx(SECOND_HZ, abs=NEAR)
    await hang_up(gateway, second, phone)


async def test_two_phones_without_a_common_codec_are_transcoded(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone
) -> None:
    """A-law here, mu-law there."""
    phone.codecs("PCMA")
    second.codecs("PCMU")
    phone.dial(gateway.uri("1002"))
    assert await tone_at(second) == pytest.approx(PHONE_HZ, abs=NEAR)
    assert await tone_at(phone) == pytest.approx(SECOND_HZ, abs=NEAR)
    await hang_up(gateway, phone, second)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
async def test_each_codec_of_a_phone_is_transcoded_for_an_opus_browser(
    gateway: Gateway, phone: DeskPhone, opus_only: RpcBrowser, codec: str
) -> None:
    """The browser knows Opus only, the phone this codec only; tones are found by frequency, called from either side."""
    phone.codecs(codec)
    await opus_only.dial("1001")
    assert (await phone.expect("media")).details["codec"].startswith(codec)
    await opus_only.status("talking")
    await hear_each_other(opus_only, phone)
    await opus_only.hang_up()
    await phone.expect("state", state="ended")

    phone.dial(gateway.uri("alice"))
    await opus_only.status("ringing")
    await opus_only.accept()
    await phone.expect("state", state="answered")
    await hear_each_other(opus_only, phone)
    phone.hangup()
    await phone.expect("state", state="ended")
    await opus_only.status("ready")
    await gateway.idle()


@pytest.mark.core
async def test_the_echo_returns_the_phones_own_tone(gateway: Gateway, phone: DeskPhone) -> None:
    """600 answers, and the phone hears itself."""
    phone.dial(gateway.uri("600"))
    assert await tone_at(phone) == pytest.approx(PHONE_HZ, abs=NEAR)
    await hang_up(gateway, phone)


async def test_the_tone_service_plays_440_hz(gateway: Gateway, phone: DeskPhone) -> None:
    """601 answers with a steady tone."""
    phone.dial(gateway.uri("601"))
    assert await tone_at(phone) == pytest.approx(TONE_HZ, abs=NEAR)
    await hang_up(gateway, phone)


@pytest.mark.parametrize(("number", "status"), [("4711", 404), ("bob", 480)])
async def test_who_cannot_be_reached_is_told_by_status(
    gateway: Gateway, phone: DeskPhone, number: str, status: int
) -> None:
    """Nobody of that number, and a web user without a page."""
    phone.dial(gateway.uri(number))
    assert (await phone.expect("state", state="ended")).details["code"] == status


async def test_a_wrong_password_is_refused(gateway: Gateway) -> None:
    """The registrar does not let it in, and nothing of the password is in the log (checked at the end)."""
    stranger = await gateway.spare_phone()
    with pytest.raises(PhoneError, match=r"40[13]"):
        await stranger.register("1002", "a guess", gateway.config.domain, gateway.app.sip_hostport)
    await stranger.close()
