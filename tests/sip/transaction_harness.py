"""A transaction layer that writes down what a transaction asks of it, and how to bring a machine into any state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.sip.transactions import (
    Input,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Reason,
    State,
    Timers,
    Transaction,
)

MESSAGES: dict[Input, Any] = {
    Input.PROVISIONAL: b"180",
    Input.SUCCESS: b"200",
    Input.FAILURE: b"486",
    Input.ACK: b"ACK",
    Input.REQUEST: b"request",
}


class RecordingLayer:
    """Keeps every call as (what, detail), and the armed timers as (name, deadline)."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []
        self.ignored_inputs: list[tuple[State, Input]] = []

    def transmit(self, transaction: Transaction, data: bytes) -> None:
        self.log.append(("send", data))

    def trying(self, transaction: Transaction) -> bytes:
        return b"100"

    def deliver(self, transaction: Transaction, message: Any) -> None:
        self.log.append(("deliver", message))

    def send_cancel(self, invite: Transaction, headers: tuple[()], now: float) -> None:
        self.log.append(("cancel", None))

    def failed(self, transaction: Transaction, reason: Reason) -> None:
        self.log.append(("failed", reason))

    def arm(self, transaction: Transaction, timer: Input, deadline: float) -> None:
        self.log.append(("arm", (timer.value, round(deadline, 6))))

    def terminated(self, transaction: Transaction) -> None:
        self.log.append(("terminated", None))

    def ignored(self, transaction: Transaction, state: State, what: Input) -> None:
        self.ignored_inputs.append((state, what))

    def take(self) -> list[tuple[str, Any]]:
        """What was recorded since the last take."""
        log, self.log = self.log, []
        return log


def invite_client(layer: RecordingLayer, *, reliable: bool = False) -> Transaction:
    return InviteClientTransaction(
        layer,
        Timers(),
        reliable=reliable,
        key="k",
        flow="peer",
        invite=b"INVITE",
        acknowledge=lambda response: b"ACK of " + response,
    )


def non_invite_client(layer: RecordingLayer, *, reliable: bool = False) -> Transaction:
    return NonInviteClientTransaction(layer, Timers(), reliable=reliable, key="k", flow="peer", request=b"OPTIONS")


def invite_server(layer: RecordingLayer, *, reliable: bool = False) -> Transaction:
    return InviteServerTransaction(layer, Timers(), reliable=reliable, key="k", flow="peer")


def non_invite_server(layer: RecordingLayer, *, reliable: bool = False) -> Transaction:
    return NonInviteServerTransaction(layer, Timers(), reliable=reliable, key="k", flow="peer")


Maker = Callable[..., Transaction]


def brought_to(make: Maker, path: tuple[Input, ...], *, reliable: bool = False) -> tuple[Transaction, RecordingLayer]:
    """A transaction after START and `path`, all at time 0, with an empty log."""
    layer = RecordingLayer()
    transaction = make(layer, reliable=reliable)
    for what in (Input.START, *path):
        transaction.step(what, 0.0, MESSAGES.get(what))
    layer.take()
    layer.ignored_inputs.clear()
    return transaction, layer
