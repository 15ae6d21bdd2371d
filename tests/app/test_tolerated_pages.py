"""Offers of pages with lines that a call does not need, or cannot do without: by HTTP and by JSON-RPC, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from gateway.demo.chromium import BrowserError
from gateway.sip.invite import events
from tests.app.tolerated import (
    AT_ONCE,
    CALLEE_HZ,
    CALLER_HZ,
    ENGINES,
    NEAR,
    OF_ANYBODY,
    TRIES,
    Ear,
    Edit,
    Line,
    Pbx,
    every,
    gateway_on,
    other,
    plus,
)
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser
from tests.media.engine_support import Browser, until


def place(line: str) -> Edit:
    """Write another c= line, "" for none: the place of a page is found by its checks."""
    return every(r"^c=[^\r]*\r\n", f"{line}\r\n" if line else "")


OLD_PROFILE = other("UDP/TLS/RTP/SAVPF", "RTP/SAVPF")
GOES_ON: dict[str, Edit] = {
    **OF_ANYBODY,
    "small letters": other("UDP/TLS/RTP/SAVPF", "udp/tls/rtp/savpf"),
    "the profile of old pages": OLD_PROFILE,
    "rtcp without a value": every(r"^a=rtcp:[^\r]*", "a=rtcp:"),
    "rtcp beyond all ports": every(r"^a=rtcp:[^\r]*", "a=rtcp:70000"),
    "rtcp at a name": every(r"^a=rtcp:[^\r]*", "a=rtcp:9 IN IP4 nobody.invalid"),
    "a fingerprint more that is none": plus("a=fingerprint:", "a=fingerprint:sha-256 x"),
    "a setup of nothing": every(r"^a=setup:[^\r]*", "a=setup:"),
    "a setup of no role": every(r"^a=setup:[^\r]*", "a=setup:both"),
    "no setup": every(r"^a=setup:[^\r]*\r\n", ""),
    "a candidate of nothing": plus("a=candidate:", "a=candidate:1 1 udp x y z"),
    "options of nothing": plus("a=ice-options:"),
    "a source without a name": plus("a=ssrc:", "a=ssrc-group:"),
    "an extension without a number": plus("a=extmap:", "a=extmap:x urn:x"),
    "feedback of nothing": plus("a=rtcp-fb:", "a=rtcp-fb:* "),
    "parameters of no format": plus("a=fmtp:", "a=fmtp:x y"),
    "a group of nobody": other("t=0 0", "t=0 0\r\na=group:LS nobody"),
    "a stream without a name": plus("a=msid:"),
    "an ICE password that is too short": every(r"^a=ice-pwd:[^\r]*", "a=ice-pwd:x"),
    "a section more": plus("m=video 0 UDP/TLS/RTP/SAVPF 96", "m=application 0 DTLS/SCTP 5000"),
    "sixty-three sections more": plus(*["m=video 0 UDP/TLS/RTP/SAVPF 96"] * 63),
    "a name that is known": place("c=IN IP4 localhost"),
    "a name that nobody knows": place("c=IN IP4 nobody.invalid"),
    "neither name nor address": place("c=IN IP4 127.0.0.999"),
    "no c= line": place(""),
    "half a c= line": place("c=IN IP4"),
}
"""Edits of a page's description after which the call is as good as before."""

NO_DESCRIPTION = "the offer is not a session description: "
ENDS: dict[str, tuple[Edit, int, str]] = {
    "more sections than are carried": (
        plus(*["m=video 0 UDP/TLS/RTP/SAVPF 96"] * 64),
        400,
        f"{NO_DESCRIPTION}line 90, column 1: expected at most 64 media sections",
    ),
    "no SDP": (lambda _: "nothing to be read", 400, f'{NO_DESCRIPTION}line 1, column 1: expected "v=0"'),
    "a profile of nobody": (other("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVPX"), 488, "not-acceptable"),
    "no fingerprint": (every(r"^a=fingerprint:[^\r]*\r\n", ""), 488, "not-acceptable"),
    "fingerprints of nothing": (every(r"^a=fingerprint:[^\r]*", "a=fingerprint:sha-256 x"), 488, "not-acceptable"),
    "no fragment": (every(r"^a=ice-ufrag:[^\r]*\r\n", ""), 488, "not-acceptable"),
    "no ICE password": (every(r"^a=ice-pwd:[^\r]*\r\n", ""), 488, "not-acceptable"),
}
"""Edits after which nobody could be heard, the status over HTTP, and the word or sentence over JSON-RPC."""


class Page(Protocol):
    """A page that is aiortc, whose offer is edited on its way; the sections of the answer beyond its own are cut."""

    async def dial(self, number: str) -> str:
        """Offer a call; "" or the word for the refusal."""

    @property
    def cause(self) -> str:
        """The word for why the call has ended, "" while it has not."""

    def hears(self) -> bool:
        """Whether the callee's tone has come."""

    async def hang_up(self) -> None:
        """End the call."""


def own_sections(answer: str) -> str:
    """The sections of an answer that a page has offered itself."""
    return "m=".join(answer.split("m=", 2)[:2])


class HttpPage:
    def __init__(self, gateway: Gateway, edit: Edit) -> None:
        self._edit, self._browser = edit, Browser(CALLER_HZ, ("pcmu",))
        headers = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
        self._http = httpx.AsyncClient(base_url=gateway.web, headers=headers, timeout=30)

    async def dial(self, number: str) -> str:
        offer = {"type": "offer", "sdp": self._edit(await self._browser.offer())}
        answer = await self._http.post("/webrtc/offer", json={"sdp": offer, "to": number})
        if answer.status_code != 200:
            return str(answer.status_code)
        self._session = answer.json()["session_id"]
        await self._browser.take_answer(own_sections(answer.json()["sdp"]["sdp"]))
        return ""

    @property
    def cause(self) -> str:
        return ""

    def hears(self) -> bool:
        self._browser.frames = self._browser.frames[-50:]
        return abs(self._browser.heard() - CALLEE_HZ) < NEAR

    async def hang_up(self) -> None:
        assert (await self._http.post("/webrtc/close", json={"session_id": self._session})).status_code == 200

    async def close(self) -> None:
        await self._http.aclose()
        await self._browser.close()


class EditedBrowser(RpcBrowser):
    """A page of JSON-RPC whose offers are edited."""

    edit: Edit = str
    repeats = False
    """Whether its later offers are made of the first, beside its connection."""

    async def _ask(self, method: str, **params: Any) -> Any:
        if method == "offer":
            params["sdp"] = self.edit(params["sdp"])
        return await super()._ask(method, **params)

    async def _heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "answer" and self.repeats:
            self.told.append((method, params))
            self._news.set()
            return
        if method == "answer":
            params = params | {"sdp": own_sections(params["sdp"])}
        await super()._heard(method, params)

    async def offer_again(self, edit: Edit) -> str:
        """Offer what stands, edited; the type of what answers it, which changes nothing here."""
        assert self._connection is not None
        self.told.clear()
        self.repeats, self.edit = True, lambda sdp: edit(every(r"^(o=\S+ \S+ )\d+", r"\g<1>99")(sdp))
        await self._ask("offer", to_peer_id=self._peer, sdp=self._connection.localDescription.sdp, type="offer")
        return str((await self.notified("answer"))["type"])


class RpcPage:
    def __init__(self, gateway: Gateway, edit: Edit) -> None:
        self._gateway = gateway
        self._browser = EditedBrowser(CALLER_HZ, ("pcmu",))
        self._browser.edit = edit

    async def dial(self, number: str) -> str:
        await self._browser.open(self._gateway.app.signed_in_url("alice"))
        try:
            await self._browser.dial(number)
        except BrowserError as error:
            return str(error)
        return ""

    async def offer_again(self, edit: Edit) -> str:
        return await self._browser.offer_again(edit)

    @property
    def cause(self) -> str:
        return self._browser.last_cause or ""

    def hears(self) -> bool:
        tone = self._browser._ear.tone()
        return tone is not None and abs(tone - CALLEE_HZ) < NEAR

    async def hang_up(self) -> None:
        await self._browser.hang_up()

    async def close(self) -> None:
        await self._browser.__aexit__(None, None, None)


FRONTS: dict[str, Callable[[Gateway, Edit], HttpPage | RpcPage]] = {"http": HttpPage, "json-rpc": RpcPage}


@dataclass(frozen=True)
class Said:
    """What a page offers in one call."""

    edit: Edit = str
    """Of the offer."""
    change: Edit | None = None
    """Of a later one, by JSON-RPC."""


@asynccontextmanager
async def page_of(front: str, gateway: Gateway, edit: Edit) -> AsyncIterator[Page]:
    page = FRONTS[front](gateway, edit)
    try:
        yield page
    finally:
        await page.close()


async def call(gateway: Gateway, front: str, said: Said, pbx: Pbx, number: int) -> Line | str:
    """Call through the trunk, and hang up once each has heard the other."""
    async with page_of(front, gateway, said.edit) as page:
        refusal = await page.dial(f"0{100 + number}")
        if refusal:
            assert number not in pbx.ends
            return refusal
        await until(lambda: page.cause or (number in pbx.phones and pbx.phones[number].remote is not None))
        if page.cause:
            assert number not in pbx.ends
            return page.cause
        theirs = pbx.phones[number]
        ear = Ear(theirs, pbx.codec, CALLER_HZ)
        line = Line(200, await heard(page, ear))
        if said.change is not None:
            assert isinstance(page, RpcPage)
            took = await page.offer_again(said.change) == "answer"
            line = Line(200 if took else 488, await heard(page, ear))
        await pbx.phones.pop(number).close()
        await page.hang_up()
        await pbx.ends[number].wait(events.Ended)
        return line


async def heard(page: Page, ear: Ear) -> str:
    """ "talks" once each has heard the other for a second, "silent" where that does not come to be."""
    for _ in range(TRIES):
        ear.phone.packets.clear()
        try:
            await until(lambda: ear.is_full)
        except TimeoutError:
            break
        if ear.hears() and page.hears():
            return "talks"
    return "silent"


async def outcomes(engine: str, front: str, folder: Path, calls: dict[str, Said]) -> dict[str, Line | str]:
    """How each call came out."""
    pbx, room = Pbx({}), asyncio.Semaphore(AT_ONCE)

    async def one(number: int, said: Said) -> Line | str:
        async with room:
            return await call(gateway, front, said, pbx, number)

    async with gateway_on(engine, folder, pbx) as gateway:
        lines = await asyncio.gather(*[one(number, said) for number, said in enumerate(calls.values())])
    return dict(zip(calls, lines, strict=True))


def known_to(engine: str) -> dict[str, Edit]:
    """Those of GOES_ON that this engine reads: to rtpengine RTP/SAVPF is a section with keys in its lines."""
    return {name: edit for name, edit in GOES_ON.items() if engine != "rtpengine" or edit is not OLD_PROFILE}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_page_with_a_line_that_no_call_needs_is_taken(engine: str, front: str, tmp_path: Path) -> None:
    """Each side hears the other, whatever the line says."""
    calls = {name: Said(edit) for name, edit in known_to(engine).items()}
    assert await outcomes(engine, front, tmp_path, calls) == dict.fromkeys(calls, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_pages_change_with_a_line_that_no_call_needs_is_taken(engine: str, tmp_path: Path) -> None:
    """The same of a later offer, by JSON-RPC."""
    calls = {name: Said(change=edit) for name, edit in known_to(engine).items()}
    assert await outcomes(engine, "json-rpc", tmp_path, calls) == dict.fromkeys(calls, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_page_that_nothing_can_come_of_rings_nowhere(engine: str, front: str, tmp_path: Path) -> None:
    """The page is refused before the callee hears of the call."""
    calls = {name: Said(edit) for name, (edit, _, _) in ENDS.items()}
    refusals = {name: str(status) if front == "http" else word for name, (_, status, word) in ENDS.items()}
    assert await outcomes(engine, front, tmp_path, calls) == refusals


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_pages_change_that_nothing_can_come_of_leaves_the_call(engine: str, tmp_path: Path) -> None:
    """The page is told to roll back, and each side hears the other as before."""
    calls = {name: Said(change=edit) for name, (edit, _, _) in ENDS.items()}
    assert await outcomes(engine, "json-rpc", tmp_path, calls) == dict.fromkeys(calls, Line(488, "talks"))
