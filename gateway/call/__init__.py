"""The back-to-back user agent: attempts and bridges, two legs that each can be replaced, one media session."""
