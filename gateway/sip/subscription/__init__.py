"""Subscriptions inside dialogs (RFC 6665), and REFER with its implicit subscription (RFC 3515)."""
