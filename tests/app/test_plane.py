"""Which packet plane is used, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import ConfigError
from gateway.media.choice import NOT_BUILT, choose, is_running, maker
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import SOCKET
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.embedded.plane.python import PythonPlane
from tests import peers
from tests.media.plane_rig import PCMU, Phone, Told, rtp
from tests.rows import by_row


def config(plane: str, state_dir: Path = Path(".gateway")) -> Config:
    return Config.model_validate({"media": {"plane": plane}, "state_dir": state_dir})


def program(folder: Path, says: str = "gateway-plane 0.1.0 protocol 2", status: int = 0) -> Path:
    """Something that says what a plane's program says of itself."""
    made = folder / "gateway-plane"
    made.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    made.chmod(0o755)
    return made


@pytest.mark.wall
async def test_auto_uses_the_program_that_is_there(tmp_path: Path) -> None:
    """With a program that runs the plane is native, and the Python one may stand in for it."""
    made = program(tmp_path)
    chosen = choose(config("auto"), lambda: made)
    assert (chosen.native, chosen.program, chosen.may_fall_back) == (True, made, True)
    assert str(chosen) == f"native plane ({made})"
    assert isinstance(maker(config("auto"), chosen, asyncio.get_running_loop().time)(), NativePlane)


async def test_auto_does_without_a_program_and_says_why() -> None:
    """No program: the Python plane, after one sentence."""
    chosen = choose(config("auto"), lambda: None)
    assert not chosen.native
    assert str(chosen) == f"Python plane ({NOT_BUILT})"
    assert isinstance(maker(config("auto"), chosen, asyncio.get_running_loop().time)(), PythonPlane)


def test_python_is_taken_at_its_word(tmp_path: Path) -> None:
    """`media.plane: python` never looks for a program."""
    made = program(tmp_path)
    assert not choose(config("python"), lambda: made).native


def test_native_without_a_program_is_a_mistake_of_the_configuration() -> None:
    """The key is named, and what to do about it."""
    with pytest.raises(ConfigError) as caught:
        choose(config("native"), lambda: None)
    assert "media.plane" in str(caught.value)
    assert NOT_BUILT in str(caught.value)


@by_row(("says", "status"), [("gateway-plane 0.1.0 protocol 99", 0), ("something else", 0), ("gateway-plane", 1)])
def test_a_program_that_does_not_fit_is_not_used(tmp_path: Path, says: str, status: int) -> None:
    """Another version of the messages, another program, or one that fails: the Python plane, with the reason."""
    made = program(tmp_path, says, status)
    chosen = choose(config("auto"), lambda: made)
    assert not chosen.native
    assert str(made) in chosen.reason


async def test_a_plane_that_others_start_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`media.plane_start: false` needs no program, starts none, and says where it looks when it has waited enough."""
    monkeypatch.setattr("gateway.media.embedded.plane.native.process.START_TIME", 0.2)
    values = {"media": {"plane_start": False}, "state_dir": tmp_path}
    wanted = Config.model_validate(values)
    chosen = choose(wanted, lambda: pytest.fail("it looked for a program"))
    assert (chosen.native, chosen.may_fall_back) == (True, True)
    plane = maker(wanted, chosen, asyncio.get_running_loop().time)()
    with pytest.raises(PlaneError, match=f"{tmp_path / SOCKET}, and media.plane_start is false"):
        await plane.start(Told())
    assert not choose(Config.model_validate({"media": {"plane": "python", "plane_start": False}})).native


@pytest.mark.parametrize("name", ["short", "a-name-with-more-octets-than-the-name-of-a-unix-socket-may-have" * 3])
def test_a_plane_that_runs_is_seen_by_its_socket(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale socket is no plane."""
    folder = tmp_path / name
    assert not is_running(folder)
    folder.mkdir()
    assert not is_running(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)
        listener.bind(SOCKET)
        assert not is_running(folder)
        listener.listen()
        assert is_running(folder)
    assert not is_running(folder)


@contextlib.asynccontextmanager
async def native(state_dir: Path, **media: object) -> AsyncIterator[NativePlane]:
    """The plane of a configuration with these keys of `media`, running."""
    peers.plane()
    chosen = Config.model_validate({"media": {"plane": "native", **media}, "state_dir": state_dir})
    plane = maker(chosen, choose(chosen), asyncio.get_running_loop().time)()
    assert isinstance(plane, NativePlane)
    await plane.start(Told())
    try:
        yield plane
    finally:
        await plane.close()


async def rings(state_dir: Path, carrier: str) -> int:
    """How many io_urings the plane has."""
    async with native(state_dir, plane_carrier=carrier) as plane:
        descriptors = f"/proc/{plane.process_id}/fd"
        return sum("io_uring" in os.readlink(f"{descriptors}/{each}") for each in os.listdir(descriptors))


@pytest.mark.wall
async def test_the_carrier_that_is_configured_carries(tmp_path: Path) -> None:
    """With epoll no ring is made; with auto one is where the kernel has what io_uring needs."""
    assert await rings(tmp_path, "epoll") == 0
    try:
        made = await rings(tmp_path, "io_uring")
    except PlaneError:
        made = 0
    assert (await rings(tmp_path, "auto") > 0) is (made > 0)


async def turns(state_dir: Path, gather: float) -> int:
    """How often a thread has waited while a hundred packets came 1 ms after each other."""
    async with native(state_dir, plane_gather=gather, plane_threads=1) as plane:
        one, other = Phone(plane, 1), Phone(plane, 2)
        for phone in (one, other):
            await phone.open()
        plane.route(1, 2, {0: PCMU})
        before = (await plane.counters())["turns"]
        for number in range(100):
            one.send(rtp(number))
            await asyncio.sleep(0.001)
        heard = [await other.receive() for _ in range(100)]
        after = (await plane.counters())["turns"]
        one.close()
        other.close()
        assert len(heard) == 100
        return after - before


@pytest.mark.serial
async def test_packets_are_gathered_for_as_long_as_is_configured(tmp_path: Path) -> None:
    """The longer, the fewer times a thread wakes for them."""
    if await rings(tmp_path, "auto") == 0:
        peers.missing("A kernel that gathers", "Linux 6.12 or later")
    assert await turns(tmp_path, 0.01) < await turns(tmp_path, 0.0) / 2
