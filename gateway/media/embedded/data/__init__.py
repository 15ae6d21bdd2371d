"""Data channels: SCTP over the DTLS of a browser (RFC 8831), and where their messages go."""
