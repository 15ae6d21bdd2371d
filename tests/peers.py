"""Real peers that tests call: each is found here, or its absence told with the name of what to install."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from gateway.demo.chromium import find_chromium
from gateway.media.embedded.addresses import own_addresses
from gateway.media.embedded.plane.native.process import find_program

VENV = Path(__file__).parents[1] / ".venv"


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test, or fail it where CI is set: there every peer has to be present."""
    message = f"{what} is not here: install {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def unavailable(what: str, remedy: str) -> NoReturn:
    """Skip the test, in CI as well: no package of its machine is the remedy."""
    pytest.skip(f"{what} is not here: {remedy}")


def plane() -> Path:
    """Path of the packet plane's program."""
    found = find_program()
    if found is None:
        missing("gateway-plane", "cargo, and run make plane")
    return found


def node(bundle: Path) -> str:
    """Path of node, and make sure that `scripts/sip-libraries` has made a file."""
    found = shutil.which("node", path=f"{VENV / 'bin'}:{os.environ['PATH']}")
    if found is None or not bundle.exists():
        missing(f"node or {bundle.name}", "nothing, but run scripts/sip-libraries .venv, which needs npm or PyPI")
    return found


def network() -> None:
    """Make sure that this machine has an address that Firefox's ICE takes, so none of loopback."""
    if not own_addresses():
        missing("An address besides loopback", "a network interface; `ip address` shows the addresses")


def ipv6_loopback() -> None:
    """Make sure that this machine has IPv6."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            missing("IPv6", "nothing, but set the kernel's net.ipv6.conf.all.disable_ipv6 to 0")


def namespaces(*, ipv6: bool = False) -> None:
    """Make sure that network namespaces with rules can be made.

    `ipv6`: with addresses of it.
    """
    if os.geteuid() != 0:
        missing("A network namespace", "nothing, but be root")
    for name, package in (("ip", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux")):
        program(name, package)
    probe = ["unshare", "-n", "nft", "add", "table", "ip", "probe"]
    refused = subprocess.run(probe, capture_output=True, text=True, check=False)
    if refused.returncode:
        # Without one the calls over a lossy network, and all behind a NAT, would be unproven without a word.
        missing("A network namespace", f"nothing, but give root CAP_SYS_ADMIN and CAP_NET_ADMIN: {refused.stderr}")
    if ipv6:
        ipv6_loopback()


def in_namespace(*commands: str, text: str | None = None) -> None:
    """Run commands that set one up, `text` on their standard input: a failure in CI, elsewhere a skip where one fails.

    Call `namespaces` before: what a machine cannot do at all is no failure.
    """
    for command in commands:
        done = subprocess.run(command.split(), input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            missing("A network namespace", f"what this takes: {command}: {done.stderr.strip()}")


def program(name: str, package: str) -> str:
    """Path of an executable of Debian package `package`."""
    found = shutil.which(name)
    if found is None:
        missing(name, f"the Debian package {package}")
    return found


def baresip() -> str:
    """Path of baresip, the independent softphone."""
    return program("baresip", "baresip")


def sipp() -> str:
    """Path of sipp, the scripted SIP peer."""
    return program("sipp", "sip-tester")


def chromium() -> str:
    """Path of a Chromium for pages that are only read by tests: the shell without windows, where that is installed.

    It is of the same build, and opens a page for a fifth of the processor's time.
    """
    return shutil.which("chromium-headless-shell") or whole_chromium()


def whole_chromium() -> str:
    """Path of the Chromium that people have, under any of its names."""
    found = find_chromium()
    if found is None:
        missing("Chromium", "the Debian package chromium")
    return found


def firefox() -> str:
    """Path of a Firefox, under either of its names."""
    found = shutil.which("firefox-esr") or shutil.which("firefox")
    if found is None:
        missing("Firefox", "the Debian package firefox-esr")
    return found


def pjsua2() -> None:
    """Make sure that the desk phone can be started; no failure in CI where there is no wheel of it."""
    if sys.version_info >= (3, 13):
        unavailable("pjsua2", "PyPI has wheels of it for Python 3.11 and 3.12")
    if importlib.util.find_spec("pjsua2") is None:
        missing(
            "pjsua2", "the extra phone (pip install -e '.[phone]'; on PyPI for Python 3.11 and 3.12 on x86-64 Linux)"
        )
