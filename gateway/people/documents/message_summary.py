"""Message summaries (RFC 3842 section 5)."""

from __future__ import annotations

from gateway.people.mailboxes import MailboxCounts

CONTENT_TYPE = "application/simple-message-summary"


def write(account: str, counts: MailboxCounts) -> bytes:
    """Return the summary of `account`, a SIP URI."""
    lines = [
        f"Messages-Waiting: {'yes' if counts.is_waiting else 'no'}",
        f"Message-Account: {account}",
        f"Voice-Message: {counts.voice_new}/{counts.voice_old} ({counts.voice_new_urgent}/{counts.voice_old_urgent})",
    ]
    if counts.text:
        lines.append(f"Text-Message: {counts.text}/0")
    return "".join(f"{line}\r\n" for line in lines).encode()
