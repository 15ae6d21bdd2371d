"""Pages made from the code: commands, HTTP API, JSON-RPC, metrics, Python API, RFCs, state diagrams."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer.main

from gateway import Gateway
from gateway.call import attempt_table, bridge_table
from gateway.cli import app as commands
from gateway.sip.registration import client as registration
from gateway.sip.transactions import invite_client, invite_server, non_invite_client, non_invite_server
from gateway.testing import loopback_config
from gateway.web.rpc.table import METHODS
from scripts.site import diagrams, rfcs
from tests.public_api import PACKAGES, names, sentence

MADE = "<!-- Made from the code by scripts/site/reference.py. -->\n\n"


def pages() -> dict[str, str]:
    """Markdown by the page's place."""
    served, metrics = asyncio.run(_served())
    return {
        "reference/commands.md": MADE + _commands(),
        "reference/openapi.md": MADE + _openapi(served),
        "reference/json-rpc.md": MADE + _json_rpc(),
        "reference/metrics.md": MADE + _metrics(metrics),
        "reference/python.md": MADE + _python(),
        "reference/rfcs.md": MADE + rfcs.page(),
        "reference/states.md": MADE + _states(),
    }


async def _served() -> tuple[dict[str, Any], str]:
    """The API's own description, and the metrics, of a gateway that runs for a moment."""
    trunk = '[{"name": "pbx", "uri": "sip:127.0.0.1:9", "options_interval": 0}]'
    with tempfile.TemporaryDirectory() as folder:
        # With all that adds metrics of its own; nobody is at that collector, and nothing is sent to it.
        settings = {"TRUNKS": trunk, "METRICS__ENABLED": "true", "OTEL__ENDPOINT": "http://127.0.0.1:9"}
        async with Gateway(loopback_config(folder, [], **settings)) as gateway:
            schema, metrics = await asyncio.gather(
                *(asyncio.to_thread(_get, gateway.page_url + path) for path in ("openapi.json", "metrics"))
            )
    return json.loads(schema), metrics


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _cell(text: object) -> str:
    """Text as one cell of a table."""
    return " ".join(str(text or "").replace("|", "\\|").replace("<", "&lt;").split())


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _head(*names: str) -> list[str]:
    return [_row(*names), "|---" * len(names) + "|"]


def _commands() -> str:
    root = typer.main.get_command(commands)
    lines = ["# Commands", "", "Status 0: all is well, 1: something is wrong, 2: wrong arguments or configuration.", ""]
    for path, command in _each("gateway", root):
        lines += [f"## {path}", "", (command.help or "").strip().replace("\f", ""), ""]
        options = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
        if options:
            lines += ["| | | default |", "|---|---|---|"]
            for one in options:
                name = ", ".join(f"`{opt}`" for opt in one.opts) if one.param_type_name == "option" else f"`{one.name}`"
                default = "" if one.default in (None, False, "") or callable(one.default) else f"`{one.default}`"
                lines.append(f"| {name} | {_cell(getattr(one, 'help', ''))} | {_cell(default)} |")
            lines.append("")
    return "\n".join(lines)


def _each(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and all below it that do something."""
    below = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, one in below.items():
        yield from _each(f"{path} {name}", one)


def _openapi(schema: dict[str, Any]) -> str:
    lines = [
        "# HTTP API by path",
        "",
        "What a running gateway says at `/openapi.json`, explained in [HTTP API](../http-api.md).",
        "What is sent and answered is in [Bodies](#bodies).",
    ]
    lines.append("")
    for path, operations in sorted(schema["paths"].items()):
        for method, operation in operations.items():
            said = operation.get("description") or operation.get("summary") or ""
            lines += [f"## {method.upper()} {path}", "", said.strip(), ""]
            rows = [
                _row(f"`{one['name']}`", one["in"], "yes" if one.get("required") else "", one.get("description"))
                for one in operation.get("parameters", [])
            ]
            if rows:
                lines += ["| parameter | in | required | |", "|---|---|---|---|", *rows, ""]
            if "requestBody" in operation:
                lines += [f"Body: {_content(operation['requestBody'])}.", ""]
            answers = [
                _row(status, answer.get("description"), _content(answer))
                for status, answer in sorted(operation["responses"].items())
            ]
            lines += ["| status | | body |", "|---|---|---|", *answers, ""]
    return "\n".join([*lines, *_bodies(schema["components"]["schemas"])])


def _content(holder: dict[str, Any]) -> str:
    """The media types of a body and what each is."""
    content = holder.get("content", {}).items()
    return ", ".join(f"{_type(of['schema'])} (`{kind}`)" if of.get("schema") else f"`{kind}`" for kind, of in content)


def _bodies(schemas: dict[str, Any]) -> list[str]:
    lines = ["## Bodies", ""]
    for name, schema in sorted(schemas.items()):
        lines += [f"### {name}", "", (schema.get("description") or "").strip(), ""]
        required = schema.get("required", [])
        rows = [
            _row(
                f"`{field}`",
                _type(of),
                "yes" if field in required else "",
                f"`{json.dumps(of['default'])}`" if of.get("default") not in (None, "", [], {}) else "",
                of.get("description"),
            )
            for field, of in schema.get("properties", {}).items()
        ]
        lines += [*_head("field", "type", "required", "default", ""), *rows, ""] if rows else []
    return lines


def _type(schema: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return ", ".join(f"`{json.dumps(one)}`" for one in values)
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    of = schema.get("additionalProperties")
    return f"object of {_type(of)}" if kind == "object" and isinstance(of, dict) else f"{kind}{_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    """What a string or a number must keep to, in words."""
    for lowest, highest, unit in (("minLength", "maxLength", " characters"), ("minimum", "maximum", "")):
        low, high = schema.get(lowest), schema.get(highest)
        if high is not None:
            return f", {low} to {high}{unit}" if low is not None else f", at most {high}{unit}"
        if low is not None:
            return f", at least {low}{unit}"
    return ""


def _json_rpc() -> str:
    lines = [
        "# JSON-RPC by method",
        "",
        "Every method, its parameters in the order they have by position, and what it does;",
        "[JSON-RPC](../json-rpc.md) explains the results, notifications and errors.",
        "",
        *_head("method", "parameters", ""),
    ]
    for name, method in METHODS.items():
        said = (method.handler.__doc__ or "").partition("\n\n")[0]
        params = ", ".join(f"`{one}`" for one in method.names)
        lines.append(_row(f"`{name}`", params, said))
    return "\n".join(lines) + "\n"


def _metrics(text: str) -> str:
    said = "What `/metrics` has, in Prometheus' format, where [`metrics`](../configuration.md#metrics) lets it."
    lines = ["# Metrics", "", said, "", *_head("metric", "type", "")]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    for name, said in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        if not name.endswith("_created"):
            lines.append(_row(f"`{name}`", kinds[name], said))
    return "\n".join(lines) + "\n"


def _python() -> str:
    lines = ["# Python API by name", "", "Everything public; [the Python API](../api.md) shows how it is used.", ""]
    for package, what_for in PACKAGES.items():
        if package == "gateway.sdp":
            continue  # the package sdp under another name
        said = re.sub(r"\]\((\S+\.md)", r"](../\1", what_for[0].upper() + what_for[1:])
        lines += [f"## {package}", "", f"{said}.", ""]
        module = import_module(package)
        for name in names(package):
            thing = getattr(module, name)
            home = getattr(thing, "__module__", "")
            if isinstance(thing, type) or (callable(thing) and home.startswith(("gateway", "sdp"))):
                lines += [f"::: {home}.{thing.__qualname__}", "    options:", "      heading_level: 3", ""]
            else:  # a value or an alias, which has no page of its own
                lines += [f"### {name}", "", sentence(package, name), ""]
    return "\n".join(lines)


def calls() -> list[diagrams.Arrow]:
    """The life of a call, attempt and bridge."""
    return diagrams.arrows_of(attempt_table.TABLE) + diagrams.arrows_of(bridge_table.TABLE)


def _states() -> str:
    tables: list[tuple[str, Mapping[Any, tuple[Any, Any]], str]] = [
        ("INVITE client transaction", invite_client.TABLE, "RFC 3261 17.1.1, RFC 6026."),
        ("INVITE server transaction", invite_server.TABLE, "RFC 3261 17.2.1, RFC 6026."),
        ("Client transaction", non_invite_client.TABLE, "RFC 3261 17.1.2."),
        ("Server transaction", non_invite_server.TABLE, "RFC 3261 17.2.2."),
        ("A registration of ours", registration.TABLE, "RFC 3261 10.2."),
    ]
    drawn = [("A call", calls(), "From the first offer to the end ([calls](../calls.md#the-two-tables)).")]
    drawn += [(title, diagrams.arrows_of(table), said) for title, table, said in tables]
    said = "Drawn from the very tables that run. A number is explained in the table below its diagram."
    lines = ["# States", "", said, ""]
    for title, arrows, said in drawn:
        first = "new" if title == "A call" else arrows[0][0]
        lines += [f"## {title}", "", said, "", diagrams.markdown(title, first, arrows)]
    return "\n".join(lines)
