"""A page that does not answer what it is offered: what the gateway has given up is in nobody's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.leg import Address, Answered, HungUp, OfferAnswered, Offered
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.legs.web import WebCallerLeg
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from gateway.web.rpc.calls import Calls
from gateway.web.rpc.entry import Entry
from gateway.web.settings import WebSettings
from tests.call.rig import ANSWER, OFFER


class Client:
    """What a JSON-RPC client hears of its calls: offers and answers."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.exchanges: list[int] = []

    def tell_offer(self, entry: Entry, sdp: str, exchange: int) -> None:
        self.told.append("tell_offer")
        self.exchanges.append(exchange)

    def __getattr__(self, name: str) -> Any:
        return lambda *what: self.told.append(name)

    @property
    def offers(self) -> int:
        return self.told.count("tell_offer")


class PageCall:
    """A call of a page that has dialled a phone, with all that is between its bridge and its client."""

    def __init__(self) -> None:
        self.client, self.timers, self.phone = Client(), ManualTimers(), FakeLeg("phone")
        self.page = Calls(self.client, WebSettings(), lambda then: None)
        leg = WebCallerLeg("page", Address("sip:alice@example.test"), self.page)
        self.engine = FakeEngine()
        self.call = Call(
            "c1", leg, Branch([self.phone]), OFFER, dialled="phone", engine=self.engine, timers=self.timers
        )
        self.entry = self.page.placed(leg.handle, "phone", "offer", None)
        self.page.release(self.entry)
        self.changes = 0

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def up(self) -> PageCall:
        self.call.start()
        await self.settle()
        self.phone.says(Answered(ANSWER))
        await self.settle()
        assert self.call.state is State.CONNECTED
        return self

    async def phone_offers(self) -> None:
        self.changes += 1
        self.phone.says(Offered(self.changes, OFFER))
        await self.settle()

    async def is_late(self) -> None:
        self.timers.advance(35)
        await self.settle()

    async def page_offers(self) -> bool:
        taken = self.page.reoffer(self.entry, OFFER)
        await self.settle()
        return taken

    async def page_answers(self, exchange: int = 0) -> bool:
        taken = self.page.accept(self.entry, ANSWER, exchange)
        await self.settle()
        return taken


async def test_an_offer_that_the_page_never_answers_is_in_the_way_of_no_other() -> None:
    """Once its time is over the page may offer itself, and its next answer is that to the next offer."""
    page = await PageCall().up()
    await page.phone_offers()
    assert not await page.page_offers()
    await page.is_late()
    assert page.phone.replies == {1: Cause.NOT_ACCEPTABLE}
    await page.phone_offers()
    assert page.client.offers == 2
    assert await page.page_answers()
    assert isinstance(page.phone.replies[2], str)
    await page.phone_offers()
    await page.is_late()
    assert await page.page_offers()


async def test_a_page_that_answers_after_the_time_is_offered_again_what_stands() -> None:
    """It believes in a description that nobody else does."""
    page = await PageCall().up()
    await page.phone_offers()
    await page.is_late()
    assert await page.page_answers()
    assert page.client.offers == 2
    assert await page.page_answers()
    assert not await page.page_answers()
    assert await page.page_offers()


async def test_the_answer_to_an_offer_that_was_given_up_in_time_is_not_the_next_ones() -> None:
    """The phone is another at once: the page answers the offer of the first, then that of the second."""
    page = await PageCall().up()
    await page.phone_offers()
    other = FakeLeg("other")
    await page.engine.create_offer("c1", other.party)
    await page.engine.answer("c1", other.party, None, ANSWER)
    page.call.replace(page.phone, other)
    await page.settle()
    other.says(Offered(1, OFFER))
    await page.settle()
    assert page.client.offers == 2
    assert await page.page_answers()
    assert other.replies == {}
    assert not await page.page_offers()
    assert await page.page_answers()
    assert isinstance(other.replies[1], str)
    other.says(HungUp())
    await page.settle()
    assert page.call.state is State.ENDED


@pytest.mark.parametrize("own", [False, True])
async def test_an_answer_that_names_its_offer_is_never_the_next_ones(own: bool) -> None:
    """It was on its way as its time ended, and the next offer on its own; between them the page may have offered."""
    page = await PageCall().up()
    await page.phone_offers()
    await page.is_late()
    if own:
        assert await page.page_offers()
        page.phone.says(OfferAnswered(page.phone.exchanges[-1], ANSWER))
        await page.settle()
    await page.phone_offers()
    first, second = page.client.exchanges
    assert not await page.page_answers(first)
    assert 2 not in page.phone.replies
    assert await page.page_answers(second)
    assert isinstance(page.phone.replies[2], str)
    assert not await page.page_answers(second)


async def test_an_answer_that_is_given_twice_answers_one_offer() -> None:
    """The second time it finds another offer open, and says nothing of that."""
    page = await PageCall().up()
    await page.phone_offers()
    [first] = page.client.exchanges
    assert await page.page_answers(first)
    await page.phone_offers()
    assert not await page.page_answers(first)
    assert await page.page_answers(page.client.exchanges[-1])
    assert isinstance(page.phone.replies[2], str)


async def test_an_answer_to_what_a_page_was_offered_before_it_was_loaded_again_is_none() -> None:
    """The page that is back is offered what is wanted anew."""
    page = await PageCall().up()
    await page.phone_offers()
    [before] = page.client.exchanges
    former, page.page = page.page, Calls(page.client, WebSettings(), lambda then: None)
    former.on_call = lambda entry: None  # who has announced itself may come back
    former.close()
    page.page.take_over(page.entry, former, None)
    await page.settle()
    await page.is_late()
    await page.phone_offers()
    assert not await page.page_answers(before)
    assert await page.page_answers(page.client.exchanges[-1])
    assert isinstance(page.phone.replies[page.changes], str)


async def test_a_page_has_one_offer_open_at_a_time() -> None:
    """RFC 3264 section 4; once the phone has answered it may offer again."""
    page = await PageCall().up()
    assert await page.page_offers()
    assert not await page.page_offers()
    page.phone.says(OfferAnswered(page.phone.exchanges[-1], ANSWER))
    await page.settle()
    assert await page.page_offers()
