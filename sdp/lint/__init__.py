"""Detection of descriptions that browsers or phones reject or misread: `lint`, findings and rules."""

from __future__ import annotations

from sdp.lint.rules import RULES, Finding, Rule, Severity, Stumbles, lint

__all__ = ["RULES", "Finding", "Rule", "Severity", "Stumbles", "lint"]
