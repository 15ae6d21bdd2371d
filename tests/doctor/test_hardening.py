"""Each line of the hardening checklist in docs/security.md is one that the doctor looks at."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.doctor import examined, run_doctor
from gateway.doctor import hardening
from gateway.doctor.findings import Finding, Verdict
from tests.docs_blocks import ROOT
from tests.doctor.around import config
from tests.interop.gateway import environment_on_free_ports
from tests.net.certificates import Authority
from tests.ports import free_ports
from tests.rows import by_row

GOOD = "kJ7-qZ4_wT9x"
TRUNK = {"name": "pbx", "uri": "sip:127.0.0.1:9"}


def page() -> list[str]:
    """Names of the checklist's lines, in their order."""
    section = (ROOT / "docs/security.md").read_text().partition("## Hardening checklist")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def opened(folder: Path, **sections: Any) -> dict[str, Any]:
    """A gateway that others reach, on free ports."""
    web, sip, webrtc, rtp = free_ports(4)
    made: dict[str, Any] = {
        "state_dir": str(folder),
        "identity": {"store": "memory"},
        "web": {"listen": f"0.0.0.0:{web}"},
        "sip": {"listen": [f"udp:0.0.0.0:{sip}"], "timers": {"lookup": 0.5}},
        "webrtc": {"listen": f"0.0.0.0:{webrtc}"},
        "rtp": {"listen": "0.0.0.0", "ports": f"{rtp}-{rtp + 9}"},
        "users": [{"id": "alice", "web": True, "password": GOOD}],
    }
    for name, keys in sections.items():
        made[name] = made.get(name, {}) | keys if isinstance(keys, dict) else keys
    return made


LOOSE: dict[str, dict[str, Any]] = {
    "web.tls": {},
    "web.guests": {"web": {"guests": "on"}},
    "web.open_rooms": {"web": {"open_rooms": "on"}},
    "metrics.sources": {"metrics": {"enabled": True, "sources": ["0.0.0.0/0"]}},
    "users[].may_call": {"trunks": [TRUNK], "users": [{"id": "alice", "web": True, "may_call": ["trunk:pbx"]}]},
    "trunks[].max_calls": {"trunks": [TRUNK]},
    "conference.min_pin": {"conference": {"min_pin": 4}, "trunks": [TRUNK]},
    "emergency.numbers": {},
    "sip.bans": {"sip": {"bans": {"time": 0}}},
    "state_dir": {},
    "firewall": {},
}
"""What opens each line; passwords are below."""


def of(findings: list[Finding], name: str) -> list[Verdict]:
    return [one.verdict for one in findings if re.sub(r"\.\d+\b", "[]", one.subject) == name]


@pytest.mark.wall
@by_row("name", page())
async def test_the_doctor_names_a_line_of_the_checklist_that_does_not_hold(tmp_path: Path, name: str) -> None:
    """A notice or a fault, for each."""
    state = tmp_path / "state"
    state.mkdir(mode=0o755 if name == "state_dir" else 0o700)
    if name == "users[].password":
        environ = environment_on_free_ports(tmp_path, SIP__LISTEN="udp:0.0.0.0:5060", USERS__1001__PASSWORD="1234")
        said = io.StringIO()
        console = Console(width=200, file=said)
        assert not await asyncio.to_thread(run_doctor, None, console, environ)
        assert "users.2.password" in said.getvalue()
    else:
        findings = await examined(config(**opened(state, **LOOSE[name])), Console(quiet=True))
        assert {Verdict.NOTICE, Verdict.WRONG} & set(of(findings, name)), findings


@pytest.mark.wall
async def test_the_doctor_says_that_the_checklist_holds(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """Every line but the firewall's, which is never seen from inside."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    cert, key = Authority(tmp_path).issue("gateway.local", days=90)
    tight = opened(
        state,
        web={"tls": {"cert": str(cert), "key": str(key)}},
        trunks=[TRUNK | {"max_calls": 2}],
        emergency={"numbers": ["112"]},
    )
    findings = await examined(config(**tight), Console(quiet=True))
    for name in page():
        with subtests.test(name):
            assert name == "firewall" or of(findings, name)[0] is Verdict.GOOD


def test_of_a_gateway_for_this_machine_alone_nothing_is_to_be_hardened() -> None:
    """Lessons and developers are left alone."""
    assert list(hardening.hardening(config(web={"guests": "on"}))) == []
    assert len(page()) == len(LOOSE) + 1
