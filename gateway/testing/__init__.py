"""For the tests of programs: a clock turned by hand, a lossy network, scripted peers, tones, a gateway on loopback."""

from __future__ import annotations

from gateway.demo.ports import free_ports
from gateway.demo.tones import Listener, loudest_frequency, sine
from gateway.media.embedded.plane.packet import RtpError, RtpPacket
from gateway.testing.clock import ManualClock
from gateway.testing.loopback import loopback_config
from gateway.testing.network import LossyNetwork, Node, Weather
from gateway.testing.programs import answers_options, running
from gateway.testing.sip_peer import AgentNode, Puppet, SessionLog
from gateway.testing.timers import ManualTimers

__all__ = [
    "AgentNode",
    "Listener",
    "LossyNetwork",
    "ManualClock",
    "ManualTimers",
    "Node",
    "Puppet",
    "RtpError",
    "RtpPacket",
    "SessionLog",
    "Weather",
    "answers_options",
    "free_ports",
    "loopback_config",
    "loudest_frequency",
    "running",
    "sine",
]
