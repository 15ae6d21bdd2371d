"""Values that are filled at once: as frozen and as complete as `dataclass` makes them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from sdp.frozen import filled_at_once


@filled_at_once
@dataclass(frozen=True, slots=True)
class Filled:
    first: int
    second: str = "two"
    third: dict[str, int] = field(default_factory=dict)
    fourth: int = field(default=4, kw_only=True)


def test_a_filled_value_is_frozen() -> None:
    """No field of it can be set or deleted, nor another one added."""
    value = Filled(1)
    for name in ("first", "second", "other"):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(value, name, 5)
    with pytest.raises(FrozenInstanceError):
        del value.first
    assert type(value) is Filled


def test_a_filled_value_has_its_defaults() -> None:
    """By place, by name, and made anew for each where a factory makes them."""
    one, other = Filled(1), Filled(first=1, second="two", fourth=4)
    assert one == other
    assert (one.first, one.second, one.third, one.fourth) == (1, "two", {}, 4)
    assert one.third is not other.third
    assert repr(one) == "Filled(first=1, second='two', third={}, fourth=4)"
    assert replace(one, fourth=5) == Filled(1, fourth=5)


def test_a_filled_value_is_copied() -> None:
    """By `copy` and by `pickle`, like any dataclass."""
    value = Filled(1, third={"a": 1})
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("arguments", [{}, {"first": 1, "fifth": 2}])
def test_wrong_arguments_are_refused(arguments: dict[str, int]) -> None:
    """Too few and unknown ones, as by any function."""
    with pytest.raises(TypeError):
        Filled(**arguments)  # type: ignore[arg-type]


def test_nothing_derives_from_a_filled_value() -> None:
    """Its objects would become ones of the class above."""
    with pytest.raises(TypeError, match="nothing derives"):

        class Derived(Filled):
            pass


def test_only_a_plain_dataclass_is_filled_at_once() -> None:
    """One with bases, with a `__post_init__` or with a field of its own making keeps its `__init__`."""

    @dataclass(frozen=True, slots=True)
    class Base:
        first: int

    @dataclass(frozen=True, slots=True)
    class Derived(Base):
        second: int

    @dataclass(frozen=True, slots=True)
    class Checked:
        first: int

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True, slots=True)
    class Made:
        first: int = field(init=False)

    for kind in (Derived, Checked, Made):
        with pytest.raises(TypeError):
            filled_at_once(kind)
