"""Recovery of an outgoing connection lost during a call, with a refresh of the session (RFC 5626 4.5, RFC 3311)."""

from __future__ import annotations

import weakref
from typing import Protocol

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.invite.changes import Purpose
from gateway.sip.invite.events import FlowFound, SessionEvent
from gateway.sip.invite.modify import Modification

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each attempt; afterwards only the session timer detects a lost peer."""
_NOT_REACHED = 503
_OVER = (408, 481)
"""Statuses that end the session (RFC 3261 12.2.1.2)."""


class Recoverable(DialogUsage, Protocol):
    """Session interface needed by the recovery."""

    core: Core
    dialog: Dialog | None
    modification: Modification | None

    def emit(self, event: SessionEvent) -> None: ...


class FlowRecovery:
    """Refreshes a confirmed session over a new connection, after the loss of the connection, until the peer answers.

    A peer behind the lost connection cannot reach us: the side that opened the connection must reopen it.
    """

    def __init__(self, session: Recoverable) -> None:
        self._owner = weakref.ref(session)
        self._tries = 0
        self._is_on = False
        self._alarm: Alarm[DialogUsage | None] | None = None

    @property
    def _session(self) -> Recoverable:
        """Session under recovery; weakly referenced, so that no cycle waits for the garbage collector."""
        session = self._owner()
        assert session is not None, "nobody else has it"
        return session

    def begin(self) -> None:
        """Start the recovery after the loss of the connection, unless already running."""
        if not self._is_on:
            self._is_on, self._tries = True, 0
            self._wait()

    def refresh(self) -> None:
        """Refresh at once, to give the peer our new Contact (RFC 3261 12.2)."""
        self._is_on, self._tries = True, 0
        self._due()

    def stop(self) -> None:
        """Stop the recovery at the session's end."""
        self._is_on = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _wait(self) -> None:
        core = self._session.core
        self._alarm = core.at(core.now() + DELAYS[self._tries], self._due, self._session)
        self._tries += 1

    def _due(self) -> None:
        self._alarm = None
        modification = self._session.modification
        assert modification is not None
        modification.want(Purpose.REFRESH, told=self._answered)
        self._session.core.wake()

    def _answered(self, status: int) -> None:
        if not self._is_on:
            return
        if status in _OVER:
            self.stop()
        elif status != _NOT_REACHED:
            self._is_on = False
            dialog = self._session.dialog
            assert dialog is not None
            dialog.found_again()
            self._session.emit(FlowFound())
        elif self._tries < len(DELAYS):
            self._wait()
        else:
            self._is_on = False
