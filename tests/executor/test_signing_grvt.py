"""GRVT's signer and request bodies against the vectors, and against the official SDK over random orders."""

from __future__ import annotations

import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import pytest
from coincurve import PublicKey
from eth_account import Account
from pysdk.grvt_raw_base import GrvtApiConfig
from pysdk.grvt_raw_env import GrvtEnv
from pysdk.grvt_raw_signing import sign_order
from pysdk.grvt_raw_types import (
    Instrument,
    InstrumentSettlementPeriod,
    Kind,
    Order,
    OrderLeg,
    OrderMetadata,
    Signature,
    Venue,
)
from pysdk.grvt_raw_types import TimeInForce as SdkTimeInForce

from core.types import Side
from executor.signing import grvt as ours
from executor.signing._secp256k1 import SigningKey
from executor.venues import _grvt_wire as wire

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "grvt" / "signing_vectors.json"
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in json.loads(VECTORS.read_text())["cases"]}
ORDERS = [name for name, case in CASES.items() if case["expected"].get("primary_type", "").startswith("Order")]
RANDOM_ORDERS = 250
KEY = "0x" + "01" * 32


def signer_of(inputs: dict[str, Any]) -> ours.Signer:
    return ours.Signer(
        inputs.get("private_key", KEY),
        sub_account_id=int(inputs["sub_account_id"]),
        mainnet=inputs["chain_id"] == ours.MAINNET_CHAIN_ID,
    )


def contract_size(inputs: dict[str, Any]) -> int:
    return int(Decimal(inputs["size"]).scaleb(inputs["base_decimals"]))


def signature_of(inputs: dict[str, Any]) -> ours.Signature:
    builder = None
    if "builder" in inputs:
        builder = ours.Builder(inputs["builder"], int(Decimal(inputs["builder_fee"]).scaleb(4)))
    return signer_of(inputs).order(
        asset_id=int(inputs["instrument_hash"], 16),
        contract_size=contract_size(inputs),
        limit_price=0 if inputs["is_market"] else int(Decimal(inputs["limit_price"]).scaleb(9)),
        is_buying=inputs["is_buying_asset"],
        time_in_force=ours.SignedTimeInForce[inputs["time_in_force"]],
        post_only=inputs["post_only"],
        reduce_only=inputs["reduce_only"],
        nonce=inputs["nonce"],
        expiration_ns=int(inputs["expiration_ns"]),
        is_market=inputs["is_market"],
        builder=builder,
    )


def terms_of(inputs: dict[str, Any]) -> wire.OrderTerms:
    return wire.OrderTerms(
        instrument=inputs["instrument"],
        asset_id=int(inputs["instrument_hash"], 16),
        size=Decimal(inputs["size"]),
        contract_size=contract_size(inputs),
        limit_price=Decimal(inputs["limit_price"]),
        side=Side.BUY if inputs["is_buying_asset"] else Side.SELL,
        time_in_force=ours.SignedTimeInForce[inputs["time_in_force"]],
        post_only=inputs["post_only"],
        reduce_only=inputs["reduce_only"],
        client_order_id=int(inputs["client_order_id"]),
    )


def recovered(signature: ours.Signature, digest: str) -> bytes:
    """Who signed `digest`, from the signature alone."""
    raw = signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes([signature.v - 27])
    return PublicKey.from_signature_and_message(raw, bytes.fromhex(digest[2:]), hasher=None).format(False)


@pytest.mark.parametrize("name", ORDERS)
def test_order_vectors_byte_for_byte(name: str) -> None:
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    signature = signature_of(inputs)
    assert "0x" + ours.domain_separator(inputs["chain_id"]).hex() == expected["domain_separator"]
    own = SigningKey(inputs.get("private_key", KEY))._key.public_key.format(False)
    assert recovered(signature, expected["digest"]) == own
    if "r" in expected:
        assert (f"0x{signature.r:064x}", f"0x{signature.s:064x}", signature.v) == (
            expected["r"], expected["s"], expected["v"],
        )  # fmt: skip
        assert signer_of(inputs).address == expected["signer"]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in ORDERS
        if "rest" in CASES[name]["expected"]
        and "builder" not in CASES[name]["inputs"]
        and not CASES[name]["inputs"]["is_market"]  # we send none: they have no bound
    ],
)
def test_order_bodies_are_those_of_the_vectors(name: str) -> None:
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    body = wire.order_body(signer_of(inputs), terms_of(inputs), inputs["nonce"], int(inputs["expiration_ns"]))
    assert json.loads(body) == expected["rest"]["body"]
    if "ws_frame_full" in expected:
        assert json.loads(wire.frame(wire.CREATE, body, inputs["rpc_id"])) == expected["ws_frame_full"]


def test_a_signature_keeps_its_leading_zeros() -> None:
    case = CASES["place-signature-with-leading-zero-r"]
    body = json.loads(
        wire.order_body(
            signer_of(case["inputs"]),
            terms_of(case["inputs"]),
            case["inputs"]["nonce"],
            int(case["inputs"]["expiration_ns"]),
        )
    )
    assert body["order"]["signature"]["r"].startswith("0x0")
    assert len(body["order"]["signature"]["r"]) == 66


def test_cancels_are_not_signed() -> None:
    by_id = CASES["cancel-by-order-id"]
    body = wire.cancel_body(int(by_id["inputs"]["sub_account_id"]), order_id=by_id["inputs"]["order_id"])
    assert json.loads(body) == by_id["expected"]["rest"]["body"]
    by_client = CASES["cancel-by-client-id"]
    inputs = by_client["inputs"]
    body = wire.cancel_body(
        int(inputs["sub_account_id"]),
        client_order_id=int(inputs["client_order_id"]),
        time_to_live_ms=int(inputs["time_to_live_ms"]),
    )
    assert json.loads(body) == by_client["expected"]["rest"]["body"]
    assert json.loads(wire.frame(wire.CANCEL, body, inputs["rpc_id"])) == by_client["expected"]["ws_frame_full"]


def test_leverage_vector() -> None:
    inputs, expected = CASES["set-leverage-cross"]["inputs"], CASES["set-leverage-cross"]["expected"]
    body = wire.position_config_body(
        signer_of(inputs),
        instrument=inputs["instrument"],
        asset_id=int(inputs["instrument_hash"], 16),
        margin_type=ours.MarginType[inputs["margin_type"]],
        leverage=int(inputs["leverage"]),
        nonce=inputs["nonce"],
        expiration_ns=int(inputs["expiration_ns"]),
    )
    assert json.loads(body) == expected["rest"]["body"]


def test_wallet_login_vector() -> None:
    inputs, expected = CASES["wallet-login"]["inputs"], CASES["wallet-login"]["expected"]
    signature = signer_of(inputs | {"sub_account_id": "1"}).wallet_login(
        nonce=inputs["nonce"], expiration_ns=int(inputs["expiration_ns"])
    )
    assert (f"0x{signature.r:064x}", f"0x{signature.s:064x}", signature.v) == (
        expected["r"], expected["s"], expected["v"],
    )  # fmt: skip


def random_order(rng: random.Random) -> tuple[dict[str, Any], Order, Instrument]:
    decimals = rng.choice([3, 6, 9])
    inputs: dict[str, Any] = {
        "private_key": "0x" + rng.randbytes(32).hex(),
        "chain_id": rng.choice([ours.MAINNET_CHAIN_ID, ours.TESTNET_CHAIN_ID]),
        "sub_account_id": str(rng.randrange(1, 1 << 63)),
        "instrument": "X_USDT_Perp",
        "instrument_hash": f"0x{rng.randrange(1, 1 << 24):06x}",
        "base_decimals": decimals,
        "size": str(Decimal(rng.randrange(1, 10**9)).scaleb(-decimals)),
        "limit_price": str(Decimal(rng.randrange(1, 10**15)).scaleb(-9)),
        "is_buying_asset": rng.random() < 0.5,
        "time_in_force": rng.choice(["GOOD_TILL_TIME", "IMMEDIATE_OR_CANCEL", "FILL_OR_KILL"]),
        "is_market": False,
        "post_only": rng.random() < 0.5,
        "reduce_only": rng.random() < 0.5,
        "nonce": rng.getrandbits(32),
        "expiration_ns": str(rng.randrange(1, 1 << 63)),
        "client_order_id": str(rng.randrange(1 << 63, 1 << 64)),
    }
    leg = OrderLeg(
        instrument=inputs["instrument"],
        size=format(Decimal(inputs["size"]), "f"),
        is_buying_asset=inputs["is_buying_asset"],
        limit_price=format(Decimal(inputs["limit_price"]), "f"),
    )
    order = Order(
        sub_account_id=inputs["sub_account_id"],
        time_in_force=SdkTimeInForce(inputs["time_in_force"]),
        legs=[leg],
        signature=Signature("", "", "", 0, inputs["expiration_ns"], inputs["nonce"]),
        metadata=OrderMetadata(client_order_id=inputs["client_order_id"]),
        is_market=False,
        post_only=inputs["post_only"],
        reduce_only=inputs["reduce_only"],
    )
    instrument = Instrument(
        instrument=inputs["instrument"],
        instrument_hash=inputs["instrument_hash"],
        base="X",
        quote="USDT",
        kind=Kind.PERPETUAL,
        venues=[Venue.ORDERBOOK],
        settlement_period=InstrumentSettlementPeriod.PERPETUAL,
        base_decimals=decimals,
        quote_decimals=6,
        tick_size="0.1",
        min_size="0.001",
        create_time="0",
        max_position_size="0",
    )
    return inputs, order, instrument


def test_random_orders_as_the_sdk_signs_them() -> None:
    rng = random.Random(20260101)
    for _ in range(RANDOM_ORDERS):
        inputs, order, instrument = random_order(rng)
        env = GrvtEnv.PROD if inputs["chain_id"] == ours.MAINNET_CHAIN_ID else GrvtEnv.TESTNET
        config = GrvtApiConfig(env, inputs["sub_account_id"], inputs["private_key"], None, None)
        signed = sign_order(order, config, Account.from_key(inputs["private_key"]), {instrument.instrument: instrument})
        body = wire.order_body(signer_of(inputs), terms_of(inputs), inputs["nonce"], int(inputs["expiration_ns"]))
        mine = json.loads(body)["order"]["signature"]
        assert (mine["signer"], mine["r"], mine["s"], mine["v"]) == (
            signed.signature.signer, signed.signature.r, signed.signature.s, signed.signature.v,
        ), inputs  # fmt: skip


def test_the_key_stays_hidden() -> None:
    assert "01" * 32 not in repr(ours.Signer(KEY, sub_account_id=1, mainnet=True))
