"""The gateway's HTTP interface for rooms, by the standard library alone."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from typing import Any

from gateway import GatewayError


class Rooms:
    """/api/rooms in the name of one user."""

    def __init__(self, page_url: str, user: str, password: str) -> None:
        self._url = f"{page_url}api/rooms/"
        self._basic = base64.b64encode(f"{user}:{password}".encode()).decode()

    async def members(self, room: str) -> dict[str, dict[str, Any]]:
        """Who is in the room, by user; empty where there is no such room."""
        status, said = await asyncio.to_thread(self._ask, room, None)
        if status not in (200, 404):
            raise GatewayError(f"the gateway says {status}, not who is in {room}")
        return {one["user"]: one for one in said["members"]} if status == 200 else {}

    async def change(self, room: str, action: str, member: str = "") -> int:
        """mute, unmute, kick (a member's id), lock, unlock; the status."""
        status, _ = await asyncio.to_thread(self._ask, room, {"action": action, "member": member})
        return status

    def _ask(self, room: str, body: dict[str, str] | None) -> tuple[int, Any]:
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self._url + room, data, headers), timeout=8) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None
