"""The HTTP front end: SDP offers and answers, sessions, errors."""
