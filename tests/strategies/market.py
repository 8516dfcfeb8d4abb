"""A market that tests set by hand: quotes per venue and symbol, and an account page to go with it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from core.account import AccountSnapshot, PairView, VenueAccount
from core.messages import PairStatus
from core.settings import ExecutionConfig, RiskConfig, ScalpConfig
from core.types import Instrument, Quote, QuoteFlag, ReadResult, Stale, TradingState, Venue

HL, AS = Venue("hyperliquid"), Venue("aster")
FEES = {HL: 0.00045, AS: 0.00035}


def instrument(venue: Venue, symbol: str = "BTC", **changes: Any) -> Instrument:
    fields: dict[str, Any] = {
        "venue": venue, "symbol": symbol, "venue_symbol": symbol, "tick_size": Decimal("0.1"), "lot_size": Decimal("0.001"),
        "min_notional_usd": Decimal(10), "max_leverage": 20,
    }  # fmt: skip
    return Instrument(**{**fields, **changes})


class Reader:
    """One venue's book as tests set it."""

    def __init__(self, venue: Venue, *instruments: Instrument) -> None:
        self.venue = venue
        self.rows = list(instruments)
        self.results: dict[int, ReadResult] = {}
        self.dirty: set[int] = set()

    def instruments(self) -> dict[str, tuple[int, Instrument]]:
        return {row.symbol: (slot, row) for slot, row in enumerate(self.rows)}

    def quote(self, slot: int) -> ReadResult:
        return self.results.get(slot, Stale(-1))

    def changed(self) -> Iterable[int]:
        dirty, self.dirty = self.dirty, set()
        return dirty

    def set(
        self, mid: float, *, slot: int = 0, spread: float = 0.2, qty: float = 5.0, flags: int = QuoteFlag.EXECUTABLE
    ) -> None:
        self.put(Quote(mid - spread / 2, qty, mid + spread / 2, qty, 0, 0, 1, flags, 1_000_000), slot)

    def put(self, result: ReadResult, slot: int = 0) -> None:
        self.results[slot] = result
        self.dirty.add(slot)


def scalp_config(**changes: Any) -> ScalpConfig:
    fields: dict[str, Any] = {
        "enabled": True, "mode": "live", "spread_entry_bps": 40.0, "slippage_buffer_bps": 2.0, "min_profit_bps": 2.0,
        "take_profit_ratio": 0.15, "stop_basis_bps": 100.0, "stop_leg_pct": 25.0, "max_hold_s": 600.0, "cooldown_s": 10.0,
        "alloc_per_trade": 0.05, "max_alloc": 0.2, "top_qty_ratio": 0.5, "ttl_ms": 250.0, "offset_window_s": 60.0,
        "offset_min_samples": 5,
    }  # fmt: skip
    return ScalpConfig(**{**fields, **changes})


def risk_config(**changes: Any) -> RiskConfig:
    fields: dict[str, Any] = {
        "max_order_usd": 2000.0, "max_symbol_usd": 2000.0, "max_strategy_usd": {"scalp": 4000.0}, "max_total_usd": 6000.0,
        "max_symbol_alloc": 0.2, "max_total_alloc": 1.0, "max_open_pairs": 6, "price_collar_bps": 50.0,
    }  # fmt: skip
    return RiskConfig(**{**fields, **changes})


EXECUTION = ExecutionConfig()


def venue_account(venue: Venue, **changes: Any) -> VenueAccount:
    fields: dict[str, Any] = {
        "venue": venue, "status": "ok", "equity_usd": Decimal(10_000), "free_margin_usd": Decimal(10_000),
        "maintenance_margin_usd": Decimal(0), "read_mono_ns": 1, "private_stream_up": True, "rate_budget_ratio": 1.0,
        "clock_offset_ns": 0,
    }  # fmt: skip
    return VenueAccount(**{**fields, **changes})


def account(*pairs: PairView, **changes: Any) -> AccountSnapshot:
    fields: dict[str, Any] = {
        "executor_epoch": 1, "journal_sequence": 1, "written_mono_ns": 1, "ready": True, "trading_state": TradingState.ACTIVE,
        "state_reason": "", "mode": "sandbox", "config_fingerprint": "x", "venues": (venue_account(HL), venue_account(AS)),
        "positions": (), "pairs": pairs, "orders": (), "frozen": (), "unhedged_usd": Decimal(0), "unhedged_age_ns": 0,
        "unhedged_max_ns": 0, "pairs_opened": 0, "pairs_closed": 0, "net_usd": Decimal(0),
    }  # fmt: skip
    return AccountSnapshot(**{**fields, **changes})


def pair(**changes: Any) -> PairView:
    """Sold at 1010 on Hyperliquid, bought at 1000 on Aster, when the basis was 99.5 bps."""
    fields: dict[str, Any] = {
        "pair_id": "p1-1", "strategy": "scalp", "symbol": "BTC", "status": PairStatus.OPEN, "long_venue": AS, "short_venue": HL,
        "long_qty": Decimal(1), "short_qty": Decimal(-1), "entry_long_px": Decimal(1000), "entry_short_px": Decimal(1010),
        "entry_basis_bps": 99.5, "entry_edge_bps": 60.0, "entry_offset_bps": 0.0, "opened_calendar_ns": 0, "opened_mono_ns": 0,
        "realized_usd": Decimal(0), "fees_usd": Decimal(0), "funding_usd": Decimal(0), "unrealized_usd": Decimal(0),
        "hedge_quality": 1.0, "net_usd": None, "reason": "",
    }  # fmt: skip
    return PairView(**{**fields, **changes})
