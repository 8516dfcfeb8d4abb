"""From a frame in memory to a published quote, beside what the official SDK's socket manager does with the same frame."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperliquid.websocket_manager import ActiveSubscription, WebsocketManager

from bookshm.book import BookWriter
from bookshm.counters import CountersWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from core.log import Log
from core.settings import FeedsConfig
from core.types import Venue
from feeds.meters import Meters
from feeds.publisher import Publisher
from feeds.venues.aster import Decoder as AsterDecoder
from feeds.venues.hyperliquid import Decoder as HyperliquidDecoder
from feeds.venues.lighter import Decoder as LighterDecoder
from tests.bench.measure import Row, calls
from tests.strategies.market import AS, HL

CLOCK = SystemClock()
META = json.dumps(
    {"universe": [{"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 56}], "marginTables": []}
)
EXCHANGE_INFO = json.dumps(
    {
        "symbols": [
            {
                "symbol": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
                "marginAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.1"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                    {"filterType": "MIN_NOTIONAL", "notional": "5"},
                ],
            }
        ]
    }
)  # fmt: skip
INTERVALS = json.dumps([{"symbol": "BTCUSDT", "fundingIntervalHours": 8}])
BBO = (
    '{"channel":"bbo","data":{"coin":"BTC","time":%d,"bbo":[{"px":"83757.0","sz":"22.61305","n":81},'
    '{"px":"83758.0","sz":"0.00016","n":1}]}}'
)
TICKER = '{"e":"bookTicker","u":%d,"E":%d,"T":%d,"s":"BTCUSDT","b":"83757.1","B":"31.210","a":"83757.2","A":"40.660"}'
MARKETS = json.dumps(
    {
        "code": 200,
        "order_book_details": [
            {
                "symbol": "BTC", "market_id": 1, "market_type": "perp", "status": "active", "min_base_amount": "0.00020",
                "min_quote_amount": "10.000000", "supported_size_decimals": 5, "supported_price_decimals": 1,
            }
        ],
    }
)  # fmt: skip
TOP = (
    '{"channel":"ticker:1","last_updated_at":%d000,"nonce":%d,"ticker":{"s":"BTC","a":{"price":"83757.2","size":"0.00020"},'
    '"b":{"price":"83757.1","size":"2.49220"},"last_updated_at":%d000},"timestamp":%d,"type":"update/ticker"}'
)
CHANGE = (
    '{"channel":"order_book:1","last_updated_at":%d000,"offset":%d,"order_book":{"code":0,"asks":[{"price":"83757.4","size":'
    '"%d.80000"},{"price":"83760.0","size":"0.00000"}],"bids":[{"price":"83755.1","size":"0.0"},{"price":"83754.2","size":'
    '"2.20000"}],"offset":%d,"nonce":%d,"last_updated_at":%d000,"begin_nonce":%d},"timestamp":%d,"type":"update/order_book"}'
)
LT, LT_BOOKS = Venue("lighter"), Venue("lighter-books")
LEVELS = 1500
COUNT = 4000


def rows() -> list[Row]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, CLOCK)
    try:
        now_ms = CLOCK.wire_ns() // 1_000_000
        bbo = [(BBO % (now_ms + i)).encode() for i in range(COUNT + 300)]
        tickers = [(TICKER % (1000 + i, now_ms + i, now_ms + i)).encode() for i in range(COUNT + 300)]
        hyperliquid = calls(_feed(run, HL, HyperliquidDecoder(), [META.encode()], bbo), rounds=COUNT)
        aster = calls(
            _feed(run, AS, AsterDecoder(), [EXCHANGE_INFO.encode(), INTERVALS.encode()], tickers), rounds=COUNT
        )
        tops = [(TOP % (now_ms + i, 1000 + i, now_ms + i, now_ms + i)).encode() for i in range(COUNT + 300)]
        lighter = calls(_feed(run, LT, LighterDecoder(), [MARKETS.encode()], tops), rounds=COUNT)
        books = calls(_feed(run, LT_BOOKS, LighterDecoder(), [MARKETS.encode()], _books(now_ms)), rounds=COUNT)
        sdk = calls(_sdk(bbo), rounds=COUNT)
    finally:
        run.leave()
    return [
        Row(hop="Hyperliquid frame to published quote", median_us=hyperliquid[0], p99_us=hyperliquid[1], goal_median_us=12.0,
            peer="SDK socket manager to callback", peer_median_us=sdk[0]),
        Row(hop="Aster frame to published quote", median_us=aster[0], p99_us=aster[1], goal_median_us=12.0),
        Row(hop="Lighter ticker to published quote", median_us=lighter[0], p99_us=lighter[1], goal_median_us=12.0),
        Row(hop="Lighter book change to published top", median_us=books[0], p99_us=books[1], goal_median_us=12.0),
    ]  # fmt: skip


def _feed(run: RunDir, venue: Any, decoder: Any, catalogue: list[bytes], frames: list[bytes]) -> Callable[[], object]:
    book = BookWriter(run, venue, CLOCK, 64, 4096)
    page = CountersWriter(run, f"feed-{venue}", CLOCK, 128)
    publisher = Publisher(
        book, FeedsConfig(symbols=()), CLOCK, Meters(page, venue), Log("bench", CLOCK, write=lambda text: None),
        lambda ring: ring(), True,
    )  # fmt: skip
    publisher.install(decoder.load_catalogue(catalogue, []))
    publisher.assign(0, ["BTC"])
    stream = decoder.stream(decoder.sockets()[0])
    following = iter(frames)

    def one() -> object:
        return publisher.take(stream.decode(next(following)), 0, CLOCK.mono_ns())

    return one


def _books(now_ms: int) -> list[bytes]:
    """A deep snapshot and one change of four levels after the other."""
    sides = {
        name: [{"price": f"{px + sign * step / 10:.1f}", "size": "0.5"} for step in range(LEVELS)]
        for name, px, sign in (("bids", 83757.1, -1), ("asks", 83757.2, 1))
    }
    whole = {
        "channel": "order_book:1", "order_book": {**sides, "nonce": 999, "begin_nonce": 0}, "timestamp": now_ms,
        "type": "subscribed/order_book",
    }  # fmt: skip
    changes = [
        (CHANGE % (now_ms + i, i, 1 + i % 9, i, 1000 + i, now_ms + i, 999 + i, now_ms + i)).encode()
        for i in range(COUNT + 300)
    ]
    return [json.dumps(whole, separators=(",", ":")).encode(), *changes]


def _sdk(frames: list[bytes]) -> Callable[[], object]:
    manager = WebsocketManager("http://127.0.0.1:9")
    manager.ws_ready = True
    seen: list[object] = []
    manager.active_subscriptions["bbo:btc"].append(_subscription(seen))
    following = iter([frame.decode() for frame in frames])

    def one() -> object:
        return manager.on_message(None, next(following))

    one()
    if not seen:
        raise RuntimeError("the SDK did not deliver the frame: the comparison would be void")
    return one


def _subscription(seen: list[object]) -> Any:
    return ActiveSubscription(seen.append, 1)
