"""What is wrong with a configuration is said in one sentence that names the key."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Config, load, shape
from gateway.errors import ConfigError
from tests.config_support import load_text
from tests.rows import by_row

CASES = [
    # unknown keys, with the closest known one
    ("sip: {lisen: []}", "sip.lisen", "did you mean sip.listen?"),
    ("domian: x", "domian", "did you mean domain?"),
    ("rtp: {Ports: 1-2}", "rtp.Ports", "did you mean rtp.ports?"),
    ("ring_timeout: 5", "ring_timeout", "did you mean sip.ring_timeout?"),
    ("web: {ring_timeout: 5}", "web.ring_timeout", "did you mean sip.ring_timeout?"),
    ("media: {qqqq: 5}", "media.qqqq", "known here: engine"),
    ("users: [{id: a, web: true, pasword: x}]", "users.0.pasword", "did you mean users.0.password?"),
    ("_env_file: x", "_env_file", "unknown key"),
    ("600: x", "600", "unknown key"),
    ("sip: {'': 1}", "sip.", "unknown key"),
    # wrong kinds of value
    ("sip: udp", "sip", "must be a section"),
    ("sip: {listen: 'udp:127.0.0.1:5060'}", "sip.listen", "must be a list"),
    ("sip: {listen: []}", "sip.listen", "must not be empty"),
    ("sip: {ring_timeout: soon}", "sip.ring_timeout", "must be a number, not 'soon'"),
    ("sip: {ring_timeout: 0}", "sip.ring_timeout", "greater than or equal to 1, not 0"),
    ("sip: {ring_timeout: .inf}", "sip.ring_timeout", "must be a"),
    ("sip: {timers: {t1: nan}}", "sip.timers.t1", "must be a finite number"),
    ("web: {limits: {max_sessions: 1.5}}", "web.limits.max_sessions", "must be a whole number, not 1.5"),
    ("web: {guests: perhaps}", "web.guests", "must be 'auto', 'on' or 'off', not 'perhaps'"),
    ("rtp: {latching: maybe}", "rtp.latching", "'off', 'auto' or 'on', not 'maybe'"),
    ("codecs: {rtp: [speex]}", "codecs.rtp.0", "not 'speex'"),
    ("codecs: {rtp: [opus, opus]}", "codecs.rtp", "twice"),
    ("users: [5]", "users.0", "must be a section"),
    ("users: [{web: true}]", "users.0.id", "is missing"),
    ("users: [{id: [a], web: true}]", "users.0.id", "must be text"),
    ("users: [{id: true, web: true}]", "users.0.id", "must be text"),
    # values that make no sense
    ("cluster: {node: 'sip:10.0.0.1:5060'}", "cluster", "set together"),
    ("cluster: {node: 'sip:gw.example.com', key: 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk'}", "cluster.node", "no IP address"),
    ("cluster: {node: 'sip:10.0.0.1:70000', key: 'x'}", "cluster.node", "is not written as"),
    ("cluster: {journal: 'redis://10.0.0.9:6379/0'}", "cluster.journal", "cluster.node"),
    ("cluster: {journal: 'file:calls'}", "cluster.journal", "redis://"),
    (
        "cluster: {node: 'sip:10.0.0.1', key: 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk', mutual_tls: true}",
        "cluster.mutual_tls",
        "transport=tls",
    ),
    (
        "cluster: {node: 'sips:10.0.0.1', key: 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk', mutual_tls: true}",
        "cluster.mutual_tls",
        "sip.tls.ca",
    ),
    ("cluster: {node: 'sip:10.0.0.1', key: short}", "cluster.key", "fewer than 32"),
    (
        "{identity: {store: memory}, cluster: {node: 'sip:10.0.0.1', key: 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk'}}",
        "cluster.node",
        "needs a store that the gateways share",
    ),
    ("domain: 'not a host'", "domain", "neither an IP address nor a host name"),
    ("domain: 1.2.3.400", "domain", "neither"),
    ("sip: {listen: ['sctp:127.0.0.1:5060']}", "sip.listen.0", "must begin with one of udp, tcp"),
    ("sip: {listen: ['udp:127.0.0.1']}", "sip.listen.0", "lacks the port"),
    ("sip: {listen: ['udp:example.com:5060']}", "sip.listen.0", "not an IP address to listen on"),
    ("sip: {listen: ['udp:127.0.0.1:70000']}", "sip.listen.0", "not a port number"),
    ("web: {listen: '127.0.0.1:0'}", "web.listen", "not a port number"),
    ("web: {listen: '[::1:8080'}", "web.listen", "[address]:port"),
    ("web: {listen: 8080}", "web.listen", "must be text"),
    ("web: {public_url: phone.example.com}", "web.public_url", "http:// or https://"),
    ("web: {allowed_origins: ['https://a.example/x']}", "web.allowed_origins", "without a path"),
    ("web: {tls: {cert: a.pem}}", "web.tls", "belong together"),
    ("sip: {tls: {certificates: [{cert: a.pem, key: a.key}]}}", "sip.tls", "further ones: give cert and key"),
    ("sip: {tls: {cert: a.pem, key: a.key, certificates: [{}]}}", "sip.tls", "each of certificates needs"),
    ("web: {ice_servers: [{urls: 'http://x'}]}", "web.ice_servers.0.urls", "stun:"),
    ("rtp: {ports: 20000-10000}", "rtp.ports", "lower first"),
    ("rtp: {ports: 20000}", "rtp.ports", "must be text"),
    ("rtp: {advertised: 'a b'}", "rtp.advertised.0", "neither"),
    ("rtp: {listen: [127.0.0.1, 127.0.0.2]}", "rtp.listen", "one of each IP version"),
    ("rtp: {listen: []}", "rtp.listen", "must not be empty"),
    ("rtp: {listen: [127.0.0.1, '::1', '::2']}", "rtp.listen", "at most 2"),
    ("rtp: {advertised: '2001:db8::1'}", "rtp", "of its IP version"),
    ("rtp: {listen: ['::', 0.0.0.0], advertised: [a.example, '2001:db8::1']}", "rtp", "of its IP version"),
    ("sip: {timers: {t1: 2, t2: 1}}", "sip.timers", "t2 must not be shorter"),
    ("sip: {registration: {min_expires: 9000}}", "sip.registration", "must rise"),
    ("sip: {session_timer: {expires: 90, min_se: 120}}", "sip.session_timer", "not be shorter than min_se"),
    ('users: [{id: alice, web: true, display_name: "a\\r\\nVia: x"}]', "users.0.display_name", "control characters"),
    ("users: [{id: 'a b', web: true}]", "users.0.id", "letters, digits"),
    ("users: [{id: alice}]", "users.0", "neither web nor sip"),
    ("users: [{id: alice, web: true, password: ''}]", "users.0.password", "must not be empty"),
    ("users: [{id: a, web: true}, {id: a, sip: true}]", "users.1.id", "twice"),
    ("users: [{id: a, web: true, aliases: [b]}, {id: b, web: true}]", "users.0.aliases.0", "'b'"),
    ("identity: {store: 'postgres://x'}", "identity.store", "redis://HOST"),
    ("identity: {rules: [{sip: '{a}', web: '{a}'}]}", "identity.rules.0.sip", "sip:USER@HOST"),
    ("identity: {rules: [{sip: 'sip:{a}@*', web: '{b}'}]}", "identity.rules.0.web", "does not appear"),
    ("routes: [{match: 1, to: echo}]", "routes.0.to", "must begin with"),
    ("routes: [{match: 1, to: 'service:moon'}]", "routes.0.to", "no service 'moon'"),
    ("routes: [{match: 1, to: 'user:{u}'}]", "routes.0.to", "{u} is not known"),
    ("routes: [{match: 1, to: 'user:bob'}]", "routes.0.to", "no user 'bob'"),
    ("routes: [{match: 1, to: 'trunk:pbx'}]", "routes.0.to", "no trunk 'pbx'"),
    ("routes: [{match: 1, to: 'sip:{user}'}]", "routes.0.to", "before the @ only"),
    ("routes: [{match: 1, to: 'sip:a@{user}.example'}]", "routes.0.to", "before the @ only"),
    ("routes: [{match: 1, to: 'sip:a b@c'}]", "routes.0.to", "not a SIP URI"),
    ("trunks: [{name: a, uri: 'pbx'}]", "trunks.0.uri", "not a SIP URI"),
    ("trunks: [{name: 'a b', uri: 'sip:pbx'}]", "trunks.0.name", "letters, digits"),
    ("trunks: [{name: a, uri: 'sip:pbx', register: true}]", "trunks.0", "needs a username"),
    ("trunks: [{name: a, uri: 'sip:pbx', sources: [pbx]}]", "trunks.0.sources.0", "not an IP address or network"),
    ("trunks: [{name: a, uri: 'sip:x'}, {name: a, uri: 'sip:y'}]", "trunks.1.name", "twice"),
    ("media: {engine: janus}", "media.engine", "rtpengine:HOST:PORT[,HOST:PORT...]"),
    ("media: {engine: 'rtpengine:host'}", "media.engine", "neither"),
    ("media: {engine: 'rtpengine:host:1,'}", "media.engine", "neither"),
    ("media: {engine: 'rtpengine:h:1,h:2,H:1'}", "media.engine", "names h:1 twice"),
    ("{media: {engine: 'rtpengine:h:1'}, recording: {calls: ['*']}}", "recording.calls", "rtpengine_records"),
    ("{media: {engine: 'rtpengine:h:1'}, recording: {digits: '*1'}}", "recording.digits", "no digits"),
    ("media: {engine: 'rtpengine:h:1', rtpengine_records: true}", "media.rtpengine_records", "recording.beep: false"),
    # ports of our own that collide
    ("webrtc: {listen: '127.0.0.1:5060'}", "webrtc.listen", "already taken by sip.listen.0"),
    ("web: {also_listen: ['127.0.0.1:8080']}", "web.also_listen.0", "already taken by web.listen"),
    ("web: {also_listen: ['127.0.0.1:8000', '0.0.0.0:8000']}", "web.also_listen.1", "taken by web.also_listen.0"),
    ("webrtc: {listen: '0.0.0.0:12000'}", "webrtc.listen", "within rtp.ports"),
    ("sip: {listen: ['udp:127.0.0.1:5060', 'udp:0.0.0.0:5060']}", "sip.listen.1", "taken by sip.listen.0"),
    ("sip: {listen: ['udp:[::1]:5060', 'udp:[::]:5060']}", "sip.listen.1", "taken by sip.listen.0"),
]


@by_row(("text", "key", "reason"), CASES, ids=[f"{case[1]}-{case[2][:12]}" for case in CASES])
def test_error_names_the_key(tmp_path: Path, text: str, key: str, reason: str) -> None:
    """The dotted path, a sentence, and the line of the file."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    assert caught.value.key == key
    assert reason in caught.value.reason
    assert "gateway.yaml, line 1)" in caught.value.reason


@by_row(
    ("text", "reason"),
    [
        ("sip: {", "not valid YAML, line 1"),
        ("sip:\n\tlisten: x", "not valid YAML, line 2"),
        ("- a\n- b", "must hold keys and values"),
        ("just words", "must hold keys and values"),
        ("domain: !!python/object:os.system x", "not valid YAML, line 1"),
        ("domain: !!int x", "not valid YAML"),
        ("domain: a\n---\ndomain: b", "not valid YAML"),
        ("a: " + "[" * 5_000, "not valid YAML"),
        ("domain: \x07", "not valid YAML"),
    ],
)
def test_file_that_is_no_yaml_says_where(tmp_path: Path, text: str, reason: str) -> None:
    """A syntax error names the file and the line."""
    with pytest.raises(ConfigError, match=reason) as caught:
        load_text(tmp_path, text)
    assert "gateway.yaml" in str(caught.value)


def test_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and a file too large, are refused before they are parsed."""
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"domain: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path, {})
    path.write_bytes(b"#" * 1_048_577)
    with pytest.raises(ConfigError, match="larger than"):
        load(path, {})


def test_key_written_twice_is_refused(tmp_path: Path) -> None:
    """YAML would let the second win in silence."""
    with pytest.raises(ConfigError, match="lines 2 and 4") as caught:
        load_text(tmp_path, "sip:\n  ring_timeout: 5\n  realm: x\n  ring_timeout: 6\n")
    assert caught.value.key == "sip.ring_timeout"


@by_row("text", ["a: &a [*a]", "a: &a {b: *a}", "? [a, b]\n: c"])
def test_endless_and_odd_yaml_is_refused(tmp_path: Path, text: str) -> None:
    """An anchor that holds itself, and a key that is a list, end in a sentence."""
    with pytest.raises(ConfigError):
        load_text(tmp_path, text)


def test_exponential_yaml_is_refused(tmp_path: Path) -> None:
    """Anchors that multiply are cut off early."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 14)]
    with pytest.raises(ConfigError, match="too large"):
        load_text(tmp_path, "\n".join(lines))


@by_row(
    ("name", "value", "key", "reason"),
    [
        ("GATEWAY_SIP__LISTEN", "udp:x", "sip.listen.0", "lacks the port"),
        ("GATEWAY_SIP__LISEN", "x", "sip.lisen", "did you mean sip.listen?"),
        ("GATEWAY_DOMIAN", "x", "domian", "did you mean domain?"),
        ("GATEWAY_", "x", "", "unknown key"),
        ("GATEWAY_SIP__", "x", "sip.", "unknown key"),
        ("GATEWAY_SIP", "x", "sip", "must be a section"),
        ("GATEWAY_DOMAIN__X", "x", "domain", "no keys"),
        ("GATEWAY_USERS__BOB__WEB", "true", "users.bob", "no such entry"),
        ("GATEWAY_USERS__7__WEB", "true", "users.7", "no such entry"),
        ("GATEWAY_USERS", "[{", "users", "not valid YAML or JSON"),
        ("GATEWAY_USERS", "alice", "users", "must be a list"),
        ("GATEWAY_SIP__TIMERS__T1", "fast", "sip.timers.t1", "must be a number, not 'fast'"),
        ("GATEWAY_USERS__ALICE__PASSWORD", "", "users.0.password", "must not be empty"),
    ],
)
def test_error_names_the_variable(tmp_path: Path, name: str, value: str, key: str, reason: str) -> None:
    """A bad value in the environment names the key and the variable."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, "users: [{id: alice, web: true}]", {name: value})
    assert caught.value.key == key
    assert reason in caught.value.reason
    assert name in caught.value.reason


def test_errors_never_repeat_a_secret(tmp_path: Path) -> None:
    """Whatever is wrong with or near a secret, its value is not in the sentence."""
    for text in (
        "users: [{id: alice, web: true, password: [hunter2]}]",
        "users: [{id: alice, web: true, password: {hunter2: hunter2}}]",
        "users: [{id: alice, password: hunter2}]",
        "users: [{id: alice, web: true, password: 86753.09}]",
        "users: [{id: alice, web: true, password: true}]",
        "users: [{id: alice, web: true, password: 'hunter2\\n'}]".replace("'", '"'),
        "trunks: [{name: a, uri: 'sip:pbx', password: hunter2}]",
        "web: {ice_servers: [{urls: x, credential: hunter2}]}",
        "identity: {store: 'redis+x://:hunter2@h'}",
    ):
        with pytest.raises(ConfigError) as caught:
            load_text(tmp_path, text)
        assert "hunter2" not in str(caught.value)
        assert "86753" not in str(caught.value)
        assert "True" not in str(caught.value)
        assert caught.value.__suppress_context__


SECTIONS = [".".join(path) for path, field in shape.paths(Config) if shape.section(field.annotation) is None]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(SECTIONS), value=scalars | trees)
def test_any_value_is_taken_or_refused_by_config_error(tmp_path: Path, key: str, value: object) -> None:
    """No value of any key ends in another exception."""
    tree: object = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    # Any other exception than ConfigError fails the test.
    with suppress(ConfigError):
        assert isinstance(load_text(tmp_path, yaml.safe_dump(tree)), Config)


@given(st.text(st.characters(exclude_characters="\x00"), max_size=60), st.text(max_size=40))
def test_any_variable_is_taken_or_refused_by_config_error(name: str, value: str) -> None:
    """No variable of any name or value ends in another exception."""
    for full in (f"GATEWAY_{name}", "GATEWAY_USERS", "GATEWAY_SIP__LISTEN", "GATEWAY_USERS__0"):
        with suppress(ConfigError):
            assert isinstance(load(None, {full: value}), Config)
