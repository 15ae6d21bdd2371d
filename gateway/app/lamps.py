"""Which users talk, and how far their calls are: what lamps and presence show of the calls."""

from __future__ import annotations

import hashlib
from itertools import islice

from gateway.call.call import Call
from gateway.call.leg import Leg
from gateway.call.state import State
from gateway.identity.mapping import IdentityMap
from gateway.legs.sip import SipCalleeLeg, SipCallerLeg
from gateway.legs.web import BrowserLeg
from gateway.people.board import Board
from gateway.people.dialogs import DialogName, Progress, UserDialog
from gateway.people.presence import Presences
from gateway.sip.message.values import Replaces

Dialogs = tuple[UserDialog, ...]

MOST_SHOWN = 20
"""Calls of one user that a lamp shows: what shows it is one message, and a line of hundreds changes all the time."""
_BEFORE_RINGING = (State.NEW, State.CALLING)
_RINGING = (State.RINGING, State.EARLY)


class Lamps:
    """Observes every call; `board` has the calls of each user, the oldest first."""

    def __init__(self, identity: IdentityMap, presences: Presences) -> None:
        self.board: Board[Dialogs] = Board(())
        self._identity = identity
        self._presences = presences
        self._calls: dict[str, dict[str, Dialogs]] = {}
        """What each call is to each of its users."""
        self._of_user: dict[str, dict[str, Dialogs]] = {}

    def call_changed(self, call: Call) -> None:
        """Show how it is now."""
        now = {} if call.state is State.ENDED else self._users_of(call)
        before = self._calls.pop(call.id, {})
        if now:
            self._calls[call.id] = now
        for user in {*before, *now}:
            if before.get(user) != now.get(user):
                self._show(user, call.id, now.get(user, ()))

    def _show(self, user: str, call_id: str, dialogs: Dialogs) -> None:
        calls = self._of_user.setdefault(user, {})
        if dialogs:
            calls[call_id] = dialogs
        else:
            calls.pop(call_id, None)
        if not calls:
            del self._of_user[user]
        talks = any(one.is_caller or one.progress is Progress.CONFIRMED for each in calls.values() for one in each)
        self._presences.call(user, talks)
        self.board.set(user, tuple(islice((one for each in calls.values() for one in each), MOST_SHOWN)))

    def _users_of(self, call: Call) -> dict[str, Dialogs]:
        found: dict[str, Dialogs] = {}
        for leg in call.legs:
            user = self._identity.find(leg.address.uri)
            if user is not None:
                found[user.id] = (*found.get(user.id, ()), *self._dialogs(call, leg))
        return found

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
    if isinstance(leg, SipCallerLeg | SipCalleeLeg | BrowserLeg):
        names = (Replaces.parse(text) for text in leg.dialog_names)
        return tuple(DialogName(one.call_id, local_tag=one.from_tag, remote_tag=one.to_tag) for one in names)
    return ()
