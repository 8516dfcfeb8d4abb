"""`tandem open` and `tandem close`: one pair by hand.

The limits and sizes are worked out here from the books as a strategy would, then judged by the executor like any other
command, except that no edge is asked for: whoever opens by hand has a reason. An exit guard always goes along; the executor
applies it by itself (RULES 3).
"""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal, InvalidOperation

import msgspec

from core.account import AccountSnapshot, PairView
from core.costs import crossing_limit, edge_numbers
from core.errors import EXIT_OK, EXIT_PERMISSION, EXIT_UNAVAILABLE, EXIT_USAGE
from core.messages import (
    FINAL_PAIR,
    ClosePair,
    ExitGuard,
    Fallback,
    Leg,
    LegOrder,
    OpenPair,
    OrderDenied,
    OrderFilled,
    PairState,
    PairStatus,
    Sending,
)
from core.numeric import floor_to, from_float, least_common_lot
from core.roster import SPEC
from core.sizing import minimum_pair_qty
from core.types import Quote, Side, Venue
from core.venue_spec import VenueKind
from ops import views
from ops.context import Context, escape
from ops.session import Session

OPEN_S = 30.0
CLOSE_S = 60.0
STOP_BASIS_BPS = 100.0
MAX_HOLD_S = 24 * 3600.0
QUOTE_SLIPPAGE_BPS = 30.0
"""What is indicative may be minutes old: the live quote is the price, this only bounds it."""


class Refused(Exception):
    """What was asked cannot be asked of the executor; the text says why and what to do."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A pair as it will be asked for, and what the asking was based on."""

    symbol: str
    long: views.Listing
    short: views.Listing
    qty: Decimal
    minimum: Decimal
    long_limit_px: Decimal
    short_limit_px: Decimal
    edge_bps: float

    @property
    def notional_usd(self) -> Decimal:
        return self.qty * from_float(_quote(self.long).mid)


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an `open` or `close`. `pair` None = denied, or still on its way."""

    ok: bool
    detail: str
    pair: PairState | None
    numbers: dict[str, float] = {}
    fees_usd: Decimal = Decimal(0)


def add_arguments(opened: argparse.ArgumentParser, closed: argparse.ArgumentParser) -> None:
    opened.add_argument("symbol", help="canonical symbol, for example BTC")
    opened.add_argument("--long", required=True, metavar="VENUE", help="where to buy")
    opened.add_argument("--short", required=True, metavar="VENUE", help="where to sell")
    for trade in (opened, closed):
        trade.add_argument(
            "--legs",
            type=LegOrder,
            choices=list(LegOrder),
            default=LegOrder.AUTO,
            metavar="ORDER",
            help=f"in which order: {', '.join(order.value for order in LegOrder)} (default auto)",
        )
        trade.add_argument("--first", metavar="VENUE", help="the leg that goes first, or rests")
        trade.add_argument(
            "--deadline-s", type=float, default=Sending().deadline_s, help="of a resting leg (default 120)"
        )
        trade.add_argument(
            "--fallback",
            type=Fallback,
            choices=list(Fallback),
            default=Fallback.STAY,
            metavar="WHAT",
            help="after the deadline: stay, or taker (default stay)",
        )
    opened.add_argument(
        "--quote-slippage-bps",
        type=float,
        default=QUOTE_SLIPPAGE_BPS,
        help="beyond the indicative price, where a venue quotes before it trades (default 30)",
    )
    size = opened.add_mutually_exclusive_group(required=True)
    size.add_argument("--size-quote", type=amount, metavar="USD", help="notional of one leg")
    size.add_argument("--size-base", type=amount, metavar="COINS", help="size in coins")
    opened.add_argument(
        "--cross-ticks", type=int, default=None, help="ticks beyond the touch (default as configured: 10)"
    )
    opened.add_argument("--stop-basis-bps", type=float, default=STOP_BASIS_BPS, help="exit guard (default 100)")
    opened.add_argument("--stop-leg-pct", type=float, default=None, help="exit guard (default as strategies.scalp)")
    opened.add_argument("--max-hold-s", type=float, default=MAX_HOLD_S, help="exit guard (default one day)")
    opened.add_argument("--force", action="store_true", help="do not ask")
    closed.add_argument("pair", nargs="?", help="pair id, or a symbol with one open pair")
    closed.add_argument("--all", action="store_true", help="every open pair")
    closed.add_argument("--force", action="store_true", help="do not ask")


def amount(text: str) -> Decimal:
    """A positive decimal off the command line."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text}: not a number") from None
    if not value.is_finite() or value <= 0:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return value


def run_open(context: Context, args: argparse.Namespace) -> int:
    try:
        plan = make_plan(
            context,
            args.symbol.upper(),
            Venue(args.long),
            Venue(args.short),
            quote_usd=args.size_quote,
            base_qty=args.size_base,
            cross_ticks=args.cross_ticks,
            quote_slippage_bps=args.quote_slippage_bps,
        )
    except Refused as refusal:
        return tell(context, Trade(ok=False, detail=str(refusal), pair=None), EXIT_USAGE)
    stop_leg_pct = args.stop_leg_pct or context.loaded.config.strategies.scalp.stop_leg_pct
    guard = ExitGuard(stop_basis_bps=args.stop_basis_bps, stop_leg_pct=stop_leg_pct, max_hold_s=args.max_hold_s)
    if not args.force and not confirmed(context, f"open {described(plan)}"):
        return tell(context, Trade(ok=False, detail="not confirmed; nothing was done", pair=None), EXIT_USAGE)
    with Session(context) as session:
        trade = open_pair(context, session, plan, guard, _sending(args))
    return tell(context, trade, EXIT_OK if trade.ok else EXIT_PERMISSION)


def run_close(context: Context, args: argparse.Namespace) -> int:
    page = views.account(context.observe())
    trouble = views.executor_trouble(page, context.clock)
    if not isinstance(page, AccountSnapshot) or trouble:
        return tell(context, Trade(ok=False, detail=f"executor {trouble}", pair=None), EXIT_UNAVAILABLE)
    try:
        chosen = _chosen(page, args.pair, args.all)
    except Refused as refusal:
        return tell(context, Trade(ok=False, detail=str(refusal), pair=None), EXIT_USAGE)
    names = ", ".join(f"{pair.pair_id} ({pair.symbol})" for pair in chosen)
    if not args.force and not confirmed(context, f"close {names} at market"):
        return tell(context, Trade(ok=False, detail="not confirmed; nothing was done", pair=None), EXIT_USAGE)
    trades = []
    with Session(context) as session:
        trades = [close_pair(session, pair.pair_id, "operator", _sending(args)) for pair in chosen]
    codes = [tell(context, trade, EXIT_OK if trade.ok else EXIT_PERMISSION) for trade in trades]
    return max(codes, default=EXIT_OK)


def make_plan(
    context: Context,
    symbol: str,
    long: Venue,
    short: Venue,
    *,
    quote_usd: Decimal | None = None,
    base_qty: Decimal | None = None,
    cross_ticks: int | None = None,
    at_least_minimum: bool = False,
    quote_slippage_bps: float = QUOTE_SLIPPAGE_BPS,
) -> Plan:
    """Size and limits from the books as they are now. `at_least_minimum` takes the smallest size that can be closed in parts
    where less was asked. Raises Refused."""
    listings = {
        each.instrument.venue: each
        for each in views.Books(context.loaded, context.observe(), context.clock).listings(symbol)
    }
    if long == short:
        raise Refused("a pair has two venues: give --long and --short different ones")
    for venue in (long, short):
        if venue not in context.loaded.enabled_venues:
            known = ", ".join(context.loaded.enabled_venues)
            raise Refused(f"{venue}: not an enabled venue; there are {known}")
        if venue not in listings:
            raise Refused(f"{venue} lists no {symbol}, or its feed is not up: see `tandem markets`")
    bought, sold = listings[long], listings[short]
    if not sold.instrument.can_short:
        raise Refused(f"{short} is a spot venue: it can only be the long leg")
    mid = (_quote(bought).mid + _quote(sold).mid) / 2
    qty = base_qty if base_qty is not None else (quote_usd or Decimal(0)) / from_float(mid)
    lot = least_common_lot(bought.instrument.canonical_lot, sold.instrument.canonical_lot)
    qty = floor_to(qty, lot) * lot
    long_limit_px = _limit(context, bought, Side.BUY, cross_ticks, quote_slippage_bps)
    short_limit_px = _limit(context, sold, Side.SELL, cross_ticks, quote_slippage_bps)
    minimum = minimum_pair_qty(  # at the prices that the executor judges it by
        bought.instrument,
        long_limit_px / bought.instrument.multiplier,
        sold.instrument,
        short_limit_px / sold.instrument.multiplier,
    )
    if qty < minimum and at_least_minimum:
        qty = -floor_to(-minimum, lot) * lot
    if qty < minimum:
        raise Refused(
            f"{qty.normalize():f} {symbol} is too small: both legs must be closable in two parts, which takes "
            f"{minimum.normalize():f} {symbol} ({float(minimum) * mid:,.2f} USD) here"
        )
    return Plan(
        symbol=symbol,
        long=bought,
        short=sold,
        qty=qty,
        minimum=minimum,
        long_limit_px=long_limit_px,
        short_limit_px=short_limit_px,
        edge_bps=edge_numbers(_quote(sold), _quote(bought), 0.0, 0.0).edge_bps,
    )


def open_pair(
    context: Context, session: Session, plan: Plan, guard: ExitGuard, sending: Sending | None = None
) -> Trade:
    """`sending` None = as the executor chooses."""
    command_id, valid_until_ns = session.stamp()
    command = OpenPair(
        command_id=command_id,
        valid_until_mono_ns=valid_until_ns,
        symbol=plan.symbol,
        long=_leg(plan.long, plan.long_limit_px),
        short=_leg(plan.short, plan.short_limit_px),
        qty=plan.qty,
        decided_mono_ns=context.clock.mono_ns(),
        edge_bps=plan.edge_bps,
        offset_bps=0.0,
        exit_guard=guard,
        sending=sending or Sending(),
    )
    wait_s = OPEN_S + _rests_s(sending)
    return _trade(session, session.open(command, wait_s), {PairStatus.OPEN}, f"still opening after {wait_s:g} s")


def close_pair(session: Session, pair_id: str, reason: str, sending: Sending | None = None) -> Trade:
    command_id, valid_until_ns = session.stamp()
    command = ClosePair(
        command_id=command_id,
        valid_until_mono_ns=valid_until_ns,
        pair_id=pair_id,
        reason=reason,
        sending=sending or Sending(),
    )
    wait_s = CLOSE_S + _rests_s(sending)
    return _trade(session, session.close(command, wait_s), set(FINAL_PAIR), f"still closing after {wait_s:g} s")


def described(plan: Plan) -> str:
    long, short = plan.long.instrument, plan.short.instrument
    return (
        f"{plan.qty.normalize():f} {plan.symbol} ({plan.notional_usd:,.2f} USD a leg): buy at {long.venue} up to "
        f"{plan.long_limit_px} {long.venue_symbol}, sell at {short.venue} down to {plan.short_limit_px} "
        f"{short.venue_symbol}; crossing both touches captures {plan.edge_bps:.2f} bps before fees"
    )


def confirmed(context: Context, what: str) -> bool:
    """Asked on stderr, so that a JSON answer stays one; no terminal and no answer count as no."""
    run = context.loaded.config.run
    sys.stderr.write(f"Run {run.name!r} ({run.environment.value}): {what}.\nType yes to go on: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def tell(context: Context, trade: Trade, code: int) -> int:
    if context.as_json:
        context.answer({"exit_code": code, **msgspec.to_builtins(trade)})
        return code
    colour = "green" if trade.ok else "red"
    context.say(f"[{colour}]{'done' if trade.ok else 'not done'}[/{colour}]: {escape(trade.detail)}")
    if trade.numbers:
        context.say("  " + escape("  ".join(f"{key}={value:g}" for key, value in trade.numbers.items())))
    return code


def _trade(session: Session, report: PairState | OrderDenied | None, good: set[PairStatus], overdue: str) -> Trade:
    if report is None:
        return Trade(ok=False, detail=f"{overdue}; the executor goes on with it: see `tandem pairs`", pair=None)
    if isinstance(report, OrderDenied):
        detail = f"denied, {report.reason.value}: {report.detail}"
        return Trade(ok=False, detail=detail, pair=None, numbers=report.numbers)
    fees = sum((each.fee_usd for each in session.heard if isinstance(each, OrderFilled)), Decimal(0))
    result = f", net {report.net_usd:,.4f} USD" if report.net_usd is not None else ""
    detail = (
        f"pair {report.pair_id} {report.symbol} {report.status.value}: {report.long_qty.normalize():f} at "
        f"{report.long_venue}, {report.short_qty.normalize():f} at {report.short_venue}{result} ({report.reason})"
    )
    return Trade(ok=report.status in good, detail=detail, pair=report, fees_usd=fees)


def _chosen(page: AccountSnapshot, named: str | None, every: bool) -> list[PairView]:
    """The pairs meant. Raises Refused."""
    open_now = views.open_pairs(page)
    if every:
        if not open_now:
            raise Refused("no pair is open")
        return open_now
    if named is None:
        raise Refused("say which pair: its id, a symbol, or --all (`tandem pairs` lists them)")
    found = [pair for pair in open_now if named in (pair.pair_id, pair.symbol) or named.upper() == pair.symbol]
    if len(found) != 1:
        names = ", ".join(f"{pair.pair_id} ({pair.symbol})" for pair in open_now) or "none"
        raise Refused(f"{named}: {len(found)} open pairs of that name; open are {names}")
    return found


def _sending(args: argparse.Namespace) -> Sending:
    first = Venue(args.first) if args.first else None
    return Sending(order=args.legs, first=first, deadline_s=args.deadline_s, fallback=args.fallback)


def _rests_s(sending: Sending | None) -> float:
    """How much longer a resting leg may take."""
    return sending.deadline_s if sending is not None and sending.order is LegOrder.MAKER_FIRST else 0.0


def _quotes_first(listing: views.Listing) -> bool:
    return SPEC[listing.instrument.venue].kind is VenueKind.RFQ


def _quote(listing: views.Listing) -> Quote:
    """What a price can be made of. Where a venue quotes before it trades that is the last indication of any age; elsewhere it
    is a quote that a strategy would trade on. Raises Refused."""
    if _quotes_first(listing) and listing.seen is not None and listing.seen.is_sound:
        return listing.seen
    if not isinstance(listing.verdict, Quote) or listing.state != "ok":
        raise Refused(
            f"{listing.instrument.venue} {listing.instrument.symbol}: the quote is {listing.state}; look at `tandem status`"
        )
    return listing.verdict


def _limit(
    context: Context, listing: views.Listing, side: Side, cross_ticks: int | None, quote_slippage_bps: float
) -> Decimal:
    execution = context.loaded.config.execution
    quote = _quote(listing)
    extra_bps = context.loaded.config.venues[listing.instrument.venue].extra_cross_bps
    return crossing_limit(
        listing.instrument,
        quote.ask_px if side is Side.BUY else quote.bid_px,
        side,
        cross_ticks=execution.cross_ticks if cross_ticks is None else cross_ticks,
        min_cross_bps=execution.min_cross_bps,
        max_cross_bps=execution.max_cross_bps,
        extra_cross_bps=extra_bps + (quote_slippage_bps if _quotes_first(listing) else 0.0),
    )


def _leg(listing: views.Listing, limit_px: Decimal) -> Leg:
    quote = _quote(listing)
    return Leg(
        venue=listing.instrument.venue, limit_px=limit_px, quote_sequence=quote.sequence, quote_age_ns=quote.age_ns
    )
