"""Whose rights a leg has that asks for a transfer, where guests are welcome and where they are not."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.app import settings
from gateway.call.leg import Address, Leg
from gateway.config import load
from gateway.dialing.rights import LegRights
from gateway.identity.mapping import IdentityMap
from gateway.trunks.accounts import Accounts
from tests.rows import by_row


class _Leg:
    def __init__(self, identity: str) -> None:
        self.identity = identity


@pytest.mark.parametrize(("guests", "may_call"), [("true", ("600",)), ("false", ())])
def test_a_guest_transfers_to_whom_guests_may_call_where_they_are_welcome(
    guests: str, may_call: tuple[str, ...]
) -> None:
    """web.guests, web.guests_may_call; who is here by a link all the same gets nothing by it."""
    users = '[{"id": "alice", "web": true, "may_call": ["1*"]}]'
    environ = {"USERS": users, "WEB__GUESTS": guests, "WEB__GUESTS_MAY_CALL": '["600"]'}
    config = load(None, {f"GATEWAY_{key}": value for key, value in environ.items()})
    identity = IdentityMap(config.identity_users(), [], config.domain)
    rights = LegRights(identity, Accounts(bytes(32)), settings.guests_may_call(config))
    guest, alice = (rights.caller_of(cast(Leg, _Leg(one))) for one in ("guest-1", "alice"))
    assert guest is not None
    assert alice is not None
    assert (guest.may_call, guest.guest) == (may_call, True)
    assert alice.may_call == ("1*",)


class _Callee(_Leg):
    def __init__(self, identity: str | None, uri: str) -> None:
        self.identity = identity  # type: ignore[assignment]
        self.address = Address(uri)


@by_row(
    ("identity", "uri", "may_call"),
    [
        ("alice", "sip:alice@gateway.local", ("1*",)),
        ("trunk:pbx", "sip:2001@pbx.test", ("*", "trunk:pbx")),
        (None, "sip:bob@Friends.Example:5070;transport=tcp", ("*", "*@friends.example", "*@friends.example:*")),
        (None, "sip:bob@[2001:DB8:0::9]:5070", ("*", "*@[[]2001:db8::9]", "*@[[]2001:db8::9]:*")),
        (None, "sip:bob@b*d.example", ("*", "*@b[*]d.example", "*@b[*]d.example:*")),
        ("node:b", "sip:alice@gateway.local", None),
    ],
)
def test_who_redirects_a_call_has_the_rights_of_its_own(
    identity: str | None, uri: str, may_call: tuple[str, ...] | None
) -> None:
    """A user's, a trunk's back to itself, a stranger's to its own domain; another gateway has asked its own rights."""
    config = load(None, {"GATEWAY_USERS": '[{"id": "alice", "web": true, "may_call": ["1*"]}]'})
    rights = LegRights(IdentityMap(config.identity_users(), [], config.domain), Accounts(bytes(32)), ())
    caller = rights.of_leg(cast(Leg, _Callee(identity, uri)))
    assert (None if caller is None else caller.may_call) == may_call
