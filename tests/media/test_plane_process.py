"""How the native plane's program is started."""

from __future__ import annotations

from pathlib import Path

from gateway.media.embedded.plane.native.process import PlaneProcess


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
