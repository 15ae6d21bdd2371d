"""What every typed attribute is: a frozen value with a name, `parse` and `str` that round-trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, Self

from sdp.errors import SdpSyntaxError
from sdp.grammar import Grammar

TOKEN: Final = r"[!#-'*+\-.0-9A-Z^-~]+"
"""RFC 8866 section 9, token."""


class Attribute(Protocol):
    """One `a=` line as a value; `str()` writes what stands after the colon ("" for a property attribute)."""

    NAME: ClassVar[str]
    """The attribute's name as it stands on the wire, lower case."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """The value after the colon, read; SdpSyntaxError (line 0) where it is not of that form."""
        ...


def attribute_line(attribute: Attribute | str) -> str:
    """The whole line, `a=name:value` or `a=name`, of a typed attribute or of its text without `a=`."""
    if isinstance(attribute, str):
        return "a=" + attribute
    value = str(attribute)
    return f"a={attribute.NAME}:{value}" if value else "a=" + attribute.NAME


@dataclass(frozen=True, slots=True)
class Flag:
    """A property attribute: there or not, without a value."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read ""; SdpSyntaxError (line 0) for anything else."""
        if value.strip(" "):
            raise SdpSyntaxError(0, 1, "the end of the line")
        return cls()

    def __str__(self) -> str:
        return ""


_TEXT: Final = Grammar(("a value", r"(?P<value>.+)"))


@dataclass(frozen=True, slots=True)
class Text:
    """An attribute whose value is one piece of text."""

    value: str

    GRAMMAR: ClassVar[Grammar] = _TEXT

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read the value; SdpSyntaxError (line 0) where it does not fit the attribute's grammar."""
        return cls(cls.GRAMMAR.match(value)["value"])

    def __str__(self) -> str:
        return self.value


_NUMBER: Final = Grammar(("a number", r"(?P<value>[0-9]{1,20}) *"))


@dataclass(frozen=True, slots=True)
class Number:
    """An attribute whose value is one whole number, 0 or more."""

    value: int

    MAXIMUM: ClassVar[int] = 2**64 - 1

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read the number; SdpSyntaxError (line 0) where it is none or too large."""
        number = int(_NUMBER.match(value)["value"])
        if number > cls.MAXIMUM:
            raise SdpSyntaxError(0, 1, f"a number of at most {cls.MAXIMUM}")
        return cls(number)

    def __str__(self) -> str:
        return str(self.value)


_DECIMAL: Final = Grammar(("a decimal number", r"(?P<value>[0-9]{1,9}(?:\.[0-9]{0,9})?) *"))


@dataclass(frozen=True, slots=True)
class Decimal:
    """An attribute whose value is a number that may have a fraction, 0 or more."""

    value: float

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read the number; SdpSyntaxError (line 0) where it is none."""
        return cls(float(_DECIMAL.match(value)["value"]))

    def __str__(self) -> str:
        return f"{self.value:.9f}".rstrip("0").rstrip(".")


def words(value: str) -> tuple[str, ...]:
    """The words of a value, however many spaces stand between them."""
    return tuple(word for word in value.split(" ") if word)
