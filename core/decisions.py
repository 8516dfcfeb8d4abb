"""A strategy's record of why it acted, and why not: what the decision ring carries and `tandem why` shows."""

from __future__ import annotations

import enum

import msgspec


class Action(enum.Enum):
    OPEN = "open"  # a command was sent
    CLOSE = "close"
    REFUSE = "refuse"  # the strategy itself held back; `reason` says which rule
    DENIED = "denied"  # the executor refused; `reason` is its DenyReason
    STATE = "state"  # a pair changed state
    SUMMARY = "summary"  # once a second: counts by reason, best edge seen


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`numbers` holds every figure the decision used, keys with units (`edge_bps`, `age_long_ms`)."""

    wire_ns: int
    mono_ns: int
    strategy: str
    action: Action
    symbol: str
    long_venue: str
    short_venue: str
    reason: str
    numbers: dict[str, float]
    pair_id: str = ""


MAX_DECISION_BYTES = 1000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Decision)


def encode_decision(decision: Decision) -> bytes:
    """At most MAX_DECISION_BYTES; raises ValueError when the numbers do not fit."""
    data = _encoder.encode(decision)
    if len(data) > MAX_DECISION_BYTES:
        raise ValueError(f"decision record of {len(data)} bytes exceeds {MAX_DECISION_BYTES}")
    return data


def decode_decision(data: bytes) -> Decision:
    return _decoder.decode(data)
