"""docs/sdp.md does what it says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from sdp.attributes import ATTRIBUTES

DOCUMENT = Path(__file__).parent.parent / "docs" / "sdp.md"


def test_every_snippet_of_the_sdp_page_gives_what_it_shows() -> None:
    """The snippets run from top to bottom, as a reader would type them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "docs/sdp.md", str(DOCUMENT), 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert results.attempted == len(re.findall(r"^>>> ", text, re.MULTILINE)) > 40
    assert not results.failed, "".join(report)


def test_every_typed_attribute_is_listed() -> None:
    """The table of attributes is the library's own."""
    rows = re.findall(r"^\| [^|]+ \| ((?:`[a-z-]+` ?)+)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(listed) == sorted(ATTRIBUTES)
