"""Writes the configuration reference to standard output."""

import sys

from gateway.config.markdown import markdown

sys.stdout.write(markdown())
