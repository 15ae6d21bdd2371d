"""How the native plane's program is started."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gateway.media.embedded.plane.native.process import SECRET, SECRET_OCTETS, PlaneProcess


def test_a_carrier_is_named_only_where_one_is_chosen(tmp_path: Path) -> None:
    """A program of before there were carriers speaks the same messages, and refuses an option it does not know."""
    program = tmp_path / "gateway-plane"
    assert "--carrier" not in PlaneProcess(program, tmp_path).arguments()
    chosen = PlaneProcess(program, tmp_path, carrier="epoll").arguments()
    assert chosen[chosen.index("--carrier") + 1] == "epoll"


def test_the_settings_of_the_plane_are_on_its_command_line(tmp_path: Path) -> None:
    """Threads and patience, as the configuration has them."""
    chosen = PlaneProcess(tmp_path / "gateway-plane", tmp_path, threads=3, orphan_timeout=7.5).arguments()
    assert chosen[chosen.index("--threads") + 1] == "3"
    assert chosen[chosen.index("--orphan-timeout") + 1] == "7.5"


def test_a_secret_is_there_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that could not write it leaves nothing that the next one would take for it, nor a draft."""

    def no_room(_: int) -> bytes:
        raise OSError(errno.ENOSPC, "no space left on device")

    made = PlaneProcess(Path("nobody-starts-it"), tmp_path)
    monkeypatch.setattr(os, "urandom", no_room)
    with pytest.raises(OSError, match="no space left"):
        made._secret()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    secret = made._secret()
    assert len(secret) == SECRET_OCTETS
    assert made._secret() == secret
    assert [(each.name, each.stat().st_mode & 0o777) for each in tmp_path.iterdir()] == [(SECRET, 0o600)]


@pytest.mark.wall
def test_a_plane_that_ended_unseen_is_no_zombie_once_there_is_another(tmp_path: Path) -> None:
    """It had lived on behind a broken connection for longer than is waited."""
    process = PlaneProcess(Path("/bin/cat"), tmp_path)
    made = []
    for _ in range(2):
        os.close(process._launch(bytes(SECRET_OCTETS)))
        assert process.child is not None
        made.append(process.child)
        os.waitid(os.P_PID, process.child, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ChildProcessError):
        os.waitpid(made[0], os.WNOHANG)
    os.waitpid(made[1], 0)
