"""`tandem sandbox market PATH|stop|status|report`: recorded quotes in the place of the sandbox's own market.

The report sets what the recording offered (edges per direction, from the quotes alone) beside what was made of it: fills
by venue as the venues book them, pairs as the executor does, split into price, funding and fees.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from core.account import PairView
from core.clock import NS_PER_S
from core.errors import EXIT_OK, ConfigError
from core.recordings import load_manifest
from ops import views
from ops.context import Context
from ops.sandbox.playback import MarketReport, Order, State
from ops.sandbox.player import AT_START
from ops.sandbox_call import call

POLL_S = 1.0


def add_arguments(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "recording", metavar="PATH|stop|status|report", help="a folder of recorded quotes or its manifest; or a verb"
    )
    made.add_argument(
        "--speed", type=float, default=1.0, help="times the recorded pace (1); beyond 1 delays and ages weigh more"
    )
    made.add_argument("--from", dest="start", metavar="UTC", help="first second, like 2026-01-01T14:30:00")
    made.add_argument("--to", dest="end", metavar="UTC", help="the second to stop before")
    made.add_argument("--venues", metavar="A,B", help="only on these venues; else on all that the manifest names")
    made.add_argument("--wait", action="store_true", help="wait for the end and print the report")


def run(context: Context, args: argparse.Namespace) -> int:
    match args.recording:
        case "stop":
            last = _decode(call(context, "market/stop", {}))
            return _tell(context, last) if last else _nothing(context)
        case "status" | "report":
            report = current(context)
            if report is None:
                return _nothing(context)
            return _tell(context, report) if args.recording == "report" or context.as_json else _status(context, report)
        case _:
            order = make_order(context, args.recording, args.speed)
            order = msgspec.structs.replace(
                order, start_ns=_utc_ns(args.start), end_ns=_utc_ns(args.end),
                venues=tuple(args.venues.split(",")) if args.venues else (),
            )  # fmt: skip
            report = play(context, order)
            return wait(context) if args.wait else _status(context, report)


def play(context: Context, order: Order) -> MarketReport:
    """Ask the sandbox to play."""
    report = _decode(call(context, "market", msgspec.to_builtins(order)))
    if report is None:
        raise ConfigError("the sandbox plays nothing; see its log")
    return report


def play_from_the_start(context: Context, recording: str, speed: float) -> None:
    """Leave the order for a sandbox that is about to start, so that not one invented quote comes before the recorded ones.
    Raises ConfigError for a recording without manifest, before anything is started."""
    if context.loaded.config.sandbox is None:
        raise ConfigError(
            f"{context.loaded.path}: has no [sandbox] table; recorded markets are played by the sandbox only"
        )
    order = make_order(context, recording, speed)
    load_manifest(Path(order.path), context.loaded.path.parent / "recordings")
    state_dir = context.loaded.state_dir
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    (state_dir / AT_START).write_bytes(msgspec.json.encode(order))


def forget_the_start(context: Context) -> None:
    """Take the order back: the start failed, and the next one shall not be surprised by it."""
    (context.loaded.state_dir / AT_START).unlink(missing_ok=True)


def current(context: Context) -> MarketReport | None:
    """What the sandbox says of the recording it plays."""
    return _decode(call(context, "market", None))


def wait(context: Context) -> int:
    """Until the recording is over (as long as it takes: its length is bounded), then the report."""
    report = current(context)
    while report is not None and report.state is State.PLAYING:
        time.sleep(POLL_S)
        report = current(context)
    return _tell(context, report) if report else _nothing(context)


def make_order(context: Context, recording: str, speed: float) -> Order:
    """All of `recording` at `speed`. The offset's window is the strategy's own, in recorded seconds at this speed."""
    scalp = context.loaded.config.strategies.scalp
    return Order(
        path=str(Path(recording).resolve()), speed=speed, offset_window_s=scalp.offset_window_s * speed,
        offset_min_samples=max(2, int(scalp.offset_min_samples * speed)),
    )  # fmt: skip


def _status(context: Context, report: MarketReport) -> int:
    if context.as_json:
        context.answer(report)
        return EXIT_OK
    context.say(
        f"{report.path}: {report.state.value} at {_utc(report.recorded_ns)}, {report.played_s} recorded s, {report.rows} rows, "
        f"{report.speed:g}x on {', '.join(report.tracks)}"
        + (f"; left out: {', '.join(report.left_out)}" if report.left_out else "")
    )
    if report.speed > 1.0:
        context.say(
            f"note: at {report.speed:g}x a venue's order delay and a strategy's second are {report.speed:g} times as long in "
            "recorded time, so the strategy sees and samples fewer quotes than were recorded"
        )
    context.say("tandem sandbox market report shows edges and trades; tandem sandbox market stop goes back to the walk")
    return EXIT_OK


def _tell(context: Context, report: MarketReport) -> int:
    """The whole report."""
    pairs = _pairs(context, report)
    if context.as_json:
        context.answer({"market": report, "pairs": [_pair_row(pair) for pair in pairs]})
        return EXIT_OK
    _status(context, report)
    context.table(
        "Edges of the recorded quotes (bps)",
        ("symbol", "sell", "buy", "samples", "offset", "max edge", "max deviation", "at"),
        [
            (row.symbol, row.short_venue, row.long_venue, row.samples, _bps(row.offset_bps), _bps(row.max_edge_bps),
             _bps(row.max_dev_bps), _utc(row.max_dev_at_ns) if row.max_dev_at_ns else None)
            for row in report.edges
        ],
    )  # fmt: skip
    context.table(
        "Fills since the start, as the venues book them (USD)",
        ("venue", "symbol", "fills", "volume", "price", "fees", "net", "held"),
        [
            (row.venue, row.symbol, row.fills, _usd(row.volume_usd), _usd(row.price_usd), _usd(row.fees_usd),
             _usd(row.price_usd - row.fees_usd), row.held)
            for row in report.venues
        ],
    )  # fmt: skip
    context.table(
        "Pairs since the start (USD)",
        ("pair", "symbol", "sell", "buy", "status", "edge bps", "price", "funding", "fees", "net"),
        [tuple(_pair_row(pair).values()) for pair in pairs],
    )
    made = sum((row.price_usd - row.fees_usd for row in report.venues), Decimal(0))
    fills = sum(row.fills for row in report.venues)
    context.say(f"{fills} fills, net {_usd(made)} USD" if fills else "no trade")
    return EXIT_OK


def _pairs(context: Context, report: MarketReport) -> list[PairView]:
    """The executor's pairs opened since the recording began, as far as its page remembers; none while it is away."""
    try:
        page = views.account(context.observe())
    except ConfigError:
        return []
    played = {row.symbol for row in report.venues}
    pairs = [] if isinstance(page, str) else page.pairs
    return [pair for pair in pairs if pair.opened_mono_ns >= report.started_mono_ns and pair.symbol in played]


def _pair_row(pair: PairView) -> dict[str, Any]:
    price = pair.realized_usd + pair.unrealized_usd
    return {
        "pair": pair.pair_id, "symbol": pair.symbol, "sell": pair.short_venue, "buy": pair.long_venue,
        "status": pair.status.value, "edge_bps": round(pair.entry_edge_bps, 2), "price_usd": _usd(price),
        "funding_usd": _usd(pair.funding_usd), "fees_usd": _usd(pair.fees_usd),
        "net_usd": _usd(price + pair.funding_usd - pair.fees_usd),
    }  # fmt: skip


def _nothing(context: Context) -> int:
    if context.as_json:
        context.answer(None)
    context.say("no recording is played; the sandbox walks its own market")
    return EXIT_OK


def _decode(answer: Any) -> MarketReport | None:
    return None if answer is None else msgspec.convert(answer, MarketReport, strict=False)


def _utc(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NS_PER_S, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _utc_ns(text: str | None) -> int:
    if text is None:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a time like 2026-01-01T14:30:00") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * NS_PER_S


def _bps(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _usd(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"))
