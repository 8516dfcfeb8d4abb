"""`tandem funding` and `funding-all`: what every venue pays, what is not believed, and which two venues pay best together.

Positive = longs pay shorts. The best pair buys where the rate is lowest and sells where it is highest; break-even is how long
it must be held until the estimates of now have paid four taker fees and both spreads. Rates that core.funding doubts are
shown with the reason and take no part.
"""

from __future__ import annotations

import itertools
import math

import msgspec

from core.clock import NS_PER_S
from core.costs import edge_numbers, round_trip_cost_bps
from core.errors import EXIT_OK
from core.funding import Doubt, judge_board
from core.numeric import BPS
from core.types import FundingRate, Venue
from ops import views
from ops.context import Context, escape
from ops.market_tables import taker_fees


class FundingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Rates as fractions per `interval_s`; `doubt` None = believed."""

    symbol: str
    venue: Venue
    estimate: FundingRate | None
    settled: FundingRate | None
    apr_pct: float | None
    next_in_s: float | None
    doubt: Doubt | None


class BestPair(msgspec.Struct, frozen=True, kw_only=True):
    """The two venues whose rates lie furthest apart. `break_even_h` infinite where they are equal; None without quotes."""

    symbol: str
    long_venue: Venue
    short_venue: Venue
    diff_bps_per_8h: float
    apr_pct: float
    cost_bps: float | None
    break_even_h: float | None


def funding(context: Context, symbol: str | None) -> int:
    """Every venue's rates, and the best pair of each symbol."""
    listings = views.Books(context.loaded, context.observe(), context.clock).listings(
        symbol.upper() if symbol else None
    )
    rows = _rows(context, listings)
    best = _best_pairs(context, listings, rows)
    if context.as_json:
        context.answer({"rates": rows, "best": best})
        return EXIT_OK
    context.table(
        "Funding (positive: longs pay shorts)",
        ("symbol", "venue", "estimate", "every", "bps/h", "APR", "next in", "last settled", "verdict"),
        [_row(row) for row in rows],
        drop=("last settled", "every", "next in"),
    )
    _show_best(context, best)
    return EXIT_OK


def funding_all(context: Context, symbols: str | None) -> int:
    """The best pair of every symbol, the best paid first."""
    wanted = {each.strip().upper() for each in symbols.split(",")} if symbols else None
    listings = [
        each
        for each in views.Books(context.loaded, context.observe(), context.clock).listings()
        if wanted is None or each.instrument.symbol in wanted
    ]
    best = sorted(_best_pairs(context, listings, _rows(context, listings)), key=lambda pair: -pair.apr_pct)
    if context.as_json:
        context.answer(best)
        return EXIT_OK
    _show_best(context, best)
    return EXIT_OK


def _rows(context: Context, listings: list[views.Listing]) -> list[FundingRow]:
    board: dict[Venue, dict[str, FundingRate]] = {}
    for each in views.Books(context.loaded, context.observe(), context.clock).listings():
        if each.funding is not None:  # judged over all symbols, whatever is asked for
            board.setdefault(each.instrument.venue, {})[each.instrument.symbol] = each.funding
    doubts = judge_board(board)
    now_ns = context.clock.calendar_ns()
    return [
        FundingRow(
            symbol=each.instrument.symbol,
            venue=each.instrument.venue,
            estimate=each.funding,
            settled=each.settled,
            apr_pct=each.funding.apr * 100 if each.funding else None,
            next_in_s=(each.funding.next_funding_ts_ns - now_ns) / NS_PER_S
            if each.funding and each.funding.next_funding_ts_ns
            else None,
            doubt=doubts.get((each.instrument.venue, each.instrument.symbol)),
        )
        for each in listings
        if each.funding is not None or each.settled is not None
    ]


def _best_pairs(context: Context, listings: list[views.Listing], rows: list[FundingRow]) -> list[BestPair]:
    fees = taker_fees(context)
    books = {(each.instrument.venue, each.instrument.symbol): each for each in listings}
    found = []
    for symbol, group in itertools.groupby(rows, key=lambda row: row.symbol):
        rates = {
            row.venue: row.estimate.rate_per_hour for row in group if row.estimate is not None and row.doubt is None
        }
        shorts = [venue for venue in rates if books[(venue, symbol)].instrument.can_short]
        if len(rates) < 2 or not shorts:
            continue
        short = max(shorts, key=lambda venue: rates[venue])
        long = min((venue for venue in rates if venue != short), key=lambda venue: rates[venue])
        per_hour = rates[short] - rates[long]
        cost = _cost_bps(books[(long, symbol)], books[(short, symbol)], fees)
        hourly_bps = per_hour / BPS
        found.append(
            BestPair(
                symbol=symbol,
                long_venue=long,
                short_venue=short,
                diff_bps_per_8h=hourly_bps * 8,
                apr_pct=per_hour * 8760 * 100,
                cost_bps=cost,
                break_even_h=None if cost is None else cost / hourly_bps if hourly_bps > 0 else math.inf,
            )
        )
    return found


def _cost_bps(long: views.Listing, short: views.Listing, fees: dict[Venue, float]) -> float | None:
    """Four taker fees and both spreads once (a half of each at the way in and at the way out)."""
    if long.seen is None or short.seen is None or not (long.seen.is_sound and short.seen.is_sound):
        return None
    paid = round_trip_cost_bps(fees[short.instrument.venue], fees[long.instrument.venue], 0.0)
    return paid + 2 * edge_numbers(short.seen, long.seen, 0.0, paid).half_spreads_bps


def _row(row: FundingRow) -> tuple[object, ...]:
    rate = row.estimate
    return (
        row.symbol, row.venue, None if rate is None else f"{rate.rate * 100:.5f}%",
        None if rate is None else f"{rate.interval_s / 3600:g} h", None if rate is None else f"{rate.rate_per_hour / BPS:.4f}",
        None if row.apr_pct is None else f"{row.apr_pct:.2f}%", None if row.next_in_s is None else _duration(row.next_in_s),
        None if row.settled is None else f"{row.settled.rate * 100:.5f}% / {row.settled.interval_s / 3600:g} h",
        "ok" if row.doubt is None else f"not believed: {row.doubt.value}",
    )  # fmt: skip


def _show_best(context: Context, best: list[BestPair]) -> None:
    rows = [
        (
            p.symbol, p.long_venue, p.short_venue, f"{p.diff_bps_per_8h:.2f}", f"{p.apr_pct:.2f}%",
            None if p.cost_bps is None else f"{p.cost_bps:.2f}",
            None if p.break_even_h is None else "never" if math.isinf(p.break_even_h) else f"{p.break_even_h:.1f}",
        )
        for p in best
    ]  # fmt: skip
    context.table(
        "Best pair of each symbol, at the estimates of now",
        ("symbol", "buy at", "sell at", "bps per 8 h", "APR", "round trip bps", "break-even h"),
        rows,
    )
    if not best:
        context.say(escape("no symbol has a believed rate on two venues"))


def _duration(seconds: float) -> str:
    if seconds < 0:
        return "due"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {int(seconds) % 60:02d} s"
