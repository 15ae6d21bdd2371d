"""Export for operators: call detail records, and messages for a Homer collector."""
