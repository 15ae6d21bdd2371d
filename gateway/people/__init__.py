"""What users are to each other beside calls: messages, presence, subscriptions to both, mailboxes."""
