"""Persistence for other rooms; one driver per file."""
