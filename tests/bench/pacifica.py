"""Pacifica: an order signed beside ccxt, the only kept library, and beside the recipe of the venue's own examples; frames.

Two thirds of ours is libsodium's multiplication on the curve (see executor.signing._ed25519), so no path that keeps ed25519's
own nonces can be five times as fast as the bare recipe, which spends as much on its curve alone.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import base58
import ccxt
from solders.keypair import Keypair

from bookshm.run import RunDir
from core.types import Side, TimeInForce, Venue
from executor.signing.pacifica import Signer
from feeds.venues.pacifica import Decoder
from tests.bench import decode
from tests.bench.measure import Row, calls

KEY = Keypair.from_seed(bytes([2]) * 32)
SECRET = base58.b58encode(bytes(KEY)).decode()
ACCOUNT = str(Keypair.from_seed(bytes([1]) * 32).pubkey())
CLIENT_ID = "7a6d0001-0002-0000-0001-000000000103"
NOW_MS = 1_795_132_800_000
COUNT = 4000
MARKET = {
    "symbol": "BTC", "tick_size": "1", "min_tick": "0", "max_tick": "1000000", "lot_size": "0.00001", "max_leverage": 50,
    "isolated_only": False, "min_order_size": "10", "max_order_size": "5000000", "instrument_type": "perpetual",
    "base_asset": "BTC",
}  # fmt: skip
INFO = json.dumps({"success": True, "data": [MARKET]}).encode()
BBO = '{"channel":"bbo","data":{"s":"BTC","i":%d,"li":%d,"t":%d,"b":"87185","B":"1.234","a":"87186","A":"0.567"}}'


def rows() -> list[Row]:
    ours = calls(_ours(), rounds=3000)
    library = calls(_ccxt(), rounds=600)
    recipe = calls(_recipe(), rounds=1000)
    frame = _frame()
    return [
        Row(hop="Pacifica order signed, body ready", median_us=ours[0], p99_us=ours[1], goal_median_us=35.0,
            peer="ccxt, order to signed request", peer_median_us=library[0]),
        Row(hop="  the same beside the bare recipe", median_us=ours[0], p99_us=ours[1], peer="solders, json, base58",
            peer_median_us=recipe[0]),
        Row(hop="Pacifica frame to published quote", median_us=frame[0], p99_us=frame[1], goal_median_us=12.0),
    ]  # fmt: skip


def _ours() -> Any:
    signer = Signer(SECRET, account=ACCOUNT)
    return lambda: signer.order(
        "BTC", Side.BUY, "87186", "0.001", TimeInForce.IOC, False, CLIENT_ID, NOW_MS, NOW_MS + 4000
    )


def _ccxt() -> Any:
    options = {"builderFee": False, "agentAddress": str(KEY.pubkey())}
    client = ccxt.pacifica({"walletAddress": ACCOUNT, "privateKey": SECRET, "options": options})
    client.set_markets([client.parse_market(MARKET)])

    def sign() -> Any:
        more = {"timeInForce": "IOC", "clientOrderId": CLIENT_ID}
        request, _ = client.create_order_request("BTC/USDC:USDC", "limit", "buy", 0.001, 87186, more)
        return client.sign("orders/create", ["private"], "POST", request)

    return sign


def _recipe() -> Any:
    agent = str(KEY.pubkey())

    def sign() -> str:
        header = {"timestamp": NOW_MS, "expiry_window": 4000}
        payload = {"symbol": "BTC", "price": "87186", "amount": "0.001", "side": "bid", "tif": "IOC", "reduce_only": False,
                   "client_order_id": CLIENT_ID}  # fmt: skip
        whole = {**header, "type": "create_order", "data": payload}
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        signature = base58.b58encode(bytes(KEY.sign_message(text.encode()))).decode()
        return json.dumps({"account": ACCOUNT, "agent_wallet": agent, "signature": signature, **header, **payload})

    return sign


def _frame() -> tuple[float, float]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, decode.CLOCK)
    try:
        now_ms = decode.CLOCK.wire_ns() // 1_000_000
        frames = [(BBO % (i, 1000 + i, now_ms + i)).encode() for i in range(COUNT + 300)]
        return calls(decode._feed(run, Venue("pacifica"), Decoder(), [INFO], frames), rounds=COUNT)
    finally:
        run.leave()
