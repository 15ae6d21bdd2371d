"""The `curl` lines of docs/http-api.md and docs/conference.md, at a whole gateway."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.client import GatewayClient
from tests import peers
from tests.docs_blocks import ROOT, blocks_of
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with

pytestmark = pytest.mark.wall


def line(page: str, start: str) -> str:
    """The command of that page that begins so."""
    [block] = [one.text for one in blocks_of(ROOT / "docs" / page) if one.text.startswith(start)]
    return block.partition("\n")[0]


async def asked(command: str, web: str, **given: str) -> Any:
    """What it answers; `given` stands in the place of the page's own words."""
    for address in ("http://127.0.0.1:8080", "http://localhost:8080", "https://phone.example.com"):
        command = command.replace(address, web)
    for word, here in given.items():
        assert command.count(word) == 1
        command = command.replace(word, here)
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", command], capture_output=True, text=True, check=False, timeout=40
    )
    return json.loads(done.stdout or "null")


async def test_the_requests_of_the_pages_are_answered(tmp_path: Path) -> None:
    """A room is opened, a session closed, the key of Web Push given."""
    peers.program("curl", "curl")
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "gateway.log") as gateway:
        room = await asked(line("conference.md", "curl -s -u alice"), gateway.web, PASSWORD=PASSWORDS["alice"])
        assert (room["room"], room["title"], room["by"], room["has_pin"]) == ("8000", "Monday round", "alice", True)
        async with GatewayClient(gateway.web) as client, await client.call("600") as call:
            [running] = gateway.app.calls
            closed = await asked(line("http-api.md", "curl -X POST"), gateway.web, s1=call.session_id)
            assert closed is None or "error" not in closed, closed
            await asyncio.wait_for(running.finished(), 30)
        token = f"alice:{PASSWORDS['alice']}"
        found = await asked(line("http-api.md", 'curl -H "Authorization'), gateway.web, **{"$TOKEN": token})
        assert found["key"]
