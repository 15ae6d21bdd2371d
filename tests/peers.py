"""Real peers that tests call: each is found here, or its absence told with the name of what to install."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from typing import NoReturn

import pytest

from gateway.demo.chromium import find_chromium


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test, or fail it where CI is set: there every peer has to be present."""
    message = f"{what} is not here: install {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


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
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as own:
            try:
                own.bind(("::1", 0))
            except OSError:
                pytest.skip("this machine has no IPv6")


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
        pytest.skip("pjsua2 has no wheel for this Python: PyPI has it for 3.11 and 3.12")
    if importlib.util.find_spec("pjsua2") is None:
        missing(
            "pjsua2", "the extra phone (pip install -e '.[phone]'; on PyPI for Python 3.11 and 3.12 on x86-64 Linux)"
        )
