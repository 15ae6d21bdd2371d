"""Passwords that are easily guessed: refused wherever others than this machine reach the gateway."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import load
from gateway.config.strength import weakness
from gateway.errors import ConfigError
from tests.config_support import load_text
from tests.rows import by_row

GOOD = "kJ7-qZ4_wT9x"
WEAK = (
    ("1234", "tried first"),
    ("secret", "tried first"),
    ("alice", "own name"),
    ("A1ice", "own name"),
    ("Alice2024!", "easily guessed"),
    ("alice-19840612", "easily guessed"),
    ("P@ssw0rd!2024", "easily guessed"),
    ("Sommer2024!", "easily guessed"),
    ("qwertzuiop123", "easily guessed"),
    ("aaaaaaaaaaaaaaaaaaaaaaaa", "easily guessed"),
    ("4711471147114711", "easily guessed"),
    ("phone.test", "own name"),
    ("k3x9q", "easily guessed"),
)


@by_row(("password", "why"), WEAK)
def test_a_password_that_is_easily_guessed_is_named(password: str, why: str) -> None:
    """names, known words however they are spelled, and runs count little."""
    assert why in (weakness(password, ("alice", "phone.test")) or "")


@by_row("password", ["correct horse battery staple", "8f3a9c1d2b7e", "1001s-own-Secret-0815", GOOD])
def test_words_and_digits_enough_are_a_good_password(password: str) -> None:
    """Four words, twelve digits of hex."""
    assert weakness(password, ("1001",)) is None


@by_row("length", [12, 24, 64])
def test_a_password_by_chance_is_good(length: int) -> None:
    """As `auto` and password managers make them."""
    draw = random.Random(length)
    drawn = ["".join(draw.choices(string.ascii_letters + string.digits, k=length)) for _ in range(100)]
    assert [one for one in drawn if weakness(one, ("alice",)) is not None] == []


def test_a_long_password_is_looked_at_in_bounded_time() -> None:
    """A megabyte is no work."""
    assert weakness("ab" * 500_000) is not None


REACHED = (
    ("sip: {listen: ['udp:0.0.0.0:5060']}", "sip"),
    ("sip: {listen: ['udp:127.0.0.1:5060', 'tcp:[::]:5060']}", "sip"),
    ("sip: {proxies: [127.0.0.1]}", "sip"),
    ("web: {listen: '0.0.0.0:8080'}", "sip"),
    ("web: {listen: '0.0.0.0:8080'}", "web"),
    ("web: {proxies: [127.0.0.1]}", "web"),
    ("web: {public_url: 'https://phone.test'}", "web"),
    ("web: {also_listen: ['[::]:8081']}", "web"),
)


@by_row(("text", "side"), REACHED)
def test_a_weak_password_is_refused_where_others_reach_it(tmp_path: Path, text: str, side: str) -> None:
    """By the addresses that are listened on, by proxies, by the page's own name; a good one is taken."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"{text}\nusers: [{{id: alice, {side}: true, password: '1234'}}]")
    assert caught.value.key == "users.0.password"
    assert "gateway.yaml, line 2" in caught.value.reason
    assert "1234" not in caught.value.reason
    load_text(tmp_path, f"{text}\nusers: [{{id: alice, {side}: true, password: '{GOOD}'}}]")
    load_text(tmp_path, f"{text}\nusers: [{{id: alice, {side}: true}}]")


def test_a_weak_password_may_stay_on_this_machine(tmp_path: Path) -> None:
    """Lessons and developers; and a phone's where its side alone is not reached."""
    load_text(tmp_path, "users: [{id: alice, web: true, sip: true, password: '1234'}]")
    load_text(tmp_path, "sip: {listen: ['udp:0.0.0.0:5060']}\nusers: [{id: alice, web: true, password: '1234'}]")


def test_every_secret_that_opens_a_door_is_held_to_it(tmp_path: Path) -> None:
    """Programs that come to us, the TURN server, the cluster."""
    rows: dict[str, dict[str, Any]] = {
        "agents.0.token": {"agents": [{"name": "bot", "token": "bot"}]},
        "webrtc.turn_secret": {"webrtc": {"turn_secret": "secret"}},
        "cluster.key": {"cluster": {"node": "sip:10.0.0.1:5060", "key": "k" * 32}},
    }
    for key, sections in rows.items():
        with pytest.raises(ConfigError) as caught:
            load_text(tmp_path, yaml.safe_dump({"web": {"listen": "0.0.0.0:8080"}, **sections}))
        assert caught.value.key == key


def test_a_variable_with_a_weak_password_is_named() -> None:
    """Not only the file is looked at."""
    environ = {
        "GATEWAY_USERS": '[{"id": "1001", "sip": true}]',
        "GATEWAY_USERS__1001__PASSWORD": "1001",
        "GATEWAY_SIP__LISTEN": "udp:0.0.0.0:5060",
    }
    with pytest.raises(ConfigError, match="GATEWAY_USERS__1001__PASSWORD in the environment"):
        load(None, environ)
