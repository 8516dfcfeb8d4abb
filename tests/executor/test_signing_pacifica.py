"""The Pacifica signer against the recorded vectors and against the recipe of the venue's own examples."""

from __future__ import annotations

import base64
import json
import pathlib
import random
import uuid
from decimal import Decimal
from typing import Any

import base58 as peer58
import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from solders.keypair import Keypair

from core.errors import ConfigError
from core.numeric import plain
from core.types import Side, TimeInForce
from executor.signing import pacifica as ours
from executor.signing._ed25519 import SigningKey, base58, base58_decode

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "pacifica" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
SIGNED = [case for case in CASES if "operation_type" in case["inputs"]]
JUDGED = [case for case in CASES if "valid" in case["expected"]]
SIDES = {wire: side for side, wire in ours.SIDE_WIRE.items()}
TIFS = {wire: tif for tif, wire in ours.TIF_WIRE.items()}
RANDOM_ORDERS = 300


def signer_of(inputs: dict[str, Any]) -> ours.Signer:
    account = SigningKey(inputs["main_secret_base58"]).public
    return ours.Signer(inputs.get("agent_secret_base58", inputs["main_secret_base58"]), account=account)


def body_of(signer: ours.Signer, kind: str, payload: dict[str, Any], timestamp_ms: int, window_ms: int) -> bytes:
    """By the hand-written path where there is one."""
    if kind == "create_order":
        return signer.order(
            payload["symbol"], SIDES[payload["side"]], payload["price"], payload["amount"], TIFS[payload["tif"]],
            payload["reduce_only"], payload.get("client_order_id"), timestamp_ms, window_ms,
        )  # fmt: skip
    if kind == "cancel_order" and "order_id" in payload:
        return signer.cancel(payload["symbol"], payload["order_id"], timestamp_ms, window_ms)
    if kind == "cancel_order":
        return signer.cancel_by_client_id(payload["symbol"], payload["client_order_id"], timestamp_ms, window_ms)
    return signer.operation(kind, payload, timestamp_ms, window_ms)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in SIGNED])
def test_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = signer_of(inputs)
    kind, payload = inputs["operation_type"], inputs["payload"]
    timestamp_ms, window_ms = inputs["timestamp"], inputs["expiry_window"]
    assert signer.account == expected["account"]
    assert signer.address == expected.get("agent_wallet", signer.account)
    canonical = ours.message(kind, ours._sorted_json(payload)[1:-1], timestamp_ms, window_ms)
    assert canonical.decode() == expected["canonical_message"]
    assert signer._key.sign(canonical).decode() == expected["signature_base58"]
    assert base58_decode(expected["signature_base58"]).hex() == expected["signature_hex"]
    for body in {
        body_of(signer, kind, payload, timestamp_ms, window_ms),
        signer.operation(kind, payload, timestamp_ms, window_ms),
    }:
        assert json.loads(body) == expected["rest"]["body"]
    if "ws_frame" in expected:
        assert json.loads(ours.frame(inputs["ws_request_id"], kind, body)) == expected["ws_frame"]


def test_each_action_of_a_batch_is_signed_alone() -> None:
    (case,) = [each for each in CASES if each["name"] == "batch-create-and-cancel"]
    signer, window_ms = signer_of(case["inputs"]), case["inputs"]["expiry_window"]
    kinds = {"Create": "create_order", "Cancel": "cancel_order"}
    actions = [
        {
            "type": action["kind"],
            "data": json.loads(
                body_of(signer, kinds[action["kind"]], action["payload"], action["timestamp"], window_ms)
            ),
        }
        for action in case["inputs"]["actions"]
    ]
    assert {"actions": actions} == case["expected"]["rest"]["body"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in JUDGED])
def test_recorded_and_forged_signatures_are_judged(case: dict[str, Any]) -> None:
    inputs = case["inputs"]
    key = VerifyKey(base58_decode(inputs["public_key_base58"]))
    message, signature = inputs["canonical_message"].encode(), base58_decode(inputs["signature_base58"])
    if case["expected"]["valid"]:
        key.verify(message, signature)
        content = json.loads(message)  # what was signed is what our own builder makes of the same content
        built = ours.message(
            content["type"], ours._sorted_json(content["data"])[1:-1], content["timestamp"], content["expiry_window"]
        )
        assert built == message
    else:
        with pytest.raises(BadSignatureError):
            key.verify(message, signature)


def test_every_vector_is_used() -> None:
    assert (len(SIGNED), len(JUDGED), len(CASES)) == (14, 6, 21)  # and one batch


def test_random_orders_equal_the_venues_own_recipe() -> None:
    rng = random.Random(20261120)
    short = 0
    for _ in range(RANDOM_ORDERS):
        seed = rng.randbytes(32)
        peer = Keypair.from_seed(seed)
        account = str(peer.pubkey()) if rng.random() < 0.3 else peer58.b58encode(rng.randbytes(32)).decode()
        signer = ours.Signer(peer58.b58encode(bytes(peer)).decode(), account=account)
        kind, payload = random_operation(rng)
        timestamp_ms, window_ms = rng.randrange(1_700_000_000_000, 1_900_000_000_000), rng.randrange(1, 60_000)
        theirs = recipe(peer, account, kind, payload, timestamp_ms, window_ms)
        assert json.loads(body_of(signer, kind, payload, timestamp_ms, window_ms)) == theirs
        short += len(theirs["signature"]) < 88
    assert short > 0  # signatures of 87 characters were among them


def test_base58_equals_the_usual_library() -> None:
    rng = random.Random(7)
    for size in [*range(70), *[64] * 200]:
        data = bytes(rng.randrange(3)) + rng.randbytes(size)
        assert base58(data) == peer58.b58encode(data)
        assert base58_decode(base58(data).decode()) == data


def test_a_bad_key_is_refused_without_showing_it() -> None:
    good = SIGNED[0]["inputs"]["main_secret_base58"]
    swapped = peer58.b58encode(b"\1" * 32 + b"\2" * 32).decode()  # the halves do not belong together
    for bad in (
        "",
        "0" * 88,
        good[:-1],
        good + "1",
        "é" * 88,
        "ab" * 64,
        base64.b64encode(b"\1" * 64).decode(),
        swapped,
    ):
        with pytest.raises(ConfigError) as caught:
            ours.Signer(bad, account="x")
        assert not bad or bad not in str(caught.value)
    assert good not in repr(ours.Signer(good, account="x"))


def test_every_field_is_signed() -> None:
    signer = ours.Signer(SIGNED[0]["inputs"]["main_secret_base58"], account="x")
    usual: dict[str, Any] = {
        "symbol": "BTC", "side": Side.BUY, "px": "87768", "qty": "0.001", "time_in_force": TimeInForce.IOC,
        "reduce_only": False, "client_order_id": str(uuid.UUID(int=1)), "timestamp_ms": 1, "window_ms": 1,
    }  # fmt: skip
    changes: list[dict[str, Any]] = [
        {}, {"symbol": "ETH"}, {"side": Side.SELL}, {"px": "87768.0"}, {"qty": "0.0010"},
        {"time_in_force": TimeInForce.POST_ONLY}, {"reduce_only": True}, {"client_order_id": None}, {"timestamp_ms": 2},
        {"window_ms": 2},
    ]  # fmt: skip
    signatures = {json.loads(signer.order(**{**usual, **change}))["signature"] for change in changes}
    assert len(signatures) == len(changes)


def random_operation(rng: random.Random) -> tuple[str, dict[str, Any]]:
    symbol = rng.choice(["BTC", "kPEPE", "SOL", "PAXG"])
    client = str(uuid.UUID(int=rng.getrandbits(128)))
    draw = rng.randrange(8)
    if draw == 0:
        return "cancel_order", {"symbol": symbol, "order_id": rng.randrange(1, 1 << 40)}
    if draw == 1:
        return "cancel_order", {"symbol": symbol, "client_order_id": client}
    if draw == 2:
        return "update_leverage", {"symbol": symbol, "leverage": rng.randrange(1, 51)}
    order: dict[str, Any] = {
        "symbol": symbol,
        "price": plain(Decimal(rng.randrange(1, 10**7)).scaleb(-rng.randrange(0, 6))),
        "amount": plain(Decimal(rng.randrange(1, 10**7)).scaleb(-rng.randrange(0, 5))),
        "side": rng.choice(["bid", "ask"]),
        "tif": rng.choice(["GTC", "IOC", "ALO"]),
        "reduce_only": rng.random() < 0.5,
    }
    if rng.random() < 0.8:
        order["client_order_id"] = client
    return "create_order", order


def recipe(
    key: Keypair, account: str, kind: str, payload: dict[str, Any], timestamp_ms: int, window_ms: int
) -> dict[str, Any]:
    """As the page states the venue's examples do it: sorted compact JSON, a Solana key pair, base58."""
    header = {"timestamp": timestamp_ms, "expiry_window": window_ms}
    text = json.dumps(
        {**header, "type": kind, "data": payload}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    agent = {} if str(key.pubkey()) == account else {"agent_wallet": str(key.pubkey())}
    signature = peer58.b58encode(bytes(key.sign_message(text.encode()))).decode()
    return {"account": account, **agent, "signature": signature, **header, **payload}
