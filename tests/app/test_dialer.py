"""Targets become legs: pages, phones, trunks, services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.call.leg import Address, Leg, Redirected, Rejected
from gateway.call.routing import RouteError, ServiceTarget, SipTarget, UserTarget
from gateway.call.status import Cause
from gateway.config import load
from gateway.config.srtp import SrtpKeying, SrtpPolicy
from gateway.dialing.outgoing import GatewayDialer, kinds_offered
from gateway.dialing.places import Lookups
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding
from gateway.identity.store import StoreError
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_sessions import CalleeSession
from gateway.legs.web import WebCalleeLeg
from gateway.legs.web_clients import Presence
from gateway.media.engine import Dtmf, Kind
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Failed
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.fields import Headers
from gateway.sip.message.uri import Uri
from gateway.store.identity_memory import MemoryStore
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.reachability import Reachability
from gateway.web.facade import WebChannel
from tests.rows import by_row
from tests.timers import by_hand

NOW = 1_000_000.0


class Inviter:
    """Remembers what would have been sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def invite(self, target: object, **details: Any) -> CalleeSession:
        self.sent.append({"target": str(target), **details})
        return cast(CalleeSession, _Silent())


class _Silent:
    has_responded = False

    def listen(self, handler: object) -> None: ...

    def hangup(self, reason_header: str | None = None) -> None: ...


class Rig:
    """A dialer for alice (a page), 1001 (a phone) and a trunk `office`."""

    def __init__(self, store: MemoryStore | None = None, **environ: str) -> None:
        self.config = load(
            None,
            {
                "GATEWAY_USERS": '[{"id": "alice", "web": true, "sip": true}, {"id": "1001", "sip": true}]',
                "GATEWAY_TRUNKS": '[{"name": "office", "uri": "sip:pbx.test:5070", "username": "gw",'
                ' "password": "trunk-secret", "from_user": "4989", "codecs": ["pcma"], "max_calls": 1}]',
                **{f"GATEWAY_{key}": value for key, value in environ.items()},
            },
        )
        self.store, self.presence, self.inviter = store or MemoryStore(), Presence(), Inviter()
        self.reachability, self.accounts = Reachability(), Accounts(bytes(32))
        self.identity = IdentityMap(self.config.identity_users(), [], self.config.domain)
        self.dialer = GatewayDialer(
            self.config,
            self.identity,
            self.accounts,
            self.reachability,
            self.store,
            self.presence,
            frozenset({"echo"}),
            lambda: NOW,
        )
        self.dialer.inviter = self.inviter

    def user(self, name: str) -> UserTarget:
        found = self.identity.by_id(name)
        assert found is not None
        return UserTarget(found)

    async def bind(self, user: str, contact: str, **details: Any) -> None:
        aor = f"sip:{user}@{self.config.domain}"
        await self.store.put_binding(Binding(aor, contact, NOW + 60, **details), NOW, 10)

    async def invited(self, legs: Sequence[Any]) -> dict[str, Any]:
        """What the one SIP leg sends."""
        (leg,) = legs
        await leg.invite("v=0\r\n", leg.address)
        return self.inviter.sent[-1]


async def test_nobody_there_is_no_leg() -> None:
    """Neither a page nor a phone."""
    rig = Rig()
    assert await rig.dialer.legs(rig.user("alice"), "c") == []


async def test_a_user_with_page_and_phones_rings_on_all() -> None:
    """One leg for the pages, one for the phones."""
    rig = Rig()
    rig.presence.connect("alice", cast(WebChannel, object()))
    await rig.bind("alice", "sip:alice@192.0.2.7")
    await rig.bind("alice", "sip:alice@192.0.2.8")
    kinds = [type(leg) for leg in await rig.dialer.legs(rig.user("alice"), "c")]
    assert kinds == [WebCalleeLeg, SipCalleeLeg]


async def test_a_phone_is_called_where_it_registered_from() -> None:
    """The INVITE takes the flow and the Path of the registration; media may be latched to that address."""
    rig = Rig()
    await rig.bind("1001", "sip:1001@10.0.0.5:5060", received="udp:192.0.2.7:4444", path=("<sip:edge.test;lr>",))
    (leg,) = await rig.dialer.legs(rig.user("1001"), "c")
    assert leg.party.private_source == "192.0.2.7"
    sent = await rig.invited([leg])
    assert (sent["target"], sent["received"], sent["route"]) == (
        "sip:1001@10.0.0.5:5060",
        "udp:192.0.2.7:4444",
        ("<sip:edge.test;lr>",),
    )


@pytest.mark.parametrize("way", ["auto", "info"])
async def test_phones_and_trunks_get_digits_the_way_that_is_set_for_them(way: str) -> None:
    """`dtmf` of the user, and of the trunk."""
    trunk = [{"name": "office", "uri": "sip:pbx.test", "dtmf": way}]
    rig = Rig(USERS=json.dumps([{"id": "1001", "sip": True, "dtmf": way}]), TRUNKS=json.dumps(trunk))
    await rig.bind("1001", "sip:1001@192.0.2.7")
    for target in (rig.user("1001"), SipTarget("0", trunk="office")):
        [leg] = await rig.dialer.legs(target, "c")
        assert leg.party.dtmf is Dtmf(way)


class AwayStore(MemoryStore):
    """A store whose server went away."""

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        raise StoreError("no connection")


async def test_while_the_store_is_away_pages_still_ring() -> None:
    """A page needs no registration; who has only a phone is answered 503 instead of a fault."""
    rig = Rig(AwayStore())
    rig.presence.connect("alice", cast(WebChannel, object()))
    assert [type(leg) for leg in await rig.dialer.legs(rig.user("alice"), "c")] == [WebCalleeLeg]
    with pytest.raises(RouteError) as refused:
        await rig.dialer.legs(rig.user("1001"), "c")
    assert refused.value.cause is Cause.OUT_OF_SERVICE


async def test_an_expired_registration_is_not_called() -> None:
    """Even before the sweep."""
    rig = Rig()
    await rig.store.put_binding(Binding(f"sip:1001@{rig.config.domain}", "sip:x@192.0.2.7", NOW - 1), NOW - 60, 10)
    assert await rig.dialer.legs(rig.user("1001"), "c") == []


async def test_a_trunk_gets_its_own_name_and_secret_and_the_number() -> None:
    """To its host and port, From what it wants to see, its codecs first."""
    rig = Rig()
    legs = await rig.dialer.legs(SipTarget("+491234", trunk="office"), "c")
    assert legs[0].party.prefer == ("pcma",)
    sent = await rig.invited(legs)
    assert sent["target"] == "sip:+491234@pbx.test:5070"
    assert "sip:4989@pbx.test" in str(sent["caller"])
    assert sent["credentials"].username == "gw"
    assert "trunk-secret" not in repr(sent["credentials"])


@by_row("number", ["12@evil.test", "12;maddr=evil.test", "12?X-Evil=1", "12>", "12 34", "1%0d%0a2"])
async def test_a_number_cannot_lead_a_trunk_call_elsewhere(number: str) -> None:
    """Whatever was dialled stays in the user part, escaped."""
    rig = Rig()
    sent = await rig.invited(await rig.dialer.legs(SipTarget(number, trunk="office"), "c"))
    user, _, rest = sent["target"].partition("@")
    assert rest == "pbx.test:5070"
    assert user.startswith("sip:")
    assert not set(user) & set("@<> \r\n")


async def test_a_trunk_is_full_wherever_its_calls_are() -> None:
    """Those of other gateways count, and they are told of ours."""
    rig = Rig()
    await rig.dialer.legs(SipTarget("1", trunk="office"), "c1")
    assert rig.dialer.counts() == {"out:office": 1}
    there = Rig()
    there.dialer.others = lambda name: rig.dialer.counts().get(name, 0.0)
    assert there.dialer.outgoing("office") == 1
    with pytest.raises(RouteError) as refused:
        await there.dialer.legs(SipTarget("2", trunk="office"), "c2")
    assert refused.value.cause is Cause.LINE_FULL


async def test_a_full_trunk_refuses() -> None:
    """Its second call at once is 503."""
    rig = Rig()
    await rig.dialer.legs(SipTarget("1", trunk="office"), "c1")
    with pytest.raises(RouteError) as refused:
        await rig.dialer.legs(SipTarget("2", trunk="office"), "c2")
    assert refused.value.cause is Cause.LINE_FULL


async def test_only_the_services_of_the_engine_are_there() -> None:
    """rtpengine has no tone of ours."""
    rig = Rig()
    assert [leg.party.service for leg in await rig.dialer.legs(ServiceTarget("echo"), "c")] == ["echo"]
    assert await rig.dialer.legs(ServiceTarget("tone"), "c") == []


async def test_what_a_phone_chose_is_remembered_for_its_next_call() -> None:
    """In memory at once, and it wins over what is likely."""
    rig = Rig()
    await rig.bind("1001", "sip:1001@192.0.2.7")
    (leg,) = await rig.dialer.legs(rig.user("1001"), "c1")
    rig.dialer.learn(leg, ("pcmu",))
    (again,) = await rig.dialer.legs(rig.user("1001"), "c2")
    assert (leg.party.prefer[0], again.party.prefer) == ("g722", ("pcmu",))


@by_row(
    ("path", "received", "stands", "by_path"),
    [
        ("<sip:192.0.2.1:5080;lr>", "udp:192.0.2.1:5060", True, True),
        ("<sip:192.0.2.1;lr;transport=tcp>", "tcp:192.0.2.1:40000", False, True),
        ("<sip:192.0.2.1;lr;transport=tcp>", "tcp:192.0.2.1:40000", True, False),
        ("<sip:[2001:db8::1];lr>", "udp:[2001:db8::1]:5062", True, True),
        ("<sip:192.0.2.1;lr>", "udp:192.0.2.1:5060/udp:10.0.0.1:5062", True, False),
        ("<sip:198.51.100.9;lr>", "udp:192.0.2.1:5060", True, False),
        ("<sip:edge.test;lr>", "udp:192.0.2.1:5060", True, False),
        ("nonsense", "udp:192.0.2.1:5060", True, False),
    ],
)
async def test_a_phone_behind_a_proxy_is_called_by_its_path(
    path: str, received: str, stands: bool, by_path: bool
) -> None:
    """Where the proxy listens, not the port that its REGISTER came from; never at a host that has not registered."""
    rig = Rig()
    rig.dialer._is_reachable = lambda flow, is_flow: stands or not is_flow
    await rig.bind("1001", "sip:1001@10.0.0.7", path=(path,), received=received)
    sent = await rig.invited(await rig.dialer.legs(rig.user("1001"), "c"))
    assert sent["route"] == (path,)
    assert sent["received"] == (None if by_path else received)


@pytest.mark.parametrize(("gone", "kept"), [(True, []), (False, [(("pcmu",), 1)])])
async def test_a_preference_brings_no_binding_back(gone: bool, kept: list[object]) -> None:
    """The phone unregisters, or registers anew, while what it chose is being written down."""

    class Changing(MemoryStore):
        """Its bindings are others right after they were read, once."""

        changes = 0

        async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
            found = await super().bindings(aor, now)
            if self.changes:
                self.changes -= 1
                await self.remove_all(aor)
                if not gone:
                    await self.put_binding(replace(found[0], cseq=found[0].cseq + 1), now, 9)
            return found

    store = Changing()
    rig, aor, contact = Rig(store), "sip:1001@gateway.local", "sip:1001@192.0.2.7"
    await rig.bind("1001", contact)
    store.changes = 1
    await rig.dialer._keep(aor, contact, ("pcmu",))
    assert store.changes == 0
    assert [(one.codecs, one.cseq) for one in await store.bindings(aor, NOW)] == kept


@by_row(("policy", "kind"), [("required", Kind.SDES), ("optional", Kind.RTP), ("off", Kind.RTP)])
async def test_the_srtp_policy_says_what_a_phone_is_offered(policy: str, kind: Kind) -> None:
    """SDES where it is required."""
    rig = Rig(RTP__SRTP=policy)
    await rig.bind("1001", "sip:1001@192.0.2.7")
    (leg,) = await rig.dialer.legs(rig.user("1001"), "c")
    assert leg.party.kind is kind


async def test_a_trunk_of_several_places_is_asked_in_order_through_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that did not answer OPTIONS come last; each is called by its own name, with the trunk's account."""
    trunk = {
        "name": "office",
        "uri": "sip:one.test",
        "fallback_uris": ["sip:two.test:5070"],
        "outbound_proxy": "sip:sbc.test",
        "username": "gw",
        "password": "pw",
        "from_user": "4989",
        "failover_after": 4,
    }
    timers, rig = by_hand(monkeypatch), Rig(TRUNKS=json.dumps([trunk]))
    rig.reachability.answered("office", "sip:one.test", 408)
    sent = await rig.invited(await rig.dialer.legs(SipTarget("0900", trunk="office"), "c"))
    assert (sent["target"], sent["route"]) == ("sip:0900@two.test:5070", ("<sip:sbc.test;lr>",))
    assert sent["credentials"].username == "gw"
    timers.advance(4.0)
    assert rig.inviter.sent[1]["target"] == "sip:0900@one.test"
    assert str(rig.inviter.sent[1]["caller"].uri) == "sip:4989@one.test"


async def test_an_own_account_calls_by_its_name_and_password_alone() -> None:
    """Not the trunk's; where it has been given up meanwhile nobody is called."""
    rig = Rig()
    rig.accounts.put(Account(user="alice", registrar="office", username="201", password="own", auth_username="a201"))
    sent = await rig.invited(await rig.dialer.legs(SipTarget("0900", trunk="office", account="alice"), "c"))
    assert (sent["credentials"].username, sent["credentials"].password) == ("a201", "own")
    assert str(sent["caller"].uri) == "sip:201@pbx.test:5070"
    rig.accounts.remove("alice")
    with pytest.raises(RouteError) as refused:
        rig.dialer.outside(SipTarget("0900", trunk="office", account="alice"))
    assert refused.value.cause is Cause.UNAVAILABLE


@pytest.mark.parametrize(("ring", "first"), [("all", 3), ("in_order", 2)])
async def test_phones_ring_together_or_in_the_order_of_their_q_values(
    monkeypatch: pytest.MonkeyPatch, ring: str, first: int
) -> None:
    """The highest first, those of one value together; the next ones after a while."""
    users = [{"id": "1001", "sip": True, "ring": ring, "ring_next_after": 10}]
    timers, rig = by_hand(monkeypatch), Rig(USERS=json.dumps(users))
    for host, q in (("192.0.2.1", 0.5), ("192.0.2.2", 1.0), ("192.0.2.3", 1.0)):
        await rig.bind("1001", f"sip:1001@{host}", q=q)
    await rig.invited(await rig.dialer.legs(rig.user("1001"), "c"))
    assert len(rig.inviter.sent) == first
    timers.advance(10.0)
    assert [sent["target"] for sent in rig.inviter.sent][-1] == "sip:1001@192.0.2.1"
    assert len(rig.inviter.sent) == 3


async def test_the_order_of_q_values_holds_over_both_ip_versions() -> None:
    """A leg for each version of each value; the next ones come in place of the last leg that rings no more."""
    users = [{"id": "1001", "sip": True, "ring": "in_order", "ring_next_after": 30}]
    rig = Rig(USERS=json.dumps(users), RTP__LISTEN="127.0.0.1, ::1")
    places = (("192.0.2.7", 1.0), ("[2001:db8::7]", 0.5), ("192.0.2.8", 0.5), ("192.0.2.9", 0.1))
    for host, q in places:
        await rig.bind("1001", f"sip:1001@{host}", q=q)
    heard: list[Any] = []

    def listen(leg: Leg, said: object) -> None:
        if isinstance(said, Rejected | Redirected):
            heard.append((leg, said))

    async def ring(legs: Sequence[Any]) -> list[str]:
        before = len(rig.inviter.sent)
        for leg in legs:
            leg.listen(listen)
            await leg.invite("v=0\r\n", leg.address)
        return sorted(sent["target"] for sent in rig.inviter.sent[before:])

    first = cast(Sequence[SipCalleeLeg], await rig.dialer.legs(rig.user("1001"), "c"))
    assert await ring(first) == ["sip:1001@192.0.2.7"]
    first[0]._rank_is_late()
    [(leg, said)] = heard
    assert (leg, said.is_over) == (first[0], True)
    assert sorted(one.party.family for one in said.legs) == [4, 6]
    assert await ring(said.legs) == ["sip:1001@192.0.2.8", "sip:1001@[2001:db8::7]"]
    for one in said.legs:
        one._rank_is_late()
    (_, refused), (_, last) = heard[1:]
    assert refused == Rejected(Cause.NO_ANSWER)
    assert await ring(last.legs) == ["sip:1001@192.0.2.9"]
    assert len({leg.party.tag for leg in (*first, *said.legs, *last.legs)}) == 4
    last.legs[0]._rank_is_late()
    assert heard[-1] == (last.legs[0], Rejected(Cause.NO_ANSWER))


async def test_places_of_a_trunk_are_offered_the_address_of_their_own_version() -> None:
    """In the trunk's order; a name of both is asked by the other one where nobody is there by the first."""
    trunk = {"name": "office", "uri": "sip:pbx.test", "fallback_uris": ["sip:192.0.2.9", "sip:[2001:db8::9]"]}
    rig = Rig(RTP__LISTEN="127.0.0.1, ::1", TRUNKS=json.dumps([trunk]))
    rig.dialer.agent = Network((Flow("udp", "2001:db8::1", 5060), Flow("udp", "192.0.2.1", 5060)), [])
    legs = await rig.dialer.legs(SipTarget("0", "office"), "c")
    asked, tags = [], []
    while legs:
        [leg] = cast(Sequence[SipCalleeLeg], legs)
        heard: list[Any] = []
        leg.listen(lambda _, said, heard=heard: heard.append(said))  # type: ignore[misc]
        await leg.invite("v=0\r\n", leg.address)
        asked.append((rig.inviter.sent[-1]["target"], rig.inviter.sent[-1]["family"], leg.party.family))
        tags.append(leg.party.tag)
        leg._failed(0, Failed(503, "", Headers()))
        legs = heard[-1].legs if isinstance(heard[-1], Redirected) else ()
    assert asked == [
        ("sip:0@pbx.test", 6, 6),
        ("sip:0@pbx.test", 4, 4),
        ("sip:0@192.0.2.9", 0, 4),
        ("sip:0@[2001:db8::9]", 0, 6),
    ]
    assert len(set(tags)) == 4


async def test_a_place_that_redirects_is_followed_by_no_other_of_its_trunk() -> None:
    """Whatever version that one has."""
    trunk = {"name": "office", "uri": "sip:192.0.2.9", "fallback_uris": ["sip:[2001:db8::9]"]}
    rig = Rig(RTP__LISTEN="127.0.0.1, ::1", TRUNKS=json.dumps([trunk]))
    [leg] = cast(Sequence[SipCalleeLeg], await rig.dialer.legs(SipTarget("0", "office"), "c"))
    heard: list[Any] = []
    leg.listen(lambda _, said: heard.append(said))
    await leg.invite("v=0\r\n", leg.address)
    leg._failed(0, Failed(302, "", Headers(), (NameAddr.parse("<sip:a@x>"),)))
    assert [said for said in heard if isinstance(said, Redirected)] == [Redirected(("sip:a@x",), is_over=True)]
    assert len(rig.inviter.sent) == 1


async def test_a_browser_is_offered_the_same_by_each_of_its_flows() -> None:
    """Its candidates are what `webrtc.listen` has, whatever the version of its WebSocket."""
    rig = Rig(RTP__LISTEN="127.0.0.1, ::1")
    for number, host in enumerate(("192.0.2.7", "[2001:db8::7]"), start=1):
        received = f"ws:{host}:4000{number}"
        await rig.bind("1001", "sip:1001@a.invalid;transport=ws", received=received, instance="i", reg_id=number)
    [leg] = cast(Sequence[SipCalleeLeg], await rig.dialer.legs(rig.user("1001"), "c"))
    heard: list[Any] = []
    leg.listen(lambda _, said: heard.append(said))
    await leg.invite("v=0\r\n", leg.address)
    leg._failed(0, Failed(430, "", Headers()))
    assert len(rig.inviter.sent) == 2
    assert not [said for said in heard if isinstance(said, Redirected)]


async def test_a_name_that_nobody_answers_for_keeps_no_call_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a further place: it is looked up when its turn comes. For a while no other call waits for it at all."""
    monkeypatch.setattr("gateway.dialing.places._PATIENCE", 0.01)
    asked, now = [], [NOW]

    class Slow(Network):
        async def resolve(self, uri: Uri) -> Sequence[Flow]:
            if uri.host == "slow.test":
                asked.append(uri)
                await asyncio.Event().wait()
            return await super().resolve(uri)

    trunk = {"name": "office", "uri": "sip:pbx.test", "fallback_uris": ["sip:slow.test"]}
    rig = Rig(RTP__LISTEN="127.0.0.1, ::1", TRUNKS=json.dumps([trunk]))
    rig.dialer._lookups = Lookups(lambda: now[0])
    rig.dialer.agent = Slow((Flow("udp", "2001:db8::1", 5060),), [])
    for later, times in ((0, 1), (29, 1), (2, 2), (29, 2)):
        now[0] += later
        [leg] = await asyncio.wait_for(rig.dialer.legs(SipTarget(str(later), "office"), "c"), 30)
        assert (leg.party.family, len(asked)) == (6, times)


async def test_who_follows_over_ip_versions_is_asked_by_tls_alone_where_the_call_is_secure() -> None:
    """Also where nobody of those before is reached by TLS; and nobody follows who says no for all (6xx)."""
    users = [{"id": "1001", "sip": True, "ring": "in_order", "ring_next_after": 30}]
    rig = Rig(USERS=json.dumps(users), RTP__LISTEN="127.0.0.1, ::1")
    await rig.bind("1001", "sip:1001@192.0.2.7", q=1.0)
    await rig.bind("1001", "sip:1001@[2001:db8::7];transport=tls", q=0.5)
    await rig.bind("1001", "sip:1001@[2001:db8::8]", q=0.1)
    [leg] = await rig.dialer.legs(rig.user("1001"), "c")
    assert leg.only_secure()
    heard: list[Any] = []
    leg.listen(lambda leg, said: heard.append(said))
    await leg.invite("v=0\r\n", leg.address)
    assert not rig.inviter.sent
    [following] = heard[0].legs
    following.listen(lambda leg, said: heard.append(said))
    await following.invite("v=0\r\n", following.address)
    assert [sent["target"] for sent in rig.inviter.sent] == ["sip:1001@[2001:db8::7];transport=tls"]
    following._refused(0, 603)
    assert heard[-1] == Rejected(Cause.DECLINED)


@by_row("trusted", [True, False])
@by_row("private", [True, False])
async def test_only_a_trusted_trunk_is_told_who_calls(trusted: bool, private: bool) -> None:
    """P-Asserted-Identity, with Privacy where the caller is hidden; From never names who is hidden."""
    trunk = {"name": "office", "uri": "sip:pbx.test", "assert_identity": trusted}
    rig = Rig(TRUNKS=json.dumps([trunk]))
    caller = Address("sip:alice@gw.test", "Alice")
    if private:
        caller = Address("sip:anonymous@anonymous.invalid", "Anonymous", asserted="sip:alice@gw.test")
    [leg] = await rig.dialer.legs(SipTarget("0900", trunk="office"), "c")
    await leg.invite("v=0\r\n", caller)
    sent = rig.inviter.sent[-1]
    told = {name: str(value) for name, value in sent["headers"]}
    who = "<sip:alice@gw.test>" if private else '"Alice" <sip:alice@gw.test>'
    assert told.get("P-Asserted-Identity") == (who if trusted else None)
    assert told.get("Privacy") == ("id" if trusted and private else None)
    assert ("alice" in str(sent["caller"])) is not private


@pytest.mark.parametrize("prefers", [True, False])
async def test_a_trunk_that_decides_itself_is_asked_to_show_who_calls(prefers: bool) -> None:
    """trunks[].prefer_identity: P-Preferred-Identity (RFC 3325)."""
    trunk = {"name": "office", "uri": "sip:pbx.test", "prefer_identity": prefers}
    rig = Rig(TRUNKS=json.dumps([trunk]))
    [leg] = await rig.dialer.legs(SipTarget("0900", trunk="office"), "c")
    await leg.invite("v=0\r\n", Address("sip:alice@gw.test", "Alice"))
    told = {name: str(value) for name, value in rig.inviter.sent[-1]["headers"]}
    assert told == ({"P-Preferred-Identity": '"Alice" <sip:alice@gw.test>'} if prefers else {})


@pytest.mark.parametrize(("own", "kept"), [(None, True), ("4989", False)])
async def test_a_signature_is_passed_on_to_a_trunk_that_sees_the_number(own: str | None, kept: bool) -> None:
    """RFC 8224: another From would not be what was signed."""
    rig = Rig(TRUNKS=json.dumps([{"name": "office", "uri": "sip:pbx.test", "from_user": own}]))
    [leg] = await rig.dialer.legs(SipTarget("0900", trunk="office"), "c")
    await leg.invite("v=0\r\n", Address("sip:1@other.test", signed=(("Identity", "a.b.c"),)))
    assert [name for name, _ in rig.inviter.sent[-1]["headers"]] == (["Identity"] if kept else [])


@by_row(
    ("policy", "keying", "offered"),
    [
        ("off", ("sdes", "dtls"), [Kind.RTP]),
        ("optional", ("sdes", "dtls"), [Kind.RTP, Kind.SDES, Kind.DTLS]),
        ("optional", ("dtls",), [Kind.RTP, Kind.DTLS]),
        ("best_effort", ("sdes",), [Kind.BEST_EFFORT, Kind.SDES]),
        ("required", ("dtls", "sdes"), [Kind.DTLS, Kind.SDES]),
        ("required", ("sdes",), [Kind.SDES]),
    ],
)
def test_the_policy_says_what_a_phone_is_offered_one_after_the_other(
    policy: SrtpPolicy, keying: tuple[SrtpKeying, ...], offered: list[Kind]
) -> None:
    """Each after the one before was refused; never in the clear what was refused encrypted."""
    assert kinds_offered(policy, keying) == offered


class Network:
    """Leads every name to the same flows, and keeps what was asked."""

    def __init__(self, flows: Sequence[Flow], asked: list[str]) -> None:
        self.flows, self.asked = flows, asked

    async def resolve(self, uri: Uri) -> Sequence[Flow]:
        self.asked.append(str(uri))
        return self.flows

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        return NameAddr(Uri.of(user, "192.0.2.1"))


@by_row(("listen", "families"), [("127.0.0.1", 1), ("127.0.0.1,::1", 2), ("::1,0.0.0.0", 2)])
async def test_phones_of_both_ip_versions_are_offered_their_own_address(listen: str, families: int) -> None:
    """A leg for each version, where RTP listens on both; the way of the registration says which it is."""
    rig = Rig(RTP__LISTEN=listen)
    await rig.bind("1001", "sip:1001@192.0.2.7")
    await rig.bind("1001", "sip:1001@[2001:db8::7]:5062")
    await rig.bind("1001", "sip:1001@phone.invalid", received="tcp:[2001:db8::8]:40000")
    legs = await rig.dialer.legs(rig.user("1001"), "c")
    assert len({leg.party.family for leg in legs}) == families
    assert len({leg.party.tag for leg in legs}) == len(legs)
    for leg in legs:
        await leg.invite("v=0\r\n", leg.address)
    assert len(rig.inviter.sent) == 3


@by_row(
    ("uri", "flows", "family", "asked"),
    [
        ("sip:pbx.test", (Flow("udp", "2001:db8::1", 5060), Flow("udp", "192.0.2.1", 5060)), 6, ["sip:0@pbx.test"]),
        ("sip:pbx.test", (), 0, ["sip:0@pbx.test"]),
        ("sip:[2001:db8::1]", (), 6, []),
        ("sip:192.0.2.1", (), 4, []),
    ],
)
async def test_a_trunk_is_offered_the_address_of_the_version_that_leads_there(
    uri: str, flows: tuple[Flow, ...], family: int, asked: list[str]
) -> None:
    """A name is looked up, where that decides anything, as SIP itself will do."""
    for listen in ("127.0.0.1", "127.0.0.1,::1"):
        rig = Rig(RTP__LISTEN=listen, TRUNKS__OFFICE__URI=uri)
        looked_up: list[str] = []

        rig.dialer.agent = Network(flows, looked_up)
        [leg] = await rig.dialer.legs(SipTarget("0", "office"), "c")
        if listen == "127.0.0.1":
            assert not looked_up
        else:
            assert (leg.party.family, looked_up) == (family, asked)
