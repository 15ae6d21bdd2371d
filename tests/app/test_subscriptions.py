"""Who may subscribe to what about whom, what is told, and what phones publish."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

from gateway.identity.mapping import IdentityMap, Rule
from gateway.identity.model import Binding, User
from gateway.identity.store import StoreError
from gateway.people.board import Board
from gateway.people.contacts import Contacts
from gateway.people.dialogs import Progress, UserDialog
from gateway.people.documents import pidf
from gateway.people.lamps import Lamps
from gateway.people.mailboxes import MailboxCounts
from gateway.people.presence import Activity, Presences, PresenceState
from gateway.people.sip.subscriptions import PresenceSettings, Subscriptions
from gateway.people.visibility import VisibleTo
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Reply
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.store.identity_memory import MemoryStore
from tests.rows import by_row
from tests.sip.agents import PuppetDialog, Stage, answer, is_idle

USERS = (
    User("1001", sip=True, pickup_groups=("desk",)),
    User("1002", sip=True, pickup_groups=("desk",)),
    User("1003", sip=True),
    User("alice", web=True),
)
AOR = "sip:1001@gw.test"
SOURCE = Flow("udp", "192.0.2.2", 5060)


class Shaky(MemoryStore):
    """A store that can be away."""

    is_away = False

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        if self.is_away:
            raise StoreError("away")
        return await super().bindings(aor, now)


class Office:
    """The packages on a real core; the puppet is whoever `who` says."""

    def __init__(self, settings: PresenceSettings | None = None, who: str = "1002") -> None:
        self.who = who
        self.stage = Stage(CoreConfig(subscriptions=SubscriptionPolicy(interval=0)))
        self.stage.agent.verdict = lambda request, source: Accepted(self.who)
        self.identity = IdentityMap(USERS, [Rule("sip:9{user}@*", "{user}")], "gw.test")
        self.presences = Presences()
        self.lamps = Lamps(self.identity, self.presences)
        self.store = Shaky()
        self.wall = 1000.0
        self.contacts = Contacts(self.identity, self.store, self.presences, lambda: self.wall)
        self.mailboxes: Board[MailboxCounts] = Board(MailboxCounts())
        self.counted: list[str] = []
        self.elsewhere: list[tuple[str, str, int]] = []
        self.tags = iter(range(10_000))
        self.now = 0.0
        self.subscriptions = Subscriptions(
            self.identity,
            self.presences,
            self.lamps,
            self.contacts,
            self.mailboxes,
            self._count,
            settings or PresenceSettings(),
            ("gw.test", "192.0.2.1"),
            new_tag=lambda: f"t{next(self.tags)}",
            clock=lambda: self.now,
            elsewhere=lambda subscription, watcher: subscription.refuse(404),
            publish_elsewhere=self._elsewhere,
        )
        self.stage.agent.core.serve_packages(self.subscriptions.packages, self.subscriptions.subscribed)

    async def _count(self, user: str) -> None:
        self.counted.append(user)

    async def _elsewhere(self, request: Request, publisher: User, expires: int) -> Reply:
        self.elsewhere.append((str(request.uri), publisher.id, expires))
        return Reply(200)

    async def settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        self.stage.run()

    async def subscribe(self, package: str, target: str, call_id: str = "s1", expires: int = 600) -> int:
        """The status of the answer."""
        dialog = PuppetDialog(self.stage, call_id)
        request = dialog.make("SUBSCRIBE", headers=(("Event", package), ("Expires", str(expires))))
        self.stage.send(request.with_uri(Uri.parse(target)))
        await self.settle()
        return next(one.status for one in self.stage.puppet.received if isinstance(one, Response))

    async def told(self) -> list[bytes]:
        """Bodies of the NOTIFYs that came; each is answered."""
        await self.settle()
        bodies = []
        for message in self.stage.puppet.take():
            if isinstance(message, Request) and message.method == "NOTIFY":
                bodies.append(message.body)
                self.stage.send(answer(message, 200))
        return bodies

    async def publish(self, body: bytes = b"", *headers: tuple[str, str], to: str = AOR, kind: str = "") -> Reply:
        request = build.request(
            "PUBLISH",
            Uri.parse(to),
            from_=NameAddr(Uri.parse(AOR)).with_tag("f"),
            to=NameAddr(Uri.parse(to)),
            call_id="p1",
            cseq=1,
            headers=headers or (("Event", "presence"),),
            body=body,
            content_type=(kind or pidf.CONTENT_TYPE) if body else None,
        )
        return await self.subscriptions.publish(request, SOURCE, self.who)


async def test_presence_is_told_as_it_changes() -> None:
    """Under the name it was asked for, which may be one of several of the user."""
    office = Office()
    assert await office.subscribe("presence", "sip:91001@gw.test") == 200
    [first] = await office.told()
    assert pidf.parse(first) == PresenceState()
    assert b'entity="sip:91001@gw.test"' in first
    office.presences.page("1001", True)
    [second] = await office.told()
    assert pidf.parse(second).activity is Activity.AVAILABLE
    await office.subscriptions.close()


async def test_a_registered_phone_is_there_until_its_binding_ends() -> None:
    """Read from the store when somebody asks, so that it is true after a restart."""
    office = Office()
    await office.store.put_binding(Binding(AOR, "sip:1001@192.0.2.9", office.wall + 0.02), office.wall, 10)
    assert await office.subscribe("presence", AOR) == 200
    assert [pidf.parse(one).is_open for one in await office.told()] == [True]
    office.wall += 1
    changed = asyncio.Event()
    office.presences.board.watch("1001", lambda state: changed.set())
    async with asyncio.timeout(30):
        await changed.wait()
    assert [pidf.parse(one).is_open for one in await office.told()] == [False]
    await office.contacts.close()


async def test_a_store_that_is_away_leaves_all_as_it_was() -> None:
    """The subscription is served, and nobody is said to have gone."""
    office = Office()
    await office.store.put_binding(Binding(AOR, "sip:1001@192.0.2.9", office.wall + 900), office.wall, 10)
    await office.contacts.read("1001")
    office.store.is_away = True
    assert await office.subscribe("presence", AOR) == 200
    assert [pidf.parse(one).is_open for one in await office.told()] == [True]
    await office.contacts.read("nobody")
    office.contacts.changed("1003")  # whom nobody watches
    assert not office.contacts._reading
    await office.contacts.close()


@by_row(
    ("who", "package", "target", "status"),
    [
        ("1002", "presence", "sip:nobody@gw.test", 404),
        ("1002", "presence", "sip:1001@elsewhere.test", 404),
        ("trunk:pbx", "presence", AOR, 403),
        ("guest", "presence", AOR, 403),
        ("1002", "message-summary", AOR, 403),
        ("1002", "reg", AOR, 403),
        ("1001", "message-summary", AOR, 200),
        ("1001", "reg", AOR, 200),
        ("1003", "dialog", AOR, 200),
        ("1002", "presence", "sip:1001@192.0.2.1:5060", 200),
        ("1002", "weather", AOR, 489),
    ],
)
async def test_who_may_subscribe_to_what(who: str, package: str, target: str, status: int) -> None:
    """Users only; nobody is told what waits for others, nor where they are."""
    office = Office(who=who)
    assert await office.subscribe(package, target) == status


@by_row(("visible_to", "allowed"), [("users", {"1002", "1003"}), ("groups", {"1002"}), ("self", set())])
@by_row("package", ["presence", "dialog"])
async def test_who_sees_whom_is_a_setting(visible_to: VisibleTo, allowed: set[str], package: str) -> None:
    """Others are refused; everybody may see itself."""
    settings = replace(PresenceSettings(), visible_to=visible_to)
    for who in ("1001", "1002", "1003"):
        office = Office(settings, who)
        wanted = 200 if who == "1001" or who in allowed else 403
        assert await office.subscribe(package, AOR) == wanted


async def test_a_lamp_tells_its_group_more_than_others() -> None:
    """The calls of a user, numbered for each who watches."""
    office = Office()
    assert await office.subscribe("dialog", AOR, "group") == 200
    office.who = "1003"
    office.stage.puppet.received = [one for one in office.stage.puppet.received if isinstance(one, Request)]
    assert await office.subscribe("dialog", AOR, "other") == 200
    await office.told()
    ringing = UserDialog(id="x", is_caller=False, progress=Progress.EARLY, remote_uri="sip:alice@gw.test")
    office.lamps.board.set("1001", (ringing,))
    bodies = await office.told()
    assert sorted(b"alice" in body for body in bodies) == [False, True]
    assert {ElementTree.fromstring(body).get("version") for body in bodies} == {"1"}


async def test_waiting_messages_are_counted_when_somebody_asks() -> None:
    """And told when they become more."""
    office = Office(who="1001")
    assert await office.subscribe("message-summary", AOR) == 200
    assert office.counted == ["1001"]
    assert [b"Messages-Waiting: no" in body for body in await office.told()] == [True]
    office.mailboxes.set("1001", MailboxCounts(voice_new=1))
    assert [b"Voice-Message: 1/0" in body for body in await office.told()] == [True]


async def test_contacts_are_told_to_their_own_user() -> None:
    """A phone learns where it is registered."""
    office = Office(who="1001")
    assert await office.subscribe("reg", AOR) == 200
    await office.told()
    await office.store.put_binding(Binding(AOR, "sip:1001@192.0.2.9", office.wall + 900), office.wall, 10)
    office.contacts.changed("1001")
    assert [b"sip:1001@192.0.2.9" in body for body in await office.told()] == [True]
    await office.contacts.close()


async def test_who_goes_is_watched_no_more() -> None:
    """The end of a subscription leaves nothing on the boards."""
    office = Office()
    assert await office.subscribe("presence", AOR, expires=0) == 200
    await office.told()
    office.stage.run(40)
    assert office.presences.board._listeners == {}
    assert is_idle(office.stage.agent.core)


BUSY = pidf.write(AOR, PresenceState(Activity.BUSY, "in a meeting"))


async def test_what_a_phone_publishes_is_seen_until_it_ends() -> None:
    """200 with a tag and a time; refreshed and removed by it."""
    office = Office(who="1001")
    made = await office.publish(BUSY, ("Event", "presence"), ("Expires", "90"))
    fields = dict(made.headers)
    assert (made.status, fields["Expires"]) == (200, "90")
    assert office.presences.board.of("1001") == PresenceState(Activity.BUSY, "in a meeting")
    again = await office.publish(b"", ("Event", "presence"), ("SIP-If-Match", fields["SIP-ETag"]))
    assert (again.status, dict(again.headers)["Expires"]) == (200, "3600")
    late = await office.publish(b"", ("Event", "presence"), ("SIP-If-Match", fields["SIP-ETag"]))
    assert late.status == 412
    tag = dict(again.headers)["SIP-ETag"]
    gone = await office.publish(b"", ("Event", "presence"), ("SIP-If-Match", tag), ("Expires", "0"))
    assert gone.status == 200
    assert office.presences.board.of("1001") == PresenceState()
    await office.subscriptions.close()


async def test_a_publication_that_is_not_refreshed_ends_by_itself() -> None:
    """The timer is that of the earliest."""
    office = Office(PresenceSettings(min_expires=1), "1001")
    assert (await office.publish(BUSY, ("Event", "presence"), ("Expires", "1"))).status == 200
    changed = asyncio.Event()
    office.presences.board.watch("1001", lambda state: changed.set())
    office.now = 0.999
    assert (await office.publish(BUSY, ("Event", "presence"), ("Expires", "9"))).status == 200
    office.now = 10.0
    async with asyncio.timeout(30):
        await changed.wait()
    assert office.presences.board.of("1001") == PresenceState()
    await office.subscriptions.close()


@by_row(
    ("body", "headers", "kind", "status"),
    [
        (BUSY, (("Event", "dialog"),), "", 489),
        (BUSY, (("Expires", "60"),), "", 489),
        (BUSY, (("Event", "presence"), ("Expires", "59")), "", 423),
        (BUSY, (("Event", "presence"),), "text/plain", 415),
        (b"<presence>", (("Event", "presence"),), "", 400),
        (b"", (("Event", "presence"),), "", 400),
        (b"", (("Event", "presence"), ("SIP-If-Match", "unknown")), "", 412),
    ],
)
async def test_what_cannot_be_published_is_refused(
    body: bytes, headers: tuple[tuple[str, str], ...], kind: str, status: int
) -> None:
    """And nothing is kept of it."""
    office = Office(who="1001")
    assert (await office.publish(body, *headers, kind=kind)).status == status
    assert office.presences.board.of("1001") == PresenceState()


async def test_what_is_published_about_nobody_of_ours_is_passed_on() -> None:
    """In every package that is served, no longer than ours last; never what a trunk or a guest publishes."""
    office = Office(who="1001")
    to = "sip:0700@gw.test"
    for event in ("presence", "dialog"):
        assert (
            await office.publish(b"any", ("Event", event), ("Expires", "9999"), to=to, kind="any/thing")
        ).status == 200
    assert office.elsewhere == [(to, "1001", 3600)] * 2
    unknown = await office.publish(b"any", ("Event", "weather"), to=to)
    assert (unknown.status, dict(unknown.headers)) == (
        489,
        {"Allow-Events": "presence, dialog, message-summary, reg"},
    )
    assert (await office.publish(b"any", ("Event", "presence"), ("Expires", "59"), to=to)).status == 423
    for who in ("trunk:pbx", "guest"):
        office.who = who
        assert (await office.publish(b"any", to=to)).status == 403
    assert len(office.elsewhere) == 2


async def test_nobody_publishes_for_others_and_nobody_too_much() -> None:
    """403 for another user, a trunk and a guest; 503 beyond the limit."""
    office = Office(PresenceSettings(publications_per_user=1), "1001")
    assert (await office.publish(BUSY, to="sip:1002@gw.test")).status == 403
    assert (await office.publish(BUSY)).status == 200
    full = await office.publish(BUSY)
    assert (full.status, dict(full.headers)) == (503, {"Retry-After": "10"})
    for who in ("trunk:pbx", "guest"):
        office.who = who
        assert (await office.publish(BUSY)).status == 403
    await office.subscriptions.close()
