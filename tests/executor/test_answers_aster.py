"""What each Aster answer means: by status and code, never by message; doubt for everything that proves nothing."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.errors import Malformed
from core.types import Instrument, LiquiditySide, OrderStatus, Side, TimeInForce, Venue
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _aster_answers as answers
from executor.venues import _aster_rows as rows
from executor.venues._memory import SentOrder
from executor.venues.base import FeeRates

CLIENT_ID = "7a6d" + "0" * 28
BTC = Instrument(
    venue=Venue("aster"), symbol="BTC", venue_symbol="BTCUSDT", tick_size=Decimal("0.1"), lot_size=Decimal("0.001")
)
FEES = FeeRates(maker=0.0001, taker=0.00035)
SENT = SentOrder(
    client_order_id=CLIENT_ID,
    instrument=BTC,
    side=Side.BUY,
    lots=10,
    time_in_force=TimeInForce.IOC,
    reduce_only=False,
    nonce=1,
    prepared_wire_ns=0,
    expires_wire_ns=0,
)
DOCUMENTED = {  # docs/venues/aster.md 7, the sample answer
    "clientOrderId": "a-000001", "cumQty": "0", "cumQuote": "0", "executedQty": "0", "orderId": 22542179,
    "avgPrice": "0.00000", "origQty": "10", "price": "9300", "reduceOnly": False, "side": "BUY", "positionSide": "BOTH",
    "status": "NEW", "stopPrice": "0", "closePosition": False, "symbol": "BTCUSDT", "timeInForce": "GTC", "type": "LIMIT",
    "origType": "LIMIT", "updateTime": 1566818724722, "workingType": "CONTRACT_PRICE", "priceProtect": False,
}  # fmt: skip


def reply(body: Any, status: int = 200) -> HttpReply:
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def order_row(**changes: Any) -> HttpReply:
    return reply(DOCUMENTED | {"clientOrderId": CLIENT_ID, "origQty": "0.010"} | changes)


def error(code: int, status: int = 400) -> HttpReply:
    return reply({"code": code, "msg": "words that change"}, status)


@pytest.mark.parametrize(
    ("changes", "status", "lots"),
    [
        ({}, OrderStatus.ACCEPTED, 0),
        ({"status": "PARTIALLY_FILLED", "executedQty": "0.004", "avgPrice": "9300.5"}, OrderStatus.ACCEPTED, 4),
        ({"status": "FILLED", "executedQty": "0.010", "avgPrice": "9300.5"}, OrderStatus.FILLED, 10),
        ({"status": "EXPIRED", "executedQty": "0.004", "avgPrice": "9300.5"}, OrderStatus.EXPIRED, 4),
        ({"status": "EXPIRED"}, OrderStatus.EXPIRED, 0),
        ({"status": "CANCELED"}, OrderStatus.CANCELED, 0),
    ],
)
def test_accepted(changes: dict[str, Any], status: OrderStatus, lots: int) -> None:
    outcome = answers.order_outcome(order_row(**changes), SENT)
    px = Decimal("9300.5") if lots else None
    assert outcome == Accepted(venue_order_id="22542179", status=status, filled_lots=lots, avg_px=px)


@pytest.mark.parametrize("code", sorted(answers.CODES))
def test_every_code_refuses_with_its_meaning(code: int) -> None:
    outcome = answers.order_outcome(error(code), SENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code is answers.CODES[code]


def test_an_unlisted_code_of_a_4xx_is_still_a_refusal() -> None:
    outcome = answers.order_outcome(error(-9999), SENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.OTHER


@pytest.mark.parametrize("code", [-1000, -1001, -1006, -1007])
@pytest.mark.parametrize("status", [400, 408, 500, 503])
def test_codes_that_the_venue_calls_unknown(code: int, status: int) -> None:
    assert isinstance(answers.order_outcome(error(code, status), SENT), Unknown)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("code", [-2019, -4225, -5022])
def test_a_5xx_proves_nothing_whatever_it_says(code: int, status: int) -> None:
    assert isinstance(answers.order_outcome(error(code, status), SENT), Unknown)


@pytest.mark.parametrize("status", [429, 418])
def test_rate_limits_refuse_even_without_a_body(status: int) -> None:
    outcome = answers.order_outcome(reply(b"slow down", status), SENT)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.RATE


@pytest.mark.parametrize(
    "answer",
    [
        reply(b""),
        reply(b"<html>"),
        reply({"code": 200, "msg": "success"}),
        reply(b"<html>", 403),
        reply(b"{}", 404),
        reply(b"", 302),
        order_row(clientOrderId="somebody-else"),
        order_row(status="PAUSED"),
        order_row(executedQty="0.011"),
        order_row(executedQty="0.0005"),
        order_row(executedQty="-0.001"),
        order_row(executedQty="x"),
        Unknown(detail="timeout"),
    ],
)
def test_an_answer_that_proves_nothing_is_unknown(answer: HttpReply | Unknown) -> None:
    assert isinstance(answers.order_outcome(answer, SENT), Unknown)
    assert isinstance(answers.order_outcome(Unsent(detail="x"), SENT), Unsent)


def test_cancels() -> None:
    done = answers.cancel_outcome(order_row(status="CANCELED", executedQty="0.004", avgPrice="1"), SENT)
    assert isinstance(done, Accepted)
    assert (done.status, done.filled_lots) == (OrderStatus.CANCELED, 4)
    stranger = answers.cancel_outcome(order_row(status="CANCELED"), None)
    assert isinstance(stranger, Accepted)
    assert isinstance(answers.cancel_outcome(order_row(), None), Unknown)
    gone = answers.cancel_outcome(error(-2011), SENT)
    assert isinstance(gone, Rejected)
    assert gone.code is RejectCode.UNKNOWN_ORDER


TRADE_EVENT = b"""{"e":"ORDER_TRADE_UPDATE","E":1568879465651,"T":1568879465650,"o":{"s":"BTCUSDT",
 "c":"7a6d0000000000000000000000000000","S":"SELL","o":"LIMIT","f":"IOC","q":"0.001","p":"7100","ap":"7103.04","sp":"0",
 "x":"TRADE","X":"FILLED","i":8886774,"l":"0.001","z":"0.001","L":"7103.04","N":"USDT","n":"0.0028","T":1568879465651,
 "t":7734,"b":"0","a":"0","m":false,"R":false,"wt":"CONTRACT_PRICE","ot":"LIMIT","ps":"BOTH","cp":false,"rp":"0"}}"""


def test_documented_trade_event() -> None:
    event = rows.decode(TRADE_EVENT, rows.StreamEvent, "event")
    assert event.o is not None
    fill = rows.stream_fill(event.o, {"BTCUSDT": BTC}, FEES)
    assert fill is not None
    assert (fill.side, fill.lots, fill.px) == (Side.SELL, 1, Decimal("7103.04"))
    assert (fill.fee_usd, fill.trade_id, fill.client_order_id) == (Decimal("0.0028"), "BTCUSDT:7734", CLIENT_ID)
    assert fill.ts_ns == 1568879465651_000_000
    order = rows.stream_order(event.o, {"BTCUSDT": BTC})
    assert order is not None
    assert (order.status, order.filled_lots, order.avg_px) == (OrderStatus.FILLED, 1, Decimal("7103.04"))


@pytest.mark.parametrize("client", ["autoclose-123", "adl_autoclose", "web_x", "7a6d"])
def test_what_the_venue_or_somebody_else_did_has_no_client_id(client: str) -> None:
    event = rows.decode(TRADE_EVENT.replace(CLIENT_ID.encode(), client.encode()), rows.StreamEvent, "event")
    assert event.o is not None
    fill = rows.stream_fill(event.o, {"BTCUSDT": BTC}, FEES)
    assert fill is not None
    assert fill.client_order_id is None
    event.o.x = "CALCULATED"  # a liquidation's execution type: a fill all the same
    assert rows.stream_fill(event.o, {"BTCUSDT": BTC}, FEES) == fill
    event.o.x = "NEW"
    assert rows.stream_fill(event.o, {"BTCUSDT": BTC}, FEES) is None


def test_documented_trade_row_and_fee_in_a_discount_token() -> None:
    text = b"""{"buyer":false,"commission":"-0.07819010","commissionAsset":"USDT","id":698759,"maker":false,
      "orderId":25851813,"price":"7819.01","qty":"0.002","quoteQty":"15.63802","realizedPnl":"-0.91539999","side":"SELL",
      "positionSide":"BOTH","symbol":"BTCUSDT","time":1569514978020}"""
    row = rows.decode(text, rows.TradeRow, "userTrades")
    fill = rows.trade(row, {"BTCUSDT": BTC}, None, FEES)
    assert fill is not None
    assert (fill.fee_usd, fill.lots, fill.liquidity) == (Decimal("0.07819010"), 2, LiquiditySide.TAKER)
    discounted = rows.trade(msgspec.structs.replace(row, commissionAsset="ASTER"), {"BTCUSDT": BTC}, None, FEES)
    assert discounted is not None
    assert discounted.fee_usd == Decimal("15.63802") * Decimal("0.00035")


def test_documented_position_row() -> None:
    text = b"""[{"entryPrice":"6563.66500","marginType":"isolated","isAutoAddMargin":"false",
      "isolatedMargin":"15517.54150468","leverage":"10","liquidationPrice":"5930.78","markPrice":"6679.50671178",
      "maxNotionalValue":"20000000","positionAmt":"-20.000","symbol":"BTCUSDT","unRealizedProfit":"2316.83423560",
      "positionSide":"BOTH","updateTime":1625474304765},
      {"entryPrice":"0","marginType":"cross","leverage":"5","liquidationPrice":"0","markPrice":"0","positionAmt":"0",
       "symbol":"ETHUSDT","unRealizedProfit":"0","positionSide":"LONG"}]"""
    listed = rows.decode(text, list[rows.PositionRow], "positionRisk")
    (position,), strange = rows.positions(listed, {"BTCUSDT": BTC})
    assert not strange
    assert (position.lots, position.leverage, position.liquidation_px) == (-20_000, 10, Decimal("5930.78"))
    assert rows.positions(listed, {}) == ([], {"BTCUSDT": Decimal(-20)})
    listed[0].positionSide = "SHORT"
    with pytest.raises(Malformed, match="hedge mode"):
        rows.positions(listed, {"BTCUSDT": BTC})


def test_random_bytes_never_escape_as_anything_but_malformed() -> None:
    rng = random.Random(5)
    for _ in range(300):
        data = bytearray(TRADE_EVENT)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            event = rows.decode(bytes(data), rows.StreamEvent, "event")
            if event.o is not None:
                rows.stream_fill(event.o, {"BTCUSDT": BTC}, FEES)
                rows.stream_order(event.o, {"BTCUSDT": BTC})
        except Malformed:
            continue


def test_a_damaged_answer_never_raises_and_never_overstates() -> None:
    rng = random.Random(9)
    good = order_row(status="FILLED", executedQty="0.010", avgPrice="9300.5").body
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        outcome = answers.order_outcome(HttpReply(200, {}, bytes(data)), SENT)
        if isinstance(outcome, Accepted):
            assert 0 <= outcome.filled_lots <= SENT.lots


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999999", "0.0000001"])
def test_numbers_that_are_none_are_unknown(number: str) -> None:
    assert isinstance(answers.order_outcome(order_row(executedQty=number), SENT), Unknown)


def test_nesting_without_end_is_unknown() -> None:
    deep = b"[" * 200_000
    assert isinstance(answers.order_outcome(reply(deep), SENT), Unknown)
