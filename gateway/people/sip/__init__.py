"""Messages, presence and subscriptions between users over SIP."""
