"""Authentication of SIP requests, and the registrar."""
