"""A configuration that is changed while the gateway runs: what is applied, what waits, and that no call notices."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from gateway.app import GatewayApp
from gateway.app.reload import LIVE, Reloaded, changes
from gateway.config import Config, checked, shape
from gateway.demo.chromium import BrowserError
from gateway.errors import ConfigError
from gateway.identity.directory import Directory
from gateway.identity.model import Credential
from gateway.identity.store import StoreError
from gateway.log import configure
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.store.identity_memory import MemoryStore
from tests.app import tone_peers
from tests.app.phones import SDP, Phone
from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.call.rig import OFFER
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.media.engine_support import until
from tests.net.certificates import Authority
from tests.net.peers import Application, answering
from tests.rows import by_row

ECHO = [{"match": "600", "to": "service:echo"}]
TONE = [{"match": "600", "to": "service:tone"}, {"match": "700", "to": "service:tone"}]


def users(*names: str, **more: dict[str, Any]) -> list[dict[str, Any]]:
    """Phones, and alice with a page, by their passwords of the tests."""
    found = []
    for name in names:
        kind = {"sip": True} if name.isdigit() else {"web": True}
        found.append({"id": name, "password": PASSWORDS[name], **kind, **more.get(f"of_{name}", {})})
    return found


class World:
    """A gateway, the configuration that it reads at its next reload, and a user agent that is every phone."""

    def __init__(self, config: Config, agent: UserAgent) -> None:
        self.next: Config | ConfigError = config
        self.app = GatewayApp(config, reread=self._reread)
        self.agent = agent

    def _reread(self) -> Config:
        if isinstance(self.next, ConfigError):
            raise self.next
        return self.next

    async def reload(self, **sections: Any) -> Reloaded:
        """Have these sections of the configuration changed, keys within them one by one."""
        self.next = self.changed(**sections)
        return await self.app.reloader.reload()

    def changed(self, **sections: Any) -> Config:
        """The configuration with these sections changed so."""
        values: dict[str, Any] = self.app.config.model_dump(by_alias=True)
        values["users"] = [user.model_dump() for user in self.app.config.users]
        for name, section in sections.items():
            values[name] = {**values[name], **section} if isinstance(section, dict) else section
        return checked(Config(**values))

    async def status(self, user: str, number: str) -> int:
        """What becomes of a call, which is hung up on and over when this returns."""
        before = {call.id for call in self.app.calls}
        phone = Phone(self.agent, self.app, user, dials=number)
        status = await phone.status()
        phone.session.hangup()
        for call in self.app.calls:
            if call.id not in before:
                await call.finished()
        return status

    async def health(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as http:
            return dict((await http.get(f"{self.app.page_url}healthz")).json())

    async def conditions(self, word: str) -> list[str]:
        """What /healthz says with that word in it."""
        return [sentence for sentence in (await self.health())["conditions"] if word in sentence]


@asynccontextmanager
async def world(folder: Path, **changed: str) -> AsyncIterator[World]:
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    made = World(config_on_free_ports(folder, **{"ROUTES": json.dumps(ECHO), "LIMITS__LOAD": "0", **changed}), agent)
    await made.app.start()
    await agent.start()
    try:
        yield made
    finally:
        await agent.close()
        await made.app.stop()


def config(**values: Any) -> Config:
    return checked(Config.model_validate(values))


def test_every_key_that_is_applied_is_a_key() -> None:
    """A misspelt one would wait for a restart for ever."""
    for key in LIVE:
        section: Any = Config
        for part in key.split("."):
            assert part in shape.keys(section), key
            section = shape.section(shape.keys(section)[part].annotation) or section


def test_the_documentation_lists_what_is_applied() -> None:
    """Key by key."""
    text = (Path(__file__).parents[2] / "docs/deployment.md").read_text()
    listed = text.split("Applied at once")[1].split("```text\n")[1].split("```")[0].split()
    assert listed == sorted(LIVE)


def test_keys_are_told_apart_and_what_waits_keeps_its_value() -> None:
    """In one section, too; equal values are no change, secrets neither."""
    trunk = {"name": "t", "uri": "sip:t.test", "username": "u", "password": "p"}
    before = config(limits={"max_calls": 5}, trunks=[trunk])
    after = config(
        limits={"max_calls": 7, "ladder_memory": 0},
        trunks=[trunk],
        web={"listen": "127.0.0.1:9", "guests": "off"},
    )
    found = changes(before, after)
    assert set(found.applied) == {"limits.max_calls", "web.guests"}
    assert set(found.waiting) == {"limits.ladder_memory", "web.listen"}
    assert found.config.limits.max_calls == 7
    assert found.config.limits.ladder_memory == before.limits.ladder_memory
    assert found.config.web.listen == before.web.listen
    assert changes(found.config, after).applied == ()
    assert changes(before, before).waiting == ()


def test_other_certificates_are_taken_up_and_the_first_takes_a_restart(tmp_path: Path) -> None:
    """A listener that has none speaks no TLS."""
    one, two = ({"cert": str(tmp_path / name), "key": str(tmp_path / "key")} for name in ("one", "two"))
    assert changes(config(web={"tls": one}), config(web={"tls": two})).applied == ("web.tls.cert",)
    assert set(changes(config(), config(web={"tls": two})).waiting) == {"web.tls.cert", "web.tls.key"}
    assert set(changes(config(web={"tls": one}), config()).waiting) == {"web.tls.cert", "web.tls.key"}


def test_a_configuration_that_is_whole_only_after_a_restart_is_refused_by_the_key_that_cannot_be() -> None:
    """An alias of the domain that is to be is nobody's yet; here it is somebody's of the domain that is."""
    before = config(users=users("1001"))
    after = config(domain="b.test", users=users("1001", "1002", of_1002={"aliases": ["sip:1001@gateway.local"]}))
    with pytest.raises(ConfigError) as refused:
        changes(before, after)
    assert refused.value.key == "users.1.aliases.0"
    assert refused.value.reason == "'sip:1001@gateway.local' already means user '1001', until a restart applies domain"


async def test_a_gateway_that_was_reloaded_goes_by_what_one_that_is_started_anew_goes_by(tmp_path: Path) -> None:
    """Room by room, each of which is told of another configuration by a line of its own."""
    trunk = {"name": "office", "uri": "sip:127.0.0.9", "options_interval": 0}
    async with world(tmp_path) as at:
        before = goes_by(at.app)
        await at.reload(
            limits={"max_calls": 7, "load": 0.5, "delay": 0.5, "max_call_duration": 60},
            rtp={"srtp": "required", "media_timeout": 7, "latching": "off"},
            sip={
                "proxies": ["192.0.2.0/24"],
                "limits": {"failed_logins": 3, "requests_per_second": 7},
                "registration": {"max_contacts": 2},
                "bans": {"time": 7},
                "ring_timeout": 7,
            },
            codecs={"rtp": ["pcmu"]},
            web={"guests": "on", "guests_may_call": ["600"]},
            voicemail={"users": ["1001"], "after": 7},
            trunks=[trunk],
            routes=TONE,
        )
        after, wanted = goes_by(at.app), at.app.config
    assert [room for room in before if before[room] == after[room]] == []
    anew = GatewayApp(wanted)
    await anew.start()
    try:
        assert goes_by(anew) == after
    finally:
        await anew.stop()


def goes_by(app: GatewayApp) -> dict[str, Any]:
    """What each room that a reload tells goes by."""
    rooms = app.reloader._rooms
    engine = rooms.engine
    assert isinstance(engine, EmbeddedEngine)
    return {
        "trunks": dict(rooms.trunks),
        "trunk accounts": rooms.known_trunks._accounts,
        "routes": rooms.router._routes,
        "calls": rooms.calls._settings,
        "call limits": rooms.calls._admission.limits,
        "guests": rooms.rights.guests_may_call,
        "load": rooms.load.policy,
        "voicemail": rooms.voicemail.settings,
        "engine": engine.config,
        "rtp": rooms.front.rtp,
        "lock-out": rooms.gatekeeper.guesses.policy,
        "proxies": "192.0.2.7" in rooms.gatekeeper.proxies,
        "bans": rooms.bans._policy,
        "registrar": rooms.registrar.policy,
        "flood": rooms.user_agent._core.stack.admission._limits,
        "ringing": rooms.user_agent._core.config.longest_ringing,
    }


async def test_the_log_says_as_much_as_it_is_asked_for(tmp_path: Path) -> None:
    """Less at once, and more again."""
    stream = io.StringIO()
    close = configure("info", stream=stream)
    try:
        async with world(tmp_path) as at:
            for level in ("error", "warning"):
                await at.reload(log={"level": level})
                structlog.get_logger().warning(f"said while it is to say {level}")
    finally:
        close()
    assert "while it is to say warning" in stream.getvalue()
    assert "while it is to say error" not in stream.getvalue()


async def test_a_reload_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what the first read, which a store was slow to take, came into force after what the second read."""
    asked, answers = asyncio.Event(), asyncio.Event()
    configure_directory = Directory.configure

    async def slow(self: Directory, *given: Any) -> None:
        if not asked.is_set():
            asked.set()
            await answers.wait()
        await configure_directory(self, *given)

    async with world(tmp_path) as at:
        monkeypatch.setattr(Directory, "configure", slow)
        first = asyncio.ensure_future(at.reload(routes=ECHO, limits={"max_calls": 7}))
        await asked.wait()
        second = asyncio.ensure_future(at.reload(routes=TONE))
        await asyncio.wait((second,), timeout=1)  # as long as one that does not wait may take
        answers.set()
        await asyncio.gather(first, second)
        assert len(at.app.config.routes) == len(TONE)
        assert await at.status("1001", "700") == 200


async def test_a_call_hears_through_reloads_that_take_its_user_and_its_route(tmp_path: Path) -> None:
    """The user can call no more; what was being said is heard, until the phone itself hangs up."""
    async with world(tmp_path, USERS=json.dumps(users("1001", "1002"))) as at:
        phone = tone_peers.Phone(at.agent, at, "1001")
        assert await phone.dial("600") == 200
        mine = {tone_peers.TONES["1001"]}
        await until(lambda: phone.hears() == mine)
        for _ in range(2):
            found = await at.reload(users=users("1002"), routes=TONE, codecs={"rtp": ("pcma",)})
        assert found.applied == ()
        assert await at.status("1001", "700") in (401, 403)
        phone.rtp.packets.clear()
        await until(lambda: phone.hears() == mine)
        assert len(at.app.calls) == 1
        await phone.hang_up()
        await until(lambda: not len(at.app.calls))


async def test_users_routes_and_limits_hold_at_once(tmp_path: Path) -> None:
    """Who is new may call, a password that is another counts, and a limit is the new one."""
    async with world(tmp_path, USERS=json.dumps(users("1001"))) as at:
        assert await at.status("1002", "600") in (401, 403)
        assert await at.status("1001", "700") == 404
        found = await at.reload(users=users("1001", "1002"), routes=TONE)
        assert set(found.applied) == {"users", "routes"}
        assert await at.status("1002", "700") == 200
        await at.reload(users=users("1001", "1002", of_1002={"password": "another one"}))
        assert await at.status("1002", "700") in (401, 403)
        await at.reload(users=users("1001", "1002"), limits={"max_calls": 1})
        held = Phone(at.agent, at.app, "1002", dials="700")
        assert await held.status() == 200
        assert await at.status("1001", "700") == 503
        await at.reload(limits={"max_calls": 2})
        assert await at.status("1001", "700") == 200
        await at.reload(users=users("1001", "1002", of_1001={"may_call": ["600"]}))
        assert await at.status("1001", "700") == 403


async def test_how_long_a_client_over_websocket_is_waited_for_changes_at_once(tmp_path: Path) -> None:
    """Its BYE waits for it by the grace that was read last."""
    async with world(tmp_path, SIP__REGISTRATION__WEBSOCKET_GRACE="0") as at:
        registration = at.app.config.sip.registration.model_dump() | {"websocket_grace": 60.0}
        assert (await at.reload(sip={"registration": registration})).applied == ("sip.registration.websocket_grace",)
        url, domain = at.app.page_url.replace("http", "ws", 1) + "sip", at.app.config.domain
        client = await WebSocketPhone.open(url, "1001", domain, PASSWORDS["1001"])
        assert (await client.register()).status == 200
        echo, body = Uri.of("600", domain), SDP.format(port=40000).encode()
        assert (await client.ask("INVITE", echo, echo, NameAddr.parse(f"<{CONTACT}>"), body)).status == 200
        await client.close()
        [call] = at.app.calls
        call.stop()
        await call.finished()
        back = await WebSocketPhone.open(url, "1001", domain, PASSWORDS["1001"])
        assert (await back.register()).status == 200
        await back.send(build.response(await back.request("BYE"), 200))
        await back.close()


async def test_messages_are_logged_once_each_however_often_debug_is_asked_for(tmp_path: Path) -> None:
    """And no more once it is not."""
    async with world(tmp_path) as at:
        taps = at.app._user_agent.taps
        before = taps._taps
        for _ in range(2):
            await at.reload(log={"level": "debug"})
        assert len(taps._taps) == len(before) + 1
        await at.reload(log={"level": "info"})
        assert taps._taps == before


async def test_what_cannot_be_used_changes_nothing_and_is_said(tmp_path: Path) -> None:
    """Until a reload that can be; keys that take a restart are named, and no more once they are as they were."""
    async with world(tmp_path, USERS=json.dumps(users("1001"))) as at:
        good = at.app.config
        at.next = ConfigError("routes.0.to", "there is no trunk 'secret'")
        with pytest.raises(ConfigError):
            await at.app.reloader.reload()
        assert [one for one in await at.conditions("routes.0.to") if "secret" not in one]
        assert at.app.config is good
        assert await at.status("1001", "600") == 200
        found = await at.reload(web={"listen": "127.0.0.1:1"}, routes=TONE)
        assert (found.applied, found.waiting) == (("routes",), ("web.listen",))
        [said] = await at.conditions("restart")
        assert "web.listen" in said
        assert at.app.config.web.listen == good.web.listen
        at.next = good
        assert (await at.app.reloader.reload()).waiting == ()
        assert [*await at.conditions("restart"), *await at.conditions("reloaded")] == []


@by_row("written", [0, 1, 2])
async def test_a_reload_that_the_store_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """However far it came, the old file put back holds, and so does the new one when it is tried again."""
    before, after = users("1001", "1002"), users("1001", of_1001={"password": "another", "may_call": ["1*"]})
    after += [{"id": "1003", "password": "third", "sip": True}]
    puts = 0

    async def failing(self: MemoryStore, credential: Credential) -> None:
        nonlocal puts
        puts += 1
        if puts > written:
            raise StoreError("no connection")
        await put(self, credential)

    async with world(tmp_path, USERS=json.dumps(before)) as at:
        good, store = at.app.config, at.app.reloader._rooms.store
        kept = dict(store.credentials)
        put = MemoryStore.put_credential
        with monkeypatch.context() as away:
            away.setattr(MemoryStore, "put_credential", failing)
            with pytest.raises(ConfigError, match=r"identity\.store"):
                await at.reload(users=after)
        assert at.app.config is good
        at.next = good
        await at.app.reloader.reload()
        for name in ("1001", "1002", "1003"):
            assert await store.credential(name, good.realm) == kept.get(name)
        assert await at.status("1001", "600") == 200
        assert await at.status("1002", "600") == 200
        await at.reload(users=after)
        assert await at.status("1001", "600") in (401, 403)
        assert await store.credential("1002", good.realm) is None


async def test_what_a_refused_reload_has_written_is_taken_back_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store fails for a moment alone, phones sign with what the configuration in force says."""
    before, after = users("1001", "1002"), users("1001", of_1001={"password": "another"})
    put, puts = MemoryStore.put_credential, 0

    async def fails_once(self: MemoryStore, credential: Credential) -> None:
        nonlocal puts
        puts += 1
        if puts == 2:
            raise StoreError("no connection")
        await put(self, credential)

    async with world(tmp_path, USERS=json.dumps(before)) as at:
        store, realm = at.app.reloader._rooms.store, at.app.config.realm
        kept = {name: await store.credential(name, realm) for name in ("1001", "1002")}
        with monkeypatch.context() as away:
            away.setattr(MemoryStore, "put_credential", fails_once)
            with pytest.raises(ConfigError, match=r"identity\.store"):
                await at.reload(users=after)
        assert puts > 2
        assert {name: await store.credential(name, realm) for name in kept} == kept


async def test_pages_of_a_password_that_a_failed_reload_has_written_sign_in_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the same file is taken at the next try."""
    after = [*users("alice", of_alice={"password": "another"}), {"id": "zoe", "password": "last", "sip": True}]
    put = MemoryStore.put_credential

    async def failing(self: MemoryStore, credential: Credential) -> None:
        if "zoe" in tried or credential.username == "zoe":
            tried.add("zoe")
            raise StoreError("no connection")
        await put(self, credential)

    tried: set[str] = set()
    async with world(tmp_path, USERS=json.dumps(users("alice"))) as at, tone_peers.Browser("alice") as page:
        await page.open(at.app.signed_in_url("alice"))
        await until_users(at, 1)
        with monkeypatch.context() as away:
            away.setattr(MemoryStore, "put_credential", failing)
            with pytest.raises(ConfigError):
                await at.reload(users=after)
        assert (await at.health())["web_users"] == 1
        await at.reload(users=after)
        await until_users(at, 0)


async def test_reloads_at_once_come_one_after_the_other_and_while_it_drains(tmp_path: Path) -> None:
    """The last one holds, and a gateway that ends goes on to end."""
    async with world(tmp_path, USERS=json.dumps(users("1001"))) as at:
        phone = Phone(at.agent, at.app, "1001")
        assert await phone.status() == 200
        draining = asyncio.ensure_future(at.app.drain())
        await asyncio.sleep(0)
        await asyncio.gather(*(at.reload(users=users("1001"), routes=routes) for routes in (TONE, ECHO, TONE)))
        assert [route.to for route in at.app.config.routes] == ["service:tone"] * 2
        assert at.app.calls.draining
        assert await at.status("1001", "700") == 503
        phone.session.hangup()
        await asyncio.wait_for(draining, 30)


async def test_a_reload_whose_file_does_not_answer_is_refused_and_the_next_reads_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for meanwhile, one thread waits for the file; what it read is not what is asked for."""
    monkeypatch.setattr("gateway.reading.PATIENCE", 0.1)
    async with world(tmp_path) as at:
        answers, read = threading.Event(), []

        def slow() -> Config:
            read.append(config := at._reread())
            answers.wait(30)
            return config

        monkeypatch.setattr(at.app.reloader, "_reread", slow)
        for _ in range(3):
            with pytest.raises(ConfigError, match="does not answer"):
                await at.reload(routes=TONE)
        assert len(read) == 1
        assert await at.conditions("was not reloaded")
        answers.set()
        monkeypatch.setattr("gateway.reading.PATIENCE", 30.0)
        assert (await at.reload(routes=ECHO, limits={"max_calls": 7})).applied == ("limits.max_calls",)
        assert not await at.conditions("was not reloaded")


@pytest.mark.parametrize("named", [True, False])
async def test_a_certificate_that_does_not_answer_holds_no_reload_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """One that the reload names for the first time has it refused, one that is in use is said to be as it was."""
    monkeypatch.setattr("gateway.reading.PATIENCE", 1.5)
    cert, key = Authority(tmp_path).issue("127.0.0.1")
    async with world(tmp_path, WEB__TLS__CERT=str(cert), WEB__TLS__KEY=str(key)) as at:
        pipe = tmp_path / "other.pem" if named else cert
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        rescue = threading.Timer(20, lambda: os.close(os.open(pipe, os.O_RDWR)))  # else nothing ended the test
        rescue.start()
        began = time.monotonic()
        if named:
            with pytest.raises(ConfigError, match=r"web\.tls: its files do not answer"):
                await at.reload(web={"tls": {"cert": str(pipe), "key": str(key)}})
        else:
            assert "web.tls: its files do not answer" in (await at.app.reloader.reload()).certificates[0]
        assert time.monotonic() - began < 10
        rescue.cancel()
        os.close(os.open(pipe, os.O_WRONLY))


async def test_a_reload_that_is_refused_between_two_others_costs_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three are asked for at once: the last one holds, and the refusal is named no more."""
    async with world(tmp_path) as at:
        first, last = ([{"match": number, "to": "service:tone"}] for number in ("701", "702"))
        files: list[Config | ConfigError] = [
            at.changed(routes=first),
            ConfigError("routes.0.to", "there is no such trunk"),
            at.changed(routes=last),
        ]
        found: list[Config] = []

        def read() -> Config:
            at.next = files.pop(0)
            found.append(at._reread())
            return found[-1]

        monkeypatch.setattr(at.app.reloader, "_reread", read)
        outcomes = await asyncio.gather(*(at.app.reloader.reload() for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in outcomes] == [Reloaded, ConfigError, Reloaded]
        assert [route.match for route in at.app.config.routes] == ["702"]
        assert at.app.reloader.refused is None
        assert [config.routes[0].match for config in found] == ["701", "702"]


async def test_pages_sign_in_anew_once_they_do_not_talk(tmp_path: Path) -> None:
    """One without a call at once; one with a call goes on, calls nobody else, and is shown out at its end."""
    async with (
        world(tmp_path, USERS=json.dumps(users("alice", "bob")), ROUTES=json.dumps(TONE)) as at,
        tone_peers.Browser("alice") as talking,
        tone_peers.Browser("bob") as idle,
    ):
        await talking.open(at.app.signed_in_url("alice"))
        await idle.open(at.app.signed_in_url("bob"))
        await talking.dial("700")
        await talking.status("talking")
        await at.reload(users=users("1001"))
        await until_users(at, 1)
        assert len(at.app.calls) == 1
        with pytest.raises(BrowserError):
            await talking.ask("offer", to_peer_id="600", sdp=OFFER, type="offer")
        assert len(at.app.calls) == 1
        [call] = at.app.calls
        await talking.hang_up()
        await call.finished()
        await until_users(at, 0)


async def until_users(at: World, count: int) -> None:
    """So many pages are signed in."""
    async with asyncio.timeout(30):
        while (await at.health())["web_users"] != count:  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.02)


async def test_trunks_come_and_go(tmp_path: Path) -> None:
    """Calls go out by one that is new, and come in from it; by one that is gone nothing goes."""
    provider = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application(answering))
    await provider.start()
    [(_, host, port)] = provider.listening
    trunk = {"name": "office", "uri": f"sip:{host}:{port}", "options_interval": 0}
    way = [{"match": "0*", "to": "trunk:office"}]
    async with world(tmp_path, USERS=json.dumps(users("1001", of_1001={"may_call": ["*", "trunk:*"]}))) as at:
        assert await at.status("1001", "0123") == 404
        await at.reload(trunks=[trunk], routes=way)
        assert await at.status("1001", "0123") == 200
        await at.reload(trunks=[{**trunk, "max_calls": 1}], routes=way)
        held = Phone(at.agent, at.app, "1001", dials="0123")
        assert await held.status() == 200
        assert await at.status("1001", "0124") == 503
        await at.reload(trunks=[], routes=ECHO)
        assert len(at.app.calls) >= 1
        assert await at.status("1001", "0123") == 404
        held.session.hangup()
        await until(lambda: not len(at.app.calls))
    await provider.close()


async def test_a_certificate_that_cannot_be_used_is_named_and_another_file_refused(tmp_path: Path) -> None:
    """The one that is shown stays; a reload that names other files wants them to be good."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    async with world(tmp_path, WEB__TLS__CERT=str(cert), WEB__TLS__KEY=str(key)) as at:
        shown = cert.read_bytes()
        cert.write_text("nonsense")
        found = await at.app.reloader.reload()
        assert [sentence for sentence in found.certificates if "web.tls" in sentence]
        with pytest.raises(ConfigError) as refused:
            await at.reload(web={"tls": {"cert": str(tmp_path / "none.pem"), "key": str(key)}})
        assert refused.value.key == "web.tls"
        cert.write_bytes(shown)
        at.next = at.app.config
        assert not [one for one in (await at.app.reloader.reload()).certificates if "web.tls" in one]
