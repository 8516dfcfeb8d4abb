"""HMAC-SHA256 over request text, for venues with shared secrets."""

from __future__ import annotations

import hmac


def hmac_sha256_hex(secret: str, text: str) -> str:
    """Lower-case hex of HMAC-SHA256(secret, text), both UTF-8."""
    return hmac.digest(secret.encode(), text.encode(), "sha256").hex()
