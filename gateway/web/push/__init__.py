"""Web Push (RFC 8030): a call reaches a user whose page is closed."""
