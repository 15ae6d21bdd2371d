"""The STUN and TURN servers that browsers are told of, and passwords that end (coturn's shared secret)."""

from __future__ import annotations

from typing import Any

from gateway.config import Config
from gateway.media.embedded.webrtc.turn import turn_credentials
from gateway.media.ice_servers import IceServers
from gateway.web.facade import GUEST

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


def urls(told: list[dict[str, Any]]) -> list[str]:
    return [one["urls"][0] for one in told]


def test_passwords_that_stay_good_are_told_to_accounts_alone() -> None:
    """Guests where the server says so; strangers never."""
    assert urls(servers(turn_secret="north").told(None)) == ["stun:s.test"]
    assert urls(servers().told(None)) == urls(servers().told(GUEST)) == ["stun:s.test", "turn:t.test"]
    assert urls(servers().told("alice")) == ["stun:s.test", "turn:t.test", "turn:own.test"]
    open_to_guests = {"urls": ["turn:own.test"], "username": "u", "credential": "c", "guests": True}
    made = IceServers(Config.model_validate({"web": {"ice_servers": [open_to_guests]}}), lambda: NOW)
    assert (urls(made.told(GUEST)), urls(made.told(None))) == (["turn:own.test"], [])


def test_a_guests_password_ends_soon_and_is_bound_to_its_source() -> None:
    """One user name a source and moment, which does not say the address; a /64 is one source."""
    made = servers(turn_secret="north", turn_lifetime=3_600)

    def name(client: str) -> str:
        [entry] = [one for one in made.told(GUEST, client) if one["urls"][0] == "turn:t.test"]
        assert turn_credentials("north", entry["username"].partition(":")[2], 1_700_000_120) == (
            entry["username"],
            entry["credential"],
        )
        return str(entry["username"])

    sources = ["192.0.2.7", "192.0.2.8", "2001:db8:1:2::7", "2001:db8:1:3::7"]
    assert len({name(source) for source in sources}) == len(sources)
    assert name("2001:db8:1:2::7") == name("2001:db8:1:2::8")
    assert not [source for source in sources if source in name(source)]
