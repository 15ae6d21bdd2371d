"""Accounts at other servers: credentials, registration, and whose call an INVITE is."""
