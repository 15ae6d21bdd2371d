"""The room store, by itself."""
