"""Configuration of the gateway: `gateway.yaml` and the environment, checked before the start."""

from gateway.config.load import Examined, examine, load, load_values, state_folder
from gateway.config.ports import advertised, check_ports, taken_ports
from gateway.config.rules import checked, notices
from gateway.config.settings import Config
from gateway.config.values import Advertised, HostPort, PortRange, SipListen

__all__ = [
    "Advertised",
    "Config",
    "Examined",
    "HostPort",
    "PortRange",
    "SipListen",
    "advertised",
    "check_ports",
    "checked",
    "examine",
    "load",
    "load_values",
    "notices",
    "state_folder",
    "taken_ports",
]
