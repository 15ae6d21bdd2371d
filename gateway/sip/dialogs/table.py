"""All dialogs of one user agent and what uses each of them (RFC 3261 12.2.2, RFC 5057, RFC 3891)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.sip.dialogs.dialog import Dialog, DialogId
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response

_CONNECTIONS = 100_000
"""Connections of which it is known which device is there."""


@dataclass(slots=True)
class Entry:
    """One dialog with its usages, the oldest first."""

    dialog: Dialog
    usages: list[DialogUsage] = field(default_factory=list)

    def claimant(self, request: Request) -> DialogUsage | None:
        """The usage that a request in the dialog is for."""
        return next((usage for usage in self.usages if usage.claims(request)), None)


class DialogTable:
    """Dialogs by identifier. A dialog is in here as long as it has a usage; how many there are is for its owner
    to bound, who lets calls in."""

    __slots__ = ("_entries", "_instances", "_lost")

    def __init__(self) -> None:
        self._entries: dict[DialogId, Entry] = {}
        self._lost: dict[str | None, dict[DialogId, Dialog]] = {}
        """By whose they are, those whose connection was lost (it may have been found again since), or may be: of a NAT
        nothing tells, of a browser not always."""
        self._instances: dict[tuple[str, str, int], tuple[str, str]] = {}
        """By the connections that are up, who has registered there, and with which device."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Have `usage` take part in `dialog`; once more is no error."""
        entry = self._entries.setdefault(dialog.id, Entry(dialog))
        if usage not in entry.usages:
            entry.usages.append(usage)
        if dialog.instance is None and dialog.flow is not None:
            identity, instance = self._instances.get(_place(dialog.flow), (None, None))
            dialog.instance = instance if identity == dialog.identity else None
        if dialog.has_lost_flow or dialog.is_behind_nat or dialog.is_by_its_connection:
            self._look_for(dialog)

    def remove(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Take `usage` out of `dialog`; the last one out ends it. One that is not there is no error."""
        entry = self._entries.get(dialog.id)
        if entry is None or usage not in entry.usages:
            return
        entry.usages.remove(usage)
        if not entry.usages:
            self._end(dialog)

    def remove_everywhere(self, usage: DialogUsage) -> None:
        """Take `usage` out of every dialog."""
        for entry in [entry for entry in self._entries.values() if usage in entry.usages]:
            self.remove(entry.dialog, usage)

    def flow_lost(self, flow: Flow) -> set[DialogUsage]:
        """A connection is gone: what uses the dialogs with who was there, and is to be told.

        Anybody may connect and be gone, so this is quick about all other dialogs.
        """
        host, port = flow.host, flow.port
        self._instances.pop(_place(flow), None)
        entries = self._entries.values()
        found = [one for one in entries if (at := one.dialog.flow) is not None and at.port == port and at.host == host]
        for entry in found:
            self._look_for(entry.dialog)
        found += [one for one in entries if one.dialog.is_asked_at(host, port)]
        return {usage for entry in found for usage in entry.usages}

    def registered(self, identity: str, contacts: Collection[NameAddr], flow: Flow) -> None:
        """See `Dialog.registered` and `port_changed`. Dialogs that are made on this connection hereafter are with that
        device.
        """
        if not flow.reliable:
            for dialog in self._lost.get(identity, {}).values():
                dialog.port_changed(contacts, flow)
            return
        instances = {one.instance for one in contacts if one.instance}
        if len(instances) == 1:
            self._instances[_place(flow)] = identity, instances.pop()
        if len(self._instances) > _CONNECTIONS:
            # Whose REGISTER is answered after its connection has gone is forgotten by nobody else.
            del self._instances[next(iter(self._instances))]
        for dialog in tuple(self._lost.get(identity, {}).values()):
            dialog.registered(identity, contacts, flow)
            if not dialog.has_lost_flow and not dialog.is_behind_nat and not dialog.is_by_its_connection:
                self._look_no_more(dialog)

    def _look_for(self, dialog: Dialog) -> None:
        self._lost.setdefault(dialog.identity, {})[dialog.id] = dialog

    def _look_no_more(self, dialog: Dialog) -> None:
        lost = self._lost.get(dialog.identity, {})
        lost.pop(dialog.id, None)
        if not lost:
            self._lost.pop(dialog.identity, None)

    def _end(self, dialog: Dialog) -> None:
        del self._entries[dialog.id]
        self._look_no_more(dialog)
        dialog.terminate()

    def forget(self, call_ids: Collection[str]) -> set[DialogUsage]:
        """Have no dialog of these Call-IDs any more; what used them."""
        found = [entry for name, entry in self._entries.items() if name.call_id in call_ids]
        for entry in found:
            self._end(entry.dialog)
        return {usage for entry in found for usage in entry.usages}

    def find(self, request: Request) -> Entry | None:
        """The dialog that a received request belongs to, None when there is none (481; an ACK is dropped)."""
        return self._entries.get(DialogId.of_request(request))

    def of_response(self, response: Response) -> tuple[DialogUsage, ...]:
        """What uses the dialog in which a received response answers us; () where there is none."""
        entry = self._entries.get(DialogId(response.call_id, response.from_tag or "", response.to_tag or ""))
        return tuple(entry.usages) if entry is not None else ()

    def get(self, call_id: str, local_tag: str, remote_tag: str) -> Entry | None:
        """The dialog of that name (Replaces: its `to_tag` is the local one, RFC 3891 section 3)."""
        return self._entries.get(DialogId(call_id, local_tag, remote_tag))


def _place(flow: Flow) -> tuple[str, str, int]:
    return flow.transport, flow.host, flow.port
