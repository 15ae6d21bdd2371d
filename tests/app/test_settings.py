"""The configuration in the words of each room: what a key says arrives where it counts."""

from __future__ import annotations

import ipaddress
import time

import pytest

from gateway.access.own_names import OwnNames
from gateway.app import media_settings, settings
from gateway.call.routing import Emergency
from gateway.config import Config, load, notices
from gateway.media.embedded.engine import EmbeddedEngine


def config(**environ: str) -> Config:
    return load(None, {f"GATEWAY_{key}": value for key, value in environ.items()})


def test_own_names_are_the_domain_and_every_address_phones_may_have_been_given() -> None:
    """Listening and advertised, and further ones that are configured; nobody else's."""
    listen = '["udp:127.0.0.1:5060", "udp:[::1]:5060"]'
    also = '["Old.test", "192.0.2.9", "2001:DB8::9"]'
    names = OwnNames.of(
        config(DOMAIN="GW.test", ALSO_DOMAINS=also, SIP__LISTEN=listen, SIP__ADVERTISED="203.0.113.10:5070")
    )
    told = {"127.0.0.1", "[::1]", "203.0.113.10"}
    assert names.names == {"gw.test", "old.test", "192.0.2.9", "[2001:db8::9]"} | told
    assert all(name in names for name in names.names)
    assert not [name for name in ("", "other.test", "127.0.0.2", "::1") if name in names]


def test_a_wildcard_is_every_address_that_the_machine_has_now_but_a_trunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A VPN that comes up later too; what a PBX on this machine is called by still means that one."""
    has = {"127.0.0.1", "10.8.0.2", "::1", "2001:db8::1"}
    monkeypatch.setattr("gateway.access.own_names.is_own_address", has.__contains__)
    listen = '["udp:0.0.0.0:5060", "udp:[::]:5070"]'
    names = OwnNames.of(config(SIP__LISTEN=listen))
    assert all(name in names for name in ("127.0.0.1", "10.8.0.2", "[::1]", "[2001:db8::1]", "[2001:db8:0::1]"))
    assert "10.9.0.2" not in names
    has.add("10.9.0.2")
    assert "10.9.0.2" in names
    has.discard("10.8.0.2")
    assert "10.8.0.2" not in names
    trunks = '[{"name": "a", "uri": "sip:127.0.0.1:5070"}, {"name": "b", "uri": "sip:[0:0::1]:5070"}]'
    beside = OwnNames.of(config(SIP__LISTEN=listen, TRUNKS=trunks))
    assert [name in beside for name in ("127.0.0.1", "[::1]", "10.9.0.2")] == [False, False, True]
    only = OwnNames.of(config(SIP__LISTEN='["udp:0.0.0.0:5060"]'))
    assert [name in only for name in ("10.9.0.2", "[2001:db8::1]")] == [True, False]
    places = settings.registrar_policy(config(SIP__LISTEN=listen)).own
    asked = [("10.9.0.2", 5060), ("2001:db8::1", 5070), ("10.9.0.2", 5070), ("10.8.0.2", 5060), ("a.test", 5060)]
    assert [place in places for place in asked] == [True, True, False, False, False]


def test_a_contact_that_is_ourselves_would_loop() -> None:
    """The registrar is told our places, advertised port included."""
    made = config(SIP__LISTEN='["udp:127.0.0.1:5060"]', SIP__ADVERTISED="203.0.113.10:5070")
    own = settings.registrar_policy(made).own
    places = [("127.0.0.1", 5060), ("203.0.113.10", 5070), ("127.0.0.1", 5070), ("::1", 5060)]
    assert [place in own for place in places] == [True, True, False, False]


def test_zero_means_no_limit_to_a_call() -> None:
    """limits.max_call_duration and media.service_max_duration: 0 is never, not at once."""
    made = settings.call_settings(config(LIMITS__MAX_CALL_DURATION="0", MEDIA__SERVICE_MAX_DURATION="0"))
    assert made.max_duration > 365 * 86_400


def test_trunks_come_in_from_their_networks_only() -> None:
    """A trunk without sources is known by its account alone, or by where we are registered."""
    made = config(
        TRUNKS='[{"name": "a", "uri": "sip:a.test", "sources": ["192.0.2.10", "198.51.100.0/24"]},'
        ' {"name": "b", "uri": "sip:[2001:DB8:0::1]:5070", "fallback_uris": ["sip:B.test"]}]'
    )
    source, other = settings.trunk_accounts(made)
    assert (source.name, other.sources, other.ha1) == ("a", (), {})
    assert other.hosts == ("2001:db8::1", "b.test")
    assert source.sources == (ipaddress.ip_network("192.0.2.10"), ipaddress.ip_network("198.51.100.0/24"))


def test_phones_are_challenged_with_the_configured_algorithms() -> None:
    """One of them a response: MD5 for who is not known, for phones exist that give up at another (libre 1)."""
    for value, wanted in (("", "MD5"), ("SHA-256, MD5", "MD5"), ("SHA-512-256, SHA-256", "SHA-256")):
        made = config(**({"SIP__REGISTRATION__DIGEST_ALGORITHMS": value} if value else {}))
        assert settings.algorithms(made).choose("Some phone", "192.0.2.7", None) == wanted


def test_an_address_others_can_use() -> None:
    """Brackets for IPv6; the wildcard is not told to anybody."""
    assert settings.reachable("127.0.0.1") == "127.0.0.1"
    assert settings.reachable("::1") == "[::1]"
    assert settings.reachable("0.0.0.0") != "0.0.0.0"


def test_the_user_agent_listens_and_limits_as_configured() -> None:
    """Listening places, limits, timers."""
    made = settings.user_agent(
        config(SIP__LISTEN='["udp:127.0.0.1:5066"]', SIP__LIMITS__REQUESTS_PER_SECOND="7", SIP__TIMERS__T1="0.25")
    )
    assert [tuple(place)[-2:] for place in made.listen] == [("127.0.0.1", 5066)]
    assert made.stack.admission.rate == 7
    assert made.stack.timers.t1 == 0.25


def test_trickled_candidates_are_taken_unless_it_says_otherwise() -> None:
    """sip.trickle_ice."""
    for value in ("true", "false"):
        core = settings.user_agent(config(SIP__TRICKLE_ICE=value)).core()
        assert ("trickle-ice" in core.supported, "trickle-ice" in core.info_packages) == (value == "true",) * 2


OFFICE = (
    '[{"name": "office", "uri": "sip:PBX.example.com:5070", "fallback_uris": ["sip:10.0.0.1"]},'
    ' {"name": "b", "uri": "sip:gw@[2001:db8::1]"}]'
)


def test_a_trunks_number_plan_is_where_its_uri_leads() -> None:
    """Host and port, in lower case; IPv6 in brackets."""
    places = {"office": ("pbx.example.com:5070", "10.0.0.1"), "b": ("[2001:db8::1]",)}
    assert settings.trunk_places(config(TRUNKS=OFFICE)) == places


def test_emergency_numbers_go_through_their_trunk() -> None:
    """emergency.numbers and emergency.trunk; and nothing is said at the start any more."""
    made = config(TRUNKS=OFFICE, EMERGENCY__NUMBERS="112, 911", EMERGENCY__TRUNK="office")
    assert settings.emergency(made) == Emergency(numbers=frozenset({"112", "911"}), trunk="office")
    assert list(notices(made)) == []
    assert "emergency" in next(notices(config())).text


def test_limits_are_what_is_configured_or_what_the_machine_is_good_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults by CPUs and memory; guests get half; a number that is set is the number."""
    monkeypatch.setattr("gateway.config.settings.cpus", lambda: 4)
    monkeypatch.setattr("gateway.config.settings.memory_bytes", lambda: 16 * 1024**3)
    made = settings.call_limits(config())
    assert (made.max_calls, made.calls_per_second, made.guest_calls) == (2000, 200, 1000)
    monkeypatch.setattr("gateway.config.settings.memory_bytes", lambda: 1024**3)
    monkeypatch.setattr("gateway.config.settings.cpus", lambda: 1)
    made = settings.call_limits(config())
    assert (made.max_calls, made.calls_per_second) == (256, 100)
    made = settings.call_limits(config(LIMITS__MAX_CALLS="7", LIMITS__CALLS_PER_SECOND="3", LIMITS__GUEST_CALLS="2"))
    assert (made.max_calls, made.calls_per_second, made.guest_calls) == (7, 3, 2)


def test_a_call_waits_for_a_vanished_client_as_long_as_configured() -> None:
    """limits.reattach_time."""
    assert settings.call_settings(config(LIMITS__REATTACH_TIME="7")).reattach_time == 7


def test_silence_and_own_addresses_are_as_configured() -> None:
    """rtp.silence_after, rtp.silence_interval and webrtc.own_addresses reach the engine."""
    changes = {"RTP__SILENCE_AFTER": "2", "RTP__SILENCE_INTERVAL": "0.02", "WEBRTC__OWN_ADDRESSES": "false"}
    made = media_settings.engine(config(**changes), time.monotonic)
    assert isinstance(made, EmbeddedEngine)
    assert (made.config.silence_after, made.config.silence_interval) == (2, 0.02)
    assert not made.config.webrtc.own_addresses
