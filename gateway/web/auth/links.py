"""Links by which somebody without an account may call one number: whom, until when, how often."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from pydantic import TypeAdapter

from gateway.errors import GatewayError
from gateway.identity.model import User
from gateway.identity.store import StoreError
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
    mark: str = ""
    """Of the user who made it (gateway.identity.directory.Directory.mark)."""


_LINK_VALUES = TypeAdapter(Link)


class Makers(Protocol):
    """Whom and what links depend on (gateway.web.facade.Gateway)."""

    def find_user(self, name: str) -> User | None: ...

    def may_call(self, user: User, target: str) -> bool: ...


def link_refusal(makers: Makers, by: str, to: str) -> str:
    """Why the user `by` may have no link that calls `to`; "" where it may."""
    user, own = makers.find_user(by), makers.find_user(to)
    if user is None or user.id != by or (user.role == "user" and (own is None or own.id != by)):
        return "Users make links that call themselves"
    if own is None and not makers.may_call(user, to):
        return "You may not call that yourself"
    return ""


class GuestLinks:
    """Kept in the store of identities: every gateway of it takes the same links and counts their calls together."""

    def __init__(
        self,
        store: LinkStore,
        issuer: str,
        lifetime: float,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        *,
        mark: Callable[[str], str],
        refusal: Callable[[str, str], str],
    ) -> None:
        """`lifetime` is the longest a link may be good for (s); `mark` tells apart two users of one id, one after
        the other; `refusal(by, to)` as `link_refusal`."""
        self.lifetime = lifetime
        self.refusal = refusal
        self._mark = mark
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
        link = Link(id=self._random(9).hex(), to=to, by=by, name=name, until=until, uses=uses, mark=self._mark(by))
        await self._store.put_entry(_LINK + link.id, json.dumps(asdict(link)))
        return link, sign_link(link.id, to, until, self._issuer, await self._key())

    async def read(self, token: str) -> Link | None:
        """The link of a token; None where it is not ours, over, or taken back, or whoever made it may not any more.

        Raises what the store raises.
        """
        try:
            link_id = verify_link(token, self._issuer, await self._key(), self._clock())
        except TokenError:
            return None
        link = _links(await self._store.entries()).get(link_id)
        return link if link is not None and self._is_backed(link) else None

    async def take(self, link: Link) -> int | None:
        """One of its calls, by its number from 1; None where there is none left, or no link any more.

        0 is given of a link with any number of calls.
        """
        entries = await self._store.entries()
        if _LINK + link.id not in entries or self._clock() >= link.until or not self._is_backed(link):
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

    async def forget(self, by: str) -> None:
        """Remove the links of a user who is no more, not those of whoever has the same id now."""
        for link, _ in await self.listed(by):
            if link.mark != self._mark(by):
                await self.remove(link.id)

    def _is_backed(self, link: Link) -> bool:
        """Whether the one who made it could make it now."""
        return link.mark == self._mark(link.by) and not self.refusal(link.by, link.to)

    async def expire(self, now: float) -> int:
        """Forget the links that are over; how many."""
        entries = await self._store.entries()
        self._secret = _key_of(entries)  # a store that has forgotten gets another one
        over = [link.id for link in _links(entries).values() if now >= link.until]
        for link_id in over:
            await self.remove(link_id)
        return len(over)

    async def _key(self) -> bytes:
        """The key of the store, which the first gateway that wants one has made."""
        if not self._secret:
            await self._store.put_entry(_KEY, self._random(_KEY_BYTES).hex(), new=True)
            self._secret = _key_of(await self._store.entries())
        return self._secret


def _key_of(entries: Mapping[str, str]) -> bytes:
    """Return the key that signs links, b"" for none; raises StoreError for a value that is no key."""
    try:
        return bytes.fromhex(entries.get(_KEY, ""))
    except ValueError:
        raise StoreError("the key of links in the store cannot be read") from None


def _links(entries: Mapping[str, str]) -> dict[str, Link]:
    found = {}
    for name, text in entries.items():
        if name.startswith(_LINK) and name.count(":") == 1:
            try:
                link = _LINK_VALUES.validate_json(text)
            except ValueError:
                continue
            found[link.id] = link
    return found
