"""What operators and administrators see and do."""
