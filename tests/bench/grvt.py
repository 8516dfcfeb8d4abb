"""GRVT: an order signed with its body ready, beside the official SDK's signer and encoder; frames."""

from __future__ import annotations

import json
import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any

from eth_account import Account
from pysdk import grvt_raw_types as types
from pysdk.grvt_raw_base import DataclassJSONEncoder, GrvtApiConfig
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_signing import sign_order

from bookshm.run import RunDir
from core.types import Side, Venue
from executor.signing.grvt import SignedTimeInForce, Signer
from executor.venues._grvt_wire import OrderTerms, order_body
from feeds.venues.grvt import Decoder
from tests.bench import decode
from tests.bench.measure import Row, calls

KEY = "0x" + "01" * 32
SUB = "8289849667772468"
EXPIRES_NS = 1_795_219_200_000_000_000
CLIENT = 9_223_372_036_854_775_808
COUNT = 4000
CATALOGUE = json.dumps({"result": [{
    "instrument": "BTC_USDT_Perp", "instrument_hash": "0x030501", "base": "BTC", "quote": "USDT", "kind": "PERPETUAL",
    "venues": ["ORDERBOOK"], "base_decimals": 9, "tick_size": "0.1", "min_size": "0.001", "min_notional": "100.0",
    "max_position_size": "1000.0", "funding_interval_hours": 8,
}]}).encode()  # fmt: skip
SNAPSHOT = (
    '{"stream":"v1.mini.d","selector":"BTC_USDT_Perp@50","sequence_number":"0","feed":{"event_time":"%d","instrument":'
    '"BTC_USDT_Perp","mark_price":"87792.25830235","index_price":"87806.705713684","last_price":"87800.0","last_size":"0.032",'
    '"mid_price":"87799.95","best_bid_price":"87799.9","best_bid_size":"0.151","best_ask_price":"87800.0","best_ask_size":'
    '"5.733"},"prev_sequence_number":"0"}'
)
CHANGE = (
    '{"stream":"v1.mini.d","selector":"BTC_USDT_Perp@50","sequence_number":"%d","feed":{"event_time":"%d","instrument":'
    '"BTC_USDT_Perp","mark_price":"87792.25830235","best_bid_size":"0.%03d","best_ask_price":"87800.1","best_ask_size":'
    '"5.733"},"prev_sequence_number":"%d"}'
)


def rows() -> list[Row]:
    ours = calls(_ours(), rounds=3000)
    sdk = calls(_sdk(), rounds=600)
    frame = _frame()
    return [
        Row(hop="GRVT order signed, body ready", median_us=ours[0], p99_us=ours[1], goal_median_us=45.0,
            peer="grvt-pysdk, signed and encoded", peer_median_us=sdk[0]),
        Row(hop="GRVT change to published quote", median_us=frame[0], p99_us=frame[1], goal_median_us=12.0),
    ]  # fmt: skip


def _ours() -> Any:
    signer = Signer(KEY, sub_account_id=int(SUB), mainnet=True)
    lot, tick = Decimal("0.001"), Decimal("0.1")

    def sign() -> bytes:
        terms = OrderTerms(
            instrument="BTC_USDT_Perp", asset_id=0x030501, size=13 * lot, contract_size=13 * 1_000_000,
            limit_price=878_005 * tick, side=Side.BUY, time_in_force=SignedTimeInForce.IMMEDIATE_OR_CANCEL,
            post_only=False, reduce_only=False, client_order_id=CLIENT,
        )  # fmt: skip
        return order_body(signer, terms, 828700936, EXPIRES_NS)

    return sign


def _sdk() -> Any:
    account = Account.from_key(KEY)
    config = GrvtApiConfig(GrvtEnv.PROD, SUB, KEY, None, None)
    instruments = {
        "BTC_USDT_Perp": types.Instrument(
            "BTC_USDT_Perp", "0x030501", "BTC", "USDT", types.Kind.PERPETUAL, [types.Venue.ORDERBOOK],
            types.InstrumentSettlementPeriod.PERPETUAL, 9, 6, "0.1", "0.001", "0", "1000.0",
        )
    }  # fmt: skip

    def sign() -> str:
        order = types.Order(
            sub_account_id=SUB, time_in_force=types.TimeInForce.IMMEDIATE_OR_CANCEL, is_market=False, post_only=False,
            reduce_only=False, legs=[types.OrderLeg("BTC_USDT_Perp", "0.013", True, "87800.5")],
            signature=types.Signature("", "", "", 0, str(EXPIRES_NS), 828700936),
            metadata=types.OrderMetadata(client_order_id=str(CLIENT)),
        )  # fmt: skip
        signed = sign_order(order, config, account, instruments)
        return json.dumps(types.ApiCreateOrderRequest(signed), cls=DataclassJSONEncoder)

    return sign


def _frame() -> tuple[float, float]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, decode.CLOCK)
    try:
        now_ns = decode.CLOCK.wire_ns()
        frames = [(SNAPSHOT % now_ns).encode()]
        frames += [(CHANGE % (1 + i, now_ns + 1 + i, i % 1000, i)).encode() for i in range(COUNT + 300)]
        return calls(decode._feed(run, Venue("grvt"), Decoder(), [CATALOGUE], frames), rounds=COUNT)
    finally:
        run.leave()
