"""Where everything comes together; the only package that knows every room."""

from gateway.app.account import Account
from gateway.app.gateway import CallWatch, Gateway
from gateway.app.root import GatewayApp
from gateway.dialing.applications import Application

__all__ = ["Account", "Application", "CallWatch", "Gateway", "GatewayApp"]
