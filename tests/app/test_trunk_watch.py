"""Trunks are asked whether they are there; what changes is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from gateway.config.people import Trunk
from gateway.sip.errors import SipBuildError
from gateway.sip.flow import Flow
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from gateway.trunks.reachability import Reachability, State
from gateway.trunks.watch import Paces, TrunkWatch

ONE, TWO = "sip:one.test", "sip:two.test"


class Asker:
    """Answers OPTIONS as the test says, by URI; a negative status is a request that cannot be written."""

    def __init__(self, **statuses: int) -> None:
        self.statuses = {f"sip:{name}.test": status for name, status in statuses.items()}
        self.nameless: set[str] = set()
        self.asked: asyncio.Queue[tuple[str, tuple[str, ...]]] = asyncio.Queue()
        self.dropped: list[str] = []

    def drop_silent(self, flows: Sequence[Flow], since: float) -> None:
        self.dropped += [flow.host for flow in flows]

    async def options(self, target: str, *, route: Iterable[str] = ()) -> Response:
        self.asked.put_nowait((target, tuple(route)))
        if self.statuses[target] < 0:
            raise SipBuildError("cannot be written")
        return Response(self.statuses[target], "")

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]:
        return () if uri.host in self.nameless else (Flow("udp", "192.0.2.1", 5060),)


class Rig:
    """A watch over one trunk of two places."""

    def __init__(self, asker: Asker, interval: float = 0.01) -> None:
        trunk = Trunk(
            name="office", uri=ONE, fallback_uris=(TWO,), outbound_proxy="sip:sbc.test", options_interval=interval
        )
        self.asker, self.reachability = asker, Reachability()
        self.back: list[str] = []
        self.watch = TrunkWatch(asker, [trunk], self.reachability, self.back.append, lambda: 0.0, Paces(0))

    async def rounds(self, count: int) -> set[tuple[str, tuple[str, ...]]]:
        """Wait for so many more questions, the last of which is answered."""
        seen = {await asyncio.wait_for(self.asker.asked.get(), 30) for _ in range(count)}
        await asyncio.sleep(0)
        return seen


async def test_every_place_is_asked_through_the_proxy_again_and_again() -> None:
    """The trunk is there as long as one place is."""
    rig = Rig(Asker(one=200, two=503))
    rig.watch.begin()
    assert await rig.rounds(6) == {(ONE, ("<sip:sbc.test;lr>",)), (TWO, ("<sip:sbc.test;lr>",))}
    assert rig.reachability.of("office") is State.REACHABLE
    assert rig.reachability.place("office", TWO) is State.UNREACHABLE
    await rig.watch.close()


async def test_a_trunk_that_is_back_is_told_once() -> None:
    """So that whoever was registered there registers anew; the first answer of all is no return."""
    rig = Rig(Asker(one=200, two=200))
    rig.watch.begin()
    await rig.rounds(4)
    rig.asker.statuses = {ONE: 503, TWO: 408}
    await rig.rounds(6)
    assert (rig.reachability.of("office"), rig.back) == (State.UNREACHABLE, [])
    rig.asker.statuses = {ONE: 503, TWO: 401}
    await rig.rounds(8)
    assert (rig.reachability.of("office"), rig.back) == (State.REACHABLE, ["office"])
    await rig.watch.close()


def test_a_trunk_is_lost_that_has_answered_before() -> None:
    """A trunk that never answers OPTIONS is not lost; one with a place left is there; a removed one is no more."""
    told: list[tuple[str, bool]] = []
    reachability = Reachability()
    reachability.follow(lambda trunk, is_lost: told.append((trunk, is_lost)))
    for trunk, uri, status in (
        ("mute", ONE, 408),
        ("mute", ONE, 503),
        ("office", ONE, 200),
        ("office", TWO, 200),
        ("office", ONE, 408),
    ):
        reachability.answered(trunk, uri, status)
    assert told == []
    reachability.answered("office", TWO, 503)
    reachability.answered("office", TWO, 408)
    reachability.answered("office", ONE, 401)
    assert told == [("office", True), ("office", False)]
    reachability.answered("office", ONE, 408)
    reachability.keep({"mute": (ONE,)})
    assert told[2:] == [("office", True), ("office", False)]


async def test_a_trunk_that_is_not_to_be_asked_is_not() -> None:
    """options_interval 0."""
    rig = Rig(Asker(one=200, two=200), interval=0)
    rig.watch.begin()
    await asyncio.sleep(0.02)
    assert rig.asker.asked.empty()
    await rig.watch.close()


async def test_a_place_that_no_request_can_name_is_asked_once() -> None:
    """The mistake is logged, and the other place is asked on."""
    rig = Rig(Asker(one=-1, two=200))
    rig.watch.begin()
    await rig.rounds(5)
    assert rig.reachability.place("office", ONE) is State.UNKNOWN
    assert rig.reachability.of("office") is State.REACHABLE
    await rig.watch.close()


async def test_a_place_whose_name_leads_nowhere_is_named() -> None:
    """As long as it does not answer, and not once it is found."""
    asker = Asker(one=503, two=200)
    asker.nameless = {"sbc.test"}
    rig = Rig(asker)
    rig.watch.begin()
    await rig.rounds(4)
    assert rig.reachability.is_nameless("office", ONE)
    assert not rig.reachability.is_nameless("office", TWO)
    asker.nameless = set()
    await rig.rounds(4)
    assert not rig.reachability.is_nameless("office", ONE)
    asker.nameless = {"sbc.test"}
    await rig.rounds(4)
    rig.reachability.keep({"office": (TWO,)})
    assert not rig.reachability.is_nameless("office", ONE)
    assert rig.reachability.place("office", ONE) is State.UNKNOWN
    await rig.watch.close()


async def test_a_place_is_there_while_any_proxy_leads_to_it() -> None:
    """Of several edges a dead one says nothing of the trunk."""
    trunk = Trunk(name="office", uri=ONE, outbound_proxies=("sip:dead.test", "sip:edge.test"), options_interval=0.01)
    asked: asyncio.Queue[str] = asyncio.Queue()

    class ByEdge(Asker):
        async def options(self, target: str, *, route: Iterable[str] = ()) -> Response:
            [hop] = route
            asked.put_nowait(hop)
            return Response(503 if "dead" in hop else 200, "")

    reachability = Reachability()
    watch = TrunkWatch(ByEdge(), [trunk], reachability, lambda name: None, lambda: 0.0, Paces(0))
    watch.begin()
    seen = [await asyncio.wait_for(asked.get(), 30) for _ in range(3)]
    assert seen == ["<sip:dead.test;lr>", "<sip:edge.test;lr>", "<sip:dead.test;lr>"]
    assert reachability.of("office") is State.REACHABLE
    await watch.close()


async def test_a_silent_place_is_asked_sooner_and_by_a_new_connection() -> None:
    """Every two seconds until it answers; its connection is closed once, when it falls silent."""
    rig, loop = Rig(Asker(one=200, two=200), interval=30), asyncio.get_running_loop()
    rig.watch.begin()
    await rig.rounds(2)
    rig.asker.statuses = {ONE: 408, TWO: 408}
    rig.reachability.follow_doubts(rig.watch.doubt)
    rig.reachability.doubt("office")
    await rig.rounds(2)
    assert rig.reachability.of("office") is State.UNREACHABLE
    begun = loop.time()
    await rig.rounds(4)
    assert 3.9 < loop.time() - begun < 4.1
    assert rig.asker.dropped == ["192.0.2.1"] * 2
    await rig.watch.close()


async def test_a_thousand_trunks_are_asked_at_the_rate_of_the_setting() -> None:
    """One that does not answer is asked on as if it were alone."""
    asker, loop = Asker(), asyncio.get_running_loop()
    names = [f"trunk{number}" for number in range(1000)]
    trunks = [Trunk(name=name, uri=f"sip:{name}.test") for name in names]
    asker.statuses = {trunk.uri: 200 for trunk in trunks} | {trunks[7].uri: 503}
    watch = TrunkWatch(asker, trunks, Reachability(), lambda name: None, lambda: 0.0, Paces(50))
    begun = loop.time()
    watch.begin()
    asked = [await asker.asked.get() for _ in range(1500)]
    assert 1400 / 50 < loop.time() - begun < 1500 / 50
    failing = sum(uri == trunks[7].uri for uri, _ in asked)
    assert failing == 15
    await watch.close()
