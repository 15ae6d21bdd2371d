"""Session descriptions: text to values to decisions, with nothing but the standard library."""
