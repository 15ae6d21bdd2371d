"""Event notification documents for phones: PIDF, dialog-info, reginfo, message summaries."""
