"""What SIP and the web ask of the gateway: who may come in, as whom, and what a refusal is called."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any, cast

import pytest

from gateway.app import settings
from gateway.app.web_front import WebFront
from gateway.call.leg import CalleeLeg
from gateway.call.load import LoadControl, LoadPolicy
from gateway.call.registry import Calls
from gateway.call.routing import Emergency, Route, RouteError, Router, SipTarget, Target
from gateway.call.status import Cause
from gateway.config import Config, load
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.web_clients import Presence
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.own_accounts import OwnAccounts
from gateway.trunks.reachability import Reachability
from gateway.web.facade import PlaceError, WebChannel
from tests.rows import by_row

OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
HELP = Emergency(numbers=frozenset({"112"}), trunk="office")


class Dialer:
    """One leg for everything, nobody, or nobody reachable now."""

    def __init__(self) -> None:
        self.legs_given: list[FakeLeg] | None = []
        self.asked: list[Target] = []

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        self.asked.append(target)
        if self.legs_given is None:
            raise RouteError(Cause.OVERLOADED, "the registrations cannot be read at the moment")
        return list(self.legs_given)


class Rig:
    """A web front over a registry with a fake engine."""

    def __init__(self, load_control: LoadControl | None = None, **environ: str) -> None:
        self.config: Config = load(
            None,
            {
                "GATEWAY_USERS": '[{"id": "alice", "display_name": "Alice", "web": true, "may_call": ["1*"]},'
                ' {"id": "1001", "sip": true}]',
                **{f"GATEWAY_{key}": value for key, value in environ.items()},
            },
        )
        numbers = count(1)
        self.identity = IdentityMap(self.config.identity_users(), [], self.config.domain)
        self.dialer, self.presence = Dialer(), Presence()
        self.calls = Calls(
            FakeEngine(),
            Router(self.identity, [Route("6*", "service:echo")], [self.config.domain], {"office": ("pbx.test",)}, HELP),
            cast(Any, self.dialer),
            ManualTimers(),
            limits=settings.call_limits(self.config),
            new_id=lambda: f"call-{next(numbers)}",
        )
        none: Any = None
        self.accounts = Accounts(bytes(32))
        accounts = OwnAccounts(self.config, self.accounts, none, none, lambda: 0.0)
        self.front = WebFront(
            self.config,
            self.identity,
            accounts,
            Reachability(),
            self.presence,
            self.calls,
            lambda user, word: word == "right",
            lambda: "tag",
            load=load_control,
            users=none,
            conferencing=none,
        )

    async def place(self, caller: User, to: str, sdp: str = OFFER) -> str:
        return (await self.front.place(cast(WebChannel, _Page()), caller, to, sdp)).id

    def alice(self) -> User:
        found = self.identity.by_id("alice")
        assert found is not None
        return found


class _Page:
    can_update = True

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@by_row(
    ("user", "secret", "let_in"),
    [
        ("alice", "right", True),
        ("alice", "wrong", False),
        ("alice", None, False),
        ("1001", "right", False),
        ("guest-7", None, True),
        ("guest-7", "right", False),
    ],
)
async def test_who_may_sign_in_on_the_page(user: str, secret: str | None, let_in: bool) -> None:
    """Web users with their password; guests with none at all; a phone's account is not for the page."""
    assert (await Rig().front.authenticate(user, secret) is not None) is let_in


@pytest.mark.parametrize(
    ("visible_to", "seen"), [("users", {"alice", "1001", "guest-7"}), ("self", {"alice", "guest-7"})]
)
async def test_the_page_is_told_of_whom_its_user_may_see(visible_to: str, seen: set[str]) -> None:
    """presence.visible_to holds for the list of who is there, too; guests are nobody's secret."""
    rig = Rig(PRESENCE__VISIBLE_TO=visible_to)
    assert {peer for peer in ("alice", "1001", "guest-7") if rig.front.may_see(rig.alice(), peer)} == seen


async def test_without_guests_nobody_unknown_comes_in() -> None:
    """web.guests: false."""
    assert await Rig(WEB__GUESTS="false").front.authenticate("guest-7", None) is None


async def test_a_guest_may_call_what_guests_may() -> None:
    """And nothing else: no toll fraud."""
    rig = Rig()
    guest = await rig.front.authenticate("guest-7", None)
    assert guest is not None
    rig.dialer.legs_given = [FakeLeg("callee")]
    assert await rig.place(guest, "600")
    with pytest.raises(PlaceError) as refused:
        await rig.place(guest, "1001")
    assert refused.value.cause is Cause.FORBIDDEN
    assert len(rig.dialer.asked) == 1
    await rig.calls.close()


@by_row(
    ("to", "cause"),
    [("1999", Cause.NOT_FOUND), ("0049", Cause.FORBIDDEN), ("1001", Cause.UNAVAILABLE), ("1\r\n", Cause.NOT_FOUND)],
)
async def test_a_call_that_cannot_be_placed_says_why(to: str, cause: Cause) -> None:
    """Nobody of that number, not allowed, nobody there."""
    rig = Rig()
    with pytest.raises(PlaceError) as refused:
        await rig.place(rig.alice(), to.strip() if to == "1\r\n" else to)
    assert refused.value.cause is cause
    assert len(rig.calls) == 0


@by_row("sdp", ["", "hello", "v=1\r\n"])
async def test_an_offer_that_is_no_sdp_is_400(sdp: str) -> None:
    """Before anybody is looked up."""
    rig = Rig()
    with pytest.raises(PlaceError) as refused:
        await rig.place(rig.alice(), "1001", sdp)
    assert (refused.value.status, rig.dialer.asked) == (400, [])


@by_row("written", ["112", "1-1-2", "tel:112", "sip:112", "sip:1%312;user=phone@gateway.local"])
async def test_a_call_for_help_is_let_in_however_much_there_is_to_do(written: str) -> None:
    """And however its number is written; all others wait."""
    control = LoadControl(LoadPolicy())
    for _ in range(500):
        control.measured(1.0, 100.0)
    while control.admit(asyncio.get_running_loop().time()):
        pass
    rig = Rig(control)
    rig.dialer.legs_given = [FakeLeg("callee")]
    with pytest.raises(PlaceError) as refused:
        await rig.place(rig.alice(), "600")
    assert refused.value.cause is Cause.OVERLOADED
    await rig.place(rig.alice(), written)
    assert rig.dialer.asked == [SipTarget("112", trunk="office", emergency=True)]


async def test_calls_that_were_refused_take_no_place() -> None:
    """However many a user tries, the next good one is placed."""
    rig = Rig()
    rig.dialer.legs_given = None
    for _ in range(rig.alice().max_calls + 1):
        with pytest.raises(PlaceError) as refused:
            await rig.place(rig.alice(), "1001")
        assert refused.value.cause is Cause.OVERLOADED
    rig.dialer.legs_given = [FakeLeg("callee")]
    assert await rig.place(rig.alice(), "1001")
    await asyncio.wait_for(rig.calls.close(), 30)


def test_ice_servers_are_told_as_configured() -> None:
    """With credentials only where there are some, and to accounts alone where those stay good."""
    rig = Rig(WEB__ICE_SERVERS='[{"urls": "stun:s.test"}, {"urls": "turn:t.test", "username": "u", "credential": "c"}]')
    assert rig.front.ice_servers("192.0.2.1", None) == [{"urls": ["stun:s.test"]}]
    assert rig.front.ice_servers("192.0.2.1", "alice") == [
        {"urls": ["stun:s.test"]},
        {"urls": ["turn:t.test"], "username": "u", "credential": "c"},
    ]


def test_health_counts_calls_and_people() -> None:
    """What /healthz shows."""
    rig = Rig()
    rig.front.connect("alice", cast(WebChannel, _Page()))
    assert rig.front.health() == {"status": "ok", "conditions": [], "active_calls": 0, "web_users": 1}


async def test_guests_are_counted_by_their_address() -> None:
    """limits.guest_calls_per_source; who has an account is not touched by it."""
    rig = Rig(LIMITS__GUEST_CALLS_PER_SOURCE="1")
    rig.dialer.legs_given = [FakeLeg("callee")]
    page = cast(WebChannel, _Page())
    for number in range(2):
        guest = User(f"guest-{number}", web=True, may_call=("600",))
        await rig.front.place(page, guest, "600", OFFER, f"192.0.2.{number}")
    with pytest.raises(PlaceError) as refused:
        await rig.front.place(page, User("guest-9", web=True, may_call=("600",)), "600", OFFER, "192.0.2.1")
    assert refused.value.cause is Cause.TOO_MANY_OWN
    await rig.front.place(page, rig.alice(), "1001", OFFER, "192.0.2.1")


def test_a_page_forwards_to_what_its_user_reaches_by_an_own_account() -> None:
    """A number that nobody here answers to is refused to who has none."""
    rig = Rig()
    with pytest.raises(PlaceError):
        rig.front.forward(rig.alice(), {"always": "1234"})
    rig.accounts.put(Account(user="alice", registrar="office", username="201", password="own"))
    assert rig.front.forward(rig.alice(), {"always": "1234"})["always"] == "1234"
    assert rig.calls.rules.of("alice").always == "1234"
