"""Names that people take for each other."""

from __future__ import annotations

from gateway.identity.lookalike import skeleton, words_of
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from tests.rows import by_row

ALIKE = {
    "alice": ["Alice", "ALICE", "аlice", "al1ce", "a1ice", "ａlice", "álice", "a.l-i c_e", "аӏісе", "Αlice"],
    "modem": ["modern", "Modern"],
    "bob": ["b0b", "ｂｏｂ", "вob".replace("в", "b"), "bоb"],
    "support": ["ѕupport", "suррort", "SUPPORT"],
}


@by_row(("name", "others"), ALIKE.items())
def test_lookalikes_have_one_skeleton(name: str, others: list[str]) -> None:
    """Letters of other scripts, digits for letters, marks, case, blanks and dots."""
    assert {other: skeleton(other) for other in others} == dict.fromkeys(others, skeleton(name))


def test_other_names_have_other_skeletons() -> None:
    """People who are called so are let in."""
    names = ["alice", "alina", "bob", "bert", "carol", "dave", "Zoë", "visitor", "李小龍", "علی", "guest-1f2a"]
    assert len({skeleton(name) for name in names}) == len(names)


def test_each_word_of_a_name_counts() -> None:
    """Without digits at its ends, too."""
    found = set(words_of("The Аdmin2-Team"))
    assert {skeleton("admin"), skeleton("team"), skeleton("the")} <= found
    assert skeleton("min") not in found


def test_a_name_resembles_ids_aliases_and_display_names() -> None:
    """Of the users in force."""
    known = IdentityMap([User("alice", display_name="Alice Smith", aliases=("boss",))], (), "gw.test")
    assert all(map(known.resembles, ["a1ice", "аlice smith", "b0ss"]))
    assert not known.resembles("carol")
    known.change([User("carol")])
    assert (known.resembles("a1ice"), known.resembles("саrol")) == (False, True)
