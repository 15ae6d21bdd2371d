"""The room people, by itself."""
