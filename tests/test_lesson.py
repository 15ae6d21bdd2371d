"""gateway.lesson: how lessons speak and end; and Ctrl-C in each kind of them."""

from __future__ import annotations

from gateway.lesson import arrow, beside, check, table

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import peers
from tests.browser.sip_pages import bundle

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = 30
PROGRAM = """
import asyncio, sys
from gateway import GatewayError
from gateway.lesson import check, run, within
{main}
run(main, "what it is for", log=True, seconds=30)
"""
ENDS: dict[str, tuple[str, int, str, str]] = {
    "a claim that holds": ("def main(): check(1 == 1, 'one')", 0, "  ok: one\nPASS\n", ""),
    "a claim that does not": ("async def main(): check(1 == 2, 'one is two')", 1, "", "FAIL: one is two\n"),
    "in a task": (
        "async def other(): check(1 == 2, 'in a task')\n"
        "async def main(): asyncio.create_task(other()); await asyncio.sleep(9)",
        1,
        "",
        "FAIL: in a task\n",
    ),
    "an error of the gateway": ("def main(): raise GatewayError('no such thing')", 1, "", "FAIL: no such thing\n"),
    "a wait that was too long": (
        "async def main():\n    async with within(0.01, 'the phone rings'): await asyncio.sleep(9)",
        1,
        "",
        "FAIL: the phone rings: not within 0.01 s\n",
    ),
}
LATE: dict[str, tuple[str, str]] = {
    "log=True, seconds=0.2": ("await asyncio.sleep(60)", "not done after 0.2 s; --verbose shows the gateway's log"),
    "seconds=0.2": ("await asyncio.sleep(60)", "not done after 0.2 s"),
    "log=True": ("raise TimeoutError", "not done in time; --verbose shows the gateway's log"),
    "log=False": ("raise TimeoutError", "not done in time"),
}


@pytest.mark.parametrize(("main", "status", "said", "complained"), ENDS.values(), ids=ENDS)
def test_a_program_ends_as_it_went(main: str, status: int, said: str, complained: str) -> None:
    """PASS, or FAIL with one sentence on standard error and status 1."""
    command = [sys.executable, "-c", PROGRAM.format(main=main)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (status, said, complained)


@pytest.mark.parametrize(("options", "waits", "words"), [(options, *case) for options, case in LATE.items()], ids=LATE)
def test_a_program_that_is_late_says_what_it_can(options: str, waits: str, words: str) -> None:
    """Of seconds and of --verbose only where it has them."""
    program = PROGRAM.format(main=f"async def main(): {waits}").replace("log=True, seconds=30", options)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"FAIL: {words}\n")


@pytest.mark.parametrize(("options", "shown"), [([], ""), (["--verbose"], "call.began")], ids=["plain", "verbose"])
def test_verbose_shows_the_log(options: list[str], shown: str) -> None:
    """Below errors it is not seen without."""
    program = PROGRAM.format(main="import structlog\ndef main(): structlog.get_logger().info('call.began')")
    command = [sys.executable, "-c", program, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "PASS\n")
    assert shown in done.stderr
    assert bool(shown) == bool(done.stderr)


def test_columns_are_as_wide_as_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    """What is too long is cut, and a row may be shorter than others."""
    table(("a", "bb", "c"), ("aaa", 4), widest=2)
    beside(["v=0", "a=ice-pwd:secret"], ["v=0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0"])
    arrow("alice", "BYE", "bob", width=9)
    arrow("alice", "200", "bob", back=True, width=9)
    assert capsys.readouterr().out.splitlines() == [
        "  | a  | bb | c",
        "  | a… | 4",
        "  | v=0         | v=0",
        "  | a=ice-pwd:… | a=crypto:…",
        "  alice |-- BYE -->| bob",
        "  alice |<-- 200 --| bob",
    ]


def test_a_claim_that_holds_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """And one that does not ends the program."""
    check(True, "it is so")
    with pytest.raises(SystemExit, match="FAIL: it is not"):
        check(False, "it is not")
    assert capsys.readouterr().out == "  ok: it is so\n"


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


def interrupted(command: list[str], line: str, mark: str) -> tuple[int, str]:
    """Ctrl-C once that line is said: SIGINT to all of its process group; status and standard error."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command,
        env={**ours, "PYTHONPATH": str(ROOT), "LESSON": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert any(said.startswith(line) for said in process.stdout), process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        _, complained = process.communicate(timeout=SECONDS)
    return process.returncode, complained


@pytest.mark.parametrize(
    "main",
    ["def main(): print('1.', flush=True); time.sleep(60)", "async def main(): print('1.'); await asyncio.sleep(60)"],
)
def test_ctrl_c_ends_a_program_wherever_it_waits(main: str) -> None:
    """Whether it is a function or a coroutine."""
    program = PROGRAM.format(main=f"import time\n{main}")
    assert interrupted([sys.executable, "-c", program], "1.", "waits") == (130, "Stopped by Ctrl-C.\n")


IMPORTS = {
    "waits": "time.sleep(60)",
    "makes another error of it": "try:\n    time.sleep(60)\nexcept KeyboardInterrupt: raise ImportError",
}


@pytest.mark.parametrize("waits", IMPORTS.values(), ids=IMPORTS)
def test_ctrl_c_ends_a_program_that_still_imports(waits: str) -> None:
    """What stands at the top of a program is run as what it imports is: before `run`."""
    program = f"import gateway.lesson, time\nprint('1.', flush=True)\n{waits}"
    assert interrupted([sys.executable, "-c", program], "1.", "imports") == (130, "Stopped by Ctrl-C.\n")


def test_other_errors_of_imports_have_their_traceback() -> None:
    """As without gateway.lesson."""
    done = subprocess.run([sys.executable, "-c", "import gateway.lesson; 1 / 0"], cwd=ROOT, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Traceback")
    assert done.stderr.endswith(b"ZeroDivisionError: division by zero\n")


def test_the_command_holds_ctrl_c_back_until_the_lesson_can_end(tmp_path: Path) -> None:
    """Python itself takes its time to start."""
    (tmp_path / "01_first").mkdir()
    (tmp_path / "01_first/main.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('held', flush=True)\n"
        "import gateway.lesson\nprint('on')"
    )
    command = (
        "import sys, pathlib, gateway.cli, gateway.commands.examples as examples\n"
        f"examples.FOLDER = pathlib.Path({str(tmp_path)!r})\nsys.argv[1:] = ['examples', 'run', '1']\n"
        "gateway.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "held\n", "Stopped by Ctrl-C.\n")


CTRL_C: dict[str, tuple[str, str, Callable[[], object] | None]] = {
    "a gateway": ("08", "1.", None),
    "an agent": ("12", "2.", None),
    "a Chromium": ("09", "Part 2", peers.whole_chromium),
    "a page": ("09", "Part 3", peers.whole_chromium),
    "a PBX": ("10", "2.", lambda: (peers.whole_chromium(), peers.program("kamailio", "kamailio"))),
    "JsSIP": ("11", "2.", lambda: (peers.whole_chromium(), bundle())),
    "many gateways": (
        "14",
        "2.",
        lambda: [
            peers.program(*one)
            for one in (("kamailio", "kamailio"), ("redis-server", "redis-server"), ("rtpengine", "rtpengine-daemon"))
        ],
    ),
}


@pytest.mark.peer
@pytest.mark.parametrize(
    ("number", "line", "needed"),
    [pytest.param(*case, marks=pytest.mark.slow if case[2] else (), id=name) for name, case in CTRL_C.items()],
)
def test_ctrl_c_ends_a_lesson_and_all_that_it_has_started(
    number: str, line: str, needed: Callable[[], object] | None
) -> None:
    """With one sentence and status 130. Lines are there when they are said, in a pipe as well: so the test sees one."""
    if needed is not None:
        needed()
    [program] = EXAMPLES.glob(f"{number}_*/main.py")
    mark = f"{number}-{line}-{os.getpid()}-{time.monotonic_ns()}"
    assert interrupted([sys.executable, str(program)], line, mark) == (130, "Stopped by Ctrl-C.\n")
    assert left(mark) == []


def test_a_reader_that_has_enough_ends_it() -> None:
    """As `head -1` does: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(EXAMPLES / "02_creating_messages/main.py")]
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(command, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.peer
def test_the_command_leaves_ctrl_c_to_the_lesson() -> None:
    """`gateway examples run` waits for its end, and ends with its status."""
    mark = f"command-{os.getpid()}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "gateway", "examples", "run", "08"]
    assert interrupted(command, "1.", mark) == (130, "Stopped by Ctrl-C.\n")
    assert left(mark) == []
