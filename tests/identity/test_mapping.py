"""SIP URI to web user and back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.identity.mapping import MAX_URI_LENGTH, IdentityMap, Rule
from gateway.identity.model import User
from tests.rows import by_row

DOMAIN = "gateway.local"
ALICE = User("alice", web=True, aliases=("2001", "sip:alice@example.com"))
BOB = User("bob", web=True)
DESK = User("1001", sip=True)
BOTH = User("both", sip=True, web=True)
ONE = Rule("sip:1{user}@*", "{user}")


def found(uri: str, *rules: Rule, users: tuple[User, ...] = (ALICE, BOB, DESK, BOTH)) -> str | None:
    user = IdentityMap(users, rules, DOMAIN).find(uri)
    return user.id if user is not None else None


@by_row(
    "uri",
    [
        "alice",
        "sip:alice",
        "sip:alice@gateway.local",
        "SIP:alice@GATEWAY.Local",
        "sips:alice@gateway.local",
        "sip:alice@gateway.local:5060",
        "sip:alice@gateway.local;transport=udp",
        "sip:alice@gateway.local?subject=x%40y",
        "sip:alice:hunter2@gateway.local",
        "sip:%61lice@gateway.local",
        "sip:alic%65@gateway.local",
    ],
)
def test_exact_id_in_every_spelling(uri: str) -> None:
    """Scheme, host case, port, parameters, headers, password and escapes do not change who is meant (19.1.4)."""
    assert found(uri) == "alice"


@by_row(
    "uri",
    [
        "",
        "sip:alice@elsewhere.example",
        "sip:alice@gateway.local@evil",
        "sip:@gateway.local",
        "sip:alice@",
        "sip:",
        "sip:alice%0d%0a@gateway.local",
        "sip:alice%00@gateway.local",
        "sip:%ff%fe@gateway.local",
        "mailto:alice@gateway.local",
        "alice" * 200,
    ],
)
def test_nobody_is_meant(uri: str) -> None:
    """Another host is another address, and what is malformed means nobody."""
    assert found(uri) is None


@by_row("name", ["Alice", "sip:ALICE@gateway.local", "\uff41\uff4c\uff49\uff43\uff45"])
def test_case_and_width_do_not_make_another_person(name: str) -> None:
    """People write "Alice"; whoever could be taken for her is her."""
    assert found(name) == "alice"


def test_ids_that_differ_in_case_only_are_two_people() -> None:
    """Each is found as written, and no other spelling means either."""
    users = (User("bob", web=True), User("Bob", web=True))
    assert [found(name, users=users) for name in ("bob", "Bob", "BOB")] == ["bob", "Bob", None]


def test_ipv6_host_is_compared_without_port() -> None:
    """A bracketed host keeps its colons and loses only the port."""
    users = (User("alice", web=True, aliases=("sip:al@[2001:DB8::1]",)),)
    assert found("sip:al@[2001:db8::1]:5080", users=users) == "alice"
    assert found("sip:al@[2001:db8::2]:5080", users=users) is None


def test_alias_is_a_user_part_or_a_uri() -> None:
    """A bare alias counts in our domain, as the number of a `tel:` URI does (RFC 3966); a URI alias at its own host."""
    assert found("2001") == "alice"
    assert found("sip:2001@gateway.local") == "alice"
    assert found("tel:2001") == "alice"
    assert found("tel:20-01;phone-context=x") == "alice"
    assert found("sip:2001@example.com") is None
    assert found("sip:alice@EXAMPLE.com") == "alice"


def test_rule_captures_the_user() -> None:
    """What the placeholder captured names the user."""
    assert found("sip:1alice@pbx.example.com", ONE) == "alice"
    assert found("1alice", ONE) == "alice"
    assert found("sip:1nobody@pbx.example.com", ONE) is None
    assert found("sip:2alice@pbx.example.com", ONE) is None


def test_placeholder_does_not_cross_a_dot() -> None:
    """A capture holds neither @ nor a dot, and never nothing."""
    users = (User("a.b", web=True), User("b", web=True))
    rule = Rule("sip:x{user}@*", "{user}")
    assert found("sip:xa.b@h", rule, users=users) is None
    assert found("sip:xb@h", rule, users=users) == "b"
    assert found("sip:x@h", rule, users=users) is None
    assert found("sip:xa%40b@h", rule, users=users) is None


def test_placeholder_in_the_host() -> None:
    """A host label can name the user, whatever its case."""
    rule = Rule("sip:*@{user}.Phones.example", "{user}")
    assert found("sip:anything@Alice.phones.EXAMPLE", rule) == "alice"
    assert found("sip:anything@a.alice.phones.example", rule) is None


def test_star_stands_for_anything_or_nothing() -> None:
    """A star crosses dots and may be empty."""
    rule = Rule("sip:*-{user}@*.example", "{user}")
    assert found("sip:-alice@a.b.example", rule) == "alice"
    assert found("sip:x.y-alice@.example", rule) == "alice"
    assert found("sip:x.y-alice@example", rule) is None


def test_escapes_of_a_rule_are_decoded() -> None:
    """A rule's user part is compared decoded, as the URI's is."""
    assert found("sip:%31-alice@h", Rule("sip:%31-{user}@*", "{user}")) == "alice"


def test_exact_comes_before_alias_before_rules_in_order() -> None:
    """The order of precedence does not depend on the order of the users."""
    users = (User("x", sip=True), User("1x", sip=True), User("y", sip=True, aliases=("1z",)), User("z", sip=True))
    rules = (ONE, Rule("sip:{user}@*", "{user}"))
    for order in (users, users[::-1]):
        assert found("1x", *rules, users=order) == "1x"
        assert found("1z", *rules, users=order) == "y"
        assert found("sip:1x@elsewhere", *rules, users=order) == "x"
        assert found("sip:y@elsewhere", *rules, users=order) == "y"


def test_rule_that_names_nobody_lets_the_next_one_try() -> None:
    """The first rule that matches and names a user counts."""
    rules = (Rule("sip:1{user}@*", "{user}"), Rule("sip:{a}l{b}@*", "alice"))
    assert found("sip:1l2@h", *rules) == "alice"


def test_map_lists_its_users() -> None:
    """Users come in the order they were given, and are reached by their exact id only."""
    identities = IdentityMap((BOB, ALICE), (), "Gateway.Local")
    assert identities.users == (BOB, ALICE)
    assert identities.by_id("alice") == ALICE
    assert identities.by_id("2001") is None
    assert identities.domain == DOMAIN


def test_sip_uri_without_rules_is_the_id() -> None:
    """Without rules a user is sip:ID@domain, and a guest's id is escaped into that form."""
    identities = IdentityMap((ALICE,), (), "Gateway.Local")
    assert identities.sip_uri("alice") == "sip:alice@gateway.local"
    assert identities.sip_uri("guest 1@x\r\n") == "sip:guest%201%40x%0D%0A@gateway.local"
    assert identities.aor(ALICE) == "sip:alice@gateway.local"


def test_sip_uri_by_rule_leads_back() -> None:
    """A rule gives web users their SIP URI, and that URI finds them; SIP accounts keep their own."""
    identities = IdentityMap((ALICE, DESK, BOTH), (ONE,), DOMAIN)
    assert identities.sip_uri("alice") == "sip:1alice@gateway.local"
    assert identities.find(identities.sip_uri("alice")) == ALICE
    assert identities.sip_uri("1001") == "sip:1001@gateway.local"
    assert identities.sip_uri("both") == "sip:both@gateway.local"


def test_sip_uri_uses_the_host_of_a_rule() -> None:
    """A host without star is used as it stands; a star inside the user part makes a rule one-way."""
    assert IdentityMap((ALICE,), (Rule("sip:w-{user}@PBX.example", "{user}"),), DOMAIN).sip_uri("alice") == (
        "sip:w-alice@pbx.example"
    )
    for one_way in (Rule("sip:*{user}@*", "{user}"), Rule("sip:1{user}@*.example", "{user}")):
        if "*{" in one_way.sip:
            with pytest.raises(ConfigError, match="ambiguous"):
                IdentityMap((ALICE,), (one_way,), DOMAIN)
        else:
            assert IdentityMap((ALICE,), (one_way,), DOMAIN).sip_uri("alice") == "sip:alice@gateway.local"


@by_row(
    ("users", "rules", "key", "reason"),
    [
        ((ALICE, ALICE), (), "users.1.id", "twice"),
        ((ALICE, User("x", web=True, aliases=("2001",))), (), "users.1.aliases.0", "'alice'"),
        ((ALICE, User("x", web=True, aliases=("sip:x@h", "alice"))), (), "users.1.aliases.1", "'alice'"),
        ((User("x", web=True, aliases=("y",)), User("y", web=True)), (), "users.0.aliases.0", "'y'"),
        ((User("x", web=True, aliases=("sip:a@b@c",)),), (), "users.0.aliases.0", "neither"),
        ((ALICE,), (ONE, Rule("sip:1{name}@*", "x{name}")), "identity.rules.1.sip", "rule 0"),
        ((ALICE,), (Rule("1{user}", "{user}"),), "identity.rules.0.sip", "sip:USER@HOST"),
        ((ALICE,), (Rule("sip:{a}{b}@*", "{a}"),), "identity.rules.0.sip", "ambiguous"),
        ((ALICE,), (Rule("sip:{a@*", "{a}"),), "identity.rules.0.sip", "brace"),
        ((ALICE,), (Rule("sip:{a}@{a}", "{a}"),), "identity.rules.0.sip", "twice"),
        ((ALICE,), (Rule("sip:{a}-{a}@*", "{a}"),), "identity.rules.0.sip", "twice"),
        ((ALICE,), (Rule("sip:{a}@*", "{b}"),), "identity.rules.0.web", "does not appear"),
        ((ALICE,), (Rule("sip:{a}@*", "*"),), "identity.rules.0.web", "\\*"),
        ((ALICE,), (Rule("sip:{a}@*", ""),), "identity.rules.0.web", "one user"),
        ((User("001", web=True), DESK), (ONE,), "identity.rules.0", "means user '1001'"),
        ((User("a.b", web=True),), (Rule("sip:1{x}.{y}@*", "{x}.{y}"), Rule("sip:{u}.b@*", "a.b")), "", ""),
    ],
)
def test_contradictions_are_found_at_load(
    users: tuple[User, ...], rules: tuple[Rule, ...], key: str, reason: str
) -> None:
    """Two entries that claim one name, and rules that cannot be read or lead astray, name their key."""
    if not key:
        assert IdentityMap(users, rules, DOMAIN).sip_uri("a.b") == "sip:1a.b@gateway.local"
        return
    with pytest.raises(ConfigError, match=reason) as caught:
        IdentityMap(users, rules, DOMAIN)
    assert caught.value.key == key


def test_alias_of_a_users_own_is_no_contradiction() -> None:
    """Naming one's own id or one alias twice harms nothing."""
    assert found("x", users=(User("x", web=True, aliases=("x", "y", "y")),)) == "x"


names = st.text("abcXYZ019-_+", min_size=1, max_size=12)


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.sampled_from(("sip:9{u}@*", "sip:w~{u}~@pbx.example")))
def test_every_web_user_is_found_by_its_own_sip_uri(ids: list[str], pattern: str) -> None:
    """For every map that loads, web user to SIP URI and back is the identity."""
    users = tuple(User(each, web=True) for each in ids)
    rules = (Rule(pattern, "{u}"),)
    if pattern.startswith("sip:9") and any(f"9{each}" in ids for each in ids):
        # "9x" beside "x": one URI would mean two users.
        with pytest.raises(ConfigError, match="but that means"):
            IdentityMap(users, rules, DOMAIN)
        return
    identities = IdentityMap(users, rules, DOMAIN)
    for user in users:
        assert identities.find(identities.sip_uri(user.id)) == user


@given(st.text(max_size=600))
def test_any_text_is_answered(text: str) -> None:
    """Whatever is asked, the answer is a user or None."""
    identities = IdentityMap((ALICE, BOB), (ONE, Rule("sip:{a}-{b}-*-{c}@{d}.x.*", "{a}")), DOMAIN)
    for uri in (text, f"sip:{text}", f"sip:{text}@{text}", f"tel:{text}"):
        user = identities.find(uri)
        assert user is None or user in (ALICE, BOB)


def test_hostile_uri_costs_no_more_than_a_plain_one() -> None:
    """A URI made to send a backtracking matcher astray is answered in linear time."""
    rules = tuple(Rule(f"sip:{'*a' * 20}{index}{{u}}@*", "{u}") for index in range(20))
    identities = IdentityMap((ALICE,), rules, DOMAIN)
    hostile = "sip:" + "a" * (MAX_URI_LENGTH - 6) + "@h"
    started = time.process_time()
    for _ in range(20):
        assert identities.find(hostile) is None
    # A backtracking matcher would need longer than the universe has; this takes some milliseconds.
    assert time.process_time() - started < 2.0
