"""In-process media engine: browsers' WebRTC on one UDP port, RTP forwarded."""
