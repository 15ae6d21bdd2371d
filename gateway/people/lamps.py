"""Which users talk, and how far their calls are: what lamps and presence show of the calls."""

from __future__ import annotations

import hashlib
from itertools import islice

from gateway.access.gatekeeper import TRUNK
from gateway.call.call import Call
from gateway.call.leg import Leg
from gateway.call.state import State
from gateway.identity.mapping import IdentityMap
from gateway.legs.sip_leg import SipLeg
from gateway.legs.web import BrowserLeg
from gateway.people.board import Board
from gateway.people.dialogs import DialogName, Progress, UserDialog
from gateway.people.presence import Presences

Dialogs = tuple[UserDialog, ...]

MOST_SHOWN = 20
"""Calls of one user that a lamp shows: what shows it is one message, and a line of hundreds changes all the time."""
_BEFORE_RINGING = (State.NEW, State.CALLING)
_RINGING = (State.RINGING, State.EARLY)


class Lamps:
    """Observes every call; `board` has the calls of each user, the oldest first.

    What nobody watches is not written down: `read` does so when somebody begins to.
    """

    def __init__(self, identity: IdentityMap, presences: Presences) -> None:
        self.board: Board[Dialogs] = Board(())
        self._identity = identity
        self._presences = presences
        self._users: dict[str, dict[str, str | None]] = {}
        """Who each address in a call is, by the call's id: most have been looked up before."""
        self._calls: dict[str, dict[str, Call]] = {}
        """The calls of each user, by their id."""

    def call_changed(self, call: Call) -> None:
        """Show how it is now."""
        known = self._users.setdefault(call.id, {})
        before = {user for user in known.values() if user is not None}
        now = set() if call.state is State.ENDED else self._users_of(call, known)
        for user in now:
            self._calls.setdefault(user, {})[call.id] = call
        for user in before - now:
            calls = self._calls.get(user, {})
            calls.pop(call.id, None)
            if not calls:
                self._calls.pop(user, None)
        if call.state is State.ENDED:
            del self._users[call.id]
        for user in before | now:
            if self.board.is_watched(user) or self._presences.is_watched(user):
                self._show(user)

    async def read(self, user: str) -> None:
        """Have the boards say what is true of `user` now."""
        self._show(user)

    def _show(self, user: str) -> None:
        rows = (
            one
            for call in self._calls.get(user, {}).values()
            for leg in call.legs
            if self._user_of(leg, self._users[call.id]) == user
            for one in self._dialogs(call, leg)
        )
        dialogs = tuple(islice(rows, MOST_SHOWN))
        self._presences.call(user, any(one.is_caller or one.progress is Progress.CONFIRMED for one in dialogs))
        self.board.set(user, dialogs)

    def _users_of(self, call: Call, known: dict[str, str | None]) -> set[str]:
        users = (self._user_of(leg, known) for leg in call.legs)
        return {user for user in users if user is not None}

    def _user_of(self, leg: Leg, known: dict[str, str | None]) -> str | None:
        """Nobody of ours for a trunk's leg: whose number its caller shows proves nothing."""
        if (leg.identity or "").startswith(TRUNK):
            return None
        uri = leg.address.uri
        if uri not in known:
            user = self._identity.find(uri)
            known[uri] = user.id if user is not None else None
        return known[uri]

    def _dialogs(self, call: Call, leg: Leg) -> Dialogs:
        """One for each device of the user that is rung, or for the one that talks."""
        is_caller = leg is call.caller
        if call.state in _BEFORE_RINGING and is_caller:
            progress = Progress.TRYING
        elif call.state in _BEFORE_RINGING or call.state in _RINGING:
            progress = Progress.EARLY
        else:
            progress = Progress.CONFIRMED
        other = next((each.address for each in call.legs if each is not leg), None)
        return tuple(
            UserDialog(
                id=hashlib.sha256(f"{leg.party.tag} {number}".encode()).hexdigest()[:16],
                is_caller=is_caller,
                progress=progress,
                remote_uri=other.uri if other is not None else "",
                remote_name=other.display_name if other is not None else "",
                name=name,
            )
            for number, name in enumerate(_names_of(leg) or (None,))
        )


def _names_of(leg: Leg) -> tuple[DialogName, ...]:
    """What the user's devices call the dialogs: their own tag is the one that is remote to us."""
    if isinstance(leg, SipLeg | BrowserLeg):
        names = leg.dialog_names
        return tuple(DialogName(one.call_id, local_tag=one.remote_tag, remote_tag=one.local_tag) for one in names)
    return ()
