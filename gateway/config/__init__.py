"""The gateway's configuration: `gateway.yaml` and the environment, checked before anything starts."""

from gateway.config.load import load, state_folder
from gateway.config.ports import advertised, check_ports
from gateway.config.settings import Config
from gateway.config.values import Advertised, HostPort, PortRange, SipListen

__all__ = [
    "Advertised",
    "Config",
    "HostPort",
    "PortRange",
    "SipListen",
    "advertised",
    "check_ports",
    "load",
    "state_folder",
]
