"""The EdgeX signer against the vectors and against the official SDK, byte for byte."""

from __future__ import annotations

import asyncio
import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import pytest
from edgex_sdk.internal import async_client as sdk_client
from edgex_sdk.internal.auth import build_hmac_signature, get_value
from edgex_sdk.order import client as sdk_order
from edgex_sdk.order.types import CreateOrderParams

from core.errors import InvariantError
from core.numeric import plain
from core.specs.edgex import SigningTerms
from executor.signing import edgex as ours

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "edgex" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
RANDOM_ORDERS = 200
CONTRACT = "0xeeb3fb05cca17745cbdf193a9b16537efb68fac8"


def signer(inputs: dict[str, Any]) -> ours.Signer:
    made = ours.Signer(
        inputs["trading_private_key"],
        account_id=inputs["account_id"],
        api_key=inputs["api_key"],
        passphrase=inputs["api_passphrase"],
        secret=inputs["api_secret"],
    )
    made.use_domain(int(inputs["chain_id"]), inputs["verifying_contract"])
    return made


def terms(inputs: dict[str, Any], contract_id: str) -> SigningTerms:
    row = next(each for each in inputs["contracts"] if each["contractId"] == contract_id)
    coin = inputs["collateral_coin"]
    return SigningTerms(
        contract_id=int(contract_id),
        resolution=int(row["resolution"], 0),
        coin_id=int(coin["coinId"]),
        coin_resolution=int(coin["resolution"], 0),
        fee_rate=max(Decimal(row["defaultTakerFeeRate"]), Decimal(row["defaultMakerFeeRate"])),
    )


def named(*names: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in CASES if case["name"].startswith(names)]


@pytest.mark.parametrize("case", named("place"))
def test_order_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    made, of = signer(inputs), terms(inputs, inputs["contractId"])
    assert made.address == inputs["signer"]
    expire_ms = inputs.get("expireTime") or int(expected["body_json"]["expireTime"])
    ticket = ours.OrderTicket(
        inputs["price"], inputs["size"], inputs["side"] == "BUY", inputs["timeInForce"], inputs["reduceOnly"],
        inputs["clientOrderId"], expire_ms,
    )  # fmt: skip
    value = Decimal(inputs["price"]) * Decimal(inputs["size"])
    body = expected["body_json"]
    digest = made.order_digest(ticket, of, value, int(body["l2LimitFee"]), int(body["l2Nonce"]))
    assert "0x" + digest.hex() == expected["eip712"]["digest"]
    signed = made.order(ticket, of)
    assert json.loads(signed.body) == body
    assert signed.content == expected["rest_content_string"] == ours.canonical(json.loads(signed.body))
    check_request(made, case, signed.content)


@pytest.mark.parametrize("case", named("cancel", "set leverage", "account asset"))
def test_request_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    expected = case["expected"]
    query = dict(pair.split("=", 1) for pair in expected["query"].split("&")) if expected["query"] else None
    content = ours.canonical(expected["body_json"] if query is None else query)
    assert content == expected["rest_content_string"]
    check_request(signer(case["inputs"]), case, content)


def check_request(made: ours.Signer, case: dict[str, Any], content: str) -> None:
    expected, now_ms = case["expected"], case["inputs"]["now_ms"]
    signature = made.hmac_hex(expected["method"], expected["path"], content, now_ms)
    assert dict(made.headers(signature, now_ms)) == expected["headers"]


@pytest.mark.parametrize("case", named("private WS"))
def test_handshake_vector(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    content = f"accountId={inputs['account_id']}&timestamp={inputs['now_ms']}"
    assert expected["url"].endswith("/api/v1/private/ws?" + content)
    made = signer(inputs)
    signature = made.hmac_hex("GET", "/api/v1/private/ws", content, inputs["now_ms"])
    assert dict(made.headers(signature, inputs["now_ms"])) == expected["headers"]


@pytest.mark.parametrize("case", named("V1"))
def test_legacy_vectors_share_only_the_nonce_and_the_amounts(case: dict[str, Any]) -> None:
    """V1 (Stark curve) is not spoken here: its venue answers with empty data. What V2 kept of it agrees."""
    inputs, expected = case["inputs"], case["expected"]
    if "clientOrderId" not in inputs:
        body = ours.canonical(inputs["body"])
        assert expected["message"] == f"{inputs['timestamp_ms']}{inputs['method']}{inputs['path']}{body}"
        return
    assert str(ours.l2_nonce(inputs["clientOrderId"])) == expected["l2Nonce"]
    value = Decimal(inputs["price"]) * Decimal(inputs["size"])
    assert int(value * int(inputs["collateral_resolution"])) == int(expected["amountCollateral"])


def test_every_vector_is_used() -> None:
    used = ("place", "cancel", "set leverage", "account asset", "private WS", "V1")
    assert len(CASES) == 10
    assert all(case["name"].startswith(used) for case in CASES)


def test_random_orders_equal_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(20261120)
    sent: list[dict[str, Any]] = []

    async def keep(self: Any, method: str, path: str, data: Any = None, params: Any = None) -> dict[str, Any]:
        sent.append({"method": method, "path": path, "data": data})
        return {}

    monkeypatch.setattr(sdk_client.AsyncClient, "make_authenticated_request", keep)
    for _ in range(RANDOM_ORDERS):
        inputs = a_random_world(rng)
        made = signer(inputs)
        client = sdk_client.AsyncClient(
            "http://127.0.0.1:9", int(inputs["account_id"]), api_key=inputs["api_key"],
            api_passphrase=inputs["api_passphrase"], api_secret=inputs["api_secret"],
            trading_private_key=inputs["trading_private_key"],
        )  # fmt: skip
        ticket = a_random_ticket(rng, inputs["contracts"][0])
        params = CreateOrderParams(
            "30000001", ticket.price, ticket.size, "LIMIT", "BUY" if ticket.is_buy else "SELL", ticket.time_in_force,
            ticket.client_order_id, ticket.expire_ms, ticket.reduce_only,
        )  # fmt: skip
        metadata = {
            "global": {"chainId": inputs["chain_id"], "contractAddress": inputs["verifying_contract"]},
            "contractList": inputs["contracts"],
            "coinList": [inputs["collateral_coin"]],
        }
        asyncio.run(sdk_order.Client(client).create_order(params, metadata, Decimal(ticket.price)))
        signed = made.order(ticket, terms(inputs, "30000001"))
        theirs = sent[-1]["data"]
        assert json.loads(signed.body) == theirs
        content = get_value(theirs)
        assert signed.content == content
        mine = made.hmac_hex("POST", sent[-1]["path"], signed.content, 1_795_132_800_000)
        assert mine == build_hmac_signature(
            inputs["api_secret"], "1795132800000", "POST", "/api/v2/private/order/createOrder", content
        )


def a_random_world(rng: random.Random) -> dict[str, Any]:
    resolution, coin = 10 ** rng.randrange(6, 13), 10**6
    return {
        "trading_private_key": rng.randbytes(32).hex(),
        "account_id": str(rng.randrange(10**17, 10**18)),
        "api_key": rng.randbytes(8).hex(),
        "api_passphrase": rng.randbytes(8).hex(),
        "api_secret": "sécret " + rng.randbytes(8).hex(),
        "chain_id": rng.choice(("3343", "33431")),
        "verifying_contract": "0x" + rng.randbytes(20).hex(),
        "contracts": [
            {
                "contractId": "30000001", "quoteCoinId": "1000", "tickSize": rng.choice(("0.1", "0.01", "0.0000001")),
                "stepSize": rng.choice(("0.001", "1", "0.2")), "resolution": rng.choice((hex(resolution), str(resolution))),
                "defaultTakerFeeRate": rng.choice(("0.00045", "0.00038")), "defaultMakerFeeRate": "0.0004",
            }
        ],
        "collateral_coin": {"coinId": "1000", "coinName": "USDC", "resolution": hex(coin)},
    }  # fmt: skip


def a_random_ticket(rng: random.Random, contract: dict[str, Any]) -> ours.OrderTicket:
    price = plain(rng.randrange(1000, 10**7) * Decimal(contract["tickSize"]))
    size = plain(rng.randrange(1, 10**6) * Decimal(contract["stepSize"]))
    tif = rng.choice(("GOOD_TIL_CANCEL", "IMMEDIATE_OR_CANCEL", "POST_ONLY"))
    expire_ms = rng.randrange(1_700_000_000_000, 1_900_000_000_000)
    return ours.OrderTicket(
        price, size, rng.random() < 0.5, tif, rng.random() < 0.5, rng.randbytes(16).hex(), expire_ms
    )


def test_without_a_domain_nothing_is_signed_and_nothing_secret_is_shown() -> None:
    inputs = CASES[0]["inputs"]
    made = ours.Signer("01" * 32, account_id="5", api_key="key", passphrase="phrase", secret="hidden")
    ticket = ours.OrderTicket("1", "1", True, "GOOD_TIL_CANCEL", False, "a", 1000)
    with pytest.raises(InvariantError):
        made.order(ticket, terms(inputs, "30000001"))
    for chain_id, contract in ((0, CONTRACT), (3343, "0x12"), (3343, ""), (3343, "0xzz")):
        with pytest.raises(ValueError):
            made.use_domain(chain_id, contract)
    assert "hidden" not in repr(made)
    assert "phrase" not in repr(made)
    with pytest.raises(InvariantError):
        ours.canonical({"a": 1.5})
