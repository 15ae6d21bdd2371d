"""Recordings of calls: consent, files, how long they are kept."""
