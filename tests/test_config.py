"""The configuration as a whole: the file that ships, every key by environment, the reference."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.config import Advertised, Config, HostPort, PortRange, SipListen, load, shape, state_folder
from gateway.config.conference import AgentConfig, RoomConfig
from gateway.config.markdown import markdown, meanings
from gateway.config.people import IdentityRule, Route, Trunk, UserConfig
from gateway.errors import ConfigError
from tests.config_support import load_text
from tests.rows import by_row

ROOT = Path(__file__).parent.parent
READY_MADE = {
    "users": [
        {"id": "alice", "display_name": "Alice", "web": True},
        {"id": "1001", "display_name": "Desk phone", "sip": True},
    ]
}


def test_shipped_file_is_the_default_and_the_ready_made_users() -> None:
    """gateway.yaml says nothing but the defaults, plus alice and 1001."""
    assert load(ROOT / "gateway.yaml", {}) == Config.model_validate(READY_MADE)


def test_shipped_file_shows_every_key() -> None:
    """Each key stands in gateway.yaml, set or as a comment, and in the list entries too."""
    text = (ROOT / "gateway.yaml").read_text(encoding="utf-8")
    written = set(re.findall(r"^\s*(?:#\s*)?(?:-\s+)?(\w+):", text, re.MULTILINE))
    written |= set(re.findall(r"^#   (?:\w+, )?(\w+)  ", text, re.MULTILINE))
    entries = [
        key for entry in (UserConfig, IdentityRule, Route, RoomConfig, AgentConfig, Trunk) for key in shape.keys(entry)
    ]
    missing = {path[-1] for path, _ in shape.paths(Config)} | set(entries)
    assert missing - written == set()


def test_shipped_file_is_loopback_only() -> None:
    """Unchanged, the gateway can be reached from its own machine only."""
    config = load(ROOT / "gateway.yaml", {})
    hosts = {*(listen.host for listen in config.sip.listen), config.web.listen.host}
    assert hosts | {config.webrtc.listen.host, *config.rtp.listen} == {"127.0.0.1"}


def test_a_further_address_opens_the_gateway_to_the_network(tmp_path: Path) -> None:
    """Guests and rooms on "auto" are for this machine alone, whichever address it is that others can reach."""
    for host, here in (("127.0.0.1", True), ("[::1]", True), ("0.0.0.0", False), ("192.0.2.1", False)):
        web = load(None, {"GATEWAY_WEB__ALSO_LISTEN": f"127.0.0.1:8000,{host}:8001"}).web
        assert (web.only_here, web.guests_welcome, web.rooms_open) == (here, here, here)


def test_a_proxy_opens_the_gateway_to_the_network() -> None:
    """Guests and rooms on "auto" are closed there, also where the proxy says nothing of the clients it passes on."""
    for environ in (
        {"GATEWAY_WEB__PROXIES": '["127.0.0.1"]'},
        {"GATEWAY_WEB__PUBLIC_URL": "https://phone.example.com"},
    ):
        web = load(None, environ).web
        assert (web.only_here, web.guests_welcome, web.rooms_open) == (False, False, False)
    web = load(ROOT / "deploy/gateway.yaml", {}).web
    assert (web.only_here, web.guests_welcome, web.rooms_open) == (False, False, False)


def test_commented_examples_are_valid(tmp_path: Path) -> None:
    """Taking the comment signs away from the examples leaves a file that loads."""
    text = (ROOT / "gateway.yaml").read_text(encoding="utf-8")
    text = re.sub(
        r"^(\s*)# ((?:advertised|outbound_proxy|realm|public_url|file|cert|key): )", r"\1\2", text, flags=re.MULTILINE
    )
    text = re.sub(r"^(\s*)#( +)(- (?:urls|sip|name): |web: \"|username: gateway)", r"\1 \2\3", text, flags=re.MULTILINE)
    ways = "uri|fallback_uris|outbound_proxy|options_interval|crlf_interval|failover_after"
    account = "username|password|register|register_expires|from_user"
    text = re.sub(rf"^#(    (?:{ways}|{account}): )", r" \1", text, flags=re.MULTILINE)
    text = re.sub(
        r"^#(    (?:assert_identity|prefer_identity|verstat|sources|codecs|srtp|max_calls): )",
        r" \1",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^#(    (?:members|in_turn|time): )", r" \1", text, flags=re.MULTILINE)
    text = re.sub(
        r"^#(    (?:pin|max_members|tones|record|room_server|moderators): )", r" \1", text, flags=re.MULTILINE
    )
    text = re.sub(
        r"^#(    (?:url|token|rate|binary|may_call|max_messages_per_second): )", r" \1", text, flags=re.MULTILINE
    )
    text = re.sub(r"^(\s*)#(    credential: )", r"\1 \2", text, flags=re.MULTILINE)
    text = re.sub(r"^  # (- match: \"0|  (?:to: trunk|strip|prefix))", r"  \1", text, flags=re.MULTILINE)
    text = re.sub(r"^(\s*(?:ice_servers|rules|trunks|groups|rooms|agents):) \[\]", r"\1", text, flags=re.MULTILINE)
    config = load_text(tmp_path, text)
    assert len(config.web.ice_servers) == 2
    assert config.routes[2].to == "trunk:office"
    assert config.trunks[0].register_account
    assert config.trunks[0].sources == ("192.0.2.10/32", "198.51.100.0/24")
    assert config.sip.advertised == Advertised("203.0.113.10")
    assert config.identity_map().sip_uri("alice") == "sip:1alice@gateway.local"


def test_reference_is_up_to_date() -> None:
    """docs/configuration.md is what the models say: make it with `python -m gateway.config`."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == markdown()


def test_reference_is_written_by_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m gateway.config` writes it to standard output."""
    runpy.run_module("gateway.config", run_name="__main__")
    assert capsys.readouterr().out == markdown()


def _described(model: type[BaseModel], path: str = "") -> list[str]:
    bare: list[str] = []
    meant = meanings(model)
    for name, field in shape.keys(model).items():
        inner = shape.section(field.annotation) or shape.section(shape.item(field.annotation))
        if shape.section(field.annotation) is None and not meant.get(name):
            bare.append(f"{path}{name}")
        if inner is not None:
            bare += _described(inner, f"{path}{name}.")
    return bare


def test_every_key_is_described() -> None:
    """No key of any section or list entry lacks its sentence."""
    assert _described(Config) == []


def test_empty_file_and_no_file_are_the_default(tmp_path: Path) -> None:
    """Without a file, with an empty one, and with empty sections the defaults hold."""
    assert load(None, {}) == Config()
    assert load_text(tmp_path, "") == Config()
    assert load_text(tmp_path, "# nothing\nsip:\ntrunks:\nweb:\n  tls:\n  limits:\n") == Config()


def test_nothing_is_read_from_the_real_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mapping that is handed over counts."""
    monkeypatch.setenv("GATEWAY_DOMAIN", "elsewhere.example")
    assert load(None, {}).domain == Config().domain == "gateway.local"


def _other(path: tuple[str, ...], field: FieldInfo) -> str:
    """A value of the key that is not its default, as an environment variable says it."""
    special = {
        "sip.listen": "udp:127.0.0.1:5070,udp:[::1]:5070",
        "sip.advertised": "sip.example.com:5099",
        "sip.outbound_proxy": "sip:edge.example.com",
        "sip.tls.certificates": "[{cert: a.pem, key: a.key}]",
        "cdr.keep": "7",
        "cdr.webhook": "https://billing.example.com",
        "otel.endpoint": "http://collector.example.com:4318",
        "otel.headers": "x-key=value",
        "otel.sample": "0.5",
        "hep.collector": "192.0.2.5:9060",
        "web.listen": "[::1]:8081",
        "web.also_listen": "127.0.0.1:8000,[::1]:8000",
        "web.public_url": "https://phone.example.com",
        "web.allowed_origins": "https://a.example,https://b.example",
        "web.push_services": "https://push.example.com",
        "web.push_contact": "https://example.com/contact",
        "web.oidc.issuer": "https://login.example.com",
        "web.oidc.scopes": "openid",
        "webrtc.stun_server": "stun:stun.example.com",
        "webrtc.turn_server": "turn:turn.example.com",
        "web.proxies": "127.0.0.1,::1",
        "web.ice_servers": '[{"urls": "stun:stun.example.com"}]',
        "media.ice_peers_allowed": "192.0.2.0/24",
        "sip.bans.never": "192.0.2.0/24",
        "sip.proxies": "192.0.2.0/24",
        "metrics.sources": "192.0.2.0/24",
        "sip.registration.digest_algorithms": "SHA-256, MD5",
        "webrtc.listen": "127.0.0.1:40001",
        "webrtc.advertised": "203.0.113.1,203.0.113.2:4000",
        "webrtc.srtp_profiles": "SRTP_AES128_CM_HMAC_SHA1_80",
        "rtp.listen": "127.0.0.2",
        "rtp.srtp_keying": "dtls",
        "rtp.srtp_suites": "AES_256_CM_HMAC_SHA1_80, AEAD_AES_256_GCM",
        "rtp.advertised": "media.example.com",
        "rtp.ports": "20000-20099",
        "codecs.webrtc": "pcma",
        "video.codecs": "h264",
        "codecs.rtp": "pcma, pcmu",
        "users": "[{id: 1002, sip: true}]",
        "identity.rules": "[{sip: 'sip:9{u}@*', web: '{u}'}]",
        "identity.store": "memory",
        "messages.content_types": "text/plain",
        "messages.store": "memory",
        "routes": "[{match: 7, to: 'service:echo'}]",
        "accounts.registrars": "sip:pbx.example.com",
        "groups": "[{name: g, members: [alice]}]",
        "rooms": "[{name: team}]",
        "agents": "[{name: bot, token: secret}]",
        "voicemail.users": "['*']",
        "recording.digits": "*1",
        "recording.channels": "1",
        "recording.min_free": "7",
        "trunks": "[{name: t, uri: 'sip:pbx.example.com'}]",
        "media.engine": "rtpengine:127.0.0.1:2223",
        "media.plane_gather": "0.002",
        "media.rtpengine_renumbers": "false",
        "domain": "example.com",
        "limits.max_calls": "77",
        "limits.load": "0.5",
        "limits.plane_load": "0.5",
        "limits.ladder_memory": "1000000",
        "limits.calls_per_second": "7",
        "limits.guest_calls": "7",
        "emergency.numbers": "112",
        "emergency.trunk": "office",
        "conference.numbers": "9000-9099",
        "cluster.node": "sip:10.0.0.1:5060",
        "cluster.journal": "redis://10.0.0.9:6379/0",
    }
    dotted = ".".join(path)
    if dotted in special:
        return special[dotted]
    kind = shape.bare(field.annotation)
    if get_origin(kind) is Literal:
        return str(next(choice for choice in get_args(kind) if choice != field.default))
    if kind is bool:
        return "false" if field.default else "true"
    if kind in (int, float):
        return f"{kind(field.default) + 1:.12g}"
    return "something" if dotted != "web.guests_may_call" else "1*,2*"


BESIDE = {
    "cluster.mutual_tls": {
        "SIP__TLS__CERT": "a.pem",
        "SIP__TLS__KEY": "a.key",
        "SIP__TLS__CA": "ca.pem",
        "SIP__TLS__CLIENT_CERTIFICATES": "optional",
        "CLUSTER__NODE": "sips:10.0.0.1:5061",
        "CLUSTER__KEY": "k" * 32,
    }
}
"""What a key needs beside it, in the order of the sections."""
KEYS = [(path, field) for path, field in shape.paths(Config) if shape.section(field.annotation) is None]


@by_row(("path", "field"), KEYS, ids=[".".join(path) for path, _ in KEYS])
def test_every_key_can_be_set_by_environment(path: tuple[str, ...], field: FieldInfo) -> None:
    """GATEWAY_ and the path set the key, to a value that is not its default, and nothing else."""
    environ = {"GATEWAY_" + "__".join(path).upper(): _other(path, field)}
    if path[1:] in (("tls", "cert"), ("tls", "key")):
        environ = {f"GATEWAY_{path[0].upper()}__TLS__{name}": "something" for name in ("CERT", "KEY")}
    if path == ("sip", "tls", "certificates"):
        environ |= {"GATEWAY_SIP__TLS__CERT": "a.pem", "GATEWAY_SIP__TLS__KEY": "a.key"}
    if path[0] == "emergency":
        environ = {"GATEWAY_EMERGENCY__NUMBERS": "112", "GATEWAY_EMERGENCY__TRUNK": "office"}
        environ["GATEWAY_TRUNKS"] = "[{name: office, uri: 'sip:pbx.example.com'}]"
    if path == ("groups",):
        environ["GATEWAY_USERS"] = "[{id: alice, web: true}]"
    if path[0] == "cluster" and path[1] in ("node", "key", "journal"):
        environ |= {"GATEWAY_CLUSTER__NODE": "sip:10.0.0.1:5060", "GATEWAY_CLUSTER__KEY": "k" * 32}
    beside = BESIDE.get(".".join(path), {})
    environ |= {f"GATEWAY_{name}": value for name, value in beside.items()}
    config: Any = load(None, environ)
    default: Any = Config()
    changed = [
        ".".join(other)
        for other, each in KEYS
        if shape.section(each.annotation) is None and _get(config, other) != _get(default, other)
    ]
    expected = [*(name.lower().replace("__", ".") for name in beside), ".".join(path)]
    if path[1:] in (("tls", "cert"), ("tls", "key")):
        expected = [f"{path[0]}.tls.cert", f"{path[0]}.tls.key"]
    elif path == ("sip", "tls", "certificates"):
        expected = ["sip.tls.cert", "sip.tls.key", *expected]
    elif path[0] == "emergency":
        expected = ["trunks", "emergency.numbers", "emergency.trunk"]
    elif path[0] == "cluster" and path[1] in ("node", "key", "journal"):
        expected = ["cluster.node", "cluster.key", *(["cluster.journal"] if path[1] == "journal" else [])]
    elif path == ("groups",):
        expected = ["users", "groups"]
    assert changed == expected


def _get(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = getattr(value, part)
    return value


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A key set in both places has the value of the environment; its neighbours keep the file's."""
    text = "sip: {ring_timeout: 20, timers: {t1: 0.25, t4: 6}}"
    config = load_text(tmp_path, text, {"GATEWAY_SIP__TIMERS__T1": "0.4", "gateway_sip__ring_timeout": "30"})
    assert (config.sip.ring_timeout, config.sip.timers.t1, config.sip.timers.t4) == (30, 0.4, 6)


def test_the_state_folder_is_found_in_a_configuration_that_is_not_whole_without_its_secrets(tmp_path: Path) -> None:
    """So are a running gateway's commands, whose user has not the environment of its service."""
    path = tmp_path / "gateway.yaml"
    path.write_text("state_dir: /var/lib/phones\ncluster: {node: 'sip:192.0.2.1:5060'}\nnothing: known\n")
    with pytest.raises(ConfigError):
        load(path, {})
    assert state_folder(path, {"GATEWAY_CLUSTER__JOURNAL": "no"}) == Path("/var/lib/phones")
    assert state_folder(path, {"gateway_state_dir": "/srv"}) == Path("/srv")
    assert state_folder(None, {}) == Config().state_dir
    for text, word in (("state_dir: [1]\n", "state_dir"), ("state_dir: {\n", "line")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=word):
            state_folder(path, {})


def test_list_entry_is_reached_by_number_id_or_name(tmp_path: Path) -> None:
    """One entry of a list is changed or added without writing the others again."""
    text = (
        "users: [{id: alice, web: true}, {id: 1001, sip: true}]\ntrunks: [{name: office, uri: 'sip:pbx', username: u}]"
    )
    environ = {
        "GATEWAY_USERS__ALICE__PASSWORD": "hunter2",
        "GATEWAY_USERS__1001__PASSWORD": "1234",
        "GATEWAY_USERS__0__DISPLAY_NAME": "Alice L.",
        "GATEWAY_USERS__2": "{id: bob, web: true}",
        "GATEWAY_USERS__2__MAX_CALLS": "3",
        "GATEWAY_TRUNKS__OFFICE__PASSWORD": "[not, a list]",
        "GATEWAY_ROUTES__2__MATCH": "0*",
        "GATEWAY_ROUTES__2__TO": "trunk:office",
    }
    config = load_text(tmp_path, text, environ)
    assert config.passwords_wanted() == {"alice": "hunter2", "1001": "1234", "bob": "auto"}
    assert config.users[0].display_name == "Alice L."
    assert config.users[2].max_calls == 3
    assert config.trunks[0].password == SecretStr("[not, a list]")
    assert [route.match for route in config.routes] == ["600", "601", "0*"]


def test_variables_that_are_no_keys_are_left_alone() -> None:
    """The file's own variable, and what Kubernetes sets beside a service called gateway, harm nothing."""
    environ = {
        "GATEWAY_CONFIG": "/etc/gateway.yaml",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT_HTTP": "80",
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert load(None, environ) == Config()


def test_words_of_the_file_stay_words(tmp_path: Path) -> None:
    """off is not false, 0044 is not 36, +49 keeps its plus, and a bare 1001 is the extension."""
    text = (
        "rtp: {srtp: off, latching: on}\n"
        "users: [{id: 1001, sip: true, aliases: [0044, +4989], password: 8675309}]\n"
        "routes: [{match: 0044, to: 'user:1001', prefix: +49}]\nweb: {guests: no, guests_may_call: [600]}"
    )
    config = load_text(tmp_path, text)
    assert (config.rtp.srtp, config.rtp.latching) == ("off", "on")
    assert config.users[0].aliases == ("0044", "+4989")
    assert config.users[0].password == SecretStr("8675309")
    assert (config.routes[0].match, config.routes[0].prefix) == ("0044", "+49")
    assert config.web.guests == "off"
    assert config.web.guests_may_call == ("600",)


def test_values_are_read_into_their_types(tmp_path: Path) -> None:
    """Addresses and ranges come out as values, and write themselves as they are read."""
    text = "sip: {listen: ['UDP:[::1]:5060', 'udp:localhost:5061']}\nrtp: {ports: 20000 - 20001}"
    config = load_text(tmp_path, text)
    assert config.sip.listen == (SipListen("udp", "::1", 5060), SipListen("udp", "127.0.0.1", 5061))
    assert config.rtp.ports == PortRange(20000, 20001)
    assert 20001 in config.rtp.ports
    assert 20002 not in config.rtp.ports
    for value, parse in (
        ("[::1]:8080", HostPort.parse),
        ("udp:[2001:db8::1]:5060", SipListen.parse),
        ("udp:127.0.0.1:5060", SipListen.parse),
        ("[2001:db8::1]", Advertised.parse),
        ("phone.example.com:99", Advertised.parse),
        ("10000-19999", PortRange.parse),
    ):
        assert str(parse(value)) == value


def test_secrets_are_not_shown() -> None:
    """Neither repr nor a dump of the configuration holds a password, nor the store's URL."""
    environ = {
        "GATEWAY_USERS": "[{id: alice, web: true, password: hunter2}]",
        "GATEWAY_TRUNKS": "[{name: t, uri: 'sip:pbx', username: u, password: hunter2}]",
        "GATEWAY_WEB__ICE_SERVERS": "[{urls: 'turn:t', username: u, credential: hunter2}]",
        "GATEWAY_IDENTITY__STORE": "redis://:hunter2@127.0.0.1/0",
    }
    config = load(None, environ)
    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(config)
    assert "hunter2" not in json.dumps(config.model_dump(mode="json", exclude={"identity"}))


def test_configuration_cannot_be_changed() -> None:
    """What was checked stays as it was checked."""
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.domain = "x"
    with pytest.raises(ValueError, match="frozen"):
        config.sip.ring_timeout = 1.0


def test_derived_values() -> None:
    """What other rooms ask for follows from the keys."""
    config = load(None, {"GATEWAY_USERS": "[{id: alice, web: true, aliases: [2001]}]"})
    assert config.realm == "gateway.local"
    assert config.sqlite_path == Path(".gateway/gateway.sqlite")
    assert config.media.rtpengines == ()
    assert config.identity_users()[0].aliases == ("2001",)
    assert config.identity_map().find("2001") == config.identity_users()[0]
    other = load(None, {"GATEWAY_MEDIA__ENGINE": "rtpengine:[::1]:2223,a:1", "GATEWAY_SIP__REALM": "r"})
    assert other.media.rtpengines == (("::1", 2223), ("a", 1))
    assert other.realm == "r"
    assert load(None, {"GATEWAY_IDENTITY__STORE": "memory"}).sqlite_path is None


def test_dump_can_be_loaded_again(tmp_path: Path) -> None:
    """A configuration written out as YAML means the same."""
    config = load(ROOT / "gateway.yaml", {})
    dumped = config.model_dump(mode="json", by_alias=True, exclude={"users"})
    text = yaml.safe_dump(dumped)
    assert load_text(tmp_path, text) == load(None, {})


def test_missing_file_says_so(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is a sentence."""
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path, {})
