"""Which packet plane carries the media, and why."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from gateway.errors import ConfigError
from gateway.media.embedded.plane.gather import GatheringReactor
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PROGRAM, SOCKET, PlaneProcess, check_program, find_program
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.python import PythonPlane

NOT_BUILT = "there is no gateway-plane: `make run` builds it where cargo is, a wheel of it brings it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneChoice:
    """The plane that will be used."""

    native: bool
    reason: str
    program: Path | None = None
    """The native plane's program."""
    may_fall_back: bool = False
    """Whether the Python plane may stand in where the native one does not start."""

    def __str__(self) -> str:
        return f"{'native' if self.native else 'Python'} plane ({self.reason})"


PYTHON = PlaneChoice(native=False, reason="media.plane says so")


def choose(config: Config, find: Callable[[], Path | None] = find_program) -> PlaneChoice:
    """The plane that `media.plane` and this machine lead to; raises ConfigError where "native" cannot be had."""
    setting = config.media.plane
    if setting == "python":
        return PYTHON
    if not config.media.plane_start:
        reason = f"started by others, at {config.state_dir / SOCKET}"
        return PlaneChoice(native=True, reason=reason, program=Path(PROGRAM), may_fall_back=setting == "auto")
    program = find() if sys.platform == "linux" else None
    trouble = NOT_BUILT if program is None else check_program(program)
    if trouble is None:
        return PlaneChoice(native=True, reason=str(program), program=program, may_fall_back=setting == "auto")
    if setting == "native":
        raise ConfigError("media.plane", trouble)
    return PlaneChoice(native=False, reason=trouble)


def maker(config: Config, choice: PlaneChoice, clock: Callable[[], float]) -> Callable[[], Plane]:
    """What makes the plane that was chosen."""
    media, program = config.media, choice.program
    if program is None:
        return lambda: _python_plane(clock, media.plane_gather)
    process = PlaneProcess(
        program,
        config.state_dir,
        starts=media.plane_start,
        threads=media.plane_threads,
        carrier=media.plane_carrier,
        gather=media.plane_gather,
        orphan_timeout=media.orphan_timeout,
    )
    return lambda: NativePlane(process)


def _python_plane(clock: Callable[[], float], gather: float) -> PythonPlane:
    loop = asyncio.get_running_loop()
    # Only Linux has epoll; elsewhere each socket wakes the loop by itself.
    gathers = gather > 0 and sys.platform == "linux"
    return PythonPlane(GatheringReactor(loop, clock, gather) if gathers else loop, clock)


def is_running(state_dir: Path) -> bool:
    """Whether a plane of this state folder runs already: what it has bound is not for us to try."""
    if sys.platform != "linux":
        return False
    try:
        folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            # The name of a Unix socket has about a hundred octets, a state folder's may have more.
            probe.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        except OSError:
            return False
        finally:
            os.close(folder)
    return True
