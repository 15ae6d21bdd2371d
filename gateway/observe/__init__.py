"""What operators see of calls elsewhere: call detail records, and messages for a Homer collector."""
