"""GRVT's public streams: `v1.mini.d` for quotes and marks, `v1.ticker.s` for funding and volume, `v1.book.s` for depth.

Every fact is from docs/venues/grvt.md 2 to 4; how quotes hang together is told in feeds.venues._grvt_stream. Funding comes
in percent per the market's own interval of 1, 4 or 8 h, on the stream and in the history alike: the calm "0.01" of an 8 h
market is the fraction 0.0001 and 10.95 % a year. Every read is a POST, with a body.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs import grvt as specs
from core.types import FundingKind, FundingRate, Instrument
from feeds.venues import _grvt_wire as wire
from feeds.venues._grvt_stream import HOUR_S, MINI, RATES, Connection, Order, due_ns, fraction
from feeds.venues._grvt_wire import Market
from feeds.venues.base import FundingEvent, MarketEvent, QuoteEvent, RestRequest, SocketPlan, Stream

SYMBOLS_PER_SOCKET = 50  # three streams each; the venue names no limit
SELECTORS_PER_FRAME = 50
HISTORIES_PER_ROUND = 20
HISTORY_ROWS = 3
FIRST_RENEWAL_ID = 1000  # request ids above those of any plan


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 0.0  # three streams a market never fall silent, and the venue documents no ping of its own
    max_connection_s = 23.0 * 3600  # no limit is documented; a day is what venues give
    client_burst = 10
    client_frames_per_s = 5.0
    funding_on_whole_intervals = False

    def __init__(self) -> None:
        self._markets: dict[str, Market] = {}  # by venue name, live ones only
        self._names: dict[str, str] = {}  # canonical symbol -> venue name
        self._orders: dict[str, Order] = {}  # by venue name
        self._due_ns: dict[str, int] = {}  # by venue name, the settlement after the last one that was told
        self._request_id = FIRST_RENEWAL_ID

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/full/v1/all_instruments", b'{"is_active":true}')]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        rows = [row for row in specs.listings(answers[0]) if not chosen or row.instrument.symbol in chosen]
        markets = {
            row.instrument.venue_symbol: Market(
                row.instrument.symbol, row.instrument.venue_symbol, float(row.instrument.multiplier), row.funding_cap
            )
            for row in rows
        }
        self._markets.clear()  # the streams share it
        self._markets.update(markets)
        self._names = {market.symbol: name for name, market in markets.items()}
        return [row.instrument for row in rows]

    def ws_path(self) -> str:
        return "/ws/full"

    def sockets(self) -> list[SocketPlan]:
        names = iter(self._names.items())
        plans = []
        while part := dict(islice(names, SYMBOLS_PER_SOCKET)):
            frames: list[bytes] = []
            for stream, rate in RATES.items():  # quotes first, so that they live first
                selectors = [f"{name}@{rate}" for name in part.values()]
                for first in range(0, len(selectors), SELECTORS_PER_FRAME):
                    batch = selectors[first : first + SELECTORS_PER_FRAME]
                    frames.append(wire.ask("subscribe", stream, batch, len(frames) + 1))
            plans.append(SocketPlan(tuple(part), tuple(frames)))
        return plans

    def stream(self, plan: SocketPlan) -> Stream:
        return Connection(
            self._markets, self._orders, [self._names[symbol] for symbol in plan.symbols if symbol in self._names]
        )

    def resubscribe(self, symbol: str) -> list[bytes]:
        """Only the quotes hang on a chain."""
        name = self._names.get(symbol)
        if name is None:
            return []
        self._request_id += 2
        selectors = [f"{name}@{RATES[MINI]}"]
        return [
            wire.ask("unsubscribe", MINI, selectors, self._request_id),
            wire.ask("subscribe", MINI, selectors, self._request_id + 1),
        ]

    def ping(self) -> bytes:
        return b""

    def seed_requests(self) -> list[RestRequest]:
        return []  # every subscription begins with a snapshot

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        raise Malformed("grvt: no seeds are asked for")

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        """The settled rates of the markets whose next settlement has passed, or of which none was told yet."""
        untold = (name for name in self._markets if self._due_ns.get(name, 0) <= calendar_ns)
        return [
            RestRequest(
                "/full/v1/funding",
                msgspec.json.encode({"instrument": name, "limit": HISTORY_ROWS}),
                about=self._markets[name].symbol,
            )
            for name in islice(untold, HISTORIES_PER_ROUND)
        ]

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        """The newest row of a `funding` answer. Rows of before the present scheme name no interval and say nothing."""
        try:
            rows = wire.histories.decode(answer).result
        except UNDECODABLE as error:
            raise Malformed(f"grvt funding: {error}") from error
        market = self._markets.get(self._names.get(about, ""))
        told = [row for row in rows if row.funding_interval_hours]
        if market is None or any(row.instrument != market.name for row in rows):
            raise Malformed(f"grvt funding of {about!r}: the answer is about another market")
        if not told:
            return []
        last = max(told, key=lambda row: row.funding_time)
        rate = fraction(market, last.funding_rate, "settled funding_rate")
        self._due_ns[market.name] = due_ns(last)
        interval_s = last.funding_interval_hours * HOUR_S
        settled = FundingRate(rate, interval_s, due_ns(last), FundingKind.SETTLED, "rest.funding")
        return [FundingEvent(market.symbol, settled)]
