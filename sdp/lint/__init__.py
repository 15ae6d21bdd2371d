"""What a browser or a phone would refuse or stumble over: `lint`, its findings and the table of its rules."""

from __future__ import annotations

from sdp.lint.rules import RULES, Finding, Rule, Severity, Stumbles, lint

__all__ = ["RULES", "Finding", "Rule", "Severity", "Stumbles", "lint"]
