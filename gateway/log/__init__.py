"""Logs fit for people and machines, in which no secret and no stranger's escape sequence can appear."""

from gateway.log.redact import redact_text
from gateway.log.setup import call_context, configure, set_level

__all__ = ["call_context", "configure", "redact_text", "set_level"]
