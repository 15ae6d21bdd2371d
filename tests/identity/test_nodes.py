"""Which gateways of one store are there, and whose pages they have, whatever becomes of them and of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from gateway.cluster.members import ClusterNodes, place_of
from gateway.identity.model import Binding
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from tests.rows import by_row

ONE, TWO = "sip:10.0.0.1:5060", "sip:10.0.0.2:5070;transport=tcp"
QUICK = 0.02


class Store(MemoryStore):
    """Shared by both; away where told so."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.is_away = False
        self.beats = 0
        self.pages_stall = False
        self.is_broken = False

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        if self.is_away:
            raise StoreError("no connection")
        if self.is_broken:
            raise TypeError("what stands there cannot be read")
        return await super().bindings(aor, now)

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        if self.is_away:
            raise StoreError("no connection")
        if binding.aor == "node:":
            self.beats += 1
        elif self.pages_stall:
            await asyncio.Event().wait()
        await super().put_binding(binding, now, limit)


def nodes(store: Store, node: str, interval: float = QUICK) -> ClusterNodes:
    return ClusterNodes(store, node, interval, lambda: store.now)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def page_is_at(asked: ClusterNodes, user: str, *places: str) -> None:
    async with asyncio.timeout(30):
        while await asked.with_page_of(user) != {*places}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def both_there() -> tuple[Store, ClusterNodes, ClusterNodes]:
    """Two gateways that see each other."""
    store = Store()
    one, two = nodes(store, ONE), nodes(store, TWO)
    await one.open()
    await two.open()
    await until(lambda: one.live == {TWO})
    return store, one, two


async def test_gateways_see_each_other_and_where_they_listen() -> None:
    """Nobody sees itself; who says goodbye is gone, and what still comes from there is known as a gateway's."""
    store = Store()
    one, two = nodes(store, ONE), nodes(store, TWO)
    await one.open()
    await two.open()
    assert two.live == {ONE}
    await until(lambda: one.live == {TWO})
    assert one.node_at("10.0.0.2", 5070) == TWO
    assert one.node_at("10.0.0.2", 5060) is None
    assert one.node_at("10.0.0.1", 5060) is None
    await two.close()
    await two.close()
    assert not two.opened.is_set(), "whoever looks at the others on its behalf has to end"
    await until(lambda: not one.live)
    assert one.node_at("10.0.0.2", 5070) == TWO
    await one.close()


async def test_a_gateway_that_begins_anew_is_known_by_the_name_of_its_new_process() -> None:
    """Though the one before said no goodbye."""
    store = Store()
    one = nodes(store, ONE)
    assert one.start_of(TWO) == ""
    await one.open()
    for start in ("first", "second"):
        two = ClusterNodes(store, TWO, 60, lambda: store.now, start)
        await two.open()
        await until(lambda start=start: one.start_of(TWO) == start)  # type: ignore[misc]
    assert one.live == {TWO}
    await one.close()
    await two.close()


@pytest.mark.parametrize("interval", [5.0, 20.0])
async def test_a_gateway_that_says_nothing_is_gone_after_three_intervals(interval: float) -> None:
    """As one that was killed; not before."""
    store = Store()
    dead = nodes(store, TWO, interval)
    await dead.open()
    store.now += 3 * interval - 1
    early = nodes(store, ONE)
    await early.open()
    assert early.live == {TWO}
    store.now += 2
    late = nodes(store, "sip:10.0.0.3")
    await late.open()
    assert TWO not in late.live
    for each in (early, late, dead):
        await each.close()


async def test_a_gateway_that_drains_is_not_there_but_still_has_calls() -> None:
    """Nobody sends anything new there, nor to pages that come to it; whoever begins meanwhile knows it as well."""
    store = Store()
    one, two = nodes(store, ONE), ClusterNodes(store, TWO, QUICK, lambda: store.now, "first")
    await one.open()
    await two.open()
    two.page("alice", True)
    await page_is_at(one, "alice", TWO)
    await two.drain()
    await two.drain()
    assert not two.opened.is_set()
    two.page("bob", True)
    await until(lambda: not one.live)
    assert await store.bindings("page:alice", store.now) == await store.bindings("page:bob", store.now) == []
    three = nodes(store, "sip:10.0.0.3")
    await three.open()
    for seeing in (one, three):
        assert TWO not in seeing.live
        assert TWO in seeing.with_calls
        assert seeing.node_at("10.0.0.2", 5070) == TWO
        assert seeing.start_of(TWO) == "first"
    await two.close()
    await until(lambda: TWO not in one.with_calls)
    for each in (one, three):
        await each.close()


async def test_a_gateway_that_drains_goes_on_seeing_the_others() -> None:
    """Who is new, who is gone, who drains as well, and who is another process now."""
    store = Store()
    one, two = nodes(store, ONE), ClusterNodes(store, TWO, QUICK, lambda: store.now, "first")
    await one.open()
    await two.open()
    await until(lambda: one.live == {TWO})
    await one.drain()
    await two.close()
    await until(lambda: not one.live)
    for start in ("second", "third"):
        two = ClusterNodes(store, TWO, 60, lambda: store.now, start)
        await two.open()
        two.page("alice", True)
        await until(lambda start=start: one.start_of(TWO) == start)  # type: ignore[misc]
    await page_is_at(one, "alice", TWO)
    await two.drain()
    await until(lambda: not one.live)
    assert one.with_calls == {TWO}
    await one.close()
    await two.close()


async def test_that_a_gateway_drains_is_told_though_the_store_was_away() -> None:
    """As soon as it is there again; until then whoever was there is taken to be there."""
    store, one, two = await both_there()
    store.is_away = True
    await two.drain()
    await asyncio.sleep(5 * QUICK)
    assert one.live == {TWO}
    store.is_away = False
    await until(lambda: not one.live)
    assert one.with_calls == {TWO}
    await one.close()
    await two.close()


async def test_a_gateway_that_is_killed_as_it_drains_has_no_calls_after_three_intervals() -> None:
    """One that begins anew at its place is there at once."""
    store = Store()
    dead = nodes(store, TWO, 5)
    await dead.open()
    await dead.drain()
    one = nodes(store, ONE)
    await one.open()
    assert not one.live
    assert one.with_calls == {TWO}
    store.now += 16
    await until(lambda: not one.with_calls)
    successor = nodes(store, TWO)
    await successor.open()
    await until(lambda: one.live == {TWO})
    for each in (one, successor, dead):
        await each.close()


async def test_a_drain_whose_pages_the_store_holds_up_is_told_and_can_be_given_up() -> None:
    """The others know before any page is taken away; it is gone once it is closed."""
    store = Store()
    one, two = nodes(store, ONE), nodes(store, TWO)
    await one.open()
    await two.open()
    two.page("alice", True)
    await page_is_at(one, "alice", TWO)
    store.pages_stall = True
    draining = asyncio.create_task(two.drain())
    await until(lambda: not one.live and one.with_calls == {TWO})
    assert not draining.done()
    draining.cancel()
    await asyncio.wait([draining])
    store.pages_stall = False
    await two.close()
    await until(lambda: not one.with_calls)
    await one.close()


@pytest.mark.parametrize("is_back_before", ["the next look", "the end"])
async def test_pages_of_a_drain_that_the_store_has_not_taken_are_taken_away_later(is_back_before: str) -> None:
    """Else they would count again once that gateway is started anew."""
    store = Store()
    one = nodes(store, ONE, 60 if is_back_before == "the end" else QUICK)
    await one.open()
    await store.put_binding(Binding("page:alice", ONE, store.now + 3_600), store.now, 10)
    one.page("alice", True)
    store.is_away = True
    await one.drain()
    store.is_away = False
    if is_back_before == "the end":
        await one.close()
    async with asyncio.timeout(30):
        while await store.bindings("page:alice", store.now):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await one.close()


async def test_a_page_is_told_while_it_is_open() -> None:
    """Of a gateway that is there; one that opens and closes at once is nobody's."""
    store, one, two = await both_there()
    for user in ("alice", "bob"):
        two.page(user, True)
    two.page("bob", False)
    two.page("carol", False)
    await page_is_at(one, "alice", TWO)
    assert await one.with_page_of("bob") == frozenset()
    assert await two.with_page_of("alice") == frozenset()
    two.page("alice", False)
    await page_is_at(one, "alice")
    two.page("bob", True)
    await page_is_at(one, "bob", TWO)
    await two.close()
    assert await store.bindings("page:bob", store.now) == []
    await one.close()


async def test_pages_that_come_and_go_without_end_keep_nobody_from_being_there() -> None:
    """Each within an interval of the one before: the gateway says that it is there, and sees who else is."""
    store = Store()
    one = nodes(store, ONE, 0.1)
    await one.open()
    begun = store.beats
    two = nodes(store, TWO, 60)
    await two.open()
    is_open = True
    async with asyncio.timeout(30):
        while store.beats < begun + 4:
            one.page("alice", is_open)
            is_open = not is_open
            await asyncio.sleep(0.01)
    assert one.live == {TWO}
    await one.close()
    await two.close()


async def test_pages_that_cannot_be_written_keep_nobody_from_being_there() -> None:
    """However long the store takes over one of them."""
    store = Store()
    store.pages_stall = True
    one = nodes(store, ONE)
    await one.open()
    one.page("alice", True)
    await until(lambda: store.beats >= 4)
    store.pages_stall = False
    await one.close()


async def test_while_the_store_is_away_who_was_there_is_there_and_what_changed_is_told_afterwards() -> None:
    """Neither a gateway nor a page is forgotten for that."""
    store, one, two = await both_there()
    store.is_away = True
    two.page("alice", True)
    await asyncio.sleep(5 * QUICK)
    assert one.live == {TWO}
    store.is_away = False
    await page_is_at(one, "alice", TWO)
    store.is_away = True
    await one.close()
    await two.close()


@by_row("node", ["", "sip:", "sip:[", "sip:10.0.0.2:notaport", "sip:10.0.0.2:99999", "x" * 10_000])
async def test_what_no_gateway_has_written_is_no_gateway(node: str) -> None:
    """Others may write into the store; it is passed over, and the real ones are seen."""
    store = Store()
    await store.put_binding(Binding("node:", node, store.now + 60), store.now, 10)
    one, two = nodes(store, ONE), nodes(store, TWO)
    await one.open()
    await two.open()
    assert two.live == {ONE}
    await one.close()
    await two.close()


async def test_a_gateway_goes_on_saying_that_it_is_there_whatever_goes_wrong() -> None:
    """Once the mistake is past it sees the others, and they see its pages."""
    store = Store()
    one, two = nodes(store, ONE), nodes(store, TWO)
    await one.open()
    store.is_broken = True
    one.page("alice", True)
    one.page("alice", False)
    beats = store.beats
    await until(lambda: store.beats > beats + 2)
    store.is_broken = False
    await two.open()
    await until(lambda: one.live == {TWO})
    one.page("bob", True)
    await page_is_at(two, "bob", ONE)
    await one.close()
    await two.close()


async def test_a_store_that_comes_back_empty_is_told_again_whose_pages_are_open() -> None:
    """At once, not when they would be written down again anyway."""
    store = Store()
    one, two = nodes(store, ONE), nodes(store, TWO)
    await one.open()
    await two.open()
    two.page("alice", True)
    await page_is_at(one, "alice", TWO)
    for aor in ("node:", "page:alice"):
        await store.remove_all(aor)
    await page_is_at(one, "alice", TWO)
    await one.close()
    await two.close()


async def test_a_gateway_needs_its_store_to_begin() -> None:
    """It would be alone without knowing."""
    store = Store()
    store.is_away = True
    with pytest.raises(StoreError):
        await nodes(store, ONE).open()


@by_row(
    ("node", "place"),
    [
        ("sip:10.0.0.1", ("10.0.0.1", 5060)),
        ("sip:10.0.0.1:5080", ("10.0.0.1", 5080)),
        ("sip:[2001:db8::1]:5070;transport=tcp", ("2001:db8::1", 5070)),
        ("sip:10.0.0.1;transport=tls", ("10.0.0.1", 5061)),
        ("sips:10.0.0.1", ("10.0.0.1", 5061)),
    ],
)
def test_where_a_gateway_listens_is_read_from_its_uri(node: str, place: tuple[str, int]) -> None:
    """With the port of its transport where it names none."""
    assert place_of(node) == place
