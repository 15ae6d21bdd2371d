"""A trunk that challenges for ever, answers nonsense, redirects: bounded work, and no secret to anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.message import build
from gateway.sip.message.message import Request
from gateway.sip.subscription.subscriber import Notified, SubscriberEvent
from tests.app.phones import Phone
from tests.app.places import Place, at, place
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.stranger import SDP, authorization, status_of, stranger
from tests.media.engine_support import until
from tests.net.peers import LOOPBACK, Application
from tests.rows import by_row

PASSWORD = "the-account-of-Alice-4711"
THIEF = "127.0.0.52"
_NOTIFIES = 1_000


@contextlib.asynccontextmanager
async def gateway(
    folder: Path, trunk: Place, elsewhere: str = "", sources: Sequence[str] = ()
) -> AsyncIterator[GatewayApp]:
    """A gateway where 1001 has an own account at the trunk, and may call 4711 at the place `elsewhere`, too."""
    host, port = trunk.address
    account = {"registrar": "pbx", "username": "201", "password": PASSWORD}
    routes = [{"match": "sip:4711@127.*", "to": f"sip:4711@{elsewhere}"}]
    app = GatewayApp(
        config_on_free_ports(
            folder,
            TRUNKS=json.dumps(
                [{"name": "pbx", "uri": f"sip:{host}:{port}", "sources": [*sources], "options_interval": 0}]
            ),
            USERS__1001__ACCOUNT=json.dumps(account),
            USERS__1001__MAY_CALL='["*", "sip:4711@*"]',
            PRESENCE__NOTIFY_INTERVAL="0.2",
            **({"ROUTES": json.dumps(routes)} if elsewhere else {}),
        )
    )
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def call(app: GatewayApp, number: str = "4711") -> int:
    """The status with which a call of 1001 through its account ends."""
    host, _, port = app.sip_hostport.rpartition(":")
    sip, uri = (host, int(port)), f"sip:{number}@{app.config.domain}"
    async with stranger("127.0.0.1") as phone:

        def request(cseq: int, *headers: str) -> bytes:
            sdp = SDP.format(host="127.0.0.1")
            made = phone.request("INVITE", uri, user="1001", body=sdp, call_id="hostile", cseq=cseq, headers=headers)
            return re.sub(rb"From: <sip:1001@[^>]*>", f"From: <sip:1001@{app.config.domain}>".encode(), made)

        first = await phone.ask(request(1), sip, timeout=30)
        header = authorization(first, "INVITE", uri, "1001", PASSWORDS["1001"])
        return status_of(await phone.ask(request(2, header), sip, timeout=30))


def challenge(request: Request, number: int, **more: str) -> list[bytes]:
    """A new nonce for every request."""
    params = "".join(f", {name}={value}" for name, value in more.items())
    value = f'Digest realm="pbx", nonce="{number:08x}", algorithm=SHA-256, qop="auth"{params}'
    return [build.response(request, 401, to_tag="t", headers=[("WWW-Authenticate", value)]).write()]


@pytest.mark.parametrize("more", [{}, {"stale": "true"}])
async def test_a_trunk_that_challenges_for_ever_is_answered_a_few_times(tmp_path: Path, more: dict[str, str]) -> None:
    """The call and the registration are refused; nothing goes on by itself until the registration is due again."""

    def again(request: Request, number: int) -> list[bytes]:
        return challenge(request, number, **more)

    async with place(again, "127.0.0.50") as trunk, gateway(tmp_path, trunk) as app:
        assert 400 <= await call(app) < 500
        invites = [one for one in trunk.requests if one.method == "INVITE"]
        registers = [one for one in trunk.requests if one.method == "REGISTER"]
        assert 2 <= len(invites) <= 8
        assert 2 <= len(registers) <= 8


@pytest.mark.parametrize("step", [100_000, 1])
async def test_a_trunk_that_wants_ever_longer_registrations_is_asked_twice_at_most(tmp_path: Path, step: int) -> None:
    """423 with more than a day, or with a second more each time; meanwhile the gateway serves others."""

    def brief(request: Request, number: int) -> list[bytes]:
        wanted = str((request.expires or 0) + step)
        return [build.response(request, 423, to_tag="t", headers=[("Min-Expires", wanted)]).write()]

    async with place(brief, "127.0.0.56") as trunk, gateway(tmp_path, trunk) as app:
        assert await call(app, "600") == 200
        assert 1 <= len([one for one in trunk.requests if one.method == "REGISTER"]) <= 2


@by_row(
    "nonsense",
    [
        [b"\x00\xff" * 50],
        [b"SIP/2.0 200\r\n\r\n"],
        [b"SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n"] * 20,
    ],
)
async def test_nonsense_is_no_answer_and_harms_nobody(tmp_path: Path, nonsense: list[bytes]) -> None:
    """The gateway serves others meanwhile: its own echo answers."""
    async with place(lambda request, number: nonsense, "127.0.0.51") as trunk, gateway(tmp_path, trunk) as app:
        assert await call(app, "600") == 200


async def test_a_redirection_never_takes_the_account_along(tmp_path: Path) -> None:
    """Who is named instead, where the caller may call and the trunk may not, hears nothing, and gets no digest."""
    async with place(challenge, THIEF) as thief:
        host, port = thief.address

        def redirect(request: Request, number: int) -> list[bytes]:
            contact = f"<sip:4711@{host}:{port}>"
            return [build.response(request, 302, to_tag="t", headers=[("Contact", contact)]).write()]

        async with place(redirect, "127.0.0.53") as trunk, gateway(tmp_path, trunk, f"{host}:{port}") as app:
            assert await call(app) >= 400
        await thief.drained()
        assert thief.requests == []


@pytest.mark.parametrize("to_us", [False, True])
async def test_a_trunk_that_redirects_for_ever_is_followed_a_few_times(tmp_path: Path, to_us: bool) -> None:
    """To another number of its own each time, and to those that were asked; `sip.max_diversions` says how often.

    To a number of ours that only the caller's own account leads to it sends nobody.
    """

    def redirect(request: Request, number: int) -> list[bytes]:
        if request.method != "INVITE":
            return []
        assert request.contact is not None
        place = request.contact.uri if to_us else request.uri
        host, port = place.host, place.port
        contact = ", ".join(f"<sip:{user}@{host}:{port}>" for user in (f"{4711 + number}", "4711", "4712"))
        return [build.response(request, 302, to_tag="t", headers=[("Contact", contact)]).write()]

    async with place(redirect, "127.0.0.58") as trunk, gateway(tmp_path, trunk) as app:
        assert await call(app) >= 400
        asked = [str(one.uri.user) for one in trunk.requests if one.method == "INVITE"]
        assert (1 if to_us else 2) <= len(asked) <= (1 if to_us else app.config.sip.max_diversions + 1)
        assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("challenges", [0, 1])
async def test_a_far_end_behind_the_trunk_gets_no_digest_of_the_account(tmp_path: Path, challenges: int) -> None:
    """The trunk's answer names another host as Contact: what goes there in the dialog is not signed, asked or not."""
    async with place(challenge, THIEF) as thief:
        contact = "<sip:4711@{}:{}>".format(*thief.address)

        def answer(request: Request, number: int) -> list[bytes]:
            if request.method != "INVITE":
                return []
            if challenges and not request.authorization:
                return challenge(request, number)
            body, fields = SDP.format(host="127.0.0.53").encode(), [("Contact", contact)]
            sdp = "application/sdp"
            return [build.response(request, 200, to_tag="t", headers=fields, body=body, content_type=sdp).write()]

        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await agent.start()
        try:
            async with place(answer, "127.0.0.53") as trunk, gateway(tmp_path, trunk) as app:
                phone = Phone(agent, app, "1001", dials="4711")
                assert await phone.status() == 200
                await thief.asked("ACK")
                assert [one.method for one in trunk.signed if one.method != "REGISTER"] == ["INVITE"] * challenges
                phone.session.hangup()
                await thief.asked("BYE")
        finally:
            await agent.close()
        await thief.drained()
        assert [one.method for one in thief.requests] == ["ACK", "BYE"]
        assert thief.signed == []


async def test_whoever_challenges_the_digest_goes_to_the_registrar(tmp_path: Path) -> None:
    """Another address of the trunk may answer (RFC 3261 17.1.3); what answers that goes to where the request went."""
    async with place(lambda request, number: [], "127.0.0.54") as other:
        asked = asyncio.Event()

        def through_another(request: Request, number: int) -> list[bytes]:
            for each in challenge(request, number) if number < 4 else []:
                via = request.via[0]
                other.transport.sendto(each, (via.host, via.port or 5060))
            if request.authorization:
                asked.set()
            return []

        both = ["127.0.0.54", "127.0.0.55"]
        async with place(through_another, "127.0.0.55") as trunk, gateway(tmp_path, trunk, sources=both):
            await asyncio.wait_for(asked.wait(), 30)
        assert other.requests == []


class Notifier(Place):
    """A PBX that takes a subscription and then says again and again how somebody is."""

    def __init__(self) -> None:
        super().__init__(self._subscribe)
        self.answered: Counter[int] = Counter()
        """Its NOTIFYs, by status."""
        self.subscription: Request | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data.startswith(b"SIP/2.0"):
            self.answered[status_of(data)] += 1
            self.news.set()
        else:
            super().datagram_received(data, addr)

    def _subscribe(self, request: Request, number: int) -> list[bytes]:
        self.subscription = self.subscription or (request if request.method == "SUBSCRIBE" else None)
        contact = [("Contact", "<sip:pbx@{}:{}>".format(*self.address)), ("Expires", "600")]
        return [build.response(request, 200, to_tag="pbx", headers=contact).write()]

    async def floods(self, gateway: tuple[str, int], notifies: int) -> None:
        """As fast as they are answered, some at once."""
        asked = self.subscription
        assert asked is not None
        assert asked.contact is not None
        host, port = self.address
        head = (
            f"NOTIFY {asked.contact.uri} SIP/2.0\r\nMax-Forwards: 70\r\nFrom: {asked.to.with_tag('pbx')}\r\n"
            f"To: {asked.from_}\r\nCall-ID: {asked.call_id}\r\nContact: <sip:pbx@{host}:{port}>\r\nEvent: presence\r\n"
            f"Subscription-State: active;expires=600\r\nContent-Type: application/pidf+xml\r\nContent-Length: 5\r\n"
        )
        async with asyncio.timeout(60):
            for number in range(1, notifies + 1):
                via = f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bKflood{number}"
                self.transport.sendto(f"{head}{via}\r\nCSeq: {number} NOTIFY\r\n\r\n{number:05}".encode(), gateway)
                while number - self.answered.total() >= 50 or (number == notifies and self.answered.total() < number):
                    self.news.clear()
                    await self.news.wait()


async def test_a_thousand_notifies_are_a_few_for_the_phone_and_harm_nobody(tmp_path: Path) -> None:
    """Each is answered, and the gateway serves others meanwhile. (Ten thousand of them: test_relay.py.)"""
    heard: list[bytes] = []

    def told(event: SubscriberEvent) -> None:
        if isinstance(event, Notified):
            heard.append(event.body)

    async with at(Notifier, "127.0.0.57") as trunk, gateway(tmp_path, trunk, sources=["127.0.0.57"]) as app:
        host, _, port = app.sip_hostport.rpartition(":")
        phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await phone.start()
        try:
            phone.subscribe(
                f"sip:4711@{app.sip_hostport}",
                "presence",
                told,
                caller=f"<sip:1001@{app.config.domain}>",
                credentials=Credentials("1001", PASSWORDS["1001"]),
            )
            await trunk.asked("SUBSCRIBE")
            began = time.monotonic()
            flood = asyncio.create_task(trunk.floods((host, int(port)), _NOTIFIES))
            echo = Phone(phone, app, "1001", dials="600")
            assert await echo.status() == 200
            echo.session.hangup()
            await flood
            took = time.monotonic() - began
            assert trunk.answered == {200: _NOTIFIES}
            await until(lambda: heard[-1:] == [b"01000"])
            assert len(heard) <= 3 + took / app.config.presence.notify_interval
        finally:
            await phone.close()
