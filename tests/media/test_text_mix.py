"""Text of several people in one stream: whose line it is, who waits, and what nobody can do to another's line."""

from __future__ import annotations

import random

from gateway.media.embedded.data.t140 import MISSING
from gateway.media.embedded.data.text_mix import (
    LONGEST_LINE,
    LONGEST_TURN,
    MOST_AT_ONCE,
    MOST_CPS,
    MOST_WAITING,
    NEW_LINE,
    PAUSE,
    TextMix,
)


class Room:
    """What each reads of the others."""

    def __init__(self, *names: str) -> None:
        self.mix, self.now = TextMix(), 0.0
        self.read = dict.fromkeys(names, "")

    def types(self, name: str, text: str) -> None:
        self.mix.typed(name, name, text)
        self.take()

    def take(self) -> None:
        for writer, text in self.mix.take(self.now):
            for name in self.read:
                self.read[name] += text if name != writer else ""


def test_a_line_is_read_as_it_is_typed_with_who_types_it() -> None:
    """By everybody but who types."""
    room = Room("Ann", "Bob", "Cy")
    for character in "hi\r\n":
        room.types("Ann", character)
    room.types("Ann", "you\b\b\b\b")
    assert room.read == {"Ann": "", "Bob": f"[Ann] hi{NEW_LINE}[Ann] you\b\b\b", "Cy": room.read["Bob"]}


def test_who_types_beside_waits_for_the_end_of_the_line_or_a_pause() -> None:
    """Lines are never mixed character by character."""
    room = Room("Ann", "Bob", "Cy")
    room.types("Ann", "one")
    room.types("Bob", "two" + NEW_LINE)
    assert room.read["Cy"] == "[Ann] one"
    room.types("Ann", "!" + NEW_LINE)
    assert room.read["Cy"] == f"[Ann] one!{NEW_LINE}[Bob] two{NEW_LINE}"
    room.read["Cy"] = ""
    room.types("Ann", "three")
    room.types("Bob", "four")
    room.now = PAUSE
    room.take()
    assert room.read["Cy"] == f"[Ann] three{NEW_LINE}[Bob] four"


def test_nobody_erases_or_writes_another_ones_line() -> None:
    """Neither by backspaces, nor by a line break of any kind with another name after it, nor by the own name."""
    room = Room("Ann", "Bob")
    room.types("Ann", "kept" + NEW_LINE)
    for breaking in ("\r", "\n", "\x85", "\u2029", "\x0b", "\x0c"):
        room.read["Bob"] = ""
        room.types("Ann", f"\b\bx{breaking}[Bob] y\x1b[2J{NEW_LINE}")
        assert room.read["Bob"] == f"[Ann] x{NEW_LINE}[Ann] [Bob] y[2J{NEW_LINE}"
    room.mix.typed("C", "Eve\n[Bob] \u202e" + "e" * 99, "z")
    room.take()
    assert room.read["Bob"].endswith("] z")
    assert NEW_LINE not in room.read["Bob"].rsplit("[Eve", 1)[1]


def test_nobody_erases_by_what_others_are_not_shown() -> None:
    """A page drops control characters, so what erases one of them would erase the name, and the line before it."""
    room = Room("Eve", "Bob", "Cy")
    room.types("Bob", "kept" + NEW_LINE)
    dropped = "".join(
        [chr(code) for code in (*range(32), *range(127, 160), 0xFEFF) if chr(code) not in "\b\t\n\v\f\r\x85"]
    )
    room.types("Eve", "\t" * 9 + dropped + "\b" * 99 + "[Bob] no")
    shown = "".join([each for each in room.read["Cy"] if each == "\b" or each == NEW_LINE or each.isprintable()])
    line = ""
    for character in shown:
        line = line[:-1] if character == "\b" else line + character
    assert line == f"[Bob] kept{NEW_LINE}[Eve] [Bob] no"


def test_spaces_and_joiners_of_every_script_are_read() -> None:
    """No-break and ideographic spaces, and what joins letters and emoji; nothing that turns the direction."""
    room = Room("Ann", "Bob")
    room.types("Ann", "a\u00a0b\u3000c می\u200cخواهم 👩\u200d🚀\u202e\u2066")
    assert room.read["Bob"] == "[Ann] a\u00a0b\u3000c می\u200cخواهم 👩\u200d🚀"


def test_who_writes_without_end_or_leaves_keeps_nobody_waiting() -> None:
    """A line has an end, what waits a bound, and what somebody typed who has gone is read."""
    room = Room("Ann", "Bob", "Cy")
    room.types("Ann", "a" * LONGEST_LINE)
    room.types("Bob", "b" + NEW_LINE)
    room.types("Ann", "a" * LONGEST_LINE)
    assert f"{NEW_LINE}[Bob] b{NEW_LINE}[Ann] a" in room.read["Cy"]
    room.types("Bob", "z" * 3 * MOST_WAITING)
    room.read["Cy"] = ""
    room.mix.left("Ann")
    for _ in range(10):
        room.now += 1.0
        room.take()
    assert room.read["Cy"].count("z") == MOST_WAITING
    assert room.read["Cy"].count(MISSING) == 1
    room.mix.left("Ann")
    room.mix.left("nobody")
    room.mix.left("Bob")
    room.take()
    assert not room.mix.take(room.now + 100)


def test_who_types_and_erases_without_end_has_the_line_for_a_while_only() -> None:
    """Also where the line never grows."""
    room = Room("Eve", "Bob", "Cy")
    room.types("Eve", "x")
    room.types("Bob", "help" + NEW_LINE)
    while room.now < LONGEST_TURN:
        assert "help" not in room.read["Cy"]
        room.now += 1.0
        room.types("Eve", "a\b")
    assert f"{NEW_LINE}[Bob] help{NEW_LINE}[Eve] a" in room.read["Cy"]


def test_of_who_is_sent_away_nobody_reads_what_they_have_not_read() -> None:
    """Neither what waits for a line, nor the rest of the own one, which ends for those who wait."""
    room = Room("Eve", "Mal", "Bob", "Cy")
    room.types("Eve", "x")
    room.types("Mal", "rude" + NEW_LINE)
    room.types("Bob", "help" + NEW_LINE)
    room.mix.typed("Eve", "Eve", "worse" * 9)
    for name in ("Mal", "Eve", "nobody"):
        room.mix.removed(name)
        room.mix.removed(name)
    room.take()
    assert room.read["Cy"] == f"[Eve] x{NEW_LINE}[Bob] help{NEW_LINE}"
    room.types("Eve", "back")
    assert room.read["Cy"].endswith(f"{NEW_LINE}[Eve] back")


def test_a_flood_is_told_to_the_others_as_slowly_as_they_could_read_it_at_most() -> None:
    """Each line costs its name as well, else short ones would be the dearest; the others have their turns."""
    room = Room("Eve", "Bob", "Cy")
    for tick in range(500):
        room.now = tick / 50
        room.types("Eve", "a\n" * 1000)
        assert len(room.read["Cy"]) <= MOST_AT_ONCE + MOST_CPS * room.now + len(f"[Eve] {NEW_LINE}")
    room.types("Bob", "help" + NEW_LINE)
    for _ in range(50):
        room.now += 0.02
        room.types("Eve", "a\n" * 1000)
    assert f"[Bob] help{NEW_LINE}" in room.read["Cy"]


def test_nothing_is_lost_and_each_line_is_of_one_whoever_types_when() -> None:
    """Three who type at random, a hundred times."""
    for seed in range(100):
        dice, room = random.Random(seed), Room("A", "B", "C", "reader")
        wrote = dict.fromkeys("ABC", "")
        for _ in range(60):
            name, text = dice.choice("ABC"), dice.choice(["x", "yz", NEW_LINE, "w" + NEW_LINE])
            wrote[name] += text
            room.now += dice.choice([0.0, 0.1, PAUSE])
            room.types(name, name.lower() if text != NEW_LINE else text)
            wrote[name] = wrote[name].removesuffix(text) + (name.lower() if text != NEW_LINE else text)
        for name in "ABC":
            room.mix.left(name)
        room.now += 10.0
        room.take()
        lines = room.read["reader"].split(NEW_LINE)
        for name in "ABC":
            own = "".join([line.removeprefix(f"[{name}] ") for line in lines if line.startswith(f"[{name}]")])
            assert own == wrote[name].replace(NEW_LINE, "")
        assert all(not line or set(line[4:]) == {line[1].lower()} for line in lines)
