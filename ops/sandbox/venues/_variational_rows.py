"""What the simulated Variational tells: statistics, positions, portfolio, orders and transfers (docs/venues/variational.md 3a,
4 and 8). Amounts are strings; funding rates are a year's in the statistics and an interval's in the transfers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_S, Clock
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Contract, FundingPayment, Order, OrderState
from ops.sandbox.venues import _variational_listing as listing
from ops.sandbox.venues._variational_desk import CLEARED, Desk, Rfq, stamp
from ops.sandbox.venues._variational_errors import malformed

YEAR_H = 365 * 24
RATE_STEP = Decimal("0.000001")
CACHED_S = 60  # the statistics' prices are made once in so long; the real ones may be ten minutes old
SIZES_USD = {"size_1k": 1_000, "size_100k": 100_000}
MAX_LIMIT = 100
Row = dict[str, Any]


class Rows:
    """Everything that can be read."""

    def __init__(self, exchange: Exchange, clock: Clock, desk: Desk) -> None:
        self._exchange = exchange
        self._clock = clock
        self._desk = desk
        self._indications: dict[str, tuple[int, Row]] = {}

    # -- public -----------------------------------------------------------------------------------------------------

    def stats(self) -> Row:
        rows = [self._listing(contract) for contract in self._listed()]
        return {
            "total_volume_24h": "0", "cumulative_volume": "0", "tvl": "0", "open_interest": "0", "num_markets": len(rows),
            "loss_refund": {"pool_size": "0", "refunded_24h": "0"}, "listings": rows,
        }  # fmt: skip

    def supported_assets(self) -> Row:
        return {contract.name: [self._asset(contract)] for contract in self._listed()}

    def funding(self, name: str) -> Row:
        """What one asset is predicted to pay, a year."""
        contract = self._exchange.contracts.get(name)
        if contract is None:
            raise malformed("unknown underlying")
        return {
            "predicted_funding_rate": plain(self._yearly(contract)),
            "next_funding_time": stamp(self._exchange.funding_estimate(name).time_ns),
            "funding_interval_s": contract.funding_interval_h * 3600,
        }

    def _listed(self) -> list[Contract]:
        return [
            contract for contract in self._exchange.contracts.values() if self._exchange.pricing.known(contract.name)
        ]

    def _yearly(self, contract: Contract) -> Decimal:
        rate = self._exchange.funding_estimate(contract.name).rate
        return (rate * YEAR_H / contract.funding_interval_h).quantize(RATE_STEP)

    def _interest(self, contract: Contract) -> Row:
        usd = plain(self._exchange.stats(contract.name).open_interest * self._exchange.mark(contract.name))
        return {"long_open_interest": usd, "short_open_interest": usd}

    def _listing(self, contract: Contract) -> Row:
        return {
            "ticker": contract.name, "name": listing.TITLES[contract.name],
            "mark_price": plain(self._exchange.mark(contract.name)),
            "volume_24h": plain(self._exchange.stats(contract.name).volume_usd), "open_interest": self._interest(contract),
            "funding_rate": plain(self._yearly(contract)), "funding_interval_s": contract.funding_interval_h * 3600,
            "base_spread_bps": "0.5", "quotes": self._indication(contract),
        }  # fmt: skip

    def _indication(self, contract: Contract) -> Row:
        """Made once in CACHED_S, and kept with the time at which it was."""
        now_ns = self._clock.wire_ns()
        made_ns, told = self._indications.get(contract.name, (0, {}))
        if not told or not 0 <= now_ns - made_ns < CACHED_S * NS_PER_S:
            told = {"updated_at": stamp(now_ns)}
            mark = self._exchange.mark(contract.name)
            for key, usd in SIZES_USD.items():
                prices = self._desk.prices(contract, max(contract.lot, usd / mark // contract.lot * contract.lot))
                if prices is not None:
                    told[key] = {"bid": plain(prices[0]), "ask": plain(prices[1])}
            self._indications[contract.name] = (now_ns, told)
        return told

    def _asset(self, contract: Contract) -> Row:
        rate = plain(self._yearly(contract))
        return {
            "asset": contract.name, "is_dex": False, "name": listing.TITLES[contract.name],
            "price": plain(self._exchange.mark(contract.name)), "volume_24h": "0", "funding_rate": rate,
            "next_funding_rate": rate, "funding_time": stamp(self._exchange.funding_estimate(contract.name).time_ns),
            "index_price": plain(self._exchange.oracle(contract.name)),
            "funding_interval_s": contract.funding_interval_h * 3600, "open_interest": self._interest(contract),
            "is_close_only_mode": False, "is_isolable": True, "has_perp": True, "instrument_type": listing.TYPE,
            "asset_class": None,
        }  # fmt: skip

    # -- account ----------------------------------------------------------------------------------------------------

    def positions(self, account: str) -> list[Row]:
        state = self._exchange.account(account)
        held = [] if state is None else [each for each in state.positions.values() if each.qty]
        found = []
        for each in held:
            mark = self._exchange.mark(each.name)
            liquidation = self._exchange.liquidation_px(account, each.name)
            info = {
                "instrument": listing.instrument(each.name), "qty": plain(each.qty),
                "avg_entry_price": plain(each.entry_px), "updated_at": stamp(each.updated_ns),
            }  # fmt: skip
            contract = self._exchange.contracts[each.name]
            found.append({
                "position_info": info, "price_info": {"price": plain(mark)}, "value": plain(each.qty * mark),
                "upnl": plain((mark - each.entry_px) * each.qty), "rpnl": "0", "cum_funding": plain(-each.funding_all),
                "estimated_liquidation_price": None if liquidation is None else plain(liquidation),
                "initial_margin": plain(abs(each.qty) * mark / each.leverage),
                "maintenance_margin": plain(abs(each.qty) * mark * contract.maintenance_ratio),
                "pending_order_counts": {},
            })  # fmt: skip
        return found

    def portfolio(self, account: str) -> Row:
        margin = self._exchange.margin(account)
        usage = {"initial_margin": plain(margin.initial), "maintenance_margin": plain(margin.maintenance)}
        return {
            "balance": plain(margin.equity - margin.unrealized), "upnl": plain(margin.unrealized), "margin_usage": usage,
            "sub_accounts": {"cross": plain(margin.cross_equity), "cross_available": plain(margin.free), "isolated": []},
        }  # fmt: skip

    def orders(self, account: str, query: Mapping[str, str]) -> Row:
        """Newest first."""
        found = [self._pending(each) for each in self._desk.kept(account)]
        found += [self._cleared(order) for order in self._exchange.orders(account) if order.state is OrderState.FILLED]
        status, name = query.get("status"), query.get("instrument")
        found = [row for row in found if status in (None, row["status"]) and name in (None, _text(row["instrument"]))]
        found.sort(key=lambda row: row["created_at"], reverse=True)
        return _page(found, query)

    def transfers(self, account: str, query: Mapping[str, str]) -> Row:
        """Funding alone is simulated."""
        return _page([self._transfer(each) for each in reversed(self._exchange.payments(account))], query)

    def leverage(self, account: str, assets: Any) -> Row:
        known = self._exchange.contracts
        if not isinstance(assets, list) or not all(isinstance(each, str) and each in known for each in assets):
            raise malformed("Failed to deserialize the JSON body: assets")
        return {
            name: {
                "current": str(self._exchange.position(account, name).leverage),
                "limits": [each for each in listing.LEVERAGES if each <= known[name].max_leverage],
            }
            for name in assets
        }

    def _pending(self, rfq: Rfq) -> Row:
        row = _order(rfq.rfq_id, rfq.name, rfq.side.value, rfq.qty, rfq.created_ns, rfq.reduce_only)
        return row | {"status": rfq.status, "clearing_status": rfq.clearing_status, "price": None}

    def _cleared(self, order: Order) -> Row:
        """Created when it cleared, as far as the exchange knows."""
        number = str(uuid.UUID(int=order.order_id)) if order.client_id is None else order.client_id
        row = _order(number, order.name, order.side.value, order.qty, order.created_ns, order.reduce_only)
        cleared = {"status": CLEARED, "clearing_status": "success_trades_booked_into_pool"}
        return row | cleared | {"price": plain(order.avg_px)}

    def _transfer(self, payment: FundingPayment) -> Row:
        contract = self._exchange.contracts[payment.name]
        return {
            "id": str(uuid.UUID(int=payment.payment_id)), "transfer_type": "funding", "asset": "USDC",
            "created_at": stamp(payment.time_ns), "funding_interval_s": contract.funding_interval_h * 3600,
            "funding_rate": plain(payment.rate), "qty": plain(payment.cash),
            "ref_instrument_position_qty": plain(payment.qty),
            "reference_instrument": listing.instrument(payment.name),
        }  # fmt: skip


def _order(rfq_id: str, name: str, side: str, qty: Decimal, created_ns: int, reduce_only: bool) -> Row:
    return {
        "rfq_id": rfq_id, "instrument": listing.instrument(name), "side": side, "qty": plain(qty),
        "order_type": "market", "limit_price": None, "tif": "fill_or_kill", "created_at": stamp(created_ns),
        "is_reduce_only": reduce_only, "cancel_reason": None, "failed_risk_checks": [],
    }  # fmt: skip


def _text(instrument: Row) -> str:
    return f"P-{instrument['underlying']}-{instrument['settlement_asset']}-{instrument['funding_interval_s']}"


def _page(found: list[Row], query: Mapping[str, str]) -> Row:
    try:
        limit, offset = int(query.get("limit", "20")), int(query.get("offset", "0"))
    except ValueError:
        raise malformed("limit and offset are whole numbers") from None
    if not 0 < limit <= MAX_LIMIT or offset < 0:
        raise malformed(f"limit is 1 to {MAX_LIMIT}, offset not below 0")
    return {"result": found[offset : offset + limit], "pagination": {"object_count": len(found)}}
