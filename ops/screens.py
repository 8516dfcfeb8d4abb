"""The tables of `tandem status`, `pairs`, `positions`, `orders` and `why`, and the same as JSON."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from bookshm.decisions import DecisionReader, strategies
from bookshm.run import RunDir
from core.account import AccountSnapshot, PairView
from core.clock import NS_PER_S
from core.decisions import Action, Decision
from core.errors import EXIT_OK, EXIT_UNAVAILABLE
from ops import views
from ops.context import Context, escape

DECISIONS_READ = 2000  # per strategy: about the whole ring


def status(context: Context) -> int:
    """Everything at a glance: state, venues, quotes with ages, positions, hedge quality, PnL."""
    run = context.observe()
    books = views.Books(context.loaded, run, context.clock)
    page = views.account(run)
    feeds, quotes = books.feeds(), books.quotes()
    trouble = views.executor_trouble(page, context.clock)
    code = EXIT_UNAVAILABLE if trouble and trouble != "recovering" else EXIT_OK
    if context.as_json:
        context.answer(
            {
                "run": context.loaded.config.run.name,
                "fingerprint": context.loaded.fingerprint,
                "executor_trouble": trouble,
                "feeds": feeds,
                "quotes": quotes,
                "account": page if isinstance(page, AccountSnapshot) else None,
                "account_missing": None if isinstance(page, AccountSnapshot) else page,
            }
        )
        return code
    _headline(context, page, trouble)
    context.table(
        "Venues (money in USD)",
        ("venue", "feed", "beat ms", "fresh", "account", "equity", "free", "margin used", "stream", "budget left"),
        [_venue_row(row, page) for row in feeds],
        drop=("budget left", "beat ms", "stream", "fresh"),
        fold="feed",
    )
    context.table(
        "Quotes (USD per coin, size in coins)",
        ("symbol", "venue", "bid", "ask", "bid size", "ask size", "spread bps", "age ms", "state", "funding APR"),
        [_quote_row(quote) for quote in quotes],
        drop=("bid size", "ask size", "funding APR"),
    )
    if isinstance(page, AccountSnapshot):
        _positions(context, page)
        _pairs(context, page, finished=5)
    return code


def positions(context: Context) -> int:
    return _with_page(context, lambda page: _positions(context, page), lambda page: views.held(page))


def pairs(context: Context) -> int:
    return _with_page(context, lambda page: _pairs(context, page, finished=50), lambda page: list(page.pairs))


def orders(context: Context) -> int:
    def show(page: AccountSnapshot) -> None:
        rows = [
            (
                _clock_text(o.submitted_wire_ns), o.client_order_id, o.venue, o.symbol, o.side.value, _plain(o.qty),
                _plain(o.filled_qty), _plain(o.limit_px), o.status.value, o.pair_id,
            )
            for o in page.orders
        ]  # fmt: skip
        columns = (
            "sent UTC", "client id", "venue", "symbol", "side", "size", "filled", "limit", "status", "pair",
        )  # fmt: skip
        context.table("Orders not final", columns, rows, drop=("sent UTC", "pair"), fold="client id")

    return _with_page(context, show, lambda page: list(page.orders))


def why(context: Context, symbol: str | None, count: int) -> int:
    """The latest decisions and refusals, with the numbers that made them."""
    run = context.observe()
    wanted = symbol.upper() if symbol else None
    found = [d for name in strategies(run) for d in _decisions(run, name) if wanted in (None, d.symbol.upper())]
    shown = sorted(found, key=lambda d: d.wire_ns)[-count:]
    if context.as_json:
        context.answer(shown)
        return EXIT_OK
    rows = [
        (
            _clock_text(d.wire_ns), d.strategy, d.action.value, d.symbol, d.long_venue, d.short_venue,
            f"{d.reason} {d.pair_id}".strip(), " ".join(f"{k}={_plain(v, 6)}" for k, v in d.numbers.items()),
        )
        for d in shown
    ]  # fmt: skip
    context.table(
        f"Decisions{f' on {wanted}' if wanted else ''}, oldest first, {len(shown)} of {len(found)} kept in memory",
        ("time UTC", "strategy", "action", "symbol", "long", "short", "reason", "numbers"),
        rows,
        drop=("strategy", "long", "short"),
        fold="numbers",
    )
    return EXIT_OK


# ---- parts ----------------------------------------------------------------------------------------------------------


def _with_page(
    context: Context, show: Callable[[AccountSnapshot], None], data: Callable[[AccountSnapshot], object]
) -> int:
    page = views.account(context.observe())
    trouble = views.executor_trouble(page, context.clock)
    if not isinstance(page, AccountSnapshot):
        if context.as_json:
            context.answer({"ok": False, "exit_code": EXIT_UNAVAILABLE, "error": f"no account page: {page}"})
        context.say(f"[red]no account page:[/red] {escape(page)}")
        return EXIT_UNAVAILABLE
    if context.as_json:
        context.answer(data(page))
    else:
        if trouble:
            context.say(f"[red]executor {trouble}[/red]: what follows is the last it said")
        show(page)
    return EXIT_OK


def _headline(context: Context, page: AccountSnapshot | str, trouble: str) -> None:
    name = context.loaded.config.run.name
    if not isinstance(page, AccountSnapshot):
        context.say(f"[bold]{name}[/bold]  [red]no account page:[/red] {escape(page)}")
        return
    colour = {"active": "green", "reducing": "yellow", "halted": "red"}[page.trading_state.value]
    reason = f" ({escape(page.state_reason)})" if page.state_reason else ""
    away = f"  [red]executor {trouble}[/red]" if trouble else ""
    context.say(
        f"[bold]{name}[/bold]  mode {page.mode}  trading [{colour}]{page.trading_state.value}[/{colour}]{reason}{away}"
    )
    known = views.equity_usd(page)
    equity = "unknown" if known is None else _usd(known)
    context.say(
        f"equity {equity}  realized net {_usd(page.net_usd)}  pairs {len(views.open_pairs(page))} open, "
        f"{page.pairs_opened} opened, {page.pairs_closed} closed"
    )
    unhedged = f"{_usd(page.unhedged_usd)} for {page.unhedged_age_ns / NS_PER_S:.2f} s"
    shown = f"[red]{unhedged}[/red]" if page.unhedged_usd else unhedged
    context.say(f"unhedged {shown} (longest {page.unhedged_max_ns / NS_PER_S:.2f} s)")
    if page.config_fingerprint != context.loaded.fingerprint:
        context.say(
            f"[yellow]the executor runs configuration {page.config_fingerprint}, this file is "
            f"{context.loaded.fingerprint}[/yellow]: restart it to apply the file"
        )
    if page.frozen:
        context.say(f"[red]frozen:[/red] {', '.join(page.frozen)}")


def _venue_row(row: views.FeedRow, page: AccountSnapshot | str) -> tuple[object, ...]:
    feed = "up" if row.up else f"DOWN: {row.reason}"
    shown = (row.venue, feed, f"{row.heartbeat_age_ms:.0f}" if row.pid else None, f"{row.fresh}/{row.instruments}")
    accounts = {v.venue: v for v in page.venues} if isinstance(page, AccountSnapshot) else {}
    venue = accounts.get(row.venue)
    if venue is None:
        return (*shown, None, None, None, None, None, None)
    stream = "up" if venue.private_stream_up else "down"
    if not venue.read_mono_ns:
        return (*shown, venue.status, None, None, None, stream, f"{venue.rate_budget_ratio:.0%}")
    ratio = float(venue.maintenance_margin_usd / venue.equity_usd) if venue.equity_usd > 0 else math.nan
    return (
        *shown, venue.status, f"{venue.equity_usd:,.2f}", f"{venue.free_margin_usd:,.2f}", f"{ratio:.1%}", stream,
        f"{venue.rate_budget_ratio:.0%}",
    )  # fmt: skip


def _quote_row(quote: views.QuoteRow) -> tuple[object, ...]:
    def number(value: float, form: str) -> str | None:
        return None if math.isnan(value) else format(value, form)

    funding = number(quote.funding_apr_pct, ".2f")
    return (
        quote.symbol, quote.venue, _plain(quote.bid_px, 8), _plain(quote.ask_px, 8), _plain(quote.bid_qty, 6),
        _plain(quote.ask_qty, 6), number(quote.spread_bps, ".2f"), number(quote.age_ms, ".0f"), quote.state,
        f"{funding}%" if funding else None,
    )  # fmt: skip


def _positions(context: Context, page: AccountSnapshot) -> None:
    columns = (
        "symbol", "venue", "size", "venue says", "entry", "mark", "notional", "unrealized", "to liq", "flags",
    )  # fmt: skip
    rows = [
        (
            p.symbol, p.venue, _plain(p.qty), None if p.venue_qty is None else _plain(p.venue_qty),
            _plain(p.avg_entry_px, 8), _plain(p.mark_px, 8) if p.mark_px else None,
            f"{p.notional_usd:,.2f}", f"{p.unrealized_usd:,.2f}",
            None if p.move_to_liq_pct is None else f"{p.move_to_liq_pct:.1f}%", " ".join(p.flags),
        )
        for p in views.held(page)
    ]  # fmt: skip
    net = ", ".join(f"{_plain(qty)} {symbol}" for symbol, qty in views.net_exposure(page).items() if qty) or "none"
    title = f"Positions (size in coins, money in USD), net exposure: {net}"
    context.table(title, columns, rows, drop=("entry", "mark", "unrealized"))
    _shares(context, page)


def _shares(context: Context, page: AccountSnapshot) -> None:
    """Who owns what, where a position has more than one owner."""
    owners = Counter((share.venue, share.symbol) for share in page.sub_ledgers)
    rows = [
        (share.symbol, share.venue, share.owner or "nobody", _plain(share.qty))
        for share in page.sub_ledgers
        if owners[(share.venue, share.symbol)] > 1
    ]
    if rows:
        context.table("Owners of positions that have several", ("symbol", "venue", "owner", "size"), rows)


def _pairs(context: Context, page: AccountSnapshot, finished: int) -> None:
    columns = (
        "pair", "strategy", "symbol", "status", "long", "short", "size", "edge bps", "hedge", "price", "fees", "funding",
        "net", "reason",
    )  # fmt: skip
    drop = ("strategy", "price", "fees", "funding", "size", "edge bps")
    now = context.clock.mono_ns()
    opened = [(*_pair_row(p), _age(p, now)) for p in views.open_pairs(page)]
    ended = [_pair_row(p) for p in views.finished_pairs(page)[-finished:]]
    context.table("Pairs open (size in coins, money in USD)", (*columns, "age s"), opened, drop, fold="reason")
    context.table("Pairs finished, latest last", columns, ended, drop, fold="reason")


def _pair_row(pair: PairView) -> tuple[object, ...]:
    price = pair.realized_usd + pair.unrealized_usd
    net = pair.net_usd if pair.net_usd is not None else price - pair.fees_usd + pair.funding_usd
    return (
        pair.pair_id, pair.strategy, pair.symbol, pair.status.value, pair.long_venue, pair.short_venue,
        _plain(pair.long_qty) if pair.long_qty else None, f"{pair.entry_edge_bps:.1f}", f"{pair.hedge_quality:.1%}",
        f"{price:.2f}", f"{pair.fees_usd:.2f}", f"{pair.funding_usd:.2f}", f"{net:.2f}", _reason(pair),
    )  # fmt: skip


def _reason(pair: PairView) -> str:
    return f"{pair.reason}, dust {_plain(pair.dust_qty)}" if pair.dust_qty else pair.reason


def _age(pair: PairView, now_ns: int) -> str:
    return f"{(now_ns - pair.opened_mono_ns) / NS_PER_S:.0f}"


def _decisions(run: RunDir, strategy: str) -> list[Decision]:
    return [d for d in DecisionReader(run, strategy).latest(DECISIONS_READ) if d.action is not Action.SUMMARY]


def _plain(value: Decimal | float, digits: int = 0) -> str | None:
    """Without exponents, in which people would have to count, and without trailing zeros; exact, or to so many
    significant digits. None for NaN."""
    if math.isnan(value):
        return None
    exact = Decimal(f"{value:.{digits}g}") if digits else Decimal(value)
    return f"{exact.normalize():f}"


def _usd(value: Decimal) -> str:
    return f"{value:,.2f} USD"


def _clock_text(wire_ns: int) -> str:
    return datetime.datetime.fromtimestamp(wire_ns / NS_PER_S, tz=datetime.UTC).strftime("%H:%M:%S.%f")[:-3]
