"""What mkdocs is told: pages made from the code, lessons and files of the repository, and links that lead to them."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File, Files  # noqa: E402

from gateway.call.diagram import diagram  # noqa: E402
from scripts.site import diagrams, pictures, reference  # noqa: E402

LINK = re.compile(r"(!?\[[^\]\n]*\]\()([^)\s#:]*)(#[^)\s]*)?\)")
SEQUENCE = re.compile(r"```mermaid\n(sequenceDiagram\n.*?)```", re.DOTALL)
PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the repository's top that are pages."""
FILES = "files"
"""Where other files of the repository are found on the site."""


def place_of(path: str) -> str | None:
    """Where a file of the repository is on the site; None for a folder or what there is not."""
    if (ROOT / path).is_dir() and (ROOT / path / "README.md").is_file():
        path = posixpath.join(path, "README.md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in PAGES:
        return PAGES[path]
    if path.startswith("examples/") and path.endswith(".md"):
        return path
    return f"{FILES}/{path}" if (ROOT / path).is_file() else None


def source_of(place: str) -> str:
    """The file of the repository that a page of the site is made of."""
    for path, page in PAGES.items():
        if place == page:
            return path
    return place if place.startswith("examples/") else f"docs/{place}"


def listed(menu: Any) -> set[str]:
    """The pages that a menu names."""
    if isinstance(menu, str):
        return {menu}
    return {page for below in (menu.values() if isinstance(menu, dict) else menu) for page in listed(below)}


def on_files(files: Files, *, config: Any) -> Files:
    """Add what is not in docs/, and to the menu the pages that it does not name."""
    others = sorted({page.src_uri for page in files.documentation_pages()} - listed(config.nav))
    config.nav += [{"More": others}] if others else []
    made = dict(reference.pages())
    for path, place in PAGES.items():
        made[place] = (ROOT / path).read_text()
    for lesson in sorted((ROOT / "examples").glob("**/README.md")):
        made[lesson.relative_to(ROOT).as_posix()] = lesson.read_text()
    for document in [*files.documentation_pages()]:
        made.setdefault(document.src_uri, (ROOT / "docs" / document.src_uri).read_text())
    wanted = set()
    for place, text in made.items():
        for _, target, _ in LINK.findall(text):
            found = resolved(place, target)
            if found is not None and found.startswith(FILES + "/"):
                wanted.add(found)
    for place, text in made.items():
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, content=text))
    for place in sorted(wanted):
        files.append(File.generated(config, place, content=(ROOT / place.removeprefix(FILES + "/")).read_bytes()))
    return files


def resolved(place: str, target: str) -> str | None:
    """Where a relative link of a page leads on the site."""
    if not target or place.startswith("reference/"):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(place)), target))
    return place_of(path)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead links to where their files are here, and draw the diagrams."""
    place = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        before, target, anchor = match[1], match[2], match[3] or ""
        found = resolved(place, target)
        if found is None:
            return match[0]
        return f"{before}{posixpath.relpath(found, posixpath.dirname(place) or '.')}{anchor})"

    text = LINK.sub(lead, markdown)
    drawn = diagrams.markdown("A call", "new", reference.calls())
    text = text.replace(f"```mermaid\n{diagram()}```", drawn)
    return pictures.drawn(SEQUENCE.sub(lambda found: diagrams.sequence(found[1]), text))
