"""Who may speak SIP to us, and the registrar for those who may."""
