"""The examples run, prove what they claim, and lead from one to the next."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.commands.examples import examples_app
from tests import peers
from tests.browser.sip_pages import bundle
from tests.lesson_claims import can_be_false, checks

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if re.match(r"\d\d_", folder.name))
SECTIONS = [
    "What you will learn",
    "The idea",
    "Run it",
    "The program",
    "What it prints",
    "The RFC in two sentences",
    "Try changing this",
    "Next",
]
SECONDS = 45
"""Far more than any example takes; the machine may be busy."""
LONGER = 150
"""For the lessons that start four Chromiums, one after the other, and five servers."""
PEERS: dict[str, Callable[[], object]] = {
    "09": peers.whole_chromium,
    "10": lambda: (peers.whole_chromium(), peers.program("kamailio", "kamailio")),
    "11": lambda: (peers.whole_chromium(), bundle()),
    "14": lambda: [
        peers.program(name, package)
        for name, package in (
            ("kamailio", "kamailio"),
            ("redis-server", "redis-server"),
            ("rtpengine", "rtpengine-daemon"),
        )
    ],
}
"""What has to be installed for a lesson."""

pytestmark = pytest.mark.wall
each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def lessons(marks: Callable[[str], pytest.MarkDecorator | None]) -> pytest.MarkDecorator:
    """Return a parameter for every lesson, marked by its number."""
    marked = [pytest.param(one, marks=marks(one.name[:2]) or (), id=one.name) for one in FOLDERS]
    return pytest.mark.parametrize("folder", marked)


one_is_core = lessons(lambda number: pytest.mark.core if number == "08" else None)
late_ones_nightly = lessons(lambda number: pytest.mark.nightly if number > "08" else None)


def run(program: Path, cwd: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program with this Python, from another folder; its output as text."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        [sys.executable, str(program), *options],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGER if program.parent.name.startswith(("09", "10", "11", "14")) else SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """What a lesson did; each runs once for all tests that look at it."""

    @functools.cache
    def result(folder: Path) -> subprocess.CompletedProcess[str]:
        PEERS.get(folder.name[:2], str)()
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "gateway.yaml").write_text("the reader's own: nothing of it counts in a lesson\n")
        return run(folder / "main.py", elsewhere, GATEWAY_WEB__LISTEN="nowhere")

    return result


def copy_lesson(folder: Path, where: Path) -> None:
    """A lesson to change, and the phone of lesson 8 that it may use."""
    for needed in {folder, EXAMPLES / "08_sip_client"}:
        shutil.copytree(needed, where / needed.name, ignore=shutil.ignore_patterns("__pycache__"))


def links(text: str) -> list[str]:
    """Relative targets of the links in a Markdown text, without fragments."""
    return re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)


def test_examples_are_numbered_without_gaps() -> None:
    """01 to the last, each with a program and a README."""
    assert [folder.name[:2] for folder in FOLDERS] == [f"{number:02}" for number in range(1, len(FOLDERS) + 1)]
    assert [folder.name for folder in FOLDERS if not (folder / "main.py").is_file()] == []
    assert [folder.name for folder in FOLDERS if not (folder / "README.md").is_file()] == []


@one_is_core
@pytest.mark.timeout(2 * LONGER)
def test_every_example_passes_from_any_folder(
    folder: Path, ran: Callable[[Path], subprocess.CompletedProcess[str]]
) -> None:
    """Status 0, PASS as the last line, nothing on standard error."""
    result = ran(folder)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "PASS"
    assert result.stderr == ""


CHECKS_TURNED = """
import logging, runpy, sys
import gateway.lesson as lesson
folder, check = sys.argv.pop(), lesson.check

def outcome(number):
    claims = []
    def turned(condition, words):
        claims.append(words)
        check((not condition) if len(claims) == number else condition, words)
    lesson.check = turned
    for name in [name for name, one in sys.modules.items() if (getattr(one, "__file__", "") or "").startswith(folder)]:
        del sys.modules[name]
    logging.disable(logging.NOTSET)
    try:
        runpy.run_path(folder + "/main.py", run_name="__main__")
    except SystemExit as end:
        return claims, end.code
    return claims, "PASS"

claims, number = [], 0
while number <= len(claims):
    number += 1
    claims, end = outcome(number)
    wanted = f"FAIL: {claims[number - 1]}" if number <= len(claims) else "PASS"
    if end != wanted:
        sys.exit(f"check {number}: {end!r} in place of {wanted!r}")
print("checks:", len(claims))
"""
"""Runs a lesson with its first check turned round, then with its second, and so on, and at last as it is."""


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(one, marks=pytest.mark.nightly if one.name > "08" else (), id=one.name)
        for one in FOLDERS
        if one.name < "09"
    ],
)
def test_each_claim_that_does_not_hold_fails_the_lesson(folder: Path, tmp_path: Path) -> None:
    """With any one of its checks turned round a lesson ends with what that one says; none is caught on its way."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "-c", CHECKS_TURNED, str(folder)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGER, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= len(checks(folder))


def pattern_of(words: ast.expr) -> str:
    """What `check` may print for them: what is filled in may be anything."""
    match words:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=values):
            return "".join(pattern_of(value) for value in values)
    return ".*"


@each
def test_each_claim_of_a_lesson_can_be_false(folder: Path) -> None:
    """What it looks at is something that has happened, not a constant."""
    made = checks(folder)
    assert len(made) >= 5
    assert [ast.unparse(call) for call in made if not can_be_false(call.args[0])] == []


@pytest.mark.parametrize(
    ("condition", "can"),
    [
        ("1 == 1", False),
        ("bool(1)", False),
        ("len('x') == 1", False),
        ("heard == heard", False),
        ("await bob.done.wait()", False),
        ("await shows(page, 'ready') == 'ready'", False),
        ("await shows(page, 'ringing') == '1001'", True),
        ("await bob.done.wait() and bob.taken == alice.sent", True),
        ("abs(heard - 440) <= 15", True),
    ],
)
def test_what_cannot_be_false_is_seen(condition: str, can: bool) -> None:
    """A constant, however it is written, and what a wait has said before."""
    assert can_be_false(ast.parse(condition, mode="eval").body) is can


@each
@pytest.mark.timeout(2 * LONGER)
def test_each_claim_of_a_lesson_is_made(folder: Path, ran: Callable[[Path], subprocess.CompletedProcess[str]]) -> None:
    """No check stands where a lesson that passes does not come by."""
    printed = ran(folder).stdout.splitlines()
    for call in checks(folder):
        pattern = re.compile(f"  ok: {pattern_of(call.args[1])}")
        assert any(pattern.fullmatch(line) for line in printed), f"{folder.name}: {ast.unparse(call)}"


LOG = "--verbose shows the gateway's log"
UNHEARD = f"has not heard 784 Hz within 30 s: all was silent; does the other side speak? {LOG}"
SILENT = "sound.py", "sine(hz, 1.0, RATE)", "sine(hz, 1.0, RATE, level=0)"
NOTHING_COMES = "sound.py", "packet.payload_type == 0", "packet.payload_type == 99"
DOES_NOT_RING = "client.py", "self.calls.put_nowait(", "str("
PERSON_IS_SILENT = "main.py", "hz=784", "hz=None"
CONFERENCE = "should hear 1002 and 1003 and nobody else; within 8 s it does not for 1002 (0.00) and 1003 (0.00): "


@pytest.mark.timeout(2 * LONGER)
@pytest.mark.parametrize(
    ("number", "change", "sentence"),
    [
        ("08", SILENT, f"100. has not heard 100. within 8 s: packets came (…), but all silent; does 100. speak? {LOG}"),
        *(
            pytest.param(*case, marks=pytest.mark.nightly)
            for case in (
                (
                    "08",
                    NOTHING_COMES,
                    "1001 has not heard the gateway within 8 s: no packet of sound came to UDP port …",
                ),
                ("08", DOES_NOT_RING, f"1001 did not ring within 8 s; {LOG}"),
                ("09", SILENT, f"the page {UNHEARD}"),
                ("10", SILENT, f"the page {UNHEARD}"),
                ("11", SILENT, f"the page {UNHEARD}"),
                ("12", SILENT, f"1002 has not heard the agent … {LOG} (the agent has answered 0 times, 4 are wanted)"),
                ("12", PERSON_IS_SILENT, "1002 has not heard 1001 within 8 s: packets came (…), but all silent; …"),
                ("13", SILENT, f"1001 {CONFERENCE}… {LOG}"),
                ("14", SILENT, "1001 has not heard 1002 within 8 s: packets came (…), but all silent; …"),
            )
        ),
    ],
)
def test_a_phone_that_is_not_heard_fails_the_lesson(
    number: str, change: tuple[str, str, str], sentence: str, tmp_path: Path
) -> None:
    """Who was not heard by whom, how long it was waited, what came instead, and where to look."""
    PEERS.get(number, str)()
    [folder] = [folder for folder in FOLDERS if folder.name.startswith(number)]
    copy_lesson(folder, tmp_path)
    file, before, after = change
    [changed] = [*(tmp_path / folder.name).glob(file), *(tmp_path / "08_sip_client").glob(file)][:1]
    text = changed.read_text()
    assert text.count(before) == 1
    changed.write_text(text.replace(before, after))
    result = run(tmp_path / folder.name / "main.py", tmp_path)
    pattern = re.escape(f"FAIL: {sentence}\n").replace("…", ".*").replace(r"100\.", "100[12]")
    assert (result.returncode, bool(re.fullmatch(pattern, result.stderr))) == (1, True), result.stderr


def test_a_port_in_use_and_a_missing_peer_are_sentences(tmp_path: Path) -> None:
    """Each says what to do, with status 1 and no traceback."""
    peers.whole_chromium()
    bundle()
    softphone, trunk = EXAMPLES / "11_jssip_softphone" / "main.py", EXAMPLES / "10_pbx_trunk" / "main.py"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = run(softphone, tmp_path, "--port", str(port))
    assert (busy.returncode, busy.stderr.startswith(f"FAIL: port {port} cannot be used")) == (1, True)
    assert "choose another: --port" in busy.stderr
    nowhere = run(softphone, tmp_path, "--port", "70000")
    assert (nowhere.returncode, nowhere.stderr.startswith("FAIL: port 70000 cannot be used")) == (1, True)
    lonely = run(trunk, tmp_path, PATH=str(tmp_path))
    assert lonely.stderr == "FAIL: there is no kamailio; install the Debian package kamailio\n"


def test_the_port_of_http_is_left_out_of_an_origin(tmp_path: Path) -> None:
    """As browsers do: the gateway compares the origin of lesson 11's page with what a Chromium sends."""
    program = tmp_path / "origins.py"
    program.write_text("from pages import origin\n\nprint(origin(80), origin(8081))\n")
    result = run(program, tmp_path, PYTHONPATH=os.pathsep.join([str(EXAMPLES / "11_jssip_softphone"), str(ROOT)]))
    assert result.stdout == "http://localhost http://localhost:8081\n"


@each
def test_an_option_that_there_is_not_is_refused(folder: Path, tmp_path: Path) -> None:
    """By its name and before anything is done; status 2, as at any program."""
    result = run(folder / "main.py", tmp_path, "--nosuch")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith("error: unrecognized arguments: --nosuch\n")


def test_a_lesson_without_its_chromium_says_what_to_install(tmp_path: Path) -> None:
    """One sentence, status 1, no traceback."""
    peers.whole_chromium()
    result = run(EXAMPLES / "09_webrtc_integration" / "main.py", tmp_path, PATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == "FAIL: there is no Chromium to drive; install the Debian package chromium\n"


@pytest.mark.parametrize(
    "number", ["08", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("09", "10", "11", "12", "13"))]
)
def test_a_wrong_password_ends_with_a_sentence(number: str, tmp_path: Path) -> None:
    """It says what was refused, and by whom; status 1, no traceback."""
    PEERS.get(number, str)()
    wrong = "from gateway import Gateway\nGateway.password = lambda self, user: 'wrong'\n"
    (tmp_path / "sitecustomize.py").write_text(wrong)
    [folder] = [folder for folder in FOLDERS if folder.name.startswith(number)]
    program = next(folder.glob("part3_*.py"), folder / "main.py")  # the first part of lesson 9 that signs in
    result = run(program, tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.fullmatch(r"FAIL: .*(?:401; is the password right\?|[Pp]assword is wrong).*\n", result.stderr)


@pytest.mark.parametrize("number", ["09", "10", "11"])
def test_a_lesson_without_playwright_says_what_to_install(number: str, tmp_path: Path) -> None:
    """`make run` installs none: one sentence that says what does, status 1, no traceback."""
    PEERS[number]()
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['playwright'] = None\n")
    [folder] = [folder for folder in FOLDERS if folder.name.startswith(number)]
    result = run(folder / "main.py", tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert result.returncode == 1
    assert re.fullmatch(r"FAIL: the extra `browser` .*`make example N=09` installs it.*\n", result.stderr)


@each
def test_every_readme_has_the_same_sections(folder: Path) -> None:
    """The skeleton is the same, so that readers know where to look."""
    text = (folder / "README.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"python examples/{folder.name}/main.py" in text


def section(folder: Path, name: str) -> str:
    """One section of a lesson's README."""
    text = (folder / "README.md").read_text()
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def fenced(text: str, language: str) -> list[str]:
    """The blocks of one language in a Markdown text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def stripped(text: str) -> str:
    """Its lines without indentation and empty ones: a piece of a program is shown without what is around it."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def not_of_the_program(folder: Path) -> list[str]:
    """The blocks under "The program" that no file of the folder in their language has, word for word."""
    endings = {"python": "*.py", "js": "*.js", "html": "*.html"}
    shown = re.findall(r"^```(\S*)\n(.*?)^```", section(folder, "The program"), re.MULTILINE | re.DOTALL)
    assert len(shown) >= 3
    return [
        block
        for language, block in shown
        if language not in endings
        or not any(stripped(block) in stripped(file.read_text()) for file in folder.glob(endings[language]))
    ]


@each
def test_the_code_of_a_readme_is_that_of_the_program(folder: Path) -> None:
    """What is explained is what runs, word for word, in whatever language."""
    assert not_of_the_program(folder) == []


@pytest.mark.parametrize(("before", "after"), [("JsSIP.UA(", "JsSIP.UAA("), ("```js", "```ecma")])
def test_code_that_is_not_of_the_program_is_seen(before: str, after: str, tmp_path: Path) -> None:
    """Another letter in JavaScript, or a language that nobody compares."""
    copy_lesson(EXAMPLES / "11_jssip_softphone", tmp_path)
    lesson = tmp_path / "11_jssip_softphone"
    text = (lesson / "README.md").read_text()
    (lesson / "README.md").write_text(text.replace(before, after, 1))
    assert len(not_of_the_program(lesson)) == 1


@each
@pytest.mark.timeout(2 * LONGER)
def test_a_lesson_prints_what_its_readme_shows(
    folder: Path, ran: Callable[[Path], subprocess.CompletedProcess[str]]
) -> None:
    """Line by line and in order; what differs each time is an ellipsis there."""
    printed = iter(ran(folder).stdout.splitlines())
    [shown] = fenced(section(folder, "What it prints"), "text")
    for line in shown.splitlines():
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        assert any(pattern.fullmatch(other) for other in printed), f"{line!r} is not printed there"


@late_ones_nightly
@pytest.mark.timeout(4 * SECONDS)
def test_the_answers_of_the_exercises_hold(folder: Path, tmp_path: Path) -> None:
    """Three at least, each saved in the folder of its lesson and run as its `main.py` is, with what the README says."""
    text = section(folder, "Try changing this")
    programs, results = fenced(text, "python"), fenced(text, "text")
    if any("from machines import" in program for program in programs):
        PEERS[folder.name[:2]]()
    assert len(programs) == len(results) == text.count("<details>") >= 3
    copy_lesson(folder, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for number, (program, result) in enumerate(zip(programs, results, strict=True)):
        file = tmp_path / folder.name / f"exercise{number}.py"
        file.write_text(program)
        command = [sys.executable, str(file)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert (done.stdout, done.stderr) == (result, ""), f"exercise {number + 1}"


@each
def test_a_lesson_is_short(folder: Path) -> None:
    """What is read in one sitting: each program less than 150 lines, the README not much more."""
    assert {file.name for file in folder.glob("*.py") if len(file.read_text().splitlines()) >= 150} == set()
    assert len((folder / "README.md").read_text().splitlines()) < 220


@each
def test_every_link_of_a_readme_leads_somewhere(folder: Path) -> None:
    """Relative links name files that exist."""
    for target in links((folder / "README.md").read_text()):
        assert (folder / target).exists(), f"{folder.name} links to {target}"


@pytest.mark.parametrize("place", range(len(FOLDERS)), ids=lambda place: FOLDERS[place].name)
def test_next_leads_to_the_following_example(place: int) -> None:
    """The last section links to the next number, and from the last one back to the list."""
    last = (FOLDERS[place] / "README.md").read_text().partition("## Next")[2]
    following = f"../{FOLDERS[place + 1].name}/README.md" if place + 1 < len(FOLDERS) else "../README.md"
    assert following in links(last)


def test_the_command_lists_and_runs_them() -> None:
    """`gateway examples run 1`, with the lesson's own status; a number that there is not is a sentence."""
    runner = CliRunner()
    listed = runner.invoke(examples_app, ["list"]).stdout.splitlines()
    assert [line[:2] for line in listed] == [folder.name[:2] for folder in FOLDERS]
    assert listed[2] == "03  A SIP dialog"
    assert runner.invoke(examples_app, ["run", "1"]).exit_code == 0
    assert runner.invoke(examples_app, ["run", "11", "--port", "70000"]).exit_code == 1
    wrong = runner.invoke(examples_app, ["run", "77"])
    assert (wrong.exit_code, "there is no lesson 77" in wrong.stderr) == (2, True)


def test_the_command_gives_ctrl_c_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the handler before was not set by Python: it is None there, which cannot be given back."""
    former, install = signal.getsignal(signal.SIGINT), signal.signal
    try:
        install(signal.SIGINT, signal.default_int_handler)  # ignored behind `&`, and then left so
        monkeypatch.setattr(signal, "signal", lambda number, handler: install(number, handler) and None)
        assert CliRunner().invoke(examples_app, ["run", "1"]).exit_code == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        install(signal.SIGINT, former)


def test_without_a_checkout_the_command_says_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel holds no lessons."""
    monkeypatch.setattr("gateway.commands.examples.FOLDER", tmp_path)
    result = CliRunner().invoke(examples_app, ["list"])
    assert (result.exit_code, "clone the repository" in result.stderr) == (2, True)


def test_the_index_lists_every_example_in_order() -> None:
    """examples/README.md links to each README, in the order of their numbers."""
    found = links((EXAMPLES / "README.md").read_text())
    assert found == [f"{folder.name}/README.md" for folder in FOLDERS]
