"""Bindings: kept as a registrar, and requested from other registrars (RFC 3261 section 10)."""
