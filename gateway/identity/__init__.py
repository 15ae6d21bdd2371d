"""Who is who: SIP URIs, web users, registered contacts, credentials."""
