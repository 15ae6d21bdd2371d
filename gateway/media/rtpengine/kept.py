"""What another process needs to go on with a call at the daemon, as JSON can hold it, without any SRTP key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.media.engine import Party
from gateway.media.rtpengine.call import CallState, PartyState
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.profiles import Policy
from sdp import SessionDescription

VERSION = 1


def values_of(call: CallState) -> dict[str, Any] | None:
    """None for a call that is not agreed."""
    if not call.joined or call.joined not in call.exchanges or call.closed:
        return None
    exchange = [{**request} for request in call.exchanges[call.joined]]
    return {
        "rtpengine": VERSION,
        "host": list(call.host.address),
        "name": call.name,
        "isolated": call.isolated,
        "digits": call.digits,
        # Descriptions with keys are not written down: the next process asks for others where it needs them.
        "exchange": [] if any(_has_keys(str(request["sdp"])) for request in exchange) else exchange,
        "parties": [_party_values(call.parties[tag]) for tag in sorted(call.joined)],
    }


def _party_values(state: PartyState) -> dict[str, Any]:
    said = None if state.said is None else str(state.said)
    return {
        "party": state.party.values(),
        "said": None if said is None or _has_keys(said) else said,
        "transport": list(state.transport),
        "codec": state.codec,
        "holds": state.holds,
        "narrowed": state.narrowed,
    }


def resumed(call_id: str, values: Mapping[str, Any], host: NgHost, policy: Policy, now: float) -> CallState:
    """The call that these values are of; raises KeyError, TypeError or ValueError for what they cannot be."""
    if values["rtpengine"] != VERSION:
        raise ValueError("values of another version")
    call = CallState(call_id, host, values["name"], answered_at=now, isolated=values["isolated"])
    for each in values["parties"]:
        state = call.party(Party.of(each["party"]), now)
        state.said = None if each["said"] is None else SessionDescription.parse(each["said"])
        state.transport, state.codec, state.holds = tuple(each["transport"]), each["codec"], each["holds"]
        state.narrow(each.get("narrowed", False))
    call.joined = frozenset(call.parties)
    # Older records do not say what the daemon was told.
    call.digits = values.get("digits", policy.numbers(*(state.party for state in call.parties.values())))
    if values["exchange"]:
        offer, answer = values["exchange"]
        call.exchanges[call.joined] = (offer, answer)
    return call


def _has_keys(text: str) -> bool:
    return "a=crypto:" in text
