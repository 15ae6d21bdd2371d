"""Settings that documents name are there."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import Config
from gateway.config.markdown import markdown
from gateway.web.rpc.table import METHODS
from tests.rows import by_row

ROOT = Path(__file__).parent.parent
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

OTHERS = {"accounts.json", "accounts.key", "cdr.sqlite", "cdr.waiting", "cdr.waiting.0", "data.cause", "data.reason"}
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


@by_row("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_settings_that_are_named_are_there(document: Path) -> None:
    """A reader who sets one does not have the gateway refuse its file."""
    assert strangers(document.read_text()) == []


def test_a_setting_that_is_not_there_is_seen() -> None:
    """By its name, and by a value that it does not take; what is there is left alone."""
    assert strangers("`media.video.max_bitrate`, `trunks[].nosuch`") == ["media.video.max_bitrate", "trunks[].nosuch"]
    assert strangers("`rtp.srtp: perhaps`") == ["rtp.srtp: perhaps"]
    assert strangers("`rtp.srtp: required`, `trunks[].srtp`, `sip.bans.*`, `rtp`, `sip.listen`") == []
