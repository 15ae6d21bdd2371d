"""docs/http-api.md and docs/json-rpc.md say what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gateway.call.status import Cause
from gateway.web.app import create_app
from gateway.web.rpc.table import METHODS
from tests.web.fake import FakeGateway

DOCS = Path(__file__).parents[2] / "docs"


def test_every_method_and_cause_is_documented() -> None:
    """And no method that does not exist."""
    text = (DOCS / "json-rpc.md").read_text()
    tables = re.findall(r"\| method \| params \| result \|\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    documented = {re.match(r"\| `([^`]+)`", line)[1] for table in tables for line in table.splitlines()}  # type: ignore[index]  # every row has one
    assert documented == set(METHODS)
    assert all(f"`{cause.word}`" in text for cause in Cause)


def test_every_route_is_documented() -> None:
    """Each path of the API has its line."""
    text = (DOCS / "http-api.md").read_text()
    for path in create_app(FakeGateway()).openapi()["paths"]:
        assert path in text, path
    assert "/webrtc/signaling/{room_id}/{peer_id}" in text
    assert "/rtc/signal?room=" in text


def test_every_json_example_is_json() -> None:
    """Each fenced block, or each of its lines."""
    for name in ("http-api.md", "json-rpc.md"):
        for block in re.findall(r"```json\n(.*?)```", (DOCS / name).read_text(), re.DOTALL):
            parts = [block] if block.startswith("{\n") else block.splitlines()
            for part in parts:
                json.loads(part)
