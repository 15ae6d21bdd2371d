"""What a call costs at one gateway, and at two of one cluster where the phone is at the other one.

Run as `python -m bench.cluster`. Both share a Redis, as a site does; sipp calls by a trunk, and sipp is the phone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.process import cpu_with_children
from bench.registrations import DOMAIN, PASSWORD
from bench.sip import _QUIET, USER, _callee, _ended, _Phone, _silent, _sipp
from bench.table import Result, report
from gateway.app import GatewayApp
from gateway.commands.run import spare_collector
from gateway.config import load
from gateway.demo.ports import free_ports

CALLS = 200
RATE = 20
"""Calls a second: low enough for two gateways, sipp and Redis on two cores."""
ROUNDS = 3
OTHER = "phone-of-another-gateway"
"""A second user, for whoever has a phone at each gateway."""


async def _serve(port: int, store: str, folder: str, load_bound: str, rtp: str) -> None:
    """A gateway of the cluster until SIGTERM; `load_bound` is its limits.load, `rtp` its rtp.ports."""
    _silent()
    web, webrtc = free_ports(2)
    trunk = {"name": "load", "uri": "sip:127.0.0.1:9", "sources": ["127.0.0.1"], "options_interval": 0}
    environ = {
        "DOMAIN": DOMAIN,
        "SIP__LISTEN": f'["udp:127.0.0.1:{port}"]',
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "RTP__PORTS": rtp,
        "IDENTITY__STORE": store,
        "CLUSTER__NODE": f"sip:127.0.0.1:{port}",
        "CLUSTER__KEY": "the-key-of-the-cluster-in-this-benchmark",
        "CLUSTER__INTERVAL": "0.5",
        "STATE_DIR": folder,
        "USERS": json.dumps(
            [{"id": user, "sip": True, "password": PASSWORD, "max_calls": 100_000} for user in (USER, OTHER)]
        ),
        "TRUNKS": json.dumps([trunk]),
        "LIMITS__CALLS_PER_SECOND": "100000",
        "LIMITS__LOAD": load_bound,
        "SIP__LIMITS__MAX_TRANSACTIONS": "200000",
    }
    app = GatewayApp(load(None, {f"GATEWAY_{name}": value for name, value in environ.items()}))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await app.start()
    spare_collector()
    print("ready", flush=True)
    await stopped.wait()
    await app.stop()


@contextlib.contextmanager
def gateways(folder: str, ports: Sequence[int], load_bound: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Gateways of one cluster at these ports, which share a Redis, and have seen each other."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_redis(Path(folder)))
        started = []
        # Below those that the kernel hands out.
        for port, rtp in zip(ports, ("10000-20000", "20002-30000"), strict=False):
            given = (str(port), store, f"{folder}/{port}", load_bound, rtp)
            command = [sys.executable, "-m", "bench.cluster", "serve", *given]
            gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            stack.callback(_ended, gateway)
            assert gateway.stdout is not None
            if not gateway.stdout.readline():
                raise SystemExit("a gateway did not start")
            started.append(gateway)
        time.sleep(2)  # they have seen each other
        yield started


@contextlib.contextmanager
def _redis(folder: Path) -> Any:
    [port] = free_ports(1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(["redis-server", *options], **_QUIET)
    try:
        time.sleep(0.5)  # it says nowhere that it listens
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        _ended(server)


def _calls(port: int, both: list[subprocess.Popen[str]]) -> list[float]:
    """CPU seconds that each gateway takes for one of CALLS calls to USER, sent to `port`."""
    before = [cpu_with_children(one.pid) for one in both]
    command = _sipp(
        *(f"127.0.0.1:{port}", "-sn", "uac", "-s", USER, "-i", "127.0.0.1", "-p", str(free_ports(1)[0])),
        *("-r", str(RATE), "-m", str(CALLS), "-d", "0", "-timeout", "60s", "-timeout_error"),
    )
    done = subprocess.run(command, check=False, timeout=90, **_QUIET)
    if done.returncode != 0:
        raise SystemExit(f"sipp ended with {done.returncode}: not every call went through")
    return [(cpu_with_children(one.pid) - then) / CALLS for one, then in zip(both, before, strict=True)]


def _measured() -> list[Result]:
    missing = [name for name in ("sipp", "redis-server") if shutil.which(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: nothing is measured.")
        return []
    first, second, phone_port = free_ports(3)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        # Beside other work a gateway waits for a core, and would refuse calls that are to be measured.
        both = stack.enter_context(gateways(folder, (first, second), "0"))
        with contextlib.closing(_Phone(second, phone_port)) as phone:
            phone.register(f"sip:{USER}@127.0.0.1:{phone_port}")
        stack.callback(_ended, _callee(phone_port))
        time.sleep(0.5)  # sipp says nowhere that it listens
        rounds = [(_calls(second, both), _calls(first, both)) for _ in range(ROUNDS)]
    one = sorted(alone[1] for alone, _ in rounds)[ROUNDS // 2]
    sender = sorted(each[0] for _, each in rounds)[ROUNDS // 2]
    receiver = sorted(each[1] for _, each in rounds)[ROUNDS // 2]
    return [
        Result("CPU of a call at the gateway that has the phone", one * 1e3, "ms"),
        Result("CPU of a call at the gateway that sends it on", sender * 1e3, "ms"),
        Result("CPU of that call at the gateway that has the phone", receiver * 1e3, "ms"),
        Result("a call over two gateways, to one over one", (sender + receiver) / one, "times", "value <= 2.5"),
    ]


def main() -> bool:
    """Measure, print, write bench/results/cluster.json; whether every goal is met."""
    _silent()
    return report("cluster", _measured())


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(_serve(int(sys.argv[2]), *sys.argv[3:7]))
    else:
        raise SystemExit(0 if main() else 1)
