"""Emergency numbers are taken as the start, `gateway init`, the doctor and the documentation ask for them."""

from __future__ import annotations

from pathlib import Path

from gateway.app import settings
from gateway.commands.init import Answers, next_steps
from gateway.config import Config, load, notices
from tests.config_support import load_text
from tests.docs_blocks import ROOT
from tests.rows import by_row

TRUNK = "trunks: [{name: pbx, uri: 'sip:pbx.test'}]"
SPARE = "trunks: [{name: pbx, uri: 'sip:pbx.test'}, {name: spare, uri: 'sip:spare.test'}]"
URGED = "emergency.numbers"


def test_each_place_that_asks_for_them_names_the_same_key() -> None:
    """What it names, set alone, is what is taken below."""
    init = " ".join(next_steps(Path("gateway.yaml"), Answers(domain="a.test", address="a.test", pbx="sip:pbx.test")))
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/security.md")]
    places = [str(next(notices(Config()))), init, *pages]
    assert all(URGED in place for place in places)


@by_row(
    ("text", "trunk", "said"),
    [
        ("", None, "No way leads to 112, 911"),
        (TRUNK, "pbx", ""),
        (SPARE, None, "No way leads to 112, 911"),
        (f"{SPARE}\nroutes: [{{match: '*1*', to: 'trunk:spare'}}]", None, ""),
        (f"{SPARE}\nroutes: [{{match: '112', to: 'trunk:spare'}}]", None, "No way leads to 911"),
        ("users: [{id: guard, sip: true, aliases: ['112', '911']}]", None, ""),
    ],
)
@by_row("way", ["file", "variable"])
def test_numbers_alone_are_enough(tmp_path: Path, text: str, trunk: str | None, said: str, way: str) -> None:
    """They go through the only trunk, else where routes lead; a number that no way leads to is named at the start."""
    numbers = '\nemergency: {numbers: ["112", 911]}' if way == "file" else ""
    environ = {} if numbers else {"GATEWAY_EMERGENCY__NUMBERS": "112, 911"}
    found = load_text(tmp_path, text + numbers, environ)
    emergency = settings.emergency(found)
    assert (emergency.numbers, emergency.trunk) == (frozenset({"112", "911"}), trunk)
    told = [str(one) for one in notices(found)]
    assert (len(told), said in (told or [""])[0]) == (bool(said), True)


def test_a_trunk_that_is_named_is_the_one(tmp_path: Path) -> None:
    """As before."""
    found = load_text(tmp_path, f"{SPARE}\nemergency: {{numbers: ['112'], trunk: spare}}")
    assert settings.emergency(found).trunk == "spare"
    assert load(None, {}).emergency_trunk is None
