"""Access tokens and sign-ins: short, signed, for one gateway, and over when somebody signs out."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jwt
import pytest

from gateway.web.auth.sign_ins import SignIns
from gateway.web.auth.tokens import TokenError, Tokens, looks_like_token, sign_link, verify_link


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_says_who_for_five_minutes_at_most() -> None:
    """aud, iss, exp and jti are there (RFC 8725)."""
    clock = Clock()
    tokens = Tokens("gateway.local", clock)
    token = tokens.issue("alice", "s1")
    assert looks_like_token(token)
    claims = tokens.verify(token)
    assert (claims.user, claims.session) == ("alice", "s1")
    raw = jwt.decode(token, options={"verify_signature": False})
    assert raw["exp"] - raw["iat"] == 300
    assert tokens.verify(tokens.issue("alice", "s1")).id != claims.id
    clock.now += 300
    with pytest.raises(TokenError):
        tokens.verify(token)


def test_an_altered_foreign_or_unsigned_token_is_refused() -> None:
    """`alg: none`, another subject, another gateway's key, another issuer, garbage."""
    tokens = Tokens("gateway.local", Clock())
    token = tokens.issue("alice", "s1")
    head, body, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    forged = [
        f"{head}.{_part(claims | {'sub': 'bob'})}.{signature}",
        f"{_part({'alg': 'none', 'kid': kid})}.{body}.",
        jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": kid}),
        Tokens("gateway.local", Clock()).issue("alice", "s1"),
        "eyJ..",
        "eyJ" + "a" * 5_000 + ".b.c",
        "",
    ]
    for bad in forged:
        with pytest.raises(TokenError):
            tokens.verify(bad)


def test_gateways_of_one_key_and_two_names_believe_their_own_tokens_only() -> None:
    """The issuer tells them apart where the key does not, for links for guests, too."""
    ours, same, other = (Tokens(name, Clock(), shared_key=b"k" * 32) for name in ("one.test", "one.test", "two.test"))
    token = ours.issue("alice", "s1")
    assert same.verify(token).user == "alice"
    with pytest.raises(TokenError):
        other.verify(token)
    link = sign_link("l1", "600", 2_000_000, "one.test", b"k" * 32)
    assert verify_link(link, "one.test", b"k" * 32, 1_000_000) == "l1"
    for issuer, audience in (("two.test", "guest-link"), ("one.test", "sip-webrtc-gateway")):
        foreign = {"iss": issuer, "aud": audience, "jti": "l1", "to": "600", "exp": 2_000_000}
        with pytest.raises(TokenError):
            verify_link(jwt.encode(foreign, b"k" * 32, algorithm="HS256"), "one.test", b"k" * 32, 1_000_000)


def test_keys_rotate_and_an_old_one_checks_until_its_last_token_is_over() -> None:
    """A stolen key is worth an hour."""
    clock = Clock()
    tokens = Tokens("gateway.local", clock, lifetime=300, rotation=600)
    clock.now += 0
    tokens.issue("alice", "s1")
    clock.now += 599
    last_of_first = tokens.issue("alice", "s1")
    clock.now += 2
    second = tokens.issue("alice", "s1")
    assert jwt.get_unverified_header(second)["kid"] != jwt.get_unverified_header(last_of_first)["kid"]
    assert tokens.verify(last_of_first).user == "alice"


MARKS = {"alice": "m1"}


def test_a_refresh_token_is_used_once_and_a_copy_ends_the_sign_in() -> None:
    """The tab beside it may still send the one before, for a moment (RFC 9700 section 4.14.2)."""
    clock = Clock()
    sign_ins = SignIns(clock, grace=30)
    entry, first = sign_ins.begin("alice", "m1")
    used = sign_ins.use(first, MARKS.get)
    assert used is not None
    second = used[1]
    assert second not in (None, first)
    again = sign_ins.use(first, MARKS.get)
    assert again == (entry, None)
    clock.now += 31
    assert sign_ins.use(first, MARKS.get) is None
    assert not sign_ins.lives(entry.id, MARKS.get)
    assert sign_ins.use(str(second), MARKS.get) is None


def test_another_password_ends_the_sign_ins_of_the_old_one() -> None:
    """Whoever changes it because it leaked is rid of the thief."""
    sign_ins = SignIns(Clock())
    entry, token = sign_ins.begin("alice", "m1")
    assert sign_ins.use(token, {"alice": "m2"}.get) is None
    assert not sign_ins.lives(entry.id, MARKS.get)


def test_sign_ins_are_bounded_and_the_one_unused_for_longest_gives_way() -> None:
    """For each user and in all."""
    clock = Clock()
    sign_ins = SignIns(clock, limit=4, limit_per_user=2)
    tokens = []
    for user in ("alice", "alice", "alice", "bob", "carol", "dave"):
        clock.now += 1
        tokens.append(sign_ins.begin(user, "m")[0].id)
    assert [sign_ins.lives(session, lambda user: "m") for session in tokens] == [False, False, True, True, True, True]


def test_sign_ins_outlive_a_restart_and_the_file_holds_no_token(tmp_path: Path) -> None:
    """Hashes only, readable by the gateway's user only; a damaged file is begun anew."""
    path = tmp_path / "sign-ins.json"
    entry, token = SignIns(Clock(), path).begin("alice", "m1")
    assert token.partition(".")[2] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    again = SignIns(Clock(), path)
    assert again.lives(entry.id, MARKS.get)
    assert again.use(token, MARKS.get) is not None
    path.write_text("{")
    assert len(SignIns(Clock(), path)) == 0
