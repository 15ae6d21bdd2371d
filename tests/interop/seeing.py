"""The aiortc stand-in with a camera, which notes what it sees."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from tests.interop.gateway import RpcBrowser
from tests.media.video_support import GreyTrack, grey_of

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
