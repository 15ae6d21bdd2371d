"""A call's media as values, and its parties made of them again by another process on the same plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.media.embedded.describe import party_of, without_keys
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.resources import Resources
from gateway.media.engine import Kind


def party_values(party: PartyMedia) -> dict[str, Any] | None:
    """What another process needs to go on with a party; None where nothing is agreed yet."""
    transport = party.transport.values() if party.transport is not None else None
    if (
        party.audio is not None
        or (party.video is not None and party.video.agreement is not None)
        or (party.party.kind is not Kind.SERVICE and (not party.agreed or transport is None))
    ):
        return None
    descriptions = None
    if party.agreed is not None:
        offer, answer, side = party.agreed
        descriptions = [without_keys(offer), without_keys(answer), side]
    identity = party.identity
    return {
        "party": party.party.values(),
        "identity": [identity.session_id, identity.ssrc, identity.stream],
        "agreed": descriptions,
        "transport": transport,
    }


def values_of(parties: Mapping[str, PartyMedia]) -> dict[str, Any] | None:
    """What `resumed` needs, as JSON can hold it.

    None where a party has agreed to nothing, has a picture, or speaks by a program.
    """
    values = [party_values(party) for party in parties.values()]
    if not all(values):
        return None
    joined = {
        tuple(sorted((tag, party.joined.party.tag))) for tag, party in parties.items() if party.joined is not None
    }
    return {"parties": values, "joined": sorted(joined)}


async def resumed(resources: Resources, call_id: str, values: Mapping[str, Any]) -> list[PartyMedia]:
    """The parties, not joined yet; raises MediaError 481 where packets of one flow no more."""
    made: dict[str, PartyMedia] = {}
    try:
        for each in values["parties"]:
            party = party_of(each["party"])
            made[party.tag] = PartyMedia(resources, call_id, party, each)
        snapshots = await resources.plane.snapshot([one.flow for one in made.values() if one.flow is not None])
        for each, media in zip(values["parties"], made.values(), strict=True):
            media.resume(each, snapshots.get(media.flow or 0))
    except BaseException:
        for media in made.values():
            media.close()
        raise
    return list(made.values())
