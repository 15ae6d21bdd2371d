"""Trunks we register at call in from where their registrar is, and from nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import SecretStr

from gateway.accounts.own import Accounts
from gateway.accounts.trunks import TrunkAccount, Trunks
from gateway.app.registrations import Registrations
from gateway.config.people import Trunk
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri

PROVIDER = Trunk(name="provider", uri="sip:sip.provider.test", username="4989", password=SecretStr("pw"), register=True)
QUIET = Trunk(name="quiet", uri="sip:quiet.test")
ANSWERED_FROM = "192.0.2.1"


class Upstream:
    """Sends REGISTER for real registrations and answers them; its resolver says what the test wants."""

    def __init__(self) -> None:
        self.status = 200
        self.names: dict[str, tuple[str, ...]] = {}
        self.looked_up: list[str] = []
        self.made: list[Registration] = []
        self.taken_back: list[Registration] = []
        self.asked = asyncio.Event()

    def token(self) -> str:
        return "token"

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        return NameAddr(Uri.of(user, "198.51.100.1"))

    async def request(self, method: str, target: Uri, **given: Any) -> Response:
        self.asked.set()
        flow = Flow("udp", ANSWERED_FROM, 5060)
        given["contact"](flow)
        given["answered_by"](flow)
        request = build.request(
            method, target, from_=given["caller"].with_tag("a"), to=given["callee"], call_id="c", cseq=given["cseq"]()
        )
        return build.response(request, self.status, headers=(("Expires", 1),))

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
            [Uri.parse(str(registrar))],
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

    async def unregister(self, registration: Registration) -> None:
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
    await asyncio.wait_for(upstream.asked.wait(), 5)
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
