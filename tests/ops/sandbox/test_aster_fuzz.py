"""Whatever arrives, the venue answers in its own words: no request gets a 5xx, no frame ends the server."""

from __future__ import annotations

import json
import random

import aiohttp

from tests.ops.sandbox.aster_world import MAIN_KEY, OTHER_KEY, World

SEED = 20261120
NAMES = (
    "symbol", "side", "type", "timeInForce", "quantity", "price", "orderId", "origClientOrderId", "limit", "startTime",
    "endTime", "fromId", "leverage", "marginType", "amount", "batchOrders", "orderIdList", "origClientOrderIdList",
    "countdownTime", "dualSidePosition", "incomeType", "builder", "maxFeeRate", "feeRate", "agentAddress", "stpMode",
    "reduceOnly", "newClientOrderId", "signatureChainId", "asterChain", "builderName", "expired", "canPerpTrade",
)  # fmt: skip
VALUES = (
    "BTCUSDT", "1000PEPEUSDT", "", "0", "-1", "1", "5", "0.01", "59000", "1e5", "NaN", "9" * 19, "9" * 25, "true", "True",
    "BUY", "SELL", "LIMIT", "MARKET", "GTC", "IOC", "GTX", "[]", "[1]", '["a"]', "[{}]", "[[", '[{"symbol":"BTCUSDT"}]',
    "null", "\u0660", "\x00", "ünïcode", "a" * 500, "%", "&", "0x" + "11" * 20, "714", "56", "FUNDING_FEE", "CROSSED",
)  # fmt: skip


async def test_no_signed_request_gets_a_server_error() -> None:
    rng = random.Random(SEED)
    async with World() as world:
        world.venue.limits.weight_max = world.venue.limits.orders_max = 10**9
        for route in world.venue._routes:
            for _ in range(12):
                names = {*rng.sample(NAMES, rng.randint(0, 3)), *(n for n in route.mandatory if rng.random() < 0.9)}
                known = [n for n in route.optional if rng.random() < 0.3]
                params = {
                    name: rng.choice(VALUES) for name in {*(names if rng.random() < 0.5 else route.mandatory), *known}
                }
                path = route.path.removeprefix("/fapi/v3/")
                if route.path.startswith("/api/"):
                    continue
                if "symbol" in params and rng.random() < 0.7:
                    params["symbol"] = "BTCUSDT"
                key = MAIN_KEY if rng.random() < 0.9 else OTHER_KEY
                answer = await world.call(route.method, path, key=key, **params)
                assert answer.status < 500, (SEED, route.method, path, params)
        assert (await world.get("/fapi/v3/ping")).status == 200


async def test_no_frame_ends_the_server() -> None:
    rng = random.Random(SEED)
    pieces = [None, 1, -1, "x", [], {}, True, ["btcusdt@depth"], ["!markPrice@arr"], [1], ["combined", True], "SUBSCRIBE",
              "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY", 2**70, 1.5]  # fmt: skip
    async with World() as world:
        for _ in range(40):
            async with world.session.ws_connect(f"{world.url}/ws/btcusdt@bookTicker//%00") as ws:
                for _ in range(4):
                    message = {key: rng.choice(pieces) for key in ("method", "params", "id")}
                    await ws.send_str(rng.choice((json.dumps(message), "[]", "1", '"', "\u2028", "{" * 50)))
                    assert (await ws.receive()).type is aiohttp.WSMsgType.TEXT
                await ws.send_bytes(b"\x00\xff")
                await ws.send_str('{"method":"LIST_SUBSCRIPTIONS","id":5}')
                assert (await ws.receive()).type is aiohttp.WSMsgType.TEXT
            world.quote("BTC", 60_000.0 + rng.random())
            world.venue.tick()
