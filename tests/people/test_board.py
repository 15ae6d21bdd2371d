"""A board tells its listeners of changes, and of nothing else."""

from __future__ import annotations

from gateway.people.board import Board


def test_listeners_are_told_of_changes_of_their_user_in_order() -> None:
    """The same value again is no change; nobody hears of others."""
    board: Board[int] = Board(0)
    told: list[tuple[str, int]] = []
    board.watch("alice", lambda value: told.append(("first", value)))
    board.watch("alice", lambda value: told.append(("second", value)))
    board.set("alice", 0)
    board.set("alice", 1)
    board.set("alice", 1)
    board.set("bob", 5)
    assert told == [("first", 1), ("second", 1)]
    assert (board.of("alice"), board.of("bob"), board.of("carol")) == (1, 5, 0)


def test_who_stops_watching_hears_no_more() -> None:
    """Also in the middle of being told, and twice is no error; the same listener may watch twice."""
    board: Board[int] = Board(0)
    told: list[int] = []
    stop = board.watch("alice", told.append)
    again = board.watch("alice", told.append)
    stop()
    stop()
    board.set("alice", 1)
    assert told == [1]
    again()
    board.set("alice", 2)
    assert told == [1]
    later = board.watch("alice", lambda value: later())
    board.watch("alice", told.append)
    board.set("alice", 3)
    assert told == [1, 3]


def test_nothing_takes_no_memory() -> None:
    """A user of whom nothing is known any more is forgotten, with those who watched."""
    board: Board[int] = Board(0)
    stop = board.watch("alice", lambda value: None)
    board.set("alice", 1)
    board.set("alice", 0)
    stop()
    assert (board._values, board._listeners) == ({}, {})
