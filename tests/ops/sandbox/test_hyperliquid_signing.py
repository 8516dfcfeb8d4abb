"""Every signing vector recovers its signer in the sandbox's own verification; anything changed recovers a stranger."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.sandbox.venues import _hyperliquid_signing as wire

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "hyperliquid" / "signing_vectors.json"
CASES = json.loads(FILE.read_text())["cases"]
SIGNED = [case for case in CASES if "body" in case["expected"]]
L1 = [case for case in SIGNED if case["inputs"]["scheme"] == "l1"]


def recovered(case: dict[str, Any], body: dict[str, Any] | None = None) -> str | None:
    envelope = wire.convert_envelope(body or case["expected"]["body"])
    return wire.signer_of(envelope, mainnet=case["inputs"]["network"] == "mainnet")


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])
def test_every_vector_recovers_its_signer(case: dict[str, Any]) -> None:
    assert recovered(case) == case["expected"]["signer"].lower()


@pytest.mark.parametrize("case", L1, ids=lambda case: case["name"])
def test_the_rebuilt_action_is_byte_equal(case: dict[str, Any]) -> None:
    envelope = wire.convert_envelope(case["expected"]["body"])
    action = wire.normalize(envelope.action)
    assert msgspec.msgpack.encode(action).hex() == case["expected"]["msgpack_hex"]
    connection = wire.connection_id(action, envelope.nonce, envelope.vaultAddress, envelope.expiresAfter)  # type: ignore[arg-type]
    assert "0x" + connection.hex() == case["expected"]["connection_id"]
    mainnet = case["inputs"]["network"] == "mainnet"
    assert "0x" + wire.l1_digest(connection, mainnet).hex() == case["expected"]["eip712_digest"]


def test_the_web_socket_envelope_vector_holds_a_good_signature() -> None:
    (case,) = [case for case in CASES if "frame" in case["expected"]]
    request = case["expected"]["frame"]["request"]
    assert request["type"] == "action"
    envelope = wire.convert_envelope(request["payload"])
    signers = {case["expected"]["signer"].lower() for case in SIGNED}
    assert {wire.signer_of(envelope, mainnet=True), wire.signer_of(envelope)} & signers


@pytest.mark.parametrize("part", ["nonce", "vaultAddress", "expiresAfter", "price", "network"])
def test_a_changed_part_recovers_somebody_else(part: str) -> None:
    case = next(case for case in SIGNED if case["name"] == "place-alo-batch-subaccount-expires-testnet")
    body = copy.deepcopy(case["expected"]["body"])
    signer = case["expected"]["signer"].lower()
    assert recovered(case, body) == signer
    if part == "price":
        body["action"]["orders"][0]["p"] = "1"
    elif part == "network":
        assert wire.signer_of(wire.convert_envelope(body), mainnet=True) != signer
        return
    else:
        body[part] = None if part != "nonce" else body["nonce"] + 1
    assert recovered(case, body) not in (None, signer)


def test_what_the_server_rebuilds_is_what_counts() -> None:
    """Trailing zeros, upper-case hex, nulls and unknown fields in the JSON do not matter: the hash is of the normal form."""
    case = next(case for case in SIGNED if case["name"] == "place-ioc-reduce-only-cloid-expires")
    body = copy.deepcopy(case["expected"]["body"])
    order = body["action"]["orders"][0]
    order["p"] += "0" if "." in order["p"] else ".0"
    order["c"] = "0x" + order["c"][2:].upper()
    order["unknown"] = 1
    body["action"]["builder"] = None
    assert recovered(case, body) == case["expected"]["signer"].lower()


@pytest.mark.parametrize(
    ("r", "s", "v"),
    [("0x0", "0x1", 27), ("0x1", "0x0", 27), ("0x" + "f" * 64, "0x1", 27), ("0x1", "0x1", 29), ("zz", "0x1", 27)],
)
def test_a_malformed_signature_recovers_nobody(r: str, s: str, v: int) -> None:
    body = copy.deepcopy(SIGNED[0]["expected"]["body"])
    body["signature"] = {"r": r, "s": s, "v": v}
    assert recovered(SIGNED[0], body) is None


@pytest.mark.parametrize(
    "change",
    [
        {"p": "NaN"},
        {"p": "x"},
        {"s": "Infinity"},
        {"c": "0x12"},
        {"c": "0x" + "g" * 32},
        {"p": 5},
        {"a": "0"},
        {"b": 1},
    ],
)
def test_what_is_not_an_order_does_not_decode(change: dict[str, Any]) -> None:
    body = copy.deepcopy(SIGNED[0]["expected"]["body"])
    body["action"]["orders"][0].update(change)
    with pytest.raises(ValueError):  # msgspec's errors are ValueErrors too
        wire.normalize(wire.convert_envelope(body).action)
