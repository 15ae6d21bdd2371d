"""The INVITE usage of a dialog: from the first request to BYE."""
