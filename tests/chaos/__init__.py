"""What is lost when things die: `python -m tests.chaos`."""
