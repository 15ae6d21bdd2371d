"""Reading and writing messages: bytes to values and back (RFC 3261 sections 7 and 25)."""
