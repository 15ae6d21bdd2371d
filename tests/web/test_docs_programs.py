"""The programs of docs/http-api.md and docs/json-rpc.md, run as they stand but for addresses and passwords."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, blocks_of
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.processes import kill
from tests.remotemedia.ear import Ear, transport
from tests.web.fake import FakeGateway, running

pytestmark = pytest.mark.wall


def program(page: str, start: str, **changes: str) -> str:
    """The program of that page; each key of `changes` stands for what is to be written in its place."""
    [text] = [block.text for block in blocks_of(ROOT / "docs" / page) if block.text.startswith(start)]
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


async def run(text: str, folder: Path) -> str:
    """What it prints; AssertionError with what it says where it fails."""
    file = folder / "program.py"
    file.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(file)), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        printed, said = await asyncio.wait_for(process.communicate(), 45)
    finally:
        await kill(process)
    assert process.returncode == 0, said.decode()
    return printed.decode()


async def test_the_client_of_the_page_calls_and_hears(tmp_path: Path) -> None:
    """It hears the tone of 601."""
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "gateway.log") as gateway:
        changes = {"http://localhost:8080": gateway.web, "…": PASSWORDS["alice"]}
        printed = await run(program("http-api.md", "import asyncio", **changes), tmp_path)
        assert re.fullmatch(r"\d+ samples at 48000 Hz, the loudest \d{3,5}\nanswered\n", printed)
        await gateway.idle()


async def test_the_transport_of_the_page_carries_sound_and_a_file(tmp_path: Path) -> None:
    """To a peer that is called so: a tone of 440 Hz, a file; and what it prints counts that peer."""
    async with running(FakeGateway()) as server, transport(server, "peer-remote") as remote:
        ear = Ear(remote)
        text = program("json-rpc.md", "import asyncio", **{"ws://localhost:8080": f"ws://127.0.0.1:{server.port}"})
        printed = await run(text, tmp_path)
        assert abs(await ear.frequency() - 440) < 8
        assert await asyncio.wait_for(ear.files.get(), 30) == ("plan.pdf", b"its content")
        assert "active_peers=1" in printed
        assert " 1 ['peer-remote']\n" in printed
        assert "peer-remote (960,)\n" in printed
