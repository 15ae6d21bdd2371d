"""Codecs, rates and what turns one codec into another."""
