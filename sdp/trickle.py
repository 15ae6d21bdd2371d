"""Trickled ICE candidates in SIP INFO: application/trickle-ice-sdpfrag (RFC 8840 section 9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from sdp.attributes import Candidate, IcePwd, IceUfrag
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpSyntaxError
from sdp.grammar import DEFAULT_LIMITS, Limits

CONTENT_TYPE: Final = "application/trickle-ice-sdpfrag"
_FIRST: Final = "v=0\r\n"


@dataclass(frozen=True, slots=True)
class TrickledMedia:
    """Candidates of one media section."""

    mid: str
    candidates: tuple[str, ...] = ()
    """Candidates as "candidate:..." (RFC 8839), all well-formed."""
    end_of_candidates: bool = False
    """True if no further candidate of the section follows in the ICE session."""
    kind: str = "audio"


@dataclass(frozen=True, slots=True)
class TrickleFragment:
    """Content of one INFO. Ignore fragments of another ICE session than the current one: see `belongs_to`."""

    ice_ufrag: str
    ice_pwd: str = field(repr=False)
    media: tuple[TrickledMedia, ...] = ()
    end_of_candidates: bool = False
    """True if no further candidate of any section follows."""

    @classmethod
    def parse(cls, text: str | bytes, limits: Limits = DEFAULT_LIMITS) -> Self:
        """Parse a fragment: session-level lines without v=, then a pseudo m= line with a=mid per section.

        Credentials may be at session level or in the sections, all of one ICE session. Raise SdpSyntaxError with the
        line in the fragment.
        """
        whole = _FIRST.encode() + text if isinstance(text, bytes) else _FIRST + text
        try:
            return cls._read(SessionDescription.parse(whole, limits, strict=True))
        except SdpSyntaxError as error:
            raise SdpSyntaxError(max(error.line - 1, 0), error.column, error.expected) from None

    @classmethod
    def _read(cls, fragment: SessionDescription) -> Self:
        ufrags = {ufrag.value for section in (fragment, *fragment.media) for ufrag in section.all(IceUfrag)}
        pwds = {pwd.value for section in (fragment, *fragment.media) for pwd in section.all(IcePwd)}
        if len(ufrags) != 1 or len(pwds) != 1:
            raise SdpSyntaxError(0, 1, "the ice-ufrag and ice-pwd of one ICE session")
        media = tuple([_read_media(section) for section in fragment.media])
        if len({section.mid for section in media}) != len(media):
            raise SdpSyntaxError(0, 1, "one section for each mid")
        return cls(ufrags.pop(), pwds.pop(), media, fragment.has("end-of-candidates"))

    def __str__(self) -> str:
        lines = [f"a=ice-ufrag:{self.ice_ufrag}", f"a=ice-pwd:{self.ice_pwd}"]
        for media in self.media:
            lines += [f"m={media.kind} 9 RTP/AVP 0", f"a=mid:{media.mid}"]
            lines += ["a=" + candidate for candidate in media.candidates]
            if media.end_of_candidates:
                lines.append("a=end-of-candidates")
        if self.end_of_candidates:
            lines.insert(2, "a=end-of-candidates")
        return "".join(line + "\r\n" for line in lines)

    def belongs_to(self, ice_ufrag: str | None, ice_pwd: str | None) -> bool:
        """Return True if the fragment belongs to the ICE session with the credentials (RFC 8840 section 4.4)."""
        return (self.ice_ufrag, self.ice_pwd) == (ice_ufrag, ice_pwd)


def _read_media(section: MediaDescription) -> TrickledMedia:
    mid = section.value("mid")
    if not mid:
        raise SdpSyntaxError(section.first_line, 1, "a=mid after the m= line")
    section.all(Candidate)
    return TrickledMedia(
        mid,
        tuple(["candidate:" + value for value in section.values("candidate")]),
        section.has("end-of-candidates"),
        section.kind,
    )
