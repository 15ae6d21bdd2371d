"""A SIP-to-WebRTC gateway: browser softphones and desk phones in one call."""
