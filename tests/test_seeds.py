"""Every seed that was worth keeping, at the parsers of what strangers send: they raise their own error or nothing."""

from __future__ import annotations

import random
import re
from pathlib import Path

from tests.rows import by_row
from tests.seeds import KINDS, Kind, Ways, fault, grow, hunted, mutated, seeds, thinned


@by_row("name", KINDS)
def test_no_seed_makes_a_parser_fail(name: str) -> None:
    """Each of them, and what is left of it when it is cut off."""
    found = seeds(name)
    assert len(found) >= 10
    for data in found:
        for octets in (data, data[: len(data) // 2], data[:-1]):
            error = fault(KINDS[name], octets)
            assert error is None, f"{error!r} at {octets!r}"


def test_what_a_parser_may_not_raise_is_seen() -> None:
    """The counter-proof; and ways that were gone before are not new."""

    def parse(data: bytes) -> None:
        if data == b"x":
            raise KeyError(data)

    kind = Kind(parse, (ValueError,), ("tests/test_seeds.py",), ())
    assert isinstance(fault(kind, b"x"), KeyError)
    assert fault(kind, b"y") is None
    ways = Ways(kind.rooms)
    assert [ways.are_new(kind, data) for data in (b"y", b"z", b"x", b"x")] == [True, False, True, False]


def test_mutations_are_many_and_bounded() -> None:
    """The same chance gives the same octets."""
    made = [mutated(b"one;two=3\r\nfour" * 200, [b"other"], random.Random(number)) for number in range(200)]
    assert len({*made}) > 100
    assert max(map(len, made)) <= 4_096
    assert made[7] == mutated(b"one;two=3\r\nfour" * 200, [b"other"], random.Random(7))


def test_a_search_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """With other octets than before, what was found before, and the sum of both."""
    first, tried = grow("ng", 0.2, tmp_path)
    after = hunted(tmp_path)["ng"]
    assert (len(seeds("ng", tmp_path)), after["inputs"]) == (first, tried)
    found = {*seeds("ng", tmp_path)}
    for _ in range(20):
        count, more = grow("ng", 0.2, tmp_path)
        tried += more
        if count > first:
            break
    assert count > first
    assert hunted(tmp_path)["ng"]["inputs"] == tried
    assert found <= {*seeds("ng", tmp_path)}


def test_of_too_many_seeds_those_are_kept_that_take_every_way() -> None:
    """What a newer one runs as well is given up, and the search goes on."""

    def parse(data: bytes) -> None:
        if b"x" in data:
            raise ValueError("x")
        if b"y" in data:
            data.strip()

    kind = Kind(parse, (ValueError,), ("tests/test_seeds.py",), ())
    assert thinned(kind, [b"z", b"x", b"y", b"xy", b"yy"]) == [b"z", b"xy", b"yy"]


def test_the_page_says_how_long_was_searched_and_what_was_found() -> None:
    """docs/security.md, by what stands beside the seeds."""
    page = " ".join((Path(__file__).parents[1] / "docs/security.md").read_text().split())
    told = re.search(r"holds (\d+) inputs .* (\d+) minutes of a processor and (\d+\.\d) million inputs", page)
    assert told is not None
    each = hunted().values()
    minutes, millions = sum(one["seconds"] for one in each) / 60, sum(one["inputs"] for one in each) / 1e6
    assert (int(told[1]), int(told[2]), told[3]) == (
        sum(len(seeds(name)) for name in KINDS),
        int(minutes),
        f"{millions:.1f}",
    )
