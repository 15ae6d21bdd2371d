"""docs/http-api.md and docs/json-rpc.md say what is there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from gateway.call.status import Cause
from gateway.media.engine import StreamStatistics, TextStatistics
from gateway.web.admin.routes import StreamInfo, TextInfo
from gateway.web.app import WaysIn, create_app
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


def fields(part: Any, schemas: dict[str, Any], *above: str) -> set[str]:
    """Every member that a part of the description has, however deep."""
    if isinstance(part, list):
        return {name for one in part for name in fields(one, schemas, *above)}
    if not isinstance(part, dict):
        return set()
    name = str(part.get("$ref", "")).rpartition("/")[2]
    if name:
        return set() if name in (*above, "ErrorResponse") else fields(schemas[name], schemas, *above, name)
    return set(part.get("properties", {})) | {found for one in part.values() for found in fields(one, schemas, *above)}


def test_what_the_tables_say_is_sent_and_answered_is_described() -> None:
    """Each member between braces is one of a body of its path; `/api/links` is there only with a store of links."""
    described = create_app(FakeGateway(), ways=WaysIn(links=MagicMock())).openapi()
    paths, schemas = described["paths"], described["components"]["schemas"]
    read = 0
    for row in re.findall(r"^\| `.*\|$", (DOCS / "http-api.md").read_text(), re.MULTILINE):
        asked, *said = row.strip("| ").split(" | ")
        methods = {method.lower() for method in re.findall(r"\b(?:GET|PUT|POST|PATCH|DELETE)\b", asked)}
        there = [paths[path] for path in re.findall(r"/[\w/{}.-]+", asked) if path in paths]
        known = fields([path[method] for path in there for method in methods & set(path)], schemas)
        braces = re.findall(r"`[\[]?(\{[^`]*)`", " ".join(said))
        named = {name for each in braces for name in re.findall(r"[a-z]\w+", re.sub(r'"[^"]*"', "", each))}
        assert named <= known, (asked, named - known)
        read += len(named)
    assert read > 100


def test_what_the_engine_counts_is_described() -> None:
    """A member that the description lacks would be left out of the answer."""
    assert set(StreamInfo.model_fields) == {one.name for one in dataclasses.fields(StreamStatistics)}
    assert set(TextInfo.model_fields) == {one.name for one in dataclasses.fields(TextStatistics)}
