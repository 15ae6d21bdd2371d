"""Storage of a call's media as values, and restoration of the call from the values by a later process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

from gateway.media.embedded.describe import Former, agreed_of, checked, codec_names, without_keys
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.plane.values import FlowSnapshot
from gateway.media.embedded.renewal import begin_anew, former_of, has_data, has_text
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.rtp.leg import receivable
from gateway.media.embedded.session import Session
from gateway.media.embedded.timeline import Timeline
from gateway.media.embedded.transport import opened
from gateway.media.engine import Kind, MediaError, Party
from sdp import MediaAgreement, SessionDescription, negotiate
from sdp.negotiation import Side

VERSION_JUMP = 1000
"""Increase of the session version at restoration, above the descriptions sent since the values were stored."""


def party_values(party: PartyMedia) -> dict[str, Any] | None:
    """Return the values for another process to continue a party; None for a program or without an agreement."""
    # `former` set: the present transport has no agreement yet, so cannot be continued.
    transport = party.transport.values() if party.transport is not None and party.former is None else None
    if party.audio is not None or (
        party.party.kind is not Kind.SERVICE and (party.theirs is None or party.sent is None)
    ):
        return None
    descriptions = None
    if party.theirs is not None and party.sent is not None:
        offer, answer, side = party.agreed or (party.theirs, party.sent, "answerer")
        descriptions = [without_keys(offer), without_keys(answer), side]
    identity = party.identity
    return {
        "party": party.party.values(),
        "identity": [identity.session_id, identity.ssrc, identity.stream],
        "timeline": list(astuple(identity.timeline)),
        "agreed": descriptions,
        "heard": party.has_heard,
        "beside": [has_data(party), has_text(party)],
        "video": former_of(party).video,
        "transport": transport,
    }


def values_of(parties: Mapping[str, PartyMedia]) -> dict[str, Any] | None:
    """Return JSON-compatible values for `resumed` and `restored`.

    None if a party has no agreement or is a program.
    """
    values = [party_values(party) for party in parties.values()]
    if not all(values):
        return None
    if _has_channels(parties.values()) or any(each["video"] for each in values if each is not None):
        # SCTP and the DTLS below SCTP end with the process, as does video's state for key frames, rates and
        # retransmission. Without stored transports the next process creates new transports.
        values = [each | {"transport": None} for each in values if each is not None]
    joined = {
        tuple(sorted((tag, party.joined.party.tag))) for tag, party in parties.items() if party.joined is not None
    }
    return {"parties": values, "joined": sorted(joined)}


def _has_channels(parties: Iterable[PartyMedia]) -> bool:
    """Return True if a browser's data channels are connected: a second party has data channels or text."""
    has = [(has_data(party), has_text(party)) for party in parties]
    return any(data for data, _ in has) and sum(data or text for data, text in has) > 1


def _agreed(
    resources: Resources, values: Sequence[str], times: int
) -> tuple[SessionDescription, SessionDescription, Side]:
    """Return offer, answer and our side; raises MediaError 400.

    The version of our description is raised, since a peer may ignore a description with an old or equal version
    (RFC 3264 section 8).
    """
    offer, answer, side = agreed_of(resources.config, values)
    if side == "offerer":
        return _later(offer, times), answer, side
    return offer, _later(answer, times), side


def _later(description: SessionDescription, times: int) -> SessionDescription:
    origin = description.origin
    if origin is None:
        return description
    said = replace(origin, session_version=origin.session_version + times * VERSION_JUMP)
    return description.with_lines(f"o={said}" if line.startswith("o=") else line for line in description.lines)


async def resumed(resources: Resources, call_id: str, values: Mapping[str, Any], times: int = 1) -> list[PartyMedia]:
    """Return the call's parties on their existing flows, not yet joined; raises MediaError 481 if a flow is gone."""
    made: dict[str, PartyMedia] = {}
    try:
        for each in values["parties"]:
            party = _party(each)
            if party.kind is not Kind.SERVICE and each["transport"] is None:
                raise MediaError("the transport of a party is not gone on with", 481)
            made[party.tag] = PartyMedia(resources, call_id, party, each)
        snapshots = await resources.plane.snapshot([one.flow for one in made.values() if one.flow is not None])
        for each, media in zip(values["parties"], made.values(), strict=True):
            resume(resources, media, each, snapshots.get(media.flow or 0), times)
    except BaseException:
        for media in made.values():
            media.close()
        raise
    return list(made.values())


def resume(
    resources: Resources, party: PartyMedia, values: Mapping[str, Any], snapshot: FlowSnapshot | None, times: int
) -> None:
    """Continue a party's existing flow; raises MediaError 481 if the flow is gone.

    Text is not stored and starts again with the next description that contains text.
    """
    if values["agreed"] is not None:
        offer, answer, side = _agreed(resources, values["agreed"], times)
        party.agreed = offer, answer, side
        party.sent, party.theirs = (answer, offer) if side == "answerer" else (offer, answer)
        party.agreement = checked(lambda: negotiate(offer, answer, local=side)).first("audio")
        party.has_heard = _has_heard(values, party.agreement)
    if party.transport is None:
        return
    if snapshot is None or party.agreement is None:
        raise MediaError("the packets of the party have stopped", 481)
    party.snapshot, party.connected_after = snapshot, 0.0
    resources.flows.add(party.transport.flow, party)
    if party.webrtc is not None:
        party.webrtc.resume(values["transport"], snapshot)
    elif party.rtp is not None:
        party.rtp.resume(values["transport"], receivable(party.agreement), snapshot)
    party.mute(False)
    party.watch()


def _has_heard(values: Mapping[str, Any], agreement: MediaAgreement | None) -> bool:
    """Return the stored `heard`, or for values of an older version the present agreement to receive audio."""
    return bool(values.get("heard", agreement is not None and agreement.direction.sends))


async def renewed(resources: Resources, session: Session) -> Sequence[PartyMedia]:
    """Replace each lost party of a session by a party with a new transport; return the new parties.

    The new parties have no agreement yet. Raises MediaError and leaves the session unchanged on failure.
    """
    begun = session.lost
    made: dict[PartyMedia, PartyMedia] = {}
    try:
        for old in [party for party in begun if party in session.parties]:
            new = made[old] = PartyMedia(resources, session.call_id, old.party)
            begin_anew(new, old.former or former_of(old), resources.random)
        await opened(list(made.values()))
        if session.lost is not begun:
            raise MediaError("the packet plane ended", 503)
    except BaseException:
        for new in made.values():
            new.close()
        raise
    session.take_in_place(made)
    return list(made.values())


async def restored(resources: Resources, call_id: str, values: Mapping[str, Any], times: int = 1) -> Session:
    """Recreate a call of another process with new transports, joined as before; raises MediaError."""
    session = Session(resources, call_id)
    try:
        for each in values["parties"]:
            media = PartyMedia(resources, call_id, _party(each))
            session.take_in(media)
            if each["agreed"] is not None:
                offer, answer, side = _agreed(resources, each["agreed"], times)
                agreement = negotiate(offer, answer, local=side).first("audio")
                ours, theirs = (answer, offer) if side == "answerer" else (offer, answer)
                data, text = each.get("beside", (False, False))
                former = Former(
                    timeline=Timeline(*each["timeline"]) if "timeline" in each else media.identity.timeline,
                    sent=ours,
                    theirs=theirs,
                    spoken=codec_names(agreement),
                    video=each.get("video", ""),
                    has_data=data,
                    has_text=text,
                    has_heard=_has_heard(each, agreement),
                )
                begin_anew(media, former, resources.random)
        await opened(session.parties)
        for one, other in values["joined"]:
            first, second = session.party(one), session.party(other)
            first.joined, second.joined = second, first
    except BaseException:
        session.close()
        raise
    return session


def _party(values: Mapping[str, Any]) -> Party:
    """Return the party from stored values, with the IP version of its stored transport."""
    party = Party.of(values["party"])
    return replace(party, family=(values["transport"] or {}).get("family", party.family))
