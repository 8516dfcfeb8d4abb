"""Variational's two signatures against the vectors, and against the venue's own SDK on random requests."""

from __future__ import annotations

import json
import pathlib
import random
import string
from decimal import Decimal
from typing import Any

import pytest
import requests
from eth_account import Account
from eth_account.messages import encode_defunct
from variational import auth, rounding

from core.errors import ConfigError
from core.specs import variational as specs
from core.types import Side
from executor.signing import variational as ours

VECTORS = pathlib.Path(__file__).parents[1] / "fixtures" / "variational" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
HMAC = [case for case in CASES if "preimage" in case["expected"]]
(LOGIN,) = [case for case in CASES if "login_request" in case["expected"]]
WEB = [case for case in CASES if "body_json" in case["expected"]]
REQUESTS = 250


def hmac_of(case: dict[str, Any]) -> dict[str, str]:
    inputs, expected = case["inputs"], case["expected"]
    signer = ours.HmacSigner(inputs["api_key"], inputs["api_secret_hex"])
    return dict(signer.headers(expected["method"], expected["path_url"], expected["body"].encode(), inputs["now_ms"]))


def login_of(case: dict[str, Any]) -> str:
    inputs = case["inputs"]
    return ours.Signer(inputs["wallet_private_key"]).login(inputs["message_text_as_returned_by_server"])


def test_every_vector_is_used() -> None:
    assert len(HMAC) + 1 + len(WEB) == len(CASES)


@pytest.mark.parametrize("case", HMAC, ids=lambda case: case["name"])
def test_hmac_vectors_byte_for_byte(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = ours.HmacSigner(inputs["api_key"], inputs["api_secret_hex"])
    body = expected["body"].encode()
    told = signer.preimage(expected["method"], expected["path_url"], body, inputs["now_ms"])
    assert told.decode() == expected["preimage"]
    assert hmac_of(case).items() <= expected["headers"].items()


def test_the_login_vector_byte_for_byte() -> None:
    inputs, expected = LOGIN["inputs"], LOGIN["expected"]
    assert ours.Signer(inputs["wallet_private_key"]).address == inputs["address"]
    assert "0x" + ours.personal_digest(inputs["message_text_as_returned_by_server"]).hex() == expected["eip191_digest"]
    assert login_of(LOGIN) == expected["login_request"]["body"]["signed_message"]
    assert len(login_of(LOGIN)) == 130


@pytest.mark.parametrize("case", [case for case in WEB if "limit" not in case["name"]], ids=lambda case: case["name"])
def test_web_bodies_are_the_same_value(case: dict[str, Any]) -> None:
    """All but limit orders, which we never send: they rest and are no maker's."""
    inputs, expected = case["inputs"], case["expected"]
    params = inputs["params"]
    if "quote_id" in params:
        slippage = Decimal(params["max_slippage"])
        body = ours.take_body(params["quote_id"], Side(params["side"]), slippage, params["reduce_only"])
    elif "rfq_id" in params:
        body = ours.cancel_body(params["rfq_id"])
    else:
        body = ours.quote_body(params["symbol"], Decimal(params["qty"]))
    assert json.loads(body) == expected["body_json"]
    headers = dict(ours.session_headers(inputs["vr_token"], inputs["vr_connected_address"]))
    assert headers.items() <= expected["headers"].items()


def test_random_requests_equal_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(20261120)
    now_ms = 1_795_132_800_000
    monkeypatch.setattr(auth.time, "time", lambda: now_ms / 1000)
    for _ in range(REQUESTS):
        key = "".join(rng.choices(string.hexdigits, k=36))
        secret = rng.randbytes(rng.choice((20, 32, 64, 65))).hex()
        payload = rng.choice((None, {}, {"id": "".join(rng.choices(string.printable, k=rng.randrange(60)))}))
        url = f"https://api.variational.io/v1/{''.join(rng.choices(string.ascii_letters, k=8))}?a={rng.random()}"
        method = rng.choice(("GET", "POST"))
        theirs = auth.sign_prepared_request(requests.Request(method, url, json=payload).prepare(), key, secret)
        body = theirs.body if isinstance(theirs.body, bytes) else b""
        made = dict(ours.HmacSigner(key, secret).headers(method, theirs.path_url, body, now_ms))
        assert made.items() <= dict(theirs.headers).items()


def test_random_logins_equal_the_usual_library() -> None:
    rng = random.Random(20261120)
    for _ in range(40):
        key = "0x" + rng.randbytes(32).hex()
        text = "".join(rng.choices(string.printable + "äß漢", k=rng.randrange(1, 400)))
        theirs = Account.from_key(key).sign_message(encode_defunct(text=text))
        signer = ours.Signer(key)
        assert signer.login(text) == theirs.signature.hex().removeprefix("0x")
        assert signer.address == Account.from_key(key).address


def test_steps_of_prices_and_sizes_are_the_sdks() -> None:
    """A price on our step is one that the venue's own rounding leaves alone; the size step is its own formula."""
    rng = random.Random(20261120)
    needs = {"min_decimal_figures": 2, "max_decimal_only_figures": 4, "max_significant_figures": 6}
    for _ in range(2_000):
        px = Decimal(rng.randrange(1, 10**9)).scaleb(rng.randrange(-14, -2))
        step = specs.price_step(px)
        on_step = (px / step).to_integral_value() * step
        assert rounding.round_to_requirements(on_step, needs) == on_step, px
        assert specs.size_step(px) == rounding.default_min_qty_tick(specs.MIN_NOTIONAL_USD, px), px


def test_bad_keys_are_refused_without_showing_them() -> None:
    for make in (lambda: ours.Signer("0x12zz"), lambda: ours.HmacSigner("key", "hunter2")):
        with pytest.raises(ConfigError) as refused:
            make()
        assert "hunter2" not in str(refused.value)
        assert "12zz" not in str(refused.value)
