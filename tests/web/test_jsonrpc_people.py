"""Messages and presence on JSON-RPC: sent and set by a page, and told to every page they are for."""

from __future__ import annotations

from typing import Any

from gateway.people.messages import InstantMessage, Outcome
from gateway.people.presence import Activity, PresenceState
from gateway.web.settings import WebSettings
from tests.rows import by_row
from tests.web.fake import FakeGateway, rpc, running

MESSAGE = InstantMessage(
    id="m1",
    sender="sip:bob@gw.test",
    sender_name="Bob",
    recipient="alice",
    content_type="text/plain;charset=UTF-8",
    body="Grüße\n<b>".encode(),
    sent_at=1.5,
    expires_at=9.0,
)


async def test_a_page_writes_and_hears_what_became_of_it() -> None:
    """Delivered, or kept for somebody who is away."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        sent = await alice.ok("message.send", to_peer_id="1001", text="hello\nthere")
        assert sent == {"to_peer_id": "1001", "outcome": "delivered"}
        gateway.message_outcome = Outcome.STORED
        sent = await alice.ok("message.send", to_peer_id="1001", text="x", content_type="Text/HTML")
        assert sent["outcome"] == "stored"
    assert gateway.messages == [
        ("alice", "1001", "hello\nthere", "text/plain"),
        ("alice", "1001", "x", "text/html"),
    ]


@by_row("outcome", [one for one in Outcome if not one.is_success])
async def test_every_failure_is_a_sentence(outcome: Outcome) -> None:
    """With its word and its SIP status beside it."""
    gateway = FakeGateway()
    gateway.message_outcome = outcome
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        error = await alice.fails("message.send", to_peer_id="1001", text="hello")
    assert error["message"].endswith(".")
    assert (error["data"]["cause"], error["data"]["status"]) == (outcome.word, outcome.status)


@by_row(
    "params",
    [
        {"text": "x"},
        {"to_peer_id": "1001"},
        {"to_peer_id": "1001", "text": ""},
        {"to_peer_id": "1001", "text": 5},
        {"to_peer_id": "1001", "text": "\ud83d"},
        {"to_peer_id": "1001", "text": "x" * 65_537},
        {"to_peer_id": "1001", "text": "x", "content_type": "text"},
        {"to_peer_id": "1001", "text": "x", "content_type": "text/plain\r\nEvil: yes"},
        {"to_peer_id": "1001", "text": "x", "content_type": None},
    ],
)
async def test_what_cannot_be_sent_is_refused_at_the_door(params: dict[str, Any]) -> None:
    """-32602 names the parameter, or the frame is too large; the gateway never hears of it."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        if len(str(params.get("text"))) > 65_000:
            await alice.send({"jsonrpc": "2.0", "method": "message.send", "params": params, "id": 1})
        else:
            assert (await alice.fails("message.send", **params))["code"] == -32602
    assert gateway.messages == []


async def test_guests_and_strangers_do_not_write() -> None:
    """Nor are they written to."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "ann") as guest, rpc(server) as nobody:
        assert (await guest.fails("message.send", to_peer_id="alice", text="x"))["message"] == "Authentication required"
        assert "announce" in (await nobody.fails("message.send", to_peer_id="alice", text="x"))["message"]
    assert gateway.messages == []
    assert gateway.inboxes == {}


async def test_every_page_is_told_as_long_as_it_is_there() -> None:
    """What somebody wrote comes as text, whatever octets it was; a page that has gone is told nothing more."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as first:
        async with rpc(server, "alice", token="wonder") as second:
            await second.ok("ping")
            for inbox in gateway.inboxes["alice"]:
                inbox.message(MESSAGE)
            for page in (first, second):
                assert await page.notified("message") == {
                    "message_id": "m1",
                    "from_peer_id": "sip:bob@gw.test",
                    "from_name": "Bob",
                    "content_type": "text/plain;charset=UTF-8",
                    "text": "Grüße\n<b>",
                    "timestamp": 1500,
                }
        await first.ok("ping")
        assert len(gateway.inboxes["alice"]) in (1, 2)
    assert gateway.inboxes["alice"] == []


async def test_a_page_is_told_who_is_there() -> None:
    """At once, then every change, until it wants to hear no more or goes."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        now = await alice.ok("presence.watch", peer_id="1001")
        assert now == {"peer_id": "1001", "status": "available", "note": ""}
        gateway.board.set("1001", PresenceState(Activity.ON_THE_PHONE, "with Bob"))
        told = await alice.notified("presence")
        assert told == {"peer_id": "1001", "status": "on-the-phone", "note": "with Bob"}
        await alice.ok("presence.watch", peer_id="1001")
        gateway.board.set("1001", PresenceState())
        assert (await alice.notified("presence"))["status"] == "available"
        assert (await alice.notified("presence"))["status"] == "offline"
        await alice.ok("presence.unwatch", peer_id="1001")
        await alice.ok("presence.unwatch", peer_id="1001")
        gateway.board.set("1001", PresenceState(Activity.BUSY))
        await alice.silent()
        await alice.ok("presence.watch", peer_id="bob")
    assert gateway.board._listeners == {}


async def test_who_may_not_be_seen_is_not() -> None:
    """Nobody, somebody hidden, one too many, and nothing at all for guests."""
    gateway = FakeGateway()
    settings = WebSettings(max_watches=1)
    async with running(gateway, settings) as server, rpc(server, "alice", token="wonder") as alice:
        assert (await alice.fails("presence.watch", peer_id="nobody"))["data"]["cause"] == "not-found"
        assert (await alice.fails("presence.watch", peer_id="hidden"))["data"]["cause"] == "forbidden"
        await alice.ok("presence.watch", peer_id="1001")
        assert "Too many" in (await alice.fails("presence.watch", peer_id="1002"))["message"]
        await alice.ok("presence.watch", peer_id="1001")
        async with rpc(server, "ann") as guest:
            for method in ("presence.watch", "presence.unwatch", "presence.set"):
                assert (await guest.fails(method, peer_id="alice"))["message"] == "Authentication required"


async def test_a_user_says_how_it_is() -> None:
    """Available, away, busy, with a note; nothing is what is found out."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as alice:
        await alice.ok("presence.set", status="away", note=" lunch ")
        await alice.ok("presence.set", note="in room 5")
        assert await alice.ok("presence.set") == {"status": None, "note": ""}
        refused: tuple[dict[str, Any], ...] = (
            {"status": "offline"},
            {"status": "on-the-phone"},
            {"status": 5},
            {"status": []},
            {"status": {}},
            {"note": "x" * 257},
            {"note": "a\nb"},
        )
        for bad in refused:
            assert (await alice.fails("presence.set", **bad))["code"] == -32602
    assert gateway.said == [
        ("alice", PresenceState(Activity.AWAY, "lunch")),
        ("alice", PresenceState(Activity.AVAILABLE, "in room 5")),
        ("alice", None),
    ]
