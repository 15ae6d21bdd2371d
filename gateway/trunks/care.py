"""What is done for trunks beside calls: registering there, asking whether they are there, keeping the way open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.config.people import FlowsConfig, Trunk
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.trunks.accounts import Accounts
from gateway.trunks.keep_alive import KeepAlives
from gateway.trunks.known import Trunks
from gateway.trunks.reachability import Reachability
from gateway.trunks.registrations import Registrations
from gateway.trunks.watch import Paces, TrunkWatch


class TrunkCare:
    """Of all trunks, which may be others in the course of things."""

    def __init__(
        self,
        user_agent: UserAgent,
        trunks: Sequence[Trunk],
        known: Trunks,
        accounts: Accounts,
        reachability: Reachability,
        random: Callable[[], float],
        options_per_second: float,
    ) -> None:
        """`random` gives numbers in [0, 1)."""
        self._paces = Paces(options_per_second)
        self._known = known
        self._user_agent = user_agent
        self._reachability = reachability
        self._random = random
        self._trunks = tuple(trunks)
        self.registrations = Registrations(user_agent, trunks, known, accounts)
        self._watch = self._new_watch()
        self._keep_alives = self._new_keep_alives()

    def begin(self, expires: int, flows: FlowsConfig) -> None:
        """Start; `expires` is what accounts of users ask for, in seconds, `flows` the times of several flows."""
        self.registrations.begin(expires, flows)
        self._user_agent.when_lost(self.registrations.flow_lost)
        self._user_agent.when_lost(self._flow_lost)
        self._reachability.follow_doubts(lambda trunk: self._watch.doubt(trunk))
        self._watch.begin()
        self._keep_alives.begin()

    async def change(self, trunks: Sequence[Trunk], expires: int) -> None:
        """Look after these trunks from now on."""
        self.registrations.change(trunks, expires)
        if tuple(trunks) == self._trunks:
            return
        self._trunks = tuple(trunks)
        await self._watch.close()
        await self._keep_alives.close()
        self._reachability.keep({trunk.name: trunk.uris for trunk in trunks if trunk.options_interval > 0})
        self._watch, self._keep_alives = self._new_watch(), self._new_keep_alives()
        self._watch.begin()
        self._keep_alives.begin()

    async def close(self) -> None:
        """Look after none any more; the registrations themselves are the user agent's to take back."""
        await self._keep_alives.close()
        await self._watch.close()
        await self.registrations.close()

    def _flow_lost(self, flow: Flow) -> None:
        if flow.dialled and (trunk := self._known.placed_at(flow)) is not None:
            self._reachability.doubt(trunk)

    def _new_watch(self) -> TrunkWatch:
        back = self.registrations.hurry
        return TrunkWatch(self._user_agent, self._trunks, self._reachability, back, self._random, self._paces)

    def _new_keep_alives(self) -> KeepAlives:
        return KeepAlives(self._user_agent, self._trunks, self._random)
