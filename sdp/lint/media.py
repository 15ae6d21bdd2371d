"""Lint rules for media sections: addresses, formats, codecs, keys, header extensions."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from sdp.attributes import (
    Crypto,
    ExtMap,
    Fingerprint,
    Fmtp,
    MaxPtime,
    Ptime,
    RtcpFb,
    RtpMap,
    Ssrc,
    SsrcGroup,
)
from sdp.description import MediaDescription
from sdp.hosts import ip_of, is_name
from sdp.keys import KEY_OCTETS
from sdp.lint.reading import Hit, Reading, in_use, speaks_webrtc

_FIRST_DYNAMIC: Final = 35
_DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
_BROKEN_HASHES: Final = ("md2", "md5")
_DIGEST_OCTETS: Final = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64, "md5": 16, "md2": 16}
_KEY_OCTETS: Final = {**KEY_OCTETS, "F8_128_HMAC_SHA1_80": 30}
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10"),
    )
)
_NOWHERE: Final = ip_of("0.0.0.0")


def no_connection(reading: Reading) -> Iterator[Hit]:
    if reading.description.field_values("c"):
        return
    for section in reading.media:
        if in_use(section) and not speaks_webrtc(section) and not section.field_values("c"):
            yield Hit(section.first_line)


def no_formats(reading: Reading) -> Iterator[Hit]:
    return (Hit(section.first_line) for section in reading.media if not section.formats)


def format_twice(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        for name, count in Counter(section.formats).items():
            if count > 1:
                yield Hit(section.first_line, name)


def no_rtpmap(reading: Reading) -> Iterator[Hit]:
    for section in reading.rtp():
        # One finding per line: a malformed rtpmap is reported as malformed
        mapped = {value.partition(" ")[0] for value in section.values("rtpmap")}
        for name in section.formats:
            if name.isdecimal() and int(name) >= _FIRST_DYNAMIC and name not in mapped and in_use(section):
                yield Hit(section.first_line, name)


def _repeated(reading: Reading, section: MediaDescription) -> Iterator[tuple[int, RtpMap, RtpMap]]:
    """Yield lines that map a payload type again, with the new and the first mapping."""
    first: dict[int, RtpMap] = {}
    for number, rtpmap in reading.all(section, RtpMap):
        if rtpmap.payload_type in first:
            yield number, rtpmap, first[rtpmap.payload_type]
        else:
            first[rtpmap.payload_type] = rtpmap


def rtpmap_twice(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        yield from (Hit(number, new.payload_type) for number, new, old in _repeated(reading, section) if new == old)


def rtpmap_clash(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        yield from (Hit(number, new.payload_type) for number, new, old in _repeated(reading, section) if new != old)


def stray_rtpmap(reading: Reading) -> Iterator[Hit]:
    for section in reading.rtp():
        formats = set(section.formats)
        for number, rtpmap in reading.all(section, RtpMap):
            if str(rtpmap.payload_type) not in formats:
                yield Hit(number, f"payload type {rtpmap.payload_type}")


def stray_fmtp(reading: Reading) -> Iterator[Hit]:
    for section in reading.phone():
        yield from stray_parameters(reading, section)


def stray_parameters(reading: Reading, section: MediaDescription) -> Iterator[Hit]:
    """Yield fmtp lines of formats missing from the m= line."""
    formats = set(section.formats)
    for number, fmtp in reading.all(section, Fmtp):
        if fmtp.format not in formats:
            yield Hit(number, f"format {fmtp.format}")


def direction_twice(reading: Reading) -> Iterator[Hit]:
    for section in (reading.description, *reading.media):
        numbers = sorted(number for name in _DIRECTIONS for number in section.line_numbers(name))
        yield from (Hit(number) for number in numbers[1:])


def ptime_above_maxptime(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        for _, most in reading.all(section, MaxPtime)[:1]:
            for number, ptime in reading.all(section, Ptime):
                if ptime.value > most.value:
                    yield Hit(number, str(most))


def _codec(
    name: str, wrong: Callable[[RtpMap], bool], detail: Callable[[RtpMap], str | int] = lambda _: ""
) -> Callable[[Reading], Iterator[Hit]]:
    """Return a rule for the rtpmap lines of one codec."""

    def check(reading: Reading) -> Iterator[Hit]:
        for section in reading.media:
            for number, rtpmap in reading.all(section, RtpMap):
                if rtpmap.encoding.lower() == name and wrong(rtpmap):
                    yield Hit(number, detail(rtpmap))

    return check


opus_rtpmap = _codec("opus", lambda rtpmap: (rtpmap.clock_rate, rtpmap.parameters) != (48000, "2"))
g722_rtpmap = _codec("g722", lambda rtpmap: rtpmap.clock_rate != 8000)


def event_clock(reading: Reading) -> Iterator[Hit]:
    for section in reading.rtp():
        rtpmaps = reading.all(section, RtpMap)
        beside = {
            rtpmap.clock_rate for _, rtpmap in rtpmaps if rtpmap.encoding.lower() not in ("telephone-event", "cn")
        }
        if any(name.isdecimal() and int(name) < _FIRST_DYNAMIC for name in section.formats):
            beside.add(8000)
        for number, rtpmap in rtpmaps:
            if rtpmap.encoding.lower() == "telephone-event" and rtpmap.clock_rate not in beside:
                yield Hit(number, rtpmap.clock_rate)


def rtx_without_apt(reading: Reading) -> Iterator[Hit]:
    for section in reading.rtp():
        formats = set(section.formats)
        repeated = {fmtp.format: fmtp.parameters.get("apt") for _, fmtp in reading.all(section, Fmtp)}
        for number, rtpmap in reading.all(section, RtpMap):
            if rtpmap.encoding.lower() == "rtx" and repeated.get(str(rtpmap.payload_type)) not in formats:
                yield Hit(number, rtpmap.payload_type)


def h264_profile(reading: Reading) -> Iterator[Hit]:
    for section in reading.rtp():
        told = {fmtp.format for _, fmtp in reading.all(section, Fmtp) if "profile-level-id" in fmtp.parameters}
        for number, rtpmap in reading.all(section, RtpMap):
            if rtpmap.encoding.lower() == "h264" and str(rtpmap.payload_type) not in told:
                yield Hit(number, rtpmap.payload_type)


def _fingerprints(reading: Reading) -> Iterator[tuple[int, Fingerprint]]:
    for section in (reading.description, *reading.media):
        yield from reading.all(section, Fingerprint)


def fingerprint_hash(reading: Reading) -> Iterator[Hit]:
    for number, fingerprint in _fingerprints(reading):
        if fingerprint.algorithm in _BROKEN_HASHES:
            yield Hit(number, fingerprint.algorithm)


def fingerprint_sha1(reading: Reading) -> Iterator[Hit]:
    return (Hit(number) for number, fingerprint in _fingerprints(reading) if fingerprint.algorithm == "sha-1")


def fingerprint_length(reading: Reading) -> Iterator[Hit]:
    for number, fingerprint in _fingerprints(reading):
        octets = len(fingerprint.octets)
        if _DIGEST_OCTETS.get(fingerprint.algorithm, octets) != octets:
            yield Hit(number, fingerprint.algorithm)


def extmap_twice(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        seen: set[int] = set()
        for number, extmap in reading.all(section, ExtMap):
            if extmap.id in seen:
                yield Hit(number, extmap.id)
            seen.add(extmap.id)


def extmap_id(reading: Reading) -> Iterator[Hit]:
    for section in (reading.description, *reading.media):
        for number, extmap in reading.all(section, ExtMap):
            if extmap.id == 15:
                yield Hit(number, extmap.id)


def crypto_tag_twice(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        seen: set[int] = set()
        for number, crypto in reading.all(section, Crypto):
            if crypto.tag in seen:
                yield Hit(number, crypto.tag)
            seen.add(crypto.tag)


def crypto_key_length(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        for number, crypto in reading.all(section, Crypto):
            octets = _KEY_OCTETS.get(crypto.suite)
            if octets is not None and any(len(key.key_and_salt) != octets for key in crypto.keys):
                yield Hit(number, crypto.suite)


def crypto_suite(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        for number, crypto in reading.all(section, Crypto):
            if crypto.suite not in _KEY_OCTETS:
                yield Hit(number, crypto.suite)


def crypto_mki(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        for number, crypto in reading.all(section, Crypto):
            if any(key.mki is not None for key in crypto.keys):
                yield Hit(number)


def ssrc_group_of_strangers(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        declared = {ssrc.ssrc for _, ssrc in reading.all(section, Ssrc)}
        for number, group in reading.all(section, SsrcGroup):
            yield from (Hit(number, ssrc) for ssrc in group.ssrcs if ssrc not in declared)


def no_keys(reading: Reading) -> Iterator[Hit]:
    for section in reading.phone():
        levels = (section, reading.description)
        keyed = reading.all(section, Crypto) or any(reading.all(level, Fingerprint) for level in levels)
        if "SAVP" in section.protocol.upper() and not keyed:
            yield Hit(section.first_line, section.protocol)


def crypto_without_srtp(reading: Reading) -> Iterator[Hit]:
    for section in reading.phone():
        if "SAVP" not in section.protocol.upper():
            yield from map(Hit, section.line_numbers("crypto")[:1])


def feedback_without_avpf(reading: Reading) -> Iterator[Hit]:
    for section in reading.phone():
        if not section.protocol.upper().endswith("AVPF"):
            yield from (Hit(number) for number, _ in reading.all(section, RtcpFb)[:1])


def _addresses(reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield the c= lines of phone sections."""
    sections = list(reading.phone())
    if any(not section.field_values("c") for section in sections):
        yield from ((number, line.address) for number, line in reading.fields(reading.description, "c"))
    for section in sections:
        yield from ((number, line.address) for number, line in reading.fields(section, "c"))


def old_hold(reading: Reading) -> Iterator[Hit]:
    return (Hit(number) for number, address in _addresses(reading) if ip_of(address) == _NOWHERE)


def private_address(reading: Reading) -> Iterator[Hit]:
    for number, address in _addresses(reading):
        parsed = ip_of(address)
        if parsed is not None and any(parsed in network for network in _PRIVATE):
            yield Hit(number, address)


def no_address(reading: Reading) -> Iterator[Hit]:
    for number, address in _addresses(reading):
        if ip_of(address) is None and not is_name(address):
            yield Hit(number, address)


def host_name(reading: Reading) -> Iterator[Hit]:
    return (
        Hit(number, address) for number, address in _addresses(reading) if ip_of(address) is None and is_name(address)
    )
