"""Descriptions as plain dictionaries in the form of the sdp-transform family, and back."""

from __future__ import annotations

from sdp.json.form import from_dict, to_dict

__all__ = ["from_dict", "to_dict"]
