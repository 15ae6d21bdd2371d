"""Rooms of browsers that signal to each other."""
