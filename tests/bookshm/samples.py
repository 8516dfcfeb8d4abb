"""Records that check themselves: one number stands in every field that can carry it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from core.account import AccountSnapshot, VenueAccount
from core.decisions import Action, Decision
from core.types import Instrument, TradingState, Venue

VENUE = Venue("aster")


def instrument(symbol: str, venue_symbol: str = "", **changes: object) -> Instrument:
    fields: dict[str, object] = {
        "venue": VENUE,
        "symbol": symbol,
        "venue_symbol": venue_symbol or f"{symbol}USDT",
        "tick_size": Decimal("0.10"),
        "lot_size": Decimal("0.001"),
        "min_notional_usd": Decimal(5),
    }
    return Instrument(**{**fields, **changes})  # type: ignore[arg-type]


def snapshot(n: int) -> AccountSnapshot:
    """An account whose every number is `n`, with 0 to 39 venues so that pages differ in length."""
    amount = Decimal(n)
    venues = tuple(
        VenueAccount(
            venue=Venue(f"v{i}"),
            status="ok",
            equity_usd=amount,
            free_margin_usd=amount,
            maintenance_margin_usd=amount,
            read_mono_ns=n,
            private_stream_up=True,
            rate_budget_ratio=1.0,
            clock_offset_ns=n,
        )
        for i in range(n % 40)
    )
    return AccountSnapshot(
        executor_epoch=1,
        journal_sequence=n,
        written_mono_ns=n,
        ready=True,
        trading_state=TradingState.ACTIVE,
        state_reason="",
        mode="sandbox",
        config_fingerprint="abc",
        venues=venues,
        positions=(),
        pairs=(),
        orders=(),
        frozen=(),
        unhedged_usd=amount,
        unhedged_age_ns=n,
        unhedged_max_ns=n,
        pairs_opened=n,
        pairs_closed=n,
        net_usd=amount,
    )


def is_whole(account: AccountSnapshot) -> bool:
    """Whether every number of `account` is the same one."""
    n = account.journal_sequence
    numbers = {account.written_mono_ns, account.unhedged_age_ns, account.pairs_opened, account.pairs_closed, n}
    amounts = {account.unhedged_usd, account.net_usd, *(v.equity_usd for v in account.venues)}
    return numbers == {n} and amounts == {Decimal(n)} and len(account.venues) == n % 40


def decision(n: int) -> Decision:
    return Decision(
        wire_ns=n,
        mono_ns=n,
        strategy="scalp",
        action=Action.REFUSE,
        symbol="BTC",
        long_venue="hyperliquid",
        short_venue="aster",
        reason="edge_below_entry",
        numbers={"edge_bps": float(n), "age_long_ms": float(n)},
    )


class Intruder:
    """Stands in for a view of bytes: before its first copy is taken, the writer gets its turn and does `meanwhile`."""

    def __init__(self, view: memoryview, meanwhile: Callable[[], object]) -> None:
        self._view = view
        self._meanwhile: Callable[[], object] | None = meanwhile

    def __getitem__(self, where: slice) -> memoryview:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return self._view[where]
