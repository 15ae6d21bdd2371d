"""What is read in a party's audio before it goes on: digits in tones, and by whose numbers it is sent."""

from __future__ import annotations

from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.routing import Routing, with_numbers_read, without_tones
from gateway.media.embedded.sources.program import Seated
from gateway.media.engine import Dtmf


def examine(speaker: PartyMedia, routing: Routing, seat: Seated | None = None) -> None:
    """Have the party's audio read: on its way by `routing`, or in its place in a conference."""
    says_tones = speaker.party.dtmf is Dtmf.INBAND
    if says_tones and speaker.agreement is not None:
        without_tones(routing, speaker.agreement, speaker.stations.on_tone)
    if seat is not None:
        seat.find_tones(speaker.stations.on_tone if says_tones else None)
    if speaker.agreement is not None:
        with_numbers_read(routing, speaker.agreement)
