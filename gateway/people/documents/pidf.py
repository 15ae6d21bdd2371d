"""Presence documents (PIDF, RFC 3863) with the activities of RPID (RFC 4480)."""

from __future__ import annotations

from gateway.people.documents.xml import DECLARATION, DocumentError, attribute, read, text
from gateway.people.presence import Activity, PresenceState
from gateway.plain import plain_name

CONTENT_TYPE = "application/pidf+xml"

_PIDF = "urn:ietf:params:xml:ns:pidf"
_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
_RPID = "urn:ietf:params:xml:ns:pidf:rpid"
_RPID_OF = {Activity.AWAY: "away", Activity.BUSY: "busy", Activity.ON_THE_PHONE: "on-the-phone"}
_NOTES = {Activity.AWAY: "Away", Activity.BUSY: "Busy", Activity.ON_THE_PHONE: "On the phone"}
"""Notes for phones without RPID."""
_ACTIVITIES = {
    "on-the-phone": Activity.ON_THE_PHONE,
    "busy": Activity.BUSY,
    "meeting": Activity.BUSY,
    "appointment": Activity.BUSY,
    "presentation": Activity.BUSY,
    "away": Activity.AWAY,
    "holiday": Activity.AWAY,
    "vacation": Activity.AWAY,
    "meal": Activity.AWAY,
    "sleeping": Activity.AWAY,
    "permanent-absence": Activity.AWAY,
    "in-transit": Activity.AWAY,
    "travel": Activity.AWAY,
}
_MAX_NOTE = 256


def write(entity: str, state: PresenceState) -> bytes:
    """Return the document about `entity`, a SIP URI."""
    note = state.note or _NOTES.get(state.activity, "")
    activity = _RPID_OF.get(state.activity)
    inside = f"<rpid:activities><rpid:{activity}/></rpid:activities>" if activity else ""
    person_note = f"<dm:note>{text(note)}</dm:note>" if note else ""
    tuple_note = f"<note>{text(note)}</note>" if note else ""
    basic = "open" if state.is_open else "closed"
    return (
        f'{DECLARATION}<presence xmlns="{_PIDF}" xmlns:dm="{_MODEL}" xmlns:rpid="{_RPID}"'
        f" entity={attribute(entity)}>\n"
        f'<tuple id="gateway"><status><basic>{basic}</basic></status><contact>{text(entity)}</contact>'
        f"{tuple_note}</tuple>\n"
        f'<dm:person id="person">{inside}{person_note}</dm:person>\n'
        "</presence>\n"
    ).encode()


def parse(document: bytes) -> PresenceState:
    """Return the state published by a phone, open if any tuple is open; raises DocumentError."""
    root = read(document)
    if root.tag != f"{{{_PIDF}}}presence":
        raise DocumentError("the document is no PIDF")
    basics = [(one.text or "").strip() for one in root.iterfind(f"{{{_PIDF}}}tuple/{{{_PIDF}}}status/{{{_PIDF}}}basic")]
    if any(basic not in ("open", "closed") for basic in basics):
        raise DocumentError("a basic status is neither open nor closed")
    notes = [one.text or "" for one in root.iter() if one.tag in (f"{{{_PIDF}}}note", f"{{{_MODEL}}}note")]
    note = next((one for one in (plain_name(" ".join(each.split()), _MAX_NOTE) for each in notes) if one), "")
    if basics and "open" not in basics:
        return PresenceState(Activity.OFFLINE, note)
    names = {child.tag for one in root.iter(f"{{{_RPID}}}activities") for child in one}
    found = {_ACTIVITIES[name] for name in _ACTIVITIES if f"{{{_RPID}}}{name}" in names}
    for activity in (Activity.ON_THE_PHONE, Activity.BUSY, Activity.AWAY):
        if activity in found:
            return PresenceState(activity, note)
    return PresenceState(Activity.AVAILABLE, note)
