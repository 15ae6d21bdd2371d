"""The engine in this process: WebRTC terminated on one UDP port, RTP forwarded."""
