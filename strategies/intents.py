"""What a strategy's decision comes to: open, close, or a refusal with the numbers that made it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.messages import ExitGuard, Leg


class Open(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    long: Leg
    short: Leg
    qty: Decimal  # canonical
    edge_bps: float
    offset_bps: float
    exit_guard: ExitGuard
    numbers: dict[str, float]


class Close(msgspec.Struct, frozen=True, kw_only=True):
    pair_id: str
    symbol: str
    long_venue: str
    short_venue: str
    reason: str
    numbers: dict[str, float]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why this direction was not opened. Recorded when the reason changes, counted always."""

    symbol: str
    long_venue: str
    short_venue: str
    reason: str
    numbers: dict[str, float]


Intent = Open | Close | Refusal
