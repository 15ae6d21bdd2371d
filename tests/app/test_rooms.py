"""Conference rooms of a whole gateway: two phones and three browsers, each with a tone of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from gateway.demo.chromium import BrowserError
from gateway.media.embedded.audio.codecs import read_audio
from gateway.media.embedded.audio.files import WavFile
from gateway.media.embedded.audio.pcm import tone
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.tone_peers import TONES, Browser, Phone, loudest, others, tones_in
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.net.peers import Application

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.wall]

_USERS = [
    *({"id": one, "web": True} for one in ("alice", "bob")),
    {
        "id": "carol",
        "web": True,
        "role": "operator",
        "password": "carols-own-Secret-0815",
        "may_call": ["alice", "bob", "1002", "nobody", "8*"],
    },
    *({"id": one, "sip": True} for one in ("1001", "1002")),
]
_ROOMS = [
    {"name": "team", "moderators": ["alice"]},
    {"name": "shut", "pin": "4711", "members": ["alice", "bob", "1001"]},
    {"name": "small", "max_members": 2, "tones": False, "record": True},
]
_ROUTES = [
    {"match": "600", "to": "service:echo"},
    {"match": "800", "to": "room:team"},
    {"match": "801", "to": "room:shut"},
    {"match": "802", "to": "room:small"},
    {"match": "81?", "to": "room:{user}"},
]


class Place:
    """The gateway with everybody who may come."""

    def __init__(self, gateway: Gateway, agent: UserAgent, folder: Path) -> None:
        self.gateway, self.agent, self.folder = gateway, agent, folder
        self.browsers: dict[str, Browser] = {}

    def phone(self, user: str) -> Phone:
        return Phone(self.agent, self.gateway, user)

    async def come(self, name: str, number: str) -> Browser:
        browser = self.browsers[name]
        await browser.dial(number)
        await browser.status("talking")
        return browser

    async def everybody(self, number: str) -> dict[str, Phone | Browser]:
        """Two phones and three browsers in one room."""
        phones = [self.phone(user) for user in ("1001", "1002")]
        for phone in phones:
            assert await phone.dial(number) == 200
        return {
            **{phone.user: phone for phone in phones},
            **{name: await self.come(name, number) for name in self.browsers},
        }

    async def empty(self) -> None:
        """Everybody goes; nothing is left."""
        for browser in self.browsers.values():
            await browser.reset()
        await self.gateway.idle()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("gateway")
    changes = {"USERS": json.dumps(_USERS), "ROOMS": json.dumps(_ROOMS), "ROUTES": json.dumps(_ROUTES)}
    changes |= {"RECORDING__BY_USERS": "true", "RECORDING__DIGITS": "*9", "RECORDING__MIN_FREE": "0"}
    (folder / "sounds").mkdir()
    notice = WavFile(str(folder / "sounds" / "notice.wav"), 16_000, 1)
    notice.write(tone(1300.0, -10.0, 16_000, 30.0))
    notice.close()
    (folder / "sounds" / "text.wav").write_text("no sound")
    (folder / "secret.wav").write_text("elsewhere")
    changes["MEDIA__SOUNDS"] = str(folder / "sounds")
    changes["LIMITS__LOAD"] = "0"  # the peers are in the same loop
    async with gateway_with(config_on_free_ports(folder, **changes), folder / "gateway.log") as gateway:
        agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
        await agent.start()
        there = Place(gateway, agent, folder / "recordings")
        try:
            for name in ("alice", "bob", "carol"):
                browser = there.browsers[name] = Browser(name)
                token = gateway.app.password(name)
                await browser.open(f"{gateway.app.page_url}#user={name}&token={token}")
            yield there
        finally:
            for browser in there.browsers.values():
                await browser.__aexit__(None, None, None)
            await agent.close()


async def recorded(place: Place, begins: str) -> dict[str, Any]:
    """What is said of the one finished recording whose name holds this."""

    def done() -> list[dict[str, Any]]:
        found = [json.loads(each.read_text()) | {"file": each} for each in place.folder.glob(f"*{begins}*.json")]
        return [one for one in found if "ended" in one]

    await until(lambda: done() != [])
    (one,) = done()
    return one


async def written(place: Place, name: str, seconds: float) -> None:
    """Wait until so much is in the file, counted in one channel."""
    await until(lambda: any(each.stat().st_size > seconds * 32_000 for each in place.folder.glob(f"*{name}*.wav")))


async def test_each_of_two_phones_and_three_browsers_hears_exactly_the_others(place: Place) -> None:
    """Four tones each; a moderator mutes, removes and locks; the recording of it holds all five."""
    everybody = await place.everybody("800")
    for name, one in everybody.items():
        await until(lambda name=name, one=one: one.hears() == others(name))
    alice, bob = place.browsers["alice"], place.browsers["bob"]
    members = {one["user"]: one["id"] for one in (await alice.ask("room.members", room="team"))["members"]}
    assert set(members) == set(TONES)
    for name, browser in place.browsers.items():
        told = await browser.notified("call_room", room="team", member=members[name])
        assert told["call_id"] == await browser.call_id()
    assert [(await one.ask("room.members", room="team"))["moderates"] for one in (alice, bob)] == [True, False]
    await alice.ask("room.watch", room="team")
    for action, member in (("mute", "1001"), ("kick", "1001"), ("kick", "bob")):
        assert "does not moderate" in await refusal(bob, f"room.{action}", room="team", member=members[member])
    await alice.ask("room.record", room="team")
    await alice.notified("room", event="recording", on=True)
    await bob.notified("call_recorded", recording=True)
    await written(place, "room-team", 1.0)
    await alice.ask("room.stop_recording", room="team")
    await alice.notified("room", event="recording", on=False)
    await bob.notified("call_recorded", recording=False)
    about = await recorded(place, "room-team")
    assert about["room"] == "team"
    sound = read_audio(str(about["file"].with_suffix(".wav")), 16_000, 60)
    assert tones_in(sound, 16_000) == set(TONES.values())
    await alice.ask("room.mute", room="team", member=members["1001"])
    await alice.notified("room", event="muted")
    await until(lambda: everybody["1002"].hears() == {1000.0, 1300.0, 1600.0})
    await until(lambda: everybody["1001"].hears() == others("1001"))
    await bob.ask("room.mute", room="team", member=members["bob"])
    await until(lambda: everybody["1002"].hears() == {1000.0, 1600.0})
    await place.browsers["carol"].ask("room.unmute", room="team", member=members["1001"])
    await until(lambda: everybody["1002"].hears() == {400.0, 1000.0, 1600.0})
    await alice.ask("room.lock", room="team")
    assert await place.phone("1001").dial("800") == 486
    await alice.ask("room.kick", room="team", member=members["1002"])
    phone = everybody["1002"]
    assert isinstance(phone, Phone)
    await asyncio.wait_for(phone.over, 30)
    await until(lambda: alice.hears() == {400.0, 1600.0})
    assert (await alice.ask("room.list"))["rooms"][0]["members"] == 4
    shown = (await bob.ask("call.list"))["calls"][0]
    assert (shown["room"], shown["member"], shown["recording"]) == ("team", members["bob"], False)
    await phone.rtp.close()
    first = everybody["1001"]
    assert isinstance(first, Phone)
    await first.hang_up()
    await place.empty()
    assert (await alice.ask("room.list"))["rooms"] == []
    # It is made anew, not locked.
    again = place.phone("1001")
    assert await again.dial("800") == 200
    await again.hang_up()
    await place.empty()


async def refusal(browser: Browser, method: str, **params: Any) -> str:
    with pytest.raises(BrowserError) as refused:
        await browser.ask(method, **params)
    return str(refused.value)


async def test_a_room_with_a_pin_is_for_its_members_who_know_it(place: Place) -> None:
    """403 for who is none; a wrong PIN is asked for again, the right one lets in, by RFC 4733 and by a page."""
    assert await place.phone("1002").dial("801") == 403
    phone = place.phone("1001")
    assert await phone.dial("801") == 200
    with capture_logs() as lines:
        await phone.press("1234")
        await until(lambda: any(line["event"] == "wrong PIN" for line in lines))
    assert (await place.browsers["carol"].ask("room.list"))["rooms"] == []
    await phone.press("4711")
    alice = await place.come("alice", "801")
    call_id = await alice.call_id()
    for digit in "47#":
        await alice.ask("call.dtmf", call_id=call_id, digit=digit)
    for digit in "4711":
        await alice.ask("call.dtmf", call_id=call_id, digit=digit)
    await until(lambda: alice.hears() == {400.0})
    await until(lambda: phone.hears() == {1000.0})
    # *6 mutes who presses it, and again not.
    await phone.press("*6")
    await until(lambda: alice.hears() == set())
    await phone.press("*6")
    await until(lambda: alice.hears() == {400.0})
    await phone.hang_up()
    await place.empty()


async def test_who_tries_pins_is_turned_away_after_three(place: Place) -> None:
    """Its call ends; who knew the PIN is not kept out by it."""
    for _ in range(2):
        phone = place.phone("1001")
        assert await phone.dial("801") == 200
        for _ in range(3):
            await phone.press("0000")
        await asyncio.wait_for(phone.over, 30)
        await phone.rtp.close()
    bob = await place.come("bob", "801")
    call_id = await bob.call_id()
    for digit in "4711":
        await bob.ask("call.dtmf", call_id=call_id, digit=digit)
    phone = place.phone("1001")
    assert await phone.dial("801") == 200
    await phone.press("4711")
    await until(lambda: bob.hears() == {400.0})
    await phone.hang_up()
    await place.empty()


async def test_a_full_room_takes_nobody_else_and_records_itself(place: Place) -> None:
    """486 for the third; the recording goes from the first member to the last."""
    phones = [place.phone(user) for user in ("1001", "1002")]
    for phone in phones:
        assert await phone.dial("802") == 200
    await until(lambda: phones[0].hears() == {700.0})
    assert await place.browsers["alice"].refused("802") == "busy"
    for phone in phones:
        await phone.hang_up()
    about = await recorded(place, "room-small")
    assert about["ended"] == "as was wanted"
    await place.empty()


async def test_a_caller_is_passed_on_into_a_room(place: Place) -> None:
    """A blind transfer to its number: who was transferred meets who is there, and the transferor is free."""
    bob = await place.come("bob", "815")
    alice = place.browsers["alice"]
    phone = place.phone("1001")
    calling = asyncio.ensure_future(phone.dial("alice"))
    await alice.status("ringing")
    await alice.accept()
    assert await calling == 200
    call_id = await alice.call_id()
    assert (await alice.ask("call.transfer", call_id=call_id, to_peer_id="815"))["transferred"]
    await until(lambda: bob.hears() == {400.0})
    await until(lambda: phone.hears() == {1300.0})
    await phone.hang_up()
    await place.empty()


async def test_a_user_merges_two_calls_to_three(place: Place) -> None:
    """All three hear each other; who merged moderates, no other member does; the room ends with its last member."""
    alice, bob, phone = place.browsers["alice"], place.browsers["bob"], place.phone("1001")
    ids = []
    for calling in (phone.dial("alice"), bob.dial("alice")):
        dialling = asyncio.ensure_future(calling)
        await alice.status("ringing")
        await alice.accept()
        await dialling
        ids.append(await alice.call_id())
    await bob.status("talking")
    assert "no answered call of yours" in await refusal(bob, "call.merge", call_ids=ids)
    room = (await alice.ask("call.merge", call_ids=ids))["to_peer_id"]
    await alice.status("ready")
    await place.come("alice", room)
    await until(lambda: alice.hears() == {400.0, 1300.0})
    await until(lambda: phone.hears() == {1000.0, 1300.0})
    await until(lambda: bob.hears() == {400.0, 1000.0})
    members = {one["user"]: one["id"] for one in (await bob.ask("room.members", room=room))["members"]}
    assert [(await one.ask("room.members", room=room))["moderates"] for one in (alice, bob)] == [True, False]
    for action, member in (("kick", {"member": members["alice"]}), ("lock", {}), ("record", {})):
        assert "does not moderate" in await refusal(bob, f"room.{action}", room=room, **member)
    await alice.ask("room.kick", room=room, member=members["bob"])
    await until(lambda: phone.hears() == {1000.0})
    await phone.hang_up()
    await place.empty()
    assert "not found" in str(await alice.refused(room))


async def test_a_member_that_vanishes_leaves_the_others_talking(place: Place) -> None:
    """Its socket is gone without a word; the others go on, and the room ends with the last of them."""
    phones = [place.phone(user) for user in ("1001", "1002")]
    for phone in phones:
        assert await phone.dial("816") == 200
    bob = await place.come("bob", "816")
    await until(lambda: bob.hears() == {400.0, 700.0})
    await phones[0].rtp.close()
    await until(lambda: bob.hears() == {700.0})
    await until(lambda: phones[1].hears() == {1300.0})
    phones[0].session.hangup()
    await phones[1].hang_up()
    await place.empty()


async def test_a_user_records_its_own_call_by_the_api_and_by_digits(place: Place) -> None:
    """Two channels: who called on the left; nobody else may; the digits begin and end one, whichever way they come."""
    alice, bob = place.browsers["alice"], place.browsers["bob"]
    phone = place.phone("1001")
    calling = asyncio.ensure_future(phone.dial("alice"))
    await alice.status("ringing")
    await alice.accept()
    assert await calling == 200
    await until(lambda: alice.hears() == {400.0})
    call_id = await alice.call_id()
    assert "No such call" in await refusal(bob, "call.record", call_id=call_id)
    assert await alice.ask("call.rights") == {"record": True, "voicemail": False}
    await alice.ask("call.record", call_id=call_id)
    await alice.notified("call_recorded", call_id=call_id, recording=True)
    assert (await alice.ask("call.list"))["calls"][-1]["recording"]
    await until(lambda: 1400.0 - 60 < loudest(alice.ear.pcm) < 1400.0 + 60)
    [call] = list(place.gateway.app.calls)
    await written(place, call.id, 2.2)
    await phone.press("*9")
    about = await recorded(place, call.id)
    assert about["parties"] == ["sip:1001@gateway.local", "sip:alice@gateway.local"]
    assert about["seconds"] >= 1.0
    await alice.notified("call_recorded", call_id=call_id, recording=False)
    # The page's keypad begins it anew, INFO ends that.
    alice.told.clear()
    for digit in "*9":
        await alice.ask("call.dtmf", call_id=call_id, digit=digit)
    await alice.notified("call_recorded", call_id=call_id, recording=True)
    for body in (b"Signal=*\r\n", b"Signal=9\r\n"):
        taken = asyncio.get_running_loop().create_future()
        phone.session.info("application/dtmf-relay", body, done=taken.set_result)
        assert await asyncio.wait_for(taken, 30) == 200
    await alice.notified("call_recorded", call_id=call_id, recording=False)
    await phone.hang_up()
    await place.empty()


async def test_an_operator_plays_a_file_into_a_call(place: Place) -> None:
    """Both hear it in the place of each other, or one alone, until it is stopped; no other file, nor for others."""
    alice, phone = place.browsers["alice"], place.phone("1001")
    calling = asyncio.ensure_future(phone.dial("alice"))
    await alice.status("ringing")
    await alice.accept()
    assert await calling == 200
    await until(lambda: alice.hears() == {400.0})
    [call] = list(place.gateway.app.calls)
    url = f"{place.gateway.web}/api/calls/{call.id}/sound"
    async with httpx.AsyncClient(headers={"Authorization": "Bearer carol:carols-own-Secret-0815"}) as carol:

        async def play(sound: str, **more: str) -> int:
            return (await carol.post(url, json={"sound": sound, **more})).status_code

        assert await play("notice.wav") == 204
        await until(lambda: alice.hears() == phone.hears() == {1300.0})
        assert (await carol.delete(url)).status_code == 204
        await until(lambda: alice.hears() == {400.0} and phone.hears() == {1000.0})
        assert await play("notice.wav", party="sip:1001@gateway.local") == 204
        await until(lambda: phone.hears() == {1300.0})
        assert alice.hears() == {400.0}
        assert [await play(name) for name in ("../secret.wav", "nothing.wav", "text.wav")] == [404, 404, 409]
        assert await play("notice.wav", party="sip:1002@gateway.local") == 404
        assert (await carol.post(url.replace(call.id, "x"), json={"sound": "notice.wav"})).status_code == 404
        alices = f"Bearer alice:{place.gateway.app.password('alice')}"
        refused = await carol.post(url, json={"sound": "notice.wav"}, headers={"Authorization": alices})
        assert refused.status_code == 403
    await phone.hang_up()
    await place.empty()


async def test_an_operator_passes_a_side_of_a_call_on(place: Place) -> None:
    """The caller, or whom it names; what is refused, declined or asked twice leaves the call as it is."""
    alice, bob, phone = place.browsers["alice"], place.browsers["bob"], place.phone("1001")
    calling = asyncio.ensure_future(phone.dial("alice"))
    await alice.status("ringing")
    await alice.accept()
    assert await calling == 200
    [call] = list(place.gateway.app.calls)
    url = f"{place.gateway.web}/api/calls/{call.id}/transfer"
    async with httpx.AsyncClient(headers={"Authorization": "Bearer carol:carols-own-Secret-0815"}, timeout=30) as carol:

        async def transfer(to: str, where: str = url, **more: str) -> tuple[int, str]:
            answer = await carol.post(where, json={"to": to, **more})
            return answer.status_code, answer.json()["error"] if answer.content else ""

        assert (await transfer("bob", url.replace(call.id, "x")))[0] == 404
        assert (await transfer("bob", party="sip:1002@gateway.local"))[0] == 404
        assert (await transfer("nobody"))[0] == 404
        assert (await transfer("1002"))[0] == 480
        assert (await transfer("a\nb"))[0] == 400
        assert (await transfer("600"))[0] == 403, "alice may call it, who asks may not"
        declined = asyncio.create_task(transfer("bob"))
        await bob.status("ringing")
        assert (await transfer("bob"))[0] == 409
        await bob.decline()
        assert await declined == (403, "The call was declined.")
        await until(lambda: alice.hears() == {TONES["1001"]} and phone.hears() == {TONES["alice"]})
        done = asyncio.create_task(transfer("bob"))
        await bob.status("ringing")
        await bob.accept()
        assert await done == (204, "")
        await alice.status("ready")
        await until(lambda: bob.hears() == {TONES["1001"]} and phone.hears() == {TONES["bob"]})
        done = asyncio.create_task(transfer("alice", party="sip:bob@gateway.local"))
        await alice.status("ringing")
        await alice.accept()
        assert await done == (204, "")
        await asyncio.wait_for(phone.over, 30)
        await until(lambda: bob.hears() == {TONES["alice"]} and alice.hears() == {TONES["bob"]})
        alices = f"Bearer alice:{place.gateway.app.password('alice')}"
        refused = await carol.post(url, json={"to": "bob"}, headers={"Authorization": alices})
        assert refused.status_code == 403
    await phone.rtp.close()
    await place.empty()


async def test_a_user_opens_a_room_that_phones_dial_and_ends_it_with_words(place: Place) -> None:
    """By /api/rooms, with a number and a PIN; nobody else sees or changes it; who is in it hears why it ends."""
    alice = place.browsers["alice"]
    url = f"{place.gateway.web}/api/rooms"
    alices, bobs = ({"Authorization": f"Bearer {one}:{place.gateway.app.password(one)}"} for one in ("alice", "bob"))
    async with httpx.AsyncClient() as http:
        made = await http.post(url, json={"title": "Round", "number": "8010", "pin": "112233"}, headers=alices)
        assert made.status_code == 201, made.text
        assert (made.json()["room"], made.json()["pin"], made.json()["by"]) == ("8010", "112233", "alice")
        assert "no-store" in made.headers["Cache-Control"]
        assert (await http.post(url, json={"number": "8010"}, headers=bobs)).status_code == 409
        assert (await http.post(url, json={"number": "800"}, headers=bobs)).status_code == 400
        assert (await http.get(url, headers=bobs)).json()["opened"] == []
        for method, body in (("PATCH", {"pin": "4711"}), ("DELETE", None)):
            assert (await http.request(method, f"{url}/8010", json=body, headers=bobs)).status_code == 404
        phone = place.phone("1001")
        assert await phone.dial("8010") == 200
        await phone.press("332211")
        await phone.press("112233")
        await place.come("alice", "8010")
        await alice.ask("call.dtmf", call_id=await alice.call_id(), digit="1")
        for digit in "12233":
            await alice.ask("call.dtmf", call_id=await alice.call_id(), digit=digit)
        await until(lambda: alice.hears() == {400.0})
        await until(lambda: phone.hears() == {1000.0})
        shown = await alice.ask("room.members", room="8010")
        assert shown["moderates"]
        [opened] = (await alice.ask("room.list"))["opened"]
        assert (opened["used"], opened["has_pin"], "pin" in opened) == (True, True, False)
        changed = await http.patch(f"{url}/8010", json={"pin": "998877"}, headers=alices)
        assert (changed.status_code, changed.json()["pin"], changed.json()["title"]) == (200, "998877", "Round")
        assert (await http.delete(f"{url}/8010", headers=alices)).status_code == 204
        await asyncio.wait_for(phone.over, 30)
        await alice.notified("call_state", state="ended", cause="room-closed", reason="The room was closed.")
        await phone.rtp.close()
        assert await place.phone("1001").dial("8010") == 404
        assert (await http.delete(f"{url}/8010", headers=alices)).status_code == 404
    await place.empty()


async def test_who_tries_pins_of_an_opened_room_is_turned_away_after_three(place: Place) -> None:
    """By JSON-RPC: the PIN is made, the owner's alone; each user has so many rooms."""
    bob = place.browsers["bob"]
    opened = [await bob.ask("room.open") for _ in range(5)]
    assert len({one["room"] for one in opened}) == 5
    assert all(len(one["pin"]) == 6 for one in opened)
    assert "as many rooms" in await refusal(bob, "room.open")
    number = opened[0]["room"]
    assert "no room" in await refusal(place.browsers["alice"], "room.close", room=number)
    phone = place.phone("1001")
    assert await phone.dial(number) == 200
    wrong = "000000" if opened[0]["pin"] != "000000" else "111111"
    for _ in range(3):
        await phone.press(wrong)
    await asyncio.wait_for(phone.over, 30)
    await phone.rtp.close()
    assert (await bob.ask("room.change", room=number, title="Later"))["title"] == "Later"
    # An operator sees and ends everybody's.
    for one in (await place.browsers["carol"].ask("room.list"))["opened"]:
        assert await place.browsers["carol"].ask("room.close", room=one["room"]) == {"room": one["room"]}
    assert (await bob.ask("room.list"))["opened"] == []
    await place.empty()
