"""The Hyperliquid signer against the recorded vectors and against the official SDK's own signing functions."""

from __future__ import annotations

import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.utils import signing as sdk

from core.errors import ConfigError
from core.numeric import plain
from core.types import TimeInForce
from executor.signing import hyperliquid as ours
from executor.signing._eip712 import Field, hash_struct

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "hyperliquid" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
TIFS = {wire: tif for tif, wire in ours.TIF_WIRE.items()}
RANDOM_ACTIONS = 300


def cases(scheme: str) -> list[Any]:
    return [pytest.param(c, id=c["name"]) for c in CASES if c["inputs"]["scheme"] == scheme]


def signer_of(inputs: dict[str, Any]) -> ours.Signer:
    return ours.Signer(inputs["private_key"], mainnet=inputs["network"] == "mainnet", vault=inputs.get("vault_address"))


def action_of(inputs: dict[str, Any]) -> ours.Action:
    kind = inputs["action"]
    if kind == "order":
        return ours.order_action(
            [
                ours.order_wire(
                    o["asset"],
                    o["is_buy"],
                    plain(Decimal(o["px"])),
                    plain(Decimal(o["sz"])),
                    o["reduce_only"],
                    TIFS[o["tif"]],
                    o["cloid"],
                )
                for o in inputs["orders"]
            ]
        )
    if kind == "cancel":
        return ours.cancel_action([(c["asset"], c["oid"]) for c in inputs["cancels"]])
    if kind == "cancelByCloid":
        return ours.cancel_by_cloid_action([(c["asset"], c["cloid"]) for c in inputs["cancels"]])
    if kind == "updateLeverage":
        return ours.update_leverage_action(inputs["asset"], inputs["is_cross"], inputs["leverage"])
    if kind == "scheduleCancel":
        return ours.schedule_cancel_action(inputs["time"])
    assert kind == "noop"
    return ours.noop_action()


@pytest.mark.parametrize("case", cases("l1"))
def test_l1_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer, action = signer_of(inputs), action_of(inputs)
    nonce, expires = inputs["nonce"], inputs["expires_after"]
    assert signer.address == expected["signer"]
    assert ours._pack(action).hex() == expected["msgpack_hex"]
    assert signer.preimage(action, nonce, expires).hex() == expected["hash_preimage_hex"]
    digest = signer.l1_digest(action, nonce, expires)
    assert "0x" + digest.hex() == expected["eip712_digest"]
    signature = signer._key.sign(digest)
    assert f"0x{signature.r:064x}" == expected["r_padded"]
    assert f"0x{signature.s:064x}" == expected["s_padded"]
    assert signature.v == expected["v"]
    assert json.loads(signer.body(action, nonce, expires)) == expected["body"]


@pytest.mark.parametrize("case", cases("user_signed"))
def test_user_signed_vectors(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = signer_of(inputs)
    if inputs["action"] == "approveAgent":
        agent = ours.Signer(inputs["agent_private_key"], mainnet=True).address
        body = json.loads(signer.approve_agent_body(agent, inputs["agent_name"], inputs["nonce"]))
    else:
        body = json.loads(signer.usd_class_transfer_body(inputs["amount"], inputs["to_perp"], inputs["nonce"]))
    assert body == expected["body"]
    fields = [Field(f["name"], f["type"], body["action"].get(f["name"], "")) for f in inputs["fields"]]
    assert "0x" + ours._USER_SEPARATOR.hex() == expected["domain_separator"]
    assert "0x" + hash_struct(inputs["primary_type"], fields).hex() == expected["struct_hash"]
    assert "0x" + ours.user_signed_digest(inputs["primary_type"], fields).hex() == expected["eip712_digest"]


@pytest.mark.parametrize("case", cases("format"))
def test_numbers_are_written_as_the_server_rebuilds_them(case: dict[str, Any]) -> None:
    assert [plain(Decimal(v)) for v in case["inputs"]["values"]] == case["expected"]["wire"]


def test_every_vector_is_used() -> None:
    assert {c["inputs"]["scheme"] for c in CASES} == {
        "l1",
        "user_signed",
        "format",
        "ws",
    }  # ws: test_gateway_hyperliquid
    assert len(CASES) == 19


def test_random_actions_equal_the_official_sdk() -> None:
    rng = random.Random(20261120)
    short = 0
    for _ in range(RANDOM_ACTIONS):
        key = rng.randbytes(32).hex()
        vault = "0x" + rng.randbytes(20).hex() if rng.random() < 0.3 else None
        mainnet = rng.random() < 0.5
        nonce = rng.randrange(1_700_000_000_000, 1_900_000_000_000)
        expires = nonce + rng.randrange(1, 10_000) if rng.random() < 0.5 else None
        action = random_action(rng)
        theirs = sdk.sign_l1_action(Account.from_key(key), action, vault, nonce, expires, mainnet)
        body = json.loads(ours.Signer(key, mainnet=mainnet, vault=vault).body(action, nonce, expires))
        assert body["signature"] == theirs, action
        assert body["action"] == action
        assert (body["nonce"], body["vaultAddress"], body["expiresAfter"]) == (nonce, vault, expires)
        short += len(theirs["r"]) < 66 or len(theirs["s"]) < 66
    assert short > 0  # signatures with leading zeros were among them


def test_order_wire_equals_the_official_sdk_conversion() -> None:
    rng = random.Random(7)
    for _ in range(RANDOM_ACTIONS):
        px = Decimal(rng.randrange(1, 10**7)).scaleb(-rng.randrange(0, 6))
        sz = Decimal(rng.randrange(1, 10**7)).scaleb(-rng.randrange(0, 5))
        tif = rng.choice(list(TimeInForce))
        cloid = "0x" + rng.randbytes(16).hex() if rng.random() < 0.7 else None
        request: Any = {
            "coin": "X",
            "is_buy": rng.random() < 0.5,
            "sz": float(sz),
            "limit_px": float(px),
            "order_type": {"limit": {"tif": ours.TIF_WIRE[tif]}},
            "reduce_only": rng.random() < 0.5,
            "cloid": None if cloid is None else sdk.Cloid.from_str(cloid),
        }
        theirs = sdk.order_wires_to_order_action([sdk.order_request_to_order_wire(request, 42)])
        mine = ours.order_action(
            [ours.order_wire(42, request["is_buy"], plain(px), plain(sz), request["reduce_only"], tif, cloid)]
        )
        assert json.dumps(mine) == json.dumps(theirs)  # field order included


def test_a_bad_key_is_refused_without_showing_it() -> None:
    for bad in ("zz" * 32, "01" * 31, "00" * 32, ""):
        with pytest.raises(ConfigError) as caught:
            ours.Signer(bad, mainnet=False)
        assert not bad or bad not in str(caught.value)


def test_changed_field_changes_the_signature() -> None:
    signer = ours.Signer("01" * 32, mainnet=True)
    base = ours.order_action([ours.order_wire(0, True, "95000", "0.001", False, TimeInForce.IOC, None)])
    other = ours.order_action([ours.order_wire(0, True, "95000.0", "0.001", False, TimeInForce.IOC, None)])
    digests = {
        signer.l1_digest(base, 1, None),
        signer.l1_digest(base, 2, None),
        signer.l1_digest(base, 1, 5),
        signer.l1_digest(other, 1, None),
        ours.Signer("01" * 32, mainnet=False).l1_digest(base, 1, None),
    }
    assert len(digests) == 5


def random_action(rng: random.Random) -> ours.Action:
    def order() -> ours.Action:
        return ours.order_wire(
            rng.choice([0, 5, 127, 128, 255, 256, 65_536, 110_000]),
            rng.random() < 0.5,
            plain(Decimal(rng.randrange(1, 10**6)).scaleb(-rng.randrange(0, 5))),
            plain(Decimal(rng.randrange(1, 10**6)).scaleb(-rng.randrange(0, 5))),
            rng.random() < 0.5,
            rng.choice(list(TimeInForce)),
            "0x" + rng.randbytes(16).hex() if rng.random() < 0.7 else None,
        )

    kind = rng.randrange(6)
    if kind <= 1:
        return ours.order_action([order() for _ in range(rng.choice([1, 1, 1, 2, 17]))])
    if kind == 2:
        return ours.cancel_action([(rng.randrange(300), rng.randrange(1 << 40)) for _ in range(rng.choice([1, 3]))])
    if kind == 3:
        return ours.cancel_by_cloid_action([(rng.randrange(300), "0x" + rng.randbytes(16).hex())])
    if kind == 4:
        return ours.update_leverage_action(rng.randrange(300), rng.random() < 0.5, rng.randrange(1, 41))
    return rng.choice([ours.noop_action(), ours.schedule_cancel_action(None), ours.schedule_cancel_action(1 << 40)])
