"""`gateway doctor --from`: another gateway, on another host, sees what a firewall hides from inside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config import Config, load
from tests.interop.gateway import environment_on_free_ports, gateway_with
from tests.netns import Host, host
from tests.nginx import listens, nginx
from tests.ports import free_port

pytestmark = pytest.mark.wall
SCRIPT = str(Path(sys.executable).with_name("gateway"))
PASSWORD = "kJ7-qZ4_wT9x"
FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])


@dataclass(frozen=True, slots=True)
class Other:
    """A gateway on the other host, and what an operator there is asked by."""

    there: Host
    url: str


def at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@asynccontextmanager
async def other_gateway(folder: Path, *, ipv6: bool, page: str = "", **changes: str) -> AsyncIterator[Other]:
    """One that is up, with an operator; its page is at the other host's address, or at `page`."""
    folder.mkdir()  # noqa: ASYNC240  # a test
    with host(ipv6=ipv6) as there:
        page = page or at(there.there, free_port())
        users = [{"id": "op", "web": True, "role": "operator", "password": PASSWORD}]
        users.append({"id": "carol", "web": True, "password": PASSWORD})
        environ = os.environ | environment_on_free_ports(folder, WEB__LISTEN=page, USERS=json.dumps(users), **changes)
        words = [*there.words, SCRIPT, "run"]
        process = await asyncio.create_subprocess_exec(
            *words, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                while b"stops the gateway" not in await process.stdout.readline():
                    assert process.returncode is None
            yield Other(there, f"http://op@{page}")
        finally:
            process.kill()
            await process.wait()


def ours(folder: Path, there: Host) -> dict[str, str]:
    """Changes that open a gateway to the other host."""
    sip, web, media = free_port(), free_port(), free_port()
    return {
        "SIP__LISTEN": json.dumps([f"udp:{at(there.here, sip)}", f"tcp:{at(there.here, sip)}"]),
        "WEB__LISTEN": at(there.here, web),
        "WEBRTC__LISTEN": at(there.here, media),
        "RTP__LISTEN": there.here,
    }


async def doctor(folder: Path, changes: dict[str, str], url: str, password: str = PASSWORD) -> list[str]:
    """What it says of the look from outside, each line as "wrong …"."""
    environ = os.environ | changes | {"DOCTOR_PASSWORD": password, "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        SCRIPT, "doctor", "--from", url, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, errors = await asyncio.wait_for(process.communicate(), 90)
    assert errors == b""
    lines = said.decode().splitlines()
    return [" ".join(line.split()) for line in lines if line.split()[1:3] == ["from", "outside"]]


def variables(folder: Path, changes: dict[str, str]) -> tuple[Config, dict[str, str]]:
    """The configuration, and the same as variables."""
    folder.mkdir()
    environ = environment_on_free_ports(folder, **changes)
    return load(None, environ), environ


@FAMILIES
async def test_another_gateway_reaches_every_port_that_is_open(tmp_path: Path, ipv6: bool) -> None:
    """Of a gateway that runs those that answer, and one of phones' media; stopped, those of browsers' media too."""
    async with other_gateway(tmp_path / "other", ipv6=ipv6) as other:
        config, environ = variables(tmp_path / "ours", ours(tmp_path, other.there))
        stopped = await doctor(tmp_path / "ours", environ, other.url)
        assert [line.split()[0] for line in stopped] == ["good"] * 6, stopped
        assert any("browsers' media" in line for line in stopped)
        async with gateway_with(config, tmp_path / "gateway.log"):
            runs = await doctor(tmp_path / "ours", environ, other.url)
        assert [line.split()[0] for line in runs] == ["good"] * 5 + ["notice"], runs
        assert "the gateway that runs has it, and answers there to nothing but the ICE checks of a call" in runs[-1]


@FAMILIES
async def test_a_port_that_a_firewall_drops_is_a_fault(tmp_path: Path, ipv6: bool) -> None:
    """It is named with its key; the others are reached."""
    async with other_gateway(tmp_path / "other", ipv6=ipv6) as other:
        config, environ = variables(tmp_path / "ours", ours(tmp_path, other.there))
        sip, page = config.sip.listen[0].port, config.web.listen.port
        other.there.rules(
            f"""
            table inet firewall {{
              chain out {{
                type filter hook output priority 0
                udp dport {{ {sip}, {config.rtp.ports} }} drop
                tcp dport {page} drop
              }}
            }}
            """
        )
        said = await doctor(tmp_path / "ours", environ, other.url)
    faults = [line for line in said if line.startswith("wrong")]
    assert len(faults) == 3, said
    for key in ("sip.listen.0", "web.listen", "rtp.ports"):
        assert any(f"({key})" in line for line in faults), said


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [("op", "guess", "does not know that operator"), ("carol", PASSWORD, "no operator there")],
)
async def test_who_may_not_ask_is_told(tmp_path: Path, user: str, password: str, words: str) -> None:
    """No port is tried for strangers, nor for users without a role."""
    async with other_gateway(tmp_path / "other", ipv6=False) as other:
        _, environ = variables(tmp_path / "ours", ours(tmp_path, other.there))
        [said] = await doctor(tmp_path / "ours", environ, other.url.replace("op@", f"{user}@"), password)
    assert said.startswith("wrong")
    assert words in said


async def test_a_gateway_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    """Said within seconds."""
    with host() as there:
        _, environ = variables(tmp_path / "ours", ours(tmp_path, there))
        [said] = await doctor(tmp_path / "ours", environ, f"http://op@{there.there}:1")
    assert said.startswith("wrong")
    assert "cannot look" in said


@FAMILIES
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "unnamed"])
async def test_a_gateway_behind_a_proxy_tries_nobody_but_who_asks(tmp_path: Path, ipv6: bool, is_named: bool) -> None:
    """A proxy that `web.proxies` names says who asks; behind another one the gateway says that it cannot know."""
    own, front = f"127.0.0.1:{free_port()}", free_port()
    proxies = json.dumps(["127.0.0.1"] if is_named else [])
    async with other_gateway(tmp_path / "other", ipv6=ipv6, page=own, WEB__PROXIES=proxies) as other:
        passed = f"proxy_pass http://{own}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        server = f"server {{ listen {at(other.there.there, front)}; location / {{ {passed} }} }}\n"
        _, environ = variables(tmp_path / "ours", ours(tmp_path, other.there))
        with nginx(tmp_path, server, other.there.words):
            async with asyncio.timeout(30):
                while not await listens(front, other.there.there):  # noqa: ASYNC110  # nginx notifies nobody
                    await asyncio.sleep(0.02)
            said = await doctor(tmp_path / "ours", environ, f"http://op@{at(other.there.there, front)}")
    if is_named:
        assert [line.split()[0] for line in said] == ["good"] * 6, said
    else:
        [line] = said
        assert line.startswith("wrong")
        assert "web.proxies" in line
