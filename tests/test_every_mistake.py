"""All mistakes of a configuration are found in one run, each once, with its place."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from gateway.commands.check import check
from gateway.config import examine

MANY = """\
domian: example.com
sip:
  lisen: ["udp:127.0.0.1:5060"]
  ring_timeout: 5
  ring_timeout: 30
web:
  listen: 127.0.0.1:eighty
  guests: perhaps
users:
  - {id: alice, web: true, pasword: x}
  - {id: bob}
  - {web: true}
  - {id: carol, web: true}
  - {id: carol, web: true}
trunks:
  - {name: pbx, uri: pbx.example.com}
  - {name: spare, uri: "sip:spare.example.com", register: true}
routes:
  - {match: "0*", to: "trunk:pbx"}
  - {match: "1*", to: "trunk:spere"}
  - {match: "2*", to: "user:bob"}
  - {match: "3*", to: "moon:bob"}
groups:
  - {name: sales, members: [carol, alise]}
webrtc:
  listen: 127.0.0.1:12000
log: {level: loud}
"""
FOUND = {
    "domian": (1, "did you mean domain?"),
    "sip.lisen": (3, "did you mean sip.listen?"),
    "sip.ring_timeout": (5, "appears twice, on lines 4 and 5"),
    "web.listen": (7, "not a port number"),
    "web.guests": (8, "must be 'auto', 'on' or 'off', not 'perhaps'"),
    "users.0.pasword": (10, "did you mean users.0.password?"),
    "users.1": (11, "neither web nor sip"),
    "users.2.id": (12, "is missing"),
    "users.4.id": (14, "is there twice"),
    "trunks.0.uri": (16, "not a SIP URI"),
    "trunks.1": (17, "needs a username"),
    "routes.1.to": (20, "did you mean 'spare'?"),
    "routes.3.to": (22, "must begin with"),
    "groups.0.members": (24, "did you mean 'alice'?"),
    "webrtc.listen": (26, "lies within rtp.ports"),
    "log.level": (27, "must be 'debug', 'info', 'warning' or 'error', not 'loud'"),
    "sip.nothing": (0, "GATEWAY_SIP__NOTHING in the environment"),
    "sip.max_diversions": (0, "GATEWAY_SIP__MAX_DIVERSIONS in the environment"),
}
VARIABLES = {"GATEWAY_SIP__NOTHING": "1", "GATEWAY_SIP__MAX_DIVERSIONS": "many"}


def test_every_mistake_of_a_file_is_found_in_one_run(tmp_path: Path) -> None:
    """Of its form, its keys, its values, and between its sections; none that follows from another."""
    path = tmp_path / "gateway.yaml"
    path.write_text(MANY)
    examined = examine(path, VARIABLES)
    assert examined.config is None
    found = {mistake.key: mistake.reason for mistake in examined.mistakes}
    assert len(found) == len(examined.mistakes)
    assert set(found) == set(FOUND)
    for key, (line, words) in FOUND.items():
        assert words in found[key], (key, found[key])
        assert not line or f"line {line})" in found[key] or f"and {line} of" in found[key], (key, found[key])


def test_a_broken_rule_leaves_the_configuration_whole(tmp_path: Path) -> None:
    """So that the doctor looks at the rest of it."""
    path = tmp_path / "gateway.yaml"
    path.write_text("sip: {listen: ['udp:0.0.0.0:5060']}\nusers: [{id: '1001', sip: true, password: '1234'}]")
    examined = examine(path, {})
    assert examined.config is not None
    assert [mistake.key for mistake in examined.mistakes] == ["users.0.password"]


def test_what_does_not_answer_is_named_beside_mistakes(tmp_path: Path) -> None:
    """A store and an engine that are away, each with its line, in one run with what is wrong in the file."""
    path = tmp_path / "gateway.yaml"
    lines = (
        "web: {lisen: 1}",
        "identity:",
        "  store: redis://127.0.0.1:1/0",
        "media:",
        "  engine: rtpengine:127.0.0.1:1",
    )
    path.write_text("\n".join(lines) + "\n")
    said = [str(one) for one in check(path, Console(quiet=True), {})]
    assert [one.partition(":")[0] for one in said] == ["web.lisen", "identity.store", "media.engine"]
    assert [re.findall(r"\(gateway.yaml, line (\d)\)", one) for one in said] == [["1"], ["3"], ["5"]]


def test_of_a_broken_store_no_other_one_is_asked(tmp_path: Path) -> None:
    """Its default is not the store that the file means."""
    path = tmp_path / "gateway.yaml"
    path.write_text("identity: {store: redis:nowhere}\nmedia: {engine: rtpengine:127.0.0.1:1}\n")
    said = [str(one).partition(":")[0] for one in check(path, Console(quiet=True), {})]
    assert said == ["identity.store", "media.engine"]
