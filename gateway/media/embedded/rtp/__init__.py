"""Phones: RTP and RTCP over UDP, plain or keyed by SDES."""
