"""Subscriptions inside dialogs (RFC 6665), and REFER, which makes one (RFC 3515)."""
