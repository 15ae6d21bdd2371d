"""Methods beside the two dialects: `ping`, the calls of this connection (`call.*`), and topics (`control.*`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NoReturn

from gateway.call.status import Cause
from gateway.web import checks
from gateway.web.facade import AccountError, PlaceError
from gateway.web.rpc.calls import Calls
from gateway.web.rpc.dialects import Problem, problem_of
from gateway.web.rpc.directory import Held
from gateway.web.rpc.entry import Entry, State, outcome, shown
from gateway.web.rpc.methods import Handler, Reply
from gateway.web.rpc.params import Params, invalid
from gateway.web.rpc.peer import Peer

_MAX_DATA = 16_384
_NOT_YET = {
    "control.set_node_state": "there is no pipeline whose nodes have a state",
    "control.flush_audio": "there is no pipeline whose audio could be flushed",
}


async def ping(peer: Peer, params: Params) -> Reply:
    """ping{}: also before announce."""
    return Reply({"pong": True, "timestamp": int(time.time() * 1000)})


def _entry(peer: Peer, params: Params) -> Entry:
    call_id = params.identifier("call_id")
    entry = peer.calls.by_id(call_id)
    if entry is None:
        raise peer.not_found(call_id)
    return entry


async def call_list(peer: Peer, params: Params) -> Reply:
    """call.list{all?}: the calls of this connection; with `all` those of the user's other devices too."""
    calls = [shown(entry) | {"here": True} for entry in peer.calls.entries()]
    if params.raw.get("all") and not peer.is_guest:
        calls += [shown(entry) | {"here": False} for entry in peer.elsewhere()]
    return Reply({"calls": calls, "count": len(calls)})


async def call_attach(peer: Peer, params: Params) -> Reply:
    """call.attach{call_id, sdp?, after?}: take a call of the same user, after a reload, a cut, or from another device.

    The result says how the call stands; then comes what was told of it after number `after`, and, where `sdp` is a
    new offer (an ICE restart, a new connection), its `answer`.
    """
    call_id = params.identifier("call_id")
    sdp = params.sdp() if "sdp" in params else None
    user, directory = peer.announced().id, peer.context.directory
    if (over := directory.ended(user, call_id)) is not None:
        return Reply(over)
    held = directory.find(user, call_id) or _left(peer, call_id, params)
    if held is not None:
        return _attached(peer, held, params, sdp)
    found: list[Reply] = []

    async def came() -> dict[str, Any]:
        come = await peer.context.gateway.call_to_come(user, call_id)
        late = (peer.context.directory.find(user, call_id) or _left(peer, call_id, params)) if come else None
        if late is None:
            raise peer.not_found(call_id)
        reply = _attached(peer, late, params, sdp)
        found.append(reply)
        assert isinstance(reply.value, dict)
        return reply.value

    def take() -> None:
        for reply in found:
            if reply.then is not None:
                reply.then()

    return Reply(came, then=take)


def _attached(peer: Peer, held: Held, params: Params, sdp: str | None) -> Reply:
    """How a call stands that is this connection's from now on."""
    entry = held.entry
    if entry.state is State.ENDED:
        return Reply(outcome(entry))
    seq, former = entry.seq, held.calls
    after = params.number("after") if "after" in params else seq

    def take() -> None:
        peer.repeat(entry, after)
        if former is not peer.calls:
            peer.context.directory.add(held.user, peer.calls, entry)
            peer.calls.take_over(entry, former, sdp)
        elif sdp is not None:
            peer.calls.reoffer(entry, sdp)

    return Reply(shown(entry) | {"seq": seq}, then=take)


def _left(peer: Peer, call_id: str, params: Params) -> Held | None:
    """A call that the user had before the gateway was started anew; its numbers go on after the client's."""
    user, context = peer.announced().id, peer.context
    left = context.gateway.left_call(user, call_id)
    if left is None:
        return None
    entry = Entry(left.call, left.peer_id, left.outgoing, State.ANSWERED, call_id, left.name, described=True)
    entry.connected, entry.held = True, None
    entry.seq = params.number("after") if "after" in params else 0
    if left.cause is not None:
        entry.state, entry.cause = State.ENDED, left.cause
    former = Calls(peer, context.settings, asyncio.get_running_loop().call_soon)
    former.close()
    context.directory.add(user, former, entry)
    return context.directory.find(user, call_id)


async def call_leave(peer: Peer, params: Params) -> Reply:
    """call.leave{}: the page goes (a reload or a closed tab): its calls wait some seconds only."""
    grace = peer.context.settings.leave_grace
    peer.calls.leave(grace)
    return Reply({"grace": grace})


async def call_dtmf(peer: Peer, params: Params) -> Reply:
    """call.dtmf{call_id, digit, duration?}"""
    entry, digit, duration = _entry(peer, params), params.digit(), params.duration()

    async def pressed() -> dict[str, Any]:
        await peer.press(entry, digit, duration)
        return {"call_id": entry.call.id, "digit": digit}

    return Reply(pressed)


async def call_forward(peer: Peer, params: Params) -> Reply:
    """call.forward{always?, busy?, no_answer?, after?, do_not_disturb?}: change what is given, null ends it."""
    user, gateway = peer.announced(), peer.context.gateway
    if peer.is_guest:
        raise peer.dialect.error(Problem.REFUSED, "Guests have no calls to forward")
    changes = params.forwarding()
    if not changes:
        return Reply(gateway.forwarding(user))
    try:
        return Reply(gateway.forward(user, changes))
    except PlaceError as error:
        data = {"cause": error.cause.word, "status": error.status, "reason": error.cause.sentence}
        raise peer.dialect.error(Problem.REFUSED, str(error), data) from None


async def call_hangup(peer: Peer, params: Params) -> Reply:
    """call.hangup{call_id, reason?}: as disconnect; also a call that another connection of the user has, or had."""
    call_id, reason = params.identifier("call_id"), params.reason()
    entry = peer.calls.by_id(call_id)
    if entry is not None:
        peer.calls.hang_up(entry, reason)
        return Reply({"call_id": call_id})
    held = peer.context.directory.find(peer.announced().id, call_id) or _left(peer, call_id, params)
    if held is None or held.entry.state is State.ENDED:
        raise peer.not_found(call_id)
    held.calls.end(held.entry)
    return Reply({"call_id": call_id})


async def call_hold(peer: Peer, params: Params) -> Reply:
    """call.hold{call_id, sdp}: the offer whose media is sendonly or inactive (RFC 3264 section 8.4)."""
    return _change(peer, params, ("sendonly", "inactive"))


async def call_resume(peer: Peer, params: Params) -> Reply:
    """call.resume{call_id, sdp}: the offer whose media is sendrecv again."""
    return _change(peer, params, ("sendrecv", "recvonly"))


class _Outcome:
    """What becomes of a transfer, for whoever waits for it (gateway.call.leg.TransferReport)."""

    def __init__(self) -> None:
        self.cause: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    def accepted(self) -> None:
        """The result says it all."""

    def ringing(self) -> None:
        """The result says it all."""

    def ended(self, cause: Cause) -> None:
        if not self.cause.done():
            self.cause.set_result(cause)


async def call_transfer(peer: Peer, params: Params) -> Reply:
    """call.transfer{call_id, to_peer_id | to_call_id}: to whom is dialled, or to the other side of another own call."""
    entry, outcome = _entry(peer, params), _Outcome()
    if peer.is_here_by_link:
        # Who is called next pays by the rights of whoever transfers, and a link is for one number only.
        raise peer.dialect.error(Problem.REFUSED, "A link is for its own calls only, which cannot be transferred")
    if entry.state is not State.ANSWERED:
        raise peer.dialect.error(Problem.IN_PROGRESS, "Only an answered call can be transferred")
    consultation = params.identifier("to_call_id") if "to_call_id" in params else None
    if consultation is not None and peer.calls.by_id(consultation) is None:
        raise peer.not_found(consultation)
    to = "" if consultation is not None else params.target("to_peer_id")
    entry.call.transfer(to, consultation, outcome)

    async def result() -> dict[str, Any]:
        try:
            async with asyncio.timeout(peer.context.settings.setup_timeout):
                cause = await outcome.cause
        except TimeoutError:
            raise peer.dialect.error(Problem.TIMEOUT, "No answer in time") from None
        if cause is not Cause.NORMAL:
            data = {"cause": cause.word, "status": cause.status, "reason": cause.sentence}
            raise peer.dialect.error(problem_of(cause, cause.status), cause.sentence, data)
        return {"call_id": entry.call.id, "transferred": True}

    return Reply(result)


def _change(peer: Peer, params: Params, directions: tuple[str, ...]) -> Reply:
    entry, sdp = _entry(peer, params), params.sdp()
    if not any(f"a={direction}" in sdp.splitlines() for direction in directions):
        raise peer.dialect.error(Problem.BAD_OFFER, f"The offer must say a={' or a='.join(directions)}")
    peer.heard(entry, "offer", {"sdp": sdp})
    if not peer.calls.reoffer(entry, sdp):
        raise peer.crosses()
    return Reply({"call_id": entry.call.id})


def _own(peer: Peer) -> str:
    user = peer.announced()
    if peer.is_guest:
        raise peer.dialect.error(Problem.AUTHENTICATION, "Authentication required")
    return user.id


async def account_get(peer: Peer, params: Params) -> Reply:
    """account.get{}: the user's own SIP account and how it stands, and where one may be."""
    gateway = peer.context.gateway
    return Reply({"account": gateway.account_of(_own(peer)), "registrars": gateway.list_registrars(by_user=True)})


async def account_set(peer: Peer, params: Params) -> Reply:
    """account.set{registrar, username, password, auth_username?, display_name?}: bring one; it is kept encrypted."""
    user = _own(peer)
    given: dict[str, str | None] = {name: params.identifier(name) for name in ("registrar", "username", "password")}
    for name in ("auth_username", "display_name"):
        given[name] = params.identifier(name) if name in params else None
    try:
        return Reply({"account": await peer.context.gateway.set_account(user, given, by_user=True)})
    except AccountError as error:
        raise peer.dialect.error(Problem.REFUSED, str(error), {"status": error.status}) from None


async def account_remove(peer: Peer, params: Params) -> Reply:
    """account.remove{}: take it back from its registrar and forget it."""
    user = _own(peer)
    try:
        return Reply({"removed": await peer.context.gateway.remove_account(user, by_user=True)})
    except AccountError as error:
        raise peer.dialect.error(Problem.REFUSED, str(error), {"status": error.status}) from None


def _not_yet(method: str) -> Handler:
    async def refuse(peer: Peer, params: Params) -> NoReturn:
        peer.announced()
        raise peer.dialect.error(Problem.REFUSED, f"Not supported: {_NOT_YET[method]}", {"reason": "not-supported"})

    return refuse


def _topic(peer: Peer, params: Params) -> str:
    peer.announced()
    if peer.is_guest:
        raise peer.dialect.error(Problem.AUTHENTICATION, "Authentication required")
    return params.identifier("topic")


async def subscribe(peer: Peer, params: Params) -> Reply:
    """control.subscribe{topic}: what others publish there comes as control.event."""
    topic = _topic(peer, params)
    if not peer.context.topics.subscribe(topic, peer):
        raise peer.dialect.error(Problem.LIMIT, "Too many topics")
    return Reply({"success": True, "topic": topic})


async def unsubscribe(peer: Peer, params: Params) -> Reply:
    """control.unsubscribe{topic}"""
    topic = _topic(peer, params)
    peer.context.topics.unsubscribe(topic, peer)
    return Reply({"success": True, "topic": topic})


async def publish(peer: Peer, params: Params) -> Reply:
    """control.publish{topic, data}: the result says how many were told."""
    topic, data = _topic(peer, params), params.raw.get("data")
    if not checks.is_small(data, _MAX_DATA):
        raise invalid("data", "at most 16384 characters of JSON")
    event = {"topic": topic, "from": peer.peer_id, "data": data, "timestamp": int(time.time() * 1000)}
    told = peer.context.topics.subscribers(topic)
    for subscriber in told:
        if subscriber is not peer:
            subscriber.tell("control.event", event)
    return Reply({"success": True, "topic": topic, "delivered": sum(1 for other in told if other is not peer)})


HANDLERS: dict[str, Handler] = {
    "ping": ping,
    "call.list": call_list,
    "call.attach": call_attach,
    "call.leave": call_leave,
    "call.dtmf": call_dtmf,
    "call.forward": call_forward,
    "call.hangup": call_hangup,
    "call.hold": call_hold,
    "call.resume": call_resume,
    "call.transfer": call_transfer,
    "account.get": account_get,
    "account.set": account_set,
    "account.remove": account_remove,
    "control.subscribe": subscribe,
    "control.unsubscribe": unsubscribe,
    "control.publish": publish,
    **{method: _not_yet(method) for method in _NOT_YET},
}
