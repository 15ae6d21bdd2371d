"""Users beside calls: messages, presence, subscriptions to both, mailboxes."""
