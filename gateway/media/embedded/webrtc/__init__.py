"""WebRTC: ICE-lite, DTLS and SRTP keys on one UDP port for every browser."""
