"""What holds on every Python, tried on those that are here beside our own: python -m scripts.other_pythons [VERSION...]

Each has an environment of its own in build/pythons. One that is not here is named, and fails nothing, nor do all of
them: whether every library has a wheel for it is what scripts/pythons.py asks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from scripts.pythons import PROJECT, VERSIONS

ROOT = PROJECT.parent
FOLDER = ROOT / "build" / "pythons"
AT_ONCE = 2
EXTRAS = "test"
ROOMS = (
    *("access", "accounts", "call", "client", "doctor", "identity", "legs", "net"),
    *("observe", "people", "remotemedia", "sdp", "sip", "store"),
)
"""Their tests seldom call a peer, and take two minutes together."""

_MODULES = """
from importlib import import_module
from pathlib import Path

for file in sorted(each for package in ("gateway", "sdp") for each in Path(package).rglob("*.py")):
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    try:
        if not name.endswith("__main__"):
            import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "pjsua2":
            raise
        print(f"{name} wants pjsua2, which has no wheel for this Python")
"""
STEPS: Mapping[str, tuple[str, ...]] = {
    "every source": ("-W", "error", "-m", "compileall", "-q", *("gateway", "sdp", "examples", "scripts", "tests")),
    "every module": ("-W", "error", "-c", _MODULES),
    f"the tests of {', '.join(ROOMS)}": (
        *("-m", "pytest", "-p", "no:cacheprovider", "-m", "not (serial or slow or peer or browser)"),
        *(f"tests/{room}" for room in ROOMS),
    ),
    "the demo": ("-m", "gateway", "demo"),
    "lesson 03": ("-m", "gateway", "examples", "run", "03"),
}
"""What the interpreter is given for each."""

_LAST_LINES = 40
_installing = Lock()
"""An editable installation writes beside the sources, which all of them share."""


def interpreter(version: str) -> str | None:
    """The path of one that can make virtual environments: of the PATH, or else pyenv's newest; None: not here."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted(root.glob(f"versions/{version}.*/bin/python{version}"), key=_numbers, reverse=True)
    for each in (shutil.which(f"python{version}"), *map(str, kept)):
        if each and subprocess.run([each, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return each
    return None


def _numbers(python: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", python.parent.parent.name)]


def environment(python: str, folder: Path, log: Path) -> Path | None:
    """Its Python in `folder` with our libraries, made anew when pyproject.toml changed; None: see the log."""
    made, stamp, wanted = folder / "bin" / "python", folder / "made-for", f"{python}\n{PROJECT.read_text()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return made
    pip = (str(made), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--editable")
    with _installing:
        if not (_run([python, "-m", "venv", "--clear", str(folder)], log) and _run([*pip, f".[{EXTRAS}]"], log)):
            return None
    stamp.write_text(wanted)
    return made


def _run(command: list[str], log: Path) -> bool:
    with log.open("a") as file:
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode == 0


def trial(version: str, python: str | None, folder: Path, steps: Mapping[str, tuple[str, ...]]) -> tuple[bool, str]:
    """Whether nothing failed, and what is to be told of that Python; None: it is not here."""
    begun, log = time.monotonic(), folder / f"{version}.log"
    if python is None:
        return True, f"Python {version}: there is none here"
    folder.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    here = environment(python, folder / version, log)
    failed = "its libraries" if here is None else None
    for name, arguments in steps.items():
        if failed is None and not _run([str(here), *arguments], log):
            failed = name
    if failed is not None:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        return False, f"Python {version} ({python}): {failed}, see {log}\n{last}"
    return True, f"Python {version} ({python}): {'; '.join(steps)}: {time.monotonic() - begun:.0f} s"


def main(versions: Iterable[str], folder: Path = FOLDER, steps: Mapping[str, tuple[str, ...]] = STEPS) -> int:
    """Status 1 where one that is here fails; all are tried, two at a time."""
    ours = "{}.{}".format(*sys.version_info)
    others = list(versions) or [version for version in VERSIONS if version != ours]
    here = {version: interpreter(version) for version in others}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda version: trial(version, here[version], folder, steps), others))
    for _, told in outcomes:
        sys.stdout.write(f"{told}\n")
    if not any(here.values()):
        looked_for = "scripts/resolve-pythons looks for the wheels of their libraries"
        sys.stdout.write(f"Only {ours} is here: nothing was tried on any other Python; {looked_for}\n")
    return 0 if all(good for good, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
