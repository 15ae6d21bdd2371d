"""Single requests, outside or inside a dialog: outgoing until the final response, incoming until answered."""
