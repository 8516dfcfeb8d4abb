"""What the bytes of every segment are; no algorithm lives here, and no algorithm holds an offset of its own.

    segment   0 ┌ header page ────────────────────────────────────────────────────────────────────────────────┐
                │ words (u64)   0 magic       1 format     2 layout     3 state      4 epoch     5 writer pid │
                │               6 heartbeat   7 size       8 capacity   9 records   10 used     11 cursor     │
                │              12 status stamp                                                                │
                │ 1024, 1280    two buffers of the status text: u16 length, UTF-8                             │
                │ 2048          name of the writer: u16 length, UTF-8                                         │
           4096 ├ body ───────────────────────────────────────────────────────────────────────────────────────┤

    book        stamps   quote[cap] mark[cap] estimate[cap] settled[cap] liquidity[cap] instrument[cap]   u64 each
                proofs   socket[64]  socket_of[cap]  symbol[cap]                                          u64 each
                lines    for each kind in the same order: cap x (buffer 0, buffer 1)
                ring     stamp[records] u64, then records x 64 bytes: copies of the quote lines

    decisions   ring     stamp[records] u64, then records x 1024 bytes
    account     page 0, page 1: u64 length, MessagePack
    counters    cells[16 x cap] f64, then cap x 512 bytes of series descriptions

Words 0 to 5 and the header's size never move, in any version: a writer of another version must be able to mark an old
segment RETIRED. Every word is aligned and stored by item assignment on `memoryview.cast("Q")` only; `struct.pack_into`
zeroes its destination first and would show readers a stamp that never was.

The struct formats below are the definition. They, the header and the fields of the structs that are stored encoded go
into one hash per kind of segment; two programs that disagree about a single field refuse each other's segment.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec

from core.account import AccountSnapshot
from core.decisions import MAX_DECISION_BYTES, Decision
from core.errors import invariant
from core.types import Instrument

MAGIC: Final = int.from_bytes(b"TANDEMSH", "little")
FORMAT_VERSION: Final = 1
WORD: Final = 8
HEADER_BYTES: Final = 4096

W_MAGIC: Final = 0
W_FORMAT: Final = 1
W_LAYOUT: Final = 2
W_STATE: Final = 3
W_EPOCH: Final = 4
W_WRITER_PID: Final = 5
W_HEARTBEAT: Final = 6
W_SIZE: Final = 7
W_CAPACITY: Final = 8
W_RECORDS: Final = 9
W_USED: Final = 10
W_CURSOR: Final = 11
W_STATUS_STAMP: Final = 12

STATUS_OFFSET: Final = 1024
STATUS_BYTES: Final = 256
NAME_OFFSET: Final = 2048
NAME_BYTES: Final = 256

# Segment states. Everything but UP sends a reader to its slow path, so one comparison covers them all.
UP: Final = 1
DOWN: Final = 2
STOPPED: Final = 3
RETIRED: Final = 4

# A stamp is epoch << 40 | count: 2**40 publishes of one line are 34 years at 1,000 a second, and the count's parity
# (which buffer) survives in the stamp's lowest bit.
EPOCH_SHIFT: Final = 40
COUNT_MASK: Final = (1 << EPOCH_SHIFT) - 1

QUOTE: Final = struct.Struct("@Q4d2qIHH")  # stamp bid bid_qty ask ask_qty exch_ts_ns local_mono_ns delta_ns slot flags
MARK: Final = struct.Struct("@4d2q")  # mark index open_interest volume_24h_usd exch_ts_ns local_mono_ns
FUNDING: Final = struct.Struct("@d3qH86s")  # rate interval_s next_funding_ts_ns local_mono_ns, source: length, text
LIQUIDITY: Final = struct.Struct("@3dq")  # size_usd buy_px sell_px local_mono_ns
INSTRUMENT: Final = struct.Struct("@H502s")  # length, MessagePack of core.types.Instrument

QUOTE_BYTES: Final = 64
MARK_BYTES: Final = 64
FUNDING_BYTES: Final = 128
LIQUIDITY_BYTES: Final = 32
INSTRUMENT_BYTES: Final = 512

# Kinds of lines, as indices into BookLayout.stamps and .lines.
K_QUOTE: Final = 0
K_MARK: Final = 1
K_ESTIMATE: Final = 2
K_SETTLED: Final = 3
K_LIQUIDITY: Final = 4
K_INSTRUMENT: Final = 5
LINE_BYTES: Final = (QUOTE_BYTES, MARK_BYTES, FUNDING_BYTES, FUNDING_BYTES, LIQUIDITY_BYTES, INSTRUMENT_BYTES)

SOCKETS: Final = 64
MAX_DELTA_NS: Final = (1 << 32) - 1

DECISION_BYTES: Final = 1024
DECISION_PREFIX: Final = struct.Struct("@H")

CELLS_PER_SERIES: Final = 16
SERIES_BYTES: Final = 512
SERIES_PREFIX: Final = struct.Struct("@IHH")  # first cell, cells, length of the JSON that follows


class RingLayout:
    """Where a ring stands that begins at byte `start`: its stamps, then its records."""

    __slots__ = ("end", "record_bytes", "records", "records_at", "stamps_w")

    def __init__(self, start: int, record_bytes: int, records: int) -> None:
        self.record_bytes = record_bytes
        self.records = records
        self.stamps_w = start // WORD
        self.records_at = _align(start + records * WORD)
        self.end = self.records_at + records * record_bytes


class BookLayout:
    """Where everything of a book stands, for `capacity` slots and `records` ring records. Offsets in bytes, `_w` in words."""

    __slots__ = ("capacity", "lines", "ring", "size", "socket_of_w", "sockets_w", "stamps_w", "symbols_w")

    def __init__(self, capacity: int, records: int) -> None:
        self.capacity = capacity
        word = HEADER_BYTES // WORD
        self.stamps_w = tuple(word + kind * capacity for kind in range(len(LINE_BYTES)))
        self.sockets_w = word + len(LINE_BYTES) * capacity
        self.socket_of_w = self.sockets_w + SOCKETS
        self.symbols_w = self.socket_of_w + capacity
        offset = _align((self.symbols_w + capacity) * WORD)
        lines: list[int] = []
        for size in LINE_BYTES:
            lines.append(offset)
            offset += capacity * 2 * size
        self.lines = tuple(lines)
        self.ring = RingLayout(_align(offset), QUOTE_BYTES, records)
        self.size = _align(self.ring.end, 4096)

    def buffers(self, kind: int, slot: int) -> tuple[int, int]:
        """Where the two buffers of one line begin; a stamp's lowest bit says which one it means."""
        first = self.lines[kind] + 2 * slot * LINE_BYTES[kind]
        return first, first + LINE_BYTES[kind]


class DecisionLayout:
    """A ring of encoded decisions."""

    __slots__ = ("ring", "size")

    def __init__(self, records: int) -> None:
        self.ring = RingLayout(HEADER_BYTES, DECISION_BYTES, records)
        self.size = _align(self.ring.end, 4096)


class AccountLayout:
    """Two pages of `kib` KiB each; a page begins with its length as a word."""

    __slots__ = ("page_bytes", "pages", "size")

    def __init__(self, kib: int) -> None:
        self.page_bytes = kib * 1024
        self.pages = (HEADER_BYTES, HEADER_BYTES + self.page_bytes)
        self.size = _align(HEADER_BYTES + 2 * self.page_bytes, 4096)


class CountersLayout:
    """`capacity` series descriptions over 16 x `capacity` cells."""

    __slots__ = ("capacity", "cells", "cells_total", "series", "size")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.cells = HEADER_BYTES
        self.cells_total = capacity * CELLS_PER_SERIES
        self.series = self.cells + self.cells_total * WORD
        self.size = _align(self.series + capacity * SERIES_BYTES, 4096)


def _align(offset: int, to: int = 64) -> int:
    return (offset + to - 1) // to * to


def _fields(kind: type[msgspec.Struct]) -> str:
    return ",".join(f"{field.encode_name}:{field.type!r}" for field in msgspec.structs.fields(kind))


def _hash(*parts: object) -> int:
    text = "|".join(str(part) for part in (FORMAT_VERSION, HEADER_BYTES, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


BOOK_HASH: Final = _hash(
    "book",
    *(s.format for s in (QUOTE, MARK, FUNDING, LIQUIDITY, INSTRUMENT)),
    LINE_BYTES,
    SOCKETS,
    _fields(Instrument),
)
DECISIONS_HASH: Final = _hash("decisions", DECISION_BYTES, DECISION_PREFIX.format, _fields(Decision))
ACCOUNT_HASH: Final = _hash("account", "length word, msgpack", _fields(AccountSnapshot))
COUNTERS_HASH: Final = _hash("counters", CELLS_PER_SERIES, SERIES_BYTES, SERIES_PREFIX.format)

# What the map above claims, checked when it is loaded: one condition each.
for _claim, _holds in {
    "a quote line is 64 bytes": QUOTE.size == QUOTE_BYTES,
    "a mark fits its line": MARK.size <= MARK_BYTES,
    "a funding line is 128 bytes at most": FUNDING.size <= FUNDING_BYTES,
    "liquidity fits its line": LIQUIDITY.size <= LIQUIDITY_BYTES,
    "an instrument fits its row": INSTRUMENT.size <= INSTRUMENT_BYTES,
    "a decision fits its record": DECISION_PREFIX.size + MAX_DECISION_BYTES <= DECISION_BYTES,
    "the status buffers end before the name": STATUS_OFFSET + 2 * STATUS_BYTES <= NAME_OFFSET,
    "lines keep words aligned": all(size % WORD == 0 for size in LINE_BYTES),
}.items():
    invariant(_holds, f"bookshm/layout.py contradicts itself: {_claim} is false")
