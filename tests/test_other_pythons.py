"""scripts/other_pythons.py: which interpreters it finds, what it gives them, and what it tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts import other_pythons

pytestmark = pytest.mark.wall

OURS = "{}.{}".format(*sys.version_info)
STEPS = {"one thing": ("-m", "one"), "another": ("-m", "another")}
PYTHON = """#!/bin/sh
# Makes environments of itself, and refuses what it is told to.
echo "$@" >> {folder}/asked
case "$*" in
"-m venv --clear "*) rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
{refused}) echo "not on this one"; exit 1 ;;
esac
"""


@pytest.fixture(autouse=True)
def pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of pyenv's versions, empty, and no other interpreter."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: None)
    return tmp_path / "versions"


def install(pyenv: Path, release: str, refused: str = "nothing") -> Path:
    """A Python that keeps what it is asked beside its folder `bin`."""
    python = pyenv / release / "bin" / f"python{release.rpartition('.')[0]}"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(folder=pyenv / release, refused=refused))
    python.chmod(0o755)
    return python


def asked(pyenv: Path, release: str) -> list[str]:
    """What it was given, without how it was looked for."""
    lines = (pyenv / release / "asked").read_text().splitlines()
    return [line for line in lines if "ensurepip" not in line]


def test_one_that_is_not_here_is_named_and_fails_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does one without the module that makes environments, as Debian has it."""
    install(tmp_path / "versions", "3.13.0", refused="*ensurepip*")
    assert other_pythons.main(["3.13", "3.14"], tmp_path / "build", STEPS) == 0
    first, second, plainly = capsys.readouterr().out.splitlines()
    assert (first, second) == ("Python 3.13: there is none here", "Python 3.14: there is none here")
    wheels = "scripts/resolve-pythons looks for the wheels of their libraries"
    assert plainly == f"Only {OURS} is here: nothing was tried on any other Python; {wheels}"


def test_all_but_our_own_are_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From 3.11 to 3.14, each in its line."""
    other_pythons.main([], tmp_path / "build", STEPS)
    *lines, plainly = capsys.readouterr().out.splitlines()
    told = [line.split()[1].rstrip(":") for line in lines]
    assert told == [version for version in ("3.11", "3.12", "3.13", "3.14") if version != OURS]
    assert "nothing was tried" in plainly


def test_the_newest_of_pyenv_is_asked_where_the_path_has_none_that_works(
    tmp_path: Path, pyenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stand-ins on the PATH refuse a version that is not chosen."""
    install(pyenv, "3.13.2")
    newest = install(pyenv, "3.13.10")
    stand_in = install(tmp_path / "shims", "3.13.0", refused="*")
    monkeypatch.setattr("shutil.which", lambda name: str(stand_in))
    assert other_pythons.interpreter("3.13") == str(newest)
    working = install(tmp_path / "usr", "3.13.1")
    monkeypatch.setattr("shutil.which", lambda name: str(working))
    assert other_pythons.interpreter("3.13") == str(working)


def test_each_is_given_everything_once_its_libraries_are_there(
    tmp_path: Path, pyenv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are installed once, and again after pyproject.toml has changed."""
    python, folder = install(pyenv, "3.13.0"), tmp_path / "build"
    install_them = "-m pip --disable-pip-version-check --quiet install --editable .[test]"
    made = [f"-m venv --clear {folder}/3.13", install_them]
    for _ in range(2):
        assert other_pythons.main(["3.13"], folder, STEPS) == 0
    assert asked(pyenv, "3.13.0") == [*made, "-m one", "-m another", "-m one", "-m another"]
    told = capsys.readouterr().out
    assert f"Python 3.13 ({python}): one thing; another: 0 s\n" in told
    assert "nothing was tried" not in told
    (folder / "3.13" / "made-for").write_text(f"{python}\nanother pyproject.toml")
    assert other_pythons.main(["3.13"], folder, STEPS) == 0
    assert asked(pyenv, "3.13.0")[6:8] == made


@pytest.mark.parametrize(
    ("refused", "name", "given"),
    [("*editable*", "its libraries", 2), ("*one", "one thing", 3), ("*another", "another", 4)],
)
def test_what_fails_is_told_with_its_last_lines(
    refused: str, name: str, given: int, tmp_path: Path, pyenv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is the last that this one is given; the other is tried all the same."""
    python, folder = install(pyenv, "3.13.0", refused), tmp_path / "build"
    install(pyenv, "3.12.4")
    assert other_pythons.main(["3.13", "3.12"], folder, STEPS) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"Python 3.13 ({python}): {name}, see {folder}/3.13.log"
    assert (second, third.rpartition(": ")[0][:11]) == ("not on this one", "Python 3.12")
    assert (len(asked(pyenv, "3.13.0")), len(asked(pyenv, "3.12.4"))) == (given, 4)
    install(pyenv, "3.13.1")
    assert other_pythons.main(["3.13"], folder, STEPS) == 0, "an installation that was cut short is begun anew"
