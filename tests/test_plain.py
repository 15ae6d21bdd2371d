"""Names and texts of strangers, as people read them."""

from __future__ import annotations

from gateway.call.leg import Address
from gateway.people.messages import InstantMessage
from gateway.plain import escaped, plain_name, plain_text
from tests.rows import by_row

HIDDEN = [
    *map(chr, [*range(32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
]
HIDDEN += ["\u200b", "\u2060", "\ufeff", "\u2028", "\u2029", "\ud800", "\ue000", "\U000e0041"]


@by_row("hidden", HIDDEN, ids=lambda char: f"U+{ord(char):04X}")
def test_a_name_has_no_character_that_hides_or_turns(hidden: str) -> None:
    """The letters around it stay; a blank of any kind is one blank."""
    assert plain_name(f"A{hidden}lice") in ("Alice", "A lice")
    assert Address("sip:a@b", f"{hidden}Alice{hidden}").display_name == "Alice"
    assert hidden in "\n\t" or escaped(f"a{hidden}").isprintable() or hidden in "\r"


@by_row(
    "name",
    ["Alice", "Zoë Müller", "علی\u200cرضا", "क्\u200dष", "👩\u200d👩\u200d👧", "שרה", "李小龍", 'O\'Neil "x" <y>'],
)
def test_names_of_all_scripts_stay_whole(name: str) -> None:
    """Joiners belong to their spelling."""
    assert plain_name(name) == name == plain_text(name)


def test_a_name_is_cut_at_128_characters() -> None:
    """A shorter one is not."""
    assert plain_name("x" * 128) == "x" * 128
    assert plain_name("x" * 5000) == "x" * 127 + "…"
    assert len(Address("sip:a@b", "x" * 5000).display_name) == 128


def test_a_text_keeps_its_lines_and_marks_alone() -> None:
    """Overrides, isolates and control characters go."""
    assert plain_text("a\r\nb\rc\u2028d\te\u200f") == "a\nb\nc\nd\te\u200f"
    assert plain_text("pay \u202e0001\u202c \x1b[31mEUR\x00") == "pay 0001 [31mEUR"
    body = "x\u202ey".encode()
    message = InstantMessage(id="1", sender="sip:a@b", recipient="b", body=body, sent_at=0.0, expires_at=1.0)
    assert message.text == "xy"
