"""A party whose peer goes on by the other IP version: its next transport is made at that offer, used once agreed."""

from __future__ import annotations

from dataclasses import replace

from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.renewal import begin_anew, former_of
from gateway.media.embedded.resources import Resources


class Successors:
    """Of one session: what was agreed before goes on until the offer is answered, and where nothing comes of it.

    The next transport has other ports, keys and numbers, so no SRTP key and index is ever used twice.
    """

    def __init__(self, resources: Resources, parties: dict[str, PartyMedia]) -> None:
        """`parties` are those of the session by tag; who succeeds is put there."""
        self._shared = resources
        self._parties = parties
        self._waiting: dict[str, PartyMedia] = {}

    async def of(self, caller: PartyMedia, family: int) -> PartyMedia:
        """Who is to answer an offer by that IP version, 0 for any: the caller or its successor. Raises MediaError."""
        tag = caller.party.tag
        self.forget(tag)
        if caller.rtp is None or family in (0, caller.rtp.family):
            return caller
        new = self._waiting[tag] = PartyMedia(self._shared, caller.call_id, replace(caller.party, family=family))
        begin_anew(new, former_of(caller), self._shared.random)
        await new.open()
        return new

    def asking(self, party: PartyMedia) -> PartyMedia:
        """Who has the offer of that party which waits for its answer."""
        return self._waiting.get(party.party.tag, party)

    def agreed(self, party: PartyMedia) -> None:
        """Its offer is answered: where it is a successor the one before it is gone, to whoever it was joined."""
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
        """Nothing comes of what these offered; without tags, of nobody's offer."""
        for tag in tags or tuple(self._waiting):
            new = self._waiting.pop(tag, None)
            if new is not None:
                new.close()
