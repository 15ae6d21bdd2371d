"""Table of sdp-transform's JSON form: the key of each line, and the layout of its value.

One layout serves reading and writing. `<key:kind>` is a field, `[...]` is optional (reading: possibly absent; writing:
dropped without fields), other text is literal. A layout without field is a property attribute: its value is the
attribute's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_KINDS: Final = {
    "digits": r"\d*",
    "digit": r"\d",
    "number": r"\d+",
    "count": r"\d+",
    "decimal": r"\d*(?:\.\d*)*",
    "rate": r"\d+(?:\.\d+)?(?![^ ])",
    "word": r"\S*",
    "text": r".*",
    "some": r".+",
    "letters": r"\w*",
    "name": r"[\w\-.]*",
    "dashed": r"[\w\-]*",
    "slashed": r"[\w/]*",
    "label": r"\w+",
    "format": r"\*|\d*",
    "imageformat": r"\*|\d+",
    "encrypt": r"urn:ietf:params:rtp-hdrext:encrypt",
    "semantics": r"[!#$%&'*+\-.\w]*",
    "noequals": r"[^\s=]*",
    "bandwidth": r"TIAS|AS|CT|RR|RS",
    "reuse": r"new|existing",
    "floor": r"c-only|s-only|c-s",
    "filter": r"excl|incl",
    "addresstypes": r"IP4|IP6|\*",
    "side": r"send|recv",
    "streams": r"[a-zA-Z0-9\-_~;,]+",
    "images": r"\*|\[\S+\](?:[ \t]+\[\S+\])*",
}

Piece = str | tuple[str, str] | list["Piece"]
"""Literal text, a field (key, kind), or an optional group of pieces."""


@dataclass(frozen=True, slots=True)
class Row:
    """Row of the table."""

    key: str
    """Key in the dictionary; "" puts the fields into the section's own dictionary."""
    layout: str
    many: bool = False
    """True for a list with an element per line; otherwise the last line counts."""
    single: bool = False
    """True if the value is the only field's, without dictionary."""
    whole: bool = False
    """True if the layout must reach the line's end; otherwise trailing text is dropped."""
    read_only: bool = False
    """True for an older spelling: parsed, but written by the row with an equal key."""

    def pieces(self) -> list[Piece]:
        """Return the layout split into pieces."""
        return _pieces(iter(re.findall(r"<[^>]*>|\[|\]|[^<\[\]]+", self.layout)))

    def fields(self) -> list[str]:
        """Return the keys of the layout's fields, in order."""
        return re.findall(r"<([^:>]*):", self.layout)

    def pattern(self) -> re.Pattern[str]:
        """Return the regular expression of the layout, one group per field."""
        return re.compile(_expression(self.pieces()) + (r"\Z" if self.whole else ""))


def _pieces(parts: Iterator[str]) -> list[Piece]:
    found: list[Piece] = []
    for part in parts:
        if part == "]":
            break
        if part == "[":
            found.append(_pieces(parts))
        elif part[0] == "<":
            key, _, kind = part[1:-1].partition(":")
            found.append((key, kind))
        else:
            found.append(part)
    return found


def _expression(pieces: list[Piece]) -> str:
    parts = []
    for piece in pieces:
        if isinstance(piece, list):
            parts.append(f"(?:{_expression(piece)})?")
        elif isinstance(piece, tuple):
            parts.append(f"({_KINDS[piece[1]]})")
        else:
            parts.append(re.escape(piece))
    return "".join(parts)


def _value(key: str, kind: str) -> Row:
    return Row(key, f"<{key}:{kind}>", single=True)


LINES: Final = MappingProxyType(
    {
        "v": Row("version", "<version:digits>", single=True, whole=True),
        "o": Row(
            "origin",
            "<username:word> <sessionId:digits> <sessionVersion:digits> <netType:word> IP<ipVer:digit> <address:word>",
        ),
        "s": _value("name", "text"),
        "i": _value("description", "text"),
        "u": _value("uri", "text"),
        "e": _value("email", "text"),
        "p": _value("phone", "text"),
        "c": Row("connection", "IN IP<version:digit> <ip:word>"),
        "b": Row("bandwidth", "<type:bandwidth>:<limit:digits>", many=True),
        "t": Row("timing", "<start:digits> <stop:digits>"),
        "r": _value("repeats", "text"),
        "z": _value("timezones", "text"),
        "m": Row("", "<type:name> <port:digits>[/<numPorts:count>] <protocol:slashed>[ <payloads:text>]"),
    }
)
"""Lines other than a=, by type letter, in writing order; k= and unknown types have no key."""

SESSION_ORDER: Final = tuple("vosiuepcbtrz")
MEDIA_ORDER: Final = tuple("micb")

ATTRIBUTE_ROWS: Final = MappingProxyType(
    {
        "rtpmap": Row("rtp", "<payload:digits> <codec:name>[/<rate:digits>[/<encoding:word>]]", many=True),
        "fmtp": Row("fmtp", "<payload:digits> <config:text>", many=True),
        "control": _value("control", "text"),
        "rtcp": Row("rtcp", "<port:digits>[ <netType:word> IP<ipVer:digit> <address:word>]"),
        "rtcp-fb trr-int": Row("rtcpFbTrrInt", "<payload:format> trr-int <value:digits>", many=True),
        "rtcp-fb": Row("rtcpFb", "<payload:format> <type:dashed>[ <subtype:dashed>]", many=True),
        "extmap": Row(
            "ext",
            "<value:number>[/<direction:label>][ <encrypt-uri:encrypt>] <uri:word>[ <config:word>]",
            many=True,
        ),
        "extmap-allow-mixed": Row("extmapAllowMixed", "", single=True),
        "crypto": Row("crypto", "<id:digits> <suite:letters> <config:word>[ <sessionConfig:word>]", many=True),
        "setup": _value("setup", "letters"),
        "connection": _value("connectionType", "reuse"),
        "msid": _value("msid", "text"),
        "ptime": _value("ptime", "decimal"),
        "maxptime": _value("maxptime", "decimal"),
        "ice-lite": Row("icelite", "", single=True),
        "ice-ufrag": _value("iceUfrag", "word"),
        "ice-pwd": _value("icePwd", "word"),
        "fingerprint": Row("fingerprint", "<type:word> <hash:word>"),
        "candidate": Row(
            "candidates",
            "<foundation:word> <component:digits> <protocol:word> <priority:digits> <ip:word> <port:digits> "
            "typ <type:word>[ raddr <raddr:word> rport <rport:digits>][ tcptype <tcptype:word>]"
            "[ generation <generation:digits>][ network-id <network-id:digits>][ network-cost <network-cost:digits>]",
            many=True,
        ),
        "end-of-candidates": Row("endOfCandidates", "", single=True),
        "remote-candidates": _value("remoteCandidates", "text"),
        "ice-options": _value("iceOptions", "word"),
        "ssrc": Row("ssrcs", "<id:digits> <attribute:dashed>[:<value:text>]", many=True),
        "ssrc-group": Row("ssrcGroups", "<semantics:semantics> <ssrcs:text>", many=True),
        "msid-semantic": Row("msidSemantic", "[ ]<semantic:letters> <token:word>"),
        "group": Row("groups", "<type:letters> <mids:text>", many=True),
        "rtcp-mux": Row("rtcpMux", "", single=True),
        "rtcp-rsize": Row("rtcpRsize", "", single=True),
        "sctpmap": Row("sctpmap", "<sctpmapNumber:slashed> <app:word>[ <maxMessageSize:word>]"),
        "x-google-flag": _value("xGoogleFlag", "word"),
        "rid": Row("rids", "<id:label> <direction:label>[ <params:text>]", many=True),
        "imageattr": Row(
            "imageattrs", "<pt:imageformat> <dir1:side> <attrs1:images>[ <dir2:side> <attrs2:images>]", many=True
        ),
        "simulcast": Row("simulcast", "<dir1:side> <list1:streams>[ <dir2:side> <list2:streams>]", whole=True),
        "simulcast draft": Row("simulcast_03", " <value:some>"),
        "framerate": _value("framerate", "rate"),
        "source-filter": Row(
            "sourceFilter",
            "[ ]<filterMode:filter> <netType:word> <addressTypes:addresstypes> <destAddress:word> <srcList:text>",
        ),
        "bundle-only": Row("bundleOnly", "", single=True),
        "label": _value("label", "some"),
        "sctp-port": Row("sctpPort", "<sctpPort:number>", single=True, whole=True),
        "max-message-size": Row("maxMessageSize", "<maxMessageSize:number>", single=True, whole=True),
        "ts-refclk": Row("tsRefClocks", "<clksrc:noequals>[=<clksrcExt:word>]", many=True),
        "mediaclk": Row(
            "mediaClk",
            "[id=<id:word> ]<mediaClockName:noequals>[=<mediaClockValue:word>]"
            "[ rate=<rateNumerator:number>/<rateDenominator:number>]",
        ),
        "keywds": _value("keywords", "some"),
        "content": _value("content", "some"),
        "floorctrl": _value("bfcpFloorCtrl", "floor"),
        "confid": _value("bfcpConfId", "number"),
        "userid": _value("bfcpUserId", "number"),
        "floorid": Row("bfcpFloorId", "<id:some> mstrm:<mStream:some>"),
        "floorid draft": Row("bfcpFloorId", "<id:some> m-stream:<mStream:some>", read_only=True),
        "mid": _value("mid", "word"),
    }
)
"""Attributes by name, in writing order; a word after the name distinguishes two forms."""
