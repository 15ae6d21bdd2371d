"""The user agent core without I/O: INVITE usages, requests of both roles, and the rules of RFC 3261 section 8."""
