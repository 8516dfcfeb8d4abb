"""The shapes of Lighter's frames and answers, and their decoders (docs/venues/lighter.md 2 to 4)."""

from __future__ import annotations

import enum
from math import nan
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from feeds.venues.base import Millis

PONG = b'{"type":"pong"}'
Micros = Annotated[int, Meta(ge=0, le=4_102_444_800_000_000)]
Seconds = Annotated[int, Meta(ge=0, le=4_102_444_800)]
Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class WireLevel(msgspec.Struct, gc=False):
    price: float
    size: float


class OneSided(msgspec.Struct, gc=False):
    """A side that does not exist comes as empty texts."""

    price: str
    size: str


class Top(msgspec.Struct, gc=False):
    s: str
    a: WireLevel
    b: WireLevel


class Ticker(msgspec.Struct, gc=False):
    channel: str
    type: str
    nonce: Number
    timestamp: Millis
    ticker: Top


class PoorTop(msgspec.Struct):
    s: str
    a: OneSided
    b: OneSided


class PoorTicker(msgspec.Struct):
    channel: str
    type: str
    nonce: Number
    timestamp: Millis
    ticker: PoorTop


class WireLevels(msgspec.Struct, gc=False):
    asks: list[WireLevel] | None
    bids: list[WireLevel] | None
    nonce: Number
    begin_nonce: Number
    last_updated_at: Micros = 0


class WireBook(msgspec.Struct, gc=False):
    channel: str
    type: str
    timestamp: Millis
    order_book: WireLevels


class Stat(msgspec.Struct, gc=False):
    market_id: int
    index_price: float
    mark_price: float
    open_interest: float = nan  # USDC notional here, base units in orderBookDetails
    daily_quote_token_volume: float = nan
    current_funding_rate: float = nan  # percent per hour, of the next payment
    funding_rate: float = nan  # percent per hour, of the last payment
    funding_timestamp: Millis = 0  # when that was made
    symbol: str = ""


class OneStat(msgspec.Struct, gc=False):
    channel: str
    type: str
    market_stats: msgspec.Raw
    timestamp: Millis = 0


class AllStats(msgspec.Struct, gc=False):
    channel: str
    type: str
    market_stats: dict[str, msgspec.Raw]
    timestamp: Millis = 0


class Envelope(msgspec.Struct):
    type: str = ""
    channel: str = ""
    error: msgspec.Raw = msgspec.Raw(b"")


class Direction(enum.Enum):
    LONG = "long"  # longs paid
    SHORT = "short"


class Payment(msgspec.Struct):
    timestamp: Seconds
    rate: float  # percent per hour, without its sign
    direction: Direction


class Estimate(msgspec.Struct):
    market_id: int
    exchange: str
    rate: float  # fraction per 8 h


class Figures(msgspec.Struct):
    code: int
    message: str = ""
    resolution: str = ""
    fundings: list[Payment] | None = None
    funding_rates: list[Estimate] | None = None


class Market(NamedTuple):
    """A market of the catalogue: canonical symbol, the venue's name and number, canonical units in one of its units."""

    symbol: str
    name: str
    number: int
    multiplier: float


tickers = msgspec.json.Decoder(Ticker, strict=False)
poor_tickers = msgspec.json.Decoder(PoorTicker)
books = msgspec.json.Decoder(WireBook, strict=False)
one_stat = msgspec.json.Decoder(OneStat)
all_stats = msgspec.json.Decoder(AllStats)
stats = msgspec.json.Decoder(Stat, strict=False)
envelopes = msgspec.json.Decoder(Envelope)
figures = msgspec.json.Decoder(Figures, strict=False)


def ask(verb: str, name: str) -> bytes:
    """A request for channel `name`, spelled with the slash of requests; answers spell it with a colon."""
    return f'{{"type":"{verb}","channel":"{name}"}}'.encode()
