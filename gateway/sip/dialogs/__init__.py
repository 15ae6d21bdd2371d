"""Dialogs (RFC 3261 section 12) and their usages."""
