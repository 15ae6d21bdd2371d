"""The ten mistakes of docs/troubleshooting.md: each tool says of them what the page says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT
from tests.interop.gateway import environment_on_free_ports
from tests.net.certificates import self_signed
from tests.rows import by_row

pytestmark = pytest.mark.wall
SCRIPT = str(Path(sys.executable).with_name("gateway"))
TOOLS = ("check-config", "run", "doctor")
PBX = '[{"name": "pbx", "uri": "sip:127.0.0.1:9"}]'

Mistake = Callable[[Path], dict[str, str]]


def rows() -> list[list[str]]:
    """The table's cells, line by line."""
    section = (ROOT / "docs/troubleshooting.md").read_text().partition("## Ten mistakes")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def misspelt(folder: Path) -> dict[str, str]:
    (folder / "gateway.yaml").write_text("sip:\n  lisen: [udp:127.0.0.1:5060]\n")
    return {}


def absent_trunk(folder: Path) -> dict[str, str]:
    return {"TRUNKS": PBX, "ROUTES": '[{"match": "0*", "to": "trunk:pbxx"}]'}


def weak(folder: Path) -> dict[str, str]:
    users = '[{"id": "guard", "sip": true, "password": "1234"}]'
    return {"SIP__LISTEN": "udp:0.0.0.0:25060", "USERS": users}


def clash(folder: Path) -> dict[str, str]:
    return {"WEBRTC__LISTEN": "127.0.0.1:12000", "RTP__PORTS": "11000-13000"}


def no_certificate(folder: Path) -> dict[str, str]:
    return {"WEB__TLS__CERT": str(folder / "none.pem"), "WEB__TLS__KEY": str(folder / "none.key")}


def signed_by_itself(folder: Path) -> dict[str, str]:
    cert, key = self_signed(folder, "gateway.local")
    return {"WEB__TLS__CERT": str(cert), "WEB__TLS__KEY": str(key), "WEB__PUBLIC_URL": "https://gateway.local"}


def no_redis(folder: Path) -> dict[str, str]:
    return {"IDENTITY__STORE": "redis://127.0.0.1:1/0"}


def no_rtpengine(folder: Path) -> dict[str, str]:
    return {"MEDIA__ENGINE": "rtpengine:127.0.0.1:1"}


def other_address(folder: Path) -> dict[str, str]:
    return {"SIP__ADVERTISED": "10.99.88.77"}


MISTAKES: dict[str, Mistake] = {
    "a key is misspelt": misspelt,
    "a route names a trunk that is not there": absent_trunk,
    "a password is 1234, and others reach SIP": weak,
    "two sockets want one port": clash,
    "another program has the port of SIP": lambda folder: {},
    "the certificate is not there": no_certificate,
    "the certificate has signed itself": signed_by_itself,
    "Redis is away": no_redis,
    "rtpengine is away": no_rtpengine,
    "peers are told another machine's address": other_address,
}


@contextlib.contextmanager
def taken(environ: dict[str, str], *, wanted: bool) -> Iterator[None]:
    """Another program has the port of SIP, where that is `wanted`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        if wanted:
            [listen] = json.loads(environ["GATEWAY_SIP__LISTEN"])
            holder.bind(("127.0.0.1", int(listen.rpartition(":")[2])))
        yield


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool has said, and its status; None: a gateway that is up."""

    text: str
    status: int | None


async def ask(tool: str, folder: Path, environ: dict[str, str]) -> Said:
    """Run a tool to its end, a gateway until it is up."""
    process = await asyncio.create_subprocess_exec(
        SCRIPT, tool, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    text = ""
    try:
        async with asyncio.timeout(60):
            while line := (await process.stdout.readline()).decode():
                text += line
                if "stops the gateway" in line:
                    return Said(text, None)
            return Said(text, await process.wait())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@by_row("cells", rows(), ids=lambda cells: cells[0])
async def test_each_tool_says_of_a_mistake_what_the_page_says(tmp_path: Path, cells: list[str]) -> None:
    """Its words and its status; no traceback, whatever it is."""
    mistake, *wanted = cells
    changes = MISTAKES[mistake](tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environ = kept | environment_on_free_ports(tmp_path, **changes) | {"COLUMNS": "300"}
    if (tmp_path / "gateway.yaml").exists():
        environ.pop("GATEWAY_SIP__LISTEN")
    with taken(environ, wanted=mistake.startswith("another program")):
        for tool, cell in zip(TOOLS, wanted, strict=True):
            said = await ask(tool, tmp_path, environ)
            assert "Traceback" not in said.text
            if cell == "starts":
                assert said.status is None, (tool, said)
                continue
            found = re.fullmatch(r"`(.+)` \((\d+)\)", cell)
            assert found is not None, cell
            assert (said.status, found[1] in said.text) == (int(found[2]), True), (tool, said)


def test_there_are_ten() -> None:
    """Each with a way to make it."""
    assert [cells[0] for cells in rows()] == list(MISTAKES)
    assert len(MISTAKES) == 10
