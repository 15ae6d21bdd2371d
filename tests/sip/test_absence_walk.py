"""Walks of a client over WebSocket that comes and goes while its call is changed and ends: it hears of the end."""

from __future__ import annotations

import json
from random import Random

import pytest

from gateway.sip.invite.resumed import session_values
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.testing.sip_peer import Puppet
from tests.rows import by_row
from tests.sip.absent_client import CONTACT, GRACE, Client, connect, is_done, lose, talking
from tests.sip.agents import ALICE, HELD, HOLD, answer
from tests.sip.resumption import killed

pytestmark = pytest.mark.no_cover

STEPS = 40
_SOON = 0.5
"""Seconds in which who is there has heard of it."""


class Walk:
    """One call, and the connections of its client."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.stage, first = talking()
        first.session.hangup()
        self.client = Client(self.stage, "c2", "a")
        self.byes: set[int] = set()
        """Numbers of those that the client has had."""
        self.ended_at: float | None = None
        """When our side hung up."""
        self._in_vain = 0.0
        """Seconds that the BYE is under way on a connection that is gone, and of which nobody knows that."""
        self.has_hung_up = False
        self._at: Puppet | None = self.stage.puppet
        self._is_noticed = True
        """Whether the end of the connection before is known."""
        self._since = 0.0
        """Since when it is registered at the connection that it has."""
        self._listen(self.stage.puppet)

    def _listen(self, puppet: Puppet) -> None:
        def react(message: Request | Response) -> None:
            if isinstance(message, Response) or message.method == "ACK":
                return
            if message.call_id == self.client.call_id and message.method == "BYE":
                self.byes.add(message.cseq.number)
            body = HELD if message.method == "INVITE" else b""
            puppet.send(answer(message, 200, body=body, contact=NameAddr(CONTACT)), ALICE)

        puppet.react = react

    def step(self) -> None:
        come, wait = self._come, self._wait
        self.random.choice((wait, wait, self._go, come, come, come, self._change, self._end, self._kill))()
        self.check()

    def _wait(self) -> None:
        self.stage.run(self.random.uniform(0, 2))

    def _go(self) -> None:
        if self._at is not None:
            self._at.react, address, self._at = None, self._at.address, None
            self._is_noticed = self.random.random() < 0.8
            if self._is_noticed:
                lose(self.stage, address)

    def _come(self) -> None:
        if self._at is None:
            self._at = connect(self.stage)
            self._listen(self._at)
            self.client.register(self._at, CONTACT, "a")
            self._since = self.stage.clock.now

    def _change(self) -> None:
        self.client.session.offer(HOLD)

    def _end(self) -> None:
        if self.random.random() < 0.2:
            self._hang_up()
        elif self._at is not None and self.random.random() < 0.1:
            self.has_hung_up = True
            self.client.cseq += 1
            self._at.send(self.client.make("BYE"), ALICE)

    def _kill(self) -> None:
        """Another process goes on with the call, or with its end."""
        values = json.loads(json.dumps(session_values(self.client.session)))
        if values is None or self.random.random() < 0.8:
            return
        if self._at is not None:
            self._at.react, self._at = None, None
        self._is_noticed = True
        self.stage.agent = killed(self.stage)
        self.stage.agent.transport = "ws"
        self.client.session = self.stage.agent.core.resume(values)
        if self.ended_at is not None:
            self.ended_at = None
            self._hang_up()

    def _hang_up(self) -> None:
        if self.ended_at is None and not self.client.session.is_over:
            self.ended_at = self.stage.clock.now
            self._in_vain = 0.0 if self._is_noticed else 64 * 0.5
            self.client.session.hangup()
            self.stage.run()

    def check(self) -> None:
        """Whoever was there in its time, and has not hung up itself, has heard of the end."""
        now, ended = self.stage.clock.now, self.ended_at
        if ended is None or self._at is None or self.has_hung_up or self._since > self._latest:
            return
        if now - max(self._since, ended) > _SOON:
            assert self.byes

    @property
    def _latest(self) -> float:
        """Until when it has to be back."""
        return (self.ended_at or 0.0) + self._in_vain + GRACE - _SOON

    def finish(self) -> None:
        """Nobody is left in the call."""
        self._come()
        self._hang_up()
        self.stage.run(2 * 64 * 0.5 + GRACE)
        assert is_done(self.stage)
        self.check()


@by_row("seed", range(150))
def test_a_client_that_comes_and_goes_hears_of_the_end_and_nothing_is_left(seed: int) -> None:
    """Whether its connections are known to be gone or not."""
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    walk.finish()
