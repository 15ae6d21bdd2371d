"""PUBLISH about people behind a trunk: sent to the PBX that owns them, each publication under a name of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.app import GatewayApp
from gateway.call.routing import RouteError, Router, SipTarget
from gateway.call.status import Cause
from gateway.config.people import Trunk, UserConfig
from gateway.dialing.places import trunk_destinations
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_sessions import Destination, nobody_asks
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.people.documents import pidf
from gateway.people.presence import Activity, PresenceState
from gateway.people.sip.publishing import PublicationRelay
from gateway.people.sip.relay import SubscriptionRelay
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Reply
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.media.engine_support import until
from tests.net.peers import LOOPBACK, Application
from tests.rows import by_row

ALICE, BOB = User("1001", sip=True, may_call=("0*",)), User("1002", sip=True, may_call=("0*",))
FIRST, SECOND = "sip:700@192.0.2.50", "sip:700@192.0.2.51"
SOMEBODY = "sip:0700@pbx.test"


class Pbx:
    """Keeps publications as an event state compositor does; `says` answers in its place, None: nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Request]] = []
        self.etags: set[str] = set()
        self.routes: list[list[str]] = []
        self.numbers = iter(range(1, 1000))
        self.says: Callable[[str], int | None] | None = None
        self.headers: tuple[tuple[str, object], ...] = ()

    async def request(self, method: str, target: Uri, **given: Any) -> Response:
        headers, caller = given.pop("headers"), given["caller"].with_tag("f")
        self.routes.append([str(hop) for hop in given["route"]])
        request = build.request(
            method,
            target,
            from_=caller,
            to=NameAddr(target),
            call_id="c",
            cseq=1,
            headers=headers,
            body=given["body"],
            content_type=given["content_type"],
            max_forwards=given["max_forwards"],
        )
        self.asked.append((str(target), request))
        status = self.says(str(target)) if self.says is not None else 0
        if status is None:
            await asyncio.get_running_loop().create_future()
            raise AssertionError
        if status:
            return build.response(request, status, headers=self.headers)
        if request.sip_if_match is not None and request.sip_if_match not in self.etags:
            return build.response(request, 412)
        self.etags.discard(request.sip_if_match or "")
        etag = f"pbx-{next(self.numbers)}"
        if request.expires:
            self.etags.add(etag)
        return build.response(
            request, 200, headers=(("SIP-ETag", etag), ("Expires", min(request.expires or 0, 300)), *self.headers)
        )


class Rig:
    def __init__(self, per_user: int = 2) -> None:
        identity = IdentityMap([ALICE, BOB], [], "gw.test")
        relay = SubscriptionRelay(identity, Router(identity, [], ["gw.test"], {"pbx": ("pbx.test",)}), self)
        tags, self.now = iter(range(1, 1000)), 0.0
        self.pbx = Pbx()
        self.places = [Destination(FIRST)]
        self.relay = PublicationRelay(
            relay, lambda: self.pbx, new_tag=lambda: f"ours-{next(tags)}", clock=lambda: self.now, per_user=per_user
        )

    def outside(self, target: SipTarget) -> Sequence[Destination]:
        if not self.places:
            raise RouteError(Cause.UNAVAILABLE, "gone")
        return self.places

    async def publish(
        self,
        body: bytes = b"state",
        *,
        match: str | None = None,
        to: str = SOMEBODY,
        expires: int = 600,
        by: User = ALICE,
        hops: int = 70,
    ) -> Reply:
        request = build.request(
            "PUBLISH",
            Uri.parse(to),
            from_=NameAddr.parse("<sip:1001@gw.test>;tag=f"),
            to=NameAddr.parse(f"<{to}>"),
            call_id="p",
            cseq=1,
            headers=(("Event", "presence"), *((("SIP-If-Match", match),) if match is not None else ())),
            body=body,
            content_type="application/pidf+xml" if body else None,
            max_forwards=hops,
        )
        return await self.relay.publish(request, by, expires)

    @property
    def known(self) -> int:
        """How many publications are remembered."""
        return sum(map(len, self.relay._by_user.values()))

    async def published(self, **how: Any) -> str:
        """The name that a publication got."""
        return etag(await self.publish(**how))


def etag(reply: Reply) -> str:
    assert reply.status == 200
    return str(dict(reply.headers)["SIP-ETag"])


async def test_a_publication_is_made_refreshed_changed_and_removed_at_the_pbx() -> None:
    """Under the publisher's own name; the PBX knows it by its own names, and says how long it lasts."""
    rig = Rig()
    made = await rig.publish()
    assert dict(made.headers) == {"SIP-ETag": "ours-2", "Expires": "300"}
    [(place, asked)] = rig.pbx.asked
    assert (place, str(asked.from_.uri), asked.expires, asked.max_forwards) == (FIRST, "sip:1001@gw.test", 600, 69)
    assert (asked.sip_if_match, asked.body, str(asked.content_type)) == (None, b"state", "application/pidf+xml")
    refreshed = await rig.published(body=b"", match=etag(made))
    changed = await rig.published(body=b"other", match=refreshed)
    removed = await rig.publish(b"", match=changed, expires=0)
    assert dict(removed.headers)["Expires"] == "0"
    assert [(one.sip_if_match, one.body, one.expires) for _, one in rig.pbx.asked[1:]] == [
        ("pbx-1", b"", 600),
        ("pbx-2", b"other", 600),
        ("pbx-3", b"", 0),
    ]
    assert (rig.known, rig.pbx.etags) == (0, set())


async def test_a_name_is_good_once_for_who_has_it_and_for_what() -> None:
    """412 for one that was changed, of somebody else, for another person, and one that has run out."""
    rig = Rig()
    first = await rig.published()
    second = await rig.published(match=first)
    assert (await rig.publish(match=first)).status == 412
    assert (await rig.publish(match=second, by=BOB)).status == 412
    assert (await rig.publish(match=second, to="sip:0701@pbx.test")).status == 412
    rig.now = 300.0
    assert (await rig.publish(match=second)).status == 412
    assert (len(rig.pbx.asked), rig.known) == (2, 0)


async def test_a_pbx_that_was_restarted_knows_no_name_any_more() -> None:
    """Its 412 is the phone's, which publishes anew."""
    rig = Rig(per_user=1)
    name = await rig.published()
    rig.pbx.etags.clear()
    assert (await rig.publish(match=name)).status == 412
    assert rig.known == 0
    await rig.published()


async def test_one_that_crosses_another_is_to_come_again() -> None:
    """The first decides; the second costs the PBX nothing. A refresh that gets no answer leaves the name good."""
    rig = Rig()
    name = await rig.published()
    rig.pbx.says = lambda place: None
    first = asyncio.ensure_future(rig.publish(match=name))
    await until(lambda: len(rig.pbx.asked) == 2)
    crossing = await rig.publish(match=name)
    assert (crossing.status, dict(crossing.headers)) == (500, {"Retry-After": "1"})
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    rig.pbx.says = None
    await rig.published(match=name)
    assert len(rig.pbx.asked) == 3


async def test_one_user_has_so_many_and_no_more() -> None:
    """Those that are being made count too; what was refused does not, nor what has run out."""
    rig = Rig(per_user=2)
    rig.pbx.says = lambda place: 403
    assert [(await rig.publish()).status for _ in range(3)] == [403] * 3
    rig.pbx.says = lambda place: None
    waiting = [asyncio.ensure_future(rig.publish()) for _ in range(2)]
    await until(lambda: len(rig.pbx.asked) == 5)
    full = await rig.publish()
    assert (full.status, dict(full.headers)) == (503, {"Retry-After": "10"})
    rig.pbx.says = None
    await rig.published(by=BOB)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await rig.published()
    await rig.published()
    assert (await rig.publish()).status == 503
    rig.now = 300.0
    await rig.published()
    assert rig.known == 1


async def test_who_publishes_no_more_is_forgotten_bit_by_bit() -> None:
    """However many there are, one PUBLISH looks at its own user's and at one other's."""
    rig = Rig()
    users = [User(str(number), sip=True, may_call=("0*",)) for number in range(1100, 1110)]
    for user in users:
        await rig.published(by=user)
    rig.now = 300.0
    left = []
    for _ in users:
        await rig.published(expires=0, by=ALICE)
        left.append(rig.known)
    assert left == list(range(9, -1, -1))


async def test_the_next_place_is_asked_and_is_where_it_is_changed() -> None:
    """After 503 or silence, as with a SUBSCRIBE; 480 where nobody is anywhere."""
    rig = Rig()
    rig.places = [Destination(FIRST), Destination(SECOND)]
    rig.pbx.says = lambda place: 503 if place == FIRST else 0
    name = await rig.published()
    rig.pbx.says = None
    await rig.published(match=name)
    assert [place for place, _ in rig.pbx.asked] == [FIRST, SECOND, SECOND]
    rig.pbx.says = lambda place: 408
    assert (await rig.publish()).status == 480


async def test_silence_is_480_in_time_for_the_phone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up after 32 s itself."""
    monkeypatch.setattr("gateway.people.sip.publishing._PATIENCE", 0.01)
    rig = Rig()
    rig.pbx.says = lambda place: None
    assert (await rig.publish()).status == 480
    assert rig.known == 0


@by_row(
    ("says", "headers", "status", "told"),
    [
        (423, (("Min-Expires", "900"),), 423, {"Min-Expires": "900"}),
        (489, (("Allow-Events", "dialog"), ("Server", "any")), 489, {"Allow-Events": "dialog"}),
        (415, (("Accept", "text/plain"),), 415, {"Accept": "text/plain"}),
        (401, (("WWW-Authenticate", 'Digest realm="pbx", nonce="n"'),), 403, {}),
        (405, (("Allow", "INVITE"),), 403, {}),
        (200, (), 502, {}),
    ],
)
async def test_what_the_pbx_says_is_what_the_phone_hears(
    says: int, headers: tuple[tuple[str, object], ...], status: int, told: dict[str, str]
) -> None:
    """But for challenges; and a 200 that names no publication is none."""
    rig = Rig()
    rig.pbx.says, rig.pbx.headers = lambda place: says, headers
    reply = await rig.publish()
    assert (reply.status, dict(reply.headers), rig.known) == (status, told, 0)


async def test_a_phone_is_answered_before_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many flows there are that nothing comes from, all of them share the time."""
    monkeypatch.setattr("gateway.people.sip.publishing._PATIENCE_IN_ALL", 0.04)
    rig = Rig()
    rig.places = [Destination(f"sip:700@192.0.2.{number}") for number in range(4)]
    rig.pbx.says = lambda place: None
    assert (await asyncio.wait_for(rig.publish(), 30)).status == 480
    assert len(rig.pbx.asked) == 4


async def test_what_leads_nowhere_is_refused() -> None:
    """Without a right, without a trunk, without hops, without anything to publish."""
    rig = Rig()
    assert (await rig.publish(to="sip:1234@gw.test")).status in (403, 404)
    assert (await rig.publish(by=replace(ALICE, may_call=("1*",)))).status == 403
    assert (await rig.publish(hops=0)).status == 483
    assert (await rig.publish(b"")).status == 400

    rig.places = [Destination("no URI")]
    assert (await rig.publish()).status == 480
    rig.places = []
    assert (await rig.publish()).status == 480
    assert not rig.pbx.asked


@by_row(
    ("trunk", "named"),
    [
        ({}, [("From", "sip:1001@gw.test")]),
        ({"from_user": "4989"}, None),
        (
            {"from_user": "4989", "assert_identity": True},
            [("From", "sip:4989@192.0.2.50"), ("P-Asserted-Identity", '"1001" <sip:1001@gw.test>')],
        ),
        (
            {"from_user": "4989", "prefer_identity": True},
            [("From", "sip:4989@192.0.2.50"), ("P-Preferred-Identity", '"1001" <sip:1001@gw.test>')],
        ),
    ],
)
async def test_the_pbx_is_told_who_publishes(trunk: dict[str, Any], named: list[tuple[str, str]] | None) -> None:
    """Beside the trunk's own name too; where that would be all, nobody may publish: the PBX believes the trunk."""
    rig = Rig()
    entry = Trunk(name="pbx", uri="sip:192.0.2.50", username="trunk", password=SecretStr("its-Own-1"), **trunk)
    rig.places = trunk_destinations(entry, "sip:700@pbx.test", None, entry.uris, [("<sip:192.0.2.9;lr>",)], nobody_asks)
    reply = await rig.publish()
    if named is None:
        assert (reply.status, rig.pbx.asked) == (403, [])
        return
    [(_, asked)] = rig.pbx.asked
    assert [("From", str(asked.from_.uri)), *((name, asked.headers.get(name)) for name, _ in named[1:])] == named
    assert rig.pbx.routes == [["<sip:192.0.2.9;lr>"]]


class Pair:
    """The PBX, a gateway, and a phone at it; its user 1001 has the PBX's extension 201."""

    def __init__(self, folder: Path) -> None:
        (folder / "pbx").mkdir()
        there = config_on_free_ports(folder / "pbx")
        password = SecretStr("an-extensions-own-Secret")
        extension = UserConfig(id="201", sip=True, password=password)
        self.pbx_config = there.model_copy(update={"users": (extension,)})
        listen = there.sip.listen[0]
        account = {"registrar": "pbx", "username": "201", "password": password.get_secret_value()}
        config = config_on_free_ports(
            folder,
            TRUNKS=json.dumps([{"name": "pbx", "uri": f"sip:127.0.0.1:{listen.port}", "options_interval": 0}]),
            USERS__1001__ACCOUNT=json.dumps(account),
            USERS__1001__MAY_CALL='["201"]',
        )
        self.app = GatewayApp(config)
        self.pbx = GatewayApp(self.pbx_config)
        self.phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())

    async def publish(self, state: PresenceState | None, *, match: str | None = None, expires: int = 600) -> Response:
        uri = f"sip:201@{self.app.sip_hostport}"
        headers = [("Event", "presence"), ("Expires", expires), *([("SIP-If-Match", match)] if match else [])]
        return await self.phone.request(
            "PUBLISH",
            Uri.parse(uri),
            caller=f"<sip:1001@{self.app.config.domain}>",
            credentials=Credentials("1001", PASSWORDS["1001"]),
            headers=headers,
            body=pidf.write(uri, state) if state is not None else b"",
            content_type=pidf.CONTENT_TYPE if state is not None else None,
        )

    @property
    def seen(self) -> PresenceState:
        """What the PBX shows of its extension."""
        return self.pbx._presences.board.of("201")


async def test_a_user_publishes_for_its_own_extension_at_the_pbx(tmp_path: Path) -> None:
    """By its own account; a PBX that was restarted has forgotten it, and the phone hears so."""
    pair = Pair(tmp_path)
    async with AsyncExitStack() as stack:
        for one in (pair.phone, pair.app):
            await one.start()
        stack.push_async_callback(pair.phone.close)
        stack.push_async_callback(pair.app.stop)
        await pair.pbx.start()
        made = await pair.publish(PresenceState(Activity.BUSY, "in a meeting"))
        assert made.status == 200
        assert (pair.seen.activity, pair.seen.note) == (Activity.BUSY, "in a meeting")
        changed = await pair.publish(PresenceState(Activity.AWAY, "gone"), match=made.sip_etag)
        assert (changed.status, pair.seen.note) == (200, "gone")
        assert (await pair.publish(None, match=made.sip_etag)).status == 412
        await pair.pbx.stop()
        pair.pbx = GatewayApp(pair.pbx_config)
        stack.push_async_callback(pair.pbx.stop)
        await pair.pbx.start()
        assert (await pair.publish(None, match=changed.sip_etag)).status == 412
        again = await pair.publish(PresenceState(Activity.BUSY))
        removed = await pair.publish(None, match=again.sip_etag, expires=0)
        assert (removed.status, removed.expires) == (200, 0)
        assert pair.seen == PresenceState()
