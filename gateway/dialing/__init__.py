"""Calls from callers to places: rights, programs, and a leg to each place dialled."""
