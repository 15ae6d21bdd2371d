"""Serialised dialogs, for another process to resume (RFC 3261 section 12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.sip.dialogs.dialog import Dialog, DialogId, DialogState
from gateway.sip.flow import RELIABLE, WEBSOCKET, Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri

CSEQ_JUMP = 1000
"""Increment of the local CSeq at a resumption, for requests sent after the values were written."""


def values_of(dialog: Dialog) -> dict[str, Any]:
    """Return the JSON values for `dialog_of`."""
    name = dialog.id
    return {
        "id": [name.call_id, name.local_tag, name.remote_tag],
        "local": str(dialog.local),
        "remote": str(dialog.remote),
        "target": str(dialog.remote_target),
        "routes": [str(route) for route in dialog.route_set],
        "local_cseq": dialog.local_cseq,
        "remote_cseq": dialog.remote_cseq,
        "is_initiator": dialog.is_initiator,
        "contact": None if dialog.contact is None else str(dialog.contact),
        "secure": dialog.secure,
        "flow": None if dialog.flow is None else str(dialog.flow),
        "is_direct": dialog.is_direct,
        "is_by_flow": dialog.is_by_flow,
        "identity": dialog.identity,
        "instance": dialog.instance,
        "device": None if dialog.device is None else str(dialog.device),
    }


def dialog_of(values: Mapping[str, Any]) -> Dialog:
    """Restore the confirmed dialog, with a local CSeq beyond any sent, and its connection marked as lost.

    Raise KeyError, ValueError, TypeError or SipError for values not made by `values_of`.
    """
    contact, flow = values["contact"], values["flow"]
    dialog = Dialog(
        id=DialogId(*values["id"]),
        local=NameAddr.parse(values["local"]),
        remote=NameAddr.parse(values["remote"]),
        remote_target=Uri.parse(values["target"]),
        route_set=tuple(NameAddr.parse(route) for route in values["routes"]),
        local_cseq=(values["local_cseq"] or 0) + CSEQ_JUMP,
        remote_cseq=values["remote_cseq"],
        is_initiator=values["is_initiator"],
        contact=None if contact is None else NameAddr.parse(contact),
        secure=values["secure"],
        state=DialogState.CONFIRMED,
        flow=None if flow is None else Flow.parse(flow),
    )
    dialog.is_direct, dialog.identity = values["is_direct"], values["identity"]
    dialog.instance = values.get("instance")
    if values.get("is_by_flow", False):
        dialog.go_by_flow()
    dialog.asked_before = dialog.remote_cseq
    if device := values.get("device"):
        dialog.device = Uri.parse(device)
    if dialog.flow is not None and dialog.flow.transport in RELIABLE:
        dialog.flow_lost(dialog.flow)
    return dialog


def is_by_websocket(values: Mapping[str, Any]) -> bool:
    """Return True if the peer was a browser on WebSocket, which alone can reconnect."""
    return values["flow"] is not None and Flow.parse(values["flow"]).transport in WEBSOCKET
