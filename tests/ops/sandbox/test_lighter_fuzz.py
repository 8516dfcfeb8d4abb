"""Whatever arrives, Lighter's sandbox answers in the venue's words, goes on, and loses nobody else's connection."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from tests.ops.sandbox.lighter_world import ACCOUNT, BTC, World

NASTY: list[Any] = [
    "", "-1", "0", "1e9", "1.5", "NaN", "9" * 5000, "\u0661", "²", "null", "[]", "' or 1", 2**63, 2**64, "255", "\x00", "%",
]  # fmt: skip
READS = {
    "orderBooks": ["market_id", "filter"], "orderBookDetails": ["market_id"], "orderBookOrders": ["market_id", "limit"],
    "assetDetails": ["asset_id"], "recentTrades": ["market_id", "limit"], "exchangeStats": [], "funding-rates": [],
    "fundings": ["market_id", "resolution", "start_timestamp", "end_timestamp", "count_back"], "account": ["by", "value"],
    "accountsByL1Address": ["l1_address"], "apikeys": ["account_index", "api_key_index"],
    "nextNonce": ["account_index", "api_key_index"], "tx": ["by", "value"], "accountLimits": ["account_index"],
    "accountActiveOrders": ["account_index", "market_id"], "accountInactiveOrders": ["account_index", "limit", "cursor"],
    "accountOrders": ["account_index", "client_order_indexes"], "accountTxs": ["account_index", "limit"],
    "trades": ["account_index", "sort_by", "limit"], "positionFunding": ["account_index", "limit", "cursor"],
}  # fmt: skip
GOOD = {
    "market_id": "1", "limit": "5", "resolution": "1h", "start_timestamp": "0", "end_timestamp": "9999999999",
    "count_back": "3", "by": "index", "value": str(ACCOUNT), "account_index": str(ACCOUNT), "sort_by": "timestamp",
    "asset_id": "3", "client_order_indexes": "1,2", "filter": "all", "api_key_index": "5",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(READS))
async def test_reads_with_odd_parameters(name: str) -> None:
    async with World() as world:
        token = world.token()
        for odd in READS[name]:
            for value in NASTY:
                params = {key: GOOD.get(key, "x") for key in READS[name]} | {odd: str(value)}
                world.pass_s(2)
                status, body = await world.ask(name, token=token, **params)
                assert status in (200, 400, 401), (odd, value, status, body)
                assert isinstance(body["code"], int)


async def test_odd_transactions() -> None:
    rng = random.Random(11)
    async with World() as world:
        good = world.order(BTC, True, 801_000, 100)
        bodies = [
            b"",
            b"[" * 50_000,
            b"{" * 100,
            b'{"a":' * 3000,
            orjson.dumps({**good, "L2TxAttributes": {"9" * 5000: 1}}),
        ]
        for _ in range(150):
            changed = dict(good)
            for name in rng.sample(sorted(good), rng.randrange(1, 3)):
                changed[name] = rng.choice([None, -1, 2**64, 2**70, 1.5, "x", [], {}, True, 2**47, 0])
            try:
                bodies.append(orjson.dumps(changed))
            except TypeError:
                bodies.append(repr(changed).replace("'", '"').encode())
        for body in bodies:
            for kind in ("14", "15", "16", "17", "20", "29", "45"):
                status, answer = await world.post("sendTx", {"tx_type": kind, "tx_info": body.decode()})
                assert status == 400, (kind, body, answer)
        raw = (b"tx_type=14&tx_info=%ff%fe", b"--x\r\nrubbish", b"\xff" * 20)
        for data in raw:
            for content in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
                            "application/x-www-form-urlencoded; charset=nonsense"):  # fmt: skip
                headers = {"Content-Type": content}
                async with world.session.post(f"{world.url}/api/v1/sendTx", data=data, headers=headers) as response:
                    assert response.status == 400, (data, content)
        assert (await world.do(14, good))["status"] == 2


async def test_odd_frames() -> None:
    rng = random.Random(12)
    async with World() as world:
        witness = await world.socket()
        await witness.subscribe("ticker/1")
        socket = await world.socket()
        frames: list[Any] = ["", "{", "[" * 50_000, "null", "5", '"x"', "[]", '{"type":5}', '{"type":["subscribe"]}']
        kinds = ["subscribe", "unsubscribe", "jsonapi/sendtx", "jsonapi/sendtxbatch", "ping", None, 5]
        odd: list[Any] = [
            None,
            5,
            "",
            [],
            {},
            "order_book/" + "9" * 5000,
            "ticker/²",
            "/",
            "account_orders/1/1/1",
            True,
        ]
        for _ in range(180):
            channel, auth, data = (rng.choice(odd) for _ in range(3))
            frames.append({"type": rng.choice(kinds), "channel": channel, "auth": auth, "data": data})
        infos: list[Any] = [*odd, {"tx_type": 14}, {"tx_type": True, "tx_info": {}}, {"tx_types": "[14]", "tx_infos": "[5]"},
                            {"id": {"a": 1}, "tx_type": 14, "tx_info": {"Nonce": 2**60}}]  # fmt: skip
        frames += [{"type": "jsonapi/sendtx", "data": info} for info in infos]
        frames += [{"type": "jsonapi/sendtxbatch", "data": info} for info in infos]
        for frame in frames:
            await socket.send(frame)
        info = world.order(BTC, True, 801_000, 100)
        await socket.send({"type": "jsonapi/sendtx", "data": {"id": "last", "tx_type": 14, "tx_info": info}})
        while (answer := await socket.next()).get("id") != "last":
            assert "error" in answer or answer["type"] in ("pong", "unsubscribed"), answer
        assert answer["code"] == 200
        world.quote("BTC", 80_000.0)
        await witness.until("update/ticker")
