"""Back-to-back user agent: attempts and bridges of two replaceable legs with one media session."""
