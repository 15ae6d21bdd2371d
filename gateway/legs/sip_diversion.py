"""Diverted and redirected calls: targets of a 3xx, and header fields for the next callee (RFC 5806, 7044, 3325)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from gateway.call.leg import Address, Diversion, HistoryEntry
from gateway.legs.sip_sessions import Shown
from gateway.sip.errors import SipError
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message, Request
from gateway.sip.message.uri import Uri, unescape

_CONTACTS = 8
"""Largest number of Contacts read in a 3xx."""
_USE_PROXY = 305
_STATUS = {
    "unconditional": 302,
    "user-busy": 486,
    "no-answer": 408,
    "unavailable": 480,
    "do-not-disturb": 480,
}
"""SIP status for each reason of a diversion (RFC 4458)."""
_REASONS = frozenset(_STATUS)
_SHOWN = frozenset(("none",))
ANONYMOUS = "sip:anonymous@anonymous.invalid"
_ENTRIES = 8
"""Largest number of Diversion, History-Info and Privacy values read."""
_INDEX = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,15}")
_WAYS = ("rc", "mp", "np")
_HIDES_HISTORY = frozenset(("history", "header", "session"))


def hidden(address: Address) -> Address:
    """Return the anonymous form of an address, which keeps the real URI as `asserted`."""
    return Address(ANONYMOUS, "Anonymous", asserted=address.uri)


def shows_itself(message: Message) -> bool:
    """Return True if the sender explicitly waives privacy (`Privacy: none`, RFC 3323 section 4.2)."""
    return is_private(message.headers.all("Privacy"), _SHOWN)


def redirections(status: int, contacts: Sequence[NameAddr], called: str) -> tuple[str, ...]:
    """Return redirection targets, best q first; for a 305, the same user at each proxy.

    A call through the proxy with the old Request-URI could evade the caller's permissions, so the proxy's host replaces
    the host.
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


def caller_fields(caller: Address, to: str, shown: Shown) -> list[tuple[str, object]]:
    """Return caller header fields of an INVITE beside From, within the callee's rights."""
    fields = history_fields(caller, to, shown) if shown.is_known else []
    fields += identity_fields(caller, shown) if not shown.is_user else []
    return fields + (list(caller.signed) if shown.signed and (_knows(shown) or not _hides(caller)) else [])


def _knows(shown: Shown) -> bool:
    """Return True for a trunk trusted with identities, and so with earlier callees."""
    return shown.is_trunk and shown.asserts


def _hides(caller: Address) -> bool:
    """Return True if a signature, which covers caller and first callee, would reveal a private address."""
    was_called = any(one.is_private for one in caller.diversions) or any(one.is_private for one in caller.history)
    return bool(caller.asserted) or was_called


def identity_fields(who: Address, shown: Shown) -> list[tuple[str, object]]:
    """Return P-Asserted-Identity or P-Preferred-Identity with Privacy (RFC 3325).

    Users' phones get the field for changes during a call only: the initial caller is in From.
    """
    is_told = shown.asserts or (shown.is_user and not who.asserted)
    name = NameAddr(Uri.parse(who.asserted or who.uri), "" if who.asserted else who.display_name)
    fields: list[tuple[str, object]] = []
    if is_told:
        fields.append(("P-Asserted-Identity", name))
    elif shown.prefers:
        fields.append(("P-Preferred-Identity", name))
    if fields and who.asserted:
        fields.append(("Privacy", "id"))
    return fields


def history_fields(caller: Address, to: str, shown: Shown) -> list[tuple[str, object]]:
    """Return Diversion, latest first, and History-Info, earliest first, ending with the current target.

    Received entries come first and numbering continues (RFC 7044 section 10.3). Private entries go only to trusted
    trunks, marked private.
    """
    knows = _knows(shown)
    fields: list[tuple[str, object]] = [
        ("Diversion", f"<{one.uri}>;reason={one.reason}{';privacy=full' if one.is_private else ''}")
        for one in caller.diversions
        if knows or not one.is_private
    ]
    entries = list(caller.history)
    last = Uri.parse(entries[-1].uri) if entries else None
    unsaid = [(one, Uri.parse(one.uri)) for one in reversed(caller.diversions) if not one.in_history]
    ours = [(one, uri) for one, uri in unsaid if uri.is_sip]  # History-Info needs a SIP URI to carry the Reason
    if not ours and last is None:
        return fields
    for number, (one, uri) in enumerate(ours):
        if number == 0 and last is not None and last.user == uri.user:
            entries[-1] = replace(entries[-1], uri=_with_reason(last, one))
        else:
            entries.append(_next(entries, _with_reason(uri, one), "mp", is_private=one.is_private))
    now = Uri.parse(to).without_headers()
    way = "mp" if ours else "rc" if shown.is_user else "np" if last is not None and last.user == now.user else "mp"
    entries.append(_next(entries, str(now), way))
    fields += [("History-Info", _entry(one, knows=knows)) for one in entries]
    if knows and any(one.is_private for one in entries):
        fields.append(("Privacy", "history"))
    return fields


def _next(entries: Sequence[HistoryEntry], uri: str, way: str, *, is_private: bool = False) -> HistoryEntry:
    """Return the next entry; `mp` marks a change of user (RFC 7044 section 5.3)."""
    if not entries:
        return HistoryEntry(uri, "1", is_private=is_private)
    before = entries[-1].index
    return HistoryEntry(uri, f"{before}.1", f"{way}={before}", is_private)


def _entry(one: HistoryEntry, *, knows: bool) -> str:
    uri = ANONYMOUS if one.is_private and not knows else one.uri
    return f"<{uri}>;index={one.index}" + (f";{one.change}" if one.change else "")


def _with_reason(uri: Uri, one: Diversion) -> str:
    return f"{uri.without_headers()}?Reason=SIP%3Bcause%3D{_STATUS.get(one.reason, 302)}"


def read_history(request: Request) -> tuple[HistoryEntry, ...]:
    """Return a trunk's History-Info; () if any entry has no usable index."""
    hidden = is_private(request.headers.all("Privacy"), _HIDES_HISTORY)
    found = []
    for one in request.history_info[:_ENTRIES]:
        index = one.param("index") or ""
        if not one.uri.is_sip or not _INDEX.fullmatch(index):
            return ()
        ways = [f"{way}={value}" for way in _WAYS if _INDEX.fullmatch(value := one.param(way) or "")]
        own = [unescape(value) for name, value in one.uri.headers if name.lower() == "privacy"]
        kept = tuple((name, value) for name, value in one.uri.headers if name.lower() == "reason")
        uri = str(replace(one.uri, headers=kept))
        private = hidden or is_private(own, _HIDES_HISTORY)
        found.append(HistoryEntry(uri, index, ways[0] if ways else "", private))
    return tuple(found)


def read_diversions(request: Request) -> tuple[Diversion, ...]:
    """Return a trunk's Diversion values, latest first; unregistered reasons become "unknown"."""
    in_history = "History-Info" in request.headers
    return tuple(
        Diversion(
            str(one.uri.without_headers()),
            reason if (reason := (one.param("reason") or "").lower()) in _REASONS else "unknown",
            is_private=(one.param("privacy") or "off").lower() != "off",
            in_history=in_history,
        )
        for one in request.diversion[:_ENTRIES]
    )


def is_private(fields: Sequence[str], kinds: frozenset[str]) -> bool:
    """Return True if Privacy (RFC 3323) holds one of these values."""
    values = ";".join(fields[:_ENTRIES]).lower().replace(",", ";").split(";")
    return not kinds.isdisjoint(value.strip() for value in values)
