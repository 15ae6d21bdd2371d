"""A browser and baresip see each other through a whole gateway: VP8, decoded and encoded again by baresip."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from tests.interop.baresip import baresip
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser
from tests.media.engine_support import until
from tests.media.video_support import GreyTrack, grey_of

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module")]

GREY = 90


class SeeingBrowser(RpcBrowser):
    """The aiortc stand-in with a camera that shows one grey."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self._watching: asyncio.Future[None] | None = None

    def _new_connection(self) -> RTCPeerConnection:
        connection = super()._new_connection()
        connection.addTrack(GreyTrack(GREY))
        connection.remove_all_listeners("track")
        connection.on("track", self._see)
        return connection

    def _see(self, track: Any) -> None:
        if track.kind == "audio":
            self._listening = asyncio.ensure_future(self._listen(track))
        else:
            self._watching = asyncio.ensure_future(self._watch(track))

    async def _watch(self, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                self.seen.append(grey_of(await track.recv()))

    async def __aexit__(self, *raised: Any) -> None:
        await super().__aexit__(*raised)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


async def test_a_browser_sees_in_baresip_what_it_shows(gateway: Gateway, tmp_path: Path) -> None:
    """Its picture comes back: opened, decoded and encoded by baresip, with the call's sound beside it."""
    password, place, domain = PASSWORDS["1001"], gateway.sip, gateway.config.domain
    codecs = {"codec": "PCMU/8000/1", "source": "ausine,660", "video": "vp8"}
    async with SeeingBrowser() as browser, baresip(tmp_path, "1001", password, place, domain, **codecs) as phone:
        await browser.open(gateway.app.signed_in_url("alice"))
        await phone.expect("REGISTER_OK")
        await browser.dial("1001")
        await browser.status("talking")
        await phone.expect("CALL_ESTABLISHED")
        await browser.tone(660)
        await until(lambda: len(browser.seen) >= 20 and abs(browser.seen[-1] - GREY) < 12, 20)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()
