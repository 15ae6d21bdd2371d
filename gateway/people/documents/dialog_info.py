"""Calls of a user for busy lamp fields (dialog-info, RFC 4235 section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.people.dialogs import UserDialog
from gateway.people.documents.xml import DECLARATION, attribute, text

CONTENT_TYPE = "application/dialog-info+xml"

_NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"


def write(entity: str, dialogs: Sequence[UserDialog], version: int, *, is_full: bool) -> bytes:
    """Return the full state of `entity`, a SIP URI. Without `is_full`, parties and dialog names are left out."""
    inside = "".join(_dialog(entity, one, is_full) for one in dialogs)
    if not dialogs:
        # Phones keep the lamp on after a document without any dialog.
        inside = '<dialog id="none"><state>terminated</state></dialog>\n'
    return (
        f'{DECLARATION}<dialog-info xmlns="{_NAMESPACE}" version="{version}" state="full" entity={attribute(entity)}>\n'
        f"{inside}</dialog-info>\n"
    ).encode()


def _dialog(entity: str, dialog: UserDialog, is_full: bool) -> str:
    names = parties = ""
    if is_full:
        if dialog.name is not None:
            names = (
                f" call-id={attribute(dialog.name.call_id)} local-tag={attribute(dialog.name.local_tag)}"
                f" remote-tag={attribute(dialog.name.remote_tag)}"
            )
        shown = f" display={attribute(dialog.remote_name)}" if dialog.remote_name else ""
        parties = (
            f"<local><identity>{text(entity)}</identity><target uri={attribute(entity)}/></local>"
            f"<remote><identity{shown}>{text(dialog.remote_uri)}</identity>"
            f"<target uri={attribute(entity)}/></remote>"
        )
    direction = "initiator" if dialog.is_caller else "recipient"
    return (
        f'<dialog id={attribute(dialog.id)}{names} direction="{direction}">'
        f"<state>{dialog.progress.value}</state>{parties}</dialog>\n"
    )
