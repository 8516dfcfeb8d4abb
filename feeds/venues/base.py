"""What a feed asks of a venue: the FeedDecoder protocol. A decoder knows frames; it has no socket, clock or log.

`feeds/venues/<venue>.py` exposes class `Decoder`. `decode` turns one frame into a list of events in canonical units;
everything it cannot decode raises core.errors.Malformed, which the session counts and drops.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from core.types import FundingRate, Instrument


class QuoteEvent(NamedTuple):
    """Best bid and offer; a missing side is 0. Canonical units."""

    symbol: str
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    exch_ts_ns: int


class MarkEvent(NamedTuple):
    """Canonical units; NaN = not in this frame."""

    symbol: str
    mark_px: float
    index_px: float
    open_interest: float
    volume_24h_usd: float
    exch_ts_ns: int


class FundingEvent(NamedTuple):
    symbol: str
    rate: FundingRate


class DepthEvent(NamedTuple):
    """Several levels a side, best first, ((px, qty), ...), canonical; for liquidity figures and as the symbol's proof."""

    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    exch_ts_ns: int


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


class GapEvent(NamedTuple):
    """The venue's own sequence broke: the symbol's quote is void until the resubscription answers."""

    symbol: str
    detail: str


FeedEvent = QuoteEvent | MarkEvent | FundingEvent | DepthEvent | ControlEvent | GapEvent


class RestRequest(NamedTuple):
    """One public read: `body` None = GET."""

    path: str
    body: bytes | None


class FeedDecoder(Protocol):
    """See the module text."""

    ping_interval_s: float
    """0 = the venue pings us (protocol pings are answered by the library)."""

    max_connection_s: float
    """Rotate the connection before this age; 0 = no limit."""

    def catalogue_requests(self) -> list[RestRequest]:
        """What to read, in order, for `load_catalogue`."""

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        """Instruments of the wanted canonical symbols (all when empty). Raises Malformed."""

    def ws_path(self) -> str:
        """Appended to the configured ws_url."""

    def subscriptions(self) -> list[bytes]:
        """Frames to send after connecting, in batches the venue allows, for the loaded catalogue."""

    def resubscribe(self, symbol: str) -> list[bytes]:
        """Frames that renew one symbol's channels after a gap."""

    def ping(self) -> bytes:
        """The application-level ping frame."""

    def decode(self, frame: bytes) -> list[FeedEvent]:
        """Raises Malformed."""

    def figures_requests(self) -> list[RestRequest]:
        """Periodic public reads for funding, volume and open interest not on the stream; may be empty."""

    def load_figures(self, answers: list[bytes]) -> list[FeedEvent]:
        """Raises Malformed."""
