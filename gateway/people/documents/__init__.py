"""What phones are told, as text: PIDF, dialog-info, reginfo, message summaries."""
