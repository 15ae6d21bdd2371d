"""A program as the lessons are, for the tests of how they end."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SECONDS = 30
PROGRAM = """
import asyncio, sys
from gateway import GatewayError
from gateway.lesson import check, run, within
{main}
run(main, "what it is for", log=True, seconds=30)
"""
