"""Mailboxes and the programs that answer their numbers."""
