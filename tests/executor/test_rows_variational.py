"""Variational's rows read by hand, and what becomes of them when they are spoiled: an error of ours, or something believable."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S, SimClock
from core.errors import Malformed, VenueError
from core.specs import variational as specs
from core.types import Instrument, LiquiditySide, OrderStatus, Side
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.throttle import Throttle
from executor.venues._memory import OrderMemory
from executor.venues._variational_flights import Flights
from executor.venues._variational_reads import MAX_PAGES, PAGE_ROWS, Reads
from executor.venues.base import NotFound
from ops.sandbox.garbage import SHAPES, garble

NAME = {
    "instrument_type": "perpetual_future",
    "underlying": "BTC",
    "funding_interval_s": 3600,
    "settlement_asset": "USDC",
}
ORDER = {
    "rfq_id": "22222222-2222-4222-8222-222222222222", "instrument": NAME, "side": "buy", "qty": "0.013", "price": "63349.06",
    "order_type": "market", "limit_price": None, "tif": "fill_or_kill", "status": "cleared", "is_reduce_only": False,
    "clearing_status": "success_trades_booked_into_pool", "created_at": "2026-09-04T07:59:00.250Z",
}  # fmt: skip
POSITION = {
    "position_info": {"instrument": NAME, "qty": "-0.047801", "avg_entry_price": "63000.5", "updated_at": "2026-09-04T08:00:00Z"},
    "price_info": {"price": "63100"}, "value": "-3016", "upnl": "-4.756", "rpnl": "0", "cum_funding": "-0.26",
    "estimated_liquidation_price": "91000", "initial_margin": "301", "maintenance_margin": "30", "pending_order_counts": {},
}  # fmt: skip
PORTFOLIO = {
    "balance": "1000.5", "upnl": "-4.756", "margin_usage": {"initial_margin": "301", "maintenance_margin": "30"},
    "sub_accounts": {},
}  # fmt: skip
FUNDING = {  # as recorded on 2026-09-04, page section 4
    "asset": "USDC", "created_at": "2026-09-04T08:00:00Z", "funding_interval_s": 28800,
    "funding_rate": "0.0000685680365296804", "qty": "-0.264342", "ref_instrument_position_qty": "0.047801",
    "reference_instrument": NAME,
}  # fmt: skip
QUOTE = {
    "instrument": NAME, "qty": "0.013", "bid": "63344.45", "ask": "63349.06", "mark_price": "63346.7", "index_price": "63386.6",
    "timestamp": "2026-09-04T08:00:00Z", "quote_id": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
    "qty_limits": {side: {"min_qty_tick": "0.000001", "min_qty": "0.000002", "max_qty": "15"} for side in ("bid", "ask")},
}  # fmt: skip
BTC = Instrument(
    venue=specs.VENUE, symbol="BTC", venue_symbol="BTC", tick_size=Decimal("0.01"), lot_size=Decimal("0.00001"),
    min_notional_usd=Decimal("0.1"), max_leverage=10,
)  # fmt: skip


class Web:
    """Answers every read of one path with `bodies[path]`."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {
            "/orders/v2": json.dumps({"result": [ORDER], "pagination": {"object_count": 1}}).encode(),
            "/positions": json.dumps([POSITION]).encode(),
            "/portfolio": json.dumps(PORTFOLIO).encode(),
            "/transfers": json.dumps({"result": [FUNDING]}).encode(),
            "/quotes/indicative": json.dumps(QUOTE).encode(),
            "/settlement_pools/leverage": json.dumps({"BTC": {"current": "3", "limits": [1, 2, 3]}}).encode(),
            "/metadata/supported_assets": json.dumps(
                {"BTC": [{"instrument_type": "perpetual_future", "has_perp": True}], "ZZ": []}
            ).encode(),
            "/metadata/stats": json.dumps({"listings": [{"ticker": "BTC", "mark_price": "63346.75"}]}).encode(),
        }

    async def get(self, target: str) -> bytes:
        return self.bodies[target.partition("?")[0]]

    async def ask(self, target: str, body: bytes) -> bytes:
        return self.bodies[target]

    async def fetch(self, request: HttpRequest) -> HttpReply:
        return HttpReply(200, {}, self.bodies[request.target])


class Desk:
    def __init__(self) -> None:
        self.web = Web()
        self.unlisted: Mapping[str, Decimal] = {}
        clock = SimClock(wire_ns=specs.ns_of(specs.EPOCH.replace(year=2026, month=9, day=4, hour=8)))
        memory = OrderMemory()
        self.reads = Reads(
            self.web, self.web, Throttle(10**9, 0.0, clock), Throttle(10**9, 0.0, clock), memory,  # type: ignore[arg-type]
            Flights(memory, clock, lambda: 0), lambda: {"BTC": BTC}, self._note, lambda: 0, clock,
        )  # fmt: skip

    def _note(self, found: Mapping[str, Decimal]) -> None:
        self.unlisted = found

    def set(self, path: str, body: Any) -> None:
        self.web.bodies[path] = json.dumps(body).encode()

    async def everything(self) -> list[Any]:
        """Each read once: what it gave, or its error if it is one of ours."""
        reads = self.reads
        found: list[Any] = []
        for read in (
            reads.open_orders(), reads.positions(), reads.balance(), reads.fills_since(0), reads.funding_since(0),
            reads.leverage(BTC), reads.quote(BTC, Side.BUY, 1300), reads.top_of_book(BTC), reads.instruments(),
            reads.lookup(BTC, "0" * 32),
        ):  # fmt: skip
            try:
                found.append(await read)
            except VenueError as error:
                found.append(error)
        return found


async def test_rows_by_hand() -> None:
    desk = Desk()
    reads = desk.reads
    (position,) = await reads.positions()
    assert (position.lots, position.avg_entry_px, position.liquidation_px) == (
        -4780,
        Decimal("63000.5"),
        Decimal(91000),
    )
    assert desk.unlisted == {"BTC": Decimal("-0.000001")}  # less than a lot, and not hidden
    balance = await reads.balance()
    assert (balance.equity_usd, balance.free_margin_usd, balance.maintenance_margin_usd) == (
        Decimal("995.744"), Decimal("694.744"), Decimal(30),
    )  # fmt: skip
    (fill,) = await reads.fills_since(0)
    assert (fill.lots, fill.px, fill.fee_usd, fill.side, fill.liquidity) == (
        1300, Decimal("63349.06"), 0, Side.BUY, LiquiditySide.TAKER,
    )  # fmt: skip
    assert (fill.trade_id, fill.client_order_id) == (ORDER["rfq_id"], None)
    assert fill.ts_ns == 1_788_508_740_250 * 10**6
    (payment,) = await reads.funding_since(0)
    assert (payment.amount_usd, payment.rate, payment.symbol) == (Decimal("-0.264342"), 0.0000685680365296804, "BTC")
    assert payment.payment_id == f"BTC:{payment.ts_ns}"
    assert await reads.leverage(BTC) == 3
    quote = await reads.quote(BTC, Side.SELL, 1300)
    assert (quote.px, quote.quote_id) == (Decimal("63344.45"), QUOTE["quote_id"])
    assert [row.symbol for row in await reads.instruments()] == ["BTC"]
    assert await reads.lookup(BTC, "0" * 32) == NotFound(definitive=False)


@pytest.mark.parametrize(
    ("status", "means"),
    [("pending", OrderStatus.ACCEPTED), ("rejected", OrderStatus.REJECTED), ("canceled", OrderStatus.CANCELED)],
)
async def test_other_ends_fill_nothing(status: str, means: OrderStatus) -> None:
    desk = Desk()
    desk.set("/orders/v2", {"result": [{**ORDER, "status": status, "price": None}]})
    (order,) = await desk.reads.open_orders()
    assert (order.status, order.filled_lots, order.avg_px) == (means, 0, None)
    assert await desk.reads.fills_since(0) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"price": None}, {"price": "NaN"}, {"price": "-1"}, {"qty": "Infinity"}, {"created_at": "2026-09-04T07:59:00"},
        {"created_at": 7},
    ],
)  # fmt: skip
async def test_a_fill_that_cannot_be_read_is_an_error_and_never_a_guess(changes: dict[str, Any]) -> None:
    desk = Desk()
    desk.set("/orders/v2", {"result": [{**ORDER, **changes}]})
    with pytest.raises(Malformed):
        await desk.reads.fills_since(0)


@pytest.mark.parametrize(
    "changes",
    [
        {"qty": "0.014"}, {"quote_id": ""}, {"ask": None}, {"ask": "0"}, {"ask": "NaN"},
        {"timestamp": "2026-09-04T07:59:54Z"}, {"instrument": {**NAME, "underlying": "ETH"}},
        {"instrument": {**NAME, "instrument_type": "perpetual_rwa_future"}},
        {"qty_limits": {**QUOTE["qty_limits"], "bid": {"min_qty_tick": "0.01", "min_qty": "0.01", "max_qty": "15"}}},  # type: ignore[dict-item]
    ],
)  # fmt: skip
async def test_a_quote_for_anything_else_is_none(changes: dict[str, Any]) -> None:
    desk = Desk()
    desk.set("/quotes/indicative", {**QUOTE, **changes})
    with pytest.raises(VenueError):
        await desk.reads.quote(BTC, Side.BUY, 1300)


async def test_paging_ends() -> None:
    desk = Desk()
    desk.set("/orders/v2", {"result": [ORDER] * PAGE_ROWS})
    desk.set("/transfers", {"result": [FUNDING] * PAGE_ROWS})
    for read in (desk.reads.fills_since, desk.reads.funding_since):
        with pytest.raises(Malformed, match="than can be paged through"):
            await read(0)
    late_ns = specs.ns_of(specs.EPOCH.replace(year=2026, month=9, day=5))
    assert await desk.reads.fills_since(late_ns) == []  # one page tells that nothing is newer
    assert MAX_PAGES * PAGE_ROWS >= 1000
    assert late_ns > NS_PER_S


async def test_spoiled_answers_are_errors_of_ours_or_believable() -> None:
    rng = random.Random("20261120 variational rows")
    desk = Desk()
    sound = dict(desk.web.bodies)
    refused = 0
    for _ in range(400):
        shape = rng.choice(sorted(SHAPES))
        desk.web.bodies = {path: garble(body, shape, rng)[0] for path, body in sound.items()}
        for result in await desk.everything():
            refused += isinstance(result, VenueError)
    assert refused > 1000, "most of it cannot be believed"
