"""What every typed attribute is: a frozen value with a name, `parse` and `str` that round-trip."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self


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
