"""Settings that documents name are there, and docs/rfc.md claims what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.config.markdown import markdown
from gateway.web.rpc.table import METHODS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "rfc.md"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
]
ROWS = dict(re.findall(r"^\| `([\w.\[\]]+)` \| (.*) \|$", markdown(), re.MULTILINE))
"""Each key, and the rest of its row in docs/configuration.md: type, default, meaning."""
PLACES = {re.sub(r"\[\]", "", key) for key in ROWS} | {".".join(key.split(".")[:-1]) for key in ROWS}
PLACES |= {re.sub(r"\[\]", "", place) for place in PLACES}
NAMED = re.compile(r"`([a-z]\w*(?:\[\])?(?:\.\w+(?:\[\])?)+|[a-z]\w*(?:\[\])?\.\*)(?:: ([\w-]+))?`")
"""A key between backquotes, with or without the value that it is given."""

OTHERS = {"accounts.json", "accounts.key", "cdr.sqlite", "data.cause", "data.reason"}
"""Files of `state_dir`, and members of an error of JSON-RPC."""


def strangers(text: str) -> list[str]:
    """What looks like a key of ours and is none, or has a value that it does not take."""
    found = []
    for key, value in NAMED.findall(text):
        plain = key.replace("[]", "").removesuffix(".*")
        if plain.partition(".")[0] not in Config.model_fields or key in OTHERS or key in METHODS:
            continue
        choices = next((rest.partition(" | ")[0] for name, rest in ROWS.items() if name.replace("[]", "") == plain), "")
        if plain not in PLACES:
            found.append(key)
        elif value and " / " in choices and f"`{value}`" not in choices:
            found.append(f"{key}: {value}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_settings_that_are_named_are_there(document: Path) -> None:
    """A reader who sets one does not have the gateway refuse its file."""
    assert strangers(document.read_text()) == []


def test_a_setting_that_is_not_there_is_seen() -> None:
    """By its name, and by a value that it does not take; what is there is left alone."""
    assert strangers("`media.video.max_bitrate`, `trunks[].nosuch`") == ["media.video.max_bitrate", "trunks[].nosuch"]
    assert strangers("`rtp.srtp: perhaps`") == ["rtp.srtp: perhaps"]
    assert strangers("`rtp.srtp: required`, `trunks[].srtp`, `sip.bans.*`, `rtp`, `sip.listen`") == []


def supported() -> list[tuple[list[str], str]]:
    """The RFCs of each row of the page's tables of what there is, and the whole row."""
    tables = PAGE.read_text().partition("## Not supported")[0]
    rows = re.findall(r"^\| (?!RFC |---)([^|]+) \| .*$", tables, re.MULTILINE)
    whole = re.findall(r"^\| (?!RFC |---).*$", tables, re.MULTILINE)
    return [(re.findall(r"(?<![\d.])\d{4,5}(?![\d.])", one), row) for one, row in zip(rows, whole, strict=True)]


def sources() -> str:
    """All code of ours that is not a test."""
    files = [path for folder in ("gateway", "sdp") for path in (ROOT / folder).glob("**/*.py")]
    files += [*(ROOT / "plane" / "src").glob("**/*.rs"), *(ROOT / "gateway" / "web" / "static").glob("*.js")]
    return "".join(path.read_text() for path in files)


def unbuilt(rows: list[tuple[list[str], str]]) -> list[str]:
    """Rows of which the code names no RFC."""
    text = sources()
    return [row for numbers, row in rows if numbers and not any(re.search(rf"\b{one}\b", text) for one in numbers)]


def test_what_the_page_of_rfcs_claims_is_named_by_the_code() -> None:
    """Each row has an RFC to which something of ours refers; one that nothing does is seen."""
    rows = supported()
    assert len(rows) > 70
    assert len([numbers for numbers, _ in rows if not numbers]) <= 1  # REMB is a draft
    assert unbuilt(rows) == []
    assert unbuilt([(["4662"], "eventlist")]) == ["eventlist"]


def test_the_page_of_rfcs_lists_what_is_listed_in_the_code() -> None:
    """Event packages and digest algorithms: all of them, and by name."""
    page = PAGE.read_text()
    served = (ROOT / "gateway" / "app" / "subscriptions.py").read_text()
    packages = re.findall(r'^ +"([\w-]+)": _Package\(', served, re.MULTILINE)
    assert len(packages) == 4
    [listed] = re.findall(r"outside calls ((?:`[\w-]+`(?:, )?)+) for users", page)
    assert set(re.findall(r"`([\w-]+)`", listed)) == set(packages)
    [digest] = [row for numbers, row in supported() if "7616" in numbers]
    algorithms = Config().sip.registration.digest_algorithms
    assert set(re.findall(r"MD5|SHA-512-256|SHA-256", digest.partition(";")[0])) == {one.upper() for one in algorithms}
