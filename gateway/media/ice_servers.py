"""STUN and TURN servers for RTCPeerConnection, with passwords that end where there is a shared secret."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from gateway.config import Config
from gateway.config.webrtc import IceServer
from gateway.media.embedded.webrtc.turn import turn_credentials
from gateway.sources import source_of
from gateway.web.facade import GUEST

_MARK = 12
"""Hexadecimal digits that stand for a guest's source."""


class IceServers:
    """Servers of `web.ice_servers` and `webrtc`, as RTCIceServer objects."""

    def __init__(self, config: Config, wall_clock: Callable[[], float]) -> None:
        """`wall_clock`: Unix seconds."""
        self._servers = (*config.web.ice_servers, *config.webrtc.ice_servers)
        secret = config.webrtc.turn_secret
        self._secret = None if secret is None else secret.get_secret_value()
        self._lifetime = config.webrtc.turn_lifetime
        self._guest_lifetime = config.webrtc.turn_guest_lifetime
        self._wall_clock = wall_clock

    def told(self, user: str | None, client: str = "") -> list[dict[str, Any]]:
        """Return the servers for `user`, or for `GUEST` at the address `client`; None: for somebody who may not call.

        Without an account there is no password that stays good, and without the right to call no relay.
        """
        return [entry for server in self._servers if (entry := self._entry(server, user, client)) is not None]

    def _entry(self, server: IceServer, user: str | None, client: str) -> dict[str, Any] | None:
        entry: dict[str, Any] = {"urls": list(server.urls)}
        if server.username is not None:
            entry["username"] = server.username
        if server.credential is not None:
            is_told = user is not None and (user != GUEST or server.guests)
            return entry | {"credential": server.credential.get_secret_value()} if is_told else None
        if self._secret is None or not server.relays:
            return entry
        return None if user is None else entry | self._made(self._secret, user, client)

    def _made(self, secret: str, user: str, client: str) -> dict[str, str]:
        """Return a user name and a password that end; a guest's name is one for all requests of its source."""
        lifetime = self._lifetime
        if user == GUEST:
            lifetime = min(lifetime, self._guest_lifetime)
            user = f"guest-{hmac.digest(secret.encode(), source_of(client).encode(), 'sha256').hex()[:_MARK]}"
        name, password = turn_credentials(secret, user, int(self._wall_clock()) + lifetime)
        return {"username": name, "credential": password}
