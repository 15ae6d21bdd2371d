"""The native plane: a process of its own, and the Unix socket to it (docs/plane.md)."""
