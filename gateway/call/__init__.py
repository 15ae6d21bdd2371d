"""The back-to-back user agent: two legs, one media session, one state table."""
