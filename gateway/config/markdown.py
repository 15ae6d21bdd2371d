"""Reference of all keys, generated from the models: `python -m gateway.config > docs/configuration.md`."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import shape
from gateway.config.settings import Config
from gateway.config.values import Advertised, HostPort, PortRange, SipListen

_INTRODUCTION = """\
# Configuration

<!-- Made from the models by `python -m gateway.config > docs/configuration.md`; a test checks it. -->

The gateway reads one YAML file, `gateway.yaml` unless told otherwise, and the environment. Every key has a
default; the file in the repository shows them all. `gateway check-config --config FILE` checks a file, the listening
ports, the store and rtpengine; names every key that is wrong, with file and line; and ends with status 2 when there is
one, 75 when another program has a port or a server does not answer.

- **Environment**: `GATEWAY_`, then the path of the key in capitals with two underscores between its parts:
  `sip.ring_timeout` is `GATEWAY_SIP__RING_TIMEOUT`. It wins over the file.
- **Lists by environment**: JSON or YAML, or values separated by commas: `GATEWAY_CODECS__RTP=pcma,pcmu`.
  One entry is reached by its number, its `id` or its `name`: `GATEWAY_USERS__ALICE__PASSWORD`,
  `GATEWAY_ROUTES__0__TO`; the number after the last adds one.
- **Secrets** (secret text, and URLs of stores) can stand in files of their own, whose last line break is no part of
  them: `password: {file: /run/secrets/alice}`, or by the environment `GATEWAY_USERS__ALICE__PASSWORD_FILE`.
- **Passwords** of users, tokens of programs, `webrtc.turn_secret` and `cluster.key` that are easily guessed end the
  start wherever others than this machine reach them.
- **Units**: durations in seconds, sizes in bytes, rates per second.
- **Scalars** follow YAML 1.2: `off` is the word, `0044` and `+4930` keep their leading characters. A
  bare `1001` where text is wanted is the text.
- **Addresses**: `127.0.0.1:8080`, `[::1]:8080`; an advertised one may be a name and may lack the port.
"""

_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_NAMED_TYPES = {
    "SecretStr": "secret text",
    "Path": "path",
    HostPort.__name__: "address:port",
    SipListen.__name__: "transport:address:port",
    Advertised.__name__: "host or host:port",
    PortRange.__name__: "first-last",
}


def markdown() -> str:
    """Return the whole document."""
    parts = [_INTRODUCTION, *_sections("", Config)]
    return "\n".join(parts)


def _sections(path: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield a table of the model's own keys, then one for each section and kind of list entry inside."""
    inside: list[tuple[str, type[BaseModel]]] = []
    rows: list[str] = []
    meant = meanings(model)
    for name, field in shape.keys(model).items():
        full = f"{path}.{name}" if path else name
        section = shape.section(field.annotation)
        entry = shape.section(shape.item(field.annotation)) if shape.item(field.annotation) is not None else None
        if section is not None:
            inside.append((full, section))
            continue
        if entry is not None:
            inside.append((f"{full}[]", entry))
        rows.append(_row(full, field, meant.get(name, "")))
    title = f"## `{path}`" if path else "## Top level"
    about = _one_line(model.__doc__ or "") if path else "Keys that belong to no section."
    yield f"{title}\n\n{about}\n"
    if rows:
        yield "| key | type | default | meaning |\n|---|---|---|---|"
        yield "\n".join(rows) + "\n"
    for full, section in inside:
        yield from _sections(full, section)


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the sentence below each key in the source, including bases. Parsed on demand, as pydantic's own option
    (`use_attribute_docstrings`) takes a tenth of each start."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith("gateway."):
            [source] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(source, ast.ClassDef)
            for field, below in pairwise(source.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                        found[model.model_fields[name].alias or name] = sentence
    return found


def _row(path: str, field: FieldInfo, meaning: str) -> str:
    cells = [f"`{path}`", _type(field), _default(field), _one_line(meaning)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: FieldInfo) -> str:
    item = shape.item(field.annotation)
    if item is not None:
        section = shape.section(item)
        return "list of sections" if section is not None else f"list of {_name(item)}"
    return _name(field.annotation) + _bounds(field)


def _name(annotation: Any) -> str:
    inner = shape.bare(annotation)
    if get_origin(inner) is Literal:
        return " / ".join(f"`{choice}`" for choice in get_args(inner))
    return _TYPES.get(inner) or _NAMED_TYPES[inner.__name__]


def _bounds(field: FieldInfo) -> str:
    words = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}
    found = []
    for limit in field.metadata:
        if isinstance(limit, Ge | Gt | Le | Lt):
            attribute, word = words[type(limit)]
            found.append(f"{word} {getattr(limit, attribute):g}")
        elif isinstance(limit, MinLen):
            found.append("not empty")
    return f", {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return ""
    return f"`{json.dumps(_plain(field.default), ensure_ascii=False)}`"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str):
        return value
    return value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())
