"""Sans-IO SIP core: bytes and the time in; bytes, events and one deadline out."""
