"""What docs/deployment.md has a stranger type to install and to upgrade, in folders of the test, without an index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, blocks_of

pytestmark = pytest.mark.wall

PYTHON = """#!/bin/sh
# python3 -m venv FOLDER: its libraries are those that are here, and pip asks no index.
set -eu
{python} "$@" --without-pip
echo {libraries} > "$3"/lib/python{version}/site-packages/libraries.pth
cat > "$3"/bin/pip <<'END'
#!/bin/sh
verb=$1; shift
exec "$(dirname "$0")"/python -m pip "$verb" --quiet --no-index --no-deps --no-build-isolation "$@"
END
chmod +x "$3"/bin/pip
"""


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.mark.timeout(300)
def test_the_commands_of_the_page_install_and_upgrade(tmp_path: Path) -> None:
    """From a checkout to a configuration that is good; the upgrade asks whether it still is, and then restarts."""
    checkout, programs = tmp_path / "checkout", tmp_path / "programs"
    programs.mkdir()
    for package in ("gateway", "sdp"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "gateway.yaml"):
        shutil.copy(ROOT / name, checkout)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    libraries = sysconfig.get_path("purelib")
    program(programs, "python3", PYTHON.format(python=sys.executable, libraries=libraries, version=version))
    program(programs, "systemctl", f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": os.environ.get("LANG", "C.UTF-8")}

    def follow(start: str, typed: str = "") -> str:
        [text] = [each.text for each in blocks_of(ROOT / "docs" / "deployment.md") if each.text.startswith(start)]
        for there, here in (
            ("/path/to/the/new/checkout", checkout),
            ("/path/to/the/checkout", checkout),
            ("/opt/gateway", tmp_path / "opt"),
            ("/etc/gateway", tmp_path / "etc"),
        ):
            text = text.replace(there, str(here))
        command = ["sh", "-u", "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, input=typed, capture_output=True, text=True, timeout=110
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    follow("python3 -m venv", "phone.example.com\n\ncarol\nsip:pbx.example.com\n")
    installed = tmp_path / "opt" / "lib" / f"python{version}" / "site-packages"
    assert (installed / "gateway" / "web" / "static" / "index.html").is_file()
    assert "carol" in (tmp_path / "etc" / "gateway.yaml").read_text()
    (checkout / "gateway" / "newer.py").write_text('"""Of the new checkout."""\n')
    follow("/opt/gateway/bin/pip install --upgrade")
    assert (installed / "gateway" / "newer.py").is_file()
    assert (tmp_path / "said").read_text() == "restart gateway\n"
