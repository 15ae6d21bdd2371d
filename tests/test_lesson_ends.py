"""Ctrl-C, SIGTERM and SIGHUP in each kind of lesson, and in the demo: a sentence, a status, and nothing left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.commands.examples import status_of
from tests import peers
from tests.browser.sip_pages import bundle
from tests.lesson_program import EXAMPLES, PROGRAM, ROOT, SECONDS
from tests.rows import by_row

pytestmark = pytest.mark.wall

CTRL_C = (130, "Stopped by Ctrl-C.\n")
SIGTERM = (143, "Stopped by SIGTERM.\n")
SIGHUP = (129, "Stopped by SIGHUP.\n")


def marked(mark: str) -> list[str]:
    """Command lines of the processes that have this in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def left(mark: str, seconds: float = 20) -> list[str]:
    """Those that are still there after that time: children of a Chromium notice its end a little later."""
    end = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def dispositions(keyboard: signal.Handlers = signal.SIG_DFL) -> None:
    """What a shell gives its programs, whatever these tests run behind (`nohup`, `&`)."""
    signal.signal(signal.SIGINT, keyboard)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def ended(
    command: list[str],
    line: str,
    *by: signal.Signals,
    mark: str = "",
    kill: Callable[[int, int], None] = os.killpg,
    keyboard: signal.Handlers = signal.SIG_DFL,
) -> tuple[int, str]:
    """Once that line is said its whole group gets these signals; its status, and what it complained of."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command,
        env={**ours, "PYTHONPATH": str(ROOT), "LESSON": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: dispositions(keyboard),
    ) as process:
        assert process.stdout is not None
        assert any(said.startswith(line) for said in process.stdout), process.communicate()
        for number in by:
            kill(process.pid, number)
        _, complained = process.communicate(timeout=SECONDS)
    return process.returncode, complained


def program(main: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(main=main)]


WAITS = {
    "a function": """
import time
def main():
    try:
        print('1.', flush=True)
        while True: time.sleep(0.01)
    finally: time.sleep(0.2); print('cleaned', file=sys.stderr)""",
    "a coroutine": """
async def main():
    try:
        print('1.')
        while True: await asyncio.sleep(0.01)
    finally: await asyncio.sleep(0.2); print('cleaned', file=sys.stderr)""",
}
"""Waits are short: Python looks for signals between them, and one that comes as a wait begins waits for its end."""
each_wait = pytest.mark.parametrize("main", WAITS.values(), ids=WAITS)


@each_wait
def test_ctrl_c_ends_a_program_wherever_it_waits(main: str) -> None:
    """Whether it is a function or a coroutine."""
    assert ended(program(main), "1.", signal.SIGINT) == (130, f"cleaned\n{CTRL_C[1]}")


@each_wait
@by_row("keyboard", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background"])
@by_row(
    ("by", "end"),
    [
        ((signal.SIGTERM, signal.SIGTERM), SIGTERM),
        ((signal.SIGHUP, signal.SIGHUP, signal.SIGTERM), SIGHUP),
    ],
    ids=["SIGTERM", "SIGHUP"],
)
def test_other_signals_end_it_as_well(
    main: str, keyboard: signal.Handlers, by: tuple[signal.Signals, ...], end: tuple[int, str]
) -> None:
    """Shells and `timeout` send them more than once: that cuts nothing short. Behind `&` Ctrl-C may be ignored."""
    assert ended(program(main), "1.", *by, keyboard=keyboard) == (end[0], f"cleaned\n{end[1]}")


def test_what_is_ignored_stays_so() -> None:
    """Behind `nohup` a program goes on when its terminal is closed."""
    main = "import os, signal\ndef main(): os.kill(os.getpid(), signal.SIGHUP)"
    command = ["nohup", *program(main)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "PASS\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_terminal_that_is_closed_ends_it(tmp_path: Path, unbuffered: str) -> None:
    """Nobody can be told then: it cleans up, and has the status."""
    cleaned = tmp_path / "cleaned"
    main = (
        "async def main():\n    try: print('1.'); await asyncio.sleep(60)\n"
        f"    finally: await asyncio.sleep(0.1); open({str(cleaned)!r}, 'w').close()"
    )
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve(
            sys.executable, program(main), {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
        )
    said = b""
    while b"\n" not in said:  # the whole of the line, which may be written in two parts
        said += os.read(terminal, 1024)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), cleaned.exists()) == (129, True)


def test_a_second_ctrl_c_changes_no_status() -> None:
    """Not when the sentence is said, while Python itself cleans up."""
    late = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT)"
    assert ended(program(late + WAITS["a coroutine"]), "1.", signal.SIGINT) == (130, f"cleaned\n{CTRL_C[1]}")


IMPORTS = {
    "waits": "while True: time.sleep(0.01)",
    "makes another error of it": "try:\n    while True: time.sleep(0.01)\nexcept KeyboardInterrupt: raise ImportError",
}


@pytest.mark.parametrize("waits", IMPORTS.values(), ids=IMPORTS)
def test_ctrl_c_ends_a_program_that_still_imports(waits: str) -> None:
    """What stands at the top of a program is run as what it imports is: before `run`."""
    imports = f"import gateway.lesson, time\nprint('1.', flush=True)\n{waits}"
    assert ended([sys.executable, "-c", imports], "1.", signal.SIGINT) == CTRL_C


def test_other_errors_of_imports_have_their_traceback() -> None:
    """As without gateway.lesson."""
    done = subprocess.run([sys.executable, "-c", "import gateway.lesson; 1 / 0"], cwd=ROOT, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Traceback")
    assert done.stderr.endswith(b"ZeroDivisionError: division by zero\n")


@by_row(
    ("by", "end"), [("SIGINT", CTRL_C), ("SIGTERM", (143, "")), ("SIGHUP", (129, ""))], ids=["Ctrl-C", "TERM", "HUP"]
)
def test_the_command_holds_signals_back_until_the_lesson_can_end(by: str, end: tuple[int, str], tmp_path: Path) -> None:
    """Python itself takes its time to start. What ends it while it imports is the command's status as well."""
    (tmp_path / "01_first").mkdir()
    (tmp_path / "01_first/main.py").write_text(
        f"import os, signal\nos.kill(os.getpid(), signal.{by})\nprint('held', flush=True)\n"
        "import gateway.lesson\nprint('on')"
    )
    command = (
        "import sys, pathlib, gateway.cli, gateway.commands.examples as examples\n"
        f"examples.FOLDER = pathlib.Path({str(tmp_path)!r})\nsys.argv[1:] = ['examples', 'run', '1']\n"
        "gateway.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=SECONDS, preexec_fn=dispositions,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (end[0], "held\n", end[1])


@pytest.mark.parametrize(
    ("behind", "by", "kill", "counted"),
    [([], signal.SIGINT, os.killpg, 1), (["nohup"], signal.SIGHUP, os.kill, 0)],
    ids=["Ctrl-C", "nohup"],
)
def test_the_command_passes_on_what_the_lesson_has_not_got(
    behind: list[str], by: signal.Signals, kill: Callable[[int, int], None], counted: int
) -> None:
    """A keyboard's Ctrl-C goes to both of them, and behind `nohup` neither hears that the terminal is closed."""
    program = (
        "import signal, sys\nheard = []\n"
        "for number in signal.SIGINT, signal.SIGHUP: signal.signal(number, lambda *_: heard.append(1))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(10 + len(heard)))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, range(1, 30))\nprint('1.', flush=True)\nwhile True: signal.pause()"
    )
    command = (
        "import sys\nfrom gateway.commands.examples import status_of\n"
        f"sys.exit(status_of({[sys.executable, '-c', program]}))"
    )

    def sent(process: int, number: int) -> None:
        (os.kill if number == signal.SIGTERM else kill)(process, number)

    status, _ = ended([*behind, sys.executable, "-c", command], "1.", by, signal.SIGTERM, kill=sent)
    assert status == 10 + counted


def test_the_status_of_what_was_killed_is_a_shells() -> None:
    assert status_of([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137


CHROMIUM = peers.whole_chromium


def kamailio() -> None:
    CHROMIUM()
    peers.program("kamailio", "kamailio")


def jssip() -> None:
    CHROMIUM()
    bundle()


def machines() -> None:
    for one in (("kamailio", "kamailio"), ("redis-server", "redis-server"), ("rtpengine", "rtpengine-daemon")):
        peers.program(*one)


LESSONS: dict[str, tuple[str, str, str, tuple[int, str], Callable[[], object] | None]] = {
    "a gateway": ("08", "1.", "SIGINT", CTRL_C, None),
    "an agent": ("12", "2.", "SIGINT", CTRL_C, None),
    "a Chromium": ("09", "Part 2", "SIGINT", CTRL_C, CHROMIUM),
    "a page": ("09", "Part 3", "SIGINT", CTRL_C, CHROMIUM),
    "a page, SIGTERM": ("09", "Part 3", "SIGTERM", SIGTERM, CHROMIUM),
    "a PBX": ("10", "2.", "SIGINT", CTRL_C, kamailio),
    "a PBX, SIGTERM": ("10", "2.", "SIGTERM", SIGTERM, kamailio),
    "JsSIP": ("11", "2.", "SIGINT", CTRL_C, jssip),
    "many gateways": ("14", "2.", "SIGINT", CTRL_C, machines),
    "many gateways, SIGHUP": ("14", "2.", "SIGHUP", SIGHUP, machines),
}


@pytest.mark.wall
@pytest.mark.parametrize(
    ("number", "line", "by", "end", "needed"),
    [pytest.param(*case, marks=pytest.mark.nightly if case[-1] else (), id=name) for name, case in LESSONS.items()],
)
def test_a_signal_ends_a_lesson_and_all_that_it_has_started(
    number: str, line: str, by: str, end: tuple[int, str], needed: Callable[[], object] | None
) -> None:
    """With one sentence and its status. Lines are there when they are said, in a pipe as well: so the test sees one."""
    if needed is not None:
        needed()
    [lesson] = EXAMPLES.glob(f"{number}_*/main.py")
    mark = f"{number}-{line}-{os.getpid()}-{time.monotonic_ns()}"
    assert ended([sys.executable, str(lesson)], line, signal.Signals[by], mark=mark) == end
    assert left(mark) == []


@pytest.mark.wall
@pytest.mark.parametrize(
    ("by", "kill", "end"), [(signal.SIGINT, os.killpg, CTRL_C), (signal.SIGTERM, os.kill, SIGTERM)], ids=["all", "one"]
)
def test_the_command_leaves_its_end_to_the_lesson(
    by: signal.Signals, kill: Callable[[int, int], None], end: tuple[int, str]
) -> None:
    """`gateway examples run` waits for it, passes on what it alone has got, and ends with its status."""
    mark = f"command-{os.getpid()}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "gateway", "examples", "run", "08"]
    assert ended(command, "1.", by, mark=mark, kill=kill) == end
    assert left(mark) == []


@pytest.mark.wall
@pytest.mark.nightly
@pytest.mark.parametrize(("by", "end"), [("SIGINT", CTRL_C), ("SIGTERM", SIGTERM)])
def test_the_demo_ends_as_a_lesson_does(by: str, end: tuple[int, str]) -> None:
    """With the gateway, the phone and the Chromium that it has started."""
    CHROMIUM()
    peers.baresip()  # the phone where there is no pjsua2
    mark = f"demo-{os.getpid()}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "gateway", "demo", "--rounds", "1"]
    assert ended(command, "browser calls", signal.Signals[by], mark=mark) == end
    assert left(mark) == []
