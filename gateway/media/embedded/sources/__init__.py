"""Media that the engine makes itself: digits, tones, silence."""
