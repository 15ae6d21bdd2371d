"""One request outside or inside a dialog: ours until its final response, theirs until it is answered."""
