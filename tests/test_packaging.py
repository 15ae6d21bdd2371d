"""What an installed wheel holds: everything that running needs, nothing else, and a first start without a file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

from gateway.demo.phone import DeskPhone, PhoneError
from tests.ports import free_ports

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "sdp")
_NOT_SHIPPED = ("__pycache__", ".pyc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, as `pip install .` builds it, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns(*(f"*{name}" for name in _NOT_SHIPPED))
        shutil.copytree(ROOT / package, sources / package, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "gateway.yaml"):
        shutil.copy(ROOT / name, sources / name)
    (sources / "tests").mkdir()
    (sources / "tests" / "__init__.py").touch()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(sources)], check=True, timeout=50)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel unpacked: a folder to put on PYTHONPATH, with nothing of the checkout in it."""
    folder = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def environment(installed: Path, **changes: str) -> dict[str, str]:
    """The unpacked wheel in front of the checkout; `changes` are GATEWAY_ variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    return {**kept, "PYTHONPATH": str(installed), **{f"GATEWAY_{key}": value for key, value in changes.items()}}


def gateway(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in `folder` to its end."""
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(installed), capture_output=True, text=True, timeout=30, check=True
    )


def test_a_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Page, typing marker and example included, and nothing of the tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not path.as_posix().endswith(_NOT_SHIPPED)
    }
    assert names == wanted
    assert {"gateway/py.typed", "sdp/py.typed", "gateway/web/static/index.html"} <= names


def test_the_wheel_carries_the_licence_and_the_command(wheel: Path) -> None:
    """Apache-2.0 with its text, and the script `gateway`."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.split(".dist-info/")[1]: archive.read(name).decode() for name in archive.namelist() if "-info" in name
        }
    assert "License-Expression: Apache-2.0\n" in texts["METADATA"]
    assert texts["licenses/LICENSE"] == (ROOT / "LICENSE").read_text()
    assert "gateway = gateway.cli:main" in texts["entry_points.txt"]


def test_pjsua2_comes_with_the_extras_alone() -> None:
    """It is GPL: installing the gateway must never install it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if "pjsua2" in name]
    assert [name for name in project["optional-dependencies"]["phone"] if "pjsua2" in name]


def test_the_gateway_itself_does_without_aiortc() -> None:
    """It is an extra: nothing that serves calls imports it, not even the demo before it needs it."""
    program = (
        "import sys; sys.modules['aiortc'] = sys.modules['aioice'] = None\n"
        "import gateway.app, gateway.cli, gateway.demo.runner, gateway.media.embedded.engine"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_demo_without_pjsua2_says_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and before any process is started."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PhoneError, match=r"extra `phone`.*Python 3\.11 and 3\.12"):
        await DeskPhone.start()


def test_the_example_configuration_comes_with_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`gateway example-config` prints the gateway.yaml of the checkout, and it passes its own check."""
    example = gateway(installed, tmp_path, "example-config").stdout
    assert example == (ROOT / "gateway.yaml").read_text(encoding="utf-8")


def test_the_version_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    """`gateway --version` says what is installed."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert gateway(installed, tmp_path, "--version").stdout == f"gateway {version}\n"


def test_a_first_start_without_a_file_works_and_says_how_to_go_on(installed: Path, tmp_path: Path) -> None:
    """The page answers, the built-in services are named, and so is the command that writes a configuration."""
    web, sip, webrtc = free_ports(3)
    listening = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f"udp:127.0.0.1:{sip}",
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run"],
        cwd=tmp_path,
        env=environment(installed, **listening) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout is not None
        said = ""
        for line in running.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        assert "Ctrl-C" in said, said
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/", timeout=30) as page:
                assert "<title>" in page.read().decode()
        finally:
            running.send_signal(signal.SIGTERM)
        assert "Stopped." in running.stdout.read()
    assert running.returncode == 0
    assert f"http://127.0.0.1:{web}/" in said
    assert "no accounts" in said
    assert "gateway example-config > gateway.yaml" in said
    assert "Dial 600 for the echo, 601 for a tone." in said


PROGRAM = """\
import sdp
from gateway import CallWatch, Gateway


async def main() -> None:
    async with Gateway({"domain": "phone.test"}) as gateway:
        calls: list[CallWatch] = [call async for call in gateway.calls()]
        print(len(calls), gateway.page_url.rstrip("/"), sdp.__name__)
"""


def test_a_type_checker_finds_what_make_run_installs(wheel: Path, tmp_path: Path) -> None:
    """The editable installation is a path, not a hook; `mypy --strict` finds both packages by it."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=50)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    sources = wheel.parent / "sources"
    # The new environment has no setuptools: this one's builds.
    environ = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    subprocess.run([*pip, "--no-build-isolation", "--editable", str(sources)], check=True, timeout=50, env=environ)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir", str(tmp_path)]
    done = subprocess.run([*mypy, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
