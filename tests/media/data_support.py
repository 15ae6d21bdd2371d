"""A browser with data channels: aiortc."""

from __future__ import annotations

from typing import Any

from aiortc import RTCDataChannel, RTCSessionDescription

from tests.media.engine_support import Browser, until


class Talker(Browser):
    """A browser with data channels."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[RTCDataChannel] = []
        self.messages: list[tuple[str, Any]] = []
        self.closed: list[str] = []
        self.peer.on("datachannel", self.listen)

    def open(self, label: str, **kind: Any) -> RTCDataChannel:
        return self.listen(self.peer.createDataChannel(label, **kind))

    async def answer_again(self, offer: str) -> str:
        """The answer to a re-offer."""
        await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        said: str = self.peer.localDescription.sdp
        return said

    def listen(self, channel: RTCDataChannel) -> RTCDataChannel:
        self.channels.append(channel)
        channel.on("message", lambda message: self.messages.append((channel.label, message)))
        channel.on("close", lambda: self.closed.append(channel.label))
        return channel


async def opened(channel: RTCDataChannel) -> RTCDataChannel:
    await until(lambda: channel.readyState == "open")
    return channel
