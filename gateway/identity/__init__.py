"""Identities: SIP URIs, web users, registered contacts, credentials."""
