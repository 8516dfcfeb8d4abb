"""The shapes of GRVT's frames and answers, and their decoders (docs/venues/grvt.md 3, 4). Times are UTC ns as strings."""

from __future__ import annotations

from math import inf, nan
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.errors import Malformed

Nanos = Annotated[int, Meta(ge=0, le=4_102_444_800_000_000_000)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Hours = Annotated[int, Meta(ge=0, le=24)]

Figure = float | UnsetType
Text = str | UnsetType


class Mini(msgspec.Struct, gc=False):
    """Of a difference only what changed is there; absent is not zero."""

    event_time: Nanos
    instrument: str
    mark_price: Figure = UNSET
    index_price: Figure = UNSET
    best_bid_price: Figure = UNSET
    best_bid_size: Figure = UNSET
    best_ask_price: Figure = UNSET
    best_ask_size: Figure = UNSET


class MiniFrame(msgspec.Struct, gc=False):
    stream: str
    selector: str
    sequence_number: Count
    feed: Mini
    prev_sequence_number: Count = 0


class PoorMini(msgspec.Struct):
    """The same with empty texts, which are null: a side that does not exist."""

    event_time: Nanos
    instrument: str
    mark_price: Text = UNSET
    index_price: Text = UNSET
    best_bid_price: Text = UNSET
    best_bid_size: Text = UNSET
    best_ask_price: Text = UNSET
    best_ask_size: Text = UNSET


class PoorMiniFrame(msgspec.Struct):
    stream: str
    selector: str
    sequence_number: Count
    feed: PoorMini
    prev_sequence_number: Count = 0


class Ticker(msgspec.Struct):
    event_time: Nanos
    instrument: str
    mark_price: str = ""
    index_price: str = ""
    open_interest: str = ""  # base units
    buy_volume_24h_q: str = ""  # USDT
    sell_volume_24h_q: str = ""
    funding_rate: str = ""  # percent per interval, of the next settlement
    funding_interval_hours: Hours = 0
    next_funding_time: Nanos = 0


class TickerFrame(msgspec.Struct):
    stream: str
    selector: str
    feed: Ticker


class WireLevel(msgspec.Struct, gc=False):
    price: float
    size: float


class Book(msgspec.Struct, gc=False):
    event_time: Nanos
    instrument: str
    bids: list[WireLevel] = []
    asks: list[WireLevel] = []


class BookFrame(msgspec.Struct, gc=False):
    stream: str
    selector: str
    feed: Book


class Subscribed(msgspec.Struct):
    """What an acknowledgement says: the lists run side by side."""

    stream: str = ""
    subs: list[str] = []
    unsubs: list[str] = []
    first_sequence_number: list[Count] = []


class Refusal(msgspec.Struct):
    code: int
    message: str = ""


class Control(msgspec.Struct):
    jsonrpc: str = ""
    stream: str = ""
    method: str = ""
    result: Subscribed | None = None
    error: Refusal | None = None


class Rate(msgspec.Struct):
    instrument: str
    funding_rate: float  # percent per interval
    funding_time: Nanos
    funding_interval_hours: Hours = 0  # 0 = before the present scheme


class History(msgspec.Struct):
    result: list[Rate]


class Market(NamedTuple):
    """A market of the catalogue: canonical units in one of its units, and the most that its own cap lets a rate be (a
    fraction per interval, 0 = not told)."""

    symbol: str
    name: str
    multiplier: float
    rate_cap: float


minis = msgspec.json.Decoder(MiniFrame, strict=False)
poor_minis = msgspec.json.Decoder(PoorMiniFrame, strict=False)
tickers = msgspec.json.Decoder(TickerFrame, strict=False)
books = msgspec.json.Decoder(BookFrame, strict=False)
controls = msgspec.json.Decoder(Control, strict=False)
histories = msgspec.json.Decoder(History, strict=False)


def number(text: str, what: str) -> float:
    """A figure as a string; NaN for an empty one, which is null. Raises Malformed naming `what`."""
    if not text:
        return nan
    try:
        value = float(text)
    except ValueError:
        raise Malformed(f"grvt {what}: {text[:40]!r} is no number") from None
    if not -inf < value < inf:
        raise Malformed(f"grvt {what}: {text[:40]!r}")
    return value


def rich(frame: PoorMiniFrame) -> MiniFrame:
    """A frame with empty texts as one with numbers: no price, no size. Raises Malformed."""
    feed = frame.feed
    figures: dict[str, Figure] = {}
    for name in ("mark_price", "index_price", "best_bid_price", "best_bid_size", "best_ask_price", "best_ask_size"):
        text = getattr(feed, name)
        figures[name] = text if text is UNSET else number(text, f"{feed.instrument} {name}") if text else 0.0
    mini = Mini(feed.event_time, feed.instrument, **figures)
    return MiniFrame(frame.stream, frame.selector, frame.sequence_number, mini, frame.prev_sequence_number)


def ask(verb: str, stream: str, selectors: list[str], number: int) -> bytes:
    """`subscribe` or `unsubscribe`; the same arguments give the same bytes, so that plans can be compared."""
    params = {"stream": stream, "selectors": selectors}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": verb, "params": params, "id": number})
