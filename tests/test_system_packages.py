"""`scripts/system-packages`: what is missing is installed under the name that this Debian has for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.wall

SCRIPT = Path(__file__).parents[1] / "scripts" / "system-packages"
PROGRAMS = ("sh", "cat", "grep", "mktemp", "rm", "tr")
NOTHING = "#!/bin/sh\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder of programs, with an apt that knows `present` and `new` and installs nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    made = {
        "id": "echo 0",
        "dpkg-query": 'case "$*" in *present) echo "install ok installed" ;; esac',
        "apt-cache": 'case "$2" in present | new) ;; *) exit 1 ;; esac',
        "apt-get": "true",
        "env": f'echo "$*" >>{tmp_path}/installed',
        "tee": "cat >/dev/null",
        "chmod": "true",
    }
    for name, text in made.items():
        (folder / name).write_text(f"{NOTHING}{text}\n")
        (folder / name).chmod(0o755)
    return folder


def run(programs: Path, *packages: str) -> tuple[str, list[str]]:
    """Return the lines of the script, and the packages that apt was to install."""
    command = ["/bin/sh", str(SCRIPT), *packages]
    done = subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=30, check=True)
    installed = programs.parent / "installed"
    words = installed.read_text().split() if installed.exists() else []
    return done.stdout + done.stderr, words[words.index("DPkg::Lock::Timeout=120") + 1 :] if words else []


@pytest.mark.parametrize(
    ("package", "installed"),
    [
        ("present", []),
        ("new", ["new"]),
        ("sh:new", []),
        ("no-such-command:new", ["new"]),
        ("no-such-command:newest/new/older", ["new"]),
        ("no-such-command:newest/newer", ["newer"]),
    ],
)
def test_a_package_is_installed_under_the_name_it_has_here(programs: Path, package: str, installed: list[str]) -> None:
    """Nothing is installed where the package, or the command that it would bring, is there."""
    assert run(programs, package)[1] == installed


def test_without_apt_the_packages_to_install_are_named(programs: Path) -> None:
    """As a command line; the tests that call them are skipped."""
    (programs / "apt-get").unlink()
    (programs / "apt-cache").unlink()
    said, installed = run(programs, "new", "sh:present", "no-such-command:newest/newer")
    assert installed == []
    assert "    sudo apt-get install --no-install-recommends new newer\n" in said
