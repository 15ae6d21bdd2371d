"""Presence of the gateways that share a store, and of open pages at each.

Both are stored as bindings of addresses impossible in SIP: a gateway under `node:`, a page under `page:USER`, with the
gateway's SIP URI. A gateway silent for three intervals is gone, and its pages with it. A draining gateway announces
itself: it gets nothing new, but stays visible for its remaining calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import structlog

from gateway.identity.model import Binding
from gateway.identity.store import IdentityStore, StoreError
from gateway.repeated import Repeated

log = structlog.get_logger(__name__)

_NODES, _PAGE = "node:", "page:"
_DRAINS = "drains"
"""User agent in the binding of a draining gateway."""
_MOST = 1_000
"""Gateways of one store."""
_PAGE_TIME = 3_600.0
"""Seconds for which a page is valid without renewal."""
_MISSED = 3
"""Missed intervals after which a gateway is gone."""


class ClusterNodes:
    """Announces our gateway and its open pages in the store, and reads the other gateways."""

    def __init__(
        self, store: IdentityStore, node: str, interval: float, clock: Callable[[], float], start: str = ""
    ) -> None:
        """`node`: our SIP URI. `clock` returns Unix seconds. `start`: unique name of the process."""
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
        """Time of the last store write of each user's page."""
        self._closed: set[str] = set()
        self._drains = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.opened = asyncio.Event()
        """Set while our gateway is announced as available."""

    @property
    def live(self) -> frozenset[str]:
        """Return the other gateways available for new calls."""
        return self._live

    @property
    def with_calls(self) -> frozenset[str]:
        """Return the available gateways, and the draining ones."""
        return self._with_calls

    def node_at(self, host: str, port: int) -> str | None:
        """Return the gateway with a listening address, present or past."""
        return self._places.get((host, port))

    def start_of(self, node: str) -> str:
        """Return the process name of another gateway as last read; "" if never seen."""
        return self._starts.get(node, "")

    async def open(self) -> None:
        """Announce our gateway. Raise StoreError."""
        await self._beat()
        self.opened.set()
        self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Announce that no new calls are accepted, but remain visible and keep watching the others; idempotent."""
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
        """Withdraw the announcement; idempotent."""
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
        """Record that a user has a page open here, or none any more."""
        if self._drains:
            return
        if is_open:
            self._closed.discard(user)
            self._pages.setdefault(user, float("-inf"))
        elif self._pages.pop(user, None) is not None:
            self._closed.add(user)
        self._news.set()

    async def with_page_of(self, user: str) -> frozenset[str]:
        """Return the other available gateways with an open page of a user. Raise StoreError."""
        bindings = await self._store.bindings(_PAGE + user, self._clock())
        return self._live & {binding.contact for binding in bindings}

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beats())
            tasks.create_task(self._tell_pages())

    async def _beats(self) -> None:
        """Renew the announcement in a task of its own, so that pages never delay it."""
        # While the store is unreachable, known gateways count as present: calls to absent ones fail by themselves.
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
            # A store that has lost our entry, as Redis without disk, has lost our pages too.
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
        """Mark all pages as closed until the store has accepted the removals."""
        self._closed.update(self._pages)
        self._pages.clear()

    async def _remove(self, aor: str) -> None:
        """Remove our own entry."""
        await self._store.put_binding(Binding(aor, self.node, 0.0), self._clock(), _MOST)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def place_of(node: str) -> tuple[str, int]:
    """Return IP address and port of a gateway's SIP URI. Raise ValueError."""
    scheme, _, rest = node.partition(":")
    address = urlsplit(f"//{rest.partition(';')[0]}")
    is_tls = scheme.lower() == "sips" or "transport=tls" in rest
    return address.hostname or "", address.port or (5061 if is_tls else 5060)


def _is_place(node: str) -> bool:
    """Return True for a well-formed gateway entry, as other programs may write to the store."""
    try:
        return bool(place_of(node)[0])
    except ValueError:
        log.warning("what is written down as a gateway cannot be read", node=node[:100])
        return False
