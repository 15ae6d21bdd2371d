"""Calls, transfers, pages, registrations and reloads for a while, and whether what the gateway holds stays level."""
