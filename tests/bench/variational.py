"""Variational: the official API's headers beside its SDK, a login beside the usual library, an order's body, and a whole answer
of the statistics as published indications (540 listings, six of them wanted)."""

from __future__ import annotations

import json
import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from eth_account import Account
from eth_account.messages import encode_defunct
from variational import auth

from bookshm.run import RunDir
from core.types import Side, Venue
from executor.signing import variational as signing
from feeds.venues.variational import Decoder
from tests.bench import decode
from tests.bench.measure import Row, calls

KEY, SECRET = "00000000-0000-4000-8000-00000000000a", "01" * 32
WALLET = "0x" + "11" * 32
TEXT = "omni.variational.io wants you to sign in with your Ethereum account:\n" + "x" * 300
BODY = json.dumps({"id": "22222222-2222-4222-8222-222222222222"}).encode()
URL = "https://api.variational.io/v1/rfqs/cancel"
LISTINGS, WANTED = 540, ("BTC", "T90", "T180", "T270", "T360", "T450")
ANSWERS = 60


def rows() -> list[Row]:
    headers, login, body = calls(_headers(), rounds=3000), calls(_login(), rounds=1000), calls(_body(), rounds=3000)
    sdk, library = calls(_sdk(), rounds=1000), calls(_library(), rounds=200)
    answer = _answer()
    return [
        Row(hop="Variational request signed (HMAC), headers ready", median_us=headers[0], p99_us=headers[1],
            goal_median_us=10.0, peer="variational SDK, prepared request signed", peer_median_us=sdk[0]),
        Row(hop="Variational login signed, once a week", median_us=login[0], p99_us=login[1], goal_median_us=250.0,
            peer="eth-account", peer_median_us=library[0]),
        Row(hop="Variational order, body ready", median_us=body[0], p99_us=body[1], goal_median_us=10.0),
        Row(hop="Variational statistics (540 listings) to published", median_us=answer[0], p99_us=answer[1],
            goal_median_us=5000.0),
    ]  # fmt: skip


def _headers() -> Any:
    signer = signing.HmacSigner(KEY, SECRET)
    return lambda: signer.headers("POST", "/v1/rfqs/cancel", BODY, 1_795_132_800_000)


def _sdk() -> Any:
    prepared = requests.Request("POST", URL, data=BODY).prepare()
    return lambda: auth.sign_prepared_request(prepared.copy(), KEY, SECRET)


def _login() -> Any:
    signer = signing.Signer(WALLET)
    return lambda: signer.login(TEXT)


def _library() -> Any:
    account = Account.from_key(WALLET)
    return lambda: account.sign_message(encode_defunct(text=TEXT)).signature.hex()


def _body() -> Any:
    slippage = Decimal("0.000123")
    return lambda: signing.take_body("12121212-1212-4212-8212-121212121212", Side.BUY, slippage, False)


def _answer() -> tuple[float, float]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, decode.CLOCK)
    try:
        frames = [_stats(number) for number in range(ANSWERS + 310)]
        return calls(decode._feed(run, Venue("variational"), _Wanted(), [frames[0]], frames), rounds=ANSWERS)
    finally:
        run.leave()


class _Wanted(Decoder):
    """As a run that names its symbols."""

    def load_catalogue(self, answers: list[bytes], wanted: Any) -> Any:
        return super().load_catalogue(answers, WANTED)


def _stats(number: int) -> bytes:
    made = [
        {
            "ticker": f"T{each}" if each else "BTC", "name": "x", "mark_price": "63346.75", "volume_24h": "358883721.879084",
            "open_interest": {"long_open_interest": "101298449.7520450", "short_open_interest": "92382797.4472445"},
            "funding_rate": "0.031605", "funding_interval_s": 28800, "base_spread_bps": "0.5",
            "quotes": {"updated_at": f"2026-08-13T16:01:55.{number:06d}Z", "size_1k": {"bid": "63344.45", "ask": "63349.06"},
                       "size_100k": {"bid": "63340.1", "ask": "63353.2"}},
        }
        for each in range(LISTINGS)
    ]  # fmt: skip
    return json.dumps({"listings": made}).encode()
