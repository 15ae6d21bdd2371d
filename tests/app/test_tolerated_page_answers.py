"""Answers of pages with lines that a call does not need, on the wire: a phone calls the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from tests.app.tolerated import (
    CALLEE_HZ,
    CALLER_HZ,
    ENGINES,
    NEAR,
    TRIES,
    Ear,
    Edit,
    Pbx,
    agreeable,
    every,
    gateway_on,
    plus,
)
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser
from tests.media.engine_support import Phone, until
from tests.net.peers import LOOPBACK, Application


def in_the_session(names: str) -> Edit:
    """Move attributes of the audio to the session."""

    def edit(sdp: str) -> str:
        lines = "".join(found[0] for found in re.finditer(rf"^a=(?:{names}):[^\r]*\r\n", sdp, re.MULTILINE))
        assert lines
        return every(rf"^a=(?:{names}):[^\r]*\r\n", "")(sdp).replace("t=0 0\r\n", f"t=0 0\r\n{lines}")

    return edit


GOES_ON: dict[str, Edit] = {
    "as it should be": str,
    "small letters": every(r"UDP/TLS/RTP/SAVPF", "udp/tls/rtp/savpf"),
    "rtcp beyond all ports": every(r"^a=rtcp:[^\r]*", "a=rtcp:70000"),
    "a setup of nothing": every(r"^a=setup:[^\r]*", "a=setup:"),
    "a setup of no role": every(r"^a=setup:[^\r]*", "a=setup:both"),
    "no setup": every(r"^a=setup:[^\r]*\r\n", ""),
    "no direction": every(r"^a=sendrecv\r\n", ""),
    "no group": every(r"^a=group:[^\r]*\r\n", ""),
    "no mid": every(r"^a=mid:[^\r]*\r\n", ""),
    "a fingerprint of the session": in_the_session("fingerprint"),
    "a fingerprint more that is none": plus("a=fingerprint:", "a=fingerprint:sha-256 x"),
    "no origin": every(r"^o=[^\r]*\r\n", ""),
    "no c= line": every(r"^c=[^\r]*\r\n", ""),
    "ends of Unix": lambda sdp: sdp.replace("\r\n", "\n"),
    "a section more": plus("m=video 0 UDP/TLS/RTP/SAVPF 96"),
}
"""Edits of a page's answer after which the call is as good as before."""
WITHOUT_A_PLACE: dict[str, Edit] = {
    "no candidates": every(r"^a=candidate:[^\r]*\r\n", ""),
    "candidates at a name": every(r"^(a=candidate:\S+ \S+ \S+ \S+) \S+", r"\1 page.local"),
}
"""Edits after which the page's checks alone say where it is; rtpengine as the controlling agent goes by candidates."""


class EditedPage(RpcBrowser):
    """A page whose answers are edited on their way."""

    edit: Edit = str

    async def _ask(self, method: str, **params: Any) -> Any:
        if method == "answer":
            params["sdp"] = self.edit(params["sdp"])
        return await super()._ask(method, **params)

    def hears(self, hz: float) -> bool:
        """Tell whether that tone has come."""
        tone = self._ear.tone()
        return tone is not None and abs(tone - hz) < NEAR


async def called(gateway: Gateway, agent: UserAgent, edit: Edit) -> str:
    """Call the page: "talks" once each has heard the other, else how the call was left."""
    phone = await Phone(("pcmu",), ssrc=0x3000).open()
    async with EditedPage(CALLEE_HZ, ("pcmu",)) as page:
        page.edit = edit
        await page.open(gateway.app.signed_in_url("alice"))
        session = agent.invite(
            f"sip:alice@{gateway.app.sip_hostport}",
            caller=f"<sip:1001@{gateway.config.domain}>",
            body=phone.sdp().encode(),
            credentials=Credentials("1001", PASSWORDS["1001"]),
        )
        recorder = agreeable(session, phone)
        await page.status("ringing")
        await page.accept()
        outcome = await recorder.wait_for_one_of(events.Answered, events.Failed)
        if isinstance(outcome, events.Failed):
            await phone.close()
            return str(outcome.status)
        assert isinstance(outcome, events.Answered)
        phone.take(outcome.body.decode())
        phone.play(CALLER_HZ)
        found = await heard(page, Ear(phone, "pcmu", CALLEE_HZ))
        session.hangup()
        await phone.close()
        return found


async def heard(page: EditedPage, ear: Ear) -> str:
    for _ in range(TRIES):
        ear.phone.packets.clear()
        try:
            await until(lambda: ear.is_full)
        except TimeoutError:
            break
        if ear.hears() and page.hears(CALLER_HZ):
            return "talks"
    return "silent"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.timeout(300)
async def test_a_pages_answer_with_a_line_that_no_call_needs_is_taken(engine: str, tmp_path: Path) -> None:
    """Each side hears the other, whatever the line says."""
    agent, found = UserAgent(UserAgentConfig(listen=LOOPBACK), Application()), {}
    await agent.start()
    try:
        async with gateway_on(engine, tmp_path, Pbx({})) as gateway:
            edits = GOES_ON | ({} if engine == "rtpengine" else WITHOUT_A_PLACE)
            for name, edit in edits.items():
                found[name] = await called(gateway, agent, edit)
    finally:
        await agent.close()
    assert found == dict.fromkeys(edits, "talks")
