"""What every media engine promises, whatever makes the media; add an engine to the lists and it must pass.

EVERY engine keeps the rules of the interface; REAL engines also make descriptions that can be used.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import CallStatistics, Kind, MediaEngine, MediaError, Party
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.testing.engine import FakeEngine
from sdp import SessionDescription, read_codecs
from sdp.attributes import Fingerprint
from sdp.keys import KEY_OCTETS
from tests.media import rtpengine_support
from tests.media.engine_support import browser_sdp, config, phone_sdp
from tests.rows import by_row

pytestmark = pytest.mark.wall

Maker = Callable[[], MediaEngine]
REAL: dict[str, Maker] = {
    "embedded": lambda: EmbeddedEngine(config()),
    "rtpengine": lambda: RtpengineEngine(rtpengine_support.config(rtpengine_support.shared().address)),
}
EVERY: dict[str, Maker] = {**REAL, "fake": FakeEngine}

BROWSER = Party("browser", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP)
SDES = Party("secure", Kind.SDES)
ECHO = Party("echo", Kind.SERVICE, service="echo")
KINDS = {
    Kind.WEBRTC: "UDP/TLS/RTP/SAVPF",
    Kind.RTP: "RTP/AVP",
    Kind.SDES: "RTP/SAVP",
    Kind.DTLS: "UDP/TLS/RTP/SAVP",
    Kind.BEST_EFFORT: "RTP/AVP",
}


async def started(make: Maker) -> AsyncIterator[MediaEngine]:
    engine = make()
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(params=list(EVERY))
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[MediaEngine]:
    async for each in started(EVERY[request.param]):
        yield each


@pytest_asyncio.fixture(params=list(REAL))
async def real(request: pytest.FixtureRequest) -> AsyncIterator[MediaEngine]:
    async for each in started(REAL[request.param]):
        yield each


def description(text: str) -> SessionDescription:
    return SessionDescription.parse(text)


def answer_of(kind: Kind, offer: str) -> str:
    """What a peer of that kind answers."""
    if kind is Kind.WEBRTC:
        return browser_sdp(setup="active")
    if kind is Kind.SDES:
        return sdes_sdp(offer)
    if kind is Kind.BEST_EFFORT and "a=crypto" in offer:
        return sdes_sdp(offer).replace("RTP/SAVP", "RTP/AVP")
    return dtls_sdp("active") if kind is Kind.DTLS else phone_sdp()


def dtls_sdp(setup: str = "actpass") -> str:
    """A phone with DTLS-SRTP and no ICE."""
    text = phone_sdp().replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
    return text + f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=setup:{setup}\r\n"


def sdes_sdp(offer: str | None = None) -> str:
    """A secure phone's offer, or its answer to `offer` with the same suite."""
    suite = description(offer).media[0].values("crypto")[0].split()[1] if offer else "AES_CM_128_HMAC_SHA1_80"
    key = base64.b64encode(bytes(KEY_OCTETS[suite])).decode()
    text = phone_sdp().replace("RTP/AVP", "RTP/SAVP")
    return text + f"a=crypto:1 {suite} inline:{key}\r\n"


def passes_keys_on(engine: MediaEngine) -> bool:
    """rtpengine gives one secure phone the other's key where both have its suite, and need not decrypt then."""
    return isinstance(engine, RtpengineEngine)


def offer_of(kind: Kind) -> str:
    return {
        Kind.WEBRTC: browser_sdp(),
        Kind.RTP: phone_sdp(),
        Kind.SDES: sdes_sdp(),
        Kind.DTLS: dtls_sdp(),
        Kind.BEST_EFFORT: sdes_sdp().replace("RTP/SAVP", "RTP/AVP"),
    }[kind]


async def test_an_offer_and_its_answer_give_two_descriptions(engine: MediaEngine) -> None:
    """Both can be parsed and have as many sections as they were asked for."""
    offer = description(await engine.offer("call", BROWSER, PHONE, browser_sdp()))
    answer = description(await engine.answer("call", PHONE, BROWSER, phone_sdp()))
    assert len(offer.media) == len(answer.media) == 1


async def test_after_accept_the_answer_is_the_one_already_given(engine: MediaEngine) -> None:
    """As long as the media can run on it."""
    await engine.offer("call", BROWSER, PHONE, browser_sdp(codecs=("opus", "pcmu")))
    if not engine.capabilities.early_answer:
        with pytest.raises(MediaError):
            await engine.accept("call", BROWSER)
        return
    early = await engine.accept("call", BROWSER)
    assert await engine.accept("call", BROWSER) == early or isinstance(engine, FakeEngine)
    given = await engine.answer("call", PHONE, BROWSER, phone_sdp())
    assert given == early or isinstance(engine, FakeEngine)


@pytest.mark.parametrize("verb", ["accept", "answer", "trickle", "send_dtmf", "query"])
async def test_an_unknown_call_is_481(engine: MediaEngine, verb: str) -> None:
    """Every request but delete and offer."""
    requests: dict[str, Callable[[], Awaitable[object]]] = {
        "accept": lambda: engine.accept("nobody", BROWSER),
        "answer": lambda: engine.answer("nobody", PHONE, BROWSER, phone_sdp()),
        "trickle": lambda: engine.trickle("nobody", "browser", "", None),
        "send_dtmf": lambda: engine.send_dtmf("nobody", "phone", "1"),
        "query": lambda: engine.query("nobody"),
    }
    with pytest.raises(MediaError) as raised:
        await requests[verb]()
    assert raised.value.status == 481


async def test_deleting_an_unknown_call_returns_empty_statistics(engine: MediaEngine) -> None:
    """And so does deleting twice."""
    assert await engine.delete("nobody") == CallStatistics()
    await engine.offer("call", BROWSER, PHONE, browser_sdp())
    assert set((await engine.delete("call")).parties) == {"browser", "phone"}
    assert await engine.delete("call") == CallStatistics()


async def test_calls_do_not_meet(engine: MediaEngine) -> None:
    """The same tags in two calls are four parties."""
    for call in ("one", "two"):
        await engine.offer(call, BROWSER, PHONE, browser_sdp())
    await engine.delete("one")
    assert set((await engine.query("two")).parties) == {"browser", "phone"}


@by_row("name", EVERY)
async def test_closing_deletes_every_call_and_is_idempotent(name: str) -> None:
    """Nothing is left behind."""
    engine = EVERY[name]()
    await engine.start()
    await engine.offer("call", BROWSER, PHONE, browser_sdp())
    await engine.close()
    await engine.close()
    with pytest.raises(MediaError):
        await engine.query("call")


@pytest.mark.parametrize("target", list(KINDS))
@pytest.mark.parametrize("source", list(KINDS))
async def test_every_kind_can_call_every_kind(real: MediaEngine, source: Kind, target: Kind) -> None:
    """Each side is told its own profile, keys and addresses, and nothing of the other's."""
    caller, callee = Party("caller", source), Party("callee", target)
    offer = await real.offer("call", caller, callee, offer_of(source))
    answer = await real.answer("call", callee, caller, answer_of(target, offer))
    for text, speaks in ((offer, target), (answer, source)):
        # What an engine cannot protect so, it says, and treats as the plain RTP that it is (RFC 8643).
        plain = speaks is Kind.BEST_EFFORT and speaks not in real.capabilities.protections
        kind = Kind.RTP if plain else speaks
        media = description(text).media[0]
        assert media.protocol == KINDS[kind]
        assert media.port
        assert media.has("ice-ufrag") is (kind is Kind.WEBRTC)
        assert media.has("rtcp-mux") is (kind is Kind.WEBRTC or (kind is Kind.DTLS and text is offer))
        assert media.has("fingerprint") is (kind in (Kind.WEBRTC, Kind.DTLS))
        assert media.has("crypto") is (kind in (Kind.SDES, Kind.BEST_EFFORT))
        assert "abcd" not in text
        assert "AB:AB:AB:AB" not in text
        assert not re.search(r"\b41000\b", text)
        if not (passes_keys_on(real) and {source, target} <= {Kind.SDES, Kind.BEST_EFFORT}):
            assert "AAAA" not in text
    if source is Kind.WEBRTC:
        assert description(answer).media[0].value("setup") == "passive"


async def test_a_party_with_codecs_of_its_own_hears_of_no_others(real: MediaEngine) -> None:
    """In both directions: what it is offered, and what it is answered though it offered more (a trunk's `codecs`)."""
    trunk = Party("trunk", Kind.RTP, codecs=("pcma",))
    offer = await real.offer("out", BROWSER, trunk, browser_sdp(codecs=("opus", "pcmu", "pcma")))
    assert codecs_told(offer) == ["PCMA"]
    await real.offer("in", trunk, BROWSER, phone_sdp(codecs=("opus", "pcmu", "pcma")))
    answer = await real.answer("in", BROWSER, trunk, browser_sdp(codecs=("opus",), setup="active"))
    assert codecs_told(answer) == ["PCMA"]

    async def call_with_another() -> None:
        await real.offer("none", trunk, BROWSER, phone_sdp(codecs=("opus",)))
        await real.answer("none", BROWSER, trunk, browser_sdp(codecs=("opus",), setup="active"))

    with pytest.raises(MediaError) as refused:
        await call_with_another()
    assert refused.value.status == 488


def codecs_told(text: str) -> list[str]:
    return [codec.name.upper() for codec in read_codecs(description(text).media[0]) if codec.is_media]


@pytest.mark.parametrize("kind", [Kind.WEBRTC, Kind.RTP, Kind.SDES])
@pytest.mark.parametrize("service", ["echo", "tone"])
async def test_services_answer_every_kind_and_may_call_it(real: MediaEngine, kind: Kind, service: str) -> None:
    """What a service party is given as an offer goes back unchanged as its answer."""
    peer, party = Party("peer", kind), Party("service", Kind.SERVICE, service=service)
    if service not in real.capabilities.services:
        with pytest.raises(MediaError) as raised:
            await real.offer("call", peer, party, offer_of(kind))
        assert raised.value.status == 488
        return
    text = await real.offer("call", peer, party, offer_of(kind))
    assert description(text).media[0].port
    answer = await real.answer("call", party, peer, text)
    assert description(answer).media[0].protocol == KINDS[kind]
    offer = await real.offer("back", party, peer, text)
    assert await real.answer("back", peer, party, answer_of(kind, offer))


async def test_a_re_offer_keeps_ports_keys_and_roles(real: MediaEngine) -> None:
    """Hold and resume: nothing moves that need not."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    first = description(await real.answer("call", PHONE, BROWSER, phone_sdp()))
    held = description(await real.offer("call", PHONE, BROWSER, phone_sdp(direction="sendonly", version=2)))
    for attribute in ("ice-ufrag", "ice-pwd", "mid"):
        assert held.media[0].value(attribute) == first.media[0].value(attribute)
    assert held.media[0].port == first.media[0].port
    assert held.first_of(held.media[0], Fingerprint) == first.first_of(first.media[0], Fingerprint)
    assert held.media[0].value("setup") == "actpass"
    assert held.direction_of(held.media[0]) == "sendonly"
    answer = description(await real.answer("call", BROWSER, PHONE, browser_sdp(setup="active", direction="recvonly")))
    assert answer.direction_of(answer.media[0]) == "recvonly"


async def test_an_ice_restart_of_the_browser_changes_our_credentials(real: MediaEngine) -> None:
    """The answer to the restart carries new ones, the fingerprint stays."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    first = description(await real.answer("call", PHONE, BROWSER, phone_sdp()))
    await real.offer("call", BROWSER, PHONE, browser_sdp(ufrag="wxyz"))
    second = description(await real.answer("call", PHONE, BROWSER, phone_sdp(version=2)))
    assert second.media[0].value("ice-ufrag") != first.media[0].value("ice-ufrag")
    assert second.media[0].value("ice-pwd") != first.media[0].value("ice-pwd")
    assert second.media[0].value("fingerprint") == first.media[0].value("fingerprint")
    assert second.media[0].value("setup") == "passive"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("nonsense", 400),
        ("v=0\r\nm=audio\r\n", 488),
        (phone_sdp().replace("m=audio 41000", "m=audio 999999"), 488),
        ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", 488),
        (phone_sdp(codecs=("event",)), 488),
        (phone_sdp().replace("m=audio", "m=image"), 488),
        (phone_sdp(port=0), 488),
        ("v=0\r\n" + 100_000 * "a=ssrc:1 cname:x\r\n", 400),
    ],
    ids=["empty", "nonsense", "cut", "port", "no-media", "events-only", "image", "port-0", "bomb"],
)
async def test_a_strangers_description_is_refused_with_its_status(real: MediaEngine, text: str, status: int) -> None:
    """400 for what cannot be read, 488 for what cannot be had; nothing of the call remains."""
    with pytest.raises(MediaError) as raised:
        await real.offer("call", PHONE, BROWSER, text)
    assert raised.value.status == status
    assert await real.delete("call") == CallStatistics()


@pytest.mark.parametrize("attribute", ["ice-ufrag", "ice-pwd", "fingerprint"])
async def test_a_browser_without_keys_is_refused_before_anybody_rings(real: MediaEngine, attribute: str) -> None:
    """488 to the offer, not to the answer."""
    with pytest.raises(MediaError) as raised:
        await real.offer("call", BROWSER, PHONE, browser_sdp().replace(f"a={attribute}", f"a=x-{attribute}"))
    assert raised.value.status == 488


@pytest.mark.parametrize(
    "answer",
    [
        phone_sdp(codecs=("cn",)),
        phone_sdp(port=0),
        browser_sdp().replace("a=fingerprint", "a=x-fingerprint"),
    ],
    ids=["no-codec", "rejected", "wrong-profile"],
)
async def test_an_answer_that_cannot_be_used_is_refused_and_the_call_stays(real: MediaEngine, answer: str) -> None:
    """A second, better answer is taken."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    with pytest.raises(MediaError) as raised:
        await real.answer("call", PHONE, BROWSER, answer)
    assert raised.value.status in (400, 488)
    assert description(await real.answer("call", PHONE, BROWSER, phone_sdp())).media[0].port


async def test_an_answer_without_an_offer_is_refused(real: MediaEngine) -> None:
    """The browser never was offered anything."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    with pytest.raises(MediaError) as raised:
        await real.answer("call", BROWSER, PHONE, browser_sdp())
    assert raised.value.status == 481


@pytest.mark.parametrize("digit", ["", "12", "x", "\r\n"])
async def test_what_is_no_digit_is_refused(real: MediaEngine, digit: str) -> None:
    """With 400, before anything is sent."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    await real.answer("call", PHONE, BROWSER, phone_sdp())
    with pytest.raises(MediaError) as raised:
        await real.send_dtmf("call", "phone", digit)
    assert raised.value.status == 400


async def test_a_candidate_of_the_browser_is_taken(real: MediaEngine) -> None:
    """Also the one that ends the list; one that is far too long is refused."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    await real.trickle("call", "browser", "candidate:1 1 udp 1 192.0.2.1 9 typ host", "0")
    await real.trickle("call", "browser", "", None)
    with pytest.raises(MediaError):
        await real.trickle("call", "browser", "candidate:" + 5000 * "1", "0")
    with pytest.raises(MediaError):
        await real.trickle("call", "stranger", "", None)


@pytest.mark.parametrize(
    "crypto",
    [
        "",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + 40 * "A" + "|300:1\r\n",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n",
        "a=crypto:1 F8_128_HMAC_SHA1_80 inline:" + 40 * "A" + "\r\n",
    ],
    ids=["none", "master-key-identifier", "short", "suite"],
)
async def test_a_key_that_cannot_be_used_is_refused_without_being_quoted(real: MediaEngine, crypto: str) -> None:
    """400 or 488, whichever the key deserves."""
    offer = phone_sdp().replace("RTP/AVP", "RTP/SAVP") + crypto
    with pytest.raises(MediaError) as raised:
        await real.offer("call", SDES, BROWSER, offer)
    assert raised.value.status in (400, 488)
    assert "AAAA" not in raised.value.reason


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (PHONE, PHONE),
        (ECHO, Party("tone", Kind.SERVICE, service="tone")),
        (PHONE, Party("other", Kind.SERVICE, service="music")),
        (PHONE, Party("other", Kind.SERVICE)),
    ],
    ids=["one-tag", "two-services", "unknown-service", "no-service"],
)
async def test_parties_that_make_no_call_are_refused(real: MediaEngine, source: Party, target: Party) -> None:
    """488, and nothing remains."""
    with pytest.raises(MediaError) as raised:
        await real.offer("call", source, target, phone_sdp())
    assert raised.value.status == 488
    assert await real.delete("call") == CallStatistics()


async def test_a_call_keeps_what_its_parties_speak(real: MediaEngine) -> None:
    """Another kind under a known tag is refused; the call lives on."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    with pytest.raises(MediaError):
        await real.offer("call", BROWSER, Party("phone", Kind.SDES), browser_sdp())
    assert description(await real.answer("call", PHONE, BROWSER, phone_sdp())).media[0].port


async def test_a_call_may_be_offered_to_several(real: MediaEngine) -> None:
    """Each callee gets an offer of its own kind; the one that answers is joined."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    secure = description(await real.offer("call", BROWSER, SDES, browser_sdp()))
    assert secure.media[0].protocol == "RTP/SAVP"
    assert description(await real.answer("call", PHONE, BROWSER, phone_sdp())).media[0].port


async def test_a_re_offer_of_the_callee_is_answered_through_the_caller(real: MediaEngine) -> None:
    """Roles change with each exchange; versions rise, ports stay."""
    first = description(await real.offer("call", BROWSER, PHONE, browser_sdp()))
    await real.answer("call", PHONE, BROWSER, phone_sdp())
    await real.offer("call", PHONE, BROWSER, phone_sdp(direction="inactive", version=2))
    second = description(await real.answer("call", BROWSER, PHONE, browser_sdp(setup="active", direction="inactive")))
    assert second.media[0].port == first.media[0].port
    assert second.direction_of(second.media[0]) == "inactive"
    assert first.origin is not None
    assert second.origin is not None
    assert second.origin.session_id == first.origin.session_id
    assert second.origin.session_version > first.origin.session_version


async def test_an_engine_does_what_its_capabilities_say(real: MediaEngine) -> None:
    """Offers of its own, parties joined, isolated, released and moved: all of it, or 501 and nothing changed."""
    await real.offer("call", BROWSER, PHONE, browser_sdp())
    await real.answer("call", PHONE, BROWSER, phone_sdp())
    await real.offer("other", BROWSER, PHONE, browser_sdp())
    third = Party("third", Kind.RTP)
    requests: list[tuple[bool, Callable[[], Awaitable[object]]]] = [
        (real.capabilities.create_offer, lambda: real.create_offer("call", third, BROWSER)),
        (real.capabilities.create_offer, lambda: real.answer("call", third, None, phone_sdp(port=41002))),
        (real.capabilities.join, lambda: real.join("call", "browser", "third")),
        (real.capabilities.join, lambda: real.isolate("call", "browser")),
        (real.capabilities.join, lambda: real.release("call", "third")),
        (real.capabilities.join, lambda: real.release("call", "phone")),
        (real.capabilities.join, lambda: real.adopt("call", "other", "phone")),
    ]
    for able, request in requests:
        if able:
            await request()
            continue
        with pytest.raises(MediaError) as raised:
            await request()
        assert raised.value.status == 501
    await real.delete("other")
    assert set((await real.delete("call")).parties) >= {"browser"}
