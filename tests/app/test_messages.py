"""What becomes of a MESSAGE: who may write to whom, how much, and what the sender is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from gateway.call.leg import Address
from gateway.call.routing import Caller, Group, Route, RouteError, Router, SipTarget
from gateway.call.status import Cause
from gateway.dialing.incoming import Sender
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_sessions import Destination
from gateway.legs.web_clients import Presence
from gateway.people.courier import Keeping
from gateway.people.messages import InstantMessage, Outcome
from gateway.people.sip.messages import Messages, MessageSettings
from gateway.sip.errors import SipBuildError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Reply
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.store.messages_memory import MemoryMessages
from gateway.trunks.accounts import Accounts
from tests.rows import by_row

SOURCE = Flow("udp", "192.0.2.7", 5060)
USERS = (
    User("1001", "Desk", sip=True, may_call=("*", "0*")),
    User("1002", sip=True, may_call=("1001",)),
    User("alice", "Alice", web=True),
)


class Page:
    """An open page that keeps what it is told."""

    def __init__(self) -> None:
        self.got: list[InstantMessage] = []

    def voicemail(self, new: int, old: int) -> None:
        """Not meant here."""

    def message(self, message: InstantMessage) -> None:
        self.got.append(message)


class Post:
    """Everything around Messages: phones that answer what the test says, and a trunk for numbers with 0."""

    def __init__(self, settings: MessageSettings | None = None, *, keeps: bool = False) -> None:
        self.identity = IdentityMap(USERS, [], "gw.test")
        router = Router(
            self.identity,
            [
                Route(match="600", to="service:echo"),
                Route(match="750", to="group:desk"),
                Route(match="[*]78", to="feature:do-not-disturb-on"),
                Route(match="0*", to="trunk:pbx", strip=1),
            ],
            ["gw.test"],
            {"pbx": ("pbx.test",)},
            groups=[Group("desk", USERS[:1])],
        )
        self.presence = Presence()
        self.sent: list[dict[str, Any]] = []
        self.answers: dict[str, int | Exception | None] = {}
        """By URI; None: nothing comes."""
        self.trunk: list[Destination] = []
        self.places: dict[str, list[Destination]] = {}
        self.store = MemoryMessages()
        self.now = 1000.0
        numbers = iter(range(10_000))
        self.messages = Messages(
            self.identity,
            Accounts(bytes(32)),
            router,
            self,
            self.presence,
            settings or MessageSettings(burst=100),
            Keeping(store=self.store) if keeps else None,
            new_id=lambda: f"m{next(numbers)}",
            wall_clock=lambda: self.now,
            clock=lambda: self.now,
        )
        self.messages.requester = self

    async def phones(self, user: User, device: str | None = None) -> Sequence[Destination]:
        if user.id == "gone":
            raise RouteError(Cause.OVERLOADED, "the store is away")
        return self.places.get(user.id, ())

    def outside(self, target: SipTarget) -> Sequence[Destination]:
        if target.uri == "8":
            raise RouteError(Cause.UNAVAILABLE, "no account")
        if self.trunk:
            return self.trunk
        return [Destination(f"sip:{target.uri}@pbx.test", caller=NameAddr(Uri.parse("sip:gw@pbx.test")))]

    async def request(self, method: str, target: Uri, **how: Any) -> Response:
        self.sent.append({"method": method, "to": str(target), **how})
        status = self.answers.get(str(target), 200)
        if isinstance(status, Exception):
            raise status
        if status is None:
            status = await asyncio.Future[int]()
        return Response(status)

    def sender(self, request: Request, identity: str | None) -> Sender | None:
        if identity is None:
            return None
        if identity.startswith("trunk:"):
            return Sender(Caller(identity, ("*",), transit=False), Address("sip:700@pbx.test", "Far"))
        user = self.identity.by_id(identity)
        assert user is not None
        return Sender(Caller(user.id, user.may_call), Address(self.identity.sip_uri(user.id), user.display_name))

    async def write(
        self,
        to: str,
        body: bytes = b"hello",
        *,
        who: str | None = "1001",
        kind: str | None = "text/plain",
        headers: build.Fields = (),
        max_forwards: int = 70,
    ) -> Reply:
        request = build.request(
            "MESSAGE",
            Uri.parse(to),
            from_=NameAddr(Uri.parse("sip:1001@gw.test")).with_tag("f"),
            to=NameAddr(Uri.parse(to)),
            call_id="c",
            cseq=1,
            headers=headers,
            body=body,
            content_type=kind if body else None,
            max_forwards=max_forwards,
        )
        return await self.messages.from_sip(self.sender, request, SOURCE, who)

    def page(self, user: str) -> Page:
        page = Page()
        self.presence.attend(user, cast(Any, page))
        return page


async def test_every_phone_and_every_page_gets_it() -> None:
    """With what leads back to its sender; a hop is counted down, and nothing says when it was written."""
    post = Post()
    first, second = post.page("alice"), post.page("alice")
    post.places["alice"] = [
        Destination("sip:a@192.0.2.1", received="udp:192.0.2.1:5060"),
        Destination("sip:a@192.0.2.2"),
    ]
    reply = await post.write("sip:alice@gw.test", "Grüße".encode(), kind="text/plain;charset=utf-8")
    assert reply == Reply(200)
    assert [one.text for one in (*first.got, *second.got)] == ["Grüße", "Grüße"]
    assert first.got[0].sender == "sip:1001@gw.test"
    assert [one["to"] for one in post.sent] == ["sip:a@192.0.2.1", "sip:a@192.0.2.2"]
    [sent, _] = post.sent
    assert (str(sent["caller"].uri), str(sent["callee"].uri)) == ("sip:1001@gw.test", "sip:alice@gw.test")
    assert (sent["received"], sent["max_forwards"], sent["headers"]) == ("udp:192.0.2.1:5060", 69, ())
    assert (sent["body"], sent["content_type"]) == ("Grüße".encode(), "text/plain;charset=utf-8")


@by_row(
    ("answers", "status"),
    [
        ((200, 486), 200),
        ((202, 480), 200),
        ((415, 480), 488),
        ((603,), 488),
        ((408,), 480),
        ((503, 480), 480),
        ((SipBuildError("cannot be written"),), 480),
        ((), 480),
    ],
)
async def test_what_the_phones_say_is_one_answer(answers: tuple[int | Exception, ...], status: int) -> None:
    """One that has it is enough; one that is there and wants none speaks louder than those that are away."""
    post = Post()
    post.places["1002"] = [Destination(f"sip:p{number}@192.0.2.1") for number in range(len(answers))]
    post.answers = {f"sip:p{number}@192.0.2.1": answer for number, answer in enumerate(answers)}
    assert (await post.write("sip:1002@gw.test")).status == status


@by_row(
    ("to", "who", "status"),
    [
        ("sip:nobody@gw.test", "1001", 404),
        ("sip:1001@gw.test", None, 403),
        ("sip:alice@gw.test", "1002", 403),
        ("sip:0700@gw.test", "1002", 403),
        ("sip:0700@gw.test", "trunk:pbx", 403),
        ("sip:700@stranger.test", "1001", 404),
        ("sip:600@gw.test", "1001", 488),
        ("sip:750@gw.test", "1001", 488),
        ("sip:*78@gw.test", "1001", 488),
        ("sip:08@gw.test", "1001", 480),
    ],
)
async def test_who_may_not_call_may_not_write(to: str, who: str | None, status: int) -> None:
    """Rights as for calls; a trunk's message never leaves by a trunk, and a service reads nothing."""
    post = Post()
    post.page("alice")
    assert (await post.write(to, who=who)).status == status
    assert post.sent == []


@by_row(
    ("answered", "status"),
    [(200, 200), (202, 202), (404, 404), (407, 403), (413, 413), (415, 415), (480, 480), (483, 483), (500, 488)],
)
async def test_what_a_trunk_answers_the_sender_is_told(answered: int, status: int) -> None:
    """With the trunk's own name as the sender's; a challenge that cannot be answered is none of the phone's."""
    post = Post()
    post.answers["sip:700@pbx.test"] = answered
    assert (await post.write("sip:0700@gw.test")).status == status
    assert str(post.sent[0]["caller"].uri) == "sip:gw@pbx.test"


def two_places_by_two_flows() -> list[Destination]:
    places = []
    for host in ("one.test", "two.test"):
        first, second = (Destination(f"sip:700@{host}", (f"<sip:edge{number}.test;lr>",)) for number in (1, 2))
        places.append(replace(first, others=(second,)))
    return places


@by_row(
    ("one", "two", "ways", "status"),
    [
        (200, 200, 1, 200),
        (503, 200, 3, 200),
        (500, 404, 3, 404),
        (430, 503, 4, 480),
        (SipBuildError("no way there"), 202, 3, 202),
        (480, 200, 1, 480),
        (403, 200, 1, 403),
        (486, 200, 1, 488),
    ],
)
async def test_a_trunk_is_written_to_by_its_next_way_where_nobody_is_reached(
    one: int | Exception, two: int, ways: int, status: int
) -> None:
    """By each flow to its first place, then to the next; what a PBX says of its own user is its word."""
    post = Post()
    post.trunk = two_places_by_two_flows()
    post.answers = {"sip:700@one.test": one, "sip:700@two.test": two}
    assert (await post.write("sip:0700@gw.test")).status == status
    asked = [(sent["to"], str(sent["route"][0].uri.host)) for sent in post.sent]
    every = [(f"sip:700@{host}", edge) for host in ("one.test", "two.test") for edge in ("edge1.test", "edge2.test")]
    assert asked == every[:ways]


async def test_all_ways_to_a_trunk_share_one_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are silent its sender is told so before it gives up (RFC 4320)."""
    monkeypatch.setattr("gateway.people.sip.messages._PATIENCE_IN_ALL", 0.04)
    post = Post()
    post.trunk = two_places_by_two_flows()
    post.answers = {"sip:700@one.test": None, "sip:700@two.test": None}
    async with asyncio.timeout(30):
        assert (await post.write("sip:0700@gw.test")).status == 480
    assert len(post.sent) == 4


async def test_a_trunk_writes_to_our_users() -> None:
    """Under the name that leads back through it."""
    post = Post()
    page = post.page("alice")
    assert (await post.write("sip:alice@gw.test", who="trunk:pbx")).status == 200
    assert (page.got[0].sender, page.got[0].sender_name) == ("sip:700@pbx.test", "Far")


async def test_size_type_and_loops_are_bounded() -> None:
    """413, 415 with what is taken, 483; a message without a body or a type is text."""
    post = Post(MessageSettings(max_size=5, content_types=("text/plain", "text/html")))
    page = post.page("alice")
    alice = "sip:alice@gw.test"
    assert (await post.write(alice, b"123456")).status == 413
    refused = await post.write(alice, kind="image/png")
    assert (refused.status, dict(refused.headers)["Accept"]) == (415, "text/plain, text/html")
    assert (await post.write(alice, max_forwards=0)).status == 483
    assert page.got == []
    assert (await post.write(alice, b"12345", kind="Text/HTML; level=1")).status == 200
    assert (await post.write(alice, b"")).status == 200


async def test_one_sender_cannot_flood() -> None:
    """503 with Retry-After beyond the burst; others are not held up, and time helps."""
    post = Post(MessageSettings(per_minute=60, burst=3))
    post.page("alice")
    alice = "sip:alice@gw.test"
    assert [(await post.write(alice)).status for _ in range(4)] == [200, 200, 200, 503]
    assert dict((await post.write(alice)).headers) == {"Retry-After": "10"}
    assert (await post.write(alice, who="trunk:pbx")).status == 200
    post.now += 1.1
    assert (await post.write(alice)).status == 200


async def test_what_is_kept_is_told_with_its_time() -> None:
    """Text only, as long as its sender wants; the mailbox counts it; guests and strangers of pages write nothing."""
    post = Post(keeps=True)
    to = "sip:1002@gw.test"
    assert (await post.write(to, headers=(("Expires", 60),))).status == 202
    assert (await post.write(to, b"<x/>", kind="application/im-iscomposing+xml")).status == 415
    assert (await post.write(to, b"later")).status == 202
    while post.messages._counting:
        await asyncio.gather(*post.messages._counting)
        await asyncio.sleep(0)  # From Python 3.12 on what is done already lets nothing else run.
    assert post.messages.mailboxes.of("1002").text == 2
    post.now += 61
    post.places["1002"] = [Destination("sip:p@192.0.2.1")]
    post.messages.courier.arrived("1002")
    await asyncio.gather(*post.messages.courier._emptying.values())
    assert [one["body"] for one in post.sent] == [b"later"]
    assert post.sent[0]["headers"] == (("Date", "Thu, 01 Jan 1970 00:16:40 GMT"),)
    await post.messages.courier.close()


async def test_a_flow_that_is_no_more_is_told_of_and_the_next_one_tried() -> None:
    """430 (RFC 5626); whatever else says that nobody is there says nothing of the flow."""
    post = Post()
    failed: list[str] = []
    flows = [
        Destination(f"sip:p@192.0.2.{number}", flow_failed=partial(failed.append, f"flow{number}"))
        for number in (1, 2, 3)
    ]
    post.places["alice"] = [replace(flows[0], others=(flows[1], flows[2]))]
    post.answers = {"sip:p@192.0.2.1": 430, "sip:p@192.0.2.2": 408}
    assert (await post.write("sip:alice@gw.test")).status == 200
    assert [one["to"] for one in post.sent] == [flow.uri for flow in flows]
    assert failed == ["flow1"]


async def test_a_page_writes_as_its_user() -> None:
    """With the user's own rights; whoever is no user of ours is refused."""
    post = Post()
    page = post.page("alice")
    assert await post.messages.from_page(USERS[0], "alice", "hello", "text/plain") is Outcome.DELIVERED
    assert page.got[0].text == "hello"
    assert await post.messages.from_page(USERS[1], "alice", "hello", "text/plain") is Outcome.FORBIDDEN
    for nobody in ("750", "*78"):
        assert await post.messages.from_page(USERS[0], nobody, "hello", "text/plain") is Outcome.REFUSED
    assert await post.messages.from_page(User("guest"), "alice", "hello", "text/plain") is Outcome.FORBIDDEN
