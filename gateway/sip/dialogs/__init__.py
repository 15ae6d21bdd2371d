"""Dialogs (RFC 3261 section 12) and what runs inside them."""
