"""Calls that go on to somebody else: what a 3xx names, and what the next callee is told (RFC 5806, 7044, 3325)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.call.leg import Address, Diversion
from gateway.sip.errors import SipError
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri

_CONTACTS = 8
"""Contacts of one 3xx that are looked at."""
_USE_PROXY = 305
_STATUS = {
    "unconditional": 302,
    "user-busy": 486,
    "no-answer": 408,
    "unavailable": 480,
    "do-not-disturb": 480,
}
"""The SIP status that stands for each reason of a diversion (RFC 4458)."""


def redirections(status: int, contacts: Sequence[NameAddr], called: str) -> tuple[str, ...]:
    """Whom to ask instead of `called`, best q first; of a 305 the same user at each proxy that it names.

    Going through the proxy with the Request-URI as it was would call whom nobody could hold against a caller's
    rights, so its host becomes the proxy's.
    """
    ranked = sorted(contacts[:_CONTACTS], key=_rank)
    if status != _USE_PROXY:
        return tuple(str(contact.uri.without_headers()) for contact in ranked)
    user = Uri.parse(called).user
    return tuple(str(Uri.of(user, contact.uri.host, contact.uri.port)) for contact in ranked if user)


def _rank(contact: NameAddr) -> float:
    try:
        return -contact.q
    except SipError:
        return 0.0


def caller_fields(caller: Address, to: str, *, known: bool, asserts: bool) -> list[tuple[str, object]]:
    """What `to` is told of the caller beside From, each to those alone who may know.

    `known`: one of ours or a trunk; to strangers a diversion would tell who was called before. `asserts`: trusted with
    who the caller is, also where that is hidden from who is called (RFC 3325).
    """
    fields = diversion_fields(caller.diversions, to) if known else []
    if asserts:
        who = NameAddr(Uri.parse(caller.asserted or caller.uri), "" if caller.asserted else caller.display_name)
        fields.append(("P-Asserted-Identity", who))
        if caller.asserted:
            fields.append(("Privacy", "id"))
    return fields


def diversion_fields(diversions: Sequence[Diversion], to: str) -> list[tuple[str, object]]:
    """Diversion, the latest first, and History-Info, the first first and ending with who is asked now."""
    fields: list[tuple[str, object]] = [("Diversion", f"<{one.uri}>;reason={one.reason}") for one in diversions]
    index = "1"
    for one in reversed(diversions):
        fields.append(_entry(f"{one.uri}?Reason=SIP%3Bcause%3D{_STATUS.get(one.reason, 302)}", index))
        index += ".1"
    if diversions:
        fields.append(_entry(str(Uri.parse(to).without_headers()), index))
    return fields


def _entry(uri: str, index: str) -> tuple[str, object]:
    """One hi-entry; `mp` says that another user took the place of the one before (RFC 7044 section 5.3)."""
    before = index.rpartition(".")[0]
    return "History-Info", f"<{uri}>;index={index}" + (f";mp={before}" if before else "")
