"""Digits of a party that says them in tones, as its trunk or user has it."""

from __future__ import annotations

from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.routing import Routing, without_tones
from gateway.media.embedded.sources.program import Seated
from gateway.media.engine import Dtmf


def find_tones(speaker: PartyMedia, routing: Routing, seat: Seated | None = None) -> None:
    """Have them found in what the party says: on its way by `routing`, or in its place in a conference."""
    says_tones = speaker.party.dtmf is Dtmf.INBAND
    if says_tones and speaker.agreement is not None:
        without_tones(routing, speaker.agreement, speaker.stations.on_tone)
    if seat is not None:
        seat.find_tones(speaker.stations.on_tone if says_tones else None)
