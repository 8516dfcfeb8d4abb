"""The Kraken signer against the vectors, and against python-kraken-sdk on random orders."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pathlib
import random
import string
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from kraken.spot import SpotClient

from executor.signing import kraken as ours

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "kraken" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
RANDOM_ORDERS = 250
SECRET = base64.b64encode(bytes(range(64))).decode()


def cases(*schemes: str) -> list[Any]:
    """Without the subscription, which is the feed's: tests/feeds/test_decode_kraken.py."""
    chosen = [c for c in CASES if c["inputs"]["scheme"] in schemes and "symbols" not in c["inputs"]]
    return [pytest.param(c, id=c["name"]) for c in chosen]


@pytest.mark.parametrize("case", cases("rest_form", "rest_json", "rest_bytes"))
def test_rest_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = ours.Signer(inputs["api_key"], inputs["api_secret_b64"])
    nonce = int(inputs["nonce"])
    if inputs["scheme"] == "rest_form":
        body, kind = ours.form(nonce, [(name, value) for name, value in inputs["params_in_order"]]), ours.FORM
    elif inputs["scheme"] == "rest_json":
        body, kind = ours.json_body(nonce, inputs["params_in_order"]), ours.JSON
    else:
        body, kind = inputs["body"].encode(), ours.FORM
    if "body" in expected:
        assert body.decode() == expected["body"]
        assert hashlib.sha256(b"%d" % nonce + body).hexdigest() == expected["sha256_nonce_body_hex"]
    wanted = dict(expected["headers"])
    assert wanted.pop("Content-Type", kind) == kind
    assert dict(signer.headers(inputs["path"], nonce, body)) == wanted
    assert inputs["api_secret_b64"] not in repr(signer)


@pytest.mark.parametrize("case", cases("ws_json"))
def test_socket_messages_are_the_same_value(case: dict[str, Any]) -> None:
    inputs = case["inputs"]
    common = {"token": inputs.get("token", ""), "req_id": inputs["req_id"]}
    if "order_qty" in inputs:
        made = ours.add_order(
            symbol=inputs["symbol"], is_buy=inputs["side"] == "buy", qty=inputs["order_qty"], px=inputs["limit_price"],
            time_in_force=inputs["tif"], client_id=inputs["cl_ord_id"], post_only=inputs.get("post_only", False), **common,
        )  # fmt: skip
    elif "cl_ord_ids" in inputs:
        made = ours.cancel_order(client_id=inputs["cl_ord_ids"][0], **common)
    else:
        made = ours.cancel_all_after(timeout_s=inputs["timeout_s"], **common)
    assert json.loads(made) == case["expected"]["message"]


def test_options_of_an_order_are_written_where_they_are_asked() -> None:
    made = json.loads(
        ours.add_order(
            symbol="BTC/USD", is_buy=True, qty="0.00100000", px="60000.1", time_in_force="ioc", client_id="ab" * 16,
            token="t", req_id=7, fee_in_quote=True, deadline="2026-11-20T09:00:05.000Z",
        )
    )  # fmt: skip
    assert made["params"]["fee_preference"] == "quote"
    assert made["params"]["deadline"] == "2026-11-20T09:00:05.000Z"
    assert "post_only" not in made["params"]
    by_id = json.loads(ours.cancel_order(order_id="OABCDE-12345-FGHIJ", token="t", req_id=8))
    assert by_id["params"] == {"order_id": ["OABCDE-12345-FGHIJ"], "token": "t"}


def test_random_orders_are_signed_as_the_sdk_signs_them() -> None:
    rng = random.Random(20261120)
    sdk = SpotClient(key="key", secret=SECRET)
    signer = ours.Signer("key", SECRET)
    for _ in range(RANDOM_ORDERS):
        params = [
            ("pair", rng.choice(["BTC/USD", "XBTUSD", "DOGE/USD"])),
            ("type", rng.choice(["buy", "sell"])),
            ("ordertype", "limit"),
            ("price", f"{rng.uniform(0.0001, 99999):.{rng.randrange(6)}f}"),
            ("volume", f"{rng.uniform(0.0001, 99):.8f}"),
            ("cl_ord_id", rng.randbytes(16).hex()),
            ("note", "".join(rng.choices(string.printable + "äß", k=rng.randrange(12)))),
        ]
        nonce = rng.randrange(1 << 63)
        body = ours.form(nonce, params)
        text = urlencode([("nonce", str(nonce)), *params])
        assert body.decode() == text
        assert dict(parse_qsl(text, keep_blank_values=True)) == dict(params) | {"nonce": str(nonce)}
        path = rng.choice(["/0/private/AddOrder", "/0/private/CancelOrder"])
        theirs = sdk._get_kraken_signature(url_path=path, data=text, nonce=nonce)
        assert signer.signature(path, nonce, body) == theirs
        batch = {"pair": "BTC/USD", "orders": [{"price": params[3][1], "volume": params[4][1]}]}
        as_json = ours.json_body(nonce, batch)
        theirs = sdk._get_kraken_signature(url_path=path, data=as_json.decode(), nonce=nonce)
        assert signer.signature(path, nonce, as_json) == theirs


def test_one_changed_byte_changes_the_signature() -> None:
    signer = ours.Signer("key", SECRET)
    base = signer.signature("/0/private/AddOrder", 1, b"nonce=1&pair=XBTUSD")
    assert signer.signature("/0/private/AddOrder", 1, b"nonce=1&pair=XBTUSE") != base
    assert signer.signature("/0/private/AddOrder", 2, b"nonce=1&pair=XBTUSD") != base
    assert signer.signature("/0/private/CancelOrder", 1, b"nonce=1&pair=XBTUSD") != base
    by_hand = hmac.digest(
        bytes(range(64)), b"/0/private/AddOrder" + hashlib.sha256(b"1nonce=1&pair=XBTUSD").digest(), "sha512"
    )
    assert base == base64.b64encode(by_hand).decode()


@pytest.mark.parametrize("size", [1, 64, 127, 128, 129, 300])
def test_keys_of_every_length_are_padded_as_the_standard_says(size: int) -> None:
    key = random.Random(size).randbytes(size)
    signer = ours.Signer("key", base64.b64encode(key).decode())
    wanted = hmac.digest(key, b"/p" + hashlib.sha256(b"5body").digest(), "sha512")
    assert signer.signature("/p", 5, b"body") == base64.b64encode(wanted).decode()


@pytest.mark.parametrize("secret", ["not base64!", "AQE", "AQEB\n"])
def test_a_secret_that_is_no_base64_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match=r"base64|padding|Non-base64"):
        ours.Signer("key", secret)


def test_rehearsal_copies_leave_the_key_as_it_was() -> None:
    signer = ours.Signer("key", SECRET)
    first = signer.signature("/p", 5, b"nonce=5")
    assert all(signer.signature("/p", 5, b"nonce=5") == first for _ in range(3))
