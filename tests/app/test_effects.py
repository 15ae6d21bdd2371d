"""Every key of the configuration changes what the gateway is made of (a key that reached nothing went unseen)."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import httpx
import pytest
import websockets
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console

import gateway.commands.run
import gateway.media.choice
from gateway.access.own_names import OwnNames
from gateway.app import GatewayApp, media_settings, room_settings, settings
from gateway.app.observers import collecting, recording
from gateway.app.web_front import WebFront
from gateway.call.leg import Address
from gateway.call.routing import RouteError, SipTarget
from gateway.cluster.settings import cluster, shared_key
from gateway.config import Config, checked, load, shape
from gateway.config.markdown import markdown
from gateway.demo.aiortc_browser import AiortcBrowser
from gateway.dialing.incoming import SipFront
from gateway.dialing.outgoing import GatewayDialer
from gateway.errors import ConfigError
from gateway.identity import passwords
from gateway.legs.sip_sessions import CalleeSession
from gateway.legs.web_clients import Presence
from gateway.media.choice import PlaneChoice, choose, maker
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.ice_servers import IceServers
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.net.outbound import Outbound, OutboundRegistration
from gateway.net.registration import Registration
from gateway.observe.tracing import tracing
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.store.factory import store_named
from gateway.store.identity_memory import MemoryStore
from gateway.testing.leg import FakeLeg
from gateway.trunks.accounts import Accounts
from gateway.trunks.known import Trunks
from gateway.trunks.own_accounts import OwnAccounts
from gateway.trunks.reachability import Reachability
from gateway.trunks.registrations import Registrations
from gateway.web.facade import GUEST, AccountError
from tests.app.shown_keys import SHOWN
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.rows import by_row

BASE: dict[str, Any] = {
    "sip": {
        "advertised": "203.0.113.1:5060",
        "realm": "realm.test",
        "tls": {
            "cert": "/no/sip.pem",
            "key": "/no/sip.key",
            "ca": "/no/ca.pem",
            "certificates": [{"cert": "/no/more.pem", "key": "/no/more.key"}],
        },
    },
    "web": {
        "guests": "on",
        "ice_servers": [
            {"urls": ["turn:turn.test:3478"], "username": "u", "credential": "c"},
            {"urls": ["turn:secret.test"]},
        ],
        "ice_service_token": "token",
        "oidc": {"issuer": "https://login.test", "client_secret": "one"},
        "tls": {"cert": "/no/cert.pem", "key": "/no/key.pem"},
    },
    "webrtc": {
        "turn_server": "turn:other.test:3478",
        "turn_username": "u",
        "turn_credential": "c",
        "turn_secret": "kJ7-qZ4_wT9x",
    },
    "cluster": {"node": "sip:10.0.0.1:5060", "key": "the-key-of-a-cluster-in-these-tests"},
    "users": [
        {
            "id": "1001",
            "sip": True,
            "web": True,
            "password": "wT9x-kJ7_qZ4",
            "account": {"registrar": "office", "username": "201", "password": "pw201"},
        }
    ],
    "identity": {"rules": [{"sip": "sip:1{user}@*", "web": "{user}"}]},
    "messages": {"store": "sqlite:messages.sqlite"},
    "groups": [{"name": "desk", "members": ["1001"]}],
    "routes": [{"match": "0*", "to": "trunk:office"}, {"match": "9*", "to": "trunk:other"}],
    "trunks": [
        {"name": "office", "uri": "sip:pbx.test:5070", "username": "gw", "password": "pw", "register": True},
        {
            "name": "other",
            "uri": "sip:other.test",
            "username": "gw2",
            "register": True,
            "outbound_proxies": ["sip:edge.test"],
        },
    ],
    "emergency": {"numbers": ["112"], "trunk": "office"},
    "rooms": [{"name": "team", "pin": "1234", "members": ["1001"]}],
    "agents": [{"name": "bot", "token": "kJ7-qZ4_wT9x", "may_call": ["1*"]}],
}
"""A configuration in which every section and kind of entry is there."""

OTHER: dict[str, Any] = {
    "domain": "other.test",
    "also_domains": ["further.test"],
    "sip.listen": ["tcp:127.0.0.2:5070"],
    "sip.advertised": "203.0.113.9:5099",
    "sip.outbound_proxy": "sip:edge.test",
    "sip.tls.certificates": [],
    "sip.registration.digest_algorithms": ["SHA-256", "MD5"],
    "limits.load": 0.5,
    "limits.plane_load": 0.5,
    "sip.bans.scanners": ["port-scanner*"],
    "media.ice_peers_allowed": ["192.0.2.0/24"],
    "sip.bans.never": ["192.0.2.0/24"],
    "sip.proxies": ["192.0.2.0/24"],
    "web.listen": "[::1]:8081",
    "web.also_listen": ["127.0.0.1:8000"],
    "web.public_url": "https://phone.test",
    "web.allowed_origins": ["https://a.test"],
    "web.proxies": ["127.0.0.9"],
    "web.push_services": ["https://push.test"],
    "web.push_contact": "mailto:other@test",
    "web.guests": "off",
    "web.guests_may_call": ["602"],
    "web.staff_names": ["boss"],
    "web.open_rooms": "off",
    "web.oidc.issuer": "https://other.test",
    "web.oidc.scopes": "openid",
    "cdr.webhook": "https://other.test",
    "otel.endpoint": "http://collector.test:4318",
    "otel.headers": "x-key=value",
    "otel.sample": 0.5,
    "hep.collector": "192.0.2.9:9060",
    "web.ice_servers": [],
    "web.ice_servers[].urls": ["stun:stun.test"],
    "webrtc.listen": "127.0.0.2:40001",
    "webrtc.advertised": ["203.0.113.2:4000"],
    "webrtc.stun_server": "stun:stun.test",
    "webrtc.turn_server": "turn:turn2.test",
    "webrtc.srtp_profiles": ["SRTP_AES128_CM_HMAC_SHA1_80"],
    "rtp.listen": "127.0.0.2",
    "conference.numbers": "8100-8199",
    "rtp.advertised": "media.test",
    "rtp.ports": "20000-20099",
    "codecs.webrtc": ["pcma"],
    "codecs.rtp": ["pcmu"],
    "users": [],
    "users[].id": "1002",
    "users[].aliases": ["2001"],
    "users[].may_call": ["600"],
    "identity.rules": [],
    "identity.rules[].sip": "sip:2{user}@*",
    "identity.rules[].web": "w{user}",
    "identity.store": "memory",
    "routes": [],
    "routes[].to": "service:echo",
    "trunks": [],
    "trunks[].name": "office2",
    "trunks[].uri": "sip:pbx2.test",
    "trunks[].fallback_uris": ["sip:pbx2.test"],
    "trunks[].outbound_proxy": "sip:sbc.test",
    "trunks[].outbound_proxies": ["sip:sbc.test", "sip:edge.test"],
    "trunks[].sources": ["192.0.2.0/24"],
    "trunks[].codecs": ["pcma"],
    "trunks[].srtp": "required",
    "trunks[].register": False,
    "rtp.srtp": "required",
    "rtp.srtp_keying": ["dtls"],
    "rtp.srtp_suites": ["AES_256_CM_HMAC_SHA1_80"],
    "accounts.registrars": ["office"],
    "users[].account.registrar": "other",
    "emergency.numbers": ["911"],
    "rooms": [],
    "agents": [],
    "agents[].url": "wss://agent.test",
    "agents[].token": "another",
    "agents[].may_call": ["2*"],
    "rooms[].pin": "4321",
    "rooms[].max_members": 7,
    "rooms[].max_videos": 3,
    "rooms[].members": ["trunk:other"],
    "rooms[].moderators": ["1001"],
    "rooms[].video": ["vp8"],
    "recording.calls": ["*"],
    "voicemail.users": ["*"],
    "voicemail.greeting": "/no/greeting.wav",
    "recording.digits": "*1",
    "recording.channels": 1,
    "emergency.trunk": "other",
    "media.engine": "rtpengine:127.0.0.1:2223",
    "media.rtpengine_renumbers": False,
    "media.rtpengine_records": True,
    "users[].pickup_groups": ["desk"],
    "groups": [{"name": "desk", "members": ["1001"], "time": 7}],
    "groups[].members": ["1001", "1001"],
    "codecs.passed": ["g729"],
    "video.codecs": ["vp8"],
    "media.plane_gather": 0.002,
    "messages.content_types": ["text/plain"],
    "messages.store": "memory",
    "limits.max_calls": 7,
    "limits.calls_per_second": 7,
    "limits.guest_calls": 7,
    "trunks[].max_calls": 1,
    "cluster.node": "sip:10.0.0.2:5060",
    "cluster.journal": "redis://10.0.0.9:6379/0",
    "log.file": "other.log",
}
"""Values of the keys whose kind does not say one."""

ELSEWHERE = {
    "users[].ha1.md5": "test_a_digest_takes_the_place_of_the_password",
    "users[].ha1.sha_256": "test_a_digest_takes_the_place_of_the_password",
    "users[].ha1.sha_512_256": "test_a_digest_takes_the_place_of_the_password",
    "sip.registration.strong_digest_agents": "test_a_user_agent_that_copes_is_asked_for_more",
    "trunks[].crlf_interval": "test_a_trunk_is_sent_keep_alives_where_it_wants_them",
    "version": "test_a_configuration_for_a_newer_gateway_is_refused",
    "metrics.enabled": "test_figures_are_served_where_they_are_wanted",
    "metrics.sources": "test_figures_are_served_where_they_are_wanted",
    "limits.ladder_memory": "test_messages_of_calls_are_kept_where_there_is_memory_for_them",
    "limits.keep_calls": "test_calls_are_written_down_where_that_is_wanted",
    "limits.drain_timeout": "test_pages_and_peers_are_told_how_long_the_gateway_drains",
}
"""Keys whose effect is no value that something is made of, and the test of this file that shows it."""

MET = frozenset({"front", "dialled", "page", "challenges", "who is who", "where the page is", "tls"})
"""What peers, pages and operators meet themselves; the others are settings, which tests of their rooms show at work."""

SHOWN_KEYS = [key for keys in SHOWN.values() for key in keys]
TESTS = Path(__file__).parents[1]

REACHES = {
    "domain": "own names, registrar, web, waking, user agent, front",
    "also_domains": "own names, registrar",
    "state_dir": "web, waking, plane, store",
    "sip.listen": "own names, registrar, user agent",
    "sip.advertised": "own names, registrar, user agent",
    "sip.realm": "challenges, trunk accounts",
    "sip.ring_timeout": "calls, user agent, dialled",
    "web.public_url": "web, where the page is",
    "webrtc.setup_timeout": "engine, rtpengine",
    "rtp.media_timeout": "engine, rtpengine",
    "rtp.held_timeout": "engine, rtpengine",
    "rtp.unreachable_timeout": "engine, rtpengine",
    "rtp.srtp": "front, dialled",
    "rtp.srtp_keying": "dialled",
    "media.rtpengine_renumbers": "rtpengine",
    "media.rtpengine_records": "rtpengine",
    "rtp.srtp_suites": "engine, rtpengine",
    "codecs.webrtc": "engine, rtpengine",
    "codecs.rtp": "engine, rtpengine",
    "codecs.telephone_event": "engine, rtpengine",
    "codecs.transcode": "engine, rtpengine",
    "users": "users, who is who, front",
    "users[].id": "users, who is who, front",
    "users[].display_name": "users, who is who, front",
    "users[].aliases": "users, who is who",
    "users[].web": "users, who is who",
    "users[].sip": "users, who is who, front",
    "users[].may_call": "users, who is who, front",
    "users[].max_calls": "users, who is who, front",
    "users[].role": "users, who is who",
    "trunks": "trunk places, trunk accounts, front, dialled",
    "trunks[].name": "trunk places, trunk accounts, front, dialled",
    "trunks[].uri": "trunk places, front, dialled",
    "trunks[].username": "trunk accounts, dialled",
    "trunks[].password": "trunk accounts, dialled",
    "trunks[].register": "trunk accounts, dialled",
    "trunks[].sources": "trunk accounts, user agent",
    "trunks[].codecs": "front, dialled",
    "trunks[].srtp": "front, dialled",
    "trunks[].max_calls": "front, dialled",
    "limits.max_calls": "call limits, engine, rtpengine",
    "recording.min_free": "recordings, voicemail",
}
"""What each of the keys reaches that count in more than one room: none of them may be forgotten."""

_WITHOUT_ACCOUNT = {name: value for name, value in BASE["users"][0].items() if name != "account"}

WITH: dict[str, dict[str, Any]] = {
    "users": {"groups": [], "rooms": []},
    "users[].id": {"groups": [], "rooms": []},
    "trunks[].name": {"routes": [], "emergency": {}, "users": [_WITHOUT_ACCOUNT]},
    "trunks": {"routes": [], "emergency": {}, "users": [_WITHOUT_ACCOUNT]},
    "identity.store": {"cluster": {}},
    "cluster.mutual_tls": {
        "cluster": {"node": "sips:10.0.0.1:5061", "key": "the-key-of-a-cluster-in-these-tests"},
        "sip": {
            "tls": {"cert": "/no/sip.pem", "key": "/no/sip.key", "ca": "/no/ca.pem", "client_certificates": "optional"}
        },
    },
    "cdr.keep": {"cdr": {"enabled": True}},
    "cdr.webhook_secret": {"cdr": {"webhook": "https://billing.test"}},
    "otel.headers": {"otel": {"endpoint": "http://collector.test"}},
    "otel.sample": {"otel": {"endpoint": "http://collector.test"}},
    "otel.queue": {"otel": {"endpoint": "http://collector.test"}},
    "hep.capture_id": {"hep": {"collector": "192.0.2.5:9060"}},
    "hep.password": {"hep": {"collector": "192.0.2.5:9060"}},
    "hep.report_interval": {"hep": {"collector": "192.0.2.5:9060"}},
    "sip.session_timer.min_se": {"sip": {"session_timer": {"expires": 1800}}},
}
"""What has to change along with a key so that the configuration stays whole."""


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that has a value, those of list entries as `trunks[].name`."""
    for name, field in shape.keys(model).items():
        full = f"{path}{name}"
        section, item = shape.section(field.annotation), shape.item(field.annotation)
        if section is not None:
            yield from leaves(section, f"{full}.")
            continue
        yield full, field
        if item is not None and shape.section(item) is not None:
            yield from leaves(cast(type[BaseModel], shape.section(item)), f"{full}[].")


KEYS = dict(leaves(Config))


def other_value(key: str, field: FieldInfo, now: Any) -> Any:
    """A value of this key that differs from `now`."""
    if key in OTHER:
        return OTHER[key]
    kind = shape.bare(field.annotation)
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != now)
    if kind is bool:
        return not now
    if kind in (int, float):
        return now + 1
    return f"{now}x" if isinstance(now, str) else "/no/other" if kind is Path else "something"


def changed(key: str) -> Config:
    """BASE with that one key changed."""
    data = copy.deepcopy(BASE)
    for section, value in WITH.get(key, {}).items():
        data[section] = value
    place: Any = data
    now: Any = checked(Config(**copy.deepcopy(BASE)))
    *parts, last = key.split(".")
    for part in parts:
        name, entry, _ = part.partition("[]")
        now = getattr(now, name)
        place = place.setdefault(name, {})
        if entry:
            place, now = place[0], now[0]
    now = getattr(now, {"register": "register_account"}.get(last, last))
    now = now.get_secret_value() if isinstance(now, SecretStr) else now
    place[last] = other_value(key, KEYS[key], now)
    return checked(Config(**data))


def plain(value: Any) -> Any:
    """A value as text that shows all of it, secrets included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What is not given to it is made of what is, some of it only when it is asked for.
        given = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: plain(getattr(value, name)) for name in given}
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return value.name if isinstance(value, Enum) else str(value)


class Recorder:
    """Takes every call and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.given.append((args, named))
        return self

    def invite(self, target: object, **details: Any) -> CalleeSession:
        self.given.append((target, details))
        return cast(CalleeSession, self)

    def listen(self, handler: object) -> None: ...

    async def register(self, registrar: Uri | str, *others: Uri | str, **named: Any) -> Registration:
        self.given.append((registrar, others, {name: value for name, value in named.items() if name != "answered"}))
        raise OSError("no network here")

    async def register_by_flows(self, outbound: Outbound, *registrars: Uri | str, **named: Any) -> OutboundRegistration:
        shown = {name: value for name, value in named.items() if name != "answered"}
        self.given.append((outbound, registrars, shown))
        raise OSError("no network here")

    async def unregister(
        self, registration: Registration | OutboundRegistration, *, is_others: bool = False
    ) -> None: ...

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]:
        return ()


class FromTrunk(FakeLeg):
    """A leg whose far end is a trunk."""

    def __init__(self, trunk: str | None) -> None:
        super().__init__("far")
        self._identity = f"trunk:{trunk}"


class Stopped(Exception):
    """Far enough."""


def made_of(config: Config) -> Iterator[tuple[str, Any]]:
    """What each room is told, as far as it is values."""
    yield "own names", OwnNames.of(config)
    yield "routes", settings.routes(config)
    yield "oidc", settings.oidc(config)
    yield "groups", settings.groups(config, config.identity_map())
    yield "rooms", [room_settings.room(config, name) for name in ("team", "team2", "other")]
    yield "room members", room_settings.room_members(config)
    yield "voicemail", room_settings.voicemail(config)
    said = config.announcements
    yield "announcements", [said.files, said.longest, said.max_calls, [one.announcements for one in config.every_trunk]]
    yield "room limits", room_settings.room_limits(config)
    roles = [room_settings.may_open(config, role) for role in ("user", "operator", "admin")]
    yield "rooms of users", [room_settings.personal(config), roles]
    yield "recordings", room_settings.recordings(config)
    yield "agents", room_settings.agents(config)
    yield "sounds", room_settings.sounds(config)
    yield "calls", settings.call_settings(config)
    yield "call limits", settings.call_limits(config)
    yield "trunk places", settings.trunk_places(config)
    yield "emergency", settings.emergency(config)
    digest = settings.digest(config, bytes(32))
    yield "challenges", [str(one) for one in digest.challenges(0.0, salt=b"", source="192.0.2.7")]
    yield "nonces", digest.policy
    yield "registrar", settings.registrar_policy(config)
    yield "recording", recording(config)
    yield "collecting", collecting(config)
    yield "tracing", tracing(config)
    yield "lock-out", settings.lock_out(config)
    yield "bans", settings.bans(config)
    yield "load", settings.load(config)
    yield "trunk accounts", settings.trunk_accounts(config)
    asked = [(one.options_interval, one.options_timeout) for one in config.every_trunk]
    yield "questions to trunks", [config.sip.limits.options_per_second, asked]
    yield "web", settings.web(config)
    yield "waking", settings.waking(config)
    yield "presence", settings.presence(config)
    yield "pick-up groups", [(user.id, user.pickup_groups) for user in config.identity_users()]
    yield "messages", settings.messages(config)
    keeping = settings.keeping(config)
    yield "kept messages", [keeping and keeping.limit, type(keeping and keeping.store).__name__]
    yield "user agent", settings.user_agent(config)
    yield "engine", engine_of(config)
    media = config.media.model_copy(update={"engine": "rtpengine:127.0.0.1:2223"})
    yield "rtpengine", engine_of(config.model_copy(update={"media": media}))
    yield "plane", plane_of(config)
    yield "users", [config.identity_users(), config.passwords_wanted()]
    identity = config.identity_map()
    yield "who is who", [str(identity.find(name)) for name in ("11001", "21001", "1001", "w1001", "1002", "2001")]
    store = store_named(config.identity.store, config.state_dir)
    yield "store", [type(store).__name__, config.sqlite_path]
    yield "cluster", [cluster(config), config.cluster.key and shared_key(config, "any")]
    yield "where the page is", [GatewayApp(config).page_url, [str(address) for _, address in config.web.listeners]]
    settings.tls(config)
    yield "tls", cast(Recorder, ssl.SSLContext.load_cert_chain).given.pop()


def engine_of(config: Config) -> Any:
    engine = media_settings.engine(config, time.monotonic)
    assert isinstance(engine, EmbeddedEngine | RtpengineEngine)
    return [type(engine).__name__, engine.config]


def plane_of(config: Config) -> Any:
    """Which plane is chosen, and what the native one is started with."""
    try:
        chosen = str(choose(config, lambda: None))
    except ConfigError as error:
        chosen = str(error)
    maker(config, PlaneChoice(native=True, reason="", program=Path("gateway-plane")), time.monotonic)
    return [chosen, cast(Recorder, vars(gateway.media.choice)["PlaneProcess"]).given.pop()]


async def sides(config: Config) -> Iterator[tuple[str, Any]]:
    """What phones, trunks, and pages meet."""
    return iter([("front", front_of(config)), ("dialled", await dialled(config)), ("page", await page_of(config))])


def front_of(config: Config) -> Any:
    """Who calls in, as those who are called see it, and what its offer must be."""
    identity, trunks = config.identity_map(), {trunk.name: trunk for trunk in config.trunks}
    none: Any = None
    front = SipFront(identity, accounts_of(config), none, none, none, trunks, config.rtp, lambda: "t")
    uri = Uri.parse("sip:600@gw.test")
    sender = NameAddr(Uri.parse("sip:7;verstat=TN-Validation-Passed@pbx.test"))
    request = build.request("INVITE", uri, from_=sender, to=NameAddr(uri), call_id="c", cseq=1)
    callers = [*(f"trunk:{name}" for name in trunks), *(user.id for user in config.users)]
    return [[plain(front.caller(request, name)), front.srtp_policy(name), front.codecs(name)] for name in callers]


def accounts_of(config: Config) -> Accounts:
    accounts = Accounts(bytes(32))
    for account in settings.configured_accounts(config):
        accounts.put(account)
    return accounts


async def tried(accounts: OwnAccounts, number: int) -> str:
    """How far a user comes that brings an account."""
    given: dict[str, str | None] = {"registrar": "office", "username": "", "password": "pw"}
    try:
        await accounts.put("2002", given, by_user=True)
    except AccountError as refused:
        return str(refused)
    return "taken"


async def dialled(config: Config) -> Any:
    """What a call through each trunk is sent as, how many fit, and where we register."""
    sent = Recorder()
    dialer = GatewayDialer(
        config,
        config.identity_map(),
        accounts_of(config),
        Reachability(),
        MemoryStore(),
        Presence(),
        frozenset(),
        lambda: 0.0,
    )
    dialer.inviter = sent
    seen: list[Any] = []
    elsewhere = [SipTarget("sip:0900@elsewhere.test")]
    for target in (
        elsewhere
        + [SipTarget("0900", trunk=one.name) for one in config.trunks]
        + [SipTarget("0900", trunk=one.registrar, account=one.user) for one in accounts_of(config)]
    ):
        seen.append(dialer.passed_on(FromTrunk(target.trunk), target))
        for call in range(3):
            try:
                for leg in await dialer.legs(target, f"c{call}"):
                    await leg.invite("v=0\r\n", Address("sip:1001@gw.test"))
                    seen.append([plain(leg.party), plain(vars(leg)["_settings"])])
            except RouteError as error:
                seen.append(str(error))
    known = Trunks(settings.trunk_accounts(config))
    registrations = Registrations(sent, config.every_trunk, known, accounts_of(config))
    registrations.begin(config.accounts.register_expires, config.accounts.flows)
    await registrations.settled()
    return [seen, plain(sent.given)]


async def page_of(config: Config) -> Any:
    """What a page is told, and whom it lets in."""
    none: Any = None
    accounts = OwnAccounts(config, accounts_of(config), none, none, lambda: 0.0)
    known = config.identity_map()
    front = WebFront(
        config,
        known,
        accounts,
        Reachability(),
        none,
        none,
        lambda user, word: True,
        lambda: "t",
        users=none,
        conferencing=none,
    )
    changes = [await tried(accounts, number) for number in range(30)]
    return [
        front.list_registrars(),
        changes,
        IceServers(config, lambda: 0.0).told("1001"),
        IceServers(config, lambda: 0.0).told(GUEST),
        plain(await front.authenticate("guest", None)),
    ]


def started_log(config: Config, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How `gateway run` sets the log up."""
    given: list[Any] = []

    def configure(*args: Any) -> None:
        given.append(args)
        raise Stopped

    monkeypatch.setattr(gateway.commands.run, "configure_log", configure)
    with pytest.raises(Stopped):
        gateway.commands.run.run_gateway(config, Console())
    return given


async def picture(config: Config, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("gateway.media.choice.PlaneProcess", Recorder())
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", Recorder())
    values = {name: plain(value) for name, value in (*made_of(config), *await sides(config))}
    return {**values, "log": plain(started_log(config, monkeypatch))}


@by_row("key", [key for key in KEYS if key not in ELSEWHERE])
async def test_every_key_changes_what_the_gateway_is_made_of(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another value of one key is another gateway, beside what follows from the values that change along with it."""
    beside = copy.deepcopy(BASE) | WITH.get(key, {})
    before = await picture(checked(Config(**beside)), monkeypatch)
    after = await picture(changed(key), monkeypatch)
    reached = {room for room in before if before[room] != after.get(room)}
    assert reached, f"{key} reaches nothing"
    assert reached >= {*REACHES.get(key, "").split(", ")} - {""}
    assert reached & MET or key in SHOWN_KEYS, f"{key}: tests/app/shown_keys.py names no test that shows what it does"


def test_what_each_key_does_is_shown_by_a_test_that_is_there() -> None:
    """Every key is there once at most, and the tests that are named are."""
    assert [key for key in SHOWN_KEYS if key not in KEYS] == []
    assert len(SHOWN_KEYS) == len({*SHOWN_KEYS}), "a key is shown twice"
    texts = {file: (TESTS / file).read_text() for file in {test.partition("::")[0] for test in SHOWN}}
    for test in SHOWN:
        file, _, name = test.partition("::")
        assert f"def {name}(" in texts[file], test
    here = (TESTS / "app/test_effects.py").read_text()
    assert [test for test in ELSEWHERE.values() if f"def {test}(" not in here] == []


async def test_pictures_of_one_configuration_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a picture is chance, else every key would seem to have an effect."""
    config = checked(Config(**copy.deepcopy(BASE)))
    assert await picture(config, monkeypatch) == await picture(config, monkeypatch)


def test_every_key_is_documented() -> None:
    """docs/configuration.md has a row for it."""
    text = markdown()
    assert [key for key in KEYS if f"| `{key.replace('[].', '[].')}` |" not in text] == []


@pytest.mark.parametrize("interval", [0, 0.01])
async def test_a_trunk_is_sent_keep_alives_where_it_wants_them(tmp_path: Path, interval: float) -> None:
    """trunks[].crlf_interval: datagrams of a double CRLF, beside nothing; without it, none."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trunk:
        trunk.bind(("127.0.0.1", 0))
        trunk.setblocking(False)
        uri = f"sip:127.0.0.1:{trunk.getsockname()[1]}"
        places = [{"name": "office", "uri": uri, "options_interval": 0, "crlf_interval": interval}]
        app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps(places)))
        await app.start()
        try:
            if interval:
                assert [await asyncio.wait_for(loop.sock_recv(trunk, 64), 30) for _ in range(3)] == 3 * [b"\r\n\r\n"]
        finally:
            await app.stop()
        if not interval:
            with pytest.raises(BlockingIOError):
                trunk.recv(64)


@pytest.mark.parametrize(
    ("enabled", "sources", "status"),
    [("true", "127.0.0.0/8", 200), ("true", "192.0.2.0/24", 403), ("false", "127.0.0.0/8", 404)],
)
async def test_figures_are_served_where_they_are_wanted(
    tmp_path: Path, enabled: str, sources: str, status: int
) -> None:
    """/metrics is there for the addresses of metrics.sources, or it is not."""
    app = GatewayApp(config_on_free_ports(tmp_path, METRICS__ENABLED=enabled, METRICS__SOURCES=f'["{sources}"]'))
    await app.start()
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{app.page_url}metrics")
        assert answer.status_code == status
        assert (b"# TYPE" in answer.content) == (status == 200)
    finally:
        await app.stop()


@pytest.mark.parametrize("memory", [0, 1_000_000])
async def test_messages_of_calls_are_kept_where_there_is_memory_for_them(tmp_path: Path, memory: int) -> None:
    """limits.ladder_memory: /api/calls/{id} has the messages of the call, or none."""
    users = '[{"id": "alice", "web": true, "role": "operator"}]'
    app = GatewayApp(config_on_free_ports(tmp_path, USERS=users, LIMITS__LADDER_MEMORY=str(memory)))
    await app.start()
    try:
        async with AiortcBrowser(440) as browser, httpx.AsyncClient() as client:
            await browser.open(app.signed_in_url("alice"))
            await browser.dial("600")
            await browser.status("talking")
            headers = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
            (call,) = (await client.get(f"{app.page_url}api/calls", headers=headers)).json()["calls"]
            found = (await client.get(f"{app.page_url}api/calls/{call['id']}", headers=headers)).json()
            assert bool(found["messages"]) == bool(memory)
    finally:
        await app.stop()


@pytest.mark.parametrize("seconds", [7, 9])
async def test_pages_and_peers_are_told_how_long_the_gateway_drains(tmp_path: Path, seconds: int) -> None:
    """limits.drain_timeout, in a page's notification and in Retry-After."""
    app = GatewayApp(config_on_free_ports(tmp_path, LIMITS__DRAIN_TIMEOUT=str(seconds)))
    await app.start()
    try:
        async with websockets.connect(app.page_url.replace("http", "ws", 1) + "rpc") as page:
            await page.send('{"jsonrpc": "2.0", "id": 1, "method": "announce", "params": {"peer_id": "guest"}}')
            await page.recv()
            await app.drain()
            told = json.loads(await page.recv())
        assert told["params"] == {"seconds": seconds}
        assert app.calls.draining
    finally:
        await app.stop()


@by_row(("keep", "is_kept"), [("never", False), ("crash", True), ("restart", True)])
async def test_calls_are_written_down_where_that_is_wanted(tmp_path: Path, keep: str, is_kept: bool) -> None:
    """limits.keep_calls."""
    app = GatewayApp(config_on_free_ports(tmp_path, LIMITS__KEEP_CALLS=keep))
    await app.start()
    try:
        assert (tmp_path / "calls.journal").exists() is is_kept
        assert (app.calls.keep is not None) is is_kept
    finally:
        await app.stop()


@by_row(("key", "algorithm"), [("md5", "MD5"), ("sha_256", "SHA-256"), ("sha_512_256", "SHA-512-256")])
def test_a_digest_takes_the_place_of_the_password(key: str, algorithm: str) -> None:
    """users[].ha1: the password is neither made nor known, and what the store holds is what was given."""
    given = passwords.ha1("1001", "gw.test", "its-password")[algorithm]
    config = checked(Config(users=[{"id": "1001", "sip": True, "ha1": {key: given}}]))  # type: ignore[arg-type]
    assert (config.passwords_wanted(), config.digests()) == ({"1001": None}, {"1001": {algorithm: given}})
    with pytest.raises(ValidationError):
        Config(users=[{"id": "1001", "sip": True, "ha1": {key: given[:-1]}}])  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Config(users=[{"id": "1001", "sip": True, "ha1": {key: given}, "password": "x"}])  # type: ignore[arg-type]


@pytest.mark.parametrize(("agents", "algorithm"), [(["Good*"], "SHA-512-256"), ([], "MD5")])
def test_a_user_agent_that_copes_is_asked_for_more(agents: list[str], algorithm: str) -> None:
    """sip.registration.strong_digest_agents."""
    config = Config(sip={"registration": {"strong_digest_agents": agents}})  # type: ignore[arg-type]
    assert settings.algorithms(config).choose("Good phone", "192.0.2.7", None) == algorithm


def test_a_configuration_for_a_newer_gateway_is_refused(tmp_path: Path) -> None:
    """Before its unknown keys are complained of; one without a version is of the first."""
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 2\nkey_of_tomorrow: 1\n")
    with pytest.raises(ConfigError, match="newer gateway") as refused:
        load(path, {})
    assert refused.value.key == "version"
    path.write_text("domain: a.test\n")
    assert load(path, {}).version == 1
    path.write_text("version: 1\ndomain: a.test\n")
    assert load(path, {}) == Config(domain="a.test")
    path.write_text("version: 0\n")
    with pytest.raises(ConfigError, match="version"):
        load(path, {})
