"""EdgeX: an order signed, body and headers ready, beside the official SDK up to its socket; frames."""

from __future__ import annotations

import json
import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any

from edgex_sdk.internal.async_client import AsyncClient
from edgex_sdk.internal.auth import build_hmac_headers, get_value
from edgex_sdk.order.client import Client
from edgex_sdk.order.types import CreateOrderParams

from bookshm.run import RunDir
from core.specs import edgex as specs
from core.types import Venue
from executor.signing.edgex import OrderTicket, Signer
from feeds.venues.edgex import Decoder
from tests.bench import decode
from tests.bench.measure import Row, calls

KEY = "0x" + "01" * 32
ACCOUNT, API_KEY, PASSPHRASE, SECRET = "548231234567890123", "11111111-2222-3333-4444-555555555555", "phrase", "secret"
CLIENT_ID = "7a6d" + "0" * 28
NOW_MS = 1_795_132_800_000
PATH = "/api/v2/private/order/createOrder"
COUNT = 4000
CONTRACT = {
    "contractId": "30000001", "contractName": "BTCUSDC", "quoteCoinId": "1000", "tickSize": "0.1", "stepSize": "0.001",
    "minOrderSize": "0.001", "maxOrderSize": "100", "enableTrade": True, "enableOpenPosition": True,
    "riskTierList": [{"tier": 1, "maxLeverage": "100", "maintenanceMarginRate": "0.005"}],
    "defaultTakerFeeRate": "0.00045", "defaultMakerFeeRate": "0.0004", "fundingRateIntervalMin": "240",
    "resolution": "0x2540be400",
}  # fmt: skip
METADATA = {
    "global": {"chainId": "3343", "contractAddress": "0xeeb3fb05cca17745cbdf193a9b16537efb68fac8"},
    "coinList": [{"coinId": "1000", "coinName": "USDC", "resolution": "0xf4240"}],
    "contractList": [CONTRACT],
}
CATALOGUE = json.dumps({"code": "SUCCESS", "data": METADATA}).encode()
CHANGE = (
    '{"type":"quote-event","channel":"depth.30000001.15","content":{"channel":"depth.30000001.15","dataType":"changed","data":'
    '[{"startVersion":"%d","endVersion":"%d","level":15,"contractId":"30000001","contractName":"BTCUSDC","asks":[{"price":'
    '"82899.7","size":"%d.763"},{"price":"82902.1","size":"0.4"}],"bids":[{"price":"82899.4","size":"1.135"},{"price":'
    '"82899.1","size":"0"}],"depthType":"CHANGED"}]}}'
)


def rows() -> list[Row]:
    ours = calls(_ours(), rounds=3000)
    sdk = calls(_sdk(), rounds=600)
    frame = _frame()
    return [
        Row(hop="EdgeX order signed, request ready", median_us=ours[0], p99_us=ours[1], goal_median_us=45.0,
            peer="edgex-python-sdk, to its socket", peer_median_us=sdk[0]),
        Row(hop="EdgeX book change to published top", median_us=frame[0], p99_us=frame[1], goal_median_us=12.0),
    ]  # fmt: skip


def _ours() -> Any:
    catalogue = specs.catalogue(CATALOGUE)
    signer = Signer(KEY, account_id=ACCOUNT, api_key=API_KEY, passphrase=PASSPHRASE, secret=SECRET)
    signer.use_domain(catalogue.chain_id, catalogue.contract_address)
    terms = catalogue.terms[30000001]

    def sign() -> Any:
        ticket = OrderTicket("82899.7", "0.013", True, "IMMEDIATE_OR_CANCEL", False, CLIENT_ID, NOW_MS)
        signed = signer.order(ticket, terms)
        return signed.body, signer.headers(signer.hmac_hex("POST", PATH, signed.content, NOW_MS), NOW_MS)

    return sign


def _sdk() -> Any:
    """Everything that its create_order does before it opens a connection."""
    client = AsyncClient("http://127.0.0.1:9", int(ACCOUNT), trading_private_key=KEY)

    async def to_the_socket(method: str, path: str, data: Any = None, **_: Any) -> Any:
        headers = build_hmac_headers(API_KEY, PASSPHRASE, SECRET, str(NOW_MS), method, path, get_value(data))
        return json.dumps(data), headers

    client.make_authenticated_request = to_the_socket  # type: ignore[method-assign]
    orders = Client(client)

    def sign() -> Any:
        params = CreateOrderParams(
            "30000001", "82899.7", "0.013", "LIMIT", "BUY", "IMMEDIATE_OR_CANCEL", CLIENT_ID, NOW_MS
        )
        try:
            orders.create_order(params, METADATA, Decimal("82899.7")).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError("the SDK waits for something: the comparison would be void")

    return sign


def _frame() -> tuple[float, float]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, decode.CLOCK)
    try:
        sides = {
            name: [{"price": f"{px + sign * step / 10:.1f}", "size": "0.5"} for step in range(15)]
            for name, px, sign in (("bids", 82899.4, -1), ("asks", 82899.7, 1))
        }
        row = {"startVersion": "1", "endVersion": "1000", "contractId": "30000001", **sides, "depthType": "SNAPSHOT"}
        whole = {"type": "quote-event", "channel": "depth.30000001.15", "content": {"data": [row]}}
        frames = [json.dumps(whole, separators=(",", ":")).encode()]
        frames += [(CHANGE % (1000 + i, 1001 + i, i)).encode() for i in range(COUNT + 300)]
        return calls(decode._feed(run, Venue("edgex"), Decoder(), [CATALOGUE], frames), rounds=COUNT)
    finally:
        run.leave()
