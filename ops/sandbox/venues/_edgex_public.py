"""Public reads, and the rows that public channels share with them (docs/venues/edgex.md 2 to 5)."""

from __future__ import annotations

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import FundingPoint, Level, Trade
from ops.sandbox.venues import _edgex_rows as rows
from ops.sandbox.venues._edgex_call import Call, paged
from ops.sandbox.venues._edgex_errors import ApiError, Word
from ops.sandbox.venues._edgex_listing import BAND, INTERVAL_H, Listing, metadata
from ops.sandbox.venues._edgex_rows import Row

DEPTHS = (15, 200)
DAY_MS = 24 * 3600 * 1000
INTERVAL_NS = INTERVAL_H * 3600 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S
PAGE_MAX = 100
HISTORY_NS = 30 * 24 * 3600 * NS_PER_S


class Public:
    def __init__(self, exchange: Exchange, clock: Clock, listed: dict[str, Listing]) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listed = listed

    # -- endpoints --------------------------------------------------------------------------------------------------

    def metadata(self, call: Call) -> Row:
        return self.all_metadata()

    def server_time(self, call: Call) -> Row:
        return {"timeMillis": str(self._clock.wire_ns() // NS_PER_MS)}

    def ticker(self, call: Call) -> list[Row]:
        """An array of one; without contractId an empty one; no best prices here."""
        if not call.optional("contractId"):
            return []
        row = self.ticker_row(self.listing(call.text("contractId")))
        return [{key: value for key, value in row.items() if key not in ("bestAskPrice", "bestBidPrice")}]

    def depth(self, call: Call) -> list[Row]:
        listing, level = self.listing(call.text("contractId")), call.whole("level", 15)
        if level not in DEPTHS:
            raise ApiError(Word.INVALID_DEPTH_LEVEL, level=str(level))
        bids, asks = self._exchange.levels(listing.name, level)
        version = self._clock.wire_ns() // NS_PER_MS
        return [depth_row(listing, level, version, version, pairs(bids), pairs(asks), "SNAPSHOT")]

    def market_status(self, call: Call) -> list[Row]:
        wanted = [self.listing(call.text("contractId"))] if call.optional("contractId") else list(self._listed.values())
        found = []
        for listing in wanted:
            mark = self._exchange.mark(listing.name)
            tick = listing.contract.tick
            low, high = mark * (1 - BAND) // tick * tick, mark * (1 + BAND) // tick * tick
            found.append(
                {"status": "NORMAL", "force": False, "contractId": listing.contract_id, "markPrice": plain(mark),
                 "limitLowPrice": plain(low), "limitHighPrice": plain(high)}
            )  # fmt: skip
        return found

    def latest_rate(self, call: Call) -> list[Row]:
        return [self.rate_row(self.listing(each)) for each in call.texts("contractId")]

    def rate_page(self, call: Call) -> Row:
        """Settlement rows, newest first; minute rows are not kept here and the filter must be set."""
        listing = self.listing(call.text("contractId"))
        if call.optional("filterSettlementFundingRate") != "true":
            raise ApiError(Word.PARAM_INVALID, name="filterSettlementFundingRate")
        now_ns = self._clock.calendar_ns()
        begin_ns = call.whole("filterBeginTimeInclusive", 0) * NS_PER_MS or now_ns - HISTORY_NS
        end_ns = call.whole("filterEndTimeExclusive", 0) * NS_PER_MS or now_ns + 1
        px = self._exchange.oracle(listing.name)
        points = self._exchange.funding_history(listing.name, begin_ns + INTERVAL_NS, min(end_ns, now_ns) + INTERVAL_NS)
        found = [rows.rate_row(listing, p.rate, p.time_ns, px, p.time_ns - INTERVAL_NS) for p in points]
        found.append(self._fixed_row(listing, now_ns))
        kept = [row for row in found if begin_ns <= _time_ns(row) < end_ns]
        given, offset = paged(call, kept[::-1], lambda row: _time_ns(row) // NS_PER_MS, PAGE_MAX)
        return {"dataList": given, "nextPageOffsetData": offset}

    # -- rows -------------------------------------------------------------------------------------------------------

    def all_metadata(self) -> Row:
        return metadata(tuple(self._listed.values()))

    def ticker_row(self, listing: Listing) -> Row:
        stats, top = self._exchange.stats(listing.name), self._exchange.top(listing.name)
        point = self._exchange.funding_estimate(listing.name)
        mark, oracle = plain(self._exchange.mark(listing.name)), plain(self._exchange.oracle(listing.name))
        end_ms = self._clock.wire_ns() // NS_PER_MS // 60_000 * 60_000
        return {
            "contractId": listing.contract_id,
            "contractName": listing.name,
            "priceChange": plain(stats.last_px - stats.open_px),
            "priceChangePercent": f"{(stats.last_px - stats.open_px) / stats.open_px:.6f}",
            "trades": str(stats.trades),
            "size": plain(stats.volume_base),
            "value": plain(stats.volume_usd),
            "high": plain(stats.high_px),
            "low": plain(stats.low_px),
            "open": plain(stats.open_px),
            "startTime": str(end_ms - DAY_MS),
            "endTime": str(end_ms),
            "lastPrice": plain(stats.last_px),
            "indexPrice": oracle,
            "oraclePrice": oracle,
            "markPrice": mark,
            "openInterest": plain(stats.open_interest),
            "fundingRate": f"{point.rate:.8f}",
            "fundingTime": str((point.time_ns - INTERVAL_NS) // NS_PER_MS),
            "nextFundingTime": str(point.time_ns // NS_PER_MS),
            "bestAskPrice": plain(top.ask.px) if top.ask else "0",
            "bestBidPrice": plain(top.bid.px) if top.bid else "0",
            "marketOpen": True,
        }

    def book_ticker_row(self, listing: Listing) -> Row:
        top = self._exchange.top(listing.name)
        return {
            "contractId": listing.contract_id,
            "contractName": listing.name,
            "time": str(self._clock.wire_ns() // NS_PER_MS),
            "bestAskPrice": plain(top.ask.px) if top.ask else "0",
            "bestAskSize": plain(top.ask.qty) if top.ask else "0",
            "bestBidPrice": plain(top.bid.px) if top.bid else "0",
            "bestBidSize": plain(top.bid.qty) if top.bid else "0",
        }

    def rate_row(self, listing: Listing) -> Row:
        """The record of the present minute."""
        point = self._exchange.funding_estimate(listing.name)
        at_ns = max(self._clock.calendar_ns() // MINUTE_NS * MINUTE_NS, point.time_ns - INTERVAL_NS + MINUTE_NS)
        return self._rate_row(listing, point, at_ns)

    def trade_row(self, trade: Trade, listing: Listing) -> Row:
        return {
            "ticketId": str(trade.trade_id),
            "time": str(trade.time_ns // NS_PER_MS),
            "price": plain(trade.px),
            "size": plain(trade.qty),
            "value": plain(trade.px * trade.qty),
            "takerOrderId": str(trade.trade_id),
            "makerOrderId": str(trade.trade_id),
            "takerAccountId": "0",
            "makerAccountId": "0",
            "contractId": listing.contract_id,
            "isBestMatch": True,
            "isBuyerMaker": trade.side.sign < 0,
        }

    def listing(self, contract_id: str) -> Listing:
        listing = self._listed.get(contract_id)
        if listing is None:
            raise ApiError(Word.PARAM_INVALID, contractId=contract_id)
        return listing

    def _fixed_row(self, listing: Listing, now_ns: int) -> Row:
        """The settlement row of the block that runs: its rate is announced, and paid at the block's end."""
        point = self._exchange.funding_estimate(listing.name)
        return self._rate_row(listing, point, point.time_ns - INTERVAL_NS)

    def _rate_row(self, listing: Listing, point: FundingPoint, at_ns: int) -> Row:
        return rows.rate_row(listing, point.rate, point.time_ns, self._exchange.oracle(listing.name), at_ns)


def depth_row(
    listing: Listing,
    level: int,
    start: int,
    end: int,
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]],
    kind: str,
) -> Row:
    return {
        "startVersion": str(start),
        "endVersion": str(end),
        "level": level,
        "contractId": listing.contract_id,
        "contractName": listing.name,
        "asks": [{"price": px, "size": qty} for px, qty in asks],
        "bids": [{"price": px, "size": qty} for px, qty in bids],
        "depthType": kind,
    }


def pairs(levels: list[Level]) -> list[tuple[str, str]]:
    return [(plain(level.px), plain(level.qty)) for level in levels]


def _time_ns(row: Row) -> int:
    return int(str(row["fundingTime"])) * NS_PER_MS
