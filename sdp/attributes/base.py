"""Base types of typed attributes: frozen values with a name, `parse` and `str` that round-trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, Self

from sdp.errors import SdpSyntaxError
from sdp.grammar import Grammar

TOKEN: Final = r"[!#-'*+\-.0-9A-Z^-~]+"
"""RFC 8866 section 9, token."""


class Attribute(Protocol):
    """An `a=` line as a value; `str()` returns the text after the colon ("" for a property attribute)."""

    NAME: ClassVar[str]
    """Name of the attribute on the wire, lower case."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the value after the colon; raise SdpSyntaxError (line 0) for malformed text."""
        ...


def attribute_line(attribute: Attribute | str) -> str:
    """Return the line, `a=name:value` or `a=name`, of a typed attribute or of a text without `a=`."""
    if isinstance(attribute, str):
        return "a=" + attribute
    value = str(attribute)
    return f"a={attribute.NAME}:{value}" if value else "a=" + attribute.NAME


@dataclass(frozen=True, slots=True)
class Flag:
    """Property attribute: present or absent, without a value."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse ""; raise SdpSyntaxError (line 0) for any other text."""
        if value.strip(" "):
            raise SdpSyntaxError(0, 1, "the end of the line")
        return cls()

    def __str__(self) -> str:
        return ""


_TEXT: Final = Grammar(("a value", r"(?P<value>.+)"))


@dataclass(frozen=True, slots=True)
class Text:
    """Attribute with a single text as value."""

    value: str

    GRAMMAR: ClassVar[Grammar] = _TEXT

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the value; raise SdpSyntaxError (line 0) for a violation of the attribute's grammar."""
        return cls(cls.GRAMMAR.match(value)["value"])

    def __str__(self) -> str:
        return self.value


_NUMBER: Final = Grammar(("a number", r"(?P<value>[0-9]{1,20}) *"))


@dataclass(frozen=True, slots=True)
class Number:
    """Attribute with a single whole number as value, 0 or more."""

    value: int

    MAXIMUM: ClassVar[int] = 2**64 - 1

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the number; raise SdpSyntaxError (line 0) if malformed or too large."""
        number = int(_NUMBER.match(value)["value"])
        if number > cls.MAXIMUM:
            raise SdpSyntaxError(0, 1, f"a number of at most {cls.MAXIMUM}")
        return cls(number)

    def __str__(self) -> str:
        return str(self.value)


_DECIMAL: Final = Grammar(("a decimal number", r"(?P<value>[0-9]{1,9}(?:\.[0-9]{0,9})?) *"))


@dataclass(frozen=True, slots=True)
class Decimal:
    """Attribute with a number as value, 0 or more, possibly with a fraction."""

    value: float

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the number; raise SdpSyntaxError (line 0) if malformed."""
        return cls(float(_DECIMAL.match(value)["value"]))

    def __str__(self) -> str:
        return f"{self.value:.9f}".rstrip("0").rstrip(".")


def words(value: str) -> tuple[str, ...]:
    """Return the words of a value, separated by any number of spaces."""
    return tuple(word for word in value.split(" ") if word)
