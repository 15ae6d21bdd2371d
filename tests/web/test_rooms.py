"""The two room protocols: /webrtc/signaling and /rtc/signal."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from gateway.web.app import WebServer, WebSettings
from gateway.web.outbox import Line
from tests.rows import by_row
from tests.web.client import client_of
from tests.web.fake import SDP, FakeGateway, running
from tests.web.room_peer import joined


async def _rest(server: WebServer, path: str) -> Any:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://127.0.0.1:{server.port}{path}")).json()


ROOM = "/webrtc/signaling/room1"


async def test_a_room_tells_who_is_there_who_comes_and_who_goes() -> None:
    """The newcomer hears of the others only if there are any."""
    async with running(FakeGateway()) as server, joined(server, f"{ROOM}/one") as one:
        async with joined(server, f"{ROOM}/two") as two:
            assert await one.next() == {"type": "peer_joined", "peer_id": "two"}
            assert await two.next() == {"type": "existing_peers", "peers": ["one"]}
            assert await _rest(server, "/webrtc/rooms") == {"rooms": ["room1"], "total_rooms": 1}
            peers = await _rest(server, "/webrtc/rooms/room1/peers")
            assert peers == {"peers": ["one", "two"], "total_peers": 2}
        assert await one.next() == {"type": "peer_left", "peer_id": "two"}
    async with running(FakeGateway()) as server:
        assert await _rest(server, "/webrtc/rooms") == {"rooms": [], "total_rooms": 0}
        assert await _rest(server, "/webrtc/rooms/gone/peers") == {"peers": [], "total_peers": 0}


async def test_messages_are_relayed_with_the_sender_and_without_the_target() -> None:
    """Offers, answers and candidates keep their content, whatever its shape."""
    async with (
        running(FakeGateway()) as server,
        joined(server, f"{ROOM}/one") as one,
        joined(server, f"{ROOM}/two") as two,
    ):
        await one.next()
        await two.next()
        for kind, member, content in (
            ("offer", "offer", {"type": "offer", "sdp": SDP}),
            ("answer", "answer", SDP),
            ("ice_candidate", "candidate", None),
        ):
            await two.send(type=kind, target_peer_id="one", extra="dropped", **{member: content})
            assert await one.next() == {"type": kind, member: content, "from_peer_id": "two"}


async def test_rooms_do_not_leak_into_each_other() -> None:
    """The same peer id may be in two rooms; a target in another room is not found."""
    async with (
        running(FakeGateway()) as server,
        joined(server, f"{ROOM}/one") as one,
        joined(server, "/webrtc/signaling/room2/one") as other,
        joined(server, "/webrtc/signaling/room2/two") as two,
    ):
        assert await other.next() == {"type": "peer_joined", "peer_id": "two"}
        await two.next()
        await one.send(type="offer", offer="v=0", target_peer_id="two")
        assert (await one.next())["code"] == "peer-not-found"
        await two.send(type="offer", offer="v=0", target_peer_id="one")
        assert (await other.next())["from_peer_id"] == "two"


async def test_a_taken_peer_id_is_refused_and_its_owner_stays() -> None:
    """1008 with the reason."""
    async with running(FakeGateway()) as server, joined(server, f"{ROOM}/one") as one:
        async with joined(server, f"{ROOM}/one") as thief:
            assert await thief.ends() == (1008, "this peer id is taken in this room")
        await one.send(type="offer", offer="v=0", target_peer_id="one")
        assert (await one.next())["type"] == "offer"


@by_row(
    ("text", "code"),
    [
        ("{", "bad-json"),
        ("[" * 3000, "bad-json"),
        ("[]", "bad-message"),
        ('{"type": 7}', "bad-message"),
        ('{"type": ["offer"]}', "bad-message"),
        ('{"type": "offer"}', "bad-message"),
        ('{"type": "peer_joined", "peer_id": "x"}', "bad-message"),
        ('{"type": "offer", "offer": "v=0"}', "peer-not-found"),
        ('{"type": "offer", "offer": "v=0", "target_peer_id": {}}', "peer-not-found"),
    ],
)
async def test_a_bad_message_is_answered_and_drops_nobody(text: str, code: str) -> None:
    """An error says what is wrong; the connection goes on."""
    async with running(FakeGateway()) as server, joined(server, f"{ROOM}/one") as one:
        await one.socket.send(text)
        error = await one.next()
        assert (error["type"], error["code"]) == ("error", code)
        await one.send(type="offer", offer="v=0", target_peer_id="one")
        assert (await one.next())["type"] == "offer"


async def test_rooms_and_peers_are_limited_and_ids_checked() -> None:
    """1013 when there is no room left, 1008 for unusable ids."""
    settings = WebSettings(max_rooms=1, max_room_peers=1, open_rooms=True)
    async with running(FakeGateway(), settings) as server, joined(server, f"{ROOM}/one"):
        for path, code in ((f"{ROOM}/two", 1013), ("/webrtc/signaling/room2/one", 1013), (f"{ROOM}/%0d%0a", 1008)):
            async with joined(server, path) as peer:
                assert (await peer.ends())[0] == code
        async with joined(server, "/rtc/signal?room=%00") as peer:
            assert (await peer.ends())[0] == 1008


async def test_the_relay_gives_ids_and_counts_what_it_carries() -> None:
    """registered, peers, peer-joined, peer-left; offers and answers are bare strings."""
    async with running(FakeGateway()) as server, joined(server, "/rtc/signal?room=r") as one:
        first = (await one.next())["peer_id"]
        assert await one.next() == {"type": "peers", "peers": []}
        async with joined(server, "/rtc/signal?room=r") as two, joined(server, "/rtc/signal") as elsewhere:
            second = (await two.next())["peer_id"]
            assert await two.next() == {"type": "peers", "peers": [first]}
            assert await one.next() == {"type": "peer-joined", "peer_id": second}
            await two.send(type="offer", target=first, sdp=SDP)
            assert await one.next() == {"type": "offer", "from": second, "sdp": SDP}
            await one.send(type="answer", target=second, sdp=SDP)
            assert await two.next() == {"type": "answer", "from": first, "sdp": SDP}
            for candidate in ("candidate:1", {"candidate": "candidate:1", "sdpMid": "0"}):
                await one.send(type="ice-candidate", target=second, candidate=candidate)
                assert await two.next() == {"type": "ice-candidate", "from": first, "candidate": candidate}
            await elsewhere.next()
            await elsewhere.next()
            await elsewhere.send(type="offer", target=first, sdp=SDP)
            assert (await elsewhere.next())["type"] == "error"
            assert await _rest(server, "/rtc/stats") == {
                "total_peers": 3,
                "active_rooms": 2,
                "offers_relayed": 1,
                "answers_relayed": 1,
                "ice_candidates_relayed": 2,
                "file_parts_relayed": 0,
            }
        assert await one.next() == {"type": "peer-left", "peer_id": second}
        for text in ("{", "7", '{"type":"offer","target":"x","sdp":7}', '{"type":"bye","target":"x"}'):
            await one.socket.send(text)
            assert (await one.next())["type"] == "error"


async def test_rooms_check_the_origin() -> None:
    """403 for a page of somebody else, for sockets and lists alike."""
    evil = {"Origin": "https://evil.example"}
    async with running(FakeGateway()) as server:
        for path in (f"{ROOM}/one", "/rtc/signal"):
            with pytest.raises(InvalidStatus):
                async with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=evil):
                    pass
    async with client_of(FakeGateway()) as http:
        assert (await http.get("/webrtc/rooms", headers=evil)).status_code == 403


_EACH = 11
"""Messages of a newcomer to each member: an offer and ten candidates."""


@by_row("form", ["/webrtc/signaling/r/{}", "/rtc/signal?room=r"])
@by_row(
    "settings",
    [
        pytest.param({"message_burst": 1, "messages_per_second": 0.0001, "messages_per_peer": _EACH}, id="room-scaled"),
        pytest.param({"message_burst": 1, "messages_per_second": 500.0, "messages_per_peer": 0}, id="read-pause"),
        pytest.param({"message_burst": 100, "messages_per_second": 20.0}, id="as-shipped"),
    ],
)
async def test_a_newcomer_calls_a_room_of_twelve_at_once(form: str, settings: dict[str, Any]) -> None:
    """Every description and candidate arrives, whether the room allows it or a read pause delays it."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running(FakeGateway(), WebSettings(open_rooms=True, send_queue_messages=50, **settings))
        )
        members = [await stack.enter_async_context(joined(server, form.format(number))) for number in range(12)]
        newcomer = await stack.enter_async_context(joined(server, form.format("newcomer")))
        others: list[str] = []
        while not others:
            told = await newcomer.next()
            others = told.get("peers", [])
        target, candidate = ("target", "ice-candidate") if "/rtc" in form else ("target_peer_id", "ice_candidate")
        for other in others:
            await newcomer.send(type="offer", **{target: other}, offer=SDP, sdp=SDP)
            for number in range(_EACH - 1):
                line = f"candidate:{number} 1 udp 1 192.0.2.1 9 typ host"
                await newcomer.send(type=candidate, **{target: other}, candidate={"candidate": line})
        for member in members:
            arrived: list[str] = []
            while len(arrived) < _EACH:
                arrived += [told["type"]] if (told := await member.next())["type"] in ("offer", candidate) else []
            assert arrived == ["offer", *[candidate] * (_EACH - 1)]
        if settings["messages_per_second"] > 1:
            await newcomer.send(type="nonsense")
            assert (await newcomer.next())["type"] == "error"


async def test_a_flood_into_a_room_passes_its_burst_alone() -> None:
    """The flooder's messages wait unread, and those of others pass; a room that has emptied allows less again."""
    limits: dict[str, Any] = {"message_burst": 2, "messages_per_second": 0.0001, "messages_per_peer": 3}
    async with (
        running(FakeGateway(), WebSettings(open_rooms=True, **limits)) as server,
        joined(server, "/webrtc/signaling/r/victim") as victim,
        joined(server, "/webrtc/signaling/r/flooder") as flooder,
    ):
        async with joined(server, "/webrtc/signaling/r/gone"):
            while (await flooder.next()).get("peer_id") != "gone":
                pass
        while (await flooder.next())["type"] != "peer_left":
            pass
        for number in range(50):
            await flooder.send(type="ice_candidate", target_peer_id="victim", candidate=f"candidate:{number}")
        relayed: list[Any] = []
        while len(relayed) < 5:
            relayed += [told] if (told := await victim.next())["type"] == "ice_candidate" else []
        async with joined(server, "/webrtc/signaling/r/honest") as honest:
            await honest.send(type="ice_candidate", target_peer_id="victim", candidate="candidate:honest")
            assert (await victim.next())["type"] == "peer_joined"
            assert (await victim.next())["from_peer_id"] == "honest"


async def test_peers_that_come_and_go_earn_a_flooder_nothing() -> None:
    """A join widens what the others may save up, and gives them no messages at once."""
    limits: dict[str, Any] = {"message_burst": 2, "messages_per_second": 0.0001, "messages_per_peer": 3}
    async with (
        running(FakeGateway(), WebSettings(open_rooms=True, **limits)) as server,
        joined(server, "/webrtc/signaling/r/victim") as victim,
        joined(server, "/webrtc/signaling/r/flooder") as flooder,
    ):

        async def flood(messages: int) -> None:
            for number in range(messages):
                await flooder.send(type="ice_candidate", target_peer_id="victim", candidate=f"candidate:{number}")

        await flood(5)
        for number in range(5):
            async with joined(server, f"/webrtc/signaling/r/{number}") as passer:
                assert (await passer.next())["type"] == "existing_peers"
                await flood(3)
            while (await flooder.next()) != {"type": "peer_left", "peer_id": str(number)}:
                pass
        async with joined(server, "/webrtc/signaling/r/honest") as honest:
            await honest.send(type="ice_candidate", target_peer_id="victim", candidate="candidate:honest")
            senders: list[str] = []
            while "honest" not in senders:
                told = await victim.next()
                senders += [told["from_peer_id"]] if told["type"] == "ice_candidate" else []
        assert senders == ["flooder"] * 5 + ["honest"]


async def test_joins_of_one_address_keep_the_pace_of_messages() -> None:
    """Joins beyond the burst wait; another address joins at once, and so does a full room of one address."""
    settings = WebSettings(
        open_rooms=True, proxies=("127.0.0.1",), max_room_peers=2, message_burst=1, messages_per_second=0.0001
    )
    async with running(FakeGateway(), settings) as server, contextlib.AsyncExitStack() as stack:

        async def join(room: str, peer: str, address: str) -> ClientConnection:
            url = f"ws://127.0.0.1:{server.port}/webrtc/signaling/{room}/{peer}"
            return await stack.enter_async_context(connect(url, additional_headers={"X-Forwarded-For": address}))

        first = await join("full", "1", "192.0.2.1")
        await join("full", "2", "192.0.2.1")
        assert "peer_joined" in str(await first.recv())
        await join("late", "3", "192.0.2.1")
        await join("other", "4", "192.0.2.2")
        fifth = await join("other", "5", "192.0.2.2")
        assert "existing_peers" in str(await fifth.recv())
        assert await _rest(server, "/webrtc/rooms") == {"rooms": ["full", "other"], "total_rooms": 2}


async def test_messages_for_each_peer_may_wait_for_a_member() -> None:
    """The outbox of a member grows with its room, beyond `send_queue_messages`, and shrinks again."""
    settings = WebSettings(open_rooms=True, send_queue_messages=1, messages_per_peer=3)
    sockets = [_Held() for _ in range(2)]
    member, other = (Line(socket, settings) for socket in sockets)  # type: ignore[arg-type]  # as much as a Line asks
    member.widen(1)
    for _ in range(4):
        member.outbox.send("{}")
    assert not member.outbox.closed
    other.widen(1)
    other.widen(-1)
    for _ in range(2):
        other.outbox.send("{}")
    assert other.outbox.closed


class _Held:
    """A WebSocket that nobody writes to."""

    client = None
