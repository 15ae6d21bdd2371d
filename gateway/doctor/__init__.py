"""`gateway doctor`: what would keep this installation from working, each with a sentence what to do."""
