"""No block of README, CONTRIBUTING or docs that nobody runs."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from tests.docs_blocks import BY_LANGUAGE, DOCUMENTS, NOT_HERE, PICTURE, ROOT, RUN, blocks_of, runner
from tests.rows import by_row

TESTS = ROOT / "tests"
NAMED = sorted({by.removeprefix(NOT_HERE) for each in RUN.values() for by in each.values()} - {PICTURE})
MOST_NOT_HERE = 2
"""What takes a Docker or a cluster: it stays few."""


def source(named: str) -> str:
    """The file of a test, and those of the tests' own modules that it imports."""
    text = (TESTS / named.partition("::")[0]).read_text()
    shared = re.findall(r"^from tests\.([\w.]+) import", text, re.MULTILINE)
    files = [TESTS / f"{name.replace('.', '/')}.py" for name in shared if name != "docs_blocks"]
    return text + "".join(file.read_text() for file in files if file.is_file())


@by_row("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_is_run_by_somebody(document: Path) -> None:
    """By the test of its language, or by the one that is named for it."""
    assert [block.name for block in blocks_of(document) if runner(block) is None] == []


def test_nobody_is_named_for_what_is_not_there() -> None:
    """Each beginning is that of a block, and each document is one."""
    begun = {(block.document, start) for document in DOCUMENTS for block in blocks_of(document)
             for start in RUN.get(block.document, {}) if block.text.startswith(start)}  # fmt: skip
    assert {(document, start) for document, each in RUN.items() for start in each} - begun == set()


@by_row("named", [*NAMED, *sorted(set(BY_LANGUAGE.values()))])
def test_who_is_named_is_a_test(named: str) -> None:
    """A function of that name, in that file."""
    file, _, name = named.partition("::")
    tree = ast.parse((TESTS / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@by_row(("document", "start"), [(document, start) for document, each in RUN.items() for start in each])
def test_who_is_named_reads_that_document(document: str, start: str) -> None:
    """What is run is what the page says: the test's file names the page."""
    by = RUN[document][start]
    if by == PICTURE or by.startswith(NOT_HERE):
        return
    name = Path(document).name
    pages = {"README.md", "docs/index.md"}  # their `make run` is that of the guide, in a clone of its own
    assert name in source(by) or (document in pages and start.startswith("make run")), by


def test_what_is_run_by_nobody_is_rare() -> None:
    """And each says where it is looked at."""
    count = Counter(by.startswith(NOT_HERE) for each in RUN.values() for by in each.values())
    assert count[True] <= MOST_NOT_HERE


@by_row(
    "text",
    ["```sh\nnobody runs this\n```\n", "  - x\n\n    ```\n    nor this\n    ```\n", "~~~python\nx\n~~~\n",
     "````yml\na: 1\n````\n", '```sh title="x"\nmake nothing\n```\n', "```yaml title='x'\na: 1\n```\n"],
)  # fmt: skip
def test_a_block_that_nobody_runs_is_seen(tmp_path: Path, text: str) -> None:
    """Whatever its fence, its language and its place."""
    page = tmp_path / "page.md"
    page.write_text(text)
    [block] = blocks_of(page, "page.md")
    assert runner(block) is None
