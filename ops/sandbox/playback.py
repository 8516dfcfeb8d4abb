"""A recorded market on the books of the sandbox: real best prices and sizes, through the real wire protocols.

While a recording plays, the walk stands still. A tracked symbol follows its rows at `speed` times the recorded pace, on
every venue that has a track for it; on the others it has no book, since an invented price beside a recorded one would be
an edge that nobody ever saw. All other symbols stand at their fair price without any basis; only their sizes flicker.

A venue sends best bids and offers when they change and its context channels by the clock, and so do these. Books that did
not move are told again ten times a second with the present time; the other symbols' flicker keeps the sockets as busy as
a venue's are. That is what proves a quote that stands through a silent second (RULES 2), without any new quote of it.

What a taker gets is judged in matching.py. The order's delay is the venue's own, in real time: at speed N it is N times
as long in recorded time, and the strategy's seconds hold N recorded ones. At speed 1 nothing is bent.

At the end the last quotes stand and may be taken at face value, so that what is open can be closed. `stop` gives the
books back to the walk, which goes on from the recorded prices. Shoves of the walk (`sandbox basis`, `price`) move nothing
meanwhile: there is no walk.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.edges import EdgeMeter, EdgeSeen
from core.errors import ConfigError
from core.numeric import ceil_to, floor_to
from core.recordings import Row, Track, read_rows
from ops.sandbox.exchange import Exchange
from ops.sandbox.market import Market
from ops.sandbox.matching import Touch
from ops.sandbox.model import ZERO, Contract, Sample

STAND_NS = 100 * NS_PER_MS
AGAIN_NS = NS_PER_S  # how often the walk's price follows, and at the end the sizes of the last quotes are given again
FLICKER_USD = (3_000.0, 3_100.0)
MAX_AGE_NS = 3 * NS_PER_S  # an edge between quotes older than this is not counted
MAX_ROWS_PER_TURN = 2000
EMPTY = Touch(ZERO, ZERO, ZERO, ZERO)


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be played. Times in ns UTC, 0 = open; the offset's window and samples are in recorded seconds."""

    path: str
    venues: tuple[str, ...] = ()  # only on these; empty = on all that have a track
    speed: float = 1.0
    start_ns: int = 0
    end_ns: int = 0
    offset_window_s: float = 1800.0
    offset_min_samples: int = 600


class State(enum.Enum):
    PLAYING = "playing"
    ENDED = "ended"


class VenueFills(msgspec.Struct, frozen=True, kw_only=True):
    """What all accounts of one venue did in one played symbol since the start; price = cash flow and what is held at mark."""

    venue: str
    symbol: str
    fills: int
    volume_usd: Decimal
    price_usd: Decimal
    fees_usd: Decimal
    held: Decimal  # canonical, signed: bought less sold since the start


class MarketReport(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    state: State
    speed: float
    started_mono_ns: int
    recorded_ns: int  # where the recording stands, UTC
    played_s: int
    rows: int
    tracks: tuple[str, ...]
    left_out: tuple[str, ...]
    edges: tuple[EdgeSeen, ...]
    venues: tuple[VenueFills, ...]


class _Tape:
    """One track on one exchange, one row ahead of what is shown."""

    def __init__(self, track: Track, exchange: Exchange, contract: Contract, rows: Iterator[Row]) -> None:
        self.track = track
        self.exchange = exchange
        self.contract = contract
        self._rows = rows
        self.shown: Row | None = None
        self.ahead = next(rows, None)
        self.count = 0

    def turn(self) -> None:
        """Show the next row."""
        self.shown, self.ahead = self.ahead, next(self._rows, None)
        self.count += 1
        self.show()

    def show(self) -> None:
        row = self.shown
        if row is None:
            return
        now = self._touch(row)
        mid = float(row.bid_px + row.ask_px) / 2
        following = now if self.ahead is None else self._touch(self.ahead)
        self.exchange.apply(self.track.symbol, _sample(mid), (now, following))

    def _touch(self, row: Row) -> Touch:
        """On the contract's grid: prices outwards, sizes down."""
        c = self.contract
        bid, ask = row.bid_px * c.multiplier, row.ask_px * c.multiplier
        tick, lot = c.tick_at(bid), c.lot * c.multiplier
        return Touch(
            floor_to(bid, tick) * tick, floor_to(row.bid_qty, lot) * c.lot, ceil_to(ask, tick) * tick,
            floor_to(row.ask_qty, lot) * c.lot,
        )  # fmt: skip


class Playback:
    """One recording, from its first row on. `begin`, then `advance` by the sandbox's loop."""

    def __init__(
        self, order: Order, tracks: Sequence[Track], exchanges: dict[str, Exchange], market: Market, clock: Clock
    ) -> None:
        """Raises ConfigError when nothing of it can be played here."""
        self._order = order
        self._market = market
        self._clock = clock
        self._exchanges = exchanges
        self._tapes: list[_Tape] = []
        left_out = []
        for track in tracks:
            exchange = exchanges.get(track.venue) if not order.venues or track.venue in order.venues else None
            contract = exchange.contract_of(track.symbol) if exchange is not None else None
            if exchange is None or contract is None or track.symbol not in market.terms.symbols:
                left_out.append(f"{track.venue} {track.symbol}")
                continue
            self._tapes.append(_Tape(track, exchange, contract, read_rows(track.path, order.start_ns, order.end_ns)))
        self._left_out = tuple(left_out)
        starts = [tape.ahead.time_ns for tape in self._tapes if tape.ahead is not None]
        if not starts:
            raise ConfigError(
                f"{order.path}: nothing of it can be played here; left out: {', '.join(left_out) or 'all rows'}"
            )
        self._first_ns = min(starts)
        self._sampled_ns = self._first_ns - 1
        self._played = {tape.track.symbol for tape in self._tapes}
        self._others = [symbol for symbol in market.terms.symbols if symbol not in self._played]
        self._meters = {
            (a, b): EdgeMeter(
                a.track.symbol, a.track.venue, b.track.venue, order.offset_window_s, order.offset_min_samples
            )
            for a, b in combinations(self._tapes, 2)
            if a.track.symbol == b.track.symbol
        }
        self._stand_ns = self._again_ns = self._turn = 0
        self._recorded_ns = self._first_ns
        self._began_ns = 0
        self._began_trade: dict[
            str, int
        ] = {}  # by venue, the first trade id of our time; clocks of venues can be skewed

    @property
    def state(self) -> State:
        return State.PLAYING if any(tape.ahead is not None for tape in self._tapes) else State.ENDED

    def begin(self) -> None:
        """Take the books over; recorded time starts now."""
        self._began_ns = self._clock.mono_ns()
        self._began_trade = {name: exchange.ledger.next_trade_id() for name, exchange in self._exchanges.items()}
        self._empty_untracked()
        for _ in self._others:
            self._still_one()
        self.advance()

    def advance(self) -> None:
        """Show what is due by now; tell the rest again."""
        now_ns = self._clock.mono_ns()
        due_ns = self._first_ns + int((now_ns - self._began_ns) * self._order.speed)
        for _ in range(MAX_ROWS_PER_TURN):
            tape = min(self._tapes, key=_next_ns)
            if tape.ahead is None or tape.ahead.time_ns > due_ns:
                break
            self._sample_until(tape.ahead.time_ns - 1)
            self._recorded_ns = tape.ahead.time_ns
            tape.turn()
        if self.state is State.PLAYING:
            self._sample_until(min(due_ns, min(map(_next_ns, self._tapes)) - 1))
        if now_ns >= self._again_ns:
            self._again_ns = now_ns + AGAIN_NS
            self._pin()
            if self.state is State.ENDED:
                for tape in self._tapes:
                    tape.show()
        if now_ns >= self._stand_ns:
            self._stand_ns = now_ns + STAND_NS
            self._still_one()
            for exchange in self._exchanges.values():
                exchange.stand()

    def stop(self) -> None:
        """Give the books back: the walk goes on from the recorded prices."""
        self._pin()
        for symbol in self._played:
            sample = self._market.still(symbol)
            for exchange in self._exchanges.values():
                exchange.apply(symbol, sample)

    def report(self) -> MarketReport:
        return MarketReport(
            path=self._order.path, state=self.state, speed=self._order.speed, started_mono_ns=self._began_ns,
            recorded_ns=self._recorded_ns, played_s=(self._recorded_ns - self._first_ns) // NS_PER_S + 1,
            rows=sum(tape.count for tape in self._tapes),
            tracks=tuple(f"{tape.track.venue} {tape.track.symbol}" for tape in self._tapes), left_out=self._left_out,
            edges=tuple(row for meter in self._meters.values() for row in meter.seen()),
            venues=tuple(map(self._fills, self._tapes)),
        )  # fmt: skip

    def _pin(self) -> None:
        """The walk's fair price follows the recording, so that whoever goes on from it (also after a kill) does not jump."""
        for symbol in self._played:
            mids = [
                float(t.shown.bid_px + t.shown.ask_px) / 2 for t in self._tapes if t.shown and t.track.symbol == symbol
            ]
            if mids:
                self._market.still(symbol, sum(mids) / len(mids))

    def _sample_until(self, until_ns: int) -> None:
        """One look at every whole recorded second up to `until_ns`, at the rows that are shown."""
        at_ns = (self._sampled_ns // NS_PER_S + 1) * NS_PER_S
        while at_ns <= until_ns:
            for (a, b), meter in self._meters.items():
                one, two = a.shown, b.shown
                if one is None or two is None or at_ns - min(one.time_ns, two.time_ns) > MAX_AGE_NS:
                    continue
                meter.sample(
                    at_ns, (float(one.bid_px), float(one.ask_px)), (float(two.bid_px), float(two.ask_px))
                )  # fmt: skip
            self._sampled_ns = at_ns
            at_ns += NS_PER_S

    def _still_one(self) -> None:
        """The next of the other symbols, at the price it has; its sizes flicker, as sizes do."""
        if not self._others:
            return
        self._turn += 1
        symbol = self._others[self._turn % len(self._others)]
        usd = FLICKER_USD[self._turn // len(self._others) % 2]
        sample = msgspec.structs.replace(self._market.still(symbol), bid_usd=usd, ask_usd=usd)
        for exchange in self._exchanges.values():
            exchange.apply(symbol, sample)

    def _empty_untracked(self) -> None:
        tracked = {(tape.exchange.name, tape.track.symbol) for tape in self._tapes}
        for symbol in self._played:
            sample = self._market.still(symbol)
            for exchange in self._exchanges.values():
                if (exchange.name, symbol) not in tracked:
                    exchange.apply(symbol, sample, (EMPTY, EMPTY))

    def _fills(self, tape: _Tape) -> VenueFills:
        exchange, contract = tape.exchange, tape.contract
        began = self._began_trade.get(exchange.name, 0)
        made = [
            fill
            for address in exchange.ledger.accounts
            for fill in exchange.fills(address)
            if fill.name == contract.name and fill.trade_id >= began
        ]
        held = sum((fill.side.sign * fill.qty for fill in made), ZERO)
        flow = sum((-fill.side.sign * fill.qty * fill.px for fill in made), ZERO)
        return VenueFills(
            venue=exchange.name, symbol=tape.track.symbol, fills=len(made),
            volume_usd=sum((fill.qty * fill.px for fill in made), ZERO),
            price_usd=flow + held * exchange.mark(contract.name),
            fees_usd=sum((fill.fee for fill in made), ZERO), held=held * contract.multiplier,
        )  # fmt: skip


def _next_ns(tape: _Tape) -> int:
    return tape.ahead.time_ns if tape.ahead is not None else 1 << 62


def _sample(mid: float) -> Sample:
    """Mark and index at the recorded mid; no public prints, since the recording has none."""
    return Sample(
        mid=mid, oracle=mid, mark=mid, half_spread_bps=0.0, bid_usd=0.0, ask_usd=0.0, print_usd=0.0, seed=0
    )  # fmt: skip
