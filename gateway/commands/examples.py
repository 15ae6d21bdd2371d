"""`gateway examples`: list the lessons of a checkout, and run one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import gateway

FOLDER = Path(gateway.__file__).parent.parent / "examples"
USAGE_ERROR = 2

examples_app = typer.Typer(no_args_is_help=True, help="The lessons: programs that explain and check themselves.")


def lessons() -> dict[str, Path]:
    """Folder of each lesson by its number, "01" to the last; raises typer.Exit where there is no checkout."""
    found = {
        folder.name[:2]: folder for folder in sorted(FOLDER.glob("[0-9][0-9]_*")) if (folder / "main.py").is_file()
    }
    if not found:
        typer.echo("gateway: the lessons come with the source; clone the repository and run this in it", err=True)
        raise typer.Exit(USAGE_ERROR)
    return found


@examples_app.command("list")
def list_lessons() -> None:
    """Their numbers, and what each is about."""
    for number, folder in lessons().items():
        title = (folder / "README.md").read_text(encoding="utf-8").partition("\n")[0]
        typer.echo(f"{number}  {re.sub(r'^# [0-9. ]*', '', title)}")


@examples_app.command("run", context_settings={"ignore_unknown_options": True})
def run_lesson(
    number: Annotated[str, typer.Argument(help="Which one: 3 or 03")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the lesson itself, as --verbose")] = None,
) -> None:
    """Run one; its last line is PASS, or FAIL and why."""
    every = lessons()
    folder = every.get(number.zfill(2))
    if folder is None:
        typer.echo(f"gateway: there is no lesson {number}; they are {', '.join(every)}", err=True)
        raise typer.Exit(USAGE_ERROR)
    # Ctrl-C is the lesson's: it has processes to end, which takes it longer than `subprocess.run` would wait.
    former = signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the lesson has until gateway.interrupted
    try:
        with subprocess.Popen([sys.executable, str(folder / "main.py"), *(options or [])]) as lesson:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            status = lesson.wait()
    finally:
        signal.signal(signal.SIGINT, former or signal.SIG_DFL)  # None: not set by Python
    raise typer.Exit(status)
