"""Many sessions of the HTTP API at once, of one client: its document promises a thousand, of about 1 MB each."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import httpx
import pytest
from aiortc import RTCPeerConnection

from bench.process import PASSWORD, USER, environment, memory_of, running
from gateway.demo.aiortc_browser import LOCAL, ToneTrack
from tests.ports import listening

pytestmark = pytest.mark.wall

SESSIONS = 50
PROMISED = 1_000_000
"""Octets a session."""


async def _offer() -> dict[str, object]:
    peer = RTCPeerConnection(LOCAL)
    peer.addTrack(ToneTrack(523))
    await peer.setLocalDescription(await peer.createOffer())
    sdp = peer.localDescription.sdp
    await peer.close()
    return {"sdp": {"type": "offer", "sdp": sdp}, "to": "600"}


async def test_one_client_has_as_many_sessions_as_there_may_be(tmp_path: Path) -> None:
    """All of them listed, each within the memory that is promised; one more is refused until another is closed."""
    body = await _offer()
    changes = {
        **listening(),
        "ROUTES": [{"match": "600", "to": "service:echo"}],
        "WEB__LIMITS__MAX_SESSIONS": SESSIONS,
        "LIMITS__LOAD": 0,
        "LIMITS__DELAY": 60,
        "WEBRTC__SETUP_TIMEOUT": 120,
    }
    headers = {"Authorization": f"Bearer {USER}:{PASSWORD}"}
    limits = httpx.Limits(max_connections=20)
    # The folder's name is as long as a path of a socket may be.
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        async with (
            running(environment(folder, 9, **changes), tmp_path / "log") as served,
            httpx.AsyncClient(base_url=served.url, timeout=30, limits=limits, headers=headers) as http,
        ):

            async def offered() -> httpx.Response:
                return await http.post("/webrtc/offer", json=body)

            answers = [await offered()]
            before = memory_of(served.process.pid)
            answers += await asyncio.gather(*(offered() for _ in range(SESSIONS + 4)))
            each = (memory_of(served.process.pid) - before) / (SESSIONS - 1)
            sessions = {one.json()["session_id"] for one in answers if one.status_code == 200}
            refused = [one.status_code for one in answers if one.status_code != 200]
            assert (len(sessions), refused) == (SESSIONS, [503] * 5)
            assert {one["session_id"] for one in (await http.get("/webrtc/sessions")).json()["sessions"]} == sessions
            assert each < PROMISED
            closed = [http.post("/webrtc/close", json={"session_id": session}) for session in sessions]
            assert {one.status_code for one in await asyncio.gather(*closed)} == {200}
            assert (await http.get("/webrtc/sessions")).json()["sessions"] == []
            assert (await offered()).status_code == 200
