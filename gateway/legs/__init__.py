"""Legs: one side of a call each, for SIP, browsers, services and programs."""
