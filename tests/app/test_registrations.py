"""Trunks we register at call in from where their registrar is, and from nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest
from pydantic import SecretStr

from gateway.config.people import Trunk
from gateway.net.outbound import Outbound, OutboundRegistration
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from gateway.sip.registration.client import Outcome, RegistrationClient, Send
from gateway.testing.clock import ManualClock
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.known import TrunkAccount, Trunks
from gateway.trunks.registrations import Registrations

PROVIDER = Trunk(name="provider", uri="sip:sip.provider.test", username="4989", password=SecretStr("pw"), register=True)
QUIET = Trunk(name="quiet", uri="sip:quiet.test")
ANSWERED_FROM = "192.0.2.1"


class Upstream:
    """Sends REGISTER for real registrations and answers them; its resolver says what the test wants."""

    def __init__(self) -> None:
        self.transport = "udp"
        self.takes_flows = False
        self.status = 200
        self.expires = 1
        self.brief: dict[str, int] = {}
        """Min-Expires of the 423 that a registrar answers with, by its host."""
        self.down: dict[str, int] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.looked_up: list[str] = []
        self.targets: list[str] = []
        self.made: list[Registration] = []
        self.by_flows: list[tuple[Outbound, tuple[str, ...]]] = []
        self.taken_back: list[Registration | OutboundRegistration] = []
        self.asked = asyncio.Event()

    def token(self) -> str:
        return "token"

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        return NameAddr(Uri.of(user, "198.51.100.1"))

    async def request(self, method: str, target: Uri, **given: Any) -> Response:
        self.asked.set()
        self.targets.append(target.host)
        flow = Flow(self.transport, ANSWERED_FROM, 5060)
        given["contact"](flow)
        given["answered_by"](flow)
        request = build.request(
            method, target, from_=given["caller"].with_tag("a"), to=given["callee"], call_id="c", cseq=given["cseq"]()
        )
        if target.host in self.brief:
            await asyncio.sleep(0)
            return build.response(request, 423, headers=(("Min-Expires", self.brief[target.host]),))
        return build.response(request, self.down.get(target.host, self.status), headers=(("Expires", self.expires),))

    async def register(
        self,
        registrar: Uri | str,
        *others: Uri | str,
        aor: NameAddr | str,
        credentials: Credentials | None = None,
        policy: RegistrationPolicy | None = None,
        route: Iterable[NameAddr | str] = (),
        answered: Callable[[Registration], None] | None = None,
        contact_user: str | None = None,
    ) -> Registration:
        assert isinstance(aor, NameAddr)
        made = Registration(
            self,
            [Uri.parse(str(one)) for one in (registrar, *others)],
            aor,
            lambda: None,
            RegistrationPolicy(shortest_refresh=0.02),
            (),
            None,
            answered,
            contact_user,
            lambda: 0.5,
        )
        self.made.append(made)
        await made.begin()
        return made

    async def register_by_flows(self, outbound: Outbound, *registrars: Uri | str, **given: Any) -> OutboundRegistration:
        self.by_flows.append((outbound, tuple(map(str, registrars))))
        if not self.takes_flows:
            raise OSError("no flow can be formed")
        made = await self.register(*registrars, aor=given["aor"], answered=given["answered"])
        return cast(OutboundRegistration, made)

    async def unregister(self, registration: Registration | OutboundRegistration, *, is_others: bool = False) -> None:
        self.taken_back.append(registration)
        registration.stop()

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]:
        self.looked_up.append(uri.host)
        return tuple(Flow("udp", host, 5060) for host in self.names.get(uri.host, ()))


def trunk_from(known: Trunks, *hosts: str) -> list[str | None]:
    return [known.by_source(Flow("udp", host, 5060)) for host in hosts]


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def refreshed(upstream: Upstream) -> None:
    """The next REGISTER, which comes by itself, has had its outcome."""
    upstream.asked.clear()
    await asyncio.wait_for(upstream.asked.wait(), 30)
    await settle()


async def started(upstream: Upstream) -> tuple[Registrations, Trunks]:
    known = Trunks(
        TrunkAccount(name=trunk.name, admits_registered=trunk.register_account) for trunk in (PROVIDER, QUIET)
    )
    registrations = Registrations(upstream, (PROVIDER, QUIET), known, Accounts(bytes(32)))
    registrations.begin()
    await settle()
    return registrations, known


async def ended(registrations: Registrations, upstream: Upstream) -> None:
    await registrations.close()
    for made in upstream.made:
        made.stop()


async def test_a_registrar_calls_in_from_every_address_its_name_has() -> None:
    """The one that answered the REGISTER, and those that the name leads to beside it; nobody else."""
    upstream = Upstream()
    upstream.names = {"sip.provider.test": ("192.0.2.2", "192.0.2.3")}
    registrations, known = await started(upstream)
    assert registrations.standing == {"provider"}
    assert trunk_from(known, ANSWERED_FROM, "192.0.2.2", "192.0.2.3", "192.0.2.4") == ["provider"] * 3 + [None]
    assert upstream.looked_up == ["sip.provider.test"]
    await ended(registrations, upstream)


async def test_the_addresses_are_those_of_the_last_register() -> None:
    """A refresh looks the name up again: what is new may call, what is gone may not."""
    upstream = Upstream()
    upstream.names = {"sip.provider.test": ("192.0.2.2",)}
    registrations, known = await started(upstream)
    upstream.names = {"sip.provider.test": ("192.0.2.9",)}
    await refreshed(upstream)
    assert trunk_from(known, ANSWERED_FROM, "192.0.2.2", "192.0.2.9") == ["provider", None, "provider"]
    await ended(registrations, upstream)


async def test_a_name_that_leads_nowhere_leaves_the_address_that_answered() -> None:
    """A resolver that fails for a while takes no call of the registrar itself away."""
    upstream = Upstream()
    registrations, known = await started(upstream)
    assert trunk_from(known, ANSWERED_FROM, "192.0.2.2") == ["provider", None]
    await ended(registrations, upstream)


async def test_without_a_registration_nobody_calls_in() -> None:
    """A refused refresh shuts the door at once, for every address."""
    upstream = Upstream()
    upstream.names = {"sip.provider.test": ("192.0.2.2",)}
    registrations, known = await started(upstream)
    upstream.status = 403
    await refreshed(upstream)
    assert registrations.standing == frozenset()
    assert trunk_from(known, ANSWERED_FROM, "192.0.2.2") == [None, None]
    await ended(registrations, upstream)


ALICE = Account(user="alice", registrar="quiet", username="201", password="pw")


async def with_accounts(upstream: Upstream, *trunks: Trunk) -> tuple[Registrations, Trunks, Accounts]:
    known, accounts = Trunks(()), Accounts(bytes(32))
    accounts.put(ALICE)
    registrations = Registrations(upstream, trunks or (PROVIDER, QUIET), known, accounts)
    registrations.begin()
    await settle()
    return registrations, known, accounts


async def test_a_registrar_that_is_down_hands_over_to_the_next_place() -> None:
    """And that one to the first again, once it is down itself."""
    upstream = Upstream()
    upstream.down = {"one.test": 503}
    trunk = Trunk(name="quiet", uri="sip:one.test", fallback_uris=("sip:two.test",))
    registrations, _, _ = await with_accounts(upstream, trunk)
    made = registrations.of_account("alice")
    assert made is not None
    assert (made.registered, made.registrar.host) == (False, "two.test")
    made.hurry(0.0)
    await refreshed(upstream)
    assert made.registered
    upstream.down = {"two.test": 408}
    made.hurry(0.0)
    await refreshed(upstream)
    made.hurry(0.0)
    await refreshed(upstream)
    assert (made.registered, upstream.targets) == (True, ["one.test", "two.test", "two.test", "one.test"])
    await ended(registrations, upstream)


async def test_an_account_is_called_while_it_is_registered_and_under_its_contact_alone() -> None:
    """The registrar itself is no trunk of ours for that; given up, its calls are strangers' at once."""
    upstream = Upstream()
    registrations, known, accounts = await with_accounts(upstream)
    registrar, contact = Flow("udp", ANSWERED_FROM, 5060), accounts.contact(ALICE)
    assert known.of_account(registrar, contact) == "quiet"
    assert known.of_account(registrar, "201") is None
    registrations.drop("alice")
    assert known.of_account(registrar, contact) is None
    await settle()
    assert len(upstream.taken_back) == 1
    registrations.drop("alice")
    await ended(registrations, upstream)


async def test_another_password_registers_after_the_old_one_was_taken_back() -> None:
    """Both have one Contact: taken back later, the old one would take the new one along."""
    upstream = Upstream()
    registrations, known, accounts = await with_accounts(upstream)
    changed = replace(ALICE, password="other")
    accounts.put(changed)
    before = len(upstream.made)
    registrations.put(changed)
    await asyncio.sleep(0)
    assert len(upstream.made) == before
    await settle()
    assert (len(upstream.taken_back), len(upstream.made)) == (1, before + 1)
    assert known.of_account(Flow("udp", ANSWERED_FROM, 5060), accounts.contact(changed)) == "quiet"
    await ended(registrations, upstream)


async def test_a_trunk_that_is_back_has_its_accounts_registered_anew() -> None:
    """Long before their time, and those of no other trunk."""
    upstream = Upstream()
    upstream.expires = 3600
    registrations, _, _ = await with_accounts(upstream, QUIET)
    assert upstream.targets == ["quiet.test"]
    registrations.hurry("quiet")
    await refreshed(upstream)
    registrations.hurry("nobody")
    await asyncio.sleep(0.6)
    assert upstream.targets == ["quiet.test"] * 2
    await ended(registrations, upstream)


async def test_who_is_registered_by_a_connection_that_is_gone_registers_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one of ours to that very place; at once, and later where a registrar closes right after it has answered."""
    upstream = Upstream()
    upstream.transport, upstream.expires = "tcp", 3600
    registrations, _, _ = await with_accounts(upstream, QUIET)
    waits: list[float] = []
    monkeypatch.setattr(upstream.made[0], "hurry", waits.append)
    gone = Flow("tcp", ANSWERED_FROM, 5060, "1", dialled=True)
    for other in (replace(gone, dialled=False), replace(gone, port=5061), replace(gone, transport="tls")):
        registrations.flow_lost(other)
    assert waits == []
    registrations.flow_lost(gone)
    [late] = waits
    assert 50 < late <= 60
    monkeypatch.setattr(Registration, "age", 61.0)
    registrations.flow_lost(gone)
    assert waits == [late, 1.0]
    await ended(registrations, upstream)


def accounts_of(count: int) -> list[Account]:
    return [replace(ALICE, user=f"user-{number}", username=str(1000 + number)) for number in range(count)]


async def test_a_registrar_that_says_423_for_ever_holds_nobody_up() -> None:
    """Each account of a full trunk has its turn, may be changed and given up, and registers where the registrar can."""
    upstream = Upstream()
    upstream.brief = {"quiet.test": 100_000}
    accounts, users = Accounts(bytes(32)), accounts_of(50)
    for one in users:
        accounts.put(one)
    registrations = Registrations(upstream, (PROVIDER, QUIET), Trunks(()), accounts)
    registrations.begin()
    await asyncio.wait_for(registrations.settled(), 30)
    assert upstream.targets.count("quiet.test") == len(users)
    changed = replace(users[0], password="other")
    accounts.put(changed)
    registrations.put(changed)
    registrations.drop(users[1].user)
    await asyncio.wait_for(registrations.settled(), 30)
    assert (upstream.targets.count("quiet.test"), len(upstream.taken_back)) == (len(users) + 1, 2)
    refused = registrations.of_account(changed.user)
    assert refused is not None
    assert (refused.registered, refused.status, registrations.of_account(users[1].user)) == (False, 423, None)
    upstream.brief = {}
    registrations.put(changed)
    await asyncio.wait_for(registrations.settled(), 30)
    made = registrations.of_account(changed.user)
    assert made is not None
    assert made.registered
    await ended(registrations, upstream)


class Timed:
    """A registration that stands for an hour by a clock that the test turns."""

    def __init__(self, clock: ManualClock, random: Callable[[], float]) -> None:
        self._clock = clock
        self._client = RegistrationClient(RegistrationPolicy(probe=0), random)
        self._client.start(clock())
        self._client.answered(Outcome(status=200, granted=3600), clock())
        self.registered, self.status = True, 200

    def hurry(self, seconds: float) -> None:
        self._client.hurry(seconds, self._clock())

    def asks(self) -> bool:
        """Whether it has sent a REGISTER by now, which is then answered."""
        sent = self._client.due(self._clock()) is Send.REGISTER
        if sent:
            self._client.answered(Outcome(status=200, granted=3600), self._clock())
        return sent


class TimedUpstream(Upstream):
    """Makes registrations by a manual clock; `timed` are they by the user of their address."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.random = Random(4711)
        self.timed: dict[str | None, Timed] = {}

    async def register(self, registrar: Uri | str, *others: Uri | str, **given: Any) -> Registration:
        made = self.timed[given["aor"].uri.user] = Timed(self.clock, self.random.random)
        return cast(Registration, made)

    def asked_by(self, seconds: float) -> list[str | None]:
        """Who asks while so many seconds pass."""
        self.clock.advance(seconds)
        return [user for user, one in self.timed.items() if one.asks()]


@pytest.mark.parametrize(("count", "seconds"), [(5, 1), (1000, 20)])
async def test_accounts_come_back_to_a_registrar_at_its_pace(count: int, seconds: int) -> None:
    """About fifty a second however many they are, each once; the trunk's own registration comes in the first second."""
    upstream, accounts = TimedUpstream(), Accounts(bytes(32))
    for one in accounts_of(count):
        accounts.put(replace(one, registrar="provider"))
    registrations = Registrations(upstream, (PROVIDER, QUIET), Trunks(()), accounts)
    registrations.begin()
    await asyncio.wait_for(registrations.settled(), 30)
    assert len(upstream.timed) == count + 1
    assert upstream.asked_by(60.0) == []
    registrations.hurry("quiet")
    assert upstream.asked_by(60.0) == []
    registrations.hurry("provider")
    came = [upstream.asked_by(1.0) for _ in range(seconds)]
    assert "4989" in came[0]
    assert max(len(each) for each in came) <= 80
    assert sorted(str(user) for each in came for user in each) == sorted(str(user) for user in upstream.timed)
    assert upstream.asked_by(60.0) == []


async def test_other_trunks_register_and_those_that_are_gone_are_taken_back() -> None:
    """What stays as it was registers no second time, and no call of a trunk that is gone comes in."""
    upstream = Upstream()
    registrations, known = await started(upstream)
    new = Trunk(name="new", uri="sip:new.test", username="49", password=SecretStr("pw"), register=True)
    known.change([TrunkAccount(name=name, admits_registered=True) for name in ("provider", "new")])
    registrations.change((PROVIDER.model_copy(update={"max_calls": 3}), new), 300)
    await settle()
    assert registrations.standing == {"provider", "new"}
    assert upstream.targets == ["sip.provider.test", "new.test"]
    registrations.change((new.model_copy(update={"password": SecretStr("other")}),), 300)
    await settle()
    assert registrations.standing == {"new"}
    assert {id(made) for made in upstream.taken_back} == {id(made) for made in upstream.made[:2]}
    assert upstream.targets == ["sip.provider.test", "new.test", "new.test"]
    known.change([TrunkAccount(name="new", admits_registered=True)])
    assert trunk_from(known, ANSWERED_FROM) == ["new"]
    registrations.change((), 300)
    await settle()
    assert (registrations.standing, trunk_from(known, ANSWERED_FROM)) == (frozenset(), [None])
    await ended(registrations, upstream)


async def test_several_proxies_are_several_flows() -> None:
    """In the place of one, for the trunk and the accounts there; each of the two has an instance of its own."""
    upstream = Upstream()
    registrations, _, accounts = await with_accounts(upstream)
    proxies = ("sip:edge1.test;transport=tcp", "sip:edge2.test")
    by_flows = {"outbound_proxies": proxies, "fallback_uris": ("sip:other.test",)}
    registrations.change((PROVIDER.model_copy(update=by_flows), QUIET.model_copy(update=by_flows)), 60)
    await settle()
    assert {id(made) for made in upstream.taken_back} == {id(made) for made in upstream.made[:2]}
    assert {uris for _, uris in upstream.by_flows} == {(PROVIDER.uri, "sip:other.test"), (QUIET.uri, "sip:other.test")}
    for outbound, (uri, _) in upstream.by_flows:
        is_trunk = uri == PROVIDER.uri
        assert outbound.instance == (accounts.gateway_instance if is_trunk else accounts.instance)
        assert [str(hop) for [hop] in outbound.routes] == ["<sip:edge1.test;transport=tcp;lr>", "<sip:edge2.test;lr>"]
        assert (outbound.recovery.all_failed, outbound.recovery.not_all_failed) == (30.0, 90.0)
    await ended(registrations, upstream)


async def test_calls_come_in_from_every_address_of_every_edge() -> None:
    """By whichever of them each flow was formed: the PBX calls by any address of an edge; nobody else is let in."""
    upstream, known = Upstream(), Trunks([TrunkAccount(name="provider", admits_registered=True)])
    upstream.takes_flows = True
    upstream.names = {"edge1.test": ("192.0.2.11", "192.0.2.12"), "edge2.test": ("192.0.2.21", "192.0.2.22")}
    trunk = PROVIDER.model_copy(update={"outbound_proxies": ("sip:edge1.test", "sip:edge2.test")})
    registrations = Registrations(upstream, (trunk,), known, Accounts(bytes(32)))
    registrations.begin()
    await settle()
    edges = ("192.0.2.11", "192.0.2.12", "192.0.2.21", "192.0.2.22")
    assert trunk_from(known, ANSWERED_FROM, *edges, "192.0.2.31") == ["provider"] * 5 + [None]
    assert upstream.looked_up == ["sip.provider.test", "edge1.test", "edge2.test"]
    registrations.change((), 300)
    await settle()
    assert trunk_from(known, ANSWERED_FROM, *edges) == [None] * 5
    await ended(registrations, upstream)


def test_an_instance_outlives_a_restart() -> None:
    """Of the same key; a gateway of a cluster shares that of the accounts, and no other."""
    one, again, other = (Accounts(bytes(32), own) for own in (b"1" * 32, b"1" * 32, b"2" * 32))
    assert (one.instance, one.gateway_instance) == (again.instance, again.gateway_instance)
    assert one.instance == other.instance
    assert len({one.instance, one.gateway_instance, other.gateway_instance}) == 3
    assert Accounts(bytes(32)).gateway_instance == one.instance


async def test_accounts_follow_their_registrar() -> None:
    """To another place they register anew; where it is gone they are taken back."""
    upstream = Upstream()
    registrations, _, _ = await with_accounts(upstream)
    registrations.change((PROVIDER, QUIET.model_copy(update={"uri": "sip:elsewhere.test"})), 60)
    await settle()
    assert upstream.targets[-1] == "elsewhere.test"
    registrations.change((PROVIDER,), 60)
    await settle()
    assert registrations.of_account("alice") is None
    assert len(upstream.taken_back) == 2
    await ended(registrations, upstream)
