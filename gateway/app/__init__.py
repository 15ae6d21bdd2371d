"""Where everything comes together; the only package that knows every room."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.app.account import Account
    from gateway.app.gateway import CallWatch, Gateway
    from gateway.app.root import GatewayApp
    from gateway.dialing.applications import Application

__all__ = ["Account", "Application", "CallWatch", "Gateway", "GatewayApp"]

_PLACES = {
    "Account": "gateway.app.account",
    "Application": "gateway.dialing.applications",
    "CallWatch": "gateway.app.gateway",
    "Gateway": "gateway.app.gateway",
    "GatewayApp": "gateway.app.root",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is used: a room that imports one file of this package does not load all others first."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
