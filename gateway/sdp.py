"""The package `sdp` under the gateway's name: session descriptions, with nothing but the standard library."""

from __future__ import annotations

import sdp
from sdp import *  # noqa: F403

__all__ = sdp.__all__
