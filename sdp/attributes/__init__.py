"""Typed views over the attributes of a description, one frozen value a line."""

from __future__ import annotations

from sdp.attributes.base import Attribute, attribute_line

__all__ = ["Attribute", "attribute_line"]
