"""How commands on the gateway's own machine reach it: an address and a token in the state folder, for its user only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.files import write_whole

log = structlog.get_logger(__name__)

FILE_NAME = "console.json"
"""In the state folder, while the gateway runs."""


@dataclass(frozen=True, slots=True)
class ConsoleAccess:
    """Where the web side of a running gateway is, and what makes its commands an operator."""

    url: str
    """"http://127.0.0.1:8080", without a slash at its end."""
    token: str


def offer(state_dir: Path, access: ConsoleAccess) -> None:
    """Write the file, readable by the user alone, unless it is there; without it commands find no gateway (logged)."""
    path = state_dir / FILE_NAME
    if read(state_dir) == access:
        return
    try:
        write_whole(path, json.dumps({"url": access.url, "token": access.token}))
    except OSError as error:
        log.warning("commands on this machine do not reach the gateway", file=str(path), reason=error.strerror)


def withdraw(state_dir: Path, access: ConsoleAccess) -> None:
    """Take the file away; what is not ours stays, for another gateway may have begun on the same folder."""
    if read(state_dir) == access:
        (state_dir / FILE_NAME).unlink(missing_ok=True)


def read(state_dir: Path) -> ConsoleAccess | None:
    """What a running gateway has written there; None where there is none."""
    try:
        found = json.loads((state_dir / FILE_NAME).read_text(encoding="utf-8"))
        return ConsoleAccess(str(found["url"]), str(found["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
