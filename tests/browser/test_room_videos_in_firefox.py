"""Three connections of a Firefox in one conference room, each of which sees the two others at once."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests import peers
from tests.browser.firefox import Firefox
from tests.browser.room_member import Member
from tests.media.engine_support import running, until
from tests.peers import firefox

pytestmark = [pytest.mark.wall, pytest.mark.nightly]

GREYS = {"m0": 60, "m1": 120, "m2": 190}
MAKE = """
  const [name, grey] = %s;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const drawing = canvas.getContext("2d");
  let count = 0;
  setInterval(() => {
    drawing.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    drawing.fillRect(0, 0, 320, 240);
    drawing.fillStyle = "black";
    drawing.fillRect(0, 200 + (count++ %% 40), 320, 1);
  }, 66);
  const sound = new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
  const [picture] = canvas.captureStream(15).getVideoTracks();
  const pc = new RTCPeerConnection();
  const videos = {};
  window.members ??= {};
  members[name]?.pc.close();
  members[name] = {pc, videos};
  pc.ontrack = ({track, transceiver: {mid}}) => {
    if (track.kind !== "video") return;
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = new MediaStream([track]);
    video.play();
    videos[mid] = video;
  };
  pc.addTrack(sound, new MediaStream([sound]));
  pc.addTrack(picture, new MediaStream([picture]));
  await pc.setLocalDescription(await pc.createOffer());
  return pc.localDescription.sdp;
"""
TAKE = "const [name, sdp] = %s; await members[name].pc.setRemoteDescription({type: 'answer', sdp}); return true;"
ANSWER = """
  const [name, sdp] = %s;
  const {pc} = members[name];
  await pc.setRemoteDescription({type: 'offer', sdp});
  await pc.setLocalDescription(await pc.createAnswer());
  return pc.localDescription.sdp;
"""
SEES = """
  const [name] = %s;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const drawing = canvas.getContext("2d");
  const seen = Object.values(members[name].videos).filter(video => video.videoWidth).map(video => {
    drawing.drawImage(video, 0, 0, 320, 240);
    return drawing.getImageData(20, 100, 1, 1).data[0];
  });
  return {seen, sections: members[name].pc.getTransceivers().length};
"""


class Connection:
    """One of those that the page has, by its name."""

    def __init__(self, firefox: Firefox, name: str) -> None:
        self.firefox, self.name = firefox, name

    async def offer(self, grey: int) -> str:
        return str(await self._run(MAKE, grey))

    async def take(self, answer: str) -> None:
        await self._run(TAKE, answer)

    async def answer(self, offer: str) -> str:
        return str(await self._run(ANSWER, offer))

    async def sees(self, *greys: int) -> int:
        """Wait until it shows these and no others; of how many sections it is made."""
        async with asyncio.timeout(60):
            while True:
                found = await self._run(SEES)
                seen = sorted(found["seen"])
                if len(seen) == len(greys) and all(
                    abs(one - other) < 20 for one, other in zip(seen, sorted(greys), strict=True)
                ):
                    return int(found["sections"])
                await asyncio.sleep(0.1)

    async def _run(self, script: str, *values: object) -> Any:
        filled = script % json.dumps([self.name, *values])
        return await self.firefox.run(f"return (async () => {{ {filled} }})();")


async def test_each_connection_sees_both_others_and_who_comes_again() -> None:
    """One leaves and another comes in its place, which needs no other section; their pictures are told by mid."""
    peers.network()
    async with AsyncExitStack() as stack:
        engine, _ = await stack.enter_async_context(running())
        browser = await stack.enter_async_context(Firefox(firefox()))
        conference = engine.conference(8)
        pages = {name: Connection(browser, name) for name in GREYS}
        members = [Member(engine, conference, page, name, GREYS[name]) for name, page in pages.items()]
        one, two, _ = members
        for member in members:
            await stack.enter_async_context(member.serving())
            await member.come()
        for name in GREYS:
            assert await pages[name].sees(*[grey for other, grey in GREYS.items() if other != name]) == 3
        assert set(one.seat.pictures.values()) == {"m1", "m2"}
        await engine.delete(two.name)
        two.seat.leave()
        await until(lambda: list(one.seat.pictures.values()) == ["m2"])
        two.name, two.grey = "again", 90
        await two.come()
        assert await pages["m0"].sees(90, GREYS["m2"]) == 3
        assert await pages["m1"].sees(GREYS["m0"], GREYS["m2"]) == 3
        assert await pages["m2"].sees(GREYS["m0"], 90) == 3
