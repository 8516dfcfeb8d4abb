"""The Aster signer against the vectors and against eth-account's typed-data encoder."""

from __future__ import annotations

import json
import pathlib
import random
import string
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from executor.signing import aster as ours

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "aster" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
RANDOM_REQUESTS = 200


def cases(scheme: str) -> list[Any]:
    return [pytest.param(c, id=c["name"]) for c in CASES if c["inputs"]["scheme"] == scheme]


@pytest.mark.parametrize("case", cases("v3"))
def test_v3_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = ours.Signer(inputs["agent_private_key"], user=inputs["user"], mainnet=inputs["chain_id"] == 1666)
    params = [(name, value) for name, value in inputs["params_in_order"]]
    assert signer.address == inputs["signer"]
    msg = signer.message(params, inputs["nonce_us"])
    assert msg == expected["msg"]
    assert "0x" + signer.message_digest(msg).hex() == expected["eip712_digest"]
    text = signer.signed(params, inputs["nonce_us"]).decode()
    assert text == f"{msg}&signature={expected['signature']}"
    if expected["body"] is None:
        assert expected["url"].endswith("?" + text)
    else:
        assert text == expected["body"]


@pytest.mark.parametrize("case", cases("v1_hmac"))
def test_v1_hmac_vectors(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = ours.HmacSigner(inputs["api_key"], inputs["api_secret"])
    params = [(name, value) for name, value in inputs["params_in_order"]]
    text = signer.signed(params, inputs["timestamp_ms"], inputs["recv_window"]).decode()
    assert text == f"{expected['signed_string']}&signature={expected['signature']}"
    assert signer.headers.items() <= expected["headers"].items()
    assert inputs["api_secret"] not in repr(signer)


@pytest.mark.parametrize("case", cases("approve_agent"))
def test_approve_agent_vector(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    params = [(name, value) for name, value in inputs["params_in_order"]]
    assert "0x" + ours.approve_agent_digest(params).hex() == expected["eip712_digest"]
    assert ours.approve_agent_signature(inputs["main_private_key"], params) == expected["signature"]
    assert inputs["eip712_chain_id"] == ours.APPROVAL_CHAIN_ID


def test_every_vector_is_used() -> None:
    assert {c["inputs"]["scheme"] for c in CASES} == {"v3", "v1_hmac", "approve_agent"}
    assert len(CASES) == 15


def test_random_requests_equal_eth_account() -> None:
    rng = random.Random(20261120)
    alphabet = string.ascii_letters + string.digits + '-_.~ :/&=%[]",+é'
    for _ in range(RANDOM_REQUESTS):
        key = rng.randbytes(32).hex()
        mainnet = rng.random() < 0.5
        user = Account.from_key(rng.randbytes(32)).address
        params = [
            (f"p{i}", "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 20))))
            for i in range(rng.randrange(5))
        ]
        nonce = rng.randrange(10**15, 2 * 10**15)
        text = ours.Signer(key, user=user, mainnet=mainnet).signed(params, nonce).decode()
        msg, _, signature = text.rpartition("&signature=")
        address = Account.from_key(key).address
        assert msg == urlencode([*params, ("nonce", nonce), ("user", user), ("signer", address)])
        assert parse_qsl(msg)[: len(params)] == params
        signed = Account.sign_message(encode_typed_data(full_message=typed(msg, 1666 if mainnet else 714)), key)
        assert signature == "0x" + bytes(signed.signature).hex()


def typed(msg: str, chain_id: int) -> dict[str, Any]:
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Message": [{"name": "msg", "type": "string"}],
        },
        "primaryType": "Message",
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": "0x" + "00" * 20,
        },
        "message": {"msg": msg},
    }
