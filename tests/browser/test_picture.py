"""The picture of README and docs/index.md is made by a program, of the page as it is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from scripts.site.picture import FILE, HEIGHT, WIDTH, picture
from tests import peers

ROOT = Path(__file__).resolve().parents[2]


def size(file: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.wall
@pytest.mark.nightly
async def test_the_picture_of_the_documents_names_what_the_page_has_today(tmp_path: Path) -> None:
    """The buttons of a call, in their order; where they are others, `python -m scripts.site.picture` makes it anew."""
    peers.pjsua2()
    names = await picture(tmp_path / "softphone.png", peers.whole_chromium())
    assert size(tmp_path / "softphone.png") == size(FILE) == (WIDTH, HEIGHT)
    for document, link in (("README.md", "docs/softphone.png"), ("docs/index.md", "softphone.png")):
        shown = f"![The softphone page during a call: {', '.join(names)}]({link})"
        assert shown in (ROOT / document).read_text(), document
