"""What is made of the values of a call that another gateway has left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.access.gatekeeper import TRUNK
from gateway.call.journal import Values, read
from gateway.call.status import Cause
from gateway.legs.web import BrowserLeg
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.sip.invite.resumed import session_asked, session_moved
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.web.facade import LeftCall


def left_call(leg: BrowserLeg, values: Values, cause: Cause | None = None) -> LeftCall:
    """As its page knows it: by what it dialled, or by who called it."""
    caller = values["legs"][0]
    other = leg.address.uri if caller is None else caller["address"]["uri"]
    name = "" if caller is None or leg.is_caller else caller["address"]["display_name"]
    peer = values["dialled"] if leg.is_caller else other
    assert leg.in_use is not None
    return LeftCall(
        user=leg.user,
        call=leg.in_use,
        peer_id=peer,
        name=name,
        outgoing=leg.is_caller,
        cause=cause,
        session=leg.session,
        age=values.get("age", 0.0),
    )


def trunks_of(values: Values) -> list[str]:
    """The names of the trunks by which it went out."""
    return [
        leg["identity"].removeprefix(TRUNK)
        for leg in values["legs"]
        if leg is not None and not leg.get("is_caller", True) and (leg.get("identity") or "").startswith(TRUNK)
    ]


def _with_sessions(values: Values, change: Callable[[Values], Values]) -> dict[str, Any]:
    """Those of a call, each session changed of whoever is in it or leaving it."""

    def changed(leg: dict[str, Any] | None) -> dict[str, Any] | None:
        kept = {name: leg.get(name, ()) for name in ("sessions", "leaving")} if leg is not None else {}
        return leg and leg | {name: [change(session) for session in kept[name]] for name in kept}

    return {**values} | {name: [changed(leg) for leg in values[name]] for name in ("legs", "targets")}


def taken_up(record: bytes, times: int) -> dict[str, Any]:
    """The values of a call that is taken up for the `times`-th time since they were written. Raises JournalError.

    Who took it up before may have used numbers that they know nothing of: ours are past those too. Of those of its
    media "taken_up" tells the engine.
    """
    values = read(record)
    for _ in range(times - 1):
        values = asked(values)
    return values | {"taken_up": times}


def together(values: Values) -> dict[str, Any]:
    """Those of a call that ends, for everybody alike: with the sessions of those who were leaving it."""

    def joined(leg: dict[str, Any] | None) -> dict[str, Any] | None:
        return leg and {**leg, "sessions": (*leg.get("sessions", ()), *leg.get("leaving", ())), "leaving": ()}

    return {**values} | {name: [joined(leg) for leg in values[name]] for name in ("legs", "targets")}


def asked(values: Values) -> dict[str, Any]:
    """As a call is to be found once its end has been told: requests of ours have used their numbers.

    A session that cannot be read stays as it is: the others are told all the same.
    """
    return _with_sessions(values, _asked)


def _asked(session: Values) -> Values:
    try:
        return session_asked(session)
    except (LookupError, TypeError, AttributeError):
        return session


def left_beside(values: Values) -> list[tuple[str, dict[str, Any], Cause]]:
    """Of a call that goes on, whom else the process before had asked, who are to ring no more, and why.

    Each with what its own record has behind the id of the call.
    """
    cancelled = [{**leg, "sessions": leg["leaving"], "leaving": ()} for leg in values["legs"] if leg.get("leaving")]
    parts = ("-targets", values["targets"], Cause.ERROR), ("-cancelled", cancelled, Cause.ELSEWHERE)
    return [
        (name, {**values, "legs": [None, None], "targets": targets, "is_rest": True}, cause)
        for name, targets, cause in parts
    ]


def moved_to(user_agent: UserAgent, values: Values) -> dict[str, Any]:
    """A call of another gateway, whose peers are to send their requests here from now on."""

    def contact(flow: Flow, former: Uri) -> NameAddr:
        return user_agent.contact(flow, former.user, secure=former.scheme == "sips")

    return _with_sessions(values, lambda session: session_moved(session, contact))
