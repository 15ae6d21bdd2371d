"""Policies, keying and suites for SRTP."""

from __future__ import annotations

from typing import Literal

SrtpPolicy = Literal["off", "optional", "best_effort", "required"]
SrtpKeying = Literal["sdes", "dtls"]
SrtpSuite = Literal[
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
]
SrtpProfile = Literal[
    "SRTP_AEAD_AES_256_GCM",
    "SRTP_AEAD_AES_128_GCM",
    "SRTP_AES128_CM_HMAC_SHA1_80",
    "SRTP_AES128_CM_HMAC_SHA1_32",
]
