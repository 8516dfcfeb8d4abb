"""Tick to wire of the whole supervised system on the sandbox, and the same hop through the official SDK.

Ours: processes as shipped. The time runs from a frame's arrival in the feed to both signed legs written to their sockets,
with decoding, shared memory, a sleeping strategy, the local socket, every limit, both books read again, the write-ahead
journal and two signatures between; orders come seconds apart, so every one is a first order after idling. Figures are
read from the processes' own histograms, interpolated within a bucket.

The SDK's: one leg, no limits and no journal: its socket manager parses the same kind of frame and its callback calls
`Exchange.order`, until a server on loopback has the request; back to back, so always warm.
"""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Sequence
from typing import Any

from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.websocket_manager import ActiveSubscription, WebsocketManager

from bookshm.counters import Sample, list_counters
from tests.bench.decode import BBO
from tests.bench.measure import Row, percentiles
from tests.bench.signing import KEY
from tests.e2e.system import System

PAIRS = 40
MINUTES = 4
META: Any = {"universe": [{"szDecimals": 5, "name": "BTC", "maxLeverage": 40}]}
SPOT_META: Any = {"universe": [], "tokens": []}
SDK_ORDERS = 150


def rows() -> list[Row]:
    sdk = _sdk()
    stages = _system()
    tick = stages["executor_tick_to_wire_seconds"]
    named = (
        ("  of which: frame decoded to published", "feed_decode_to_publish_seconds"),
        ("  of which: change seen to edge decided", "strategy_decide_seconds"),
        ("  of which: decision to command sent", "strategy_decide_to_sent_seconds"),
        ("  of which: decision to command taken up", "executor_decision_age_seconds"),
        ("  of which: journal, nonces, signatures, both legs written", "executor_command_to_wire_seconds"),
        ("  of which: one journal append", "executor_journal_append_seconds"),
    )
    return [
        Row(hop="tick to wire, two legs, after idling", median_us=tick[0], p99_us=tick[1], goal_median_us=300.0,
            goal_p99_us=1000.0, peer="hyperliquid-python-sdk, one leg, warm", peer_median_us=sdk[0]),
        *(Row(hop=text, median_us=stages[name][0], p99_us=stages[name][1]) for text, name in named),
        Row(hop="  peer: SDK callback to request received", median_us=sdk[0], p99_us=sdk[1]),
    ]  # fmt: skip


def _system() -> dict[str, tuple[float, float]]:
    quick = {
        "strategies.scalp": {"cooldown_s": "0.5", "take_profit_ratio": "0.01"},
        "risk": {"attempt_cooldown_s": "0.5"},
    }
    with System(quick) as system:
        system.up()
        until_ns = time.monotonic_ns() + MINUTES * 60 * 1_000_000_000
        while time.monotonic_ns() < until_ns:
            page = system.page()
            if page is not None and page.pairs_opened >= PAIRS:
                break
            time.sleep(1)
        samples = [s for page in list_counters(system.loaded.run_dir, system.clock) for s in page.samples()]
    return {s.name: quantiles([t for t in samples if t.name == s.name]) for s in samples if s.buckets}


def quantiles(samples: Sequence[Sample]) -> tuple[float, float]:
    """(median, p99) in microseconds over histograms of one name and one set of bounds; 0 where nothing was observed."""
    bounds = [bound for bound, _ in samples[0].buckets]
    counts = [sum(sample.buckets[i][1] for sample in samples) for i in range(len(bounds))]
    return _quantile(bounds, counts, 0.5), _quantile(bounds, counts, 0.99)


def _quantile(bounds: Sequence[float], cumulative: Sequence[int], share: float) -> float:
    wanted = cumulative[-1] * share
    below, low = 0, 0.0
    for bound, count in zip(bounds, cumulative, strict=True):
        if count >= wanted and count > below:
            high = low if bound == float("inf") else bound
            return (low + (high - low) * (wanted - below) / (count - below)) * 1e6
        below, low = count, bound
    return 0.0


received_ns: list[int] = []


class _Venue(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        received_ns.append(time.monotonic_ns())
        body = b'{"status":"ok","response":{"type":"order","data":{"statuses":[{"resting":{"oid":1}}]}}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


def _sdk() -> tuple[float, float]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Venue)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    exchange = Exchange(Account.from_key(KEY), f"http://127.0.0.1:{server.server_port}", META, spot_meta=SPOT_META)
    manager = WebsocketManager("http://127.0.0.1:9")
    manager.ws_ready = True

    def on_quote(message: Any) -> None:
        exchange.order("BTC", True, 0.001, float(message["data"]["bbo"][1]["px"]), {"limit": {"tif": "Ioc"}})

    manager.active_subscriptions["bbo:btc"].append(ActiveSubscription(on_quote, 1))
    latencies = []
    for i in range(SDK_ORDERS):
        began_ns = time.monotonic_ns()
        manager.on_message(None, BBO % (1_795_000_000_000 + i))
        latencies.append(received_ns[-1] - began_ns)
    server.shutdown()
    server.server_close()
    exchange.session.close()
    return percentiles(latencies[20:])
