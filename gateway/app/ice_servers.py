"""STUN and TURN servers for RTCPeerConnection, with passwords that end where there is a shared secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.config import Config
from gateway.config.webrtc import IceServer
from gateway.media.embedded.webrtc.turn import turn_credentials


class IceServers:
    """Those of `web.ice_servers` and `webrtc`, as RTCIceServer objects."""

    def __init__(self, config: Config, wall_clock: Callable[[], float]) -> None:
        """`wall_clock`: Unix seconds."""
        self._servers = (*config.web.ice_servers, *config.webrtc.ice_servers)
        secret = config.webrtc.turn_secret
        self._secret = None if secret is None else secret.get_secret_value()
        self._lifetime = config.webrtc.turn_lifetime
        self._wall_clock = wall_clock

    def told(self, user: str | None) -> list[dict[str, Any]]:
        """What `user` is told; None: who may not call, and is told of no relay that would cost us something."""
        return [entry for server in self._servers if (entry := self._entry(server, user)) is not None]

    def _entry(self, server: IceServer, user: str | None) -> dict[str, Any] | None:
        entry: dict[str, Any] = {"urls": list(server.urls)}
        if server.username is not None:
            entry["username"] = server.username
        if server.credential is not None:
            return entry | {"credential": server.credential.get_secret_value()}
        if self._secret is None or not server.relays:
            return entry
        if user is None:
            return None
        expires = int(self._wall_clock()) + self._lifetime
        return entry | dict(zip(("username", "credential"), turn_credentials(self._secret, user, expires), strict=True))
