"""Digest authentication in both roles (RFC 7616, RFC 8760)."""
