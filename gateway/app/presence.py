"""Which web users have a page open, and how they look to each other."""

from __future__ import annotations

from gateway.web.facade import WebChannel


class Presence:
    """Channels by user id; a user with several pages has several, in order of arrival."""

    def __init__(self, limit: int = 20) -> None:
        self._channels: dict[str, list[WebChannel]] = {}
        self._limit = limit

    def connect(self, user_id: str, channel: WebChannel) -> None:
        """Make `user_id` reachable through `channel`; beyond the limit the oldest page stops ringing."""
        channels = self._channels.setdefault(user_id, [])
        if channel not in channels:
            channels.append(channel)
            del channels[: -self._limit]

    def disconnect(self, user_id: str, channel: WebChannel) -> None:
        channels = self._channels.get(user_id, [])
        if channel in channels:
            channels.remove(channel)
        if not channels:
            self._channels.pop(user_id, None)

    def channels(self, user_id: str) -> tuple[WebChannel, ...]:
        return tuple(self._channels.get(user_id, ()))

    def __len__(self) -> int:
        return len(self._channels)
