"""Digest authentication: the RFCs' vectors, the stateless server, the bound client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.auth.server import (
    DigestInput,
    DigestResult,
    DigestServer,
    NoncePolicy,
    Nonces,
    ha1_of,
    hash_of,
    response_of,
)
from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.build import response
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.values import AuthValue
from tests.rows import by_row

REALM = "gateway.example"
SECRET = bytes(range(32))
PEER = "udp:sip.example.com"
NOW = 1_000_000.0


def request(method: str = "INVITE", uri: str = "sip:1001@gateway.example", authorization: str = "") -> Request:
    lines = [
        f"{method} {uri} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From: <sip:alice@gateway.example>;tag=1",
        "To: <sip:1001@gateway.example>",
        "Call-ID: c",
        f"CSeq: 1 {method}",
        *([f"Authorization: {authorization}"] if authorization else []),
    ]
    message = parse_message(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(message, Request)
    return message


def users(username: str, realm: str) -> dict[str, str] | None:
    if (username, realm) != ("alice", REALM):
        return None
    return {algorithm: ha1_of(algorithm, "alice", REALM, "wonder") for algorithm in ("MD5", "SHA-256")}


def challenge(server: DigestServer, to: Request, now: float = NOW, *, stale: bool = False) -> Response:
    fields = [("WWW-Authenticate", value) for value in server.challenges(now, stale=stale)]
    message = parse_message(response(to, 401, to_tag="t", headers=fields).write())
    assert isinstance(message, Response)
    return message


def client(password: str = "wonder", realm: str | None = REALM) -> DigestClient:
    return DigestClient(ClientCredentials("alice", PEER, realm, password))


def answered(server: DigestServer, to: Request | None = None, password: str = "wonder", now: float = NOW) -> Request:
    """A request with the answer to a fresh challenge, as it comes off the wire."""
    first = to or request()
    ours = client(password)
    assert ours.challenged(challenge(server, first, now), PEER)
    message = parse_message(ours.authorize(first, PEER, "0a4f113b").write())
    assert isinstance(message, Request)
    return message


def test_the_example_of_rfc_2617_comes_out() -> None:
    """RFC 2617 3.5."""
    ha1 = ha1_of("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    given_ = DigestInput(
        "MD5", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "GET", "/dir/index.html", "auth", "0a4f113b", "00000001"
    )
    assert response_of(ha1, given_) == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_come_out(algorithm: str, expected: str) -> None:
    """RFC 7616 3.9.1, which RFC 8760 takes over for SIP."""
    ha1 = ha1_of(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    given_ = DigestInput(
        algorithm,
        "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "GET",
        "/dir/index.html",
        "auth",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        "00000001",
    )
    assert response_of(ha1, given_) == expected


def test_auth_int_session_variants_and_no_qop_are_the_formulas_of_the_rfc() -> None:
    """RFC 7616 3.4.1 to 3.4.3, written out with the hash alone."""
    ha1, given_ = "a" * 32, DigestInput("MD5-sess", "n", "INVITE", "sip:x", "auth-int", "c", "00000001", b"body")
    session = hash_of("MD5", f"{ha1}:n:c")
    ha2 = hash_of("MD5", f"INVITE:sip:x:{hash_of('MD5', 'body')}")
    assert response_of(ha1, given_) == hash_of("MD5", f"{session}:n:00000001:c:auth-int:{ha2}")
    old = DigestInput("MD5", "n", "INVITE", "sip:x")
    assert response_of(ha1, old) == hash_of("MD5", f"{ha1}:n:{hash_of('MD5', 'INVITE:sip:x')}")
    assert len(hash_of("SHA-512-256", "x")) == 64
    with pytest.raises(SipBuildError):
        hash_of("CRC", "x")


def test_a_right_answer_is_ok_and_a_wrong_one_is_not() -> None:
    """The secret decides, for either algorithm; an unknown user is as wrong as a bad password."""
    server = DigestServer(REALM, SECRET)
    checked = server.check(answered(server), users, NOW)
    assert (checked.result, checked.username) == (DigestResult.OK, "alice")
    assert server.check(answered(server, password="x"), users, NOW).result is DigestResult.WRONG
    assert server.check(answered(server), lambda user, realm: None, NOW).result is DigestResult.WRONG
    only_md5 = DigestServer(REALM, SECRET, ("MD5",))
    assert only_md5.check(answered(only_md5), users, NOW).result is DigestResult.OK


def test_a_request_without_credentials_for_the_realm_is_missing_them() -> None:
    """No header, a foreign realm or a foreign scheme: challenge."""
    server, other = DigestServer(REALM, SECRET), DigestServer("else.example", SECRET)
    assert server.check(request(), users, NOW).result is DigestResult.MISSING
    ours = client(realm=None)
    first = request()
    assert ours.challenged(challenge(other, first), PEER)
    assert server.check(ours.authorize(first, PEER, "c"), users, NOW).result is DigestResult.MISSING
    assert server.check(request(authorization="Basic x"), users, NOW).result is DigestResult.MISSING
    assert server.check(answered(server), users, NOW, proxy=True).result is DigestResult.MISSING


def test_an_old_nonce_is_stale_and_not_wrong() -> None:
    """The right secret over an old nonce asks for a new nonce, not for a new password."""
    server = DigestServer(REALM, SECRET, policy=NoncePolicy(lifetime=300))
    message = answered(server)
    checked = server.check(message, users, NOW + 301)
    assert checked.stale
    assert server.challenges(NOW + 301, stale=True)[0].get("stale") == "true"
    assert server.check(answered(server, password="x"), users, NOW + 301).result is DigestResult.WRONG


def test_a_nonce_from_before_the_start_is_stale() -> None:
    """Another process may have taken it, count and all, and nobody here would know."""
    message = answered(DigestServer(REALM, SECRET))
    assert DigestServer(REALM, SECRET, since=NOW - 1).check(message, users, NOW + 1).result is DigestResult.OK
    assert DigestServer(REALM, SECRET, since=NOW).check(message, users, NOW + 1).stale


def test_a_replayed_count_is_stale() -> None:
    """The same nonce and count are good once, in whatever order counts come."""
    server = DigestServer(REALM, SECRET)
    ours, first = client(), request()
    assert ours.challenged(challenge(server, first), PEER)
    signed = [ours.authorize(first, PEER, "c") for _ in range(70)]
    for index in (0, 2, 1, 69, 68):
        assert server.check(signed[index], users, NOW).result is DigestResult.OK
    for index in (0, 1, 2, 68, 69):
        assert server.check(signed[index], users, NOW).stale
    # More than 64 below the highest: too old to tell.
    assert server.check(signed[3], users, NOW).stale


def test_another_secret_or_realm_makes_other_nonces() -> None:
    """A nonce that we did not make is stale, whatever it says."""
    server, stranger = DigestServer(REALM, SECRET), DigestServer(REALM, bytes(32))
    assert stranger.check(answered(server), users, NOW).stale
    nonces = Nonces(SECRET, REALM)
    nonce = nonces.make(NOW, b"salt")
    assert nonces.issued_at(nonce) == NOW
    assert nonce != nonces.make(NOW, b"pepper")
    for forged in (
        nonce[:-1] + "@",
        nonce[:-1] + ("A" if nonce[-1] != "A" else "B"),
        "x" + nonce,
        "",
        ".",
        "é" * 20,
        nonce * 9,
    ):
        assert nonces.issued_at(forged) is None
    assert Nonces(SECRET, "else").issued_at(nonce) is None
    with pytest.raises(SipBuildError):
        Nonces(b"short", REALM)


def test_remembered_nonces_are_bounded_and_forgetting_lets_no_replay_in() -> None:
    """With room for one nonce the older one is refused from then on instead of being good again."""
    server = DigestServer(REALM, SECRET, policy=NoncePolicy(remembered=1))
    old = answered(server, now=NOW)
    new = answered(server, now=NOW + 1)
    assert server.check(old, users, NOW + 1).result is DigestResult.OK
    assert server.check(new, users, NOW + 1).result is DigestResult.OK
    assert server.check(old, users, NOW + 1).stale


@by_row("by_another", [False, True])
@by_row("issued", [(2.0, 0.0, 3.0), (2.5, 1.0)])
def test_forgetting_lets_no_replay_in_whatever_order_nonces_are_used_in(
    issued: tuple[float, ...], by_another: bool
) -> None:
    """Also of one that was issued before a clock was put right by less than a second."""
    server, now = DigestServer(REALM, SECRET, policy=NoncePolicy(remembered=1)), NOW + 2
    maker = DigestServer(REALM, SECRET, node="another") if by_another else server
    made = {second: answered(maker, now=NOW + second) for second in sorted(issued)}
    for second in issued:
        assert server.check(made[second], users, now).result is DigestResult.OK
    assert server.check(made[issued[0]], users, now).stale


def test_forgetting_lets_no_replay_in_of_what_another_gateway_issued_whose_clock_was_set_back() -> None:
    """Its nonces say so, and are good here as those of any other are, once."""
    server = DigestServer(REALM, SECRET, policy=NoncePolicy(remembered=1))
    other = DigestServer(REALM, SECRET, node="other")
    challenge(other, request(), NOW + 3_600)
    taken = []
    for second in range(3):
        taken.append(answered(other, now=NOW + second))
        assert server.check(taken[-1], users, NOW + second).result is DigestResult.OK
    assert all(server.check(one, users, NOW + 3).stale for one in taken)


def test_nonces_at_the_end_of_their_life_are_not_remembered() -> None:
    """They are refused as stale in any case: what is remembered is what came in the last `lifetime` seconds."""
    server = DigestServer(REALM, SECRET, policy=NoncePolicy(lifetime=10))
    requests = []
    for second in range(30):
        requests.append(answered(server, now=NOW + second))
        assert server.check(requests[-1], users, NOW + second).result is DigestResult.OK
    assert server.check(requests[0], users, NOW + 30).stale
    assert len(server._seen) == 11


@pytest.mark.parametrize("remembered", [2, 50_000])
def test_a_clock_that_is_set_back_keeps_nobody_out_and_lets_no_replay_in(remembered: int) -> None:
    """What is issued then is good, though other nonces were forgotten at a later time; what was taken before is not."""
    server = DigestServer(REALM, SECRET, policy=NoncePolicy(remembered=remembered), since=NOW)
    before = [answered(server, now=NOW + second) for second in (1, 2, 3, 4)]
    for one in before:
        assert server.check(one, users, NOW + 5).result is DigestResult.OK
    for earlier in (100.0, 86_400.0):
        taken = []
        for second in range(4):
            taken.append(answered(server, now=NOW - earlier + second))
            assert server.check(taken[-1], users, NOW - earlier + second).result is DigestResult.OK
        for one in (*taken, *before):
            assert server.check(one, users, NOW - earlier + 4).stale


@pytest.mark.parametrize("later", [5.0, 3_600.0])
def test_what_was_forgotten_at_a_later_time_is_not_good_again_when_that_time_comes_back(later: float) -> None:
    """Whether there was no room for it or a clock let it run out, it is not what is issued at that time then."""
    server = DigestServer(REALM, SECRET, policy=NoncePolicy(remembered=2), since=NOW)
    taken = []
    for now in (NOW + 10, *(NOW + later + second for second in (10, 11, 12))):
        taken.append(answered(server, now=now))
        assert server.check(taken[-1], users, now).result is DigestResult.OK
    for back in (5, 7):
        for now in (NOW + back, NOW + 10, NOW + 11, NOW + 12):
            assert server.check(taken[0], users, now).stale
            new = answered(server, now=now)
            assert server.check(new, users, now).result is DigestResult.OK
            assert server.check(new, users, now).stale


@pytest.mark.parametrize("seconds", [3_600.0, 86_400.0])
def test_a_clock_that_is_set_on_and_back_lets_no_replay_in(seconds: float) -> None:
    """What came to the end of its life by the wrong clock is not good again by the right one; what is new then is."""
    server = DigestServer(REALM, SECRET, since=NOW)
    taken = answered(server, now=NOW + 10)
    assert server.check(taken, users, NOW + 10).result is DigestResult.OK
    assert server.check(answered(server, now=NOW + seconds), users, NOW + seconds).result is DigestResult.OK
    assert server.check(taken, users, NOW + 20).stale
    assert server.check(answered(server, now=NOW + 20), users, NOW + 20).result is DigestResult.OK


def test_a_start_after_the_clock_was_set_back_lets_no_replay_in() -> None:
    """What the process before had made by that clock is good at no time; what others make and what is new then is."""
    before = DigestServer(REALM, SECRET, since=NOW - 100, node="one", mark=1)
    taken, unused = answered(before, now=NOW), answered(before, now=NOW + 1)
    assert before.check(taken, users, NOW).result is DigestResult.OK
    after = DigestServer(REALM, SECRET, since=NOW - 3_600, node="one", mark=2)
    other = DigestServer(REALM, SECRET, node="two", mark=1)
    for now in (NOW - 3_600 + 1, NOW - 1_800, NOW + 0.5, NOW + 2):
        assert after.check(taken, users, now).stale
        assert after.check(unused, users, now).stale
        for maker in (other, after):
            new = answered(maker, now=now)
            assert after.check(new, users, now).result is DigestResult.OK
            assert after.check(new, users, now).stale


def test_clocks_that_are_set_back_twice_let_no_replay_in_of_what_another_gateway_issued() -> None:
    """The second time forgets nothing of the first: of the time between the two nobody knows which counts were used."""
    server = DigestServer(REALM, SECRET, since=NOW, node="one")
    taken = answered(DigestServer(REALM, SECRET, node="two"), now=NOW + 10)
    assert server.check(taken, users, NOW + 10).result is DigestResult.OK
    for now in (NOW + 3_600, NOW + 5, NOW):
        assert server.check(answered(server, now=now), users, now).result is DigestResult.OK
    assert server.check(taken, users, NOW + 10).stale


def test_a_clock_that_is_put_right_by_less_than_a_second_has_nobody_asked_again() -> None:
    """A nonce that was given just before is as good as it was."""
    server = DigestServer(REALM, SECRET, since=NOW)
    asked = answered(server, now=NOW + 10)
    assert server.check(asked, users, NOW + 9.5).result is DigestResult.OK


def test_two_users_may_share_a_nonce() -> None:
    """Challenges of one moment carry the same nonce; the counts are each user's own."""
    server = DigestServer(REALM, SECRET)

    def both(username: str, realm: str) -> dict[str, str]:
        return {"SHA-256": ha1_of("SHA-256", username, realm, "wonder")}

    first = request()
    for name in ("alice", "bob"):
        ours = DigestClient(ClientCredentials(name, PEER, REALM, "wonder"))
        assert ours.challenged(challenge(server, first), PEER)
        assert server.check(ours.authorize(first, PEER, "c"), both, NOW).result is DigestResult.OK


def rewrite(message: Request, **changes: str | None) -> Request:
    value = message.authorization[0]
    params = [(k, changes.get(k, v)) for k, v in value.params]
    kept = tuple((k, v) for k, v in params if v is not None)
    return message.with_header("Authorization", AuthValue("Digest", kept, value.quoted))


@by_row(
    "changes",
    [
        {"uri": "sip:2002@gateway.example"},
        {"uri": "sip:1001@else.example"},
        {"uri": "nonsense"},
        {"uri": None},
        {"nc": "1"},
        {"nc": "0000000g"},
        {"nc": "00000000"},
        {"nc": None},
        {"cnonce": None},
        {"qop": "other"},
        {"algorithm": "CRC"},
        {"algorithm": "SHA-512-256"},
        {"response": None},
        {"nonce": None},
        {"username": None},
    ],
)
def test_credentials_that_do_not_fit_are_malformed(changes: dict[str, str | None]) -> None:
    """Every part that the digest covers must be there and be about this request."""
    server = DigestServer(REALM, SECRET)
    assert server.check(rewrite(answered(server), **changes), users, NOW).result is DigestResult.MALFORMED


def test_the_digest_covers_method_and_uri() -> None:
    """An answer made for one request is wrong for another."""
    server = DigestServer(REALM, SECRET)
    value = answered(server).authorization[0]
    other = request("BYE").with_header("Authorization", value)
    assert server.check(other, users, NOW).result is DigestResult.WRONG


def test_a_port_or_parameter_that_a_proxy_changed_is_no_reason_to_refuse() -> None:
    """The digest's uri and the Request-URI must name the same user and host (RFC 3261 22.4)."""
    server = DigestServer(REALM, SECRET)
    value = answered(server).authorization[0]
    moved = request(uri="sip:1001@gateway.example:5070;transport=tcp").with_header("Authorization", value)
    assert server.check(moved, users, NOW).result is DigestResult.OK


def test_a_client_of_rfc_2069_is_served_once_per_nonce() -> None:
    """Without qop there is no count, so its nonce is good for one request."""
    server = DigestServer(REALM, SECRET, ("MD5",))
    nonce = server.challenges(NOW)[0].get("nonce") or ""
    uri = "sip:1001@gateway.example"
    digest = response_of(ha1_of("MD5", "alice", REALM, "wonder"), DigestInput("MD5", nonce, "INVITE", uri))
    value = f'Digest username="alice", realm="{REALM}", nonce="{nonce}", uri="{uri}", response="{digest}"'
    message = request(authorization=value)
    assert server.check(message, users, NOW).result is DigestResult.OK
    assert server.check(message, users, NOW).stale


def test_secrets_never_show() -> None:
    """repr of credentials, nonces and values gives no secret away."""
    credentials = ClientCredentials("alice", PEER, REALM, "wonder", (("MD5", "deadbeef"),))
    assert "wonder" not in repr(credentials)
    assert "deadbeef" not in repr(credentials)
    assert repr(SECRET) not in repr(Nonces(SECRET, REALM))
    assert "response" not in repr(answered(DigestServer(REALM, SECRET)).authorization)


def test_the_strongest_known_algorithm_is_answered() -> None:
    """RFC 8760 2.4: several challenges of a realm are one choice."""
    server = DigestServer(REALM, SECRET, ("MD5", "SHA-256"))
    assert answered(server).authorization[0].get("algorithm") == "SHA-256"
    ha1 = (("MD5", ha1_of("MD5", "alice", REALM, "wonder")),)
    ours = DigestClient(ClientCredentials("alice", PEER, REALM, None, ha1))
    first = request()
    assert ours.challenged(challenge(server, first), PEER)
    signed = ours.authorize(first, PEER, "c")
    assert [value.get("algorithm") for value in signed.authorization] == ["MD5"]
    assert server.check(signed, users, NOW).result is DigestResult.OK


@by_row("peer", ["udp:evil.example", "tcp:sip.example.com", ""])
def test_a_challenge_from_elsewhere_is_never_answered(peer: str) -> None:
    """CVE-2021-41158: whoever challenges our requests must be the account's own server."""
    server, ours, first = DigestServer(REALM, SECRET), client(), request()
    assert not ours.challenged(challenge(server, first), peer)
    assert ours.authorize(first, PEER, "c") == first
    assert ours.challenged(challenge(server, first), PEER)
    assert ours.authorize(first, peer, "c") == first


def test_a_challenge_for_another_realm_is_not_answered() -> None:
    """Credentials are bound to their realm."""
    other = DigestServer("evil.example", SECRET)
    assert not client().challenged(challenge(other, request()), PEER)


def test_a_refused_answer_is_not_repeated() -> None:
    """A second challenge that is not stale means the secret is wrong: the request is over (RFC 3261 22.2)."""
    server, ours, first = DigestServer(REALM, SECRET), client("wrong"), request()
    assert ours.challenged(challenge(server, first), PEER)
    ours.authorize(first, PEER, "c")
    assert not ours.challenged(challenge(server, first, NOW + 1), PEER)


def test_a_stale_nonce_is_answered_a_bounded_number_of_times() -> None:
    """stale=true asks again with the same secret, but not for ever."""
    server, ours, first = DigestServer(REALM, SECRET), client(), request()
    rounds = 0
    while ours.challenged(challenge(server, first, NOW + rounds, stale=True), PEER):
        ours.authorize(first, PEER, "c")
        rounds += 1
        assert rounds < 20
    assert rounds == 5


def test_a_nonce_is_used_again_with_a_rising_count_until_it_is_replaced() -> None:
    """Later requests go out signed at once; after a success a plain challenge is taken as an old nonce."""
    server, ours, first = DigestServer(REALM, SECRET), client(), request()
    assert ours.challenged(challenge(server, first), PEER)
    counts = [ours.authorize(first, PEER, "c").authorization[0].get("nc") for _ in range(3)]
    assert counts == ["00000001", "00000002", "00000003"]
    ours.accepted(PEER)
    assert ours.challenged(challenge(server, first, NOW + 400), PEER)
    assert ours.authorize(first, PEER, "c").authorization[0].get("nc") == "00000001"


def test_proxy_challenges_of_several_realms_are_answered_together() -> None:
    """RFC 3665 3.03: each proxy on the way has its own realm, and the request carries both answers."""
    ours, first = client(realm=None), request()
    for realm in ("one.example", "two.example"):
        fields = [("Proxy-Authenticate", v) for v in DigestServer(realm, SECRET).challenges(NOW)]
        reply = response(first, 407, headers=fields)
        assert ours.challenged(reply, PEER)
        first = ours.authorize(first, PEER, "c")
    assert [value.get("realm") for value in first.proxy_authorization] == ["one.example", "two.example"]
    assert first.authorization == ()


@by_row(
    "value",
    [
        'Digest realm="gateway.example"',
        'Digest nonce="1"',
        'Digest realm="gateway.example", nonce="1", algorithm=CRC',
        'Digest realm="gateway.example", nonce="1", qop="other"',
        "Basic realm=x",
    ],
)
def test_a_challenge_that_cannot_be_answered_is_not_taken(value: str) -> None:
    """Unknown schemes, algorithms and qop values leave the request refused."""
    reply = response(request(), 401, headers=[("WWW-Authenticate", value)])
    assert not client().challenged(reply, PEER)


def test_a_challenge_without_qop_and_with_opaque_is_answered_in_its_own_way() -> None:
    """RFC 2069 servers get no cnonce, and opaque comes back as it was."""
    value = f'Digest realm="{REALM}", nonce="n", opaque="o", algorithm=MD5-sess'
    ours, first = client(), request()
    assert ours.challenged(response(first, 401, headers=[("WWW-Authenticate", value)]), PEER)
    sent = ours.authorize(first, PEER, "c").authorization[0]
    assert (sent.get("qop"), sent.get("nc"), sent.get("opaque"), sent.get("cnonce")) == (None, None, "o", "c")


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200))
def test_any_credentials_give_a_verdict_or_a_syntax_error(text: str) -> None:
    """Whatever stands in Authorization, nothing else comes out."""
    server = DigestServer(REALM, SECRET)
    message = request().with_header("Authorization", f'Digest realm="{REALM}", {text}')
    try:
        assert server.check(message, users, NOW).result in (
            DigestResult.MALFORMED,
            DigestResult.MISSING,
            DigestResult.WRONG,
        )
    except SipSyntaxError:
        return
