"""The two kinds of leg a call joins."""
