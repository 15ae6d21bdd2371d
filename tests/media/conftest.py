"""The tests of the engine's calls run once on each packet plane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.protocol import Plane
from tests.media.engine_support import PLANE, Reports
from tests.media.plane_rig import native_plane
from tests.media.plane_scene import PLANES, Scene, made_plane
from tests.virtual import outside

ON_BOTH = (
    *("tests.media.test_engine_embedded", "tests.media.test_engine_calls", "tests.media.test_program"),
    *("tests.media.test_recording", "tests.media.test_video_calls", "tests.media.test_video_feedback"),
    *(
        "tests.media.test_dtls_phones",
        *("tests.media.test_dtls_begun_again", "tests.media.test_ice_lite"),
        "tests.media.test_text_calls",
        "tests.media.test_room_video",
    ),
    *("tests.media.test_ip_versions", "tests.media.test_transcoding_alike", "tests.media.test_timeline"),
    *("tests.media.test_event_timestamps", "tests.media.test_speech_after_pauses"),
)


@pytest.fixture(autouse=True)
def plane_under_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """The plane of every engine that `running` starts in this test."""
    kind = getattr(request, "param", "python")
    made = None
    if kind == "native":
        folder: Path = request.getfixturevalue("tmp_path")
        made = _native(folder)
    token = PLANE.set(made)
    yield
    PLANE.reset(token)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """What the engines of this test have read of RTCP."""
    return Reports(monkeypatch)


def _native(folder: Path) -> Callable[[], Plane]:
    return lambda: native_plane(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both planes, for the files that say what a call does."""
    if metafunc.module.__name__ in ON_BOTH:
        metafunc.parametrize("plane_under_test", ["python", outside("native")], indirect=True)


@pytest_asyncio.fixture(params=PLANES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """Two phones with a flow each, on every plane there is."""
    async with Scene(made_plane(request.param, tmp_path)) as made:
        yield made
