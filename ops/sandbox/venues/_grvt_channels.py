"""What can be subscribed on the simulated GRVT, and the chain of one subscription (docs/venues/grvt.md 3, 8)."""

from __future__ import annotations

from ops.sandbox.exchange import Exchange
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_listing import Listing, Market
from ops.sandbox.venues._grvt_rows import book_row, mini_row, ticker_row

MINI_D, MINI_S, TICKER_D, TICKER_S = "v1.mini.d", "v1.mini.s", "v1.ticker.d", "v1.ticker.s"
BOOK_D, BOOK_S, TRADE = "v1.book.d", "v1.book.s", "v1.trade"
ORDER, STATE, FILL, POSITION, CANCEL = "v1.order", "v1.state", "v1.fill", "v1.position", "v1.cancel"
PRIVATE = frozenset({ORDER, STATE, FILL, POSITION, CANCEL, "v1.deposit", "v1.transfer", "v1.withdrawal"})
CHANGES = frozenset({MINI_D, TICKER_D, BOOK_D})  # only what changed
RATES = {
    MINI_D: (0, 50, 100, 200, 500, 1000, 5000), MINI_S: (200, 500, 1000, 5000), TICKER_D: (100, 200, 500, 1000, 5000),
    TICKER_S: (500, 1000, 5000), BOOK_D: (50, 100, 500, 1000), BOOK_S: (500, 1000), TRADE: (50, 200, 500, 1000),
}  # fmt: skip
DEPTHS = (10, 50, 100, 500)
FULL_DEPTH = 25  # of the ladder that the sandbox shows
FIRST_NUMBER = 1000


class Channel:
    """One subscription of one connection: what it follows, and where its chain stands. `instrument` "" = all (private)."""

    __slots__ = ("depth", "due_ns", "instrument", "rate_ms", "selector", "sequence", "shown", "stream", "version")

    def __init__(self, stream: str, selector: str, instrument: str, rate_ms: int = 0, depth: int = 0) -> None:
        self.stream = stream
        self.selector = selector
        self.instrument = instrument
        self.rate_ms = rate_ms
        self.depth = depth
        self.sequence = FIRST_NUMBER - 1
        self.due_ns = 0
        self.version = -1  # of the market, when it was last shown
        self.shown: Row = {}

    @property
    def primary(self) -> tuple[str, str]:
        """What a second subscription of the same connection would replace."""
        return self.stream, self.selector.partition("@")[0]

    @property
    def is_complete(self) -> bool:
        """Whether every message stands alone, under number 0."""
        return self.stream in (MINI_S, TICKER_S, BOOK_S)

    def frame(self, feed: Row, snapshot: bool = False) -> Row:
        """The next message."""
        if snapshot or self.is_complete:
            return _frame(self, feed, 0, 0)
        self.sequence += 1
        return _frame(self, feed, self.sequence, self.sequence - 1)


def read(stream: object, selector: object, listing: Listing, address: str | None) -> Channel:
    """A subscription as it is asked for; `address` is the session's account, None without a session. Raises ApiError."""
    if not isinstance(stream, str) or not isinstance(selector, str):
        raise ApiError(Code.MALFORMED)
    if stream in PRIVATE:
        return _private(stream, selector, listing, address)
    primary, separator, secondary = selector.partition("@")
    if stream not in RATES or not separator:
        raise ApiError(Code.WS_SELECTOR)
    if primary not in listing.by_name:
        raise ApiError(Code.INVALID_INSTRUMENT)
    rate, _, depth = secondary.partition("-")
    if not rate.isdecimal() or int(rate) not in RATES[stream]:
        raise ApiError(Code.WS_SELECTOR)
    if stream != BOOK_S:
        return Channel(stream, selector, primary, int(rate))
    if not depth.isdecimal() or int(depth) not in DEPTHS:
        raise ApiError(Code.WS_DEPTH)
    return Channel(stream, selector, primary, int(rate), int(depth))


def content(exchange: Exchange, market: Market, channel: Channel, at_ns: int) -> Row:
    """The whole present state of a market as the channel shows it."""
    if channel.stream in (BOOK_S, BOOK_D):
        return book_row(exchange, market, min(channel.depth or FULL_DEPTH, FULL_DEPTH), at_ns)
    if channel.stream in (TICKER_S, TICKER_D):
        return ticker_row(exchange, market, at_ns)
    return mini_row(exchange, market, at_ns)


def changes(channel: Channel, whole: Row) -> Row | None:
    """What a stream of changes says of `whole` after what it has shown; None = nothing. Time and instrument always come."""
    if channel.stream == BOOK_D:
        sides = {side: _levels(channel.shown[side], whole[side]) for side in ("bids", "asks")}
        if not any(sides.values()):
            return None
        return {"event_time": whole["event_time"], "instrument": whole["instrument"], **sides}
    changed = {name: value for name, value in whole.items() if channel.shown.get(name) != value}
    changed.pop("event_time", None)
    if not changed:
        return None
    return {"event_time": whole["event_time"], "instrument": whole["instrument"]} | changed


def _private(stream: str, selector: str, listing: Listing, address: str | None) -> Channel:
    if address is None:
        raise ApiError(Code.UNAUTHENTICATED)
    account, _, instrument = selector.partition("-")
    if account != address:
        raise ApiError(Code.FORBIDDEN)
    if instrument and instrument not in listing.by_name:
        raise ApiError(Code.INVALID_INSTRUMENT)
    return Channel(stream, selector, instrument)


def _frame(channel: Channel, feed: Row, sequence: int, previous: int) -> Row:
    return {
        "stream": channel.stream, "selector": channel.selector, "sequence_number": str(sequence), "feed": feed,
        "prev_sequence_number": str(previous),
    }  # fmt: skip


def _levels(before: list[Row], after: list[Row]) -> list[Row]:
    """Changed levels; size 0 deletes."""
    old, new = ({row["price"]: row for row in rows} for rows in (before, after))
    gone = [row | {"size": "0.0", "num_orders": 0} for price, row in old.items() if price not in new]
    return [row for price, row in new.items() if old.get(price) != row] + gone
