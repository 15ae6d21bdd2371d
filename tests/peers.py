"""Real peers that tests call: each is found here, or its absence told with the name of what to install."""

from __future__ import annotations

import importlib.util
import os
import shutil
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
    """Path of a Chromium, under any of its names."""
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
