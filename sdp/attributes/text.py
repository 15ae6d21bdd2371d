"""Text attributes of RFC 8866 section 6, RFC 4574 and RFC 4796."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sdp.attributes.base import Number, Text
from sdp.grammar import Grammar


@dataclass(frozen=True, slots=True)
class Category(Text):
    """a=cat (RFC 8866 section 6.1)."""

    NAME: ClassVar[str] = "cat"


@dataclass(frozen=True, slots=True)
class Keywords(Text):
    """a=keywds (RFC 8866 section 6.2)."""

    NAME: ClassVar[str] = "keywds"


@dataclass(frozen=True, slots=True)
class Tool(Text):
    """a=tool (RFC 8866 section 6.3): program that wrote the description."""

    NAME: ClassVar[str] = "tool"


@dataclass(frozen=True, slots=True)
class Orientation(Text):
    """a=orient (RFC 8866 section 6.8)."""

    GRAMMAR: ClassVar[Grammar] = Grammar(("portrait, landscape or seascape", r"(?P<value>portrait|landscape|seascape)"))
    NAME: ClassVar[str] = "orient"


@dataclass(frozen=True, slots=True)
class ConferenceType(Text):
    """a=type (RFC 8866 section 6.9)."""

    NAME: ClassVar[str] = "type"


@dataclass(frozen=True, slots=True)
class Charset(Text):
    """a=charset (RFC 8866 section 6.10): encoding of s= and i= lines and of dependent attributes."""

    NAME: ClassVar[str] = "charset"


@dataclass(frozen=True, slots=True)
class SdpLanguage(Text):
    """a=sdplang (RFC 8866 section 6.11): the language of the description's own text."""

    NAME: ClassVar[str] = "sdplang"


@dataclass(frozen=True, slots=True)
class Language(Text):
    """a=lang (RFC 8866 section 6.12): the language of the session or medium."""

    NAME: ClassVar[str] = "lang"


@dataclass(frozen=True, slots=True)
class Quality(Number):
    """a=quality (RFC 8866 section 6.14): 0 worst to 10 best."""

    MAXIMUM: ClassVar[int] = 10
    NAME: ClassVar[str] = "quality"


@dataclass(frozen=True, slots=True)
class Label(Text):
    """a=label (RFC 4574)."""

    NAME: ClassVar[str] = "label"


@dataclass(frozen=True, slots=True)
class Content(Text):
    """a=content (RFC 4796): slides, speaker, sl, main, alt."""

    NAME: ClassVar[str] = "content"
