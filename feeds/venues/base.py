"""What a feed asks of a venue: the FeedDecoder protocol. A decoder knows frames; it has no socket, clock or log.

`feeds/venues/<venue>.py` exposes class `Decoder`. A Stream of it turns one frame into a list of events in canonical
units; everything it cannot decode raises core.errors.Malformed, which the session counts and drops. Order between frames
is the publisher's business: a decoder hands on the venue's own order number and keeps nothing from frame to frame, except
what must be seen across frames to know a unit (the settlement times by which Aster's funding interval is checked) or to
know a book at all (differences and the chain they hang on). What one connection builds up belongs to that connection's
Stream and dies with it: while a stream rotates two connections speak of the same symbols, each with a chain of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated, NamedTuple, Protocol

from msgspec import Meta

from core.types import FundingRate, Instrument

Millis = Annotated[int, Meta(ge=0, le=4_102_444_800_000)]
"""A venue's UTC time in ms, before 2100: anything else is no time, and would not fit the book's nanoseconds."""


class QuoteEvent(NamedTuple):
    """Best bid and offer; a missing side is 0. Canonical units."""

    symbol: str
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    exch_ts_ns: int  # when the venue sent or matched it, UTC; 0 = not told
    sequence: int = 0  # grows with every change of this symbol's book; 0 = the venue has no order number


class MarkEvent(NamedTuple):
    """Canonical units; NaN = not in this frame."""

    symbol: str
    mark_px: float
    index_px: float
    open_interest: float
    volume_24h_usd: float
    exch_ts_ns: int  # 0 = not told


class FundingEvent(NamedTuple):
    symbol: str
    rate: FundingRate


class DepthEvent(NamedTuple):
    """Several levels a side, best first, ((px, qty), ...), canonical: liquidity figures, the symbol's proof, and its
    quote when `sequence` (same numbers as QuoteEvent's) is newer than the last quote's."""

    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    exch_ts_ns: int
    sequence: int = 0


class ControlKind(enum.Enum):
    ACK = "ack"
    PONG = "pong"
    ERROR = "error"
    CLOSING = "closing"  # the venue announces that it will drop us
    OTHER = "other"


class ControlEvent(NamedTuple):
    """Everything that is not market data; never proves a quote."""

    kind: ControlKind
    detail: str
    reply: tuple[bytes, ...] = ()  # frames that the venue's protocol makes us send back on this connection


class IndicationEvent(NamedTuple):
    """What a venue without an order book would about pay, as of `as_of_ns` (UTC). Nobody can be held to it: it is never
    executable, its age counts from its own time and not from when it was read, and it proves nothing."""

    symbol: str
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    as_of_ns: int
    exch_ts_ns: int = 0  # an answer is no later for holding an old figure


class GapEvent(NamedTuple):
    """The venue's own sequence broke: the symbol's quote is void until a newer frame, and its channels are renewed."""

    symbol: str
    detail: str


MarketEvent = QuoteEvent | MarkEvent | FundingEvent | DepthEvent | IndicationEvent
FeedEvent = MarketEvent | ControlEvent | GapEvent


class RestRequest(NamedTuple):
    """One public read: `body` None = GET. `weight` as the venue counts it against its budget per minute."""

    path: str
    body: bytes | None
    weight: int = 1
    about: str = ""  # handed on with the answer, where the answer does not say what it is about


class SocketPlan(NamedTuple):
    """What one connection carries: canonical symbols, and the frames that subscribe them, in the order to send. Where the
    venue has no socket for it, `poll` is read every `every_s` instead, and an answer is what else a frame is."""

    symbols: tuple[str, ...]
    frames: tuple[bytes, ...]
    poll: RestRequest | None = None
    every_s: float = 0.0


class Stream(Protocol):
    """The decoding of one connection. A venue whose frames stand alone lets its Decoder be the Stream of all."""

    def decode(self, frame: bytes) -> list[FeedEvent]:
        """Raises Malformed."""

    def overdue(self) -> list[bytes]:
        """A few frames that ask again for what was subscribed on this connection and never answered. Called every 10 s."""


class FeedDecoder(Protocol):
    """See the module text."""

    ping_interval_s: float
    """0 = the venue pings us (protocol pings are answered by the library)."""

    max_connection_s: float
    """Rotate the connection before this age; 0 = no limit."""

    client_burst: int
    """Frames that may be sent at once, over all connections of this process; then `client_frames_per_s`."""

    client_frames_per_s: float

    funding_on_whole_intervals: bool
    """Settlements fall on whole intervals since 1970 (UTC) and the stream does not say when the next one is."""

    def catalogue_requests(self) -> list[RestRequest]:
        """What to read, in order, for `load_catalogue`."""

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        """Instruments of the wanted canonical symbols (all when empty), delisted ones flagged. Raises Malformed, and
        then keeps the catalogue it had."""

    def ws_path(self) -> str:
        """Appended to the configured ws_url."""

    def sockets(self) -> list[SocketPlan]:
        """The loaded catalogue's live symbols over as many connections as the venue's limits ask for."""

    def resubscribe(self, symbol: str) -> list[bytes]:
        """Frames that renew one symbol's channels after a gap."""

    def ping(self) -> bytes:
        """The application-level ping frame."""

    def stream(self, plan: SocketPlan) -> Stream:
        """The decoding of a new connection that carries `plan`."""

    def seed_requests(self) -> list[RestRequest]:
        """Reads of current quotes after subscribing, where the venue sends no first quote; may be empty."""

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        """Quotes of one answer to `seed_requests`. Raises Malformed."""

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        """Periodic reads for settled funding, volume and open interest that are not on the stream, as of `calendar_ns`."""

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        """Events of one answer to `figures_requests`, whose request was `about`. Raises Malformed."""
