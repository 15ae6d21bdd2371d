"""Real peers for programs that prove something: a Chromium on the softphone page and a desk phone.

They want the extra `browser` and a Chromium; `gateway.testing` itself needs neither.
"""

from __future__ import annotations

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.chromium import BrowserError, find_chromium, no_chromium

__all__ = ["BrowserError", "SoftphoneBrowser", "find_chromium", "no_chromium"]
