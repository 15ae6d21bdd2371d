"""Voicemail of a whole gateway: who is not reached is left a message, and hears it on a phone and on a page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import read_audio
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.people.documents import message_summary
from gateway.voicemail.mailboxes import Mailboxes, VoiceMessage
from tests.app.tone_peers import Browser, Phone, tones_in
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.net.peers import Application

pytestmark = [pytest.mark.asyncio, pytest.mark.wall]

_USERS = [
    *({"id": one, "web": True} for one in ("alice", "bob")),
    {"id": "carol", "web": True, "role": "admin"},
    *({"id": one, "sip": True} for one in ("1001", "1002")),
]
_ROUTES = [{"match": "700", "to": "feature:voicemail"}]


class House:
    """A running gateway, and who calls there."""

    def __init__(self, gateway: Gateway, agent: UserAgent, folder: Path) -> None:
        self.gateway, self.agent, self.folder = gateway, agent, folder

    def phone(self, user: str) -> Phone:
        return Phone(self.agent, self.gateway, user)

    async def browser(self, user: str = "alice") -> Browser:
        browser = Browser(user)
        await browser.open(f"{self.gateway.app.page_url}#user={user}&token={self.gateway.app.password(user)}")
        return browser

    async def asks(self, method: str, path: str, user: str = "alice", **body: Any) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {user}:{self.gateway.app.password(user)}"}
        async with httpx.AsyncClient(base_url=self.gateway.web) as http:
            return await http.request(method, path, headers=bearer, json=body or None)

    async def messages(self, user: str = "alice") -> list[dict[str, Any]]:
        return list((await self.asks("GET", "/api/voicemail", user)).json()["messages"])

    async def waits(self, number: int, user: str = "alice") -> list[dict[str, Any]]:
        """The messages, once there are so many."""
        async with asyncio.timeout(30):
            # What a page does as well: nothing tells it.
            while len(found := await self.messages(user)) != number:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found

    def light(self, user: str = "alice") -> str:
        """What a phone that subscribed to message-summary is told."""
        board = self.gateway.app._messages.mailboxes
        return message_summary.write("sip:x", board.of(user)).decode()

    def _sounds(self) -> set[Path]:
        return {*self.folder.glob("voicemail/*/*.opus")}

    def there(self, pattern: str) -> list[Path]:
        """What is in the folder, by name."""
        return sorted(self.folder.glob(pattern))

    async def leave(self, to: str = "alice", user: str = "1001", *, end: str = "#") -> None:
        """Call, wait for the tone, say something for a second and a half."""
        phone, before = self.phone(user), self._sounds()
        assert await phone.dial(to) == 200
        await until(lambda: self._sounds() - before != set())
        await asyncio.sleep(1.5)  # so long is what is said
        if end == "#":
            await phone.press("#")
            await asyncio.wait_for(phone.over, 30)
            await phone.rtp.close()
        else:
            await phone.hang_up()


def said(message_id: str) -> VoiceMessage:
    return VoiceMessage(id=message_id, caller="sip:a@b", display_name="", at=0.0, seconds=1.0, new=True)


@contextlib.asynccontextmanager
async def house(folder: Path, **changes: str) -> AsyncIterator[House]:
    changes = {"USERS": json.dumps(_USERS), "ROUTES": json.dumps(_ROUTES), "VOICEMAIL__USERS": "alice"} | changes
    changes |= {"RECORDING__MIN_FREE": "0", "LIMITS__LOAD": "0"}
    config = config_on_free_ports(folder, **changes)
    async with gateway_with(config, folder / "gateway.log") as gateway:
        agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
        await agent.start()
        try:
            yield House(gateway, agent, folder)
        finally:
            await agent.close()


async def test_a_message_is_left_heard_and_outlives_a_restart(tmp_path: Path) -> None:
    """Nobody is there: the caller is recorded until #; list, light and sound, also after a restart; then it is old."""
    async with house(tmp_path, RECORDING__CALLS="['*']") as there:  # which does not keep messages from being taken
        await there.leave()
        (message,) = await there.waits(1)
        assert (message["caller"], message["new"]) == ("sip:1001@gateway.local", True)
        assert message["seconds"] >= 1.2
        assert "Messages-Waiting: yes" in there.light()
        assert "Voice-Message: 1/0" in there.light()
        await there.leave(end="BYE")
        await there.waits(2)
    async with house(tmp_path) as there, contextlib.AsyncExitStack() as stack:
        assert "Voice-Message: 2/0" in there.light()
        page = await there.browser()
        stack.push_async_exit(page)
        assert await page.notified("voicemail") == {"new": 2, "old": 0}
        first, second = await there.messages()
        sound = await there.asks("GET", f"/api/voicemail/{first['id']}")
        assert (sound.status_code, sound.headers["content-type"]) == (200, "audio/ogg")
        (tmp_path / "heard.opus").write_bytes(sound.content)
        assert tones_in(read_audio(str(tmp_path / "heard.opus"), 16_000, 60)[:-4_000], 16_000) == {400.0}
        assert "Voice-Message: 1/1" in there.light()
        await page.notified("voicemail", new=1, old=1)
        assert [one["new"] for one in await there.messages()] == [True, False]
        # Somebody else's are nobody's business, and no path leads anywhere.
        assert (await there.asks("GET", f"/api/voicemail/{first['id']}", "bob")).status_code == 404
        assert (await there.asks("DELETE", f"/api/voicemail/{first['id']}", "bob")).status_code == 404
        for other in ("..%2F..%2Fgateway.log", "20260101-000000-00000000"):
            assert (await there.asks("GET", f"/api/voicemail/{other}")).status_code == 404
        for one in (first, second):
            assert (await there.asks("DELETE", f"/api/voicemail/{one['id']}")).status_code == 204
            assert (await there.asks("DELETE", f"/api/voicemail/{one['id']}")).status_code == 404
        assert "Messages-Waiting: no" in there.light()
        await page.notified("voicemail", new=0, old=0)
        assert there.there("voicemail/alice/*") == []


async def test_a_user_hears_messages_on_a_phone(tmp_path: Path) -> None:
    """A tone, the message; 1 again, 3 deletes, and a stranger hears nothing."""
    async with house(tmp_path, VOICEMAIL__USERS="1002,alice") as there:
        for _ in range(2):
            await there.leave("1002")
        first, second = there.there("voicemail/1002/*.json")
        phone = there.phone("1002")
        assert await phone.dial("700") == 200
        await until(lambda: phone.hears() == {400.0})
        await phone.press("1")
        phone.rtp.packets.clear()
        await until(lambda: phone.hears() == {400.0})
        await phone.press("3")
        await until(lambda: not first.exists())
        phone.rtp.packets.clear()
        await until(lambda: phone.hears() == {400.0})
        await phone.press("#")
        await asyncio.wait_for(phone.over, 30)
        assert json.loads(second.read_text())["new"] is False
        await phone.rtp.close()
        assert "Voice-Message: 0/1" in there.light("1002")


async def test_who_is_busy_or_does_not_answer_gets_the_message(tmp_path: Path) -> None:
    """A page that declines and one that rings on; the greeting is heard before the tone; forwards come first."""
    greeting = tmp_path / "greeting.wav"
    with wave.open(str(greeting), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        wanted = 8_000 * np.sin(2 * np.pi * 1300 * np.arange(16_000) / 16_000)
        file.writeframes(wanted.astype("<i2").tobytes())
    async with house(tmp_path, VOICEMAIL__AFTER="1", VOICEMAIL__GREETING=str(greeting)) as there:
        alice = await there.browser()
        try:
            phone = there.phone("1001")
            calling = asyncio.ensure_future(phone.dial("alice"))
            await alice.status("ringing")
            await alice.decline()
            assert await calling == 200
            await until(lambda: phone.hears() == {1300.0})
            await phone.hang_up()
            await there.gateway.idle()
            ringing = there.phone("1001")
            calling = asyncio.ensure_future(ringing.dial("alice"))
            await alice.status("ringing")
            assert await calling == 200
            await until(lambda: ringing.hears() == {1300.0})
            await alice.status("ready")
            await ringing.hang_up()
            await alice.ask("call.forward", no_answer="1002", busy="1002", after=1)
            assert await there.phone("1001").dial("alice") in (480, 408)
            await there.gateway.idle()
            assert await there.messages() == []
        finally:
            await alice.__aexit__(None, None, None)


async def test_a_mailbox_is_bounded(tmp_path: Path) -> None:
    """A full one is busy; one that is too short is not kept, one that is too long ends; old ones go."""
    async with house(tmp_path, VOICEMAIL__MAX_MESSAGES="1", VOICEMAIL__LONGEST="5", VOICEMAIL__SHORTEST="1.2") as there:
        phone = there.phone("1001")
        assert await phone.dial("alice") == 200
        await until(lambda: there.there("voicemail/alice/*.opus") != [])
        assert await there.phone("1002").dial("alice") == 486  # the one place is being filled
        await phone.hang_up()
        await there.gateway.idle()
        await until(lambda: not there.gateway.app._voicemail._leaving)  # who left it has its place until all is counted
        assert there.there("voicemail/alice/*") == []
        talkative = there.phone("1001")
        assert await talkative.dial("alice") == 200
        await asyncio.wait_for(talkative.over, 30)
        await talkative.rtp.close()
        (message,) = await there.waits(1)
        assert message["seconds"] == pytest.approx(5.0, abs=0.5)
        assert await there.phone("1002").dial("alice") == 486
        voicemail = there.gateway.app._voicemail
        await voicemail.expire(message["at"] + 2_592_001)
        assert await there.messages() == []
        assert "Messages-Waiting: no" in there.light()


async def test_nobody_without_a_mailbox_takes_messages(tmp_path: Path) -> None:
    """480 as before."""
    async with house(tmp_path) as there:
        assert await there.phone("1001").dial("bob") == 480
        assert await there.phone("1001").dial("1002") == 480


async def test_nothing_is_left_for_who_has_the_name_next(tmp_path: Path) -> None:
    """A user that an administrator removes takes the messages along."""
    async with house(tmp_path, VOICEMAIL__USERS="['*']") as there:
        made = await there.asks("POST", "/api/users", "carol", id="dora", sip=True)
        assert made.status_code == 201
        await there.leave("dora")
        await until(lambda: "Voice-Message: 1/0" in there.light("dora"))
        assert (await there.asks("DELETE", "/api/users/dora", "carol")).status_code == 204
        assert there.there("voicemail/dora/*") == []
        assert "Messages-Waiting: no" in there.light("dora")


async def test_a_message_to_a_user_who_is_removed_meanwhile_is_not_kept(tmp_path: Path) -> None:
    """The caller is told, the folder is gone, and the next of that name has nothing of it."""
    async with house(tmp_path) as there:
        await there.leave()
        await there.waits(1)
        phone = there.phone("1001")
        assert await phone.dial("alice") == 200
        await until(lambda: len(there.there("voicemail/alice/*.opus")) == 2)
        await there.gateway.app._voicemail.forget("alice")
        await asyncio.wait_for(phone.over, 30)
        await phone.rtp.close()
        assert there.there("voicemail/alice*") == []
        assert await there.messages() == []


async def test_a_folder_that_is_added_to_while_it_is_emptied_goes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder opens its file between the reading of the folder and its removal."""
    boxes = Mailboxes(tmp_path, max_messages=5, keep=0.0, longest=180.0)
    path = await boxes.place("alice", said("20261122-200000-0123456789abcdef"))
    late = ["one", "two", "three"]
    rmdir = os.rmdir

    def added_to(folder: Any, **options: Any) -> None:
        if late:
            (path.parent / late.pop()).write_bytes(b"sound")
        rmdir(folder, **options)

    monkeypatch.setattr(os, "rmdir", added_to)
    await boxes.forget("alice")
    assert late == []
    assert not path.parent.exists()


async def test_sound_of_which_no_message_came_is_deleted_when_it_is_old(tmp_path: Path) -> None:
    """A process that was killed leaves it; what may still be being said stays, and so does what is a message."""
    folder = tmp_path / "voicemail"
    boxes = Mailboxes(folder, max_messages=5, keep=0.0, longest=180.0)
    left = [said(f"20261122-20000{number}-0123456789abcdef") for number in range(3)]
    paths = [await boxes.place("alice", one) for one in left]
    for path in paths:
        path.write_bytes(b"sound")
        for each in (path, path.with_suffix(".part")):
            os.utime(each, (1_000_000.0, 1_000_000.0))
    await boxes.put("alice", left[0])
    os.utime(paths[1], (1_000_500.0, 1_000_500.0))
    assert await boxes.expire(1_000_600.0) == []
    assert [path.exists() for path in paths] == [True, True, False]
    assert [path.with_suffix(".part").exists() for path in paths] == [False, False, False]


async def test_a_message_that_was_deleted_while_it_was_heard_does_not_come_back(tmp_path: Path) -> None:
    """Its user hears it by phone and deletes it on the page."""
    boxes = Mailboxes(tmp_path, max_messages=5, keep=0.0, longest=180.0)
    kept = said("20261122-200001-0123456789abcdef")
    path = await boxes.place("alice", kept)
    path.write_bytes(b"sound")
    await boxes.put("alice", kept)
    await boxes.heard("alice", kept)
    assert [one.new for one in await boxes.messages("alice")] == [False]
    assert await boxes.drop("alice", kept.id)
    await boxes.heard("alice", kept)
    assert await boxes.messages("alice") == []
    assert boxes.sound("alice", kept.id) is None


async def test_a_message_that_was_kept_is_not_being_left_any_more(tmp_path: Path) -> None:
    """Its process died before it had tidied up: heard since, it would be new again at each start."""
    boxes = Mailboxes(tmp_path, max_messages=5, keep=0.0, longest=180.0)
    kept, begun = said("20261122-200001-0123456789abcdef"), said("20261122-200002-0123456789abcdef")
    path = await boxes.place("alice", kept)
    path.write_bytes(b"sound")
    about = path.with_suffix(".part").read_bytes()
    await boxes.put("alice", kept)
    path.with_suffix(".part").write_bytes(about)
    await boxes.place("alice", begun)
    boxes.give_up("alice", begun.id)  # as the end of a process does
    assert [one.id for one, _ in await boxes.unfinished("alice", is_start=False)] == [begun.id]
