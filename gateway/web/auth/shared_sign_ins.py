"""Sign-ins that several gateways have together: whoever signed in at one of them is signed in at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Protocol

import structlog
from pydantic import TypeAdapter

from gateway.errors import GatewayError
from gateway.web.auth.sign_ins import SignIn, SignIns

log = structlog.get_logger(__name__)

_ENDED = ""
_SIGN_IN = TypeAdapter(SignIn)


class SharedTexts(Protocol):
    """Texts by name, each until it expires (Unix seconds); raises GatewayError while it cannot be reached."""

    async def text(self, name: str) -> str | None:
        """What is kept under that name."""

    async def put_text(self, name: str, text: str, expires_at: float) -> None:
        """Keep it in the place of what was there."""


class SharedSignIns:
    """Has a table say what the store says, before it is asked, and the store what it says, once it has changed.

    While the store is away each gateway goes by what it knows.
    """

    def __init__(self, table: SignIns, store: SharedTexts | None = None) -> None:
        """Without a store there is nothing to do."""
        self._table = table
        self._store = store

    async def fetch(self, session_id: str) -> None:
        """Take in what others have made of a sign-in: begun, renewed or ended it."""
        if self._store is None:
            return
        try:
            text = await self._store.text(_name(session_id))
        except GatewayError as error:
            log.warning("sign-ins of other gateways are not known", reason=str(error))
            return
        if text == _ENDED:
            self._table.end(session_id)
        elif text is not None:
            try:
                self._table.take(_SIGN_IN.validate_json(text))
            except ValueError:
                log.warning("a sign-in of another gateway cannot be read")

    async def share(self, session_id: str, expires_at: float) -> None:
        """Let others know what stands of a sign-in; one that is over is remembered as such until `expires_at`."""
        if self._store is None:
            return
        try:
            for evicted in self._table.take_evicted():
                await self._store.put_text(_name(evicted.id), _ENDED, evicted.expires_at)
            entry = self._table.entry(session_id)
            if entry is None:
                await self._store.put_text(_name(session_id), _ENDED, expires_at)
            else:
                await self._store.put_text(_name(session_id), json.dumps(asdict(entry)), entry.expires_at)
        except GatewayError as error:
            log.warning("other gateways do not know of a sign-in", reason=str(error))


def _name(session_id: str) -> str:
    return f"sign-in:{session_id}"
