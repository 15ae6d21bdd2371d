"""A weak password where a stranger could try it: the gateway does not start, and nothing is there to be tried."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import USAGE_ERROR
from tests.interop.gateway import PASSWORDS, environment_on_free_ports
from tests.netns import Host, host
from tests.ports import free_port
from tests.strangers.stage import WAYS, Way

pytestmark = pytest.mark.wall
SCRIPT = Path(sys.executable).with_name("gateway")


def environ_of(folder: Path, there: Host, way: Way, password: str) -> tuple[dict[str, str], int]:
    """Variables of a gateway that the other host reaches, directly or by a proxy of this one; and the port of SIP."""
    here, port = (f"[{there.here}]" if way.ipv6 else there.here), free_port()
    changes = {"USERS__1001__PASSWORD": password}
    changes |= {"WEB__PROXIES": "127.0.0.1"} if way.proxied else {"SIP__LISTEN": json.dumps([f"tcp:{here}:{port}"])}
    return environment_on_free_ports(folder, **changes), port


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("password", ["1234", "1001", "Alice2024!"])
def test_a_weak_password_is_never_there_to_be_guessed(tmp_path: Path, way: Way, password: str) -> None:
    """Status 2 and the key; who connects meets nobody."""
    with host(ipv6=way.ipv6) as there:
        environ, port = environ_of(tmp_path, there, way, password)
        command = [str(SCRIPT), "run"]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "users.2.password" in done.stderr) == (USAGE_ERROR, True), done.stderr
        assert password == "1001" or password not in done.stdout + done.stderr
        connecting = ["bash", "-c", f"exec 3<>/dev/tcp/{there.here}/{port}"]
        assert subprocess.run([*there.words, *connecting], capture_output=True, timeout=30).returncode != 0


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_good_password_is_let_start(tmp_path: Path, way: Way) -> None:
    """check-config, in the same place."""
    with host(ipv6=way.ipv6) as there:
        environ, _ = environ_of(tmp_path, there, way, PASSWORDS["1001"])
        command = [str(SCRIPT), "check-config"]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
