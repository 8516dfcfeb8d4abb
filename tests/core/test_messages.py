"""What strangers may send to the executor's door, and messages that survive the wire exactly."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from core.errors import Malformed
from core.ids import CommandId
from core.messages import (
    MAX_MESSAGE_BYTES,
    ExitGuard,
    Leg,
    OpenPair,
    SetTradingState,
    decode_command,
    decode_report,
    encode,
)
from core.types import TradingState, Venue

OPEN = OpenPair(
    command_id=CommandId("scalp", 1, 2),
    valid_until_mono_ns=3,
    symbol="BTC",
    long=Leg(venue=Venue("aster"), limit_px=Decimal("100.10"), quote_sequence=1, quote_age_ns=2),
    short=Leg(venue=Venue("hyperliquid"), limit_px=Decimal("101"), quote_sequence=3, quote_age_ns=4),
    qty=Decimal("0.059"),
    decided_mono_ns=5,
    edge_bps=40.0,
    offset_bps=-1.5,
    exit_guard=ExitGuard(stop_basis_bps=100.0, stop_leg_pct=25.0, max_hold_s=600.0),
)


def test_decimals_cross_the_wire_exactly() -> None:
    """As text, so that 0.059 is 0.059 on the other side; read back with a decoder that knows nothing of ours."""
    raw = msgspec.msgpack.decode(encode(OPEN))
    assert raw["type"] == "open_pair"
    assert raw["qty"] == "0.059"
    assert raw["long"]["limit_px"] == "100.10"
    assert decode_command(encode(OPEN)) == OPEN
    assert len(encode(OPEN)) < MAX_MESSAGE_BYTES // 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff",
        b"\x81\xa4type\xa4none",
        b"\xa2\xff\xfe",
        b"\x91" * 5000,
        msgspec.msgpack.encode({"type": "open_pair"}),
        msgspec.msgpack.encode({**msgspec.to_builtins(OPEN), "type": "open_pair", "qty": "much"}),
        msgspec.msgpack.encode(
            {"type": "set_trading_state", "command_id": ["x", 1, 1], "valid_until_mono_ns": 1, "state": "on"}
        ),
    ],
)
def test_what_does_not_decode_is_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_command, decode_report):
        with pytest.raises(Malformed):
            decode(data)


def test_commands_and_reports_are_not_taken_for_each_other() -> None:
    command = SetTradingState(
        command_id=CommandId("ops", 1, 1), valid_until_mono_ns=1, state=TradingState.HALTED, reason="drill"
    )
    with pytest.raises(Malformed):
        decode_report(encode(command))
