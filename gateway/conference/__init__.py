"""Conference rooms: who is in them, what they may, and the program that answers their numbers."""
