"""Strangers who come from other addresses: the front doors of a gateway, tried from a namespace of their own."""
