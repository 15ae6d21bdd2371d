"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes is the machine's business: a deadline on the wall clock fails tests that hold.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")
