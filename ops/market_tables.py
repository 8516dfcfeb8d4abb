"""`tandem markets`, `spreads`, `volume`, `leverage`, `capacity` and `balances`: what there is to trade, and with what.

All of them read shared memory only: the books for markets, the account page for money. A figure that nobody has told yet is
a dash (null in JSON), never a zero, and a venue that is away is named below the table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.account import AccountSnapshot, VenueAccount
from core.costs import edge_numbers, round_trip_cost_bps
from core.errors import EXIT_OK, EXIT_UNAVAILABLE
from core.numeric import BPS, floor_to, from_float, least_common_lot
from core.roster import SPEC
from core.sizing import minimum_pair_qty, perp_capacity_usd, spot_capacity_usd
from core.types import Instrument, Quote, Venue
from core.venue_spec import VenueKind
from ops import views
from ops.context import Context, escape

Row = TypeVar("Row")


class MarketRow(msgspec.Struct, frozen=True, kw_only=True):
    """Steps and minimums in the venue's own units; one venue unit is `multiplier` coins."""

    symbol: str
    venue: Venue
    venue_symbol: str
    kind: VenueKind
    quote_ccy: str
    multiplier: int
    tick_size: Decimal
    lot_size: Decimal
    min_qty: Decimal
    min_notional_usd: Decimal
    max_leverage: int | None  # None = the public catalogue does not tell
    funding_interval_s: int | None


class SpreadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Selling on `short_venue` and buying on `long_venue` now, in bps of mid. `net_bps` has no offset taken off: a gap that
    stands all day is not an edge (RULES 7); `tandem why` shows what strategies make of it."""

    symbol: str
    long_venue: Venue
    short_venue: Venue
    edge_bps: float
    half_spreads_bps: float
    fees_bps: float  # four taker fees
    net_bps: float  # edge - half spreads - fees: what a round trip would leave if the mids met
    age_ms: float  # of the older quote
    tradable: bool  # both quotes are usable and executable


class VolumeRow(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    venue: Venue
    volume_24h_usd: float | None
    open_interest_usd: float | None
    spread_bps: float | None
    enough: bool | None  # at least --min-usd; None = not told


class LeverageRow(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    venue: Venue
    configured: int
    read: int | None  # as the venue says; None = not read yet
    max_leverage: int | None  # None = the public catalogue does not tell
    verdict: str  # "ok" | "unread" | "differs: opens are blocked" | "above the venue's maximum"


class CapacityRow(msgspec.Struct, frozen=True, kw_only=True):
    """The largest delta-neutral pair that today's balances carry, one leg of it. `bound_by` is the venue that sets it."""

    symbol: str
    long_venue: Venue
    short_venue: Venue
    qty: Decimal
    notional_usd: Decimal
    minimum_usd: Decimal  # below it a pair could not be closed in parts
    bound_by: Venue
    fits: bool


def markets(context: Context, symbol: str | None) -> int:
    """Every contract of every enabled venue."""
    rows = [
        MarketRow(
            symbol=i.symbol, venue=i.venue, venue_symbol=i.venue_symbol, kind=SPEC[i.venue].kind, quote_ccy=i.quote_ccy,
            multiplier=i.multiplier, tick_size=i.tick_size, lot_size=i.lot_size, min_qty=i.min_qty,
            min_notional_usd=i.min_notional_usd, max_leverage=_max_leverage(i),
            funding_interval_s=each.funding.interval_s if each.funding else None,
        )
        for each in _listings(context, symbol)
        if not (i := each.instrument).delisted
    ]  # fmt: skip
    columns = (
        "symbol", "venue", "its name", "kind", "quoted in", "x", "tick", "lot", "min size", "min USD", "max lev", "funding",
    )  # fmt: skip
    return _show(
        context, "Markets", columns, rows,
        lambda r: (
            r.symbol, r.venue, r.venue_symbol, r.kind.value, r.quote_ccy, r.multiplier, _plain(r.tick_size),
            _plain(r.lot_size), _plain(r.min_qty) if r.min_qty else None,
            _plain(r.min_notional_usd) if r.min_notional_usd else None, r.max_leverage,
            f"{r.funding_interval_s / 3600:g} h" if r.funding_interval_s else None,
        ),
        drop=("its name", "kind", "min size", "quoted in"),
    )  # fmt: skip


def spreads(context: Context, symbol: str | None) -> int:
    """Every direction of every two venues, the best of each symbol first."""
    found = ranked_spreads(context, symbol)
    columns = ("symbol", "buy at", "sell at", "edge", "half spreads", "4 fees", "net", "older ms", "tradable now")
    return _show(
        context, "Spreads (bps of mid; standing offsets are not taken off)", columns, found,
        lambda r: (
            r.symbol, r.long_venue, r.short_venue, f"{r.edge_bps:.2f}", f"{r.half_spreads_bps:.2f}", f"{r.fees_bps:.2f}",
            f"{r.net_bps:.2f}", f"{r.age_ms:.0f}", "yes" if r.tradable else "no",
        ),
        drop=("half spreads", "4 fees"),
    )  # fmt: skip


def ranked_spreads(context: Context, symbol: str | None) -> list[SpreadRow]:
    """Symbol by symbol, the direction that would leave most first."""
    fees = taker_fees(context)
    found: list[SpreadRow] = []
    for _, group in itertools.groupby(_listings(context, symbol), key=lambda each: each.instrument.symbol):
        sound = [(each, each.seen) for each in group if each.seen is not None and each.seen.is_sound]
        rows = [
            _spread(long, bought, short, sold, fees)
            for (long, bought), (short, sold) in itertools.permutations(sound, 2)
            if _may_pair(long, short)
        ]
        found += sorted(rows, key=lambda row: -row.net_bps)
    return found


def volume(context: Context, symbol: str | None, min_usd: float) -> int:
    """24 h volume and open interest, and which legs are too thin for `min_usd`."""
    rows = []
    for each in _listings(context, symbol):
        mark, quote = each.mark, each.seen
        told = _known(mark.volume_24h_usd) if mark else None
        price = _known(mark.mark_px) if mark else None
        interest = _known(mark.open_interest) if mark else None
        rows.append(
            VolumeRow(
                symbol=each.instrument.symbol,
                venue=each.instrument.venue,
                volume_24h_usd=told,
                open_interest_usd=interest * price if interest is not None and price is not None else None,
                spread_bps=(quote.ask_px - quote.bid_px) / quote.mid / BPS if quote and quote.is_sound else None,
                enough=None if told is None else told >= min_usd,
            )
        )
    return _show(
        context, f"Volume of 24 h (legs want {min_usd:,.0f} USD)",
        ("symbol", "venue", "volume USD", "open interest USD", "spread bps", "enough"), rows,
        lambda r: (
            r.symbol, r.venue, _usd(r.volume_24h_usd), _usd(r.open_interest_usd),
            None if r.spread_bps is None else f"{r.spread_bps:.2f}", {None: None, True: "yes", False: "no"}[r.enough],
        ),
    )  # fmt: skip


def leverage(context: Context, symbol: str | None) -> int:
    """Configured, as the venue says, and its maximum."""
    accounts = _accounts(context)
    rows = []
    for each in _listings(context, symbol):
        i, settings = each.instrument, context.loaded.config.venues[each.instrument.venue]
        wanted = settings.leverage.get(i.symbol, settings.leverage["default"])
        account = accounts.get(i.venue)
        read = account.leverage.get(i.symbol) if account else None
        verdict = "ok" if read == wanted else "unread" if read is None else "differs: opens are blocked"
        if wanted > (_max_leverage(i) or wanted):
            verdict = "above the venue's maximum"
        rows.append(
            LeverageRow(
                symbol=i.symbol,
                venue=i.venue,
                configured=wanted,
                read=read,
                max_leverage=_max_leverage(i),
                verdict=verdict,
            )
        )
    return _show(
        context, "Leverage", ("symbol", "venue", "configured", "venue says", "maximum", "verdict"), rows,
        lambda r: (
            r.symbol, r.venue, f"{r.configured}x", r.read and f"{r.read}x", r.max_leverage and f"{r.max_leverage}x", r.verdict,
        ),
    )  # fmt: skip


def capacity(context: Context, symbol: str | None) -> int:
    """How large a pair the balances allow, for every two venues of every symbol, the largest first."""
    accounts = _accounts(context)
    found: list[CapacityRow] = []
    for _, group in itertools.groupby(_listings(context, symbol), key=lambda each: each.instrument.symbol):
        known = [each for each in group if each.instrument.venue in accounts and _price(each) is not None]
        rows = [
            _capacity(context, long, short, accounts)
            for long, short in itertools.permutations(known, 2)
            if _may_pair(long, short)
        ]
        found += sorted(rows, key=lambda row: -row.notional_usd)
    unread = [str(v) for v in context.loaded.enabled_venues if v not in accounts]
    code = _show(
        context, "Capacity of a delta-neutral pair (one leg)",
        ("symbol", "buy at", "sell at", "size", "USD", "needs at least", "bound by", "fits"), found,
        lambda r: (
            r.symbol, r.long_venue, r.short_venue, _plain(r.qty), _usd(float(r.notional_usd)), _usd(float(r.minimum_usd)),
            r.bound_by, "yes" if r.fits else "no",
        ),
        drop=("needs at least",),
    )  # fmt: skip
    if unread:
        context.say(f"[yellow]no balance read yet:[/yellow] {escape(', '.join(unread))}")
    return code


def balances(context: Context) -> int:
    """Every venue's account, and the sum if all are known."""
    page = views.account(context.observe())
    if not isinstance(page, AccountSnapshot):
        return _no_page(context, page)
    trouble = views.executor_trouble(page, context.clock)
    total = views.equity_usd(page)
    if context.as_json:
        context.answer({"venues": page.venues, "equity_usd": total, "executor_trouble": trouble})
        return EXIT_OK
    if trouble:
        context.say(f"[red]executor {escape(trouble)}[/red]: what follows is the last it said")
    rows = [
        (
            v.venue, v.status, *((None,) * 4 if not v.read_mono_ns else (
                _usd(float(v.equity_usd)), _usd(float(v.free_margin_usd)), _usd(float(v.maintenance_margin_usd)),
                f"{(context.clock.mono_ns() - v.read_mono_ns) / 1e9:.1f}",
            )),
            None if v.taker_fee is None else f"{v.taker_fee / BPS:.2f}",
            None if v.maker_fee is None else f"{v.maker_fee / BPS:.2f}",
        )
        for v in page.venues
    ]  # fmt: skip
    context.table(
        "Balances (USD)",
        ("venue", "account", "equity", "free", "maintenance", "read s ago", "taker bps", "maker bps"),
        rows,
        drop=("maintenance", "maker bps"),
    )
    context.say(
        f"equity of all venues: {'unknown: not every account was read' if total is None else f'{total:,.2f} USD'}"
    )
    return EXIT_OK


# ---- parts ----------------------------------------------------------------------------------------------------------


def _listings(context: Context, symbol: str | None) -> list[views.Listing]:
    wanted = symbol.upper() if symbol else None
    return views.Books(context.loaded, context.observe(), context.clock).listings(wanted)


def _accounts(context: Context) -> dict[Venue, VenueAccount]:
    """Accounts that were read at least once."""
    page = views.account(context.observe())
    return {v.venue: v for v in page.venues if v.read_mono_ns} if isinstance(page, AccountSnapshot) else {}


def taker_fees(context: Context) -> dict[Venue, float]:
    """Taker fees: configured, else as the account says, else the roster's base tier."""
    accounts = _accounts(context)
    fees: dict[Venue, float] = {}
    for venue in context.loaded.enabled_venues:
        configured = context.loaded.config.venues[venue].taker_fee_bps
        account = accounts.get(venue)
        told = account.taker_fee if account else None
        fees[venue] = configured * BPS if configured is not None else SPEC[venue].taker_fee if told is None else told
    return fees


def _may_pair(long: views.Listing, short: views.Listing) -> bool:
    return short.instrument.can_short and not long.instrument.delisted and not short.instrument.delisted


def _spread(
    long: views.Listing, bought: Quote, short: views.Listing, sold: Quote, fees: dict[Venue, float]
) -> SpreadRow:
    fees_bps = round_trip_cost_bps(fees[short.instrument.venue], fees[long.instrument.venue], 0.0)
    numbers = edge_numbers(sold, bought, 0.0, fees_bps)
    return SpreadRow(
        symbol=long.instrument.symbol,
        long_venue=long.instrument.venue,
        short_venue=short.instrument.venue,
        edge_bps=numbers.edge_bps,
        half_spreads_bps=numbers.half_spreads_bps,
        fees_bps=fees_bps,
        net_bps=numbers.net_bps,
        age_ms=max(bought.age_ns, sold.age_ns) / 1e6,
        tradable=long.state == short.state == "ok",
    )


def _max_leverage(instrument: Instrument) -> int | None:
    told = instrument.max_leverage > 1 or instrument.maintenance_margin_ratio > 0 or not instrument.can_short
    return instrument.max_leverage if told else None


def _price(listing: views.Listing) -> Decimal | None:
    """Canonical, to value a size with: the last mid, else the mark."""
    if isinstance(listing.seen, Quote) and listing.seen.is_sound:
        return from_float(listing.seen.mid)
    marked = _known(listing.mark.mark_px) if listing.mark else None
    return from_float(marked) if marked else None


def _capacity(
    context: Context, long: views.Listing, short: views.Listing, accounts: dict[Venue, VenueAccount]
) -> CapacityRow:
    fees = taker_fees(context)
    px_long, px_short = _price(long) or Decimal(0), _price(short) or Decimal(0)
    usd = {
        each.instrument.venue: _leg_capacity(context, each.instrument, accounts[each.instrument.venue], fees)
        for each in (long, short)
    }
    bound = min(usd, key=lambda venue: usd[venue])
    px = max(px_long, px_short)
    lot = least_common_lot(long.instrument.canonical_lot, short.instrument.canonical_lot)
    qty = floor_to(usd[bound] / px, lot) * lot
    minimum = minimum_pair_qty(long.instrument, px_long, short.instrument, px_short)
    return CapacityRow(
        symbol=long.instrument.symbol,
        long_venue=long.instrument.venue,
        short_venue=short.instrument.venue,
        qty=qty,
        notional_usd=qty * px,
        minimum_usd=minimum * px,
        bound_by=bound,
        fits=qty >= minimum,
    )


def _leg_capacity(context: Context, instrument: Instrument, account: VenueAccount, fees: dict[Venue, float]) -> Decimal:
    """RULES 4, for one leg."""
    if SPEC[instrument.venue].kind is VenueKind.SPOT:
        return spot_capacity_usd(account.free_margin_usd, fees[instrument.venue])
    settings = context.loaded.config.venues[instrument.venue]
    times = settings.leverage.get(instrument.symbol, settings.leverage["default"])
    return perp_capacity_usd(account.free_margin_usd, times, fees[instrument.venue])


def _show(
    context: Context,
    title: str,
    columns: tuple[str, ...],
    rows: list[Row],
    cells: Callable[[Row], tuple[object, ...]],
    drop: tuple[str, ...] = (),
) -> int:
    if context.as_json:
        context.answer(rows)
        return EXIT_OK
    context.table(title, columns, [cells(row) for row in rows], drop=drop)
    down = [row for row in views.Books(context.loaded, context.observe(), context.clock).feeds() if not row.up]
    if down:
        context.say("[yellow]feeds away:[/yellow] " + escape(", ".join(f"{row.venue} ({row.reason})" for row in down)))
    return EXIT_OK


def _no_page(context: Context, why: str) -> int:
    if context.as_json:
        context.answer({"ok": False, "exit_code": EXIT_UNAVAILABLE, "error": f"no account page: {why}"})
    context.say(f"[red]no account page:[/red] {escape(why)}")
    return EXIT_UNAVAILABLE


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _usd(value: float | None) -> str | None:
    return None if value is None else f"{value:,.2f}" if abs(value) < 1e6 else f"{value:,.0f}"


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")
