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


async def _serve(port: int, store: str, folder: str) -> None:
    """A gateway of the cluster until SIGTERM."""
    _silent()
    web, webrtc = free_ports(2)
    trunk = {"name": "load", "uri": "sip:127.0.0.1:9", "sources": ["127.0.0.1"], "options_interval": 0}
    environ = {
        "DOMAIN": DOMAIN,
        "SIP__LISTEN": f'["udp:127.0.0.1:{port}"]',
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "RTP__PORTS": "10000-30000" if port % 2 else "30002-50000",
        "IDENTITY__STORE": store,
        "CLUSTER__NODE": f"sip:127.0.0.1:{port}",
        "CLUSTER__KEY": "the-key-of-the-cluster-in-this-benchmark",
        "CLUSTER__INTERVAL": "0.5",
        "STATE_DIR": folder,
        "USERS": json.dumps([{"id": USER, "sip": True, "password": PASSWORD, "max_calls": 100_000}]),
        "TRUNKS": json.dumps([trunk]),
        "LIMITS__CALLS_PER_SECOND": "100000",
        # Beside other work a gateway waits for a core, and would refuse calls that are to be measured.
        "LIMITS__LOAD": "0",
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
def _redis(folder: Path) -> Any:
    [port] = free_ports(1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(["redis-server", *options], **_QUIET)
    try:
        time.sleep(0.5)  # it says nowhere that it listens
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        _ended(server)


def _calls(port: int, gateways: list[subprocess.Popen[str]]) -> list[float]:
    """CPU seconds that each gateway takes for one of CALLS calls to USER, sent to `port`."""
    before = [cpu_with_children(one.pid) for one in gateways]
    command = _sipp(
        *(f"127.0.0.1:{port}", "-sn", "uac", "-s", USER, "-i", "127.0.0.1", "-p", str(free_ports(1)[0])),
        *("-r", str(RATE), "-m", str(CALLS), "-d", "0", "-timeout", "60s", "-timeout_error"),
    )
    done = subprocess.run(command, check=False, timeout=90, **_QUIET)
    if done.returncode != 0:
        raise SystemExit(f"sipp ended with {done.returncode}: not every call went through")
    return [(cpu_with_children(one.pid) - then) / CALLS for one, then in zip(gateways, before, strict=True)]


def _measured() -> list[Result]:
    missing = [name for name in ("sipp", "redis-server") if shutil.which(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: nothing is measured.")
        return []
    first, second, phone_port = free_ports(3)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        store = stack.enter_context(_redis(Path(folder)))
        gateways = []
        for port in (first, second):
            command = [sys.executable, "-m", "bench.cluster", "serve", str(port), store, f"{folder}/{port}"]
            gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            stack.callback(_ended, gateway)
            assert gateway.stdout is not None
            if not gateway.stdout.readline():
                raise SystemExit("a gateway did not start")
            gateways.append(gateway)
        with contextlib.closing(_Phone(second, phone_port)) as phone:
            phone.register(f"sip:{USER}@127.0.0.1:{phone_port}")
        stack.callback(_ended, _callee(phone_port))
        time.sleep(2)  # the gateways have seen each other, and sipp listens
        rounds = [(_calls(second, gateways), _calls(first, gateways)) for _ in range(ROUNDS)]
    one = sorted(alone[1] for alone, _ in rounds)[ROUNDS // 2]
    sender = sorted(both[0] for _, both in rounds)[ROUNDS // 2]
    receiver = sorted(both[1] for _, both in rounds)[ROUNDS // 2]
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
        uvloop.run(_serve(int(sys.argv[2]), sys.argv[3], sys.argv[4]))
    else:
        raise SystemExit(0 if main() else 1)
