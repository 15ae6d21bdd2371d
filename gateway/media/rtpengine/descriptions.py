"""Descriptions on their way to and from rtpengine: checked before, tidied after."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from gateway.media.described import LIMITS
from gateway.media.engine import Kind, MediaError
from sdp import Codec, Connection, Direction, MediaDescription, SdpError, SessionDescription, read_codecs
from sdp.attributes import Attribute, Crypto, Fingerprint, IcePwd, IceUfrag, Setup, SetupRole
from sdp.keys import usable_keys
from sdp.pairing import is_rtp
from sdp.typed import cleaned

_NOWHERE = Connection("0.0.0.0")
_BROWSERS_OWN = frozenset(
    {
        *("end-of-candidates", "ice-options", "mid", "group", "rtcp-mux", "rtcp-mux-only", "rtcp-rsize"),
        *("extmap", "extmap-allow-mixed", "rtcp-fb", "rid", "simulcast", "ssrc", "ssrc-group", "msid"),
        *("msid-semantic", "fingerprint", "setup", "tls-id"),
    }
)
"""Attributes that say something to a browser only; rtpengine passes on what it does not know."""
_DTLS_OWN = (_BROWSERS_OWN | {"crypto"}) - {"fingerprint", "setup", "tls-id", "rtcp-mux"}
"""Those that mislead a phone with DTLS."""
_PHONES_OWN = frozenset({"crypto", "end-of-candidates", "group", "msid-semantic", "ssrc", "ssrc-group"})
"""Attributes of the other side that would mislead a browser."""


_OF_KEYS = ("crypto", "fingerprint", "setup", "tls-id")
"""Attributes of SRTP's keys."""


def audio_of(description: SessionDescription, kind: Kind, suites: Collection[str]) -> MediaDescription | None:
    """The first audio section that is wanted, can carry speech, and has the keys a party of that kind must have."""
    for section in description.media:
        if section.kind == "audio" and _carries(section) and _keyed(description, section, kind, suites):
            return section
    return None


def video_of(
    description: SessionDescription, kind: Kind, suites: Collection[str], codecs: Collection[str]
) -> MediaDescription | None:
    """The first section with a picture in one of these codecs (names in lower case), and with the keys it must have.

    It gets a transport of its own: rtpengine 10.5 knows no BUNDLE (RFC 9143), so that a picture which is for a bundle
    only has no port here.
    """
    for section in description.media:
        if section.kind != "video" or not _carries(section):
            continue
        known = any(codec.key[0] in codecs for codec in codecs_of(section))
        if known and _keyed(description, section, kind, suites):
            return section
    return None


def codecs_of(section: MediaDescription | None) -> tuple[Codec, ...]:
    """Its formats, none for no section; raises MediaError 400 where they cannot be read."""
    if section is None:
        return ()
    try:
        return read_codecs(section)
    except SdpError as error:
        raise MediaError(f"the codecs cannot be read: {error}", 400) from None


def addresses_of(description: SessionDescription) -> list[str]:
    """The connection addresses of every section."""
    found = [description.connection_of(section) for section in description.media]
    return [connection.address for connection in found if connection is not None]


def only(
    description: SessionDescription,
    audio: MediaDescription | None,
    suites: Collection[str],
    codecs: Collection[str] = (),
    video: MediaDescription | None = None,
    pictures: Collection[str] = (),
) -> str:
    """The description with every section refused but these, and only keys that can be used in them.

    `codecs` are the names (lower case) that alone may stay, () for all, `pictures` those of the video. Raises
    MediaError 488 where no audio is left.
    """
    if audio is None:
        raise MediaError("no audio that could be carried", 488)
    kept = _usable_keys(audio, suites)
    media = [_refused(section) for section in description.media]
    media[index_of(description, audio)] = _of_codecs(kept, codecs) if codecs else kept
    if video is not None:
        place = index_of(description, video)
        media[place] = _of_codecs(_usable_keys(video, suites), pictures, others=False)
    return str(_for_daemon(description.with_media(media)))


def _for_daemon(description: SessionDescription) -> SessionDescription:
    """Return what the daemon's own reader takes: each section, also an unused one, with one plain IP address.

    Keys go where no section is protected: the daemon would expect SRTP of a profile that says RTP.
    """
    media = []
    for section in description.media:
        section = section.replace_field("c", _plain(description.connection_of(section)))
        media.append(section if _is_protected(section) else section.without(*_OF_KEYS))
    described = cleaned(description.with_media(media))
    if not any(map(_is_protected, media)):
        described = described.without(*_OF_KEYS)
    return described.replace_field("c", *[section.connection for section in described.media[:1]])


def with_role(description: SessionDescription, role: SetupRole) -> SessionDescription:
    """Add the default a=setup to each DTLS section without a readable one (RFC 5763 section 5)."""
    media = [
        section
        if "TLS/" not in section.protocol.upper() or description.first_of(section, Setup) is not None
        else section.replace_attribute(Setup(role))
        for section in description.media
    ]
    return description.with_media(media)


def _plain(connection: Connection | None) -> Connection:
    """The address alone, as a strict reader takes it."""
    address = None if connection is None else connection.ip
    return _NOWHERE if address is None else Connection(str(address), f"IP{address.version}")


def _is_protected(section: MediaDescription) -> bool:
    return "SAVP" in section.protocol.upper()


def _usable_keys(section: MediaDescription, suites: Collection[str]) -> MediaDescription:
    keys = [replace(key, session_parameters=()) for key in _keys(section, suites)]
    return section.replace_attribute(*keys) if keys else section.without("crypto")


def _keys(section: MediaDescription, suites: Collection[str]) -> list[Crypto]:
    """The keys that the daemon can use: it reads no packet that names its key."""
    return [key for key in usable_keys(section.cryptos, suites) if key.keys[0].mki is None]


def index_of(description: SessionDescription, section: MediaDescription) -> int:
    """Which section it is."""
    return next(place for place, each in enumerate(description.media) if each is section)


def tidied(text: str, kind: Kind) -> SessionDescription:
    """What rtpengine wrote for a party of that kind, without what only the other side understands.

    Of a bundle nothing is said, not even of a lone section: browsers give a picture that comes later no transport of
    its own then. Raises MediaError 500 where it cannot be read.
    """
    unwanted = {Kind.WEBRTC: _PHONES_OWN, Kind.DTLS: _DTLS_OWN}.get(kind, _BROWSERS_OWN)
    try:
        description = SessionDescription.parse(text, LIMITS)
    except SdpError:
        raise MediaError("rtpengine wrote a description that cannot be read", 500) from None
    media = [section.with_lines(_without(section.lines, unwanted)) for section in description.media]
    if kind is Kind.WEBRTC:
        media = [_asking_for_pictures(section) for section in media]
    return description.with_lines(_without(description.lines, unwanted)).with_media(media)


def _asking_for_pictures(section: MediaDescription) -> MediaDescription:
    """A browser may ask for a whole picture (RFC 4585, RFC 5104): a phone that offers none of it understands that."""
    if section.kind != "video" or not section.port or section.has("rtcp-fb"):
        return section
    return section.with_attribute("rtcp-fb:* nack pli", "rtcp-fb:* ccm fir")


def repeated(said: SessionDescription, offer: MediaDescription) -> SessionDescription:
    """What a party said before, as its answer to a new offer: it sends and receives what the offer lets it.

    A browser is the active side of DTLS, since rtpengine is told to be the passive one.
    """
    media = []
    for section in said.media:
        wanted = (offer.direction or Direction.SENDRECV).reversed()
        now = (section.direction or said.direction or Direction.SENDRECV).limited_to(wanted)
        section = section.without(*Direction, "setup")
        added = ["setup:active"] if "TLS/" in section.protocol.upper() else []
        media.append(section.with_attribute(str(now), *added))
    return said.without(*Direction, "setup").with_media(media)


def offered_again(said: SessionDescription, *, holds: bool) -> SessionDescription:
    """What a party said before, as its offer to somebody else; `holds`: it hears nobody until it says otherwise."""
    media = []
    for section in said.media:
        direction = section.direction or said.direction or Direction.SENDRECV
        now = direction if holds or section.kind != "audio" else Direction.SENDRECV
        section = section.without(*Direction, "setup")
        media.append(
            section.with_attribute(str(now), *(["setup:actpass"] if "TLS/" in section.protocol.upper() else []))
        )
    return said.without(*Direction, "setup").with_media(media)


def first_codec(section: MediaDescription) -> str | None:
    """The name (lower case) of what it begins with."""
    return next((codec.key[0] for codec in codecs_of(section) if codec.is_media), None)


def is_deaf(section: MediaDescription, description: SessionDescription, peer: Direction) -> bool:
    """Whether a party takes no audio though its peer, of that direction, would send some (RFC 3264 section 8.4)."""
    hears = description.direction_of(section) in (Direction.SENDRECV, Direction.RECVONLY)
    return not hears and peer in (Direction.SENDRECV, Direction.SENDONLY)


def transport_of(description: SessionDescription, section: MediaDescription) -> tuple[str | None, ...]:
    """Where a party sends to, and whom it takes that for."""
    connection = description.connection_of(section)
    where = None if connection is None else connection.address
    names = ("ice-ufrag", "fingerprint")
    return (where, str(section.port), *(description.value_of(section, name) for name in names))


def fits(answer: MediaDescription, offer: MediaDescription) -> bool:
    """Tell whether the two speak one profile, with or without feedback, and share a codec that carries speech."""
    if profile_of(answer) != profile_of(offer):
        return False
    told = [codec for codec in codecs_of(offer) if codec.is_media]
    return any(codec.is_media and any(codec.key == each.key for each in told) for codec in codecs_of(answer))


def profile_of(section: MediaDescription) -> str:
    """The profile of a section without its feedback: peers answer RTP/AVP with RTP/AVPF, and the other way round."""
    return section.protocol.upper().removesuffix("F")


def _carries(section: MediaDescription) -> bool:
    if not section.port or not is_rtp(section):
        return False
    return any(codec.is_media for codec in codecs_of(section))


def _keyed(description: SessionDescription, section: MediaDescription, kind: Kind, suites: Collection[str]) -> bool:
    if kind is Kind.WEBRTC:
        needed: tuple[type[Attribute], ...] = (Fingerprint, IceUfrag, IcePwd)
        secure = "TLS/" in section.protocol.upper()
        return secure and all(description.first_of(section, view) is not None for view in needed)
    if kind is Kind.DTLS:
        return description.first_of(section, Fingerprint) is not None
    if "RTP/SAVP" not in section.protocol.upper():
        return kind in (Kind.RTP, Kind.BEST_EFFORT)
    return bool(_keys(section, suites))


def _of_codecs(section: MediaDescription, names: Collection[str], *, others: bool = True) -> MediaDescription:
    """The section without the formats of other codecs; `others`: digits and comfort noise stay."""
    found = codecs_of(section)
    kept = [codec for codec in found if codec.key[0] in names or (others and not codec.is_media)]
    if not any(codec.is_media for codec in kept):
        raise MediaError("none of its codecs may be used with this party", 488)
    numbers = {str(codec.payload_type) for codec in kept}
    return _without_formats(section, {*section.formats, *(str(codec.payload_type) for codec in found)} - numbers)


def without_own_digits(answer: MediaDescription, offer: MediaDescription) -> MediaDescription:
    """Remove telephone-events under new numbers from an answer: rtpengine 10.5 would reject the audio beside them."""
    offered = {codec.payload_type: codec.key for codec in codecs_of(offer)}
    own = [each for each in codecs_of(answer) if each.is_event and offered.get(each.payload_type) != each.key]
    return _without_formats(answer, {str(codec.payload_type) for codec in own}) if own else answer


def _without_formats(section: MediaDescription, numbers: Collection[str]) -> MediaDescription:
    lines = [line for line in section.lines if not _is_of_format(line, numbers)]
    formats = tuple([text for text in section.media_line.formats if text not in numbers])
    return section.with_lines(lines).with_media_line(replace(section.media_line, formats=formats))


def _is_of_format(line: str, numbers: Collection[str]) -> bool:
    name, _, value = line.partition(":")
    return name in ("a=rtpmap", "a=fmtp", "a=rtcp-fb") and value.split(" ", 1)[0] in numbers


def _refused(section: MediaDescription) -> MediaDescription:
    return section.with_media_line(replace(section.media_line, port=0))


def _without(lines: Iterable[str], names: frozenset[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("a=") or line[2:].partition(":")[0].lower() not in names:
            yield line
