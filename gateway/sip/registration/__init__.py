"""Bindings: those we keep for others, and those we ask of others (RFC 3261 section 10)."""
