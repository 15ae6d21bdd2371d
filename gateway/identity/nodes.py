"""Which gateways share a store, and which web users have a page open at which of them.

Both are bindings of addresses that no SIP URI can be: a gateway is bound to `node:`, a page to `page:USER`, and each
names the gateway's SIP URI. A gateway that says nothing for three intervals is gone, and with it its pages. One that
drains says so: nothing new is sent there, but it sees the others and they know of the calls that it still has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import structlog

from gateway.identity.model import Binding
from gateway.identity.repeated import Repeated
from gateway.identity.store import IdentityStore, StoreError

log = structlog.get_logger(__name__)

_NODES, _PAGE = "node:", "page:"
_DRAINS = "drains"
"""What the binding of such a gateway has for its user agent."""
_MOST = 1_000
"""Gateways of one store."""
_PAGE_TIME = 3_600.0
"""Seconds that a page stands without being written again."""
_MISSED = 3
"""Intervals without a word after which a gateway is gone."""


class ClusterNodes:
    """Writes down that we are there and whose pages we have, and reads who else is."""

    def __init__(
        self, store: IdentityStore, node: str, interval: float, clock: Callable[[], float], start: str = ""
    ) -> None:
        """`node` is our own SIP URI; `clock` gives Unix seconds; `start` names this process, as none before it."""
        self.node = node
        self._start = start
        self._starts: dict[str, str] = {}
        self._store = store
        self._interval = interval
        self._clock = clock
        self._live: frozenset[str] = frozenset()
        self._with_calls: frozenset[str] = frozenset()
        self._places: dict[tuple[str, int], str] = {}
        self._pages: dict[str, float] = {}
        """When the page of a user was written down last."""
        self._closed: set[str] = set()
        self._drains = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.opened = asyncio.Event()
        """Set while we are there for the others."""

    @property
    def live(self) -> frozenset[str]:
        """The other gateways that are there, for new calls as well."""
        return self._live

    @property
    def with_calls(self) -> frozenset[str]:
        """Those, and the others that drain."""
        return self._with_calls

    def node_at(self, host: str, port: int) -> str | None:
        """The gateway that listens at that address, also one that was there once."""
        return self._places.get((host, port))

    def start_of(self, node: str) -> str:
        """What another gateway has named its process, when we last looked; "" where it never was there."""
        return self._starts.get(node, "")

    async def open(self) -> None:
        """Be there. Raises StoreError."""
        await self._beat()
        self.opened.set()
        self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Be there for no new calls, but go on seeing the others, and being seen to have some; idempotent."""
        if self._task is None or self._drains:
            return
        self._drains = True
        self.opened.clear()
        self._close_pages()
        task, self._task = self._task, asyncio.create_task(self._run())
        await _end(task)
        try:
            await self._beat()
            await self._write_pages()
        except StoreError as error:
            log.warning("the other gateways do not know yet that this one drains", reason=str(error))

    async def close(self) -> None:
        """Be there no longer; idempotent."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self.opened.clear()
        await _end(task)
        try:
            await self._remove(_NODES)
            self._close_pages()
            await self._write_pages()
        except StoreError as error:
            log.warning("the other gateways do not know that this one has gone", reason=str(error))

    def page(self, user: str, is_open: bool) -> None:
        """A user has a page open here, or none any more."""
        if self._drains:
            return
        if is_open:
            self._closed.discard(user)
            self._pages.setdefault(user, float("-inf"))
        elif self._pages.pop(user, None) is not None:
            self._closed.add(user)
        self._news.set()

    async def with_page_of(self, user: str) -> frozenset[str]:
        """Other gateways that are there at which that user has a page open. Raises StoreError."""
        bindings = await self._store.bindings(_PAGE + user, self._clock())
        return self._live & {binding.contact for binding in bindings}

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beats())
            tasks.create_task(self._tell_pages())

    async def _beats(self) -> None:
        """Beside whatever becomes of pages: nothing of theirs may hold up that we are there."""
        # While the store is away whoever was there is taken to be there still: calls to them fail where they are not.
        away, failed = "the other gateways cannot be seen", "the other gateways could not be seen"
        beat = Repeated(self._beat, StoreError, away=away, failed=failed)
        while True:
            await asyncio.sleep(self._interval)
            await beat.once()

    async def _tell_pages(self) -> None:
        away, failed = "the other gateways do not know whose pages are open here", "telling whose pages are open failed"
        write = Repeated(self._write_pages, StoreError, away=away, failed=failed)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._news.wait()
            self._news.clear()
            if not await write.once():
                await asyncio.sleep(self._interval)
                self._news.set()

    async def _beat(self) -> None:
        now = self._clock()
        stands, state = now + _MISSED * self._interval, _DRAINS if self._drains else ""
        here = Binding(_NODES, self.node, stands, call_id=self._start, user_agent=state)
        try:
            found = {binding.contact: binding for binding in await self._store.bindings(_NODES, now)}
        except Exception:
            await self._store.put_binding(here, now, _MOST)
            raise
        await self._store.put_binding(here, now, _MOST)
        if self.node not in found:
            # A store that has lost us, as one does that keeps nothing on disk, has lost our pages with us.
            self._pages = dict.fromkeys(self._pages, float("-inf"))
            self._news.set()
        others = {node: binding for node, binding in found.items() if node != self.node and _is_place(node)}
        self._see(frozenset(others), frozenset(node for node in others if others[node].user_agent != _DRAINS))
        for node, binding in others.items():
            self._places[place_of(node)] = node
            self._starts[node] = binding.call_id

    def _see(self, with_calls: frozenset[str], live: frozenset[str]) -> None:
        for node in live - self._live:
            log.info("another gateway is there", node=node)
        for node in (self._live - live) & with_calls:
            log.info("another gateway drains", node=node)
        for node in self._with_calls - with_calls:
            log.warning("another gateway is gone", node=node)
        self._live, self._with_calls = live, with_calls

    async def _write_pages(self) -> None:
        for user in tuple(self._closed):
            await self._remove(_PAGE + user)
            self._closed.discard(user)
        now = self._clock()
        for user, written in tuple(self._pages.items()):
            if now - written > _PAGE_TIME / 2:
                await self._store.put_binding(Binding(_PAGE + user, self.node, now + _PAGE_TIME), now, _MOST)
                if user in self._pages:
                    self._pages[user] = now
                else:
                    self._closed.add(user)

    def _close_pages(self) -> None:
        """All of them: they stay in mind until the store has taken that."""
        self._closed.update(self._pages)
        self._pages.clear()

    async def _remove(self, aor: str) -> None:
        """Take our own name away."""
        await self._store.put_binding(Binding(aor, self.node, 0.0), self._clock(), _MOST)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def place_of(node: str) -> tuple[str, int]:
    """IP address and port of a gateway's SIP URI. Raises ValueError."""
    scheme, _, rest = node.partition(":")
    address = urlsplit(f"//{rest.partition(';')[0]}")
    is_tls = scheme.lower() == "sips" or "transport=tls" in rest
    return address.hostname or "", address.port or (5061 if is_tls else 5060)


def _is_place(node: str) -> bool:
    """Whether it is written as a gateway writes it: others may write into the store."""
    try:
        return bool(place_of(node)[0])
    except ValueError:
        log.warning("what is written down as a gateway cannot be read", node=node[:100])
        return False
