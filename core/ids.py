"""Order, command and pair identities.

A client order id is 32 lower-case hex digits (128 bits), unique for ever:

    7a6d | account 16 | strategy 16 | epoch 32 | sequence 40 | leg 8
    (16)  bits of the run's account tag, crc16 of the strategy's name, the executor's durable epoch,
          a counter within the epoch, and the leg or repair step that the order serves

The epoch is made durable before its first use and never returns, so no id repeats across crashes. Venues spell the id
their own way (0x-prefixed on Hyperliquid, as it is on Aster); the prefix tells our orders from foreign ones.
"""

from __future__ import annotations

import binascii
from typing import NamedTuple

import msgspec

PREFIX = "7a6d"
_HEX_DIGITS = frozenset("0123456789abcdef")


class CommandId(msgspec.Struct, frozen=True, array_like=True):
    """Who asked: the client's name ("scalp", "manual"), its start epoch (wire ns at start) and a counter."""

    strategy: str
    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.strategy}-{self.epoch}-{self.sequence}"


class OrderTag(NamedTuple):
    """What a client order id says when read back."""

    account: int
    strategy: int
    epoch: int
    sequence: int
    leg: int


def tag16(text: str) -> int:
    """A 16-bit tag of a name."""
    return binascii.crc_hqx(text.encode(), 0xFFFF)


def client_order_id(account: int, strategy: int, epoch: int, sequence: int, leg: int) -> str:
    """32 hex digits; raises ValueError when a part does not fit its field."""
    if not (0 <= account < 1 << 16 and 0 <= strategy < 1 << 16 and 0 <= epoch < 1 << 32):
        raise ValueError(f"client order id part out of range: {account=} {strategy=} {epoch=}")
    if not (0 <= sequence < 1 << 40 and 0 <= leg < 1 << 8):
        raise ValueError(f"client order id part out of range: {sequence=} {leg=}")
    return f"{PREFIX}{account:04x}{strategy:04x}{epoch:08x}{sequence:010x}{leg:02x}"


def parse_client_order_id(text: str) -> OrderTag | None:
    """The parts of an id of ours (with or without 0x), or None for anybody else's."""
    digits = text[2:] if text.startswith("0x") else text
    if len(digits) != 32 or not digits.startswith(PREFIX) or not _HEX_DIGITS.issuperset(digits):
        return None
    return OrderTag(
        int(digits[4:8], 16),
        int(digits[8:12], 16),
        int(digits[12:20], 16),
        int(digits[20:30], 16),
        int(digits[30:32], 16),
    )


def pair_id(epoch: int, sequence: int) -> str:
    """A pair's name: short enough to type."""
    return f"p{epoch:x}-{sequence:x}"
