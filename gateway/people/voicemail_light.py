"""The light of waiting voice messages on pages."""

from __future__ import annotations

from collections.abc import Callable

from gateway.people.board import Board
from gateway.people.mailboxes import MailboxCounts
from gateway.web.facade import PageInbox


def light(board: Board[MailboxCounts], user_id: str, inbox: PageInbox) -> Callable[[], None]:
    """Have a page told how many voice messages wait, now if any do and at every change; returns what ends that."""
    told = 0, 0

    def tell(counts: MailboxCounts) -> None:
        nonlocal told
        now = counts.voice_new, counts.voice_old
        if now != told:
            told = now
            inbox.voicemail(*now)

    tell(board.of(user_id))
    return board.watch(user_id, tell)
