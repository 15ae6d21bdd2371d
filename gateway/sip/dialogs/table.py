"""All dialogs of one user agent, with their usages (RFC 3261 12.2.2, RFC 5057, RFC 3891)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.sip.dialogs.dialog import Dialog, DialogId
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response

_CONNECTIONS = 100_000
"""Connections with a known device."""


@dataclass(slots=True)
class Entry:
    """Dialog with its usages, oldest first."""

    dialog: Dialog
    usages: list[DialogUsage] = field(default_factory=list)

    def claimant(self, request: Request) -> DialogUsage | None:
        """Return the usage that claims a request in the dialog."""
        return next((usage for usage in self.usages if usage.claims(request)), None)


class DialogTable:
    """Dialogs by identifier. A dialog stays here while any usage remains; the owner that admits calls bounds their
    number."""

    __slots__ = ("_entries", "_instances", "_lost")

    def __init__(self) -> None:
        self._entries: dict[DialogId, Entry] = {}
        self._lost: dict[str | None, dict[DialogId, Dialog]] = {}
        """By identity, dialogs with a connection that was or may be lost. Lost NAT bindings are never reported, and
        closed browser connections not always."""
        self._instances: dict[tuple[str, str, int], tuple[str, str]] = {}
        """Identity and instance registered on each open connection."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Add `usage` to `dialog`; adding twice is no error."""
        entry = self._entries.setdefault(dialog.id, Entry(dialog))
        if usage not in entry.usages:
            entry.usages.append(usage)
        if dialog.instance is None and dialog.flow is not None:
            identity, instance = self._instances.get(_place(dialog.flow), (None, None))
            dialog.instance = instance if identity == dialog.identity else None
        if dialog.has_lost_flow or dialog.is_behind_nat or dialog.is_by_its_connection:
            self._look_for(dialog)

    def remove(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Remove `usage` from `dialog`, and end the dialog after its last usage. An absent usage is no error."""
        entry = self._entries.get(dialog.id)
        if entry is None or usage not in entry.usages:
            return
        entry.usages.remove(usage)
        if not entry.usages:
            self._end(dialog)

    def remove_everywhere(self, usage: DialogUsage) -> None:
        """Remove `usage` from every dialog."""
        for entry in [entry for entry in self._entries.values() if usage in entry.usages]:
            self.remove(entry.dialog, usage)

    def flow_lost(self, flow: Flow) -> set[DialogUsage]:
        """Return the usages affected by the loss of a connection.

        Runs at every disconnect of any peer, so unaffected dialogs must cost little.
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
        """Apply a registration to the identity's dialogs; see `Dialog.registered` and `port_changed`. Later dialogs on
        the connection belong to the registered device."""
        if not flow.reliable:
            for dialog in self._lost.get(identity, {}).values():
                dialog.port_changed(contacts, flow)
            return
        instances = {one.instance for one in contacts if one.instance}
        if len(instances) == 1:
            self._instances[_place(flow)] = identity, instances.pop()
        if len(self._instances) > _CONNECTIONS:
            # A REGISTER answered after its connection closed leaves an entry that nothing else removes.
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
        """End all dialogs with these Call-IDs and return their usages."""
        found = [entry for name, entry in self._entries.items() if name.call_id in call_ids]
        for entry in found:
            self._end(entry.dialog)
        return {usage for entry in found for usage in entry.usages}

    def find(self, request: Request) -> Entry | None:
        """Return the dialog of a received request; None if unknown (481; an ACK is dropped)."""
        return self._entries.get(DialogId.of_request(request))

    def of_response(self, response: Response) -> tuple[DialogUsage, ...]:
        """Return the usages of the dialog to which a received response belongs; () for none."""
        entry = self._entries.get(DialogId(response.call_id, response.from_tag or "", response.to_tag or ""))
        return tuple(entry.usages) if entry is not None else ()

    def get(self, call_id: str, local_tag: str, remote_tag: str) -> Entry | None:
        """Return the dialog by name (the `to_tag` of Replaces is the local tag, RFC 3891 section 3)."""
        return self._entries.get(DialogId(call_id, local_tag, remote_tag))


def _place(flow: Flow) -> tuple[str, str, int]:
    return flow.transport, flow.host, flow.port
