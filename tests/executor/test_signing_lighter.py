"""The Lighter signer against the vectors, the recorded oracles and the official SDK's own client.

Signatures are random and `ExpiredAt` is the library's clock, so what is compared is every other field, the order of keys,
the digest recomputed by the sandbox's independent implementation, and the signature's validity under the public key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pathlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.errors import ConfigError, NotSent
from executor.signing import lighter as ours
from executor.signing.signed import Signed
from ops.sandbox import ecgfp5
from ops.sandbox.venues import _lighter_signing as judge

ROOT = pathlib.Path(__file__).parents[2]
CASES: list[dict[str, Any]] = json.loads((ROOT / "tests/fixtures/lighter/signing_vectors.json").read_text())["cases"]
ORACLE = ROOT.parent / "shared" / "data" / "payloads" / "lighter" / "signing_tx_oracle.json"
KEY = "01" * 40
ORDER = {
    "market": 1, "client_index": 7, "base_amount": 10, "price": 643_500, "is_ask": True, "time_in_force": ours.IOC,
    "reduce_only": False, "expiry_ms": 0, "nonce": 5, "skip_nonce": True,
}  # fmt: skip
SDK_SCRIPT = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
import lighter
async def main():
    client = lighter.SignerClient(url="http://127.0.0.1:1", account_index=123456, api_private_keys={5: "01" * 40}, chain_id=300)
    common = {"nonce": 77, "api_key_index": 5}
    told = {
        "create": client.sign_create_order(1, 7, 10, 643500, True, 0, 0, True, 0, 0, skip_nonce=1, **common),
        "rest": client.sign_create_order(0, 281474976710655, 1, 4294967295, False, 0, 2, False, 0, 1897600000000, **common),
        "cancel": client.sign_cancel_order(1, 844424914280027, skip_nonce=1, **common),
        "cancel_all": client.sign_cancel_all_orders(2, 0, skip_nonce=1, **common),
        "leverage": client.sign_update_leverage(1, 3333, 0, **common),
    }
    print(json.dumps(told))
    await client.close()
asyncio.run(main())
"""


@pytest.fixture
async def signer() -> AsyncIterator[ours.Signer]:
    made = ours.Signer(lambda: KEY, account=123456, key_index=5, chain_id=300)
    await made.start()
    yield made
    made.close()


def judged(signed: Signed, chain_id: int, secret: str = KEY) -> dict[str, Any]:
    """The fields, after the hash and the signature have been checked."""
    tx = judge.parse(signed.kind, signed.info.decode())
    digest = judge.digest(tx, chain_id)
    assert judge.hash_of(digest) == signed.name
    public = ecgfp5.PublicKey(ecgfp5.public_key(int.from_bytes(bytes.fromhex(secret), "little")))
    assert public.verifies(digest, tx.signature)
    fields: dict[str, Any] = json.loads(signed.info)
    return fields


def begun(signer: ours.Signer, call: str, args: dict[str, Any], nonce: int) -> asyncio.Future[Signed]:
    common: dict[str, Any] = {"nonce": nonce, "skip_nonce": bool(args.get("skip_nonce"))}
    market = args.get("market_index", 0)
    if call == "create_order":
        return signer.create_order(
            market=market, client_index=args["client_order_index"], base_amount=args["base_amount"], price=args["price"],
            is_ask=bool(args["is_ask"]), time_in_force=args["time_in_force"], reduce_only=bool(args["reduce_only"]),
            expiry_ms=args["order_expiry"], order_type=args["order_type"], **common,
        )  # fmt: skip
    if call == "cancel_order":
        index = args["order_index"] if "order_index" in args else args["index"]
        return signer.cancel_order(market=market, index=index, **common)
    if call == "update_leverage":
        fraction = args["initial_margin_fraction"]
        return signer.update_leverage(
            market=market, margin_fraction=fraction, margin_mode=args["margin_mode"], **common
        )
    return signer.cancel_all_orders(
        when=args["time_in_force"], time_ms=args["time"], market=args["cancel_all_market_index"], **common
    )


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in CASES if "call" in c["inputs"]])
async def test_transaction_vectors(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    signer = ours.Signer(
        lambda: inputs["private_key"],
        account=inputs["account_index"],
        key_index=inputs["api_key_index"],
        chain_id=inputs["chain_id"],
    )
    await signer.start()
    signed = await begun(signer, inputs["call"], inputs["args"], inputs["nonce"])
    signer.close()
    assert signed.kind == expected["tx_type"]
    fields = judged(signed, inputs["chain_id"], inputs["private_key"])
    assert list(fields) == expected["tx_info_key_order"]
    assert len(base64.b64decode(fields.pop("Sig"))) == 80
    fields["ExpiredAt"] = inputs["expired_at"]
    assert fields == expected["tx_info_without_sig"]
    again = judge.parse(signed.kind, json.dumps({**json.loads(signed.info), "ExpiredAt": inputs["expired_at"]}))
    assert judge.hash_of(judge.digest(again, inputs["chain_id"])) == expected["tx_hash"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in CASES if "deadline_unix_s" in c["inputs"]])
async def test_auth_token_vector(signer: ours.Signer, case: dict[str, Any]) -> None:
    token = await signer.auth_token(case["inputs"]["deadline_unix_s"])
    message, _, signature = token.rpartition(":")
    assert message == case["expected"]["message"]
    public = ecgfp5.PublicKey(bytes.fromhex(case["expected"]["public_key"]))
    assert public.verifies(judge.token_digest(message), bytes.fromhex(signature))


async def test_recorded_transactions_of_the_official_signer() -> None:
    if not ORACLE.exists():
        pytest.skip(f"{ORACLE} is missing: the recorded oracle cannot be asked")
    compared = 0
    for vector in json.loads(ORACLE.read_text())["vectors"]:
        if vector["kind"] not in ("create_order", "cancel_order") or vector["fields"].get("integrator_account_index"):
            continue
        signer = ours.Signer(
            lambda secret=vector["sk"]: secret,  # type: ignore[misc]
            account=vector["account_index"],
            key_index=vector["api_key_index"],
            chain_id=vector["chain_id"],
        )
        await signer.start()
        signed = await begun(signer, vector["kind"], vector["fields"], vector["nonce"])
        signer.close()
        theirs, fields = json.loads(vector["tx_info"]), judged(signed, vector["chain_id"], vector["sk"])
        apart = (
            "Sig",
            "ExpiredAt",
            "L2TxAttributes",
        )  # that generation wrote attributes of value 0, which are not hashed
        assert {k: v for k, v in fields.items() if k not in apart} == {
            k: v for k, v in theirs.items() if k not in apart
        }
        again = judge.parse(signed.kind, json.dumps({**fields, "ExpiredAt": vector["expired_at"]}))
        assert judge.hash_of(judge.digest(again, vector["chain_id"])) == vector["tx_hash"]
        compared += 1
    assert compared >= 4


async def test_the_sdk_signs_the_same_fields(signer: ours.Signer) -> None:
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", SDK_SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    theirs = json.loads(process.stdout)
    mine = {
        "create": signer.create_order(**{**ORDER, "reduce_only": True, "nonce": 77}),  # type: ignore[arg-type]
        "rest": signer.create_order(
            market=0, client_index=ours.MAX_INDEX, base_amount=1, price=ours.MAX_PRICE, is_ask=False,
            time_in_force=ours.POST_ONLY, reduce_only=False, expiry_ms=1_897_600_000_000, nonce=77, skip_nonce=False,
        ),
        "cancel": signer.cancel_order(market=1, index=844424914280027, nonce=77, skip_nonce=True),
        "cancel_all": signer.abort_switch(nonce=77, skip_nonce=True),
        "leverage": signer.update_leverage(market=1, margin_fraction=3333, margin_mode=0, nonce=77, skip_nonce=False),
    }  # fmt: skip
    for name, (kind, info, _, error) in theirs.items():
        assert error is None
        signed = await mine[name]
        fields, official = judged(signed, 300), json.loads(info)
        assert (signed.kind, list(fields)) == (int(kind), list(official)), name
        for drawn in ("Sig", "ExpiredAt"):
            assert type(fields.pop(drawn)) is type(official.pop(drawn))
        assert fields == official, name


@pytest.mark.parametrize(
    "change",
    [
        {"price": (1 << 32) + 7},
        {"price": 0},
        {"base_amount": 1 << 48},
        {"client_index": 1 << 48},
        {"client_index": 0},
        {"market": -1},
        {"nonce": -1},
        {"nonce": 1 << 47},
        {"time_in_force": 3},
    ],
)
async def test_numbers_that_do_not_fit_are_refused_not_wrapped(signer: ours.Signer, change: dict[str, int]) -> None:
    with pytest.raises(NotSent, match="outside"):
        signer.create_order(**{**ORDER, **change})  # type: ignore[arg-type]


async def test_what_the_library_refuses_is_not_sent(signer: ours.Signer) -> None:
    future = signer.create_order(**{**ORDER, "expiry_ms": 1_897_600_000_000})  # type: ignore[arg-type]
    with pytest.raises(NotSent, match="OrderExpiry"):
        await future


async def test_the_loop_runs_while_signatures_are_made_in_order(signer: ours.Signer) -> None:
    order: list[int] = []
    turns = 0
    futures = [signer.create_order(**{**ORDER, "nonce": n}) for n in range(100)]  # type: ignore[arg-type]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
    assert not signer.idle
    while not all(future.done() for future in futures):
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20
    await asyncio.sleep(0)
    assert order == list(range(100))
    assert signer.idle
    assert json.loads(futures[9].result().info)["Nonce"] == 9


async def test_the_package_is_never_imported_and_the_key_not_kept(signer: ours.Signer) -> None:
    code = (
        "import asyncio, sys\nfrom executor.signing.lighter import Signer\n"
        "s = Signer(lambda: '01' * 40, account=1, key_index=5, chain_id=300)\n"
        "asyncio.run(s.start())\nprint('lighter' in sys.modules)"
    )
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.stdout.strip() == "False", process.stderr[-2000:]
    assert KEY not in repr(vars(signer))
    assert KEY not in repr(signer)


async def test_a_bad_key_is_named_and_not_shown() -> None:
    bad = "zz" * 40
    signer = ours.Signer(lambda: bad, account=1, key_index=5, chain_id=300)
    with pytest.raises(ConfigError, match="LIGHTER_PRIVATE_KEY") as caught:
        await signer.start()
    assert bad not in str(caught.value)


async def test_nothing_is_signed_before_start_or_after_close() -> None:
    signer = ours.Signer(lambda: KEY, account=123456, key_index=5, chain_id=300)
    with pytest.raises(NotSent, match="not started"):
        await signer.auth_token(1_900_000_000)
    await signer.start()
    before = threading.active_count()
    signer.close()
    with pytest.raises(NotSent, match="not started"):
        await signer.auth_token(1_900_000_000)
    async with asyncio.timeout(5):
        while threading.active_count() >= before:
            await asyncio.sleep(0.01)


async def test_a_signer_that_hangs_is_not_waited_for(signer: ours.Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "SIGN_BOUND_S", 0.1)
    blocked = threading.Event()
    inner: Any = signer
    inner._thread.call(blocked.wait, 5.0)
    with pytest.raises(NotSent, match="did not answer"):
        await signer.create_order(**ORDER)  # type: ignore[arg-type]
    blocked.set()
