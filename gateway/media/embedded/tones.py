"""Examination of a party's audio before forwarding: digits in tones, and contested payload types."""

from __future__ import annotations

from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.routing import Routing, with_numbers_read, without_tones
from gateway.media.embedded.sources.program import Seated
from gateway.media.engine import Dtmf


def examine(speaker: PartyMedia, routing: Routing, seat: Seated | None = None) -> None:
    """Add the readers of a party's audio to `routing`, or to its seat in a conference."""
    says_tones = speaker.party.dtmf is Dtmf.INBAND
    if says_tones and speaker.agreement is not None:
        without_tones(routing, speaker.agreement, speaker.stations.on_tone)
    if seat is not None:
        seat.find_tones(speaker.stations.on_tone if says_tones else None)
    if speaker.agreement is not None:
        with_numbers_read(routing, speaker.agreement)
