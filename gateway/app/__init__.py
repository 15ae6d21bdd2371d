"""Where everything comes together; the only package that knows every room."""

from gateway.app.root import Account, GatewayApp

__all__ = ["Account", "GatewayApp"]
