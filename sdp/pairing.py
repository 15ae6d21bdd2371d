"""Correspondence of sections between two sides of a call, and protection of a section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from sdp.description import MediaDescription, SessionDescription

Family = Literal["plain", "sdes", "dtls", "sctp"]

PLAN_FAMILIES: Final[dict[str, tuple[Family, ...]]] = {
    "webrtc": ("dtls",),
    "dtls": ("dtls",),
    "rtp": ("plain",),
    "avpf": ("plain",),
    "sdes": ("sdes",),
    "best-effort": ("sdes", "plain"),
    "opportunistic": ("sdes", "plain"),
}
"""Protection families of each kind of plan, preferred first."""

_RTP_PROFILES: Final = frozenset({"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"})
_SDES_PROFILES: Final = frozenset({"RTP/SAVP", "RTP/SAVPF"})
_DTLS_PROFILES: Final = frozenset({"UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"})
_BEST_EFFORT: Final = (frozenset({"RTP/SAVP", "RTP/AVP"}), frozenset({"RTP/SAVPF", "RTP/AVPF"}))
_SCTP_PROFILES: Final = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"})


def families(description: SessionDescription, media: MediaDescription) -> tuple[Family, ...]:
    """Return the possible protections of a section, strongest first; () for an unknown protocol.

    RTP/SAVPF with a fingerprint is the browsers' form before RFC 5764's profiles; RTP/AVP with keys is opportunistic
    (RFC 8643).
    """
    protocol = media.protocol
    if protocol in _DTLS_PROFILES:
        return ("dtls",)
    if protocol in _SCTP_PROFILES:
        return ("sctp",)
    if protocol not in _RTP_PROFILES:
        return ()
    found: list[Family] = []
    if media.has("fingerprint") or description.has("fingerprint"):
        found.append("dtls")
    if media.has("crypto"):
        found.append("sdes")
    if "SAVP" not in protocol:
        found.append("plain")
    return tuple(found)


def is_rtp(media: MediaDescription) -> bool:
    """Return True for a section with a supported RTP profile."""
    return media.protocol in _RTP_PROFILES or media.protocol in _DTLS_PROFILES


def is_live(media: MediaDescription, offer: bool = True) -> bool:
    """Return True unless the section is rejected; an offered bundle-only section has port 0 without rejection (RFC
    9143)."""
    return media.port != 0 or (offer and media.has("bundle-only"))


def slots(media: Sequence[MediaDescription]) -> list[tuple[int, ...]]:
    """Return the indices of the sections, with alternatives grouped.

    Two adjacent sections of one kind, with a secure profile and its plain counterpart, offer one stream twice:
    best-effort SRTP before RFC 8643.
    """
    for section in media:
        if section.protocol in _SDES_PROFILES:
            return group_alternatives([(each.kind, each.protocol, each.mid) for each in media])
    return [(index,) for index in range(len(media))]


def group_alternatives(sections: Sequence[tuple[str, str, str | None]]) -> list[tuple[int, ...]]:
    """Return `slots` for sections given as kind, protocol and mid."""
    found: list[tuple[int, ...]] = []
    index = 0
    while index < len(sections):
        if index + 1 < len(sections) and _alternatives(sections[index], sections[index + 1]):
            found.append((index, index + 1))
        else:
            found.append((index,))
        index += len(found[-1])
    return found


def _alternatives(first: tuple[str, str, str | None], second: tuple[str, str, str | None]) -> bool:
    return (
        first[0] == second[0]
        and frozenset((first[1], second[1])) in _BEST_EFFORT
        and first[2] is None
        and second[2] is None
    )


def partners(
    ours: Sequence[MediaDescription], theirs: Sequence[MediaDescription]
) -> dict[int, MediaDescription | None]:
    """Return the corresponding section of theirs for each of our slots (by first index): the n-th of its kind.

    Rejected sections count, as their position is permanent; of alternatives the live one is taken.
    """
    by_kind: dict[str, list[MediaDescription]] = {}
    for slot in slots(theirs):
        first = theirs[slot[0]]
        chosen = first if len(slot) == 1 or first.port else next((theirs[i] for i in slot if theirs[i].port), first)
        by_kind.setdefault(first.kind, []).append(chosen)
    found: dict[int, MediaDescription | None] = {}
    for slot in slots(ours):
        rest = by_kind.get(ours[slot[0]].kind)
        found[slot[0]] = rest.pop(0) if rest else None
    return found
