"""Who is announced on the JSON-RPC sockets, whatever dialect they speak."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any, Protocol

from gateway.identity.model import User

_MAX_RELAYED = 64


class RelayedSessions:
    """Devices with which one device has a relayed session, the latest 64."""

    def __init__(self, user_id: str | None) -> None:
        """`user_id` None: a guest's, whose connection alone has the session, not the next guest of its name."""
        self.key: Hashable = user_id or object()
        """Name of the device in the sessions of others."""
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def knows(self, key: Hashable) -> bool:
        """Return whether there is a session with that device."""
        return key in self._keys

    def add(self, key: Hashable) -> None:
        """Keep a session, and drop the one unused for longest where there are too many."""
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > _MAX_RELAYED:
            self._keys.popitem(last=False)


class Device(Protocol):
    """One announced connection as the others see it."""

    @property
    def peer_id(self) -> str: ...

    @property
    def is_guest(self) -> bool: ...

    @property
    def user(self) -> User | None: ...

    @property
    def listing(self) -> dict[str, Any]:
        """`capabilities`, `metadata` and `connected_at` as it announced them."""

    @property
    def dialect_name(self) -> str:
        """Devices of one dialect are told the same text."""

    @property
    def relayed(self) -> RelayedSessions: ...

    def notify_elsewhere(self) -> None:
        """A call of the same user, here or on another device, was answered, has moved or ended."""

    def joined_text(self, device: Device) -> str:
        """How it is told that `device` is there."""

    def left_text(self, peer_id: str) -> str:
        """How it is told that nobody of that id is there any more."""

    def tell_text(self, text: str) -> None:
        """Send a text of these."""

    def relay_offer(self, source: Device, offer_id: str, sdp: str, kind: str) -> None: ...

    def relay_answer(self, source: str, sdp: str, kind: str) -> None: ...

    def relay_candidate(self, source: str, candidate: str, mid: str | None, index: int | None) -> None: ...

    def relay_disconnect(self, source: str, reason: str | None) -> None: ...


class Sight(Protocol):
    """Who may be told of whom (see `facade.Gateway`)."""

    @property
    def visibility(self) -> Hashable: ...

    def may_see(self, user: User, peer_id: str) -> bool: ...

    def may_call(self, user: User, target: str) -> bool: ...


class _Audience:
    """Connections that are told of the same peers, each beside its own: whoever sees is judged once for all of them."""

    def __init__(self, device: Device) -> None:
        user = device.user
        assert user is not None  # it is announced
        self._is_guest = device.is_guest
        # Somebody with the same rights, and nobody's id.
        self._watcher = User("", may_call=user.may_call, pickup_groups=user.pickup_groups)
        self.devices: dict[Device, None] = {}
        self.seen: dict[str, None] = {}

    @staticmethod
    def key(device: Device) -> Hashable:
        """Equal for those of one audience: users see by their groups, guests only of whom they may call, too."""
        user = device.user
        assert user is not None
        return device.is_guest, frozenset(user.pickup_groups), user.may_call if device.is_guest else ()

    def look(self, sight: Sight, peer_ids: Iterable[str]) -> None:
        """See those of these peers that it may."""
        for peer_id in peer_ids:
            if sight.may_see(self._watcher, peer_id) and (not self._is_guest or sight.may_call(self._watcher, peer_id)):
                self.seen[peer_id] = None


class Hub:
    """Announced peers by id. A guest has one connection; a configured user may have several.

    An announcement costs the audiences there are, and those who are told of it: not everybody who is there.
    """

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._visibility = sight.visibility
        self._peers: dict[str, dict[Device, None]] = {}
        self._audiences: dict[Hashable, _Audience] = {}

    def join(self, device: Device) -> bool:
        """Announce it and tell the others; False when a guest of that id is there already."""
        devices = self._peers.get(device.peer_id)
        if devices and (device.is_guest or next(iter(devices)).is_guest):
            return False
        self._look_again()
        audience = self._audience(device)
        if devices is None:
            self._appear(device)
        self._peers.setdefault(device.peer_id, {})[device] = None
        audience.devices[device] = None
        return True

    def _appear(self, device: Device) -> None:
        """The first connection of its peer: those who may see it are told."""
        texts: dict[str, str] = {}
        for audience in self._audiences.values():
            audience.look(self._sight, (device.peer_id,))
            if device.peer_id in audience.seen:
                for other in audience.devices:
                    dialect = other.dialect_name
                    text = texts.get(dialect) or texts.setdefault(dialect, other.joined_text(device))
                    other.tell_text(text)

    def leave(self, device: Device) -> None:
        """Forget it, and tell the others when it was the peer's last connection."""
        devices = self._peers.get(device.peer_id, {})
        if device not in devices:
            return
        del devices[device]
        audience = self._audience(device)
        audience.devices.pop(device, None)
        if not audience.devices:
            del self._audiences[_Audience.key(device)]
        if devices:
            return
        del self._peers[device.peer_id]
        texts: dict[str, str] = {}
        for audience in self._audiences.values():
            if device.peer_id in audience.seen:
                del audience.seen[device.peer_id]
                for other in audience.devices:
                    dialect = other.dialect_name
                    text = texts.get(dialect) or texts.setdefault(dialect, other.left_text(device.peer_id))
                    other.tell_text(text)

    def _audience(self, device: Device) -> _Audience:
        key = _Audience.key(device)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = _Audience(device)
            audience.look(self._sight, self._peers)
        return audience

    def _look_again(self) -> None:
        """Rights may be others since a reload: who sees whom is judged anew."""
        if self._visibility != self._sight.visibility:
            self._visibility = self._sight.visibility
            for audience in self._audiences.values():
                audience.seen.clear()
                audience.look(self._sight, self._peers)

    def reach(self, source: Device, peer_id: str, *, begins: bool) -> Device | None:
        """Return the device that takes what `source` relays to `peer_id`; None: nobody in reach, announced or not.

        A guest that `source` may call; what does not begin a session (`begins`) also reaches who has begun one.
        """
        may_call = source.user is not None and self._sight.may_call(source.user, peer_id)
        for device in self._peers.get(peer_id, ()):
            if (may_call and device.is_guest) or (not begins and device.relayed.knows(source.relayed.key)):
                source.relayed.add(device.relayed.key)
                return device
        return None

    def devices(self, peer_id: str) -> list[Device]:
        """Every connection of that peer."""
        return list(self._peers.get(peer_id, ()))

    def listing(self, viewer: Device) -> list[tuple[str, dict[str, Any]]]:
        """Every announced peer that `viewer` sees, itself among them, with what it announced."""
        shown = dict.fromkeys([*self._seen_by(viewer), viewer.peer_id])
        return [(peer_id, next(iter(self._peers[peer_id])).listing) for peer_id in shown if peer_id in self._peers]

    def others(self, viewer: Device) -> list[str]:
        """Ids of the announced peers that `viewer` sees, without its own."""
        return [other for other in self._seen_by(viewer) if other != viewer.peer_id]

    def _seen_by(self, viewer: Device) -> Iterable[str]:
        self._look_again()
        return self._audience(viewer).seen
