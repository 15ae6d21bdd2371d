"""`gateway examples`: list the lessons of a checkout, and run one."""

from __future__ import annotations

from gateway.interrupted import NAMES, SIGNALLED

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
    raise typer.Exit(status_of([sys.executable, str(folder / "main.py"), *(options or [])]))


def status_of(command: list[str]) -> int:
    """Run a program to its end, which is its own to make after a signal: it has processes to end; as shells have it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NAMES)  # which the program has until gateway.interrupted
    former = {}
    try:
        program = subprocess.Popen(command)

        def tell(number: int, frame: object) -> None:
            if number != signal.SIGINT:  # a keyboard's, which goes to both
                program.send_signal(number)

        heard = [number for number in NAMES if signal.getsignal(number) is not signal.SIG_IGN]
        former = {number: signal.signal(number, tell) for number in heard}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NAMES)
        status = program.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NAMES)
    return status if status >= 0 else SIGNALLED - status
