"""Reading a book: attach when it is there, attach again when it was replaced, never write.

Every answer is a consistent record, or says why there is none. A reader that comes before the writer gets
Down("no writer yet") until the segment exists. Liveness is the writer's heartbeat alone: silent for a second means Down,
and is also what makes the reader look whether another file has taken the path.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bookshm import layout as at
from bookshm.follower import Follower
from bookshm.run import RunDir, run_path
from bookshm.segment import HEARTBEAT_STALE_NS, TRIES, Segment, attach
from core.clock import Clock
from core.errors import InvariantError
from core.roster import SPEC
from core.types import Busy, Down, FundingKind, FundingRate, Instrument, Liquidity, MarkPrice, Quote, Stale, Venue
from core.venue_spec import Proof

_UNPACK_QUOTE = at.QUOTE.unpack
_new_quote = tuple.__new__
_decoder = msgspec.msgpack.Decoder(Instrument)
_NO_WRITER = "no writer yet"
_NO_RECORD = "nothing published by this writer yet"

RawQuote = tuple[int, float, float, float, float, int, int, int, int, int]
"""stamp bid_px bid_qty ask_px ask_qty exch_ts_ns local_mono_ns publish_delta_ns slot flags"""


class BookReader:
    """Reads one venue's book. `max_quote_age_ns` and `proof_max_age_ns` are RULES 2's 500 ms and 3 s, from config.

    Any read that has to attach raises ConfigError if the segment was written by another version. For one thread.
    """

    def __init__(
        self, run: RunDir | Path, venue: Venue, clock: Clock, max_quote_age_ns: int, proof_max_age_ns: int
    ) -> None:
        self._path = run_path(run) / "books" / venue
        self._mono_ns = clock.mono_ns
        self._max_age_ns = max_quote_age_ns
        self._proof_max_age_ns = proof_max_age_ns
        self._by_socket = SPEC[venue].proof is Proof.SOCKET if venue in SPEC else False
        self._segment: Segment | None = None
        self._instruments: dict[str, tuple[int, Instrument]] = {}
        self._rows: list[Instrument] = []
        self._rows_seen = b""
        self._find_changed: Callable[[], Sequence[int]] | None = None
        self._attach()

    def quote(self, slot: int) -> Quote | Stale | Down | Busy:
        """The quote of `slot` if it is usable by age; soundness (`is_sound`) and flags are the caller's to judge."""
        raw = self.read_raw(slot)
        if raw is None:
            return self._why_none(slot)
        stamp, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, _, _, flags = raw
        words = self._words
        heartbeat_ns = words[at.W_HEARTBEAT]
        now_ns, age_ns = self._age(slot, local_mono_ns)
        if words[at.W_STATE] != at.UP or now_ns - heartbeat_ns > HEARTBEAT_STALE_NS:
            return Down(self._why_down(now_ns))
        if stamp >> at.EPOCH_SHIFT != words[at.W_EPOCH] or age_ns < 0:
            return Stale(-1)
        if age_ns > self._max_age_ns:
            return Stale(age_ns)
        sequence = stamp & at.COUNT_MASK
        return _new_quote(Quote, (bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, sequence, flags, age_ns))

    def peek(self, slot: int) -> Quote | Down | Busy:
        """The last quote of any age, writer and venue status, for display; its `age_ns` says how old it is. Never for
        trading."""
        if self._current() is None:
            return Down(_NO_WRITER)
        raw = self.read_raw(slot)
        if raw is None:
            return Busy(TRIES) if self._quote_stamps[slot] else Down(_NO_RECORD)
        stamp, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, _, _, flags = raw
        now_ns, age_ns = self._age(slot, local_mono_ns)
        if stamp >> at.EPOCH_SHIFT != self._words[at.W_EPOCH]:
            age_ns = now_ns - local_mono_ns  # today's frames prove nothing about a former writer's quote
        sequence = stamp & at.COUNT_MASK
        return Quote(bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, sequence, flags, age_ns)

    def read_raw(self, slot: int) -> RawQuote | None:
        """The validated latest line as a plain tuple, without any judgement of age, epoch or liveness: the inner read of
        `quote`. None if there is no segment or no record, or if the writer won all TRIES races."""
        if self._segment is None and not self._attach():
            return None
        stamps, lines = self._quote_stamps, self._quote_lines
        stamp = stamps[slot]
        raw: RawQuote = _UNPACK_QUOTE(lines[stamp & 1][slot])
        if stamps[slot] != stamp or not stamp:
            for _ in range(TRIES - 1):
                stamp = stamps[slot]
                raw = _UNPACK_QUOTE(lines[stamp & 1][slot])
                if stamps[slot] == stamp:
                    return raw if stamp else None
            return None
        return raw

    def mark(self, slot: int) -> MarkPrice | Down | Busy:
        """Mark, index, open interest, volume, with their own receive time; the caller judges their age."""
        body = self._live_line(at.K_MARK, slot)
        return MarkPrice(*at.MARK.unpack_from(body)) if isinstance(body, bytes) else body

    def liquidity(self, slot: int) -> Liquidity | Down | Busy:
        body = self._live_line(at.K_LIQUIDITY, slot)
        return Liquidity(*at.LIQUIDITY.unpack_from(body)) if isinstance(body, bytes) else body

    def funding(self, slot: int, kind: FundingKind) -> tuple[FundingRate, int] | None:
        """The rate and when it was received (mono ns); None if this writer has not published one. Does not ask whether
        the venue is up: a settled rate stays true; the caller judges the age."""
        segment = self._current()
        if segment is None:
            return None
        line = at.K_ESTIMATE if kind is FundingKind.ESTIMATE else at.K_SETTLED
        stamp, body = self._read_line(segment, line, slot)
        if not stamp or stamp >> at.EPOCH_SHIFT != segment.words[at.W_EPOCH]:
            return None
        rate, interval_s, next_ts_ns, local_mono_ns, length, source = at.FUNDING.unpack_from(body)
        return FundingRate(rate, interval_s, next_ts_ns, kind, source[:length].decode()), local_mono_ns

    def instruments(self) -> dict[str, tuple[int, Instrument]]:
        """Canonical symbol -> (slot, instrument); a listed contract wins over a delisted one of the same symbol."""
        segment = self._current()
        if segment is not None:
            self._read_rows(segment)
        return self._instruments

    def rows(self) -> list[Instrument]:
        """Every row by slot, delisted ones included."""
        self.instruments()
        return self._rows

    def slot(self, symbol: str) -> int | None:
        entry = self.instruments().get(symbol)
        return entry[0] if entry else None

    def changed(self) -> Sequence[int]:
        """Slots whose quote changed since the last call, by one comparison over all stamps. The first call, and the first
        one after attaching again, report every slot that has a quote."""
        segment = self._current()
        if segment is None:
            return ()
        if self._find_changed is None:
            # numpy comes in only here: feeds and the executor never ask, and stay tens of megabytes smaller.
            vectors = importlib.import_module("bookshm.vectors")
            self._find_changed = vectors.ChangeFinder(segment.view, self._first_stamp, self._layout.capacity).changed
        return self._find_changed()

    def follow(self) -> Follower:
        """Every quote from now on, in order; from the writer's first one if there is no writer yet."""
        return Follower(self._path, self._mono_ns)

    def status(self) -> tuple[bool, str, int, int, int]:
        """(up, reason, heartbeat age in ns, epoch, pid of the writer); age -1 and zeros without a writer."""
        segment = self._current()
        if segment is None:
            return False, _NO_WRITER, -1, 0, 0
        words = segment.words
        heartbeat_ns = words[at.W_HEARTBEAT]
        now_ns = self._mono_ns()
        age_ns = now_ns - heartbeat_ns
        up = self._is_up(segment, now_ns)
        reason = segment.status_text() if up else self._why_down(now_ns)
        return up, reason, age_ns, words[at.W_EPOCH], words[at.W_WRITER_PID]

    def _age(self, slot: int, own_ns: int) -> tuple[int, int]:
        """(now, age) of a quote whose own frame came at `own_ns`. RULES 2: proven by that frame, or on channels that speak
        only on change by any market frame of the socket, as long as the symbol itself was heard of recently."""
        socket_ns = symbol_ns = 0
        if self._by_socket:
            words = self._words
            socket = words[self._socket_of_w + slot]
            if socket:
                socket_ns = words[self._sockets_w + socket - 1]
                symbol_ns = words[self._symbols_w + slot]
        now_ns = self._mono_ns()  # after the proofs: a proof newer than now would make a negative age
        if socket_ns > own_ns and now_ns - max(own_ns, symbol_ns) <= self._proof_max_age_ns:
            return now_ns, now_ns - socket_ns
        return now_ns, now_ns - own_ns

    def _why_none(self, slot: int) -> Stale | Down | Busy:
        """Why there is no line to judge; attaches again if need be."""
        segment = self._current()
        if segment is None:
            return Down(_NO_WRITER)
        now_ns = self._mono_ns()
        if not self._is_up(segment, now_ns):
            return Down(self._why_down(now_ns))
        return Busy(TRIES) if self._quote_stamps[slot] else Stale(-1)

    @staticmethod
    def _is_up(segment: Segment, now_ns: int) -> bool:
        words = segment.words
        return words[at.W_STATE] == at.UP and now_ns - words[at.W_HEARTBEAT] <= HEARTBEAT_STALE_NS

    def _live_line(self, kind: int, slot: int) -> bytes | Down | Busy:
        segment = self._current()
        if segment is None:
            return Down(_NO_WRITER)
        now_ns = self._mono_ns()
        if not self._is_up(segment, now_ns):
            return Down(self._why_down(now_ns))
        stamp, body = self._read_line(segment, kind, slot)
        if stamp < 0:
            return Busy(TRIES)
        return body if stamp >> at.EPOCH_SHIFT == segment.words[at.W_EPOCH] else Down(_NO_RECORD)

    def _read_line(self, segment: Segment, kind: int, slot: int) -> tuple[int, bytes]:
        """(stamp, copy of the line); stamp 0 = never written, -1 = no consistent copy within the bound."""
        word = self._layout.stamps_w[kind] + slot
        size = at.LINE_BYTES[kind]
        buffers = self._layout.buffers(kind, slot)
        words, view = segment.words, segment.view
        for _ in range(TRIES):
            stamp = words[word]
            start = buffers[stamp & 1]
            body = bytes(view[start : start + size])
            if words[word] == stamp:
                return stamp, body
        return -1, b""

    def _read_rows(self, segment: Segment) -> None:
        first = self._layout.stamps_w[at.K_INSTRUMENT] * at.WORD
        stamps = bytes(segment.view[first : first + segment.words[at.W_USED] * at.WORD])
        if stamps == self._rows_seen:
            return
        rows: list[Instrument] = []
        for slot in range(len(stamps) // at.WORD):
            stamp, body = self._read_line(segment, at.K_INSTRUMENT, slot)
            if stamp < 0:
                return  # busy: keep the old table, look again at the next call
            length = int.from_bytes(body[:2], "little")
            rows.append(_decoder.decode(body[2 : 2 + length]))
        for slot, (old, new) in enumerate(zip(self._rows, rows, strict=False)):
            if old.venue_symbol != new.venue_symbol:
                raise InvariantError(
                    f"{self._path}: slot {slot} was {old.venue_symbol} and is now {new.venue_symbol}; this reader outlived "
                    "its run, restart it"
                )
        table: dict[str, tuple[int, Instrument]] = {}
        for slot, row in enumerate(rows):
            if not row.delisted or row.symbol not in table:
                table[row.symbol] = (slot, row)
        self._rows, self._instruments, self._rows_seen = rows, table, stamps

    def _why_down(self, now_ns: int) -> str:
        """The reason of the moment, looking first whether a new file has taken the place of a dead one."""
        segment = self._current()
        if segment is None:
            return _NO_WRITER
        age_ns = now_ns - segment.words[at.W_HEARTBEAT]
        if segment.words[at.W_STATE] in (at.STOPPED, at.RETIRED):
            return segment.status_text() if segment.words[at.W_STATE] == at.STOPPED else "replaced by a new segment"
        if age_ns > HEARTBEAT_STALE_NS:
            return f"writer silent for {age_ns / 1e9:.1f} s"
        return segment.status_text()

    def _current(self) -> Segment | None:
        """The segment to read, attached again if it was retired or has gone silent and another file has its path."""
        segment = self._segment
        if segment is None:
            return self._segment if self._attach() else None
        words = segment.words
        if words[at.W_STATE] in (at.UP, at.DOWN) and self._mono_ns() - words[at.W_HEARTBEAT] <= HEARTBEAT_STALE_NS:
            return segment
        self._attach()
        return self._segment

    def _attach(self) -> bool:
        """Look which file has the path, two microseconds in a reader with nothing else to read; whether there is one."""
        if self._segment is not None and self._segment.is_current():
            return True
        segment = attach(self._path, at.BOOK_HASH)
        if segment is None:
            return self._segment is not None
        self._adopt(segment)
        return True

    def _adopt(self, segment: Segment) -> None:
        self._layout = layout = at.BookLayout(segment.words[at.W_CAPACITY], segment.words[at.W_RECORDS])
        self._first_stamp = layout.stamps_w[at.K_QUOTE] * at.WORD
        self._words = segment.words
        self._quote_stamps = segment.words[layout.stamps_w[at.K_QUOTE] :][: layout.capacity]
        lines = [layout.buffers(at.K_QUOTE, slot) for slot in range(layout.capacity)]
        self._quote_lines = tuple(
            [segment.view[pair[buffer] : pair[buffer] + at.QUOTE_BYTES] for pair in lines] for buffer in (0, 1)
        )
        self._socket_of_w, self._sockets_w, self._symbols_w = layout.socket_of_w, layout.sockets_w, layout.symbols_w
        self._find_changed = None
        self._rows_seen = b""
        self._segment = segment
