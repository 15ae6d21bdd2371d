"""The clock that engines have in tests."""

from __future__ import annotations

import inspect
import time

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.rtpengine.engine import RtpengineEngine


def test_engines_have_the_clock_of_tests_also_where_this_room_runs_alone() -> None:
    """The conftest of the room imports them before the first test."""
    for engine in (EmbeddedEngine, RtpengineEngine):
        assert inspect.signature(engine).parameters["clock"].default is time.monotonic
