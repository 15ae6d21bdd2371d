"""A user takes a call of their own over with another phone (INVITE with Replaces, RFC 3891), on the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from tests.app.phones import Phone, name_of
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import Application, Recorder
from tests.rows import by_row


@by_row(
    ("user", "change", "status"),
    [("1001", "", 200), ("1002", "", 403), ("1001", ";early-only", 486), ("1001", "x", 481)],
)
async def test_only_the_same_user_takes_a_call_over(tmp_path: Path, user: str, change: str, status: int) -> None:
    """The old session gets a BYE and the call goes on with the new one; everybody else changes nothing."""
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    try:
        first = Phone(agent, app, "1001")
        assert await first.status() == 200
        second = Phone(agent, app, user, first.name + change)
        assert await second.status() == status
        assert len(app.calls) == 1
        if status == 200:
            await asyncio.wait_for(first.over, 30)
            [call] = app.calls
            assert any(leg.is_named(second.dialog) for leg in call.legs)
        else:
            assert not first.over.done()
    finally:
        await agent.close()
        await app.stop()


@by_row(
    ("user", "groups", "change", "status"),
    [
        ("1002", "", ";early-only", 200),
        ("1003", "sales", "", 200),
        ("1003", "sales", ";early-only", 200),
        ("1003", "support", "", 403),
        ("1003", "", "", 403),
        ("1003", "sales", "x", 481),
    ],
)
async def test_a_ringing_call_is_picked_up_by_the_same_user_or_its_group(
    tmp_path: Path, user: str, groups: str, change: str, status: int
) -> None:
    """Whoever picks up talks with the caller, and the phone that rang is cancelled; others change nothing."""
    changes = {"USERS__1002__PICKUP_GROUPS": "sales, all", "USERS__1003__PICKUP_GROUPS": groups}
    app = GatewayApp(config_on_free_ports(tmp_path, **{key: value for key, value in changes.items() if value}))
    await app.start()
    ringing: asyncio.Future[tuple[IncomingSession, Recorder]] = asyncio.get_running_loop().create_future()

    def rings(session: IncomingSession, recorder: Recorder) -> None:
        session.ring(180)
        ringing.set_result((session, recorder))

    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application(rings))
    await agent.start()
    try:
        credentials = Credentials("1002", PASSWORDS["1002"])
        aor = f"sip:1002@{app.config.domain}"
        registration = await agent.register(f"sip:{app.sip_hostport}", aor=aor, credentials=credentials)
        caller = Phone(agent, app, "1001", dials="1002")
        session, callee = await asyncio.wait_for(ringing, 30)
        picker = Phone(agent, app, user, name_of(session) + change)
        assert await picker.status() == status
        assert len(app.calls) == 1
        if status == 200:
            assert await caller.status() == 200
            assert await callee.wait(events.Ended) == events.Ended("remote", cause=200, text="Call completed elsewhere")
            [call] = app.calls
            assert any(leg.is_named(picker.dialog) for leg in call.legs)
            caller.session.hangup()
            await asyncio.wait_for(picker.over, 30)
        else:
            assert not caller.outcome.done()
        await registration.unregister()
    finally:
        await agent.close()
        await app.stop()


@by_row(("group", "change", "status"), [("sales", "", 200), ("sales", ";early-only", 486), ("support", "", 403)])
async def test_a_talk_is_taken_over_by_the_group_of_who_talks(
    tmp_path: Path, group: str, change: str, status: int
) -> None:
    """Who talked is hung up on, and nobody takes that place again; others change nothing."""
    groups = {"USERS__1001__PICKUP_GROUPS": "sales", "USERS__1003__PICKUP_GROUPS": group}
    app = GatewayApp(config_on_free_ports(tmp_path, **groups))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    try:
        first = Phone(agent, app, "1001")
        assert await first.status() == 200
        name = first.name
        second = Phone(agent, app, "1003", name + change)
        assert await second.status() == status
        assert len(app.calls) == 1
        if status == 200:
            await asyncio.wait_for(first.over, 30)
            [call] = app.calls
            assert any(leg.is_named(second.dialog) for leg in call.legs)
            assert await Phone(agent, app, "1003", name).status() == 481
        else:
            assert not first.over.done()
    finally:
        await agent.close()
        await app.stop()


async def test_of_two_phones_that_take_a_talk_over_at_once_one_has_it(tmp_path: Path) -> None:
    """The other is refused, and the one who came in talks on."""
    groups = {"USERS__1001__PICKUP_GROUPS": "sales", "USERS__1003__PICKUP_GROUPS": "sales"}
    app = GatewayApp(config_on_free_ports(tmp_path, **groups))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    try:
        talks = Phone(agent, app, "1001")
        assert await talks.status() == 200
        both = [Phone(agent, app, "1003", talks.name) for _ in range(2)]
        statuses = [await phone.status() for phone in both]
        assert sorted(statuses) in ([200, 480], [200, 481])
        comes = both[statuses.index(200)]
        await asyncio.wait_for(talks.over, 30)
        [call] = app.calls
        assert any(leg.is_named(comes.dialog) for leg in call.legs)
        assert not comes.over.done()
    finally:
        await agent.close()
        await app.stop()


async def test_the_dialog_of_a_caller_who_waits_is_not_to_be_replaced(tmp_path: Path) -> None:
    """Only early dialogs of INVITEs that we sent are (RFC 3891 section 3)."""
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application(lambda session, _: session.ring(180)))
    await agent.start()
    try:
        credentials = Credentials("1002", PASSWORDS["1002"])
        await agent.register(f"sip:{app.sip_hostport}", aor=f"sip:1002@{app.config.domain}", credentials=credentials)
        caller = Phone(agent, app, "1001", dials="1002")
        await asyncio.wait_for(caller.rings, 30)
        assert await Phone(agent, app, "1001", caller.name).status() == 481
    finally:
        await agent.close()
        await app.stop()
