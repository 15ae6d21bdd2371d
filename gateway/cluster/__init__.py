"""Gateways that know each other: members, shared limits, presence and toll."""
