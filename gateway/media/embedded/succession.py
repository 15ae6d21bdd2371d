"""Change of a phone's IP version: an offer prepares a new transport, and the answer puts the transport into use."""

from __future__ import annotations

from dataclasses import replace

from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.renewal import begin_anew, former_of
from gateway.media.embedded.resources import Resources


class Successors:
    """Prepared successors of a session's parties; the old transport stays in use until the offer is answered.

    A successor has new ports, keys and sequence numbers, so that no SRTP key and index is used twice.
    """

    def __init__(self, resources: Resources, parties: dict[str, PartyMedia]) -> None:
        """Start without successors; `parties` are the session's parties by tag, updated at a succession."""
        self._shared = resources
        self._parties = parties
        self._waiting: dict[str, PartyMedia] = {}

    async def of(self, caller: PartyMedia, family: int) -> PartyMedia:
        """Return the party for an offer with IP version `family` (0: any): the caller or a new successor.

        Raises MediaError.
        """
        tag = caller.party.tag
        self.forget(tag)
        if caller.rtp is None or family in (0, caller.rtp.family):
            return caller
        new = self._waiting[tag] = PartyMedia(self._shared, caller.call_id, replace(caller.party, family=family))
        begin_anew(new, former_of(caller), self._shared.random)
        await new.open()
        return new

    def asking(self, party: PartyMedia) -> PartyMedia:
        """Return the party that holds the pending offer: the prepared successor, or `party` itself."""
        return self._waiting.get(party.party.tag, party)

    def agreed(self, party: PartyMedia) -> None:
        """Put an answered successor in the place of the old party, which is closed."""
        tag = party.party.tag
        if self._waiting.get(tag) is not party:
            return
        del self._waiting[tag]
        old, self._parties[tag] = self._parties[tag], party
        other = old.joined
        old.close()
        party.playing.succeed(old.playing)
        if other is not None:
            party.joined, other.joined = other, party

    def forget(self, *tags: str) -> None:
        """Close the unused successors of the parties with `tags`; without tags, all successors."""
        for tag in tags or tuple(self._waiting):
            new = self._waiting.pop(tag, None)
            if new is not None:
                new.close()
