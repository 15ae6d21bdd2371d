"""What this machine gives: its ports, clock, files, buffers."""

from __future__ import annotations

import ctypes
import json
import resource
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gateway.app import settings
from gateway.config import Config, check_ports
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.doctor.own import has_network
from gateway.errors import AwayError, ConfigError
from gateway.media.choice import is_running
from gateway.web.facade import READY

_FILES_A_CALL = 8
"""Sockets and pipes that a call may take, with room to spare."""
_BUFFER = 1 << 20
"""Octets a busy socket should be able to keep."""
_RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
_CLOCK_NOT_SYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2)."""
_WHY = "Its /healthz says why"
_UNUSABLE = "Listen on an address of this machine (`ip address` lists them), at a port that this user may open."


NO_NETWORK = (
    "Connect it to a network, or give it an address of its own: `ip link add calls type dummy`,"
    " `ip addr add 198.18.0.1/24 dev calls`, `ip link set calls up`."
)


def running(config: Config) -> str | None:
    """The status that a gateway on `web.listen` gives of itself; None where there is none."""
    listen = config.web.listen
    scheme = "https" if config.web.tls.cert is not None else "http"
    context = ssl._create_unverified_context()  # it is our own, and asked nothing secret
    try:
        url = f"{scheme}://{settings.reachable(listen.host)}:{listen.port}/healthz"
        with urllib.request.urlopen(url, timeout=3, context=context) as response:
            body = json.load(response)
        return str(body["status"]) if "active_calls" in body else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ports(config: Config, status: str | None) -> Iterator[Finding]:
    """Whether everything that is listened on can be had, or this gateway has it already."""
    if status is not None:
        answers = f'A gateway answers at web.listen; it says that it is "{status}".'
        why = _WHY if status in READY else f"{_WHY}; until that is over it refuses new calls"
        yield good("ports", answers) if status == "ok" else notice("ports", answers, f"{why}.")
        return
    try:
        check_ports(config, media=not is_running(config.state_dir))
    except AwayError as error:
        yield wrong(error.key, f"{error.reason}.", "End the other program (`ss -lnp` names it) or take another port.")
    except ConfigError as error:
        yield wrong(error.key, f"{error.reason}.", _UNUSABLE)
    else:
        yield good("ports", "Every listening address can be opened.")


def network(config: Config) -> Iterator[Finding]:
    """Report a machine on which no browser can call, though the configuration expects browsers."""
    if has_network() or not (config.web.guests_welcome or any(user.web for user in config.users)):
        return
    yield wrong(
        "network",
        "This machine has no address but loopback, over which browsers make no calls: no browser can connect.",
        NO_NETWORK,
    )


def clock() -> Iterator[Finding]:
    """Whether the kernel knows the time from somewhere: certificates, tokens and call records need it."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return
    if state == _CLOCK_NOT_SYNCHRONISED:
        yield notice("clock", "Nothing keeps this machine's clock right.", "Run chrony or systemd-timesyncd.")
    elif state >= 0:
        yield good("clock", "The clock is kept right.")


def limits(config: Config) -> Iterator[Finding]:
    """Whether the calls that are allowed have files and buffers."""
    wanted, (allowed, _) = config.limits.calls * _FILES_A_CALL, resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        yield notice(
            "open files",
            f"This user may have {allowed} files open; {config.limits.calls} calls may want {wanted}.",
            f"Set LimitNOFILE={wanted} in the unit, or `ulimit -n {wanted}`; or lower limits.max_calls.",
        )
    else:
        yield good("open files", f"{config.limits.calls} calls have the files they need.")
    try:
        largest = int(_RMEM_MAX.read_text())
    except (OSError, ValueError):
        return
    if largest < _BUFFER:
        yield notice(
            "socket buffers",
            f"A socket keeps {largest:,} octets at most; bursts beyond are lost.",
            f"Run `sysctl -w net.core.rmem_max={4 * _BUFFER}`, and have it in /etc/sysctl.d.",
        )
    else:
        yield good("socket buffers", f"A socket keeps up to {largest:,} octets.")
