"""Who may speak SIP to us, and who may register what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.access.bans import BanPolicy, Bans
from gateway.access.gatekeeper import Gatekeeper
from gateway.access.register import RegisterService
from gateway.access.sources import Networks
from gateway.identity import passwords
from gateway.identity.guesses import Guesses, LockOut
from gateway.identity.model import Credential
from gateway.identity.store import StoreError
from gateway.sip.auth.server import DigestServer
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.registration.registrar import RegistrarPolicy
from gateway.store.identity_memory import MemoryStore
from tests.access.door import (
    OTHER,
    PASSWORD,
    PHONE,
    REALM,
    TRUNK,
    TRUNK_PASSWORD,
    Door,
    credentials,
    from_there,
    request,
)
from tests.rows import by_row


class BrokenStore(MemoryStore):
    """A store whose server is away."""

    async def credential(self, username: str, realm: str) -> Credential | None:
        raise StoreError("no connection")


def status(verdict: events.Verdict) -> int:
    """200 for what is let in, else the status of the refusal."""
    return verdict.status if isinstance(verdict, events.Refused) else 200


@by_row("method", ["INVITE", "REGISTER", "MESSAGE", "SUBSCRIBE", "REFER", "INFO"])
async def test_every_request_that_begins_something_is_challenged(method: str) -> None:
    """No method gets in without a secret (CVE-2021-37624, CVE-2021-41157)."""
    assert status(await (await Door().opened()).asked(request(method))) == 401


async def test_in_a_dialog_the_secret_alone_says_who_it_is() -> None:
    """A called phone's From is its Contact; the core compares the identity with the dialog's."""
    door = await Door().opened()
    nonce = await door.nonce()
    bye = request("BYE", credentials("BYE", "1001", nonce), sender="x7f2", host="192.0.2.7")
    assert status(await door.asked(bye)) == 403
    nonce = await door.nonce()
    bye = request("BYE", credentials("BYE", "1001", nonce), sender="x7f2", host="192.0.2.7")
    assert await door.asked(bye.with_header("To", bye.to.with_tag("ours"))) == events.Accepted("1001")


async def test_options_is_answered_to_anybody_as_nobody() -> None:
    """PBXs ask whether we live; being asked admits nobody."""
    assert await (await Door().opened()).asked(request("OPTIONS")) == events.Accepted(None)


@by_row("host", [REALM, "192.0.2.1"])
@by_row("method", ["INVITE", "REGISTER"])
async def test_a_user_speaks_for_itself(method: str, host: str) -> None:
    """The right secret and its own name, with the domain or our address behind the @."""
    assert await (await Door().opened()).signed(method, "1001", host=host) == events.Accepted("1001")


async def test_an_alias_is_its_own_name_too() -> None:
    """From may say any name that means the user."""
    assert await (await Door().opened()).signed("INVITE", "1001", sender="2001") == events.Accepted("1001")


@by_row(
    ("method", "parts"),
    [
        ("INVITE", {"sender": "1002"}),
        ("INVITE", {"sender": "alice"}),
        ("INVITE", {"host": "elsewhere.test"}),
        ("REGISTER", {"to": "1002"}),
        ("REGISTER", {"to": "alice"}),
        ("REGISTER", {"host": "elsewhere.test"}),
    ],
)
async def test_a_user_does_not_speak_for_another(method: str, parts: dict[str, str]) -> None:
    """A From, or a To that is registered, of somebody else is 403 (CVE-2025-47779)."""
    assert status(await (await Door().opened()).signed(method, "1001", PHONE, **parts)) == 403


async def test_a_web_account_is_no_sip_account() -> None:
    """The password of the page registers no phone."""
    assert status(await (await Door().opened()).signed("REGISTER", "alice", to="alice")) == 403


async def test_a_trunk_is_known_by_its_address_and_registers_nothing() -> None:
    """Calls come in from its networks without digest; REGISTER needs an account as from anywhere."""
    door = await Door().opened()
    assert await door.asked(request("INVITE"), TRUNK) == events.Accepted("trunk:provider")
    assert status(await door.asked(request("REGISTER"), TRUNK)) == 401
    assert status(await door.asked(request("INVITE"), OTHER)) == 401


async def test_a_trunk_that_signs_its_calls_is_checked_against_its_own_account() -> None:
    """The account we have there is what it signs with; whatever its From says, the call is the trunk's."""
    door = await Door().opened()
    for sender, host in (("2001", "pbx.test"), ("1001", REALM)):
        verdict = await door.signed("INVITE", "gateway", OTHER, password=TRUNK_PASSWORD, sender=sender, host=host)
        assert verdict == events.Accepted("trunk:office")
    assert status(await door.signed("INVITE", "gateway", OTHER, password="wrong")) == 401
    assert status(await door.signed("REGISTER", "gateway", OTHER, password=TRUNK_PASSWORD)) == 401


async def test_a_user_with_a_trunks_user_name_is_still_the_user() -> None:
    """From tells them apart; each is checked with its own secret."""
    door = await Door().opened()
    assert await door.signed("INVITE", "1002", sender="1002") == events.Accepted("1002")
    assert status(await door.signed("INVITE", "1002", sender="1002", password=TRUNK_PASSWORD)) == 401
    from_pbx = await door.signed("INVITE", "1002", sender="77", host="pbx.test", password=TRUNK_PASSWORD)
    assert from_pbx == events.Accepted("trunk:twin")


async def test_a_trunks_address_is_never_locked_out() -> None:
    """Wrong passwords of a phone behind it, or its own, keep none of its calls out."""
    door = await Door().opened()
    for guess in range(10):
        assert status(await door.signed("REGISTER", "1001", TRUNK, password=str(guess))) == 401
    assert await door.asked(request("INVITE"), TRUNK) == events.Accepted("trunk:provider")
    assert status(await door.signed("REGISTER", "1001", TRUNK)) == 200


async def test_nobody_but_a_trunk_is_spoken_for_from_a_trunks_addresses() -> None:
    """By its name in full: a user may be called like a trunk, and another trunk is somebody else."""
    door = await Door().opened()
    said = [("trunk:provider", TRUNK), ("trunk:provider", OTHER), ("trunk:office", TRUNK), ("provider", TRUNK)]
    assert [door.keeper.speaks_for(*one) for one in said] == [True, False, False, False]


async def test_who_was_taken_out_of_the_configuration_is_nobody_though_its_password_is_kept() -> None:
    """A credential in the store makes no user."""
    door = await Door().opened()
    await door.store.put_credential(Credential("gone", REALM, passwords.ha1("gone", REALM, PASSWORD)))
    assert status(await door.signed("INVITE", "gone", sender="gone")) == 403
    assert status(await door.signed("REGISTER", "gone", sender="gone", to="gone")) == 403


@pytest.mark.parametrize(("method", "claims"), [("REGISTER", {"to": "1002"}), ("INVITE", {"sender": "1002"})])
async def test_a_lock_looks_at_whom_a_request_claims_to_be_of(method: str, claims: dict[str, str]) -> None:
    """To of a REGISTER, From of all else: who has signed in at the address is asked for its password there."""
    door = await Door().opened()
    assert status(await door.signed("INVITE", "1002", sender="1002")) == 200
    neighbour = replace(PHONE, port=5070)
    for guess in range(3):
        assert status(await door.signed("REGISTER", "1001", neighbour, password=str(guess))) == 401
    assert status(await door.asked(request(method, **claims), PHONE)) == 401
    others = {"sender": "1002"} if method == "REGISTER" else {"to": "1002"}
    assert status(await door.asked(request(method, **others), PHONE)) == 403


@pytest.mark.parametrize(("method", "claims"), [("REGISTER", {"to": "1002"}), ("INVITE", {"sender": "1002"})])
async def test_a_challenge_names_an_algorithm_for_which_the_claimed_user_has_a_secret(
    method: str, claims: dict[str, str]
) -> None:
    """To of a REGISTER, From of all else."""
    door = await Door().opened()
    both = ("SHA-256", "MD5")
    kept = {"1002": ("SHA-256",)}
    keeper = Gatekeeper(
        door.identity,
        door.store,
        DigestServer(REALM, bytes(32), both),
        [REALM],
        door.trunks,
        lambda: door.now,
        lambda count: bytes(count),
        kept=kept,
    )

    def algorithm(asked: Request) -> str:
        verdict = keeper.authenticate(asked, PHONE)
        assert isinstance(verdict, events.Refused)
        return str(verdict.headers[0][1]).partition("algorithm=")[2].partition(",")[0]

    assert algorithm(request(method, **claims)) == "SHA-256"
    assert algorithm(request(method)) == "MD5"


async def test_a_gateway_of_the_cluster_vouches_for_all_but_registrations() -> None:
    """A REGISTER that is passed on has the password of its own phone."""
    door = Door()
    asked: list[str] = []

    def node_of(asking: Request, source: Flow) -> str:
        asked.append(asking.method)
        return "node:other"

    keeper = Gatekeeper(
        door.identity,
        door.store,
        DigestServer(REALM, bytes(32), ("MD5",)),
        [REALM],
        door.trunks,
        lambda: door.now,
        lambda count: bytes(count),
        node_of=node_of,
    )
    assert keeper.authenticate(request("INVITE"), PHONE) == events.Accepted("node:other")
    refused = keeper.authenticate(request("REGISTER"), PHONE)
    assert isinstance(refused, events.Refused)
    assert (refused.status, asked) == (401, ["INVITE"])


async def test_where_we_are_registered_calls_come_in_as_long_as_we_are() -> None:
    """`register: true` is what makes the trunk's calls known; unregistered they need a digest again."""
    door = await Door().opened()
    assert status(await door.asked(request("INVITE"), OTHER)) == 401
    door.trunks.registered("office", [OTHER.host])
    assert await door.asked(request("INVITE"), OTHER) == events.Accepted("trunk:office")
    assert status(await door.asked(request("INVITE"), PHONE)) == 401
    door.trunks.registered("office", [])
    assert status(await door.asked(request("INVITE"), OTHER)) == 401


async def test_a_call_to_an_account_is_its_trunks_where_trunks_share_an_address() -> None:
    """Its contact is nobody else's, in the dialog, too, which is written to it; other numbers go by address."""
    door = await Door().opened()
    door.trunks.account_registered("c0ntact", "office", [TRUNK.host, OTHER.host])

    def written_to(contact: str, *, in_dialog: bool = False) -> Request:
        made = request("INVITE").with_uri(Uri.of(contact, REALM))
        return made.with_header("To", made.to.with_tag("ours")) if in_dialog else made

    for in_dialog in (False, True):
        asked = await door.asked(written_to("c0ntact", in_dialog=in_dialog), TRUNK)
        assert asked == events.Accepted("trunk:office")
        asked = await door.asked(written_to("1001", in_dialog=in_dialog), TRUNK)
        assert asked == events.Accepted("trunk:provider")
        assert status(await door.asked(written_to("c0ntact", in_dialog=in_dialog), PHONE)) == 401
    assert status(await door.asked(written_to("1001"), OTHER)) == 401
    assert await door.asked(written_to("1001", in_dialog=True), OTHER) == events.Accepted("trunk:office")
    door.trunks.account_registered("c0ntact", "office", ())
    assert await door.asked(written_to("c0ntact"), TRUNK) == events.Accepted("trunk:provider")


async def test_only_a_trunk_that_may_is_known_by_its_registrar() -> None:
    """A trunk without `register` is known by `sources` and by its account alone."""
    door = await Door().opened()
    door.trunks.registered("provider", [OTHER.host])
    assert status(await door.asked(request("INVITE"), OTHER)) == 401


async def test_credentials_of_one_method_are_no_good_for_another() -> None:
    """What signed a REGISTER signs no INVITE (RFC 7616 section 3.4.3)."""
    door = await Door().opened()
    signed = credentials("REGISTER", "1001", await door.nonce())
    assert status(await door.asked(request("REGISTER", signed))) == 200
    assert status(await door.asked(request("INVITE", signed))) == 401


async def test_credentials_are_good_once_and_from_one_address() -> None:
    """Who listens in can neither replay a request nor send it from elsewhere."""
    door = await Door().opened()
    signed = request("REGISTER", credentials("REGISTER", "1001", await door.nonce()))
    elsewhere = await door.asked(signed, OTHER)
    assert isinstance(elsewhere, events.Refused)
    assert "stale=true" in str(elsewhere.headers[0][1])
    assert status(await door.asked(signed)) == 200
    assert status(await door.asked(signed)) == 401


async def test_wrong_passwords_lock_an_address_for_a_while_and_no_other() -> None:
    """Three guesses, then even the right one waits; a phone elsewhere notices nothing."""
    door = await Door().opened()
    for guess in ("a", "b", "c"):
        assert status(await door.signed("REGISTER", "1001", OTHER, password=guess)) == 401
    nonce = credentials("REGISTER", "1001", "any")
    assert status(await door.asked(request("REGISTER", nonce), OTHER)) == 403
    assert status(await door.signed("REGISTER", "1001")) == 200
    door.now += 61
    assert status(await door.signed("REGISTER", "1001", OTHER)) == 200


async def test_nobody_waits_longer_because_the_clock_was_set_back() -> None:
    """A wait that began later than now is over; and the right password is taken with a nonce of the new time."""
    door = await Door().opened()
    for guess in ("a", "b", "c"):
        assert status(await door.signed("REGISTER", "1001", OTHER, password=guess)) == 401
    locked = request("REGISTER", credentials("REGISTER", "1001", "any"))
    assert status(await door.asked(locked, OTHER)) == 403
    door.now -= 3_600
    assert status(await door.signed("REGISTER", "1001", OTHER)) == 200


async def test_nobody_is_locked_out_by_forged_source_addresses() -> None:
    """A guess counts only with a nonce that was sent to the address it comes from."""
    door = await Door().opened()
    theirs = await door.nonce(OTHER)
    for nonce in ("made-up", theirs) * 5:
        forged = request("REGISTER", credentials("REGISTER", "1001", nonce, "guess"))
        assert status(await door.asked(forged, PHONE)) == 401
    assert status(await door.signed("REGISTER", "1001")) == 200


async def test_a_guess_with_a_made_up_nonce_learns_nothing() -> None:
    """Right and wrong secrets are answered alike when the nonce is not ours."""
    door = await Door().opened()
    answers = {
        repr(await door.asked(request("REGISTER", credentials("REGISTER", "1001", "made-up", word))))
        for word in (PASSWORD, "wrong")
    }
    assert len(answers) == 1


async def test_a_store_that_is_away_is_503() -> None:
    """A phone tries again later instead of asking its owner for a password."""
    door = Door(BrokenStore())
    assert status(await door.signed("REGISTER", "1001")) == 503


async def test_made_up_credentials_do_not_reach_the_store() -> None:
    """The store is asked only about nonces that were earned; a flood of others costs no look-up."""
    door = Door(BrokenStore())
    assert status(await door.asked(request("REGISTER", credentials("REGISTER", "1001", "made-up")))) == 401


async def test_several_contacts_of_one_register_all_belong_to_the_user() -> None:
    """Whatever stands in Contact is bound to the account that signed, and the answer lists it."""
    door = await Door().opened()
    registrar = RegisterService(
        door.identity, door.store, RegistrarPolicy(domains=frozenset({REALM})), lambda: door.now
    )
    asked = request("REGISTER")
    two = asked.with_headers(asked.headers.add("Contact", "<sip:1002@192.0.2.8>"))
    reply = await registrar.register(two, PHONE, "1001")
    assert reply.status == 200
    assert [name for name, _ in reply.headers] == ["Contact", "Contact"]
    assert {binding.contact for binding in await door.store.bindings("sip:1001@gw.test", door.now)} == {
        "sip:1001@192.0.2.7",
        "sip:1002@192.0.2.8",
    }
    assert not await door.store.bindings("sip:1002@gw.test", door.now)


async def test_who_is_nobody_registers_nothing() -> None:
    """A trunk or an anonymous peer that was let in has no address of record."""
    door = await Door().opened()
    registrar = RegisterService(door.identity, door.store, RegistrarPolicy(), lambda: door.now)
    for identity in (None, "trunk:provider", "nobody"):
        assert (await registrar.register(request("REGISTER"), PHONE, identity)).status == 403


async def test_whoever_need_not_be_looked_up_is_told_at_once() -> None:
    """A challenge and a trunk's call need no identity store, and so no task; credentials of a user do."""
    door = await Door().opened()
    assert isinstance(door.keeper.authenticate(request("INVITE"), PHONE), events.Refused)
    assert isinstance(door.keeper.authenticate(request("OPTIONS"), PHONE), events.Accepted)


def test_guesses_from_a_million_places_are_not_remembered() -> None:
    """Nor who signed in where: of each kind the oldest is forgotten first."""
    guesses = Guesses(LockOut(remembered=100))
    for number in range(1_000):
        source = Flow("udp", f"10.0.{number // 250}.{number % 250}", 5060)
        guesses.failed(source.host, f"user{number}", 0.0)
        guesses.succeeded(source.host, f"user{number}", str(source))
    tables = (guesses._of_source, guesses._of_user, guesses._of_both, guesses._known)
    assert [len(table) for table in tables] == [100] * 4


def test_names_that_are_nobodys_make_no_count_forgotten() -> None:
    """A guesser waits for a user as long as before, however many names were made up meanwhile; for those alike."""
    guesses = Guesses(LockOut(remembered=100), is_user=lambda name: name == "alice")
    for name in ("alice", "nobody"):
        for number in range(20):
            guesses.failed(f"198.51.100.{number}", name, 0.0)
    waits = [guesses.wait("203.0.113.1", name, 1.0) for name in ("alice", "nobody")]
    for number in range(200):
        guesses.failed(f"10.0.0.{number}", f"user{number}", 1.0)
    assert waits == [299.0, 299.0]
    assert guesses.wait("203.0.113.1", "alice", 1.0) == 299.0


def test_a_user_of_many_places_makes_no_others_forgotten() -> None:
    """Who signs in from thousands of ports has those few remembered that were the last; others keep theirs."""
    guesses = Guesses(LockOut(remembered=100, places=4))
    guesses.succeeded("192.0.2.1", "alice", "udp:192.0.2.1:5060")
    for number in range(1_000):
        guesses.succeeded("192.0.2.2", "bob", f"udp:192.0.2.2:{number}")
        guesses.failed(f"10.0.{number // 250}.{number % 250}", "alice", 0.0)
    assert guesses.wait("192.0.2.1", "alice", 1.0) == 0.0
    assert guesses.wait("203.0.113.1", "alice", 1.0) == 299.0
    assert len(guesses._known["bob"]) == 4


async def test_a_trunk_is_never_banned() -> None:
    """Whatever its software calls itself, and whatever is refused at its address."""
    door = await Door().opened()
    bans = door.keeper._bans = Bans(BanPolicy(after=1, scanners=("*scanner*",)), lambda: door.now)
    call = request("INVITE").with_header("User-Agent", "friendly-scanner")
    assert isinstance(await door.asked(call, TRUNK), events.Accepted)
    assert all(door.keeper.may_answer(TRUNK, 404) for _ in range(5))
    assert bans.now() == []
    assert isinstance(await door.asked(call, OTHER), events.Refused)
    assert [ban.address for ban in bans.now()] == [OTHER.host]


async def test_an_office_whose_phones_prove_themselves_is_never_banned() -> None:
    """Each of them is challenged first, and all of them behind one address more often than a scanner may be."""
    door = await Door().opened()
    bans = door.keeper._bans = Bans(BanPolicy(after=5), lambda: door.now)
    for number in range(20):
        nonce = await door.nonce(OTHER)
        assert door.keeper.may_answer(OTHER, 401)
        if number % 2:
            signed = request("REGISTER", credentials("REGISTER", "1001", nonce))
            assert isinstance(await door.asked(signed, OTHER), events.Accepted)
    assert bans.now() == []


async def test_nobody_is_locked_out_by_who_guesses_beside_them() -> None:
    """One address, two flows: the phone that has signed in goes on, everything else from there waits."""
    door = await Door().opened()
    at_home, beside = from_there(5060), from_there(6000)
    assert isinstance(await door.signed("REGISTER", "1001", at_home), events.Accepted)
    for _ in range(3):
        assert isinstance(await door.signed("REGISTER", "1001", beside, password="guess"), events.Refused)
    assert (await door.asked(request("REGISTER"), beside)) == events.Refused(403, "Too many wrong passwords")
    assert isinstance(await door.signed("REGISTER", "1001", at_home), events.Accepted)
    # It is let in as whom it has signed in, not to guess at others.
    locked = await door.signed("REGISTER", "1002", at_home, sender="1002", to="1002")
    assert locked == events.Refused(403, "Too many wrong passwords")


async def test_who_signed_in_at_an_address_waits_for_no_neighbours_mistakes() -> None:
    """An office behind one address: a phone with a wrong password locks none of the others that have been there."""
    door = await Door().opened()
    for user, port in (("1001", 5060), ("1002", 5062)):
        there = from_there(port)
        assert isinstance(await door.signed("REGISTER", user, there, sender=user, to=user), events.Accepted)
    for _ in range(3):
        refused = await door.signed("REGISTER", "1002", from_there(6000), sender="1002", to="1002", password="old")
        assert isinstance(refused, events.Refused)
    # It has made a new connection.
    assert isinstance(await door.signed("REGISTER", "1001", from_there(7000)), events.Accepted)
    waits = await door.asked(request("REGISTER", sender="1002", to="1002"), from_there(7002))
    assert waits == events.Refused(403, "Too many wrong passwords")


@pytest.mark.parametrize("proxies", [(), ("192.0.2.48/29",)])
async def test_who_guesses_through_a_proxy_locks_nobody_else_behind_it(proxies: tuple[str, ...]) -> None:
    """Waits go by where a proxy of ours has the request from; of an address that is none they do not ask."""
    door = await Door().opened()
    door.keeper.proxies = Networks(proxies)
    proxy = Flow("udp", "192.0.2.50", 5060)

    way = "SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKp, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx;rport=x;received="

    def of(phone: str, nonce: str, password: str = PASSWORD) -> Request:
        asked = request("REGISTER", credentials("REGISTER", "1001", nonce, password))
        return asked.with_header("Via", way + phone)

    for _ in range(3):
        guess = of("198.51.100.66", await door.nonce(proxy), "guess")
        assert isinstance(await door.asked(guess, proxy), events.Refused)
    assert status(await door.asked(of("198.51.100.66", "any"), proxy)) == 403
    assert status(await door.asked(of("198.51.100.7", "any"), proxy)) == (401 if proxies else 403)


@by_row("host", ["[2001:db8:bad::{}]", "198.51.100.7;received=[2001:db8:bad::{}]", "made-up-{}.test"])
async def test_who_has_many_names_behind_a_proxy_guesses_no_more_often(host: str) -> None:
    """A network of IPv6 is one source there, too (RFC 5118 section 4.5), and what is no address is the proxy's."""
    door = await Door().opened()
    door.keeper.proxies = Networks(("2001:db8:f::/64",))
    proxy = Flow("udp", "2001:db8:f::1", 5060)
    way = "SIP/2.0/UDP [2001:db8:f::1];branch=z9hG4bKp, SIP/2.0/UDP {};branch=z9hG4bKx"

    async def guessed(number: int, nonce: str) -> int | None:
        asked = request("REGISTER", credentials("REGISTER", "1001", nonce, "guess"))
        return status(await door.asked(asked.with_header("Via", way.format(host.format(number))), proxy))

    nonces = [await door.nonce(proxy) for _ in range(5)]
    got = [await guessed(number, nonce) for number, nonce in enumerate(nonces)]
    assert got == [401, 401, 401, 403, 403]


_EDGE = "SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKp"


@by_row(
    "before",
    [
        # What Kamailio makes of a phone that has two of its own: it replaces the last one.
        "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKx;received=198.51.100.{};rport=5060;received=203.0.113.66",
        "SIP/2.0/UDP 203.0.113.66;branch=z9hG4bKx;Received=203.0.113.66;received=198.51.100.{}",
        # A second proxy of ours, and a Via of the phone's own invention below that of the phone.
        "SIP/2.0/UDP 192.0.2.49;branch=z9hG4bKq, SIP/2.0/UDP 203.0.113.66;branch=z9hG4bKx, SIP/2.0/UDP 198.51.100.{}",
    ],
)
async def test_who_guesses_through_a_proxy_is_not_somebody_else_each_time(before: str) -> None:
    door = await Door().opened()
    door.keeper.proxies = Networks(("192.0.2.48/29",))
    proxy = Flow("udp", "192.0.2.50", 5060)

    nonces = [await door.nonce(proxy) for _ in range(4)]

    async def guess(number: int) -> events.Verdict:
        asked = request("REGISTER", credentials("REGISTER", "1001", nonces[number], "guess"))
        return await door.asked(asked.with_header("Via", f"{_EDGE}, {before.format(number)}"), proxy)

    assert [status(await guess(number)) for number in range(4)] == [401, 401, 401, 403]


async def test_behind_two_proxies_of_ours_each_phone_answers_for_itself() -> None:
    door = await Door().opened()
    door.keeper.proxies = Networks(("192.0.2.48/29",))
    proxy = Flow("udp", "192.0.2.50", 5060)

    async def guess(phone: str) -> events.Verdict:
        asked = request("REGISTER", credentials("REGISTER", "1001", await door.nonce(proxy), "guess"))
        way = f"{_EDGE}, SIP/2.0/UDP 192.0.2.49;branch=z9hG4bKq, SIP/2.0/UDP {phone};branch=z9hG4bKx"
        return await door.asked(asked.with_header("Via", way), proxy)

    assert [status(await guess("203.0.113.66")) for _ in range(4)] == [401, 401, 401, 403]
    assert status(await guess("203.0.113.67")) == 401


async def test_guesses_from_everywhere_slow_all_but_known_sources() -> None:
    """Each further wrong password doubles the wait; where the user was before it signs in as ever, typos included."""
    door = await Door().opened()
    home, strange = from_there(5060), from_there(5060, "203.0.113.200")
    assert isinstance(await door.signed("REGISTER", "1001", home), events.Accepted)
    for number in range(5):
        source = from_there(5060, f"198.51.100.{number}")
        assert status(await door.signed("REGISTER", "1001", source, password="guess")) == 401
    waits = []
    for number in range(12):
        asked = await door.signed("REGISTER", "1001", strange)
        assert isinstance(asked, events.Refused)
        waits.append((asked.status, int(dict(asked.headers)["Retry-After"])))
        assert isinstance(await door.signed("REGISTER", "1001", from_there(7000)), events.Accepted)
        door.now += waits[-1][1]
        source = from_there(5060, f"198.51.101.{number}")
        assert status(await door.signed("REGISTER", "1001", source, password="guess")) == 401
    assert waits == [(503, min(2**number, 300)) for number in range(12)]
    # Its owner may have typed it wrong as well.
    assert status(await door.signed("REGISTER", "1001", home, password="typo")) == 401
    assert isinstance(await door.signed("REGISTER", "1001", home), events.Accepted)
    # Others are signed in as from everywhere.
    assert isinstance(await door.signed("REGISTER", "1002", strange, sender="1002", to="1002"), events.Accepted)
    door.now += 300
    assert isinstance(await door.signed("REGISTER", "1001", strange), events.Accepted)


async def test_a_network_of_ipv6_is_one_source() -> None:
    """Whoever has a /64 would have as many guesses as it has addresses."""
    door = await Door().opened()
    for number in range(3):
        source = from_there(5060, f"2001:db8:1:2::{number:x}")
        assert isinstance(await door.signed("REGISTER", "1001", source, password="guess"), events.Refused)
    locked = events.Refused(403, "Too many wrong passwords")
    assert await door.asked(request("REGISTER"), from_there(5060, "2001:db8:1:2:ffff::")) == locked
    assert isinstance(await door.signed("REGISTER", "1001", from_there(5060, "2001:db8:1:3::1")), events.Accepted)


def test_wrong_passwords_of_long_ago_are_forgiven() -> None:
    """Ten mistakes in a year lock nobody out, nor does one more a while after a wait."""
    guesses = Guesses(LockOut(failures=3, seconds=60.0, user_failures=3, memory=90.0))
    source, other = "192.0.2.9", "192.0.2.8"
    times = [100.0 * number for number in range(10)] + [1000.0, 1001.0, 1002.0, 1100.0]
    locked = []
    for at in times:
        guesses.failed(source, "1002", at)
        locked.append((guesses.locked(source, "1002", at), guesses.wait(source, "1002", at)))
    assert [number for number, states in enumerate(locked) if any(states)] == [12]
    assert locked[12] == (True, 1.0)
    assert not guesses.locked(other, "1002", 1002.0)


def test_who_goes_on_guessing_is_remembered_longest() -> None:
    """Others that come once push out each other, and not the one that is locked."""
    guesses = Guesses(LockOut(failures=3, remembered=4))
    guesser = "198.51.100.4"
    for number in range(3):
        guesses.failed(guesser, "1001", 0.0)
        for other in range(3):
            guesses.failed(f"203.0.113.{3 * number + other}", f"other{other}", 0.0)
    assert guesses.locked(guesser, "1002", 1.0)
