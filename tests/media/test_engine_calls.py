"""Whole calls over loopback: aiortc as the browser, a UDP socket as the phone, tones found by frequency."""

from __future__ import annotations

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.engine import Connected, FirstMedia, Kind, Party
from tests.media.engine_support import Browser, Phone, config, frequency_of, running, until
from tests.rows import by_row

BROWSER = Party("browser", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
TOLERANCE = 8.0


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= TOLERANCE


@by_row(
    ("browser_codecs", "phone_codecs", "transcoding"),
    [
        (("pcmu",), ("pcmu", "event"), False),
        (("opus",), ("opus", "event48"), False),
        (("opus",), ("pcmu", "event"), True),
        (("opus",), ("pcma", "event"), True),
        (("opus",), ("g722", "event"), True),
    ],
)
async def test_a_browser_calls_a_phone_and_both_hear_each_other(
    browser_codecs: tuple[str, ...], phone_codecs: tuple[str, ...], transcoding: bool
) -> None:
    """The tone of each side is found at the other by its frequency."""
    codec = phone_codecs[0]
    async with running() as (engine, events):
        browser, phone = Browser(600.0, browser_codecs), await Phone(phone_codecs).open()
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            phone.play(1000.0, codec)
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            await until(lambda: near(browser.heard(), 1000.0))
            await until(lambda: near(frequency_of(*phone.heard(codec)), 600.0))
            statistics = await engine.delete("call")
        finally:
            await browser.close()
            await phone.close()
    assert statistics.transcoding is transcoding
    assert statistics.parties["phone"].received.codec == codec
    assert {(type(event), event.tag) for event in events} >= {
        (Connected, "browser"),
        (Connected, "phone"),
        (FirstMedia, "browser"),
        (FirstMedia, "phone"),
    }


async def test_a_phone_calls_a_browser() -> None:
    """The gateway offers to the browser, Opus against the phone's A-law."""
    async with running() as (engine, _):
        browser, phone = Browser(700.0), await Phone(("pcma", "event")).open()
        try:
            offer = await engine.offer("call", PHONE, BROWSER, phone.sdp())
            phone.take(await engine.answer("call", BROWSER, PHONE, await browser.answer(offer)))
            phone.play(900.0, "pcma")
            await until(lambda: near(browser.heard(), 900.0))
            await until(lambda: near(frequency_of(*phone.heard("pcma")), 700.0))
        finally:
            await browser.close()
            await phone.close()


async def test_an_early_answer_carries_the_call_when_the_phone_chooses_another_codec() -> None:
    """The browser is answered before the phone; the phone's own choice is transcoded, the answer stays."""
    async with running() as (engine, events):
        browser, phone = Browser(600.0), await Phone(("pcmu", "event")).open()
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            early = await engine.accept("call", BROWSER)
            await browser.take_answer(early)
            await until(lambda: Connected("call", "browser") in events)
            assert await engine.answer("call", PHONE, BROWSER, phone.sdp()) == early
            phone.play(1000.0, "pcmu")
            await until(lambda: near(browser.heard(), 1000.0))
            await until(lambda: near(frequency_of(*phone.heard("pcmu")), 600.0))
        finally:
            await browser.close()
            await phone.close()


async def test_the_echo_gives_a_browser_its_own_voice() -> None:
    """A service party's text goes back unchanged as its answer."""
    echo = Party("echo", Kind.SERVICE, service="echo")
    async with running() as (engine, _):
        browser = Browser(500.0)
        try:
            text = await engine.offer("call", BROWSER, echo, await browser.offer())
            await browser.take_answer(await engine.answer("call", echo, BROWSER, text))
            await until(lambda: near(browser.heard(), 500.0))
        finally:
            await browser.close()


@by_row("codec", ["opus", "pcmu"])
async def test_the_tone_is_heard_by_a_browser(codec: str) -> None:
    """440 Hz, steadily, in the codec the browser wants."""
    service = Party("tone", Kind.SERVICE, service="tone")
    async with running() as (engine, _):
        browser = Browser(500.0, (codec,))
        try:
            text = await engine.offer("call", BROWSER, service, await browser.offer())
            await browser.take_answer(await engine.answer("call", service, BROWSER, text))
            await until(lambda: near(browser.heard(), 440.0))
        finally:
            await browser.close()


@by_row("codec", ["pcmu", "pcma", "g722", "opus"])
@by_row(("service", "expected"), [("echo", 800.0), ("tone", 440.0)])
async def test_services_serve_phones_in_every_codec(service: str, expected: float, codec: str) -> None:
    """A phone hears the echo of its own tone, or the steady tone."""
    party = Party("service", Kind.SERVICE, service=service)
    async with running() as (engine, _):
        phone = await Phone((codec, "event")).open()
        try:
            text = await engine.offer("call", PHONE, party, phone.sdp())
            phone.take(await engine.answer("call", party, PHONE, text))
            phone.play(800.0, codec)
            await until(lambda: near(frequency_of(*phone.heard(codec)), expected))
        finally:
            await phone.close()


async def test_a_service_may_call_a_phone() -> None:
    """The offering leg of a service offers the service's description."""
    party = Party("service", Kind.SERVICE, service="tone")
    async with running() as (engine, _):
        phone = await Phone(("pcmu", "event")).open()
        try:
            phone.take(await engine.offer("call", party, PHONE, SERVICE_DESCRIPTION))
            assert await engine.answer("call", PHONE, party, phone.sdp()) == SERVICE_DESCRIPTION
            await until(lambda: near(frequency_of(*phone.heard("pcmu")), 440.0))
        finally:
            await phone.close()


@by_row(
    ("bandwidth", "direction", "is_reported"),
    [
        ("b=RS:0", "sendrecv", False),
        ("b=RR:0", "sendrecv", True),
        ("b=RS:800", "sendrecv", True),
        ("b=RR:0", "sendonly", False),
        ("b=RS:0", "sendonly", True),
    ],
)
async def test_a_phone_that_leaves_us_no_rtcp_bandwidth_is_sent_none(
    bandwidth: str, direction: str, is_reported: bool
) -> None:
    """RFC 3556: RS is what counts where we send media, else RR; a BYE is RTCP as well."""
    async with running(config(report_interval=0.1)) as (engine, _):
        phone, other = await Phone().open(), await Phone().open()
        first, second = Party("first", Kind.RTP), Party("second", Kind.RTP)
        try:
            said = phone.sdp(direction=direction).replace("a=rtcp:", f"{bandwidth}\r\na=rtcp:")
            other.take(await engine.offer("call", first, second, said))
            phone.take(await engine.answer("call", second, first, other.sdp()))
            phone.play(600)
            other.play(900)
            await until(lambda: len(other.rtcp) > 3)
            await engine.delete("call")
            await until(lambda: len(other.rtcp) > 4)
            assert bool(phone.rtcp) is is_reported
        finally:
            await phone.close()
            await other.close()
