"""Writes the reference of the configuration to standard output."""

import sys

from gateway.config.markdown import markdown

sys.stdout.write(markdown())
