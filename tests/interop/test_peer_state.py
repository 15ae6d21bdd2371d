"""`peer.state_change` on the whole gateway: "connected" is said of media, not of an answer."""

from __future__ import annotations

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import connect

from tests.interop.gateway import PASSWORDS, Gateway
from tests.web.fake import RpcClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_connected_is_said_once_ice_and_dtls_are_up(gateway: Gateway) -> None:
    """An answered call whose browser has not begun ICE is "connecting"."""
    connection = RTCPeerConnection()
    connection.addTransceiver("audio")
    await connection.setLocalDescription(await connection.createOffer())
    async with connect(gateway.web.replace("http", "ws", 1) + "/rpc") as socket:
        peer = RpcClient(socket)
        await peer.ok("peer.announce", peer_id="bob", token=PASSWORDS["bob"])
        offer = {"from": "bob", "to": "600", "sdp": connection.localDescription.sdp}
        await peer.ok("peer.offer", **offer)
        answer = await peer.notified("peer.answer")
        assert (await peer.notified("peer.state_change", previous_state="connecting"))[
            "connection_state"
        ] == "connecting"
        assert [call["state"] for call in (await peer.ok("call.list"))["calls"]] == ["answered"]
        assert not [frame for frame in peer.inbox if frame["params"].get("connection_state") == "connected"]
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await peer.notified("peer.state_change", connection_state="connected")
    await connection.close()
