"""Lighter's rows, codes, client indices and nonce rules: recorded payloads, every code, and what must not be believed."""

from __future__ import annotations

import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.errors import Malformed, NotSent
from core.ids import client_order_id, parse_client_order_id, tag16
from core.settings import NonceMode
from core.types import Instrument, LiquiditySide, OrderStatus, Side, Venue
from executor.http_reply import HttpReply
from executor.outcome import RejectCode, Rejected, Unknown, Unsent
from executor.venues import _lighter_answers as answers
from executor.venues import _lighter_rows as rows
from executor.venues._lighter_index import ClientIndex
from executor.venues._lighter_nonces import FORMER_IN_FLIGHT, TxNonces

PAYLOADS = pathlib.Path(__file__).parents[2].parent / "shared" / "data" / "payloads" / "lighter"
HASH = "ab" * 40
MINE = 123456
ETH = Instrument(
    venue=Venue("lighter"), symbol="ETH", venue_symbol="ETH", venue_index=0, tick_size=Decimal("0.01"),
    lot_size=Decimal("0.0001"),
)  # fmt: skip
BTC = Instrument(
    venue=Venue("lighter"), symbol="BTC", venue_symbol="BTC", venue_index=1, tick_size=Decimal("0.1"),
    lot_size=Decimal("0.00001"),
)  # fmt: skip
CRV = Instrument(
    venue=Venue("lighter"), symbol="CRV", venue_symbol="CRV", venue_index=36, tick_size=Decimal("0.00001"),
    lot_size=Decimal("0.1"),
)  # fmt: skip
LISTED = {0: ETH, 1: BTC, 36: CRV}


def recorded(name: str) -> bytes:
    path = PAYLOADS / name
    if not path.exists():
        pytest.skip(f"{path} is missing: the recorded payload cannot be read")
    return path.read_bytes()


def reply(status: int, body: Any) -> HttpReply:
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


# ---- answers ------------------------------------------------------------------------------------------------------


def test_only_code_200_under_our_own_hash_is_queued() -> None:
    good = {"code": 200, "message": "", "tx_hash": HASH, "predicted_execution_time_ms": 1}
    assert answers.http_answer(reply(200, good), HASH.upper()) == answers.Queued(HASH)
    other = answers.http_answer(reply(200, good | {"tx_hash": "cd" * 40}), HASH)
    assert isinstance(other, Unknown)
    assert answers.post_answer(answers.PostRow(id="1", code=200, tx_hash=HASH), HASH) == answers.Queued(HASH)
    assert isinstance(answers.post_answer(answers.PostRow(id="1", code=200), HASH), Unknown)


@pytest.mark.parametrize(("code", "meaning"), sorted(answers.CODES.items()))
def test_every_listed_code_is_a_refusal_by_either_way(code: int, meaning: RejectCode) -> None:
    by_rest = answers.http_answer(reply(400, {"code": code, "message": "whatever the venue says"}), HASH)
    in_200 = answers.http_answer(reply(200, {"code": code, "message": ""}), HASH)
    by_socket = answers.post_answer(answers.PostRow(id="1", error=answers.ErrorRow(code)), HASH)
    for answer in (by_rest, in_200, by_socket):
        assert isinstance(answer, Rejected)
        assert answer.code is meaning


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"code": 29500, "message": ""}),
        (400, {"code": 29501, "message": ""}),
        (503, {"code": 21104, "message": "invalid nonce"}),
        (502, b"<html>"),
        (403, b""),
        (200, b"{"),
        (200, b"\xff\xfe"),
        (200, b"[" * 5000),
        (200, {"code": 0}),
        (400, {"code": 400}),
        (302, {"code": 200}),
        (400, {"message": "invalid nonce"}),
    ],
)
def test_what_proves_nothing_is_unknown(status: int, body: Any) -> None:
    assert isinstance(answers.http_answer(reply(status, body), HASH), Unknown)


def test_limits_and_the_firewall_refuse_without_a_code() -> None:
    for status, body in ((429, b""), (405, b"<html>"), (429, b'{"code":23000,"message":"Too Many Requests!"}')):
        answer = answers.http_answer(reply(status, body), HASH)
        assert isinstance(answer, Rejected)
        assert answer.code is RejectCode.RATE
    assert answers.http_answer(Unsent(detail="x"), HASH) == Unsent(detail="x")
    unlisted = answers.http_answer(reply(400, {"code": 21999}), HASH)
    assert isinstance(unlisted, Rejected)
    assert unlisted.code is RejectCode.OTHER


# ---- rows ---------------------------------------------------------------------------------------------------------


def test_recorded_account_and_nonce() -> None:
    (account,) = rows.decode(recorded("http_account.json"), rows.AccountAnswer, "account").accounts
    assert rows.positions(account.positions, LISTED) == ([], {})
    assert rows.leverage_of(account.positions[0].initial_margin_fraction) == 10
    assert rows.balance(account, 5).ts_ns == 5
    assert rows.decode(recorded("http_next_nonce.json"), rows.NonceAnswer, "nextNonce").nonce == 1234567890


def test_recorded_order_and_position_updates() -> None:
    data = recorded("ws_account_orders_update.json")
    (row,) = rows.decode(data, rows.OrdersFrame, "orders").orders["0"]
    order = rows.order(row, LISTED, lambda index: f"name {index}")
    assert order is not None
    assert (order.client_order_id, order.side, order.lots, order.filled_lots) == ("name 42", Side.SELL, 50, 20)
    assert (order.status, order.avg_px) == (OrderStatus.ACCEPTED, Decimal("2352.74"))
    data = recorded("ws_account_all_positions_update.json")
    (held,) = rows.decode(data, rows.PositionsFrame, "positions").positions.values()
    position = rows.position(held, LISTED)
    assert position is not None
    assert (position.lots, position.mark_px) == (15000, Decimal("2350.10"))
    held.sign = -1
    short = rows.position(held, LISTED)
    assert short is not None
    assert short.lots == -15000


def order_row(**changes: Any) -> rows.OrderRow:
    fields: dict[str, Any] = {
        "order_index": 10414574259102759, "client_order_index": 7, "market_index": 1, "initial_base_amount": "0.00100",
        "filled_base_amount": "0.00000", "filled_quote_amount": "0.000000", "is_ask": False, "status": "open",
    }  # fmt: skip
    return rows.decode(json.dumps(fields | changes).encode(), rows.OrderRow, "order")


@pytest.mark.parametrize(("word", "status"), sorted(rows.STATUSES.items()))
def test_every_status_keeps_the_filled_amount(word: str, status: OrderStatus) -> None:
    row = order_row(status=word, filled_base_amount="0.00040", filled_quote_amount="25.740000")
    order = rows.order(row, LISTED, lambda index: None)
    assert order is not None
    assert (order.status, order.filled_lots, order.avg_px) == (status, 40, Decimal(64350))
    assert order.venue_order_id == "10414574259102759"
    assert order.client_order_id is None


@pytest.mark.parametrize(
    "change", [{"status": "canceled-for-fun"}, {"filled_base_amount": "NaN"}, {"initial_base_amount": "0.000001"}]
)
def test_rows_that_cannot_be_believed_are_malformed(change: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        rows.order(order_row(**change), LISTED, lambda index: None)


def test_numbers_that_are_none_are_malformed() -> None:
    held = rows.PositionRow(1, 1, Decimal(1), Decimal(1), Decimal(10), liquidation_price=Decimal("NaN"))
    with pytest.raises(Malformed):
        rows.position(held, LISTED)
    with pytest.raises(Malformed):
        rows.position(
            msgspec.structs.replace(held, liquidation_price=Decimal(0), position_value=Decimal("1e400")), LISTED
        )
    with pytest.raises(Malformed):
        rows.decode(json.dumps(TRADE | {"timestamp": 1 << 60}).encode(), rows.TradeRow, "trade")
    absurd = rows.decode(json.dumps(TRADE | {"usd_amount": "9e999999"}).encode(), rows.TradeRow, "trade")
    with pytest.raises(Malformed):
        rows.fills(absurd, LISTED, MINE, str)
    assert rows.decode_frame(b'{"type":"pong","timestamp":99999999999999999999}') is None
    with pytest.raises(Malformed):
        rows.balance(rows.AccountRow(Decimal("NaN"), Decimal(1), Decimal(1)), 0)
    with pytest.raises(Malformed):
        rows.top(b'{"code":200,"bids":[{"price":"Infinity"}]}', b'{"code":200,"order_book_details":[{"market_id":1}]}')


TRADE = {
    "trade_id": 26412422124, "tx_hash": "00000019c750", "type": "trade", "market_id": 36, "size": "0.7", "price": "0.20382",
    "usd_amount": "0.142674", "ask_id": 11, "bid_id": 12, "ask_client_id": 69016212847, "bid_client_id": 5,
    "ask_account_id": 314233, "bid_account_id": MINE, "is_maker_ask": True, "timestamp": 1785358835916, "maker_fee": 28,
    "taker_fee": 196, "transaction_time": 1785358835917189,
}  # fmt: skip


@pytest.mark.parametrize(
    ("mine_asks", "maker_asks", "liquidity", "fee"),
    [
        (False, True, LiquiditySide.TAKER, "0.000027964104"),
        (False, False, LiquiditySide.MAKER, "0.000003994872"),
        (True, True, LiquiditySide.MAKER, "0.000003994872"),
        (True, False, LiquiditySide.TAKER, "0.000027964104"),
    ],
)
def test_fees_are_rates_and_sides_are_by_account(
    mine_asks: bool, maker_asks: bool, liquidity: LiquiditySide, fee: str
) -> None:
    accounts = {"ask_account_id": MINE, "bid_account_id": 1} if mine_asks else {}
    row = rows.decode(json.dumps(TRADE | accounts | {"is_maker_ask": maker_asks}).encode(), rows.TradeRow, "trade")
    (fill,) = rows.fills(row, LISTED, MINE, str)
    assert (fill.side, fill.liquidity) == (Side.SELL if mine_asks else Side.BUY, liquidity)
    assert fill.fee_usd == Decimal(fee)
    assert (fill.lots, fill.client_order_id) == (7, "69016212847" if mine_asks else "5")
    assert fill.venue_order_id == ("11" if mine_asks else "12")


def test_a_trade_with_ourselves_is_two_fills_and_one_without_client_id_is_foreign() -> None:
    data = TRADE | {"ask_account_id": MINE, "bid_client_id": 0}
    data.pop("taker_fee")
    both = rows.fills(rows.decode(json.dumps(data).encode(), rows.TradeRow, "trade"), LISTED, MINE, str)
    assert [fill.side for fill in both] == [Side.SELL, Side.BUY]
    assert len({fill.trade_id for fill in both}) == 2
    assert both[1].client_order_id is None
    assert both[1].fee_usd == 0


def test_frames_of_garbage_never_raise() -> None:
    rng = random.Random(5)
    good = json.dumps({"type": "update/account_all_orders", "channel": "x", "orders": {"1": []}}).encode()
    for _ in range(500):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        rows.decode_frame(bytes(data))
    assert rows.decode_frame(b"[" * 10_000) is None


# ---- client indices -----------------------------------------------------------------------------------------------


def test_indices_are_unique_deterministic_and_come_back() -> None:
    account = tag16("516")
    names = [client_order_id(account, tag16("scalp"), epoch, n, 0) for epoch in (1, 2, 3) for n in range(1, 200)]
    index = ClientIndex("516", 0, {})
    numbers = [index.of(name) for name in names]
    assert len(set(numbers)) == len(names)
    assert all(1 << 47 <= number < 1 << 48 for number in numbers)
    assert [index.name(number) for number in numbers] == names
    fresh = ClientIndex("516", 3, dict.fromkeys(names[:5], 7))
    assert [fresh.of(name) for name in names] == numbers
    assert fresh.prepared_wire_ns(names[0]) == 7
    assert fresh.prepared_wire_ns(names[9]) == 0


def test_what_the_journal_lost_is_ours_without_strategy_and_the_rest_is_foreign() -> None:
    account = tag16("516")
    lost = client_order_id(account, tag16("scalp"), 3, 9, 1)
    number = ClientIndex("516", 0, {}).of(lost)
    told = ClientIndex("516", 3, {}).name(number)
    assert told is not None
    tag = parse_client_order_id(told)
    assert tag is not None
    assert (tag.account, tag.strategy, tag.epoch, tag.sequence) == (account, 0, 3, 9)
    assert ClientIndex("516", 3, {}).of(told) == number  # so it can be cancelled
    assert ClientIndex("516", 2, {}).name(number) is None  # that start has not been yet
    assert ClientIndex("517", 3, {}).name(number) is None
    for foreign in (1, 42, 178_554_256_601, (1_795_000_000_000 - 1_700_000_000_000) * 128, (1 << 48) - 1):
        assert ClientIndex("516", 1000, {}).name(foreign) is None


def test_ids_that_do_not_fit_are_refused_not_wrapped() -> None:
    index = ClientIndex("516", 1, {})
    for name in ("x y", client_order_id(1, 2, 1, 1 << 24, 0), client_order_id(1, 2, 1 << 18, 1, 0)):
        with pytest.raises(NotSent):
            index.of(name)


# ---- nonces -------------------------------------------------------------------------------------------------------


def test_skipping_takes_the_journals_own_and_never_waits() -> None:
    nonces = TxNonces(NonceMode.SKIP)
    nonces.begin(1000)
    assert nonces.ready
    assert nonces.take(1005) == 1005
    nonces.settle(1005, None)
    nonces.doubt()
    assert nonces.ready
    assert not nonces.wants_reading
    assert (nonces.is_spent(1005, 1005), nonces.is_spent(1005, 1006)) == (False, True)
    assert (nonces.is_spent(None, 1000), nonces.is_spent(None, 1001)) == (False, True)


def strict(mode: NonceMode = NonceMode.OPTIMISTIC) -> TxNonces:
    nonces = TxNonces(mode)
    nonces.begin(1)
    nonces.read(100)
    return nonces


def test_strict_counts_on_and_gives_a_refused_number_again() -> None:
    nonces = strict()
    assert [nonces.take(1), nonces.take(2)] == [100, 101]
    nonces.settle(1, True)
    nonces.settle(2, False)
    assert nonces.ready
    assert nonces.take(3) == 101


def test_strict_reads_again_after_a_gap_and_only_when_nothing_is_under_way() -> None:
    nonces = strict()
    nonces.take(1)
    nonces.take(2)
    nonces.settle(1, False)  # 101 is on its way: a gap
    assert not nonces.ready
    assert not nonces.wants_reading
    nonces.read(100)
    assert not nonces.ready
    with pytest.raises(NotSent):
        nonces.take(3)
    nonces.settle(2, False)
    assert nonces.wants_reading
    nonces.read(100)
    assert (nonces.ready, nonces.resyncs, nonces.take(3)) == (True, 1, 100)


def test_strict_after_a_lost_answer() -> None:
    nonces = strict()
    nonces.take(1)
    nonces.settle(1, None)
    assert nonces.wants_reading
    nonces.read(100)  # it has not arrived: the number is given again, and whoever comes second is refused
    assert nonces.take(2) == 100
    assert not nonces.is_spent(1, 100)
    assert nonces.is_spent(1, 101)
    nonces.settle(1, False)  # a second word about the first one changes nothing
    assert (nonces.ready, nonces.take(3)) == (True, 101)
    assert not nonces.is_spent(None, 100 + FORMER_IN_FLIGHT)
    assert nonces.is_spent(None, 101 + FORMER_IN_FLIGHT)


def test_api_mode_reads_after_every_transaction() -> None:
    nonces = strict(NonceMode.API)
    nonces.take(1)
    nonces.settle(1, True)
    assert nonces.wants_reading
    nonces.read(101)
    assert nonces.take(2) == 101
