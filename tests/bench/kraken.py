"""Kraken: an order for the socket, and one signed for REST, beside python-kraken-sdk up to its socket; frames."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any

from kraken.spot import SpotWSClient, Trade

from bookshm.run import RunDir
from core.types import Venue
from executor.signing import kraken as signing
from feeds.venues._kraken_book import ChecksummedBook, units
from feeds.venues.kraken import Decoder
from tests.bench import decode
from tests.bench.measure import Row, calls

SECRET = base64.b64encode(bytes(range(64))).decode()
CLIENT_ID = "7a6d" + "0" * 28
TOKEN = "0123456789abcdefghijABCDEFGHIJ0123456789abc"
DEADLINE = "2026-11-20T09:00:05.000Z"
PATH = "/0/private/AddOrder"
NONCE = 1_795_132_800_000_000_001
COUNT = 4000
CATALOGUE = json.dumps(
    {
        "error": [],
        "result": {
            "XXBTZUSD": {
                "altname": "XBTUSD", "wsname": "XBT/USD", "aclass_base": "currency", "pair_decimals": 1, "lot_decimals": 8,
                "ordermin": "0.00005", "costmin": "0.5", "tick_size": "0.1",
            }
        },
    }
).encode()  # fmt: skip
TICKER = (
    '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":83757.1,"bid_qty":2.5,"ask":83757.2,"ask_qty":3.2,'
    '"last":83757.1,"volume":163.28908096,"vwap":83704.39279,"low":82711.0,"high":84613.1,"change":250.0,"change_pct":0.24,'
    '"timestamp":"2026-11-20T09:30:59.%06dZ"}]}'
)
BOOK = (
    '{"channel":"book","type":"%s","data":[{"symbol":"BTC/USD","bids":%s,"asks":%s,"checksum":%d,'
    '"timestamp":"2026-11-20T09:30:59.%06dZ"}]}'
)


def rows() -> list[Row]:
    socket, rest = calls(_socket(), rounds=3000), calls(_rest(), rounds=3000)
    sdk_socket, sdk_rest = calls(_sdk_socket(), rounds=1000), calls(_sdk_rest(), rounds=1000)
    ticker = _published([(TICKER % (i % 1_000_000)).encode() for i in range(COUNT + 300)])
    book = _published(_books())
    return [
        Row(hop="Kraken order for the socket, ready", median_us=socket[0], p99_us=socket[1], goal_median_us=10.0,
            peer="python-kraken-sdk, to its socket", peer_median_us=sdk_socket[0]),
        Row(hop="Kraken order signed for REST, body and headers ready", median_us=rest[0], p99_us=rest[1], goal_median_us=10.0,
            peer="python-kraken-sdk, to its session", peer_median_us=sdk_rest[0]),
        Row(hop="Kraken ticker to published quote", median_us=ticker[0], p99_us=ticker[1], goal_median_us=12.0),
        Row(hop="Kraken book change, summed, to published top", median_us=book[0], p99_us=book[1], goal_median_us=20.0),
    ]  # fmt: skip


def _socket() -> Any:
    def ready() -> bytes:
        return signing.add_order(
            symbol="BTC/USD", is_buy=True, qty="0.01", px="60000.1", time_in_force="ioc", client_id=CLIENT_ID, token=TOKEN,
            req_id=7, fee_in_quote=True, deadline=DEADLINE,
        )  # fmt: skip

    return ready


def _rest() -> Any:
    signer = signing.Signer("key", SECRET)
    params = [
        ("pair", "BTC/USD"), ("type", "buy"), ("ordertype", "limit"), ("price", "60000.1"), ("volume", "0.01"),
        ("timeinforce", "IOC"), ("oflags", "fciq"), ("deadline", DEADLINE), ("cl_ord_id", CLIENT_ID),
    ]  # fmt: skip

    def ready() -> Any:
        body = signing.form(NONCE, params)
        return body, signer.headers(PATH, NONCE, body)

    return ready


def _sdk_socket() -> Any:
    """Everything that its send_message does before the bytes are its socket's."""
    written: list[Any] = []

    class Socket:
        async def send(self, text: str) -> None:
            written.append(text)

    async def built() -> SpotWSClient:
        return SpotWSClient(key="key", secret=SECRET, no_public=True)

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(built())
    loop.run_until_complete(client.close())
    loop.close()

    class Connection:
        def __init__(self) -> None:
            self.ws_conn_details = {"token": TOKEN}
            self.socket = Socket()

    client._priv_conn = Connection()
    params = {
        "order_type": "limit", "side": "buy", "symbol": "BTC/USD", "order_qty": 0.01, "limit_price": 60000.1,
        "time_in_force": "ioc", "cl_ord_id": CLIENT_ID, "fee_preference": "quote", "deadline": DEADLINE,
    }  # fmt: skip

    def ready() -> Any:
        try:
            client.send_message({"method": "add_order", "params": dict(params), "req_id": 7}).send(None)
        except StopIteration:
            return written.pop()
        raise RuntimeError("the SDK waits for something: the comparison would be void")

    return ready


def _sdk_rest() -> Any:
    """Everything that its create_order does before the request is its session's."""
    trade = Trade(key="key", secret=SECRET)

    class Told:
        status_code = 200

        def __init__(self) -> None:
            self.headers = {"Content-Type": "application/json"}

        def json(self) -> Any:
            return {"error": [], "result": {}}

    class Session:
        def request(self, **call: Any) -> Any:
            return Told()

    trade._SpotClient__session = Session()

    def ready() -> Any:
        return trade.create_order(
            ordertype="limit", side="buy", pair="BTC/USD", volume="0.01", price="60000.1", timeinforce="IOC", oflags=["fciq"],
            deadline=DEADLINE, cl_ord_id=CLIENT_ID,
        )  # fmt: skip

    return ready


def _books() -> list[bytes]:
    """A snapshot of ten levels a side, then one level changed on each side, with the sums that belong to them."""
    book = ChecksummedBook(10, 1, 8)
    frames = []
    for number in range(COUNT + 301):
        sides = {}
        for name, side, px, sign in (("bids", book.bids, 83757.1, -1), ("asks", book.asks, 83757.2, 1)):
            steps = range(10) if not number else [number % 10]
            levels = [(f"{px + sign * step / 10:.1f}", f"{0.5 + (number % 97) / 1000:.8f}") for step in steps]
            side.apply([(units(Decimal(px), 1), units(Decimal(qty), 8)) for px, qty in levels])
            sides[name] = "[" + ",".join(f'{{"price":{px},"qty":{qty}}}' for px, qty in levels) + "]"
        kind = "update" if number else "snapshot"
        frames.append((BOOK % (kind, sides["bids"], sides["asks"], book.checksum, number)).encode())
    return frames


def _published(frames: list[bytes]) -> tuple[float, float]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, decode.CLOCK)
    try:
        return calls(decode._feed(run, Venue("kraken"), Decoder(), [CATALOGUE], frames), rounds=COUNT)
    finally:
        run.leave()
