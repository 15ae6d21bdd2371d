"""Transfers that a trunk carries out itself, at the whole gateway (trunks[].transfer, RFC 3515, RFC 5589)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.invite.events import Answered, Confirmed, Ended, Failed
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.referral import Referral, Referred
from tests.app.phones import SDP, Phone
from tests.interop.gateway import config_on_free_ports
from tests.media.engine_support import until
from tests.net.peers import Application, Recorder, answering, port_of, started
from tests.rows import by_row


class Rig:
    """1001 talks with a number behind a trunk."""

    def __init__(self, app: GatewayApp, far: Application, phone: Phone, theirs: Recorder, place: str) -> None:
        self.app = app
        self.far = far
        self.phone = phone
        self.theirs = theirs
        self.place = place
        self.heard: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()

    def transfer(self, to: str) -> None:
        """1001 wants the other side to talk with that number."""
        uri = Uri.parse(f"sip:{to}@{self.app.sip_hostport}")
        self.phone.session.refer(uri, lambda status, of_refer: self.heard.put_nowait((status, of_refer)))

    async def told(self) -> tuple[int, bool]:
        return await asyncio.wait_for(self.heard.get(), 30)

    async def finally_told(self) -> tuple[int, bool]:
        """The first word that is no progress."""
        while (said := await self.told())[0] < 200:
            pass
        return said

    async def referred(self) -> Referral:
        """What the trunk was asked for."""
        event = await self.theirs.wait(Referred)
        assert isinstance(event, Referred)
        return event.referral


@asynccontextmanager
async def talking(folder: Path, transfer: str = "pass_on") -> AsyncIterator[Rig]:
    far = Application(answering)
    trunk, caller = await started(far), await started(Application())
    place = f"127.0.0.1:{port_of(trunk, 'udp')}"
    trunks = [{"name": "office", "uri": f"sip:{place}", "options_interval": 0, "transfer": transfer}]
    routes = [{"match": "0*", "to": "trunk:office", "strip": 1}, {"match": "601", "to": "service:tone"}]
    app = GatewayApp(config_on_free_ports(folder, TRUNKS=json.dumps(trunks), ROUTES=json.dumps(routes)))
    await app.start()
    agents: tuple[UserAgent, ...] = (caller, trunk)
    try:
        phone = Phone(caller, app, "1001", dials="0900")
        assert await phone.status() == 200
        theirs = await far.calls.get()
        await theirs.wait(Confirmed)
        yield Rig(app, far, phone, theirs, place)
        async with asyncio.timeout(30):
            phone.session.hangup()
            await asyncio.gather(*(call.finished() for call in app.calls))
    finally:
        for agent in agents:
            await agent.close()
        await app.stop()


async def test_a_trunk_is_asked_and_tells_and_is_left_alone(tmp_path: Path) -> None:
    """REFER with the trunk's own number; its progress reaches who asked, then both calls are over."""
    async with talking(tmp_path) as rig:
        rig.transfer("0901")
        referral = await rig.referred()
        assert str(referral.target) == f"sip:901@{rig.place}"
        referral.accept()
        assert await rig.told() == (100, True)
        referral.progress(180)
        assert await rig.told() == (180, False)
        referral.finish(200)
        assert await rig.told() == (200, False)
        await rig.theirs.wait(Ended)
        await asyncio.wait_for(rig.phone.over, 30)
        assert rig.far.calls.empty()


@pytest.mark.parametrize(("status", "told"), [(486, 486), (481, 480)])
async def test_a_transfer_that_fails_at_the_trunk_leaves_the_call(tmp_path: Path, status: int, told: int) -> None:
    """Who asked hears why; and may ask again. A 481 is a failure as any other."""
    async with talking(tmp_path) as rig:
        rig.transfer("0901")
        referral = await rig.referred()
        referral.accept()
        referral.finish(status)
        assert [await rig.told(), await rig.told()] == [(100, True), (told, False)]
        assert len(rig.app.calls) == 1
        rig.theirs.events.clear()
        rig.transfer("0902")
        (await rig.referred()).refuse(403)
        assert not rig.phone.over.done()


@pytest.mark.parametrize("refuse", [lambda referral: referral.refuse(405), lambda referral: referral.refuse(603)])
async def test_a_trunk_that_will_not_leaves_it_to_the_gateway(
    tmp_path: Path, refuse: Callable[[Referral], None]
) -> None:
    """The number is called by the gateway, and the two talk by it."""
    async with talking(tmp_path) as rig:
        rig.transfer("0901")
        refuse(await rig.referred())
        again = await asyncio.wait_for(rig.far.calls.get(), 30)
        assert isinstance(again.session, IncomingSession)
        assert again.session.request.uri.user == "901"
        assert await rig.finally_told() == (200, False)
        again.session.hangup()
        await rig.theirs.wait(Ended)


@pytest.mark.parametrize(("transfer", "to"), [("gateway", "0901"), ("pass_on", "601")])
async def test_what_is_not_the_trunks_business_is_carried_out_here(tmp_path: Path, transfer: str, to: str) -> None:
    """The default, and somebody who is not behind the trunk."""
    async with talking(tmp_path, transfer) as rig:
        rig.transfer(to)
        assert await rig.finally_told() == (200, False)
        assert not any(isinstance(event, Referred) for event in rig.theirs.events)
        rig.theirs.session.hangup()


async def test_a_second_transfer_waits_for_nobody(tmp_path: Path) -> None:
    """One at a time: 491 (RFC 3261 14.1's word for it); who is not answered in time hears so."""
    async with talking(tmp_path) as rig:
        rig.transfer("0901")
        referral = await rig.referred()
        referral.accept()
        assert await rig.told() == (100, True)
        rig.transfer("0902")
        assert await rig.told() == (491, True)
        referral.finish(200)
        assert await rig.told() == (200, False)


async def test_a_trunk_that_hangs_up_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """Who asked hears that nobody knows how it went; the last word after the BYE is for nobody."""
    async with talking(tmp_path) as rig:
        rig.transfer("0901")
        referral = await rig.referred()
        referral.accept()
        assert await rig.told() == (100, True)
        rig.theirs.session.hangup()
        assert await rig.told() == (487, False)
        await asyncio.wait_for(rig.phone.over, 30)
        referral.finish(200)


class Consulting:
    """1001 talks with a number behind a trunk, at an address of its own, and with the tone, whom it has consulted."""

    def __init__(
        self, app: GatewayApp, trunk: UserAgent, caller: UserAgent, theirs: Recorder, phones: list[Phone]
    ) -> None:
        self.app = app
        self.trunk, self.caller = trunk, caller
        self.theirs = theirs
        self.phone, self.consulted = phones
        self.heard: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()

    async def asks(self) -> Referral:
        """1001 wants the two connected; what the trunk is asked for."""
        replaces = quote(self.consulted.name, safe="")
        uri = Uri.parse(f"sip:601@{self.app.sip_hostport}?Replaces={replaces}")
        self.phone.session.refer(uri, lambda status, of_refer: self.heard.put_nowait((status, of_refer)))
        event = await self.theirs.wait(Referred)
        assert isinstance(event, Referred)
        return event.referral

    async def told(self) -> tuple[int, bool]:
        return await asyncio.wait_for(self.heard.get(), 30)

    async def calls(self, referral: Referral, user: str | None = None, sdp: str = SDP) -> int:
        """What becomes of the trunk's INVITE with the Replaces that it was told."""
        uri = referral.target.without_headers()
        session = self.trunk.invite(
            replace(uri, user=user) if user is not None else uri,
            caller="<sip:900@pbx.test>",
            body=sdp.format(port=40010).encode(),
            headers=(("Replaces", str(referral.replaces)),),
        )
        outcome = await Recorder(session).wait_for_one_of(Answered, Failed)
        return outcome.status if isinstance(outcome, Failed) else 200


@asynccontextmanager
async def consulting(folder: Path, transfer: str) -> AsyncIterator[Consulting]:
    far = Application(answering)
    trunk = UserAgent(UserAgentConfig(listen=(("127.0.0.2", 0),)), far)
    await trunk.start()
    caller = await started(Application())
    trunks = [
        {
            "name": "office",
            "uri": f"sip:127.0.0.2:{port_of(trunk, 'udp')}",
            "sources": ["127.0.0.2"],
            "options_interval": 0,
            "transfer": transfer,
        }
    ]
    routes = [{"match": "0*", "to": "trunk:office", "strip": 1}, {"match": "601", "to": "service:tone"}]
    app = GatewayApp(config_on_free_ports(folder, TRUNKS=json.dumps(trunks), ROUTES=json.dumps(routes)))
    await app.start()
    try:
        phones = [Phone(caller, app, "1001", dials=number) for number in ("0900", "601")]
        for phone in phones:
            assert await phone.status() == 200
        theirs = await far.calls.get()
        await theirs.wait(Confirmed)
        yield Consulting(app, trunk, caller, theirs, phones)
    finally:
        for agent in (caller, trunk):
            await agent.close()
        await app.stop()


async def test_a_trunk_calls_whom_the_transferor_has_consulted(tmp_path: Path) -> None:
    """Refer-To with a Replaces that is good for it alone, for that user, and once: then both calls of 1001 are over."""
    async with consulting(tmp_path, "pass_on_attended") as at:
        referral = await at.asks()
        assert (referral.target.user, referral.target.port) == ("tone", at.app.config.sip.listen[0].port)
        assert referral.replaces is not None
        assert str(referral.replaces) != at.consulted.name
        referral.accept()
        assert await at.told() == (100, True)
        other = Phone(at.caller, at.app, "1002", str(referral.replaces), dials="601")
        assert await other.status() == 403
        assert await at.calls(referral, user="602") == 403
        assert await at.calls(referral) == 200
        assert isinstance(await asyncio.wait_for(at.consulted.over, 30), Ended)
        assert await at.calls(referral) == 481
        referral.finish(200)
        assert await at.told() == (200, False)
        await asyncio.wait_for(at.phone.over, 30)
        await at.theirs.wait(Ended)
        await until(lambda: len(at.app.calls) == 1)
        [call] = at.app.calls
        assert "trunk:office" in [leg.identity for leg in call.legs]


async def test_a_trunk_that_comes_too_late_or_will_not_come_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """481 once its time is over; the failure that it tells leaves both calls, and one that refuses leaves it to us."""
    monkeypatch.setattr("gateway.call.grants.LIFETIME", 0.0)
    async with consulting(tmp_path, "pass_on_attended") as at:
        referral = await at.asks()
        referral.accept()
        assert await at.told() == (100, True)
        assert await at.calls(referral) == 481
        referral.finish(481)
        assert await at.told() == (480, False)
        assert len(at.app.calls) == 2
        at.theirs.events.clear()
        (await at.asks()).refuse(405)
        assert await at.told() == (100, True)
        assert await at.told() == (200, False)
        await until(lambda: len(at.app.calls) == 1)
        assert not any(isinstance(event, Ended) for event in at.theirs.events)


async def test_a_trunk_that_has_called_and_hangs_up_without_a_word_was_transferred(tmp_path: Path) -> None:
    """Its BYE before its last NOTIFY: the transferor hears what became of it. Of two INVITEs at once one is taken."""
    async with consulting(tmp_path, "pass_on_attended") as at:
        referral = await at.asks()
        referral.accept()
        assert await at.told() == (100, True)
        assert sorted(await asyncio.gather(at.calls(referral), at.calls(referral))) == [200, 481]
        at.theirs.session.hangup()
        assert await at.told() == (200, False)
        await until(lambda: len(at.app.calls) == 1)


@by_row("says", ["200", "486", "nothing"])
async def test_a_trunk_whose_media_was_refused_has_not_taken_the_place(tmp_path: Path, says: str) -> None:
    """Whatever it says, and where it hangs up without a word; of who did not even come as well."""
    async with consulting(tmp_path, "pass_on_attended") as at:
        referral = await at.asks()
        referral.accept()
        assert await at.told() == (100, True)
        if says != "200":
            assert await at.calls(referral, sdp=SDP.replace("IP4 127.0.0.1", "IP6 ::1")) == 488
        if says == "nothing":
            at.theirs.session.hangup()
            assert await at.told() == (487, False)
            await asyncio.wait_for(at.phone.over, 30)
        else:
            referral.finish(int(says))
            assert await at.told() == (480 if says == "200" else 486, False)
            assert len(at.app.calls) == 2
        assert not at.consulted.over.done()


async def test_what_a_trunk_was_told_is_good_for_nothing_once_its_transfer_has_failed(tmp_path: Path) -> None:
    """Within its time, too."""
    async with consulting(tmp_path, "pass_on_attended") as at:
        referral = await at.asks()
        referral.accept()
        assert await at.told() == (100, True)
        referral.finish(486)
        assert await at.told() == (486, False)
        assert await at.calls(referral) == 481
        assert len(at.app.calls) == 2


async def test_by_default_and_with_pass_on_alone_attended_transfers_are_connected_here(tmp_path: Path) -> None:
    """No REFER reaches the trunk."""
    async with consulting(tmp_path, "pass_on") as at:
        replaces = quote(at.consulted.name, safe="")
        uri = Uri.parse(f"sip:601@{at.app.sip_hostport}?Replaces={replaces}")
        at.phone.session.refer(uri, lambda status, of_refer: at.heard.put_nowait((status, of_refer)))
        assert await at.told() == (100, True)
        assert await at.told() == (200, False)
        assert not any(isinstance(event, Referred) for event in at.theirs.events)
