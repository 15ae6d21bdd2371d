"""The addresses of this machine."""

from __future__ import annotations

from gateway.media.embedded.addresses import has_network, own_addresses

__all__ = ["has_network", "own_addresses"]
