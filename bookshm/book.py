"""The book of one venue: latest lines and ring in shared memory, one writer (the feed), any number of readers.

A line has two buffers and one stamp (epoch << 40 | count). The writer fills the buffer that the stamp does not point at,
then stores the next stamp; a reader takes the stamp, copies the buffer of its parity, and accepts if the stamp has not
moved. What makes it sound: the writer touches a buffer again only after another stamp was stored, and x86-64 shows
stores in order, so a reader that caught a byte of a later record also sees a later stamp. What breaks it: a stamp stored
in pieces or through zero (hence item assignment on a u64 view, and nothing else), a second writer (hence the lock), and
weaker memory order (hence the refusal to start elsewhere).

A writer killed in the middle leaves the last whole record in place and nothing to repair; a preempted writer delays
nobody. Refused: an odd/even sequence lock (one buffer: a preempted writer makes the line unreadable for a whole time
slice, a killed one for ever), a lock shared with readers (a reader could stop a feed), and a queue per reader.

Lines of a former writer carry its epoch and read as stale. Single words (heartbeat, proofs, states) need no stamp: each
is stored in one piece and means something alone.
"""

from __future__ import annotations

import struct

import msgspec

from bookshm import layout as at
from bookshm.bell import BellRinger
from bookshm.book_reader import BookReader
from bookshm.follower import Follower
from bookshm.lock import WriterLock
from bookshm.run import RunDir
from bookshm.segment import open_writer, require_power_of_two
from core.clock import Clock
from core.errors import ConfigError, invariant
from core.types import FundingKind, FundingRate, Instrument, QuoteFlag, Venue

__all__ = ["BookReader", "BookWriter", "Follower"]

_PACK_QUOTE = at.QUOTE.pack
_EXECUTABLE = int(QuoteFlag.EXECUTABLE)
_encoder = msgspec.msgpack.Encoder(decimal_format="string")


class BookWriter:
    """The only writer of `venue`'s book in this run. Raises BusyError if another one lives, ConfigError if the segment
    cannot be made. Starts DOWN "starting"; rows and slots of a former writer are kept, its lines count as stale."""

    def __init__(self, run: RunDir, venue: Venue, clock: Clock, capacity_slots: int, ring_records: int) -> None:
        require_power_of_two(ring_records, "books.ring_records")
        self._mono_ns = clock.mono_ns
        self._layout = at.BookLayout(capacity_slots, ring_records)
        self._slots: dict[str, int] = {}
        self._by_venue_symbol: dict[str, int] = {}
        self._rows: list[Instrument] = []
        self._quote_next: list[int] = []  # next stamp of each slot's quote line
        self._quote_lines: tuple[list[memoryview[int]], list[memoryview[int]]] = ([], [])  # by buffer, by slot
        self._ring_mask = ring_records - 1
        self._ring_next = 1
        self._lock = WriterLock(run.books / f".{venue}.lock", f"feed-{venue}")
        try:
            self._open(run, venue, clock)
            self._ringer = BellRinger(run)
        except BaseException:
            self._lock.close()
            raise

    @property
    def slots(self) -> dict[str, int]:
        """Canonical symbol -> slot, for every row that is not delisted (and delisted ones without a successor)."""
        return self._slots

    @property
    def epoch(self) -> int:
        return self._words[at.W_EPOCH]

    def add(self, instrument: Instrument) -> int:
        """The slot of `instrument`, found by its venue symbol; a changed row is updated in place, a new one appended.
        Raises ConfigError when every slot is taken."""
        slot = self._by_venue_symbol.get(instrument.venue_symbol, -1)
        if slot < 0:
            slot = len(self._rows)
            if slot == self._layout.capacity:
                raise ConfigError(
                    f"books.capacity_slots: all {slot} slots of {self._segment.name} are taken, no room for "
                    f"{instrument.venue_symbol}; raise books.capacity_slots or list fewer feeds.symbols"
                )
            self._append_row(slot, instrument)
        elif self._rows[slot] != instrument:
            self._write_row(slot, instrument)
            self._rows[slot] = instrument
        if not instrument.delisted or instrument.symbol not in self._slots:
            self._slots[instrument.symbol] = slot
        return slot

    def publish_quote(
        self,
        slot: int,
        bid_px: float,
        bid_qty: float,
        ask_px: float,
        ask_qty: float,
        exch_ts_ns: int,
        local_mono_ns: int,
        flags: int = _EXECUTABLE,
    ) -> None:
        """Top of book in canonical units, received at `local_mono_ns`: latest line, ring, heartbeat; no bell.

        The ring's steps are RingWriter.append's, written out here: this is the hottest path of a feed.
        """
        stamps, lines, following, ring_stamps, ring, words = self._hot
        now_ns = self._mono_ns()
        stamp = following[slot]
        delta_ns = now_ns - local_mono_ns
        try:
            line = _PACK_QUOTE(
                stamp, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, delta_ns, slot, flags
            )
        except struct.error:
            invariant(not 0 <= delta_ns <= at.MAX_DELTA_NS, f"unfit for a quote line: slot {slot}, flags {flags}")
            delta_ns = at.MAX_DELTA_NS
            line = _PACK_QUOTE(
                stamp, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, delta_ns, slot, flags
            )
        lines[stamp & 1][slot][:] = line
        stamps[slot] = stamp
        following[slot] = stamp + 1

        n = self._ring_next
        index = n & self._ring_mask
        record = index << 6
        ring_stamps[index] = 0
        ring[record : record + 64] = line
        ring_stamps[index] = n
        self._ring_next = n + 1
        words[at.W_CURSOR] = n
        words[at.W_HEARTBEAT] = now_ns

    def publish_mark(
        self,
        slot: int,
        mark_px: float,
        index_px: float,
        open_interest: float,
        volume_24h_usd: float,
        exch_ts_ns: int,
        local_mono_ns: int,
    ) -> None:
        """Canonical units; NaN = the venue does not say."""
        body = at.MARK.pack(mark_px, index_px, open_interest, volume_24h_usd, exch_ts_ns, local_mono_ns)
        self._publish(at.K_MARK, slot, body)

    def publish_funding(self, slot: int, rate: FundingRate, local_mono_ns: int) -> None:
        """Estimate and settled rates are lines of their own: they arrive apart and age apart."""
        source = rate.source.encode()
        invariant(len(source) <= 86, f"funding source {rate.source!r} exceeds 86 bytes")
        kind = at.K_ESTIMATE if rate.kind is FundingKind.ESTIMATE else at.K_SETTLED
        body = at.FUNDING.pack(rate.rate, rate.interval_s, rate.next_funding_ts_ns, local_mono_ns, len(source), source)
        self._publish(kind, slot, body)

    def publish_liquidity(self, slot: int, size_usd: float, buy_px: float, sell_px: float, local_mono_ns: int) -> None:
        """Average executable price per side for `size_usd`; NaN where the book is too thin."""
        self._publish(at.K_LIQUIDITY, slot, at.LIQUIDITY.pack(size_usd, buy_px, sell_px, local_mono_ns))

    def assign_socket(self, slot: int, socket_index: int) -> None:
        """Quotes of `slot` arrive on socket 0 to 63; its frames prove them. Unassigned slots have only their own frames."""
        self._require_slot(slot)
        invariant(0 <= socket_index < at.SOCKETS, f"socket index {socket_index} is not in 0..{at.SOCKETS - 1}")
        self._words[self._layout.socket_of_w + slot] = socket_index + 1

    def unassign_socket(self, slot: int) -> None:
        """The slot's connection ended. Until its first own frame on the next one and a new `assign_socket`, other symbols'
        frames must not vouch for a quote that may have moved meanwhile."""
        self._require_slot(slot)
        self._words[self._layout.socket_of_w + slot] = 0

    def prove_socket(self, socket_index: int, local_mono_ns: int) -> None:
        """A market-data frame (not a pong) came on this socket."""
        invariant(0 <= socket_index < at.SOCKETS, f"socket index {socket_index} is not in 0..{at.SOCKETS - 1}")
        self._words[self._layout.sockets_w + socket_index] = local_mono_ns

    def prove_symbol(self, slot: int, local_mono_ns: int) -> None:
        """A frame about this very symbol came: context, mark or book."""
        self._require_slot(slot)
        self._words[self._layout.symbols_w + slot] = local_mono_ns

    def set_status(self, up: bool, reason: str) -> None:
        """The venue as a whole: DOWN makes every read answer Down(reason)."""
        self._segment.set_state(at.UP if up else at.DOWN, reason)

    def heartbeat(self, now_mono_ns: int) -> None:
        """Every 100 ms by a timer, whatever the venue does; also looks for new bells."""
        self._words[at.W_HEARTBEAT] = now_mono_ns
        self._ringer.rescan()

    def ring_bells(self) -> None:
        """Once per batch of frames, after its last publish."""
        self._ringer.ring()

    def close(self) -> None:
        """Mark the book STOPPED and give up the lock. The file stays for readers and for the next writer."""
        self._segment.set_state(at.STOPPED, "writer stopped")
        self._ringer.ring()
        self._ringer.close()
        self._lock.close()

    def _open(self, run: RunDir, venue: Venue, clock: Clock) -> None:
        """The segment under the lock just taken; former rows first, so that slots keep their meaning."""
        layout = self._layout
        former = _former_rows(run, venue, clock)
        params = (layout.capacity, layout.ring.records)
        self._segment = open_writer(run.books / venue, at.BOOK_HASH, layout.size, params, venue)
        self._words = self._segment.words
        self._view = self._segment.view
        self._epoch_bits = self._words[at.W_EPOCH] << at.EPOCH_SHIFT
        self._ring_next = self._words[at.W_CURSOR] + 1
        first = layout.stamps_w[at.K_QUOTE]
        self._quote_stamps = self._words[first : first + layout.capacity]
        # What publish_quote touches, in one tuple: one attribute instead of six at every quote.
        self._hot = (
            self._quote_stamps,
            self._quote_lines,
            self._quote_next,
            self._words[layout.ring.stamps_w : layout.ring.stamps_w + layout.ring.records],
            self._view[layout.ring.records_at : layout.ring.end],
            self._words,
        )
        for word in range(layout.sockets_w, layout.symbols_w + layout.capacity):
            self._words[word] = 0
        for instrument in former:
            self.add(instrument)
        self._words[at.W_HEARTBEAT] = clock.mono_ns()

    def _publish(self, kind: int, slot: int, body: bytes) -> None:
        self._require_slot(slot)
        word = self._layout.stamps_w[kind] + slot
        stamp = self._epoch_bits | ((self._words[word] & at.COUNT_MASK) + 1)
        line = self._layout.buffers(kind, slot)[stamp & 1]
        self._view[line : line + len(body)] = body
        self._words[word] = stamp

    def _append_row(self, slot: int, instrument: Instrument) -> None:
        self._rows.append(instrument)
        self._by_venue_symbol[instrument.venue_symbol] = slot
        count = self._quote_stamps[slot] & at.COUNT_MASK
        self._quote_next.append(self._epoch_bits | (count + 1))
        for lines, line in zip(self._quote_lines, self._layout.buffers(at.K_QUOTE, slot), strict=True):
            lines.append(self._view[line : line + at.QUOTE_BYTES])
        self._write_row(slot, instrument)
        if self._words[at.W_USED] <= slot:
            self._words[at.W_USED] = slot + 1

    def _write_row(self, slot: int, instrument: Instrument) -> None:
        data = _encoder.encode(instrument)
        room = at.INSTRUMENT_BYTES - 2
        invariant(len(data) <= room, f"instrument row of {instrument.venue_symbol}: {len(data)} bytes exceed {room}")
        self._publish(at.K_INSTRUMENT, slot, len(data).to_bytes(2, "little") + data)

    def _require_slot(self, slot: int) -> None:
        invariant(0 <= slot < len(self._rows), f"slot {slot} was never added to the book of {self._segment.name}")


def _former_rows(run: RunDir, venue: Venue, clock: Clock) -> list[Instrument]:
    """The former writer's table in order: a slot keeps its meaning for the life of a run."""
    try:
        return BookReader(run, venue, clock, max_quote_age_ns=0, proof_max_age_ns=0).rows()
    except ConfigError:
        return []  # another layout: its readers are refused as well, so nobody keeps a slot
