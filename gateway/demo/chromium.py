"""Whether there is a Chromium, and what is said when it does not do as expected; needs nothing installed."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from gateway.errors import GatewayError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class BrowserError(GatewayError):
    """The page did not do in time what was expected of it."""


def find_chromium() -> str | None:
    """Path of an installed Chromium that can be driven, or None: it needs the extra `browser` (playwright)."""
    if find_spec("playwright") is None:
        return None
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def no_chromium() -> str:
    """Where `find_chromium` is None: which of the two is missing, and what brings it."""
    if find_spec("playwright") is None:
        return (
            "the extra `browser` (playwright), which drives Chromium, is not installed; in a clone "
            "`make example N=09` installs it, or: .venv/bin/pip install -e '.[browser]'"
        )
    return "there is no Chromium to drive; install the Debian package chromium"
