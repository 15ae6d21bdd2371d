"""What guests may do and see: whom they may call, no more, and never the lines of people with accounts."""

from __future__ import annotations

from typing import Any

from gateway.identity.model import User
from gateway.web.app import WebSettings
from gateway.web.facade import WebChannel
from tests.rows import by_row
from tests.web.fake import ANSWER, SDP, FakeCall, FakeGateway, rpc, running

CANDIDATE = "candidate:1 1 udp 1 192.0.2.1 9 typ host"


def _bounded() -> FakeGateway:
    gateway = FakeGateway()
    gateway.guests_may_call = ("600", "ben")
    return gateway


async def test_guests_reach_only_guests_they_may_call() -> None:
    """web.guests_may_call bounds relayed offers too; who may not be called is not there."""
    async with running(_bounded()) as server, rpc(server, "ann") as ann, rpc(server, "ben") as ben:
        await ann.ok("offer", to_peer_id="ben", sdp=SDP)
        assert (await ben.notified("offer"))["from_peer_id"] == "ann"
        for other in ("ann", "nobody", "alice", "forbidden"):
            error = await ben.fails("offer", to_peer_id=other, sdp=SDP) if other != "alice" else None
            if error is not None:
                assert error["message"] == f"Peer not found: {other}"
                assert error["code"] == -32000
        await ben.ok("answer", to_peer_id="ann", sdp=ANSWER)
        assert (await ann.notified("answer"))["sdp"] == ANSWER


_RELAYED: dict[str, dict[str, Any]] = {
    "offer": {"to_peer_id": "", "sdp": SDP},
    "answer": {"to_peer_id": "", "sdp": ANSWER},
    "ice_candidate": {"to_peer_id": "", "candidate": CANDIDATE, "sdp_mid": "0"},
    "disconnect": {"peer_id": "", "reason": "busy"},
    "peer.offer": {"to": "", "sdp": SDP},
    "peer.answer": {"to": "", "sdp": ANSWER},
    "peer.ice_candidate": {"to": "", "candidate": CANDIDATE, "sdp_mid": "0"},
    "peer.disconnect": {"peer_id": "", "reason": "busy"},
}
"""Methods that are relayed to a guest, each with its target left out."""


@by_row("method", _RELAYED)
async def test_a_guest_out_of_sight_is_like_nobody_to_every_method(method: str) -> None:
    """The same answer by the same path, whether the id is announced or not, and nothing reaches that guest."""
    gateway = _bounded()
    gateway.guests_may_call = ("600",)
    placed: list[str] = []
    place = gateway.place

    async def counted(channel: WebChannel, caller: User, to: str, sdp: str, source: str = "") -> FakeCall:
        placed.append(to)
        return await place(channel, caller, to, sdp, source)

    gateway.place = counted  # type: ignore[method-assign]
    target = next(name for name, value in _RELAYED[method].items() if value == "")
    async with running(gateway) as server, rpc(server, "ann") as ann, rpc(server, "ben") as ben:
        answers = []
        for name in ("ben", "nil"):
            answer = await ann.request(method, **_RELAYED[method] | {target: name})
            answers.append({key: value for key, value in answer.items() if key != "id"})
        there, absent = answers
        assert str(there).replace("ben", "nil") == str(absent)
        if "disconnect" not in method:
            assert there["error"]["message"] == "Peer not found: ben"
            assert there["error"]["data"]["cause"] == "forbidden"
        assert placed in ([], ["ben", "nil"])
        await ben.silent()


async def test_who_was_offered_to_may_answer_until_the_offerer_has_gone() -> None:
    """The next guest of that id is a stranger, though the guest before it was in a session."""
    async with running(_bounded()) as server, rpc(server, "ben") as ben:
        async with rpc(server, "ann") as ann:
            await ann.ok("offer", to_peer_id="ben", sdp=SDP)
            await ben.ok("ice_candidate", to_peer_id="ann", candidate=CANDIDATE, sdp_mid="0")
            assert (await ann.notified("ice_candidate"))["from_peer_id"] == "ben"
        await ben.fails("ice_candidate", to_peer_id="ann", candidate=CANDIDATE, sdp_mid="0")
        async with rpc(server, "ann") as ann:
            await ann.ok("offer", to_peer_id="ben", sdp=SDP)
        async with rpc(server, "ann") as other:
            await ben.fails("answer", to_peer_id="ann", sdp=ANSWER)
            await ben.ok("disconnect", peer_id="ann")
            await other.silent()


async def test_guests_are_not_given_the_list_of_users() -> None:
    """Nor told who comes and goes; users see everybody."""
    async with (
        running(_bounded()) as server,
        rpc(server, "alice", token="wonder") as alice,
        rpc(server, "ann") as ann,
    ):
        assert (await ann.ok("list_peers"))["peers"] == [{"peer_id": "ann", "capabilities": {}, "state": "available"}]
        async with rpc(server) as ben:
            announced = await ben.ok("announce", peer_id="ben")
            assert announced == {"peer_id": "ben", "peers_count": 1, "other_peers": []}
            assert (await ann.notified("peer_joined"))["peer_id"] == "ben"
            assert (await alice.ok("list_peers"))["count"] == 3
        async with rpc(server, "bob", token="builder"):
            assert (await ann.notified("peer_left"))["peer_id"] == "ben"
            await ann.silent()


async def test_users_are_not_told_of_whom_they_may_not_see() -> None:
    """presence.visible_to: neither in lists nor as they come and go; everybody sees itself."""
    gateway = FakeGateway()
    gateway.unseen = {"alice", "bob"}
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        async with rpc(server) as bob:
            assert (await bob.ok("announce", peer_id="bob", token="builder"))["other_peers"] == []
            assert [one["peer_id"] for one in (await bob.ok("list_peers"))["peers"]] == ["bob"]
            await alice.silent()
        async with rpc(server, "ann"):
            method, params = await alice.next_notice()
            assert (method, params["peer_id"]) == ("peer_joined", "ann")


@by_row(
    "name",
    [
        "a1ice",
        "\u0430lice",
        "The Admin",
        "adm1n-2",
        "\u0455upport",
        "Alice",
        "ALICE",
        "remotemedia-server",
        "RemoteMedia-Server",
        "\uff52emotemedia-server",
        "\uff41nn",
        "1001",
    ],
)
async def test_guests_cannot_go_by_a_name_that_could_be_somebodys(name: str) -> None:
    """Not in other letters, not in full width, not the server's own."""
    settings = WebSettings(staff_names=("admin", "support"))
    async with running(FakeGateway(), settings) as server, rpc(server) as client:
        assert "Authentication" in (await client.fails("announce", peer_id=name))["message"]
        await client.ok("announce", peer_id="ann")


async def test_strangers_are_not_told_about_the_machine() -> None:
    """server.info: the public name; the address to those who announced themselves."""
    settings = WebSettings(issuer="gateway.example")
    async with running(FakeGateway(), settings) as server, rpc(server) as client:
        assert await client.ok("server.info") == {"addresses": [], "hostname": "gateway.example"}
        await client.ok("announce", peer_id="ann")
        assert (await client.ok("server.info"))["addresses"] == [{"ip": "127.0.0.1", "is_default": True}]
    public = WebSettings(public_url="https://phone.example/soft")
    async with running(FakeGateway(), public) as server, rpc(server, "ann") as client:
        assert await client.ok("server.info") == {"addresses": [], "hostname": "phone.example"}
