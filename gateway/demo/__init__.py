"""Proof without a microphone: a real desk phone, a real browser, tones found by frequency."""
