"""How `gateway sdp` puts descriptions, findings and differences on a terminal.

Everything from a file is printed as plain text with what is not printable replaced: a description
can neither style the terminal nor send it control sequences.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sdp import MediaDescription, SdpSyntaxError, SessionDescription
from sdp.attributes import (
    ATTRIBUTES,
    Candidate,
    Crypto,
    ExtMap,
    Fmtp,
    Group,
    RtcpFb,
    RtpMap,
)
from sdp.codecs import STATIC
from sdp.lines import Section
from sdp.lint import Finding, Severity

_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}
_CODEC_NAMES = ("rtpmap", "fmtp", "rtcp-fb")
_TABLED = (*_CODEC_NAMES, "candidate", "extmap", "crypto", "mid")
_SECRET = ("ice-pwd", "crypto")
_HIDDEN = "(not shown)"


def plain(text: object) -> Text:
    """Text for the terminal, taken literally."""
    return Text(clean(text))


def clean(text: object) -> str:
    """Text with every character that could steer a terminal replaced."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def shown(description: SessionDescription) -> Iterator[RenderableType]:
    """A description, part by part."""
    trouble: list[SdpSyntaxError] = []
    yield Text("Session", style="bold")
    yield _session(description, trouble)
    for index, media in enumerate(description.media):
        yield Text()
        yield from _media(index, description, media, trouble)
    if trouble:
        yield Text()
    for error in trouble:
        yield Text(f"malformed: {error}", style="red")


def _session(description: SessionDescription, trouble: list[SdpSyntaxError]) -> Table:
    table = _plain_table()
    for letter, name in (
        ("o", "origin"),
        ("s", "name"),
        ("i", "about"),
        ("c", "connection"),
        ("b", "bandwidth"),
        ("t", "time"),
    ):
        for value in description.field_values(letter):
            table.add_row(name, plain(value))
    for group in _readable(description, Group, trouble):
        table.add_row(plain(f"group {group.semantics}"), plain(" ".join(group.mids)))
    _add_attributes(table, description, ("group",), trouble)
    return table


def _media(
    index: int, description: SessionDescription, media: MediaDescription, trouble: list[SdpSyntaxError]
) -> Iterator[RenderableType]:
    mid = media.value("mid")
    title = f"{index}  {media.kind} {media.port} {media.protocol}"
    if mid is not None:
        title += f"  mid {mid}"
    if media.port == 0 and not media.has("bundle-only"):
        title += "  rejected"
    else:
        title += f"  {description.direction_of(media)}"
    yield Text(clean(title), style="bold")
    table = _plain_table()
    for letter, name in (("i", "about"), ("c", "connection"), ("b", "bandwidth")):
        for value in media.field_values(letter):
            table.add_row(name, plain(value))
    _add_attributes(table, media, _TABLED, trouble)
    yield table
    for part in (
        _codecs(media, trouble),
        _candidates(media, trouble),
        _keys(media, trouble),
        _extensions(media, trouble),
    ):
        if part.row_count:
            yield part


def _add_attributes(table: Table, section: Section, besides: Iterable[str], trouble: list[SdpSyntaxError]) -> None:
    """The attributes of a section that no table of its own shows, read where there is a view."""
    for line in section.lines:
        name, _, value = line[2:].partition(":")
        if line[0] != "a" or name in besides:
            continue
        table.add_row(plain(name), _HIDDEN if name in _SECRET else plain(value))
    for name, view in ATTRIBUTES.items():
        if name not in besides:
            _readable(section, view, trouble)


def _codecs(media: MediaDescription, trouble: list[SdpSyntaxError]) -> Table:
    table = _table("format", "codec", "clock rate", "channels", "parameters", "feedback")
    rtpmaps = {str(rtpmap.payload_type): rtpmap for rtpmap in _readable(media, RtpMap, trouble)}
    fmtps = {fmtp.format: fmtp.text for fmtp in _readable(media, Fmtp, trouble)}
    feedback: dict[str, list[str]] = {}
    for line in _readable(media, RtcpFb, trouble):
        feedback.setdefault(line.format, []).append(line.type + (f" {line.parameters}" if line.parameters else ""))
    everyone = feedback.get("*", [])
    for name in media.formats:
        rtpmap = rtpmaps.get(name)
        if rtpmap is None and name.isdecimal() and int(name) in STATIC and "RTP/" in media.protocol:
            rtpmap = RtpMap.parse(f"{name} {STATIC[int(name)]}")
        codec = (rtpmap.encoding, str(rtpmap.clock_rate), str(rtpmap.channels)) if rtpmap is not None else ("", "", "")
        row = (name, *codec, fmtps.get(name, ""), ", ".join([*feedback.get(name, []), *everyone]))
        table.add_row(*map(plain, row))
    return table


def _candidates(media: MediaDescription, trouble: list[SdpSyntaxError]) -> Table:
    table = _table("candidate", "component", "transport", "address", "port", "priority", "related", "more")
    for found in _readable(media, Candidate, trouble):
        related = f"{found.related_address} {found.related_port}" if found.related_address is not None else ""
        more = " ".join(f"{name} {value}" for name, value in found.extensions)
        row = (found.type, found.component, found.transport, found.address, found.port, found.priority, related, more)
        table.add_row(*map(plain, row))
    return table


def _keys(media: MediaDescription, trouble: list[SdpSyntaxError]) -> Table:
    table = _table("key", "suite", "octets", "session parameters")
    for crypto in _readable(media, Crypto, trouble):
        octets = " ".join(str(len(key.key_and_salt)) for key in crypto.keys)
        table.add_row(*map(plain, (crypto.tag, crypto.suite, octets, " ".join(crypto.session_parameters))))
    return table


def _extensions(media: MediaDescription, trouble: list[SdpSyntaxError]) -> Table:
    table = _table("extension", "URI", "direction", "attributes")
    for extmap in _readable(media, ExtMap, trouble):
        table.add_row(*map(plain, (extmap.id, extmap.uri, extmap.direction or "", extmap.attributes or "")))
    return table


def _readable(section: Section, view: type[Any], trouble: list[SdpSyntaxError]) -> tuple[Any, ...]:
    """The values of one attribute; the errors of malformed ones go to `trouble`."""
    for number, value in zip(section.line_numbers(view.NAME), section.values(view.NAME), strict=True):
        try:
            view.parse(value)
        except SdpSyntaxError as error:
            trouble.append(error.at(number, len(f"a={view.NAME}:")))
    return section.all(view)


def _plain_table() -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """Lint's findings, one a row."""
    table = _table("line", "severity", "stumbles", "finding", "RFC")
    for finding in findings:
        table.add_row(
            str(finding.line),
            Text(finding.severity.value, style=_COLOURS[finding.severity]),
            finding.stumbles.value,
            plain(finding.message),
            finding.reference,
        )
    return table


def difference(before: SessionDescription, after: SessionDescription, kind: str) -> Table:
    """Two descriptions side by side, section beside section: red what goes, green what comes."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", expand=True)
    table.add_column("given", overflow="fold", ratio=1)
    table.add_column("", width=1)
    table.add_column(f"to {kind}", overflow="fold", ratio=1)
    for left, right in zip_longest((before, *before.media), (after, *after.media)):
        for old, new in _aligned(_lines(left), _lines(right)):
            mark = "" if old == new else "<" if new is None else ">" if old is None else "|"
            table.add_row(
                Text(old or "", style="red" if mark else ""),
                Text(mark, style="dim"),
                Text(new or "", style="green" if mark else ""),
            )
    return table


def _lines(section: Section | None) -> list[str]:
    return [clean(line) for line in section.lines] if section is not None else []


def _aligned(left: list[str], right: list[str]) -> Iterator[tuple[str | None, str | None]]:
    """Rows of two sections: equal lines beside each other, and changed ones of one name."""
    for tag, start, end, other_start, other_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from ((line, line) for line in left[start:end])
            continue
        coming: dict[str, deque[str]] = {}
        for line in right[other_start:other_end]:
            coming.setdefault(_name(line), deque()).append(line)
        for line in left[start:end]:
            same = coming.get(_name(line))
            yield line, same.popleft() if same else None
        yield from ((None, line) for lines in coming.values() for line in lines)


def _name(line: str) -> str:
    """What a line is about: its attribute's name, or its type letter."""
    return line.partition(":")[0] if line.startswith("a=") else line[:1]
