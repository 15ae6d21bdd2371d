"""Mutations of what the gateway accepts: what a call does not need, dropped, emptied or garbled, never refuses it."""
