"""`python -m strategies.replay --config FILE RECORDING`: a recorded market through the decisions that trade.

The strategy is the live one, unchanged, over readers that play a recording; a clock that is moved stands where the
machine's does, so a day passes in seconds and every run gives the same report. One look a second, which is all that the
recording knows. The fills are judged by strategies/replay_market.py. Prints what the market offered beside what the
strategy made of it: on real quotes and true fees a scalp that earns here is a bug in the fills (RULES 7).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import msgspec

from core.clock import NS_PER_S, SimClock, SystemClock
from core.config import Loaded, load
from core.edges import EdgeMeter, EdgeSeen
from core.errors import EXIT_OK, ConfigError
from core.lifecycle import guard
from core.log import Log
from core.numeric import BPS, from_float
from core.recordings import Track, load_manifest, read_rows
from core.roster import SPEC
from core.settings import Mode, ScalpConfig
from core.types import Quote, Venue
from strategies.intents import Open, Refusal
from strategies.replay_desk import Desk, PairTotals
from strategies.replay_market import RecordedVenue
from strategies.scalp import Scalp, VenueTerms
from strategies.snapshot import MarketReader, MarketView

STEP_NS = NS_PER_S
DEFAULT_DELAY_MS = 70.0  # where the environment has no sandbox to say
BALANCE_USD = Decimal(10_000)


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the market offered, and what came of it."""

    recording: str
    seconds: int
    left_out: tuple[str, ...]
    spread_entry_bps: float
    min_profit_bps: float
    edges: tuple[EdgeSeen, ...]
    pairs: tuple[PairTotals, ...]
    refused: dict[str, int]  # directions wide enough to be judged exactly, by what held them back

    @property
    def opened(self) -> int:
        return sum(pair.opened for pair in self.pairs)

    @property
    def net_usd(self) -> Decimal:
        return sum((pair.net_usd for pair in self.pairs), Decimal(0))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="strategies.replay", description=__doc__.splitlines()[0])
    parser.add_argument("recording", help="a folder of recorded quotes, or its manifest")
    parser.add_argument("--config", required=True, help="the environment whose venues, fees and risk limits apply")
    parser.add_argument("--entry-bps", type=float, help="spread_entry_bps instead of the configuration's")
    parser.add_argument(
        "--min-profit-bps", type=float, help="min_profit_bps instead; negative = trade at a loss, to study"
    )
    parser.add_argument("--preset-window", action="store_true", help="30 min of offset history, as on real markets")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    log = Log("replay", SystemClock(), write=sys.stderr.write)

    def body() -> int:
        loaded = load(args.config)
        changes = {"spread_entry_bps": args.entry_bps, "min_profit_bps": args.min_profit_bps}
        scalp = msgspec.structs.replace(
            loaded.config.strategies.scalp, **{key: value for key, value in changes.items() if value is not None}
        )
        if args.preset_window:
            scalp = msgspec.structs.replace(scalp, offset_window_s=1800.0, offset_min_samples=600)
        report = replay(loaded, scalp, Path(args.recording))
        text = msgspec.json.encode(report).decode() + "\n" if args.json else render(report)
        sys.stdout.write(text)
        return EXIT_OK

    return guard(body, log)


def replay(loaded: Loaded, scalp: ScalpConfig, recording: Path, start_ns: int = 0, end_ns: int = 0) -> ReplayReport:
    """Play [start, end) (0 = open) of `recording` on the venues of `loaded`. Raises ConfigError for a bad recording."""
    tracks = load_manifest(recording, loaded.path.parent / "recordings")
    here = [track for track in tracks if track.venue in loaded.enabled_venues]
    left_out = tuple(f"{track.venue} {track.symbol}" for track in tracks if track not in here)
    names = list(dict.fromkeys(track.venue for track in here))
    if len(names) < 2:
        raise ConfigError(f"{recording}: a pair needs two venues of {loaded.path}; left out: {', '.join(left_out)}")
    clock = SimClock(wire_ns=0)  # set to the first row before anything is decided
    max_age_ns = int(loaded.config.feeds.proof_max_age_s * NS_PER_S)
    venues = {
        name: RecordedVenue(
            [(track, read_rows(track.path, start_ns, end_ns)) for track in here if track.venue == name],
            _delay_ms(loaded, name), max_age_ns, clock,
        )
        for name in names
    }  # fmt: skip
    run = _Run(loaded, scalp, venues, here, clock)
    seconds = run.play()
    return ReplayReport(
        recording=str(recording.name), seconds=seconds, left_out=left_out, spread_entry_bps=scalp.spread_entry_bps,
        min_profit_bps=scalp.min_profit_bps, edges=run.edges(), pairs=tuple(run.desk.totals()), refused=run.refused,
    )  # fmt: skip


class _Run:
    """One pass over one recording."""

    def __init__(
        self,
        loaded: Loaded,
        scalp: ScalpConfig,
        venues: dict[Venue, RecordedVenue],
        tracks: Iterable[Track],
        clock: SimClock,
    ) -> None:
        config = loaded.config
        fees = {name: _fee(loaded, name) for name in venues}
        terms = {
            name: VenueTerms(fees[name], config.venues[name].leverage, config.venues[name].extra_cross_bps)
            for name in venues
        }
        live = msgspec.structs.replace(scalp, mode=Mode.LIVE)
        self._strategy = Scalp(live, config.risk, config.execution, terms)
        self._venues = venues
        self._clock = clock
        self.desk = Desk(venues, {name: from_float(fee) for name, fee in fees.items()}, BALANCE_USD, clock)
        readers: dict[Venue, MarketReader] = {**venues}
        self._view = MarketView(readers)
        self._view.refresh_listings()
        self.refused: dict[str, int] = {}
        on: dict[str, list[Venue]] = {}
        for track in tracks:
            on.setdefault(track.symbol, []).append(track.venue)
        # what the market offered is measured over real markets' half hour, whatever window the strategy is given
        self._meters = {
            (symbol, a, b): EdgeMeter(symbol, a, b, 1800.0, 600)
            for symbol, on_ in on.items()
            for a, b in combinations(on_, 2)
        }

    def play(self) -> int:
        """Second by second to the end; how many seconds."""
        tapes = [tape for venue in self._venues.values() for tape in venue.tapes]
        starts = [tape.first_ns for tape in tapes if tape.first_ns]
        if not starts:
            raise ConfigError("the recording has no row in this window")
        self._clock.advance_ns(min(starts) - self._clock.wire_ns())
        began_ns = self._clock.wire_ns()
        while True:
            self._second()
            if all(tape.is_over for tape in tapes):
                return (self._clock.wire_ns() - began_ns) // NS_PER_S + 1
            self._clock.advance_ns(STEP_NS)

    def edges(self) -> tuple[EdgeSeen, ...]:
        return tuple(row for meter in self._meters.values() for row in meter.seen())

    def _second(self) -> None:
        for venue in self._venues.values():
            venue.advance()
        self.desk.work()
        strategy, view, clock = self._strategy, self._view, self._clock
        now_ns, account = clock.mono_ns(), self.desk.account()
        self._measure()
        strategy.sample(view, now_ns)
        for close in strategy.leave(view, account, now_ns, clock.calendar_ns()):
            self.desk.close(close.pair_id)
        for symbol in view.changed_symbols():
            for intent in strategy.enter(symbol, view, account, now_ns):
                if isinstance(intent, Open):
                    strategy.attempted(symbol, now_ns)
                    self.desk.open(intent)
                elif isinstance(intent, Refusal):
                    self.refused[intent.reason] = self.refused.get(intent.reason, 0) + 1

    def _measure(self) -> None:
        for symbol in self._view.symbols:
            now = {row.venue: quote for row, quote in self._view.quotes(symbol) if isinstance(quote, Quote)}
            for (of, first, second), meter in self._meters.items():
                if of == symbol and first in now and second in now:
                    a, b = now[first], now[second]
                    meter.sample(self._clock.wire_ns(), (a.bid_px, a.ask_px), (b.bid_px, b.ask_px))


def render(report: ReplayReport) -> str:
    """The report for people."""
    lines = [
        f"{report.recording}: {report.seconds} s, entry {report.spread_entry_bps:g} bps, "
        f"least profit {report.min_profit_bps:g} bps" + (f"; left out: {', '.join(report.left_out)}" if report.left_out else ""),
        f"{'sell':>12} {'buy':>12} {'samples':>8} {'offset':>8} {'max edge':>9} {'max dev':>8}  (bps)",
    ]  # fmt: skip
    for row in report.edges:
        figures = (row.offset_bps, row.max_edge_bps, row.max_dev_bps)
        shown = " ".join("       -" if value is None else f"{value:8.2f}" for value in figures)
        lines.append(f"{row.short_venue:>12} {row.long_venue:>12} {row.samples:8d} {shown}")
    if not report.pairs:
        lines.append("no trade")
    for pair in report.pairs:
        lines.append(
            f"{pair.symbol} sell {pair.short_venue} buy {pair.long_venue}: {pair.attempts} attempts, {pair.missed} missed, "
            f"{pair.broken} broken, {pair.opened} opened, {pair.closed} closed, {pair.still_open} open; price "
            f"{pair.price_usd:+.2f} - fees {pair.fees_usd:.2f} = net {pair.net_usd:+.2f} USD"
        )
    if report.refused:
        lines.append("held back: " + ", ".join(f"{reason} {count}" for reason, count in sorted(report.refused.items())))
    lines.append(f"net {report.net_usd:+.2f} USD over {report.opened} pairs")
    return "\n".join(lines) + "\n"


def _delay_ms(loaded: Loaded, name: Venue) -> float:
    sandbox = loaded.config.sandbox
    known = sandbox.venues.get(name) if sandbox is not None else None
    return DEFAULT_DELAY_MS if known is None else known.order_delay_ms


def _fee(loaded: Loaded, name: Venue) -> float:
    venue = loaded.config.venues[name]
    return SPEC[name].taker_fee if venue.taker_fee_bps is None else venue.taker_fee_bps * BPS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
