"""What guests may do and see: whom they may call, no more, and never the lines of people with accounts."""

from __future__ import annotations

import pytest

from gateway.web.app import WebSettings
from tests.web.fake import ANSWER, SDP, FakeGateway, rpc, running


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


@pytest.mark.parametrize(
    "name",
    ["Alice", "ALICE", "remotemedia-server", "RemoteMedia-Server", "\uff52emotemedia-server", "\uff41nn", "1001"],
)
async def test_guests_cannot_go_by_a_name_that_could_be_somebodys(name: str) -> None:
    """Not in other letters, not in full width, not the server's own."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        assert "Authentication" in (await client.fails("announce", peer_id=name))["message"]


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
