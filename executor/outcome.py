"""What became of bytes we sent: Accepted, Rejected, Unsent or Unknown, from typed evidence only.

Accepted  the venue took the order; it may already be filled, partly filled, expired or resting
Rejected  the venue said no, in a structured answer to this very request
Unsent    proven that no byte of the request left this machine, or refused by our own throttle
Unknown   everything else: timeout, 5xx, dropped socket, an answer that does not parse. Never retried.
"""

from __future__ import annotations

import enum
from decimal import Decimal

import msgspec

from core.types import OrderStatus


class RejectCode(enum.Enum):
    """Closed set; a gateway maps its venue's codes to these and the rest to OTHER."""

    NO_MATCH = "no_match"  # IOC found nothing: certain that nothing filled
    POST_ONLY = "post_only"
    TICK = "tick"
    SIZE = "size"
    MIN_NOTIONAL = "min_notional"
    MARGIN = "margin"
    REDUCE_ONLY = "reduce_only"  # nothing to reduce; often already closed
    PRICE_BAND = "price_band"
    OPEN_INTEREST = "open_interest"
    LEVERAGE = "leverage"
    AUTH = "auth"  # signature, agent, permission: the venue cannot be traded until fixed
    NONCE = "nonce"
    RATE = "rate"
    EXPIRED = "expired"
    DUPLICATE_ID = "duplicate_id"  # not proof that nothing happened: the first one got in
    INSTRUMENT = "instrument"
    VENUE_MODE = "venue_mode"  # halted, post-only, reduce-only
    UNKNOWN_ORDER = "unknown_order"  # answer to a cancel
    NOT_ELIGIBLE = "not_eligible"  # the venue does not give this to an account like ours
    OTHER = "other"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is ACCEPTED (rests or not yet told), FILLED, EXPIRED or CANCELED. `filled_lots` is what the answer shows;
    a venue whose answers never show fills leaves it 0 with status ACCEPTED and tells by its stream."""

    venue_order_id: str
    status: OrderStatus
    filled_lots: int
    avg_px: Decimal | None = None  # venue units


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    code: RejectCode
    detail: str


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    detail: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    detail: str


Outcome = Accepted | Rejected | Unsent | Unknown
