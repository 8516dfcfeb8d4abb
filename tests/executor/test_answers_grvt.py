"""What GRVT's answers prove: every code of its page told apart, over REST and over the WebSocket; rows read by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from core.errors import Malformed
from core.types import Instrument, LiquiditySide, OrderStatus, Side, Venue
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _grvt_answers as answers
from executor.venues import _grvt_rows as rows
from executor.venues._grvt_session import ASSUMED_LIFE_S, session_of

NUMBER = 9223372036854775808
_R = RejectCode
REFUSED: list[tuple[int, int, RejectCode]] = [
    (401, 1000, _R.AUTH), (403, 1001, _R.AUTH), (400, 1003, _R.OTHER), (404, 1004, _R.UNKNOWN_ORDER), (401, 1008, _R.AUTH),
    (400, 1012, _R.AUTH), (404, 1200, _R.OTHER), (403, 1400, _R.AUTH), (403, 2000, _R.AUTH), (403, 2001, _R.EXPIRED),
    (403, 2002, _R.AUTH), (403, 2003, _R.AUTH), (403, 2004, _R.AUTH), (403, 2005, _R.AUTH), (403, 2006, _R.AUTH),
    (403, 2007, _R.AUTH), (403, 2008, _R.EXPIRED), (400, 2010, _R.OTHER), (400, 2011, _R.OTHER),
    (400, 2012, _R.DUPLICATE_ID), (400, 2020, _R.OTHER), (400, 2021, _R.OTHER), (400, 2030, _R.OTHER),
    (400, 2032, _R.POST_ONLY), (400, 2060, _R.INSTRUMENT), (400, 2061, _R.INSTRUMENT), (400, 2062, _R.SIZE),
    (400, 2064, _R.TICK), (400, 2065, _R.SIZE), (400, 2066, _R.MIN_NOTIONAL), (400, 2067, _R.MIN_NOTIONAL),
    (400, 2080, _R.MARGIN), (400, 2081, _R.OPEN_INTEREST), (400, 2082, _R.OTHER), (400, 2083, _R.OPEN_INTEREST),
    (400, 2084, _R.OTHER), *((400, code, _R.LEVERAGE) for code in range(2100, 2109)), (400, 2300, _R.OTHER),
    (400, 2301, _R.OTHER), (400, 2400, _R.REDUCE_ONLY), (400, 2401, _R.REDUCE_ONLY), (400, 2402, _R.REDUCE_ONLY),
    (400, 3000, _R.INSTRUMENT), (400, 3021, _R.OTHER), (400, 6000, _R.OTHER), (400, 7201, _R.PRICE_BAND),
    (400, 7304, _R.VENUE_MODE), (400, 2777, _R.OTHER),
]  # fmt: skip
"""(HTTP status, code, meaning); the last one is on no list, but of a request's own kind."""

RATE_LIMITED = [(429, 1006), (429, 2090)]
DOUBTFUL = [
    (500, 1002),
    (500, 1005),
    (503, 1009),
    (500, 3004),
    (500, 7999),
    (400, 7999),
    (400, 0),
    (502, 0),
    (504, 1003),
]
CREATED: dict[str, Any] = {"result": {
    "order_id": "0x00", "sub_account_id": "2147050003876484", "is_market": False, "time_in_force": "IMMEDIATE_OR_CANCEL",
    "legs": [{"instrument": "BTC_USDT_Perp", "size": "0.002", "limit_price": "90000.0", "is_buying_asset": True}],
    "metadata": {"client_order_id": str(NUMBER), "create_time": "1766076671243762741"},
    "state": {"status": "PENDING", "reject_reason": "UNSPECIFIED", "book_size": ["0.002"], "traded_size": ["0.0"],
              "update_time": "1766076671243762741", "avg_fill_price": ["0.0"]},
}}  # fmt: skip
BTC = Instrument(
    venue=Venue("grvt"), symbol="BTC", venue_symbol="BTC_USDT_Perp", tick_size=Decimal("0.1"), lot_size=Decimal("0.001")
)
LISTED = {"BTC_USDT_Perp": BTC}


def names(number: int) -> str | None:
    return "7a6d" + "0" * 28 if number == NUMBER else None


def reply(status: int, body: object) -> HttpReply:
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def by_rest(status: int, code: int) -> Outcome:
    body = {"code": code, "message": "words that may change", "status": status}
    return answers.order_outcome(answers.http_answer(reply(status, body)), NUMBER)


def by_socket(code: int) -> Outcome:
    rpc = answers.Rpc(7, "v1/create_order", error=answers.ErrorRow(code, "words that may change"))
    return answers.order_outcome(answers.rpc_answer(rpc), NUMBER)


@pytest.mark.parametrize(("status", "code", "meaning"), REFUSED)
def test_refusals(status: int, code: int, meaning: RejectCode) -> None:
    for outcome in (by_rest(status, code), by_socket(code)):
        assert isinstance(outcome, Rejected)
        assert outcome.code is meaning


@pytest.mark.parametrize(("status", "code"), RATE_LIMITED)
def test_rate_limits(status: int, code: int) -> None:
    for outcome in (by_rest(status, code), by_socket(code)):
        assert isinstance(outcome, Rejected)
        assert outcome.code is RejectCode.RATE


@pytest.mark.parametrize(("status", "code"), DOUBTFUL)
def test_doubt(status: int, code: int) -> None:
    assert isinstance(by_rest(status, code), Unknown)
    if code != 1003:
        assert isinstance(by_socket(code), Unknown)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"<html></html>", b"\xff", b"[" * 5000, {"result": {}}, {"result": {"metadata": {}, "state": {}}},
     {"result": CREATED["result"] | {"metadata": {"client_order_id": "5"}}}],
)  # fmt: skip
def test_an_answer_that_says_something_else_leaves_the_order_in_doubt(body: Any) -> None:
    assert isinstance(answers.order_outcome(answers.http_answer(reply(200, body)), NUMBER), Unknown)
    assert isinstance(by_rest(403, 0), Unknown)


def test_an_acknowledgement_shows_no_fill_and_no_id() -> None:
    expected = Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
    assert answers.order_outcome(answers.http_answer(reply(200, CREATED)), NUMBER) == expected
    rpc = answers.Rpc(7, "v1/create_order", result=json.dumps(CREATED).encode())  # type: ignore[arg-type]
    assert answers.order_outcome(answers.rpc_answer(rpc), NUMBER) == expected
    assert answers.cancel_outcome(answers.http_answer(reply(200, {"result": {"ack": True}}))) == expected


def test_what_did_not_go_stays_what_it_is() -> None:
    for outcome in (Unsent(detail="x"), Unknown(detail="x")):
        assert answers.order_outcome(answers.http_answer(outcome), NUMBER) == outcome
        assert answers.cancel_outcome(outcome) == outcome


# ---- rows -------------------------------------------------------------------------------------------------------------


def order_row(status: str, reason: str = "UNSPECIFIED", traded: str = "0.0", **changes: Any) -> rows.OrderRow:
    state = CREATED["result"]["state"] | {"status": status, "reject_reason": reason, "traded_size": [traded]}
    body = CREATED["result"] | {"state": state, "order_id": "0x010101050390cd89000000007799a374"} | changes
    return rows.decode(json.dumps(body).encode(), rows.OrderRow, "order")


@pytest.mark.parametrize(
    ("status", "reason", "traded", "expected", "lots"),
    [
        ("PENDING", "UNSPECIFIED", "0.0", OrderStatus.ACCEPTED, 0),
        ("OPEN", "UNSPECIFIED", "0.001", OrderStatus.ACCEPTED, 1),
        ("FILLED", "UNSPECIFIED", "0.002", OrderStatus.FILLED, 2),
        ("CANCELLED", "IOC_CANCEL", "0.001", OrderStatus.EXPIRED, 1),
        ("CANCELLED", "FOK_CANCEL", "0.0", OrderStatus.EXPIRED, 0),
        ("CANCELLED", "EXPIRED", "0.0", OrderStatus.EXPIRED, 0),
        ("CANCELLED", "CLIENT_CANCEL", "0.001", OrderStatus.CANCELED, 1),
        ("CANCELLED", "A_REASON_OF_TOMORROW", "0.0", OrderStatus.CANCELED, 0),
        ("REJECTED", "FAIL_POST_ONLY", "0.0", OrderStatus.CANCELED, 0),
    ],
)
def test_how_orders_end(status: str, reason: str, traded: str, expected: OrderStatus, lots: int) -> None:
    order = rows.order(order_row(status, reason, traded), LISTED, names)
    assert order is not None
    assert (order.status, order.filled_lots, order.lots, order.side) == (expected, lots, 2, Side.BUY)
    assert order.client_order_id == names(NUMBER)


def test_a_state_of_tomorrow_is_not_guessed() -> None:
    with pytest.raises(Malformed, match="HALTED"):
        rows.order(order_row("HALTED"), LISTED, names)
    with pytest.raises(Malformed, match="lots"):
        rows.order(order_row("FILLED", traded="0.0015"), LISTED, names)
    with pytest.raises(Malformed, match="legs"):
        rows.order(order_row("OPEN", legs=[]), LISTED, names)


def test_ids_that_are_none() -> None:
    order = rows.order(order_row("OPEN", order_id="0x00"), LISTED, names)
    assert order is not None
    assert order.venue_order_id == ""
    foreign = rows.order(order_row("OPEN", metadata={"client_order_id": "5"}), LISTED, names)
    assert foreign is not None
    assert foreign.client_order_id is None
    assert rows.order(order_row("OPEN"), {}, names) is None


def test_the_recorded_fill() -> None:
    row = rows.decode(
        b'{"event_time":"1767354369431470728","sub_account_id":"2147050003876484","instrument":"BTC_USDT_Perp",'
        b'"is_buyer":true,"is_taker":true,"size":"0.001","price":"89473.4","realized_pnl":"0.0","fee":"0.040263",'
        b'"fee_rate":"0.045","trade_id":"74150425-1","order_id":"0x0101010503a12f6e000000007791f1bd","venue":"ORDERBOOK",'
        b'"client_order_id":"99191900","signer":"0x42","is_rpi":false}',
        rows.FillRow,
        "fill",
    )
    fill = rows.fill(row, LISTED, names)
    assert fill is not None
    assert (fill.lots, fill.px, fill.fee_usd, fill.side) == (1, Decimal("89473.4"), Decimal("0.040263"), Side.BUY)
    assert (fill.trade_id, fill.liquidity, fill.client_order_id) == ("74150425-1", LiquiditySide.TAKER, None)
    assert fill.ts_ns == 1767354369431470728


def test_the_recorded_position_and_summary() -> None:
    row = rows.decode(
        b'{"instrument":"BTC_USDT_Perp","size":"-0.001","notional":"89.8169","entry_price":"90000.0",'
        b'"mark_price":"89816.900008979","unrealized_pnl":"-0.183099","est_liquidation_price":"77951.450008979",'
        b'"leverage":"28.0","cumulative_fee":"-0.00009"}',
        rows.PositionRow,
        "position",
    )
    position = rows.position(row, LISTED)
    assert position is not None
    assert (position.lots, position.leverage, position.liquidation_px) == (-1, 28, Decimal("77951.450008979"))
    found, strange = rows.positions(
        [row, rows.PositionRow("X_USDT_Perp", Decimal(2)), rows.PositionRow("Y", Decimal(0))], LISTED
    )
    assert (found, strange) == ([position], {"X_USDT_Perp": Decimal(2)})
    summary = rows.decode(
        b'{"result":{"event_time":"1764863116142428457","settle_currency":"USDT","total_equity":"15.0",'
        b'"maintenance_margin":"0.0","available_balance":"15.0","settle_index_price":"1.000289735"}}',
        rows.SummaryAnswer,
        "account_summary",
    )
    balance = rows.balance(summary.result, 7)
    assert (balance.equity_usd, balance.ts_ns) == (Decimal("15.004346025"), 7)  # USDT is not USD
    with pytest.raises(Malformed, match="settles in EUR"):
        rows.balance(rows.SummaryRow(Decimal(1), Decimal(0), Decimal(1), settle_currency="EUR"), 7)


def test_the_recorded_funding_payment_has_the_opposite_sign() -> None:
    row = rows.decode(
        b'{"event_time":"1765267200004987902","instrument":"BTC_USDT_Perp","currency":"USDT","amount":"-0.004522",'
        b'"tx_id":"66625184"}',
        rows.PaymentRow,
        "funding",
    )
    payment = rows.payment(row, LISTED)
    assert payment is not None
    assert payment.amount_usd == Decimal("0.004522")  # received


def test_fees_are_in_hundredths_of_a_basis_point() -> None:
    assert rows.fee_rates(rows.TierRow(450, -1)) == rows.FeeRates(maker=-0.000001, taker=0.00045)


# ---- session ----------------------------------------------------------------------------------------------------------

EXPIRES = "Sat, 21 Nov 2026 00:00:00 GMT"
HEADERS = {
    "set-cookie": f"gravity=MTc5NTEzMjgwMHxkdW1teQ==; Path=/; Domain=grvt.io; Expires={EXPIRES}; HttpOnly; Secure",
    "x-grvt-account-id": "ACC:2eTa1FtkRhNKVRLw6mCPmnNYaZf",
}
"""As in the venue's page and its vectors."""


def test_the_sessions_cookie_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    for before, after in (("", ""), ("AWSALB=x; Path=/\n", ""), ("", "\nAWSALB=gravity=no; Path=/")):
        told = session_of(HttpReply(200, HEADERS | {"set-cookie": before + HEADERS["set-cookie"] + after}, b"{}"), 0)
        assert told.headers == (
            ("Cookie", "gravity=MTc5NTEzMjgwMHxkdW1teQ=="), ("X-Grvt-Account-Id", "ACC:2eTa1FtkRhNKVRLw6mCPmnNYaZf"),
        )  # fmt: skip
        assert told.expires_ns == 1795219200 * 10**9
        assert "MTc5" not in repr(told)


def test_a_cookie_that_names_no_end_is_given_an_hour() -> None:
    for cookie in ("gravity=x", "gravity=x; Expires=one day"):
        assert (
            session_of(HttpReply(200, HEADERS | {"set-cookie": cookie}, b"{}"), 5).expires_ns
            == 5 + ASSUMED_LIFE_S * 10**9
        )


@pytest.mark.parametrize(
    "headers", [{}, {"set-cookie": "gravity=; Path=/"}, {"set-cookie": "rm=true"}, {"x-grvt-account-id": ""}]
)
def test_a_success_without_a_session_is_none(headers: dict[str, str]) -> None:
    told = headers if not headers or "set-cookie" in headers else HEADERS | headers
    with pytest.raises(Malformed, match="without a session"):
        session_of(HttpReply(200, told, b'{"location":"","status":"success"}'), 0)
