"""Who is announced on the JSON-RPC sockets, whatever dialect they speak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Device(Protocol):
    """One announced connection as the others see it."""

    @property
    def peer_id(self) -> str: ...

    @property
    def is_guest(self) -> bool: ...

    @property
    def listing(self) -> dict[str, Any]:
        """`capabilities`, `metadata` and `connected_at` as it announced them."""

    def sees(self, peer_id: str) -> bool:
        """Whether it is told of that peer: of whom its user may see, guests only of whom they may call, too."""

    def knows(self, peer_id: str) -> bool:
        """Whether it has a relayed session with that peer."""

    def notify_elsewhere(self) -> None:
        """A call of the same user, here or on another device, was answered, has moved or ended."""

    def notify_joined(self, device: Device) -> None: ...

    def notify_left(self, peer_id: str) -> None: ...

    def relay_offer(self, source: str, offer_id: str, sdp: str, kind: str) -> None: ...

    def relay_answer(self, source: str, sdp: str, kind: str) -> None: ...

    def relay_candidate(self, source: str, candidate: str, mid: str | None, index: int | None) -> None: ...

    def relay_disconnect(self, source: str, reason: str | None) -> None: ...


class Hub:
    """Announced peers by id. A guest has one connection; a configured user may have several."""

    def __init__(self) -> None:
        self._peers: dict[str, list[Device]] = {}

    def join(self, device: Device) -> bool:
        """Announce it and tell the others; False when a guest of that id is there already."""
        devices = self._peers.get(device.peer_id)
        if devices and (device.is_guest or devices[0].is_guest):
            return False
        if devices:
            devices.append(device)
            return True
        for other in self._devices():
            if other.sees(device.peer_id):
                other.notify_joined(device)
        self._peers[device.peer_id] = [device]
        return True

    def leave(self, device: Device) -> None:
        """Forget it, and tell the others when it was the peer's last connection."""
        devices = self._peers.get(device.peer_id, [])
        if device not in devices:
            return
        devices.remove(device)
        if devices:
            return
        del self._peers[device.peer_id]
        for other in self._devices():
            if other.sees(device.peer_id):
                other.notify_left(device.peer_id)

    def guest(self, peer_id: str) -> Device | None:
        """The guest announced under that id: offers to it are relayed, not placed."""
        devices = self._peers.get(peer_id)
        return devices[0] if devices and devices[0].is_guest else None

    def partner(self, peer_id: str, source: str) -> Device | None:
        """The connection of `peer_id` that what `source` relays is meant for."""
        for device in self._peers.get(peer_id, []):
            if device.is_guest or device.knows(source):
                return device
        return None

    def devices(self, peer_id: str) -> list[Device]:
        """Every connection of that peer."""
        return list(self._peers.get(peer_id, ()))

    def listing(self, viewer: Device) -> list[tuple[str, dict[str, Any]]]:
        """Every announced peer that `viewer` sees, with what it announced."""
        return [(peer_id, devices[0].listing) for peer_id, devices in self._peers.items() if viewer.sees(peer_id)]

    def others(self, viewer: Device) -> list[str]:
        """Ids of the announced peers that `viewer` sees, without its own."""
        return [other for other in self._peers if other != viewer.peer_id and viewer.sees(other)]

    def _devices(self) -> Iterator[Device]:
        for devices in list(self._peers.values()):
            yield from list(devices)
