"""Pacifica's words as outcomes: one fixture per entry of the allow-list, by REST and over the socket."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.errors import Malformed, NotSent, OutcomeUnknown, VenueError
from core.types import Instrument, LiquiditySide, OrderStatus, Side, TimeInForce
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _pacifica_answers as answers
from executor.venues import _pacifica_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues._pacifica_reads import ended
from executor.venues._pacifica_stream import PrivateStream, decode_frame
from executor.venues.base import FillSeen, OrderRequest, OrderSeen, StreamDown, StreamUp
from tests.executor.local_servers import LogLines

ACCOUNT = "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9"
OURS = "7a6d0001000200000001000000000103"
SOL = Instrument(
    venue=rows.VENUE, symbol="SOL", venue_symbol="SOL", tick_size=Decimal("0.01"), lot_size=Decimal("0.01"),
)  # fmt: skip
SYMBOLS = {"SOL": SOL}

BUSINESS = [
    ("ACCOUNT_NOT_FOUND", RejectCode.AUTH),
    ("BOOK_NOT_FOUND", RejectCode.INSTRUMENT),
    ("INVALID_TICK_LEVEL", RejectCode.TICK),
    ("INVALID_TICK_SIZE", RejectCode.TICK),
    ("INSUFFICIENT_BALANCE", RejectCode.MARGIN),
    ("IMMEDIATE_LIQUIDATION", RejectCode.MARGIN),
    ("ORDER_NOT_FOUND", RejectCode.UNKNOWN_ORDER),
    ("ORDER_AMOUNT_TOO_LOW", RejectCode.MIN_NOTIONAL),
    ("ORDER_AMOUNT_TOO_HIGH", RejectCode.SIZE),
    ("INVALID_AMOUNT", RejectCode.SIZE),
    ("OPEN_ORDER_LIMIT_REACHED", RejectCode.OTHER),
    ("INVALID_LEVERAGE", RejectCode.LEVERAGE),
    ("CANNOT_UPDATE_MARGIN", RejectCode.LEVERAGE),
    ("POSITION_NOT_FOUND", RejectCode.REDUCE_ONLY),
    ("INVALID_REDUCE_ONLY_ORDER_SIDE", RejectCode.REDUCE_ONLY),
    ("INVALID_REDUCE_ONLY_ORDER_AMOUNT", RejectCode.REDUCE_ONLY),
    ("NO_POSITION_FOR_REDUCE_ONLY_ORDER", RejectCode.REDUCE_ONLY),
    ("NO_REASONABLE_PRICE", RejectCode.NO_MATCH),
    ("PRICE_TOO_FAR_FROM_MARK", RejectCode.PRICE_BAND),
    ("DUPLICATE_CLIENT_ORDER_ID", RejectCode.DUPLICATE_ID),
    ("TRADING_DISABLED", RejectCode.VENUE_MODE),
    ("MISSING_MARK_PRICE", RejectCode.VENUE_MODE),
    ("ORACLE_NOT_AVAILABLE", RejectCode.VENUE_MODE),
    ("OPEN_INTEREST_LIMIT_EXCEEDED", RejectCode.OPEN_INTEREST),
    ("UNSUPPORTED_OPERATION", RejectCode.OTHER),
    (f"Order amount too low for {ACCOUNT}: 7.81140 < 10", RejectCode.MIN_NOTIONAL),
    ("Failed to cancel order", RejectCode.UNKNOWN_ORDER),
    ("No reasonable price found", RejectCode.NO_MATCH),
]
EARLY = [
    (400, "Invalid message", RejectCode.EXPIRED),
    (400, "Verification failed: signature does not match signer and canonical payload.", RejectCode.AUTH),
    (400, "Invalid signature", RejectCode.AUTH),
    (400, "Invalid public key", RejectCode.AUTH),
    (400, "Unauthorized", RejectCode.AUTH),
    (400, "Agent not authorized for account", RejectCode.AUTH),
    (400, "not a multiple of tick size 1", RejectCode.TICK),
    (400, "Price 100.5 is not a multiple of tick size 1", RejectCode.TICK),
    (400, "Amount 0.0000005 is not a multiple of lot size 0.00001", RejectCode.SIZE),
    (400, "missing field `tif`", RejectCode.OTHER),
    (403, "<html>403 ERROR</html>", RejectCode.AUTH),
    (429, "Rate limit exceeded", RejectCode.RATE),
]
OPEN_ENDED = [
    "CHANNEL_CLOSED",
    "RESPONSE_DROPPED",
    "INTERNAL",
    "DATABASE_ERROR",
    "something new",
    "",
    "insufficient_balance",
]


def reply(status: int, body: Any) -> HttpReply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {}, data)


def envelope(text: str, code: int = 0, **more: Any) -> dict[str, Any]:
    return {"success": False, "data": None, "error": text, "code": code, **more}


def by_rest(status: int, body: Any) -> Any:
    return answers.order_outcome(answers.http_answer(reply(status, body)))


def by_socket(code: int, text: str) -> Any:
    return answers.order_outcome(answers.socket_answer(answers.SocketAnswer(code, "x", err=text)))


@pytest.mark.parametrize(("text", "code"), BUSINESS)
def test_the_engines_refusals(text: str, code: RejectCode) -> None:
    for outcome in (by_rest(422, envelope(text, 5)), by_socket(420, text)):
        assert isinstance(outcome, Rejected), outcome
        assert outcome.code is code
        assert text[:40] in outcome.detail


def test_every_entry_of_the_list_has_a_fixture() -> None:
    assert set(answers.NAMES) <= {text for text, _ in BUSINESS}
    texts = [text for text, _ in BUSINESS] + [text for _, text, _ in EARLY]
    assert all(any(pattern.fullmatch(text) for text in texts) for pattern, _ in answers.TEXTS)


def test_an_error_id_tells_as_well_as_a_text() -> None:
    outcome = by_rest(422, envelope("Not enough of it", 5, error_id="insufficient_balance"))
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.MARGIN


@pytest.mark.parametrize("text", OPEN_ENDED)
def test_what_the_engine_says_beyond_the_list_proves_nothing(text: str) -> None:
    assert isinstance(by_rest(422, envelope(text, 26)), Unknown)
    assert isinstance(by_socket(420, text), Unknown)


def test_a_refusals_number_alone_proves_nothing() -> None:
    """Numbers were given anew in 2026: 5 was a missing order and is a missing balance."""
    assert isinstance(by_rest(422, envelope("whatever", 5)), Unknown)


@pytest.mark.parametrize(("status", "text", "code"), EARLY)
def test_refusals_before_the_engine(status: int, text: str, code: RejectCode) -> None:
    for outcome in (by_rest(status, text.encode()), by_rest(status, envelope(text, status)), by_socket(status, text)):
        assert isinstance(outcome, Rejected), outcome
        assert outcome.code is code


@pytest.mark.parametrize(("code", "reject"), [(401, RejectCode.AUTH), (402, RejectCode.AUTH), (403, RejectCode.AUTH)])
def test_socket_codes_of_a_bad_signature(code: int, reject: RejectCode) -> None:
    outcome = by_socket(code, "whatever")
    assert isinstance(outcome, Rejected)
    assert outcome.code is reject


@pytest.mark.parametrize("status", [404, 409, 500, 502, 503, 504])
def test_other_failures_prove_nothing(status: int) -> None:
    for body in (envelope("TRADING_DISABLED", status), b"error code: 503", b""):
        assert isinstance(by_rest(status, body), Unknown)
    assert isinstance(by_socket(status, "TRADING_DISABLED"), Unknown)


def test_acknowledgements() -> None:
    for answer in (
        answers.http_answer(reply(200, {"success": True, "data": {"order_id": 12345}, "error": None, "code": None})),
        answers.socket_answer(answers.SocketAnswer(200, "x", msgspec.Raw(b'{"I":"b1946ac9","i":12345,"s":"SOL"}'))),
    ):
        assert answers.order_outcome(answer) == Accepted(
            venue_order_id="12345", status=OrderStatus.ACCEPTED, filled_lots=0
        )
    done = answers.http_answer(reply(200, {"success": True, "data": None}))
    assert answers.cancel_outcome(done) == Accepted(venue_order_id="", status=OrderStatus.CANCELED, filled_lots=0)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"success":true}', b'{"success":true,"data":{}}',
                                  b'{"success":true,"data":{"order_id":-1}}', b'{"success":true,"data":{"order_id":"x"}}',
                                  b'{"success":false}', b"\xff", b"[" * 100_000])  # fmt: skip
def test_an_answer_that_does_not_name_an_order_is_unknown(body: bytes) -> None:
    assert isinstance(by_rest(200, body), Unknown)


def test_what_never_left_or_never_came_stays_so() -> None:
    for kind in (Unsent(detail="x"), Unknown(detail="x")):
        assert answers.order_outcome(answers.http_answer(kind)) == kind
        assert answers.cancel_outcome(kind) == kind


def test_a_cancel_that_finds_nothing_is_told_apart() -> None:
    outcome = answers.cancel_outcome(answers.http_answer(reply(422, envelope("Failed to cancel order", 6))))
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.UNKNOWN_ORDER


def test_settings_raise_unless_done() -> None:
    answers.require_done(b"null", "leverage")
    for answer, error in (
        (Unsent(detail="x"), NotSent),
        (Unknown(detail="x"), OutcomeUnknown),
        (Rejected(code=RejectCode.LEVERAGE, detail="x"), VenueError),
    ):
        with pytest.raises(error):
            answers.require_done(answer, "leverage")


# ---- rows and frames ----------------------------------------------------------------------------------------------

FILL = {
    "history_id": 19329801, "order_id": 315293920, "client_order_id": rows.wire_id(OURS), "symbol": "SOL", "amount": "0.1",
    "price": "142.37", "entry_price": "1.176247", "fee": "0.0057", "pnl": "-0.001415", "event_type": "fulfill_maker",
    "side": "close_short", "cause": "normal", "created_at": 1759215599188,
}  # fmt: skip
UPDATE = {
    "i": 1559665358, "I": rows.wire_id(OURS), "u": ACCOUNT, "s": "SOL", "d": "bid", "p": "142.5", "ip": "142.6", "lp": "142.5",
    "a": "1.25", "f": "1.25", "oe": "fulfill_limit", "os": "filled", "ot": "limit", "r": False, "ct": 1765017049008,
    "ut": 1765017219639, "li": 1559696133,
}  # fmt: skip
TRADE = {
    "h": 80063441, "i": 1559912767, "I": rows.wire_id(OURS), "u": ACCOUNT, "s": "SOL", "p": "89477", "o": "89505", "a": "0.02",
    "te": "fulfill_taker", "ts": "close_long", "tc": "normal", "f": "0.00002", "n": "-0.1", "t": 1765018588190,
    "li": 1559912767,
}  # fmt: skip


def row(kind: Any, content: dict[str, Any], **changes: Any) -> Any:
    return rows.decode(json.dumps({**content, **changes}).encode(), kind, "row")


def test_ids_travel_as_full_uuids() -> None:
    text = rows.wire_id(OURS)
    assert text == "7a6d0001-0002-0000-0001-000000000103"
    assert rows.client_id(text) == rows.client_id(text.upper()) == OURS
    assert rows.client_id("b1946ac9-2a3e-4f57-8c61-0d9e8f7a6b5c") is None
    assert rows.client_id(None) is None


def test_a_fill_by_hand() -> None:
    fill = rows.fill(row(rows.FillRow, FILL), SYMBOLS)
    assert fill is not None
    assert (fill.side, fill.lots, fill.px, fill.fee_usd) == (Side.BUY, 10, Decimal("142.37"), Decimal("0.0057"))
    assert (fill.trade_id, fill.venue_order_id, fill.client_order_id) == ("19329801", "315293920", OURS)
    assert (fill.liquidity, fill.ts_ns) == (LiquiditySide.MAKER, 1759215599188 * 10**6)
    assert rows.fill(row(rows.FillRow, FILL, symbol="SOL-USDC"), SYMBOLS) is None


@pytest.mark.parametrize("change", [{"client_order_id": None}, {"client_order_id": "acf"}, {"cause": "market_liquidation"},
                                    {"cause": "backstop_liquidation"}])  # fmt: skip
def test_a_fill_that_is_not_ours_is_foreign(change: dict[str, Any]) -> None:
    fill = rows.fill(row(rows.FillRow, FILL, **change), SYMBOLS)
    assert fill is not None
    assert fill.client_order_id is None


@pytest.mark.parametrize("change", [{"side": "buy"}, {"amount": "0.005"}, {"amount": "-0.1"}, {"price": "0"}, {"fee": "NaN"},
                                    {"price": "inf"}, {"amount": "NaN"}])  # fmt: skip
def test_impossible_fills_are_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        rows.fill(row(rows.FillRow, FILL, **change), SYMBOLS)


@pytest.mark.parametrize(
    ("word", "filled", "status"),
    [
        ("open", "0", OrderStatus.ACCEPTED),
        ("filled", "1.25", OrderStatus.FILLED),
        ("partially_filled", "0.5", OrderStatus.ACCEPTED),
        ("cancelled", "0.5", OrderStatus.CANCELED),
        ("rejected", "0", OrderStatus.REJECTED),
    ],
)
def test_statuses(word: str, filled: str, status: OrderStatus) -> None:
    order = rows.order(row(rows.OrderUpdate, UPDATE, os=word, f=filled).row(), SYMBOLS)
    assert order is not None
    assert (order.status, order.lots, order.filled_lots) == (status, 125, int(Decimal(filled) * 100))
    assert order.avg_px == (None if filled == "0" else Decimal("142.5"))


@pytest.mark.parametrize("change", [{"os": "expired?"}, {"f": "0.5"}, {"f": "2"}, {"a": "0.001"}, {"d": "buy"}])
def test_orders_that_contradict_themselves_are_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        rows.order(row(rows.OrderUpdate, UPDATE, **change).row(), SYMBOLS)


def test_an_ioc_remainder_expires_and_a_cancelled_order_is_cancelled() -> None:
    order = rows.order(row(rows.OrderUpdate, UPDATE, os="cancelled", f="0.5").row(), SYMBOLS)
    assert order is not None
    memory = OrderMemory()
    assert ended(order, memory).status is OrderStatus.CANCELED
    request = OrderRequest(
        client_order_id=OURS, instrument=SOL, side=Side.BUY, lots=125, limit_ticks=1, time_in_force=TimeInForce.IOC,
        reduce_only=False, expires_wire_ns=1,
    )  # fmt: skip
    memory.note(request, 1, 1)
    assert ended(order, memory).status is OrderStatus.EXPIRED


def test_positions_take_their_mark_from_the_prices() -> None:
    rows_ = [
        row(
            rows.PositionRow,
            {"symbol": "SOL", "side": "ask", "amount": "2", "entry_price": "150", "liquidation_price": None},
        ),
        row(rows.PositionRow, {"symbol": "AAVE", "side": "ask", "amount": "223.72", "entry_price": "279.283134"}),
    ]
    ((position,), strange) = rows.positions(rows_, {"SOL": Decimal(140)}, SYMBOLS)
    assert (position.lots, position.mark_px, position.unrealized_usd) == (-200, Decimal(140), Decimal(20))
    assert strange == {"AAVE": Decimal("-223.72")}


class Channels:
    """A stream whose events are written down."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.heard: list[Any] = []
        self.out = LogLines()
        self.stream = PrivateStream(
            ACCOUNT, OrderMemory(), lambda: SYMBOLS, self.heard.append, self.events.append, self.out.log
        )

    def say(self, channel: str, *data: dict[str, Any]) -> list[Any]:
        """The events of one frame."""
        before = len(self.events)
        frame = decode_frame(json.dumps({"channel": channel, "data": list(data)}).encode())
        assert frame is not None
        self.stream.on_frame(frame)
        return self.events[before:]

    def acknowledge(self, source: str) -> None:
        frame = decode_frame(
            json.dumps({"channel": "subscribe", "data": {"source": source, "account": ACCOUNT}}).encode()
        )
        assert frame is not None
        self.stream.on_frame(frame)


async def test_the_stream_is_up_when_both_channels_are_acknowledged() -> None:
    channels = Channels()
    asked = [json.loads(frame) for frame in channels.stream.subscriptions()]
    assert [each["params"] for each in asked] == [
        {"source": "account_order_updates", "account": ACCOUNT}, {"source": "account_trades", "account": ACCOUNT},
    ]  # fmt: skip
    channels.acknowledge("account_trades")
    channels.acknowledge("account_trades")
    assert channels.events == []
    channels.acknowledge("account_order_updates")
    assert channels.events == [StreamUp(venue=rows.VENUE, since_wire_ns=0)]
    channels.stream.on_down("cut", 10 * 10**9)
    assert isinstance(channels.events[-1], StreamDown)
    channels.stream.subscriptions()
    for source in ("account_order_updates", "account_trades"):
        channels.acknowledge(source)
    assert channels.events[-1] == StreamUp(venue=rows.VENUE, since_wire_ns=5 * 10**9)


async def test_updates_and_trades_become_events_and_old_updates_none() -> None:
    channels = Channels()
    (event,) = channels.say("account_order_updates", UPDATE)
    assert isinstance(event, OrderSeen)
    assert (event.order.client_order_id, event.order.status) == (OURS, OrderStatus.FILLED)
    assert channels.heard == [event.order]
    assert channels.say("account_order_updates", {**UPDATE, "os": "open", "f": "0", "li": UPDATE["li"] - 1}) == []
    (event,) = channels.say("account_trades", TRADE)
    assert isinstance(event, FillSeen)
    assert (event.fill.side, event.fill.lots, event.fill.client_order_id) == (Side.SELL, 2, OURS)
    (event,) = channels.say("account_trades", {**TRADE, "I": None})
    assert event.fill.client_order_id is None


async def test_rows_that_do_not_decode_are_said_and_dropped() -> None:
    channels = Channels()
    for channel, data in (("account_trades", {**TRADE, "a": "x"}), ("account_order_updates", {**UPDATE, "os": "?"})):
        assert channels.say(channel, data) == []
    assert channels.out.has("private_frame_malformed")
    assert channels.say("account_trades", {**TRADE, "s": "NEW"}) == []
    assert decode_frame(b"nonsense") is None
    assert decode_frame(b"\xff") is None
