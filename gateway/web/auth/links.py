"""Links by which somebody without an account may call one number: whom, until when, how often."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.web.auth.tokens import TokenError, sign_link, verify_link

_LINK, _KEY = "link:", "links-key"
_KEY_BYTES = 32
MAX_USES = 1_000
_MAX_LINKS, _MAX_LINKS_PER_USER = 10_000, 100


class LinkStore(Protocol):
    """The directory of the identity store (gateway.identity.store.IdentityStore)."""

    async def entries(self) -> Mapping[str, str]: ...

    async def put_entry(self, name: str, text: str | None, *, new: bool = False) -> bool: ...


class LinkError(GatewayError):
    """A link that is not made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What one link is good for. Times are Unix seconds."""

    id: str
    to: str
    """Whom it calls."""
    by: str
    """Id of the user who made it."""
    name: str = ""
    """What the called one sees as the caller's name."""
    until: int
    uses: int = 0
    """Calls in all; 0: any number."""


class GuestLinks:
    """Kept in the store of identities: every gateway of it takes the same links and counts their calls together."""

    def __init__(
        self, store: LinkStore, issuer: str, lifetime: float, clock: Callable[[], float], random: Callable[[int], bytes]
    ) -> None:
        """`lifetime` is the longest a link may be good for (s)."""
        self.lifetime = lifetime
        self._store = store
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._secret = b""

    async def make(self, by: str, to: str, seconds: float, uses: int, name: str = "") -> tuple[Link, str]:
        """A link and its token. Raises LinkError, and what the store raises."""
        others = list(_links(await self._store.entries()).values())
        if len(others) >= _MAX_LINKS or sum(one.by == by for one in others) >= _MAX_LINKS_PER_USER:
            raise LinkError("There are too many links; remove some")
        until = int(self._clock() + min(seconds, self.lifetime))
        link = Link(id=self._random(9).hex(), to=to, by=by, name=name, until=until, uses=uses)
        await self._store.put_entry(_LINK + link.id, json.dumps(asdict(link)))
        return link, sign_link(link.id, to, until, self._issuer, await self._key())

    async def read(self, token: str) -> Link | None:
        """The link of a token; None where it is not ours, over, or taken back. Raises what the store raises."""
        try:
            link_id = verify_link(token, self._issuer, await self._key(), self._clock())
        except TokenError:
            return None
        return _links(await self._store.entries()).get(link_id)

    async def take(self, link: Link) -> int | None:
        """One of its calls, by its number from 1; None where there is none left, or no link any more.

        0 is given of a link with any number of calls.
        """
        entries = await self._store.entries()
        if _LINK + link.id not in entries or self._clock() >= link.until:
            return None
        if not link.uses:
            return 0
        for number in range(1, link.uses + 1):
            name = f"{_LINK}{link.id}:{number}"
            # Whoever puts it first has this call, here or in another gateway.
            if name not in entries and await self._store.put_entry(name, "", new=True):
                return number
        return None

    async def give_back(self, link: Link, number: int) -> None:
        """The call did not come to be."""
        if number:
            await self._store.put_entry(f"{_LINK}{link.id}:{number}", None)

    async def listed(self, by: str | None = None) -> list[tuple[Link, int]]:
        """Every link, or those that one user has made, with how often each was used."""
        entries = await self._store.entries()
        return [
            (link, sum(name.startswith(f"{_LINK}{link.id}:") for name in entries))
            for link in _links(entries).values()
            if by in (None, link.by)
        ]

    async def remove(self, link_id: str) -> None:
        """It is good for nothing any more, and forgotten."""
        for name in await self._store.entries():
            if name == _LINK + link_id or name.startswith(f"{_LINK}{link_id}:"):
                await self._store.put_entry(name, None)

    async def expire(self, now: float) -> int:
        """Forget the links that are over; how many."""
        entries = await self._store.entries()
        self._secret = bytes.fromhex(entries.get(_KEY, ""))  # a store that has forgotten gets another one
        over = [link.id for link in _links(entries).values() if now >= link.until]
        for link_id in over:
            await self.remove(link_id)
        return len(over)

    async def _key(self) -> bytes:
        """The key of the store, which the first gateway that wants one has made."""
        if not self._secret:
            await self._store.put_entry(_KEY, self._random(_KEY_BYTES).hex(), new=True)
            self._secret = bytes.fromhex((await self._store.entries())[_KEY])
        return self._secret


def _links(entries: Mapping[str, str]) -> dict[str, Link]:
    found = {}
    for name, text in entries.items():
        if name.startswith(_LINK) and name.count(":") == 1:
            try:
                link = Link(**json.loads(text))
            except (ValueError, TypeError):
                continue
            found[link.id] = link
    return found
