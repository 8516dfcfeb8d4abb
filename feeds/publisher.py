"""What may enter the book: order, lag and proof of every market event, and what an interruption makes void.

- Order: a quote older than the published one is dropped, by the venue's sequence where it has one, else by its time.
- Depth: its top becomes the quote where it is newer, and confirms one that was read by REST or came late.
- Lag (feeds.lag): a late quote is published as INDICATIVE and a late frame proves nothing, so everything on that socket
  ages out at its readers, and trading stops by itself.
- Indications: published with the age that they state, INDICATIVE for ever.
- Interruption: when a socket is lost, every quote it carried is voided at once. Without that, the first frame of another
  symbol on the next socket would prove a quiet symbol's quote from before the interruption.
- Proof: a market frame proves its socket; context, mark and book frames prove their symbol. Acknowledgements and pongs
  prove nothing (TRAPS T13).

One writer: everything here runs on the feed's one thread. Bells ring twice per batch of frames: at its first publish, and
as soon as no more frames are waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isnan, nan

import msgspec

from bookshm.book import BookWriter
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import ConfigError
from core.funding import Doubt, Guard
from core.log import Log
from core.settings import FeedsConfig
from core.types import FundingRate, Instrument, QuoteFlag
from feeds.lag import LagMeter
from feeds.meters import Meters
from feeds.venues.base import (
    ControlEvent,
    DepthEvent,
    FeedEvent,
    FundingEvent,
    GapEvent,
    IndicationEvent,
    MarketEvent,
    MarkEvent,
    QuoteEvent,
)

EXECUTABLE = int(QuoteFlag.EXECUTABLE)
INDICATIVE = int(QuoteFlag.INDICATIVE)
REST_SEED = int(QuoteFlag.INDICATIVE | QuoteFlag.REST_SEED)
DELISTED = int(QuoteFlag.DELISTED)
NO_SOCKET = -1

Levels = Sequence[tuple[float, float]]


class _Line:
    """What the publisher must remember of one symbol between frames."""

    __slots__ = (
        "assigned_ns",
        "flags",
        "funding_doubt",
        "index_px",
        "is_quoted",
        "liquidity_due_ns",
        "mark_mono_ns",
        "mark_px",
        "mark_ts_ns",
        "open_interest",
        "proved_ns",
        "quote_ts_ns",
        "sequence",
        "slot",
        "socket",
        "symbol",
        "volume_usd",
    )  # fmt: skip

    def __init__(self, symbol: str, slot: int) -> None:
        self.symbol = symbol
        self.slot = slot
        self.socket = NO_SOCKET
        self.assigned_ns = 0
        self.is_quoted = False
        self.flags = 0
        self.sequence = 0
        self.quote_ts_ns = 0
        self.proved_ns = 0
        self.mark_px = self.index_px = self.open_interest = self.volume_usd = nan
        self.mark_ts_ns = self.mark_mono_ns = 0
        self.liquidity_due_ns = 0
        self.funding_doubt: Doubt | None = None


class Publisher:
    """Owns the book's content for one venue. `call_soon` runs a callable once the frames at hand are through."""

    def __init__(
        self,
        book: BookWriter,
        settings: FeedsConfig,
        clock: Clock,
        meters: Meters,
        log: Log,
        call_soon: Callable[[Callable[[], None]], object],
        funding_on_whole_intervals: bool,
    ) -> None:
        self._book = book
        self._clock = clock
        self._wire_ns = clock.wire_ns
        self._meters = meters
        self._log = log
        self._call_soon = call_soon
        self._on_whole_intervals = funding_on_whole_intervals
        self._funding_guard = Guard()
        self._liquidity_usd = settings.liquidity_size_usd
        self._liquidity_every_ns = int(settings.liquidity_refresh_s * NS_PER_S)
        self._max_lag_ns = int(settings.max_lag_ms * NS_PER_MS)
        self._lag = LagMeter(self._max_lag_ns)
        self._rows: dict[str, Instrument] = {}  # by venue symbol
        self._lines: dict[str, _Line] = {}  # by canonical symbol
        self._late: dict[int, bool] = {}  # by socket: whether its last dated frame was late
        self._up: set[int] = set()
        self._ring_due = False
        self.last_market_ns = 0

    def install(self, rows: Iterable[Instrument]) -> list[str]:
        """Enter the whole catalogue in the book; the venue symbols that found no free slot. What is delisted, or was in
        the former catalogue and is not in this one, is flagged so and loses its quote."""
        present = {row.venue_symbol: row for row in rows}
        gone = [msgspec.structs.replace(row, delisted=True) for name, row in self._rows.items() if name not in present]
        now_ns = self._clock.mono_ns()
        left_out = []
        for row in (*gone, *present.values()):
            try:
                slot = self._book.add(row)
            except ConfigError:
                left_out.append(row.venue_symbol)
                continue
            self._rows[row.venue_symbol] = row
            line = self._lines.get(row.symbol)
            if line is None or line.slot != slot:
                line = self._lines[row.symbol] = _Line(row.symbol, slot)
            if row.delisted:
                self._void(line, now_ns, DELISTED)
                line.socket = NO_SOCKET
        self._ring_soon()
        return left_out

    def assign(self, socket: int, symbols: Iterable[str]) -> None:
        """`socket` carries exactly these symbols from now on. What it does not carry any more, or what came to it from
        another socket, has no quote until its first frame: the frames of this socket prove nothing about it yet."""
        wanted = set(symbols)
        now_ns = self._clock.mono_ns()
        for line in self._lines.values():
            if line.symbol in wanted:
                if line.socket != socket:
                    self._void(line, now_ns, 0)
                line.socket = socket
                line.assigned_ns = now_ns
                self._book.assign_socket(line.slot, socket)
            elif line.socket == socket:
                self._void(line, now_ns, 0)
                line.socket = NO_SOCKET

    def take(self, events: list[FeedEvent], socket: int, now_ns: int) -> bool:
        """Publish one frame received at `now_ns` (mono) on `socket`; whether it held market data."""
        market = late = False
        for event in events:
            if isinstance(event, ControlEvent):
                continue
            if isinstance(event, GapEvent):
                self._gap(event.symbol, now_ns)
                continue
            line = self._lines.get(event.symbol)
            if line is None or line.socket != socket:
                continue  # a connection that is about to be replaced still brings what was taken from it
            market = True
            if isinstance(event, FundingEvent):
                self._funding(line, event.rate, now_ns)
                continue
            late = self._is_late(socket, event.exch_ts_ns, now_ns)
            if isinstance(event, QuoteEvent):
                self._quote(line, event, late, now_ns)
            elif isinstance(event, DepthEvent):
                self._depth(line, event, late, now_ns)
            elif isinstance(event, IndicationEvent):
                self._indicate(line, event, now_ns)
            else:
                self._mark(line, event, now_ns)
                if not late:
                    self._prove(line, now_ns)
        if market:
            self.last_market_ns = now_ns
            if not late:
                self._prove_socket(socket, now_ns)
            if not self._ring_due:
                self._book.ring_bells()  # the first of a burst does not wait for the rest, nor they for the next batch
                self._ring_soon()
        return market

    def seed(self, quotes: Iterable[QuoteEvent], now_ns: int) -> None:
        """Quotes read by REST after subscribing: only where the stream has not spoken yet, and never executable."""
        for quote in quotes:
            line = self._lines.get(quote.symbol)
            if line is not None and not line.is_quoted and line.socket != NO_SOCKET:
                self._publish(line, quote[1:5], quote.exch_ts_ns, REST_SEED, now_ns)
        self._ring_soon()

    def figures(self, events: Iterable[MarketEvent], now_ns: int) -> None:
        """Marks and funding read by REST: no proof of any quote."""
        for event in events:
            line = self._lines.get(event.symbol)
            if line is not None and isinstance(event, MarkEvent):
                self._mark(line, event, now_ns)
            elif line is not None and isinstance(event, FundingEvent):
                self._funding(line, event.rate, now_ns)
        self._ring_soon()

    def down(self, reason: str) -> None:
        """The venue as a whole cannot be used (before its first socket is up)."""
        self._book.set_status(False, reason)
        self._show_up()
        self._ring_soon()

    def socket_down(self, socket: int, reason: str) -> None:
        """The connection is lost: its quotes are void; without any other the venue is DOWN."""
        now_ns = self._clock.mono_ns()
        for line in self._lines.values():
            if line.socket == socket:
                self._void(line, now_ns, 0)
        self._late.pop(socket, None)
        self._up.discard(socket)
        if not self._up:
            self._book.set_status(False, reason)
            self._log.info("venue_down", reason=reason)
        self._show_up()
        self._ring_soon()

    def silent_symbols(self, now_ns: int, silence_ns: int) -> list[str]:
        """Subscribed symbols whose own frames have not come for `silence_ns`, on sockets that are up."""
        return [
            line.symbol
            for line in self._lines.values()
            if line.socket in self._up and now_ns - max(line.proved_ns, line.assigned_ns) > silence_ns
        ]

    def measure(self) -> None:
        """The clock's median lag and how many symbols have quotes; about once a second."""
        self._meters.median_lag_s.set(self._lag.median_ns / NS_PER_S)
        self._meters.symbols.set(sum(line.is_quoted for line in self._lines.values()))

    def _is_late(self, socket: int, exch_ts_ns: int, now_ns: int) -> bool:
        """A frame without a time of its own is as late as the last one with a time on that socket."""
        if not exch_ts_ns:
            return self._late.get(socket, False)
        late = self._lag.is_late(self._wire_ns() - exch_ts_ns, now_ns)
        self._late[socket] = late
        return late

    def _prove_socket(self, socket: int, now_ns: int) -> None:
        self._book.prove_socket(socket, now_ns)
        if socket not in self._up:
            self._up.add(socket)
            self._book.set_status(True, "")
            self._show_up()
            self._log.info("stream_up", socket=socket)

    def _prove(self, line: _Line, now_ns: int) -> None:
        line.proved_ns = now_ns
        self._book.prove_symbol(line.slot, now_ns)

    def _quote(self, line: _Line, event: QuoteEvent, late: bool, now_ns: int) -> None:
        sequence = event.sequence
        if sequence <= line.sequence if sequence else self._is_overtaken(line, event.exch_ts_ns, late):
            self._meters.out_of_order.add()
            return
        line.sequence = sequence
        self._publish(line, event[1:5], event.exch_ts_ns, INDICATIVE if late else EXECUTABLE, now_ns)

    def _indicate(self, line: _Line, event: IndicationEvent, now_ns: int) -> None:
        """Never executable, and as old as it says: reading it again does not make it younger. One from the future is none."""
        age_ns = self._wire_ns() - event.as_of_ns
        if event.as_of_ns <= line.quote_ts_ns:
            return
        if age_ns < -self._max_lag_ns:
            self._meters.out_of_order.add()
            return
        line.is_quoted = True
        line.flags = INDICATIVE
        line.quote_ts_ns = event.as_of_ns
        read_ns = max(1, now_ns - max(0, age_ns))
        self._book.publish_quote(line.slot, *event[1:5], event.as_of_ns, read_ns, INDICATIVE)
        self._meters.quotes.add()

    def _is_overtaken(self, line: _Line, exch_ts_ns: int, late: bool) -> bool:
        """Whether a frame that has only a time is older than the published quote. One that is further behind it than any
        lag, and yet not late, shows that the quote's own time lay in the future: the venue's clock was set back, and to
        wait until it has caught up would leave a quote standing that the socket's other frames prove."""
        behind_ns = line.quote_ts_ns - exch_ts_ns
        return behind_ns > 0 and (late or behind_ns <= self._max_lag_ns)

    def _depth(self, line: _Line, event: DepthEvent, late: bool, now_ns: int) -> None:
        sequence = event.sequence
        if sequence:
            wanted = sequence > line.sequence or (sequence == line.sequence and line.flags != EXECUTABLE and not late)
        else:
            wanted = not self._is_overtaken(line, event.exch_ts_ns, late)
        if wanted:
            line.sequence = sequence
            bid_px, bid_qty = event.bids[0] if event.bids else (0.0, 0.0)
            ask_px, ask_qty = event.asks[0] if event.asks else (0.0, 0.0)
            top = (bid_px, bid_qty, ask_px, ask_qty)
            self._publish(line, top, event.exch_ts_ns, INDICATIVE if late else EXECUTABLE, now_ns)
        if late:
            return
        self._prove(line, now_ns)
        if now_ns >= line.liquidity_due_ns:
            line.liquidity_due_ns = now_ns + self._liquidity_every_ns
            size_usd = self._liquidity_usd
            buy_px, sell_px = executable_px(event.asks, size_usd), executable_px(event.bids, size_usd)
            self._book.publish_liquidity(line.slot, size_usd, buy_px, sell_px, now_ns)

    def _publish(
        self, line: _Line, top: tuple[float, float, float, float], exch_ts_ns: int, flags: int, now_ns: int
    ) -> None:
        line.is_quoted = True
        line.flags = flags
        line.quote_ts_ns = exch_ts_ns
        self._book.publish_quote(line.slot, *top, exch_ts_ns, now_ns, flags)
        self._meters.quotes.add()
        if flags == INDICATIVE:
            self._meters.late.add()

    def _void(self, line: _Line, now_ns: int, flags: int) -> None:
        """No quote: both sides 0, which no reader takes for a sound one; the next frame of any order is the truth."""
        if line.is_quoted or flags:
            self._book.publish_quote(line.slot, 0.0, 0.0, 0.0, 0.0, 0, now_ns, flags)
        line.is_quoted = False
        line.flags = flags
        line.sequence = line.quote_ts_ns = 0

    def _gap(self, symbol: str, now_ns: int) -> None:
        line = self._lines.get(symbol)
        if line is not None:
            sequence = line.sequence
            self._void(line, now_ns, 0)
            line.sequence = sequence  # the numbers go on: what is older than the last quote must not become the truth
            self._ring_soon()

    def _mark(self, line: _Line, event: MarkEvent, now_ns: int) -> None:
        """Figures that a frame does not carry stay as they were last told; the line's time is that of the mark."""
        if not isnan(event.mark_px):
            line.mark_px, line.index_px = event.mark_px, event.index_px
            line.mark_ts_ns, line.mark_mono_ns = event.exch_ts_ns, now_ns
        if not isnan(event.open_interest):
            line.open_interest = event.open_interest
        if not isnan(event.volume_24h_usd):
            line.volume_usd = event.volume_24h_usd
        self._book.publish_mark(
            line.slot,
            line.mark_px,
            line.index_px,
            line.open_interest,
            line.volume_usd,
            line.mark_ts_ns,
            line.mark_mono_ns,
        )

    def _funding(self, line: _Line, rate: FundingRate, now_ns: int) -> None:
        """What cannot be a funding rate of its interval is refused (core.funding)."""
        calendar_ns = self._clock.calendar_ns()
        if not rate.next_funding_ts_ns and self._on_whole_intervals:
            interval_ns = rate.interval_s * NS_PER_S
            next_ns = (calendar_ns // interval_ns + 1) * interval_ns
            rate = FundingRate(rate.rate, rate.interval_s, next_ns, rate.kind, rate.source)
        doubt = self._funding_guard.doubt(line.symbol, rate, calendar_ns)
        if doubt is not None:
            self._meters.funding_refused.add()
            if doubt is not line.funding_doubt:  # told once, not with every frame
                self._log.warning(
                    "funding_refused",
                    symbol=line.symbol,
                    doubt=doubt.value,
                    rate=rate.rate,
                    interval_s=rate.interval_s,
                    next_funding_ts_ns=rate.next_funding_ts_ns,
                    source=rate.source,
                )
            line.funding_doubt = doubt
            return
        line.funding_doubt = None
        self._book.publish_funding(line.slot, rate, now_ns)

    def _ring_soon(self) -> None:
        if not self._ring_due:
            self._ring_due = True
            self._call_soon(self._ring)

    def _ring(self) -> None:
        self._ring_due = False
        self._book.ring_bells()

    def _show_up(self) -> None:
        self._meters.sockets_up.set(len(self._up))


def executable_px(levels: Levels, size_usd: float) -> float:
    """Average price at which `size_usd` of notional trades into `levels` (best first); NaN where they hold less."""
    left_usd, qty = size_usd, 0.0
    for px, available in levels:
        notional_usd = px * available
        if notional_usd >= left_usd:
            return size_usd / (qty + left_usd / px)
        left_usd -= notional_usd
        qty += available
    return nan
