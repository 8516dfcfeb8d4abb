"""What EdgeX's answers and rows mean: every word of section 10 of its page, samples of it, and damaged ones."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.types import Instrument, LiquiditySide, OrderStatus, Side, Venue
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _edgex_answers as answers
from executor.venues import _edgex_rows as rows
from executor.venues.base import FeeRates, VenueOrder

OURS = "7a6d" + "0" * 28
BTC = Instrument(
    venue=Venue("edgex"), symbol="BTC", venue_symbol="BTCUSDC", venue_index=30000001, tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
)  # fmt: skip
LISTED = {"30000001": BTC, "10000001": BTC, "10000004": BTC}
CREATED = {"code": "SUCCESS", "data": {"orderId": "564814927928230158"}, "msg": None, "errorParam": None}
KEY = "11111111-2222-3333-4444-555555555555"


def reply(body: Any, status: int = 200) -> HttpReply:
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def refusal(code: str, status: int = 200) -> HttpReply:
    """As the venue words it: the key stands in it twice."""
    return reply({"code": code, "data": None, "msg": f"invalid apiKey : {KEY}", "errorParam": {"apiKey": KEY}}, status)


def test_an_accepted_answer_is_an_id_and_nothing_more() -> None:
    outcome = answers.order_outcome(reply(CREATED))
    assert outcome == Accepted(venue_order_id="564814927928230158", status=OrderStatus.ACCEPTED, filled_lots=0)


WORDS = {
    ("INVALID_API_KEY", 401): RejectCode.AUTH,
    ("GATEWAY_HEADER_REQUIRED", 400): RejectCode.AUTH,
    ("GATEWAY_PARAM_INVALID", 400): RejectCode.OTHER,
    ("INVALID_PARAMETER", 200): RejectCode.OTHER,
    ("SIGNATURE_ERROR", 200): RejectCode.AUTH,
    ("INSUFFICIENT_BALANCE", 200): RejectCode.MARGIN,
    ("ORDER_NOT_FOUND", 200): RejectCode.UNKNOWN_ORDER,
    ("ACCOUNT_UPDATE_LEVERAGE_FAILED_ORDER", 200): RejectCode.LEVERAGE,
    ("INVALID_GET_PAGE_SIZE", 200): RejectCode.OTHER,
    ("INVALID_DEPTH_LEVEL", 200): RejectCode.OTHER,
    ("RATE_LIMIT_EXCEEDED", 200): RejectCode.RATE,
    ("RATE_LIMIT_EXCEEDED", 429): RejectCode.RATE,
    ("INVALID_L2_NONCE", 400): RejectCode.NONCE,
    ("DUPLICATE_CLIENT_ORDER_ID", 200): RejectCode.DUPLICATE_ID,
}


@pytest.mark.parametrize(("word", "status"), WORDS)
def test_every_word_refuses_with_its_meaning_and_shows_no_key(word: str, status: int) -> None:
    outcome = answers.order_outcome(refusal(word, status))
    assert isinstance(outcome, Rejected)
    assert outcome.code is WORDS[word, status]
    assert word in outcome.detail
    assert KEY not in outcome.detail


def test_every_listed_word_has_its_fixture() -> None:
    assert {word for word, _ in WORDS} == set(answers.CODES)


@pytest.mark.parametrize("status", [200, 400, 403])
def test_an_unlisted_word_is_a_refusal_and_one_that_is_no_word_is_not_shown(status: int) -> None:
    outcome = answers.order_outcome(refusal("ORDER_PRICE_OUT_OF_BAND", status))
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.OTHER
    hidden = answers.order_outcome(refusal(f"bad {KEY}", status))
    assert isinstance(hidden, Rejected)
    assert KEY not in hidden.detail


@pytest.mark.parametrize("word", sorted(answers.IN_DOUBT))
@pytest.mark.parametrize("status", [200, 400])
def test_words_about_the_venue_itself_prove_nothing(word: str, status: int) -> None:
    assert isinstance(answers.order_outcome(refusal(word, status)), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        reply(CREATED, 500), refusal("INVALID_PARAMETER", 500), refusal("INVALID_PARAMETER", 503), reply(b"<html>", 502),
        reply(b"<html>", 403), reply(b""), reply(b"null"), reply(b"[]"), reply(b"{}"), reply(b"\xff"), reply({"code": 5}),
        reply({"code": "SUCCESS"}), reply({"code": "SUCCESS", "data": None}), reply({"code": "SUCCESS", "data": {}}),
        reply({"code": "SUCCESS", "data": {"orderId": 5}}), reply({"code": "SUCCESS", "data": {"orderId": ""}}),
        reply({"code": ""}), reply(CREATED, 400), reply(CREATED, 302), reply(b"[" * 5000), Unknown(detail="timeout"),
    ],
)  # fmt: skip
def test_an_answer_that_proves_nothing_is_unknown(answer: Any) -> None:
    assert isinstance(answers.order_outcome(answer), Unknown)
    assert isinstance(answers.cancel_outcome(answer, "5"), Unknown)


def test_what_never_left_stays_unsent_and_429_needs_no_body() -> None:
    assert answers.order_outcome(Unsent(detail="x")) == Unsent(detail="x")
    outcome = answers.order_outcome(reply(b"", 429))
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.RATE


def test_cancels_are_told_by_the_word_of_each_order() -> None:
    def answer(**results: str) -> HttpReply:
        return reply({"code": "SUCCESS", "data": {"cancelResultMap": results}})

    taken = answers.cancel_outcome(answer(a="SUCCESS"), "a")
    assert taken == Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
    gone = answers.cancel_outcome(answer(a="ORDER_NOT_FOUND", b="SUCCESS"), "a")
    assert isinstance(gone, Rejected)
    assert gone.code is RejectCode.UNKNOWN_ORDER
    assert isinstance(answers.cancel_outcome(answer(b="SUCCESS"), "a"), Unknown)
    assert isinstance(answers.cancel_outcome(answer(a="SYSTEM_ERROR"), "a"), Unknown)


# ---- rows ---------------------------------------------------------------------------------------------------------------

ORDER = {
    "id": "564829588270612618", "contractId": "10000001", "side": "BUY", "price": "96260.7", "size": "0.004",
    "clientOrderId": OURS, "type": "LIMIT", "timeInForce": "IMMEDIATE_OR_CANCEL", "reduceOnly": True, "status": "OPEN",
    "cumFillSize": "0", "cumFillValue": "0", "cumFillFee": "0", "createdTime": "1734665867870", "updatedTime": "1734665867876",
}  # fmt: skip


def order(**changes: Any) -> VenueOrder:
    row = rows.decode(json.dumps(ORDER | changes).encode(), rows.OrderRow, "order")
    found = rows.order(row, LISTED)
    assert found is not None
    return found


def test_documented_order_row() -> None:
    assert order() == VenueOrder(
        symbol="BTC", venue_order_id="564829588270612618", client_order_id=OURS, side=Side.BUY, lots=4, filled_lots=0,
        status=OrderStatus.ACCEPTED, avg_px=None, reduce_only=True,
    )  # fmt: skip
    assert order(clientOrderId="9311381563209122").client_order_id is None


@pytest.mark.parametrize(
    ("status", "reason", "tif", "expected"),
    [
        ("PENDING", "", "IMMEDIATE_OR_CANCEL", OrderStatus.ACCEPTED),
        ("UNTRIGGERED", "", "GOOD_TIL_CANCEL", OrderStatus.ACCEPTED),
        ("CANCELING", "UNKNOWN_ORDER_CANCEL_REASON", "GOOD_TIL_CANCEL", OrderStatus.ACCEPTED),
        ("FILLED", "UNKNOWN_ORDER_CANCEL_REASON", "IMMEDIATE_OR_CANCEL", OrderStatus.FILLED),
        ("CANCELED", "COULD_NOT_FILL", "IMMEDIATE_OR_CANCEL", OrderStatus.EXPIRED),
        ("CANCELED", "COULD_NOT_FILL", "POST_ONLY", OrderStatus.CANCELED),
        ("CANCELED", "EXPIRE_CANCELED", "GOOD_TIL_CANCEL", OrderStatus.EXPIRED),
        ("CANCELED", "USER_CANCELED", "GOOD_TIL_CANCEL", OrderStatus.CANCELED),
        ("CANCELED", "MARGIN_NOT_ENOUGH", "IMMEDIATE_OR_CANCEL", OrderStatus.CANCELED),
        ("CANCELED", "REDUCE_ONLY_CANCELED", "IMMEDIATE_OR_CANCEL", OrderStatus.CANCELED),
        ("CANCELED", "LIQUIDATE_CANCELED", "GOOD_TIL_CANCEL", OrderStatus.CANCELED),
        ("CANCELED", "SOMETHING_NEW", "GOOD_TIL_CANCEL", OrderStatus.CANCELED),
    ],
)
def test_ends_of_an_order(status: str, reason: str, tif: str, expected: OrderStatus) -> None:
    found = order(status=status, cancelReason=reason, timeInForce=tif, cumFillSize="0.002", cumFillValue="192")
    assert (found.status, found.filled_lots, found.avg_px) == (expected, 2, Decimal(96000))


def test_what_was_matched_counts_before_the_chain_has_taken_it() -> None:
    found = order(cumMatchSize="0.004", cumMatchValue="384", cumFillSize="0.001", cumFillValue="96", status="FILLED")
    assert (found.filled_lots, found.avg_px) == (4, Decimal(96000))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "PAUSED"}, {"side": "HOLD"}, {"size": "0.0045"}, {"cumFillSize": "0.005"}, {"cumFillSize": "-0.001"},
        {"size": "NaN"}, {"cumMatchSize": "Infinity"},
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_is_malformed(change: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        order(**change)


FILL = {
    "id": "564815957260763406", "accountId": "543429922991899150", "coinId": "1000", "contractId": "10000001",
    "orderId": "564815695875932430", "orderSide": "BUY", "fillSize": "0.001", "fillValue": "97.4445", "fillFee": "0.017540",
    "fillPrice": "97444.5", "liquidateFee": "0", "realizePnl": "-0.017540", "direction": "MAKER",
    "matchTime": "1734662617982",
}  # fmt: skip


def test_documented_fill_row() -> None:
    fill = rows.fill(rows.decode(json.dumps(FILL).encode(), rows.FillRow, "fill"), LISTED, OURS)
    assert fill is not None
    assert (fill.lots, fill.px, fill.fee_usd, fill.side) == (1, Decimal("97444.5"), Decimal("0.017540"), Side.BUY)
    assert (fill.trade_id, fill.venue_order_id) == ("10000001:564815957260763406", "564815695875932430")
    assert (fill.liquidity, fill.ts_ns, fill.client_order_id) == (LiquiditySide.MAKER, 1734662617982 * NS_PER_MS, OURS)
    for change in (
        {"fillPrice": "0"},
        {"fillFee": "NaN"},
        {"fillSize": "0"},
        {"fillSize": "0.0005"},
        {"orderSide": "x"},
    ):
        row = rows.decode(json.dumps(FILL | change).encode(), rows.FillRow, "fill")
        with pytest.raises(Malformed):
            rows.fill(row, LISTED, None)


ASSET: dict[str, Any] = {
    "account": {
        "status": "NORMAL",
        "defaultTradeSetting": {
            "isSetFeeRate": True, "takerFeeRate": "0.000500", "makerFeeRate": "0.000180", "isSetMaxLeverage": False,
            "maxLeverage": "0",
        },
        "contractIdToTradeSetting": {
            "10000001": {
                "isSetFeeRate": False, "takerFeeRate": "", "makerFeeRate": "", "isSetMaxLeverage": True, "maxLeverage": "50",
            }
        },
    },
    "collateralList": [{"coinId": "1000", "amount": "-81.943188", "legacyAmount": "15.501312"}],
    "positionList": [{"contractId": "10000001", "openSize": "0.001", "openValue": "97.444500", "openFee": "-0.017540"}],
    "version": "1021",
    "positionAssetList": [
        {
            "contractId": "10000001", "positionValue": "97.7344", "maxLeverage": "50", "avgEntryPrice": "97444.5",
            "liquidatePrice": "82354.9", "unrealizePnl": "0.2899",
        }
    ],
    "collateralAssetModelList": [
        {"coinId": "1000", "totalEquity": "15.7912", "starkExRiskValue": "0.4887", "availableAmount": "13.836550"}
    ],
}  # fmt: skip


def asset(**changes: Any) -> rows.AssetRow:
    return rows.decode(json.dumps(ASSET | changes).encode(), rows.AssetRow, "asset")


def test_documented_account() -> None:
    (position,), strange = rows.positions(asset(), LISTED)
    assert (position.lots, position.avg_entry_px, position.mark_px) == (1, Decimal("97444.5"), Decimal("97734.4"))
    assert (position.liquidation_px, position.leverage, position.unrealized_usd) == (
        Decimal("82354.9"),
        50,
        Decimal("0.2899"),
    )
    assert strange == {}
    balance = rows.balance(asset(), "1000", 7)
    assert (balance.equity_usd, balance.free_margin_usd) == (Decimal("15.7912"), Decimal("13.836550"))
    assert (balance.maintenance_margin_usd, balance.ts_ns) == (Decimal("0.4887"), 7)
    account = asset().account
    assert rows.leverage(account, "10000001", 10) == 50
    assert rows.leverage(account, "10000002", 10) == 10
    assert rows.fee_rates(account, "10000001", FeeRates(9.0, 9.0)) == FeeRates(maker=0.00018, taker=0.0005)
    assert rows.fee_rates(rows.AccountRow(), "10000001", FeeRates(1.0, 2.0)) == FeeRates(1.0, 2.0)


def test_the_other_spelling_short_and_unlisted_positions() -> None:
    figures = {"contractId": "10000001", "avgEntryPrice": "97444.5", "positionValue": "-97.7344", "maxLeverage": "3",
               "liquidationPrice": "120000", "unrealizedPnl": "-1"}  # fmt: skip
    held = [{"contractId": "10000001", "openSize": "-0.001"}, {"contractId": "7", "openSize": "-2.5"},
            {"contractId": "8", "openSize": "0.000"}]  # fmt: skip
    model = [{"coinId": "1000", "totalEquity": "5", "starkExRiskValue": "1", "availableBalance": "-2"}]
    told = asset(positionList=held, positionAssetList=[figures], collateralAssetModelList=model)
    (position,), strange = rows.positions(told, LISTED)
    assert (position.lots, position.mark_px, position.liquidation_px) == (-1, Decimal("97734.4"), Decimal(120000))
    assert position.unrealized_usd == -1
    assert strange == {"7": Decimal("-2.5")}
    assert rows.balance(told, "1000", 0).free_margin_usd == 0
    for broken in (asset(positionAssetList=[]), asset(positionList=[{"contractId": "10000001", "openSize": "0.0005"}])):
        with pytest.raises(Malformed):
            rows.positions(broken, LISTED)
    with pytest.raises(Malformed):
        rows.balance(told, "1001", 0)


SETTLED = {"id": "5", "contractId": "10000004", "type": "SETTLE_FUNDING_FEE", "deltaFundingFee": "0.25",
           "fundingTime": "1775699400000", "fundingRate": "0.0001", "fundingPositionSize": "0.10"}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "rate", "stated", "paid"),
    [
        ("0.10", "0.0001", "-0.25", "-0.25"), ("0.10", "0.0001", "0.25", "-0.25"), ("-0.10", "0.0001", "0.25", "0.25"),
        ("-0.10", "0.0001", "-0.25", "0.25"), ("0.10", "-0.0001", "0.25", "0.25"), ("0.10", "0", "-0.25", "-0.25"),
    ],
)  # fmt: skip
def test_who_pays_follows_from_position_and_rate(size: str, rate: str, stated: str, paid: str) -> None:
    changes = {"fundingPositionSize": size, "fundingRate": rate, "deltaFundingFee": stated}
    row = rows.decode(json.dumps(SETTLED | changes).encode(), rows.TransactionRow, "row")
    (payment,) = rows.fundings([row], LISTED)
    assert (payment.amount_usd, payment.rate) == (Decimal(paid), float(rate))
    assert (payment.payment_id, payment.ts_ns) == ("10000004:5", 1775699400000 * NS_PER_MS)


def test_other_transactions_pay_no_funding() -> None:
    kinds = [{**SETTLED, "type": "BUY_POSITION"}, {**SETTLED, "contractId": "7"}]
    assert (
        rows.fundings([rows.decode(json.dumps(each).encode(), rows.TransactionRow, "row") for each in kinds], LISTED)
        == []
    )
    wrong = rows.decode(json.dumps({**SETTLED, "fundingTime": "0"}).encode(), rows.TransactionRow, "row")
    with pytest.raises(Malformed):
        rows.fundings([wrong], LISTED)


# ---- hostile bytes ------------------------------------------------------------------------------------------------------


def test_damaged_answers_never_raise_and_never_accept_another_order() -> None:
    rng = random.Random(7)
    whole = json.dumps(CREATED).encode()
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        outcome = answers.order_outcome(reply(bytes(damaged)[: rng.randrange(len(damaged) + 1)]))
        assert isinstance(outcome, Accepted | Rejected | Unknown)


def test_random_bytes_are_malformed() -> None:
    rng = random.Random(8)
    for kind in (rows.OrderRow, rows.FillRow, rows.AssetRow, rows.TransactionRow, rows.Content):
        for _ in range(100):
            with pytest.raises(Malformed):
                rows.decode(rng.randbytes(rng.randrange(60)), kind, "row")
        with pytest.raises(Malformed):
            rows.decode(b"[" * 5000, kind, "row")
