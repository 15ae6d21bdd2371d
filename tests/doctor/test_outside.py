"""What the doctor says of the world outside: firewalls, addresses that contradict each other, no network at all."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.doctor import machine, names, network, outside
from gateway.doctor.findings import Finding, Verdict
from gateway.doctor.outside import Outside, by_url
from gateway.errors import ConfigError
from tests import peers
from tests.doctor.around import config, said, stun_server
from tests.doctor.conftest import FOREIGN, OWN
from tests.interop.gateway import environment_on_free_ports
from tests.net.name_server import NameServer
from tests.rows import by_row

SCRIPT = str(Path(sys.executable).with_name("gateway"))
OPEN = {"sip": {"listen": ["udp:0.0.0.0:5060"]}, "web": {"listen": "0.0.0.0:8080"}}


async def looked(given: Config, by: Outside | None = None) -> list[Finding]:
    return list(await outside.outside(given, by, runs=False))


async def test_a_firewall_is_said_not_to_be_seen_where_peers_are_to_come() -> None:
    """With what to do; nothing is said of a gateway that this machine alone reaches."""
    [finding] = await looked(config(**OPEN))
    assert (finding.verdict, finding.subject) == (Verdict.NOTICE, "firewall")
    assert "--from" in finding.advice
    assert await looked(config()) == []


@pytest.mark.parametrize(("told", "verdict"), [(FOREIGN, Verdict.GOOD), ("203.0.113.77", Verdict.WRONG)])
async def test_a_stun_server_that_one_names_sees_the_address(told: str, verdict: Verdict) -> None:
    """Beside what browsers are told; the firewall stays unseen."""
    async with stun_server((FOREIGN, 4711)) as server:
        found = await looked(config(**OPEN, webrtc={"advertised": [told]}), by_url(server))
    assert (said(found, "from outside").verdict, FOREIGN in said(found, "from outside").found) == (verdict, True)
    assert said(found, "firewall").verdict is Verdict.NOTICE


@by_row("url", ["phone.example.com", "ftp://op@phone.example.com", "https://phone.example.com", ""])
def test_who_is_to_look_is_named_by_a_url(url: str) -> None:
    """Of a page with an operator, or of a STUN server."""
    with pytest.raises(ConfigError, match=r"https://OPERATOR@HOST or stun:HOST:PORT"):
        by_url(url)
    assert by_url("https://op%40a:pw@h.test:8443/phone") == Outside("https://h.test:8443/phone", "op@a", "pw")


CONTRADICTIONS: tuple[tuple[str, str, str, Verdict], ...] = (
    ("sip", "sip.listen (udp)", "10.99.0.1", Verdict.NOTICE),
    ("webrtc", "webrtc.listen", "192.168.77.1", Verdict.NOTICE),
    ("rtp", "rtp.listen", "fd12:3456::1", Verdict.NOTICE),
)


@by_row(("section", "key", "address", "verdict"), CONTRADICTIONS)
def test_an_inner_address_that_is_none_of_this_machines_is_named(
    section: str, key: str, address: str, verdict: Verdict
) -> None:
    """A container's host may have it; a slip of the pen has nobody."""
    sections: dict[str, dict[str, Any]] = {section: {"advertised": [address] if section == "webrtc" else address}}
    if ":" in address:
        sections["rtp"]["listen"] = "::1"
    finding = said(network.addresses(config(**sections)), key)
    assert (finding.verdict, "no address of this machine" in finding.found) == (verdict, True)
    assert f"{section}.advertised" in finding.advice


@pytest.mark.parametrize("key", ["sip.advertised", "webrtc.advertised", "rtp.advertised"])
@pytest.mark.parametrize(("told", "is_wrong"), [("203.0.113.99", True), (FOREIGN, False)])
async def test_an_address_that_contradicts_the_domains_is_a_fault(
    server: NameServer, key: str, told: str, is_wrong: bool
) -> None:
    """The domain leads to this machine, as a STUN server sees it; peers are told another."""
    section = key.partition(".")[0]
    sections: dict[str, dict[str, Any]] = {section: {"advertised": [told] if section == "webrtc" else told}}
    async with stun_server((FOREIGN, 4711)) as seen:
        sections.setdefault("webrtc", {})["stun_server"] = seen
        findings = list(await names.names(config(domain="far.example", **sections)))
    faults = [one for one in findings if one.verdict is Verdict.WRONG]
    assert [one.subject for one in faults] == ([key] if is_wrong else [])
    assert all(told in one.found and FOREIGN in one.found and "far.example" in one.found for one in faults)


async def test_an_address_beside_a_domain_that_leads_elsewhere_is_left_alone(server: NameServer) -> None:
    """A proxy has the domain then, and this machine an address of its own."""
    findings = list(await names.names(config(domain="far.example", sip={"advertised": OWN})))
    assert [one for one in findings if one.verdict is Verdict.WRONG] == []


@pytest.mark.parametrize("alone", [False, True])
def test_a_machine_without_a_network_is_a_fault_where_browsers_come(
    monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """For guests and for users with a page; a gateway of phones alone needs none."""
    monkeypatch.setattr(machine, "has_network", lambda: not alone)
    found = [*machine.network(config()), *machine.network(config(**OPEN, users=[{"id": "a", "web": True}]))]
    assert [one.verdict for one in found] == [Verdict.WRONG] * 2 * alone
    assert all("ip link add" in one.advice for one in found)
    assert list(machine.network(config(web={"guests": "off"}, users=[{"id": "1001", "sip": True}]))) == []


def in_a_box(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on a machine that has loopback alone, which ends within seconds."""
    peers.namespaces()
    environ = os.environ | {"COLUMNS": "200"} | environment_on_free_ports(folder)
    return subprocess.run(
        ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", SCRIPT, *words],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.wall
@pytest.mark.parametrize("browser", ["auto", "aiortc"])
def test_the_demo_says_in_seconds_that_no_browser_can_connect(tmp_path: Path, browser: str) -> None:
    """On a machine of loopback alone, with what to do; it does not wait for what cannot come."""
    done = in_a_box(tmp_path, "demo", "--browser", browser)
    assert done.returncode != 0
    assert "no address but loopback" in done.stderr
    assert "ip link add" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.wall
def test_the_doctor_of_a_machine_without_a_network_names_it(tmp_path: Path) -> None:
    """Whole, as people run it."""
    done = in_a_box(tmp_path, "doctor")
    assert re.search(r"^wrong +network ", done.stdout, re.MULTILINE), done.stdout


LINE = re.compile(r"(?:good|notice|wrong) +\S.*| {8}\S.*|\d+ faults?, \d+ notices?\.|The rest is looked at .*|")


@pytest.mark.wall
@pytest.mark.parametrize("broken", [False, True])
async def test_the_doctors_output_is_its_own(tmp_path: Path, broken: bool) -> None:
    """Findings alone, also where what it looks at logs: names, trunks, a store, a name of a file."""
    changes = {
        "TRUNKS": '[{"name": "far", "uri": "sip:nowhere.invalid"}, {"name": "near", "uri": "sip:127.0.0.1:9"}]',
        "IDENTITY__STORE": "redis://127.0.0.1:1/0",
        "MEDIA__ENGINE": "rtpengine:127.0.0.1:1",
        "WEBRTC__STUN_SERVER": "stun:127.0.0.1:1",
        "LOG__LEVEL": "debug",
        **({"DOMIAN": "a"} if broken else {}),
    }
    environ = os.environ | environment_on_free_ports(tmp_path, **changes) | {"COLUMNS": "80"}
    process = await asyncio.create_subprocess_exec(
        SCRIPT, "doctor", cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(process.communicate(), 90)
    assert (process.returncode, errors) == (1, b"")
    strange = [line for line in out.decode().splitlines() if not LINE.fullmatch(line)]
    assert strange == []
