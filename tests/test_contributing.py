"""CONTRIBUTING.md as somebody follows it who is new here: its targets are there, and the guards that it names bite."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import peers
from tests.docs_blocks import ROOT, blocks_of

pytestmark = pytest.mark.wall

PAGE = ROOT / "CONTRIBUTING.md"


def recipe(target: str) -> subprocess.CompletedProcess[str]:
    """What `make` would do for it; it does nothing."""
    environ = {key: value for key, value in os.environ.items() if "MAKE" not in key and key not in ("ARGS", "MFLAGS")}
    command = [peers.program("make", "make"), "-n", target]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_every_target_of_the_page_does_what_stands_beside_it() -> None:
    """Of each some words of its recipe; one that the page adds needs some here."""
    does = {
        "check": ("ruff check .", "ruff format --check .", "mypy", "scripts/plane check", "examples/*/*.py"),
        "test": ("(core or not wall) and not serial and not nightly", "core and serial"),
        "coverage": ("scripts.lanes --workers 3 sip",),
        "test-all": ("scripts.lanes --workers 3",),
        "pythons": ("scripts.other_pythons",),
        "audit": ("scripts.audit",),
        "nightly": (
            "scripts.lanes --workers 3",
            "nightly and not serial",
            "nightly and serial",
            "hypothesis-profile long",
            "scripts/plane fuzz",
            "tests.soak",
            "tests.chaos",
            "scripts.other_pythons",
            "scripts/resolve-pythons",
            "scripts.audit",
        ),
        "docs": ("mkdocs build",),
        "bench": ("-m bench",),
        "chaos": ("-m tests.chaos --kills 20",),
        "fuzz": ("scripts/plane fuzz 60",),
    }
    [block] = [each.text for each in blocks_of(PAGE) if each.text.startswith("make check")]
    named = re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
    assert named == list(does)
    for target in named:
        done = recipe(target)
        assert done.returncode == 0, done.stderr
        assert [words for words in does[target] if words not in done.stdout] == [], target


def test_the_table_of_marks_is_whole() -> None:
    """Each mark of the suite, and tests without one; where each runs is what the recipes say."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    marks = {each.partition(":")[0] for each in settings["markers"]}
    rows = re.findall(r"^\| (`\w+`|none) \| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert {name.strip("`") for name, _ in rows} == marks | {"none"}
    targets = {target for _, where in rows for target in re.findall(r"`make ([a-z-]+)`", where)}
    assert targets == {"test", "test-all", "nightly"}


def test_each_command_for_one_test_runs_it() -> None:
    """As the page has it, with another seed too, which the first lines name."""
    [block] = [each.text for each in blocks_of(PAGE) if each.text.startswith(".venv/bin/python -m pytest")]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    for line in block.splitlines():
        _, *words = shlex.split(line)
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout
        seed = words[words.index("--seed") + 1] if "--seed" in words else "0"
        assert f"\nseed: {seed} " in done.stdout
    assert "--seed" in block


def test_every_folder_has_its_place_in_the_table_of_rooms() -> None:
    """To which the second step sends: each folder of the gateway is named there."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [file.parent.name for file in (ROOT / "gateway").glob("*/__init__.py")]
    assert len(rooms) > 20
    assert [name for name in rooms if f"`gateway/{name}/" not in page] == []


def test_paths_that_the_page_names_are_there() -> None:
    """Files and folders of the repository, between backquotes or as what `make test` is given."""
    text = PAGE.read_text()
    named = re.findall(r"`((?:\w+/)+[\w.]*|\w+\.yaml)`", text) + re.findall(r"tests/\w+(?:\.py)?", text)
    assert len(named) > 8
    made = ("build/",)
    assert [name for name in named if not name.startswith(made) and not (ROOT / name).exists()] == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a change of a setting touches; the rest is that of this checkout."""
    top = tmp_path / "checkout"
    top.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for path in ROOT.iterdir():
        if path.name in ("gateway", "docs", "tests"):
            shutil.copytree(path, top / path.name, ignore=ignored, symlinks=True)
        elif path.name == "gateway.yaml":
            shutil.copy(path, top)
        elif path.name not in (".git", "build", ".pytest_cache"):
            (top / path.name).symlink_to(path)
    return top


def run(top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """This Python in that checkout."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "PYTEST_"))}
    environ["PYTHONPATH"] = str(top)
    return subprocess.run(
        [sys.executable, *words], cwd=top, env=environ, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.timeout(900)
def test_a_new_setting_is_refused_until_it_is_documented_and_shown(checkout: Path) -> None:
    """The fourth step: without a line in gateway.yaml, the reference made anew and a test that is named, tests fail."""
    code = checkout / "gateway" / "config" / "observing.py"
    text = code.read_text()
    place = text.index("class CdrConfig(Section):")
    place = text.index('"""', text.index('"""', place) + 3) + 4
    code.write_text(text[:place] + '\n    newcomer: int = 1\n    """What a stranger adds."""\n' + text[place:])
    keys = "shows_every_key or every_key_is or every_key_changes or shown_by_a_test"
    asked = (
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        keys,
        "tests/test_config.py",
        "tests/app/test_effects.py",
    )
    done = run(checkout, *asked)
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    failed = "\n".join(re.findall(r"^FAILED .*$", done.stdout, re.MULTILINE))
    assert "tests/app/test_effects.py" in failed
    assert "tests/test_config.py" in failed
    [command] = re.findall(r"`\.venv/bin/python (-m gateway\.config) > docs/configuration\.md`", PAGE.read_text())
    made = run(checkout, *command.split())
    assert made.returncode == 0
    assert made.stdout != (ROOT / "docs" / "configuration.md").read_text()
    assert re.search(r"^\| `cdr\.newcomer` \| whole number \| `1` \| What a stranger adds\.", made.stdout, re.MULTILINE)
