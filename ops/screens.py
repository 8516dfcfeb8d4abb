"""The tables of `tandem status`, `pairs`, `positions`, `orders` and `why`, and the same as JSON."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import msgspec

from bookshm.decisions import DecisionReader
from bookshm.run import RunDir
from core.account import AccountSnapshot, PairView
from core.clock import NS_PER_MS, NS_PER_S
from core.decisions import Action, Decision
from core.errors import EXIT_OK, EXIT_UNAVAILABLE
from ops import views
from ops.context import Context

STRATEGIES = ("scalp",)


def status(context: Context) -> int:
    """Everything at a glance: state, venues, quotes with ages, positions, hedge quality, PnL."""
    run = context.observe()
    books = views.Books(context.loaded, run, context.clock)
    page = views.account(run)
    feeds, quotes = books.feeds(), books.quotes()
    if context.as_json:
        context.answer(
            {
                "run": context.loaded.config.run.name,
                "fingerprint": context.loaded.fingerprint,
                "feeds": feeds,
                "quotes": [_finite(msgspec.to_builtins(quote)) for quote in quotes],
                "account": page if isinstance(page, AccountSnapshot) else None,
                "account_missing": None if isinstance(page, AccountSnapshot) else page,
            }
        )
        return EXIT_OK if isinstance(page, AccountSnapshot) else EXIT_UNAVAILABLE
    _headline(context, page)
    context.table(
        "Venues",
        ("venue", "feed", "beat ms", "fresh", "account", "equity $", "free $", "margin", "stream", "budget"),
        [_venue_row(row, page) for row in feeds],
    )
    context.table(
        "Quotes (canonical units)",
        ("symbol", "venue", "bid", "ask", "bid size", "ask size", "spread bps", "age ms", "state", "funding APR"),
        [_quote_row(quote) for quote in quotes],
    )
    if isinstance(page, AccountSnapshot):
        _positions(context, page)
        _pairs(context, page, finished=5)
    return EXIT_OK if isinstance(page, AccountSnapshot) else EXIT_UNAVAILABLE


def positions(context: Context) -> int:
    return _with_page(context, lambda page: _positions(context, page), lambda page: views.held(page))


def pairs(context: Context) -> int:
    return _with_page(context, lambda page: _pairs(context, page, finished=50), lambda page: list(page.pairs))


def orders(context: Context) -> int:
    def show(page: AccountSnapshot) -> None:
        context.table(
            "Orders not final",
            ("client id", "venue", "symbol", "side", "size", "filled", "limit", "status", "pair"),
            [
                (
                    o.client_order_id,
                    o.venue,
                    o.symbol,
                    o.side.value,
                    o.qty,
                    o.filled_qty,
                    o.limit_px,
                    o.status.value,
                    o.pair_id,
                )
                for o in page.orders
            ],
        )

    return _with_page(context, show, lambda page: list(page.orders))


def why(context: Context, symbol: str | None, count: int) -> int:
    """The latest decisions and refusals, with the numbers that made them."""
    run = context.observe()
    found = [d for name in STRATEGIES for d in _decisions(run, name) if _matches(d, symbol)][-count:]
    if context.as_json:
        context.answer([msgspec.to_builtins(decision) for decision in found])
        return EXIT_OK
    context.table(
        f"Decisions{f' on {symbol}' if symbol else ''}, oldest first",
        ("time", "strategy", "action", "symbol", "long", "short", "reason", "numbers"),
        [
            (
                _clock_text(d.wire_ns), d.strategy, d.action.value, d.symbol, d.long_venue, d.short_venue,
                f"{d.reason} {d.pair_id}".strip(), " ".join(f"{k}={v:.6g}" for k, v in d.numbers.items()),
            )
            for d in found
        ],
    )  # fmt: skip
    return EXIT_OK


# ---- parts ----------------------------------------------------------------------------------------------------------


def _with_page(context: Context, show: object, data: object) -> int:
    page = views.account(context.observe())
    if not isinstance(page, AccountSnapshot):
        if context.as_json:
            context.answer({"account_missing": page})
        context.say(f"[red]no account page:[/red] {page}")
        return EXIT_UNAVAILABLE
    if context.as_json:
        context.answer(data(page))  # type: ignore[operator]
    else:
        show(page)  # type: ignore[operator]
    return EXIT_OK


def _headline(context: Context, page: AccountSnapshot | str) -> None:
    name = context.loaded.config.run.name
    if not isinstance(page, AccountSnapshot):
        context.say(f"[bold]{name}[/bold]  [red]no account page:[/red] {page}")
        return
    colour = {"active": "green", "reducing": "yellow", "halted": "red"}[page.trading_state.value]
    ready = "" if page.ready else "  [yellow]recovering[/yellow]"
    age_ms = (context.clock.mono_ns() - page.written_mono_ns) / NS_PER_MS
    away = f"  [red]executor silent for {age_ms / 1e3:.1f} s[/red]" if age_ms > 3000 else ""
    reason = f" ({page.state_reason})" if page.state_reason else ""
    context.say(
        f"[bold]{name}[/bold]  mode {page.mode}  trading [{colour}]{page.trading_state.value}[/{colour}]{reason}{ready}{away}"
        f"  equity {_usd(views.equity_usd(page))}  net {_usd(page.net_usd)}  pairs {len(views.open_pairs(page))} open, "
        f"{page.pairs_opened} opened, {page.pairs_closed} closed  "
        f"unhedged {_usd(page.unhedged_usd)} for {page.unhedged_age_ns / NS_PER_S:.2f} s "
        f"(longest {page.unhedged_max_ns / NS_PER_S:.2f} s)"
    )
    if page.frozen:
        context.say(f"[red]frozen:[/red] {', '.join(page.frozen)}")


def _venue_row(row: views.FeedRow, page: AccountSnapshot | str) -> tuple[object, ...]:
    feed = "up" if row.up else f"DOWN {row.reason}"
    shown = (row.venue, feed, f"{row.heartbeat_age_ms:.0f}" if row.pid else None, f"{row.fresh}/{row.instruments}")
    accounts = {v.venue: v for v in page.venues} if isinstance(page, AccountSnapshot) else {}
    venue = accounts.get(row.venue)
    if venue is None:
        return (*shown, None, None, None, None, None, None)
    ratio = float(venue.maintenance_margin_usd / venue.equity_usd) if venue.equity_usd > 0 else math.nan
    stream = "up" if venue.private_stream_up else "down"
    return (
        *shown, venue.status, f"{venue.equity_usd:,.2f}", f"{venue.free_margin_usd:,.2f}", f"{ratio:.1%}", stream,
        f"{venue.rate_budget_ratio:.0%}",
    )  # fmt: skip


def _quote_row(quote: views.QuoteRow) -> tuple[object, ...]:
    def number(value: float, form: str) -> str | None:
        return None if math.isnan(value) else format(value, form)

    funding = None if math.isnan(quote.funding_apr_pct) else f"{quote.funding_apr_pct:.2f}%"
    return (
        quote.symbol, quote.venue, number(quote.bid_px, ".8g"), number(quote.ask_px, ".8g"), number(quote.bid_qty, ".6g"),
        number(quote.ask_qty, ".6g"), number(quote.spread_bps, ".2f"), number(quote.age_ms, ".0f"), quote.state, funding,
    )  # fmt: skip


def _positions(context: Context, page: AccountSnapshot) -> None:
    context.table(
        "Positions",
        ("symbol", "venue", "size", "venue says", "entry", "mark", "notional $", "unrealized $", "to liq", "flags"),
        [
            (
                p.symbol, p.venue, p.qty, p.venue_qty, f"{p.avg_entry_px:.8g}", f"{p.mark_px:.8g}" if p.mark_px else None,
                f"{p.notional_usd:,.2f}", f"{p.unrealized_usd:,.2f}",
                None if p.move_to_liq_pct is None else f"{p.move_to_liq_pct:.1f}%", " ".join(p.flags),
            )
            for p in views.held(page)
        ],
    )  # fmt: skip
    net = {symbol: qty for symbol, qty in views.net_exposure(page).items() if qty}
    context.say(f"net exposure: {', '.join(f'{q} {s}' for s, q in net.items()) if net else 'none'}")


def _pairs(context: Context, page: AccountSnapshot, finished: int) -> None:
    columns = (
        "pair", "strategy", "symbol", "status", "long", "short", "size", "edge bps", "hedge", "price $", "fees $", "funding $",
        "net $", "reason",
    )  # fmt: skip
    now = context.clock.mono_ns()
    context.table("Pairs open", (*columns, "age s"), [(*_pair_row(p), _age(p, now)) for p in views.open_pairs(page)])
    context.table("Pairs finished", columns, [_pair_row(p) for p in views.finished_pairs(page)[-finished:]])


def _pair_row(pair: PairView) -> tuple[object, ...]:
    price = pair.realized_usd + pair.unrealized_usd
    net = pair.net_usd if pair.net_usd is not None else price - pair.fees_usd + pair.funding_usd
    return (
        pair.pair_id, pair.strategy, pair.symbol, pair.status.value, pair.long_venue, pair.short_venue,
        pair.long_qty or None, f"{pair.entry_edge_bps:.1f}", f"{pair.hedge_quality:.1%}", f"{price:.2f}",
        f"{pair.fees_usd:.2f}", f"{pair.funding_usd:.2f}", f"{net:.2f}", pair.reason,
    )  # fmt: skip


def _age(pair: PairView, now_ns: int) -> str:
    return f"{(now_ns - pair.opened_mono_ns) / NS_PER_S:.0f}"


def _decisions(run: RunDir, strategy: str) -> list[Decision]:
    return [d for d in DecisionReader(run, strategy).latest(2000) if d.action is not Action.SUMMARY]


def _matches(decision: Decision, symbol: str | None) -> bool:
    return symbol is None or decision.symbol == symbol


def _usd(value: Decimal) -> str:
    return f"{value:,.2f} $"


def _clock_text(wire_ns: int) -> str:
    return datetime.datetime.fromtimestamp(wire_ns / NS_PER_S, tz=datetime.UTC).strftime("%H:%M:%S.%f")[:-3]


def _finite(row: dict[str, object]) -> dict[str, object]:
    """JSON has no NaN: a figure that is not there is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
