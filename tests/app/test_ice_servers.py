"""The STUN and TURN servers that browsers are told of, and passwords that end (coturn's shared secret)."""

from __future__ import annotations

from typing import Any

from gateway.app.ice_servers import IceServers
from gateway.config import Config
from gateway.media.embedded.webrtc.turn import turn_credentials

NOW = 1_700_000_000.5


def servers(**webrtc: Any) -> IceServers:
    config = Config.model_validate(
        {
            "web": {
                "ice_servers": [
                    {"urls": ["stun:s.test"]},
                    {"urls": ["turn:t.test", "turns:t.test"]},
                    {"urls": ["turn:own.test"], "username": "u", "credential": "c"},
                ]
            },
            "webrtc": webrtc,
        }
    )
    return IceServers(config, lambda: NOW)


def test_a_turn_password_is_the_one_that_coturn_makes() -> None:
    """base64(HMAC-SHA1(secret, "expires:user")), as `echo -n 1700000600:alice | openssl dgst -binary -sha1 -hmac`."""
    assert turn_credentials("north", "alice", 1_700_000_600) == ("1700000600:alice", "gthUwOpcRoLI0MMCziCEBOWYnpo=")


def test_whoever_may_call_is_given_a_password_of_its_own_that_ends() -> None:
    """For every TURN server without one of its own; STUN needs none."""
    told = servers(turn_secret="north", turn_lifetime=300, turn_server="turn:two.test").told("alice")
    name, word = turn_credentials("north", "alice", 1_700_000_300)
    assert told == [
        {"urls": ["stun:s.test"]},
        {"urls": ["turn:t.test", "turns:t.test"], "username": name, "credential": word},
        {"urls": ["turn:own.test"], "username": "u", "credential": "c"},
        {"urls": ["turn:two.test"], "username": name, "credential": word},
    ]


def test_who_may_not_call_is_told_of_no_relay_of_the_secret() -> None:
    """Of no use without a password, and one would be a relay for strangers."""
    assert [one["urls"][0] for one in servers(turn_secret="north").told(None)] == ["stun:s.test", "turn:own.test"]


def test_without_a_secret_everybody_is_told_what_is_configured() -> None:
    """As before there was one."""
    assert servers().told(None) == servers().told("alice")
    assert [one["urls"][0] for one in servers().told(None)] == ["stun:s.test", "turn:t.test", "turn:own.test"]
