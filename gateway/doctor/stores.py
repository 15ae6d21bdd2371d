"""Where registrations, and calls for the other gateways, are kept: written and read back."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from gateway.config import Config
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.identity.store import StoreError
from gateway.store.factory import store_named

_ENTRY = "doctor"
_LASTS = 60.0
"""Seconds that what was written for a look is kept."""
_SLOW = 0.1
"""Seconds for two questions from which on it is said that the store is far away."""


async def stores(config: Config) -> Iterator[Finding]:
    """Whether registrations can be kept, and the calls of the cluster's gateways."""
    found = [await _identities(config)]
    if config.cluster.journal is not None:
        found.append(await _looked_at("cluster.journal", config.cluster.journal, config.state_dir))
    return iter(found)


async def _identities(config: Config) -> Finding:
    path = config.sqlite_path
    if path is not None and not path.exists():
        folder = next(one for one in path.absolute().parents if one.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            return good("identity.store", f"{path} will be made.")
        return wrong(
            "identity.store",
            f"{path} cannot be made: {folder} is not ours to write in.",
            "Give the folder to the user that the gateway runs as, or set state_dir.",
        )
    return await _looked_at("identity.store", config.identity.store, config.state_dir)


async def _looked_at(key: str, name: str, folder: Path) -> Finding:
    kept, shown, mark, now = store_named(name, folder), _without_password(name), secrets.token_hex(8), time.time()
    try:
        await kept.open()
        await kept.text(_ENTRY, now)
    except (StoreError, OSError) as error:
        advice = "Start it, check the address and the password, and that a firewall lets us through."
        if name.startswith("sqlite"):
            advice = "Put the file back from a backup (`gateway restore`), or move it away for an empty one."
        await kept.close()
        return wrong(key, f"{shown} cannot be used: {error}.", advice)
    began = time.monotonic()
    try:
        await kept.put_text(_ENTRY, mark, now + _LASTS, now)
        read = await kept.text(_ENTRY, now)
    except (StoreError, OSError) as error:
        advice = "Name the server that takes writes, not a replica of it; or make room on its disk."
        if name.startswith("sqlite"):
            advice = "Make room on the disk, and give the file and its folder to the user that the gateway runs as."
        return wrong(key, f"{shown} can be read, but not written: {error}.", advice)
    finally:
        await kept.close()
    if read != mark:
        advice = "Name the server itself, not one behind a balancer or a proxy that answers reads from a replica."
        return wrong(key, f"What is written into {shown} is not what is read from it.", advice)
    took = time.monotonic() - began
    if took > _SLOW:
        slow = f"{shown} can be read and written, but takes {1000 * took:.0f} ms for it: calls wait that long."
        return notice(key, slow, "Have it nearer to here, and look at its load and its disk.")
    return good(key, f"{shown} can be read and written.")


def _without_password(name: str) -> str:
    """A list of a doctor's findings is shown to others."""
    parts = urlsplit(name)
    _, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=place)) if at else name
