"""A SIP-to-WebRTC gateway: browser softphones and desk phones in one call.

`from gateway import Gateway` starts one in a program; docs/api.md has a page about all that programs may use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.app.gateway import CallWatch, Gateway
    from gateway.call.leg import Address, DigitPressed, HungUp
    from gateway.call.state import State
    from gateway.call.status import Cause
    from gateway.config.settings import Config
    from gateway.dialing.applications import Application
    from gateway.errors import ConfigError, GatewayError
    from gateway.identity.model import Binding
    from gateway.legs.application import Session, SessionError
    from gateway.legs.speech import Utterance
    from gateway.web.auth.site import SignInAttempt

_PLACES = {
    "Address": "gateway.call.leg",
    "Application": "gateway.dialing.applications",
    "Binding": "gateway.identity.model",
    "CallWatch": "gateway.app.gateway",
    "Cause": "gateway.call.status",
    "Config": "gateway.config.settings",
    "ConfigError": "gateway.errors",
    "DigitPressed": "gateway.call.leg",
    "Gateway": "gateway.app.gateway",
    "GatewayError": "gateway.errors",
    "HungUp": "gateway.call.leg",
    "Session": "gateway.legs.application",
    "SessionError": "gateway.legs.application",
    "SignInAttempt": "gateway.web.auth.site",
    "State": "gateway.call.state",
    "Utterance": "gateway.legs.speech",
}

__all__ = [
    "Address",
    "Application",
    "Binding",
    "CallWatch",
    "Cause",
    "Config",
    "ConfigError",
    "DigitPressed",
    "Gateway",
    "GatewayError",
    "HungUp",
    "Session",
    "SessionError",
    "SignInAttempt",
    "State",
    "Utterance",
]


def __getattr__(name: str) -> Any:
    """Each name when it is first asked for: the packages below do not pay for the whole gateway (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
