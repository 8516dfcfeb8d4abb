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
from feeds.meters import Meters
from feeds.publisher import Publisher
from feeds.venues.aster import Decoder as AsterDecoder
from feeds.venues.hyperliquid import Decoder as HyperliquidDecoder
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
        sdk = calls(_sdk(bbo), rounds=COUNT)
    finally:
        run.leave()
    return [
        Row(hop="Hyperliquid frame to published quote", median_us=hyperliquid[0], p99_us=hyperliquid[1], goal_median_us=12.0,
            peer="SDK socket manager to callback", peer_median_us=sdk[0]),
        Row(hop="Aster frame to published quote", median_us=aster[0], p99_us=aster[1], goal_median_us=12.0),
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
    following = iter(frames)

    def one() -> object:
        return publisher.take(decoder.decode(next(following)), 0, CLOCK.mono_ns())

    return one


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
