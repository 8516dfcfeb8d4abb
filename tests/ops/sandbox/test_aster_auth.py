"""Signatures, nonces, noop and agents: the venue's own verification against the vectors and against eth-account."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from eth_account import Account

from ops.sandbox.venues._aster_auth import message_digest, recover, struct_digest
from ops.sandbox.venues._aster_request import parse_form
from ops.sandbox.venues._aster_wallet import _TYPES
from tests.ops.sandbox.aster_world import (
    AGENT,
    AGENT_KEY,
    MAIN_KEY,
    OTHER_KEY,
    USER,
    World,
    sign,
    typed_signature,
)

VECTORS = json.loads((Path(__file__).parents[2] / "fixtures/aster/signing_vectors.json").read_text())["cases"]
V3 = [case for case in VECTORS if case["inputs"]["scheme"] == "v3"]
APPROVALS = [case for case in VECTORS if case["inputs"]["scheme"] == "approve_agent"]


@pytest.mark.parametrize("case", V3, ids=[case["name"] for case in V3])
def test_v3_vector_recovers_its_signer_from_the_text_as_sent(case: dict[str, Any]) -> None:
    expected, inputs = case["expected"], case["inputs"]
    query = expected["url"].partition("?")[2]
    form = parse_form(query, expected["body"] or "")
    assert form.signed_text == expected["msg"]
    digest = message_digest(form.signed_text, inputs["chain_id"])
    assert "0x" + digest.hex() == expected["eip712_digest"]
    assert form.values["signature"] == expected["signature"]
    assert recover(digest, form.values["signature"]) == inputs["signer"].lower()
    wrong_chain = message_digest(form.signed_text, 714 if inputs["chain_id"] == 1666 else 1666)
    assert recover(wrong_chain, form.values["signature"]) != inputs["signer"].lower()


@pytest.mark.parametrize("case", APPROVALS, ids=[case["name"] for case in APPROVALS])
def test_wallet_signed_vector_recovers_the_wallet(case: dict[str, Any]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    fields = [
        (
            name[0].upper() + name[1:],
            _TYPES.get(name, "string"),
            str(value).lower() if value in (True, False) else str(value),
        )
        for name, value in inputs["params_in_order"]
    ]
    assert [{"name": name, "type": kind} for name, kind, _ in fields] == expected["types"]
    digest = struct_digest("ApproveAgent", fields, inputs["eip712_chain_id"])
    assert "0x" + digest.hex() == expected["eip712_digest"]
    assert recover(digest, expected["signature"]) == inputs["user"].lower()


def test_every_v3_and_wallet_vector_is_covered() -> None:
    """The two HMAC vectors belong to the legacy V1, which the sandbox does not serve: no such key can be made any more."""
    assert len(V3) + len(APPROVALS) == len(VECTORS) - 2


@pytest.mark.parametrize(
    "signature",
    ["", "0x", "zz" * 65, "00" * 65, "ff" * 65, "11" * 64, "11" * 66, "11" * 64 + "1d"],
)
def test_malformed_signatures_recover_nobody(signature: str) -> None:
    assert recover(b"\x01" * 32, signature) is None


def test_signature_form_does_not_matter_but_a_high_s_does() -> None:
    digest = message_digest("a=1", 714)
    signature = sign("a=1", AGENT_KEY)
    assert recover(digest, signature) == AGENT.lower()
    assert recover(digest, signature[2:]) == AGENT.lower()
    assert recover(digest, "0x" + signature[2:].upper()) == AGENT.lower()
    raw = bytes.fromhex(signature[2:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = raw[:32] + (order - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big") + bytes([55 - raw[64]])
    assert recover(digest, high.hex()) is None


async def test_signed_call_is_accepted_in_body_and_in_query() -> None:
    async with World() as world:
        assert (await world.call("GET", "balance")).status == 200
        assert (await world.call("POST", "leverage", symbol="BTCUSDT", leverage=5)).body["leverage"] == 5
        in_query = await world.call("POST", "leverage", symbol="BTCUSDT", leverage=6, in_query=True)
        assert in_query.body == {"leverage": 6, "maxNotionalValue": "5000000", "symbol": "BTCUSDT"}
        assert (await world.call("GET", "balance", key=MAIN_KEY)).status == 200


async def test_wrong_signatures_are_refused() -> None:
    async with World() as world:
        for answer in (
            await world.call("GET", "balance", chain_id=1666),
            await world.call("GET", "balance", key=OTHER_KEY, signer=AGENT),
            await world.call("GET", "balance", signature="0x" + "11" * 65),
        ):
            assert (answer.status, answer.code) == (400, -1022)
        stranger = await world.call("GET", "balance", key=OTHER_KEY)
        assert (stranger.status, stranger.code) == (401, -2015)
        unknown = await world.call("GET", "balance", key=OTHER_KEY, user="0x" + "77" * 20)
        assert unknown.code == -2015


async def test_text_changed_after_signing_is_refused_even_if_it_decodes_the_same() -> None:
    async with World() as world:
        text = f"symbol=BTCUSDT&leverage=5&nonce={world.nonce()}&user={USER}&signer={AGENT}"
        signature = sign(text, AGENT_KEY)
        changed = text.replace("leverage=5", "leverage=50")
        assert (await world.send("POST", "leverage", f"{changed}&signature={signature}")).code == -1022
        recoded = text.replace("BTCUSDT", "%42TCUSDT")
        assert (await world.send("POST", "leverage", f"{recoded}&signature={signature}")).code == -1022
        assert (await world.send("POST", "leverage", f"{text}&signature={signature}")).body["leverage"] == 5


async def test_wallet_without_deposit_may_read_nothing() -> None:
    async with World() as world:
        answer = await world.call("GET", "balance", key=OTHER_KEY, user=_address(OTHER_KEY))
        assert answer.code == -5050


async def test_signing_fields_are_mandatory() -> None:
    async with World() as world:
        for missing in ("nonce", "user", "signer", "signature"):
            values = {"nonce": str(world.nonce()), "user": USER, "signer": AGENT}
            values["signature"] = sign(urlencode(values), AGENT_KEY)
            del values[missing]
            answer = await world.send("GET", "balance", urlencode(values))
            assert (answer.status, answer.code) == (400, -1102)
            assert missing in answer.body["msg"]


# -- nonces -------------------------------------------------------------------------------------------------------------


async def test_nonce_outside_the_window_or_used_before_is_expired() -> None:
    async with World() as world:
        now = world.nonce()
        for nonce in (now - 61_000_000, now + 61_000_000):
            answer = await world.call("GET", "balance", nonce=nonce)
            assert answer.body == {"code": -4225, "msg": "Nonce Expired"}
        assert (await world.call("GET", "balance", nonce=now + 30_000_000)).status == 200
        assert (await world.call("GET", "balance", nonce=now - 30_000_000)).status == 200
        assert (await world.call("GET", "balance", nonce=now + 30_000_000)).code == -4225
        assert (await world.call("GET", "balance", nonce=now - 30_000_000)).code == -4225


async def test_only_the_last_hundred_nonces_are_kept_per_agent() -> None:
    async with World() as world:
        first = world.nonce()
        for offset in range(100):
            assert (await world.call("GET", "agent", nonce=first + 1_000 + offset)).status == 200
        assert (await world.call("GET", "agent", nonce=first)).code == -4225
        assert (await world.call("GET", "agent", nonce=first + 2_000)).status == 200
        assert (await world.call("GET", "agent", nonce=first, key=MAIN_KEY)).status == 200


async def test_used_nonces_survive_a_restart() -> None:
    async with World() as before:
        nonce = before.nonce()
        assert (await before.call("GET", "balance", nonce=nonce)).status == 200
    async with World(log=before.transactions) as after:
        assert (await after.call("GET", "balance", nonce=nonce)).code == -4225
        assert (await after.call("GET", "balance")).status == 200


async def test_noop_kills_a_request_in_flight() -> None:
    async with World(order_delay_s=0.3) as world:
        nonce = world.nonce()
        placing = asyncio.create_task(world.order("BUY", "0.01", "59000", nonce=nonce, newClientOrderId="doomed"))
        while not world.venue._flights._calls:
            await asyncio.sleep(0.005)
        noop = await world.call("POST", "noop", nonce=nonce)
        assert noop.body == {"code": 200, "msg": "success"}
        assert (await placing).body == {"code": -4225, "msg": "Nonce Expired"}
        assert world.exchange.orders(USER.lower()) == []


async def test_noop_spends_a_nonce_ahead_and_comes_too_late_for_a_processed_one() -> None:
    async with World() as world:
        ahead = world.nonce()
        assert (await world.call("POST", "noop", nonce=ahead)).status == 200
        assert (await world.order("BUY", "0.01", "59000", nonce=ahead)).code == -4225
        used = world.nonce()
        assert (await world.order("BUY", "0.01", "59000", nonce=used)).status == 200
        assert (await world.call("POST", "noop", nonce=used)).code == -4225
        assert len(world.exchange.open_orders(USER.lower())) == 1


# -- agents and builders ------------------------------------------------------------------------------------------------


async def approve(world: World, agent_key: str, expired: int, wallet_key: str = MAIN_KEY, perp: bool = True) -> Any:
    agent, user, nonce = _address(agent_key), _address(wallet_key), world.nonce()
    sent: list[tuple[str, str, Any]] = [
        ("agentName", "string", "arb-1"),
        ("agentAddress", "string", agent),
        ("ipWhitelist", "string", ""),
        ("expired", "uint256", expired),
        ("canSpotTrade", "bool", False),
        ("canPerpTrade", "bool", perp),
        ("canWithdraw", "bool", False),
        ("asterChain", "string", "Mainnet"),
        ("user", "string", user),
        ("nonce", "uint256", nonce),
    ]
    fields = [(name[0].upper() + name[1:], kind, value) for name, kind, value in sent]
    signature = typed_signature("ApproveAgent", fields, wallet_key, 56)
    values = {name: str(value).lower() if kind == "bool" else str(value) for name, kind, value in sent}
    text = urlencode(values | {"signature": signature, "signatureChainId": "56"})
    return await world.send("POST", "approveAgent", text)


async def test_agent_is_approved_expires_and_is_removed() -> None:
    async with World() as world:
        now_ms = world.clock.wire_ns() // 1_000_000
        assert (await world.call("GET", "balance", key=OTHER_KEY)).code == -2015
        assert (await approve(world, OTHER_KEY, now_ms + 60_000)).body == {"code": 200, "msg": "success"}
        assert (await world.call("GET", "balance", key=OTHER_KEY)).status == 200
        agents = (await world.call("GET", "agent")).body
        assert [row["agentAddress"] for row in agents] == [AGENT.lower(), _address(OTHER_KEY).lower()]
        assert agents[1]["expired"] == now_ms + 60_000
        await approve(world, OTHER_KEY, now_ms - 1)
        assert (await world.call("GET", "balance", key=OTHER_KEY)).code == -2015
        await approve(world, OTHER_KEY, now_ms + 60_000, perp=False)
        assert (await world.call("GET", "balance", key=OTHER_KEY)).code == -2015
        assert (await world.call("DELETE", "agent", agentAddress=AGENT)).code == -2015
        assert (await world.call("DELETE", "agent", key=MAIN_KEY, agentAddress=AGENT)).body["code"] == 200
        assert (await world.call("GET", "balance")).code == -2015


async def test_agent_approval_must_be_signed_by_the_wallet() -> None:
    async with World() as world:
        answer = await approve(world, OTHER_KEY, 1 << 45, wallet_key=OTHER_KEY)
        assert answer.status == 200  # a wallet of its own, without money
        undeposited = await world.call("GET", "balance", key=OTHER_KEY, user=_address(OTHER_KEY))
        assert undeposited.code == -5050
        forged = await approve(world, OTHER_KEY, 1 << 45)
        assert forged.status == 200
        text = urlencode({"agentName": "x", "agentAddress": AGENT, "expired": "1", "canSpotTrade": "false",
                          "canPerpTrade": "true", "canWithdraw": "false", "asterChain": "Mainnet", "user": USER,
                          "nonce": str(world.nonce()), "signature": "0x" + "11" * 65, "signatureChainId": "56"})  # fmt: skip
        assert (await world.send("POST", "approveAgent", text)).code == -1022


async def test_builder_fee_needs_approval_and_comes_on_top() -> None:
    builder = "0x1F5877C19e3777Cfd15F9d57253eA4aA5254Ec39"
    async with World() as world:
        assert (await world.call("GET", "builder")).body == []
        refused = await world.order("BUY", "0.01", builder=builder, feeRate="0.001")
        assert refused.code == -1130
        nonce = world.nonce()
        values = {"nonce": str(nonce), "user": USER, "builder": builder, "builderName": "ccxt", "maxFeeRate": "0.001",
                  "signatureChainId": "714", "asterChain": "Mainnet"}  # fmt: skip
        fields = [("Builder", "string", builder), ("MaxFeeRate", "string", "0.001"), ("BuilderName", "string", "ccxt"),
                  ("AsterChain", "string", "Mainnet"), ("User", "string", USER), ("Nonce", "uint256", nonce)]  # fmt: skip
        signature = typed_signature("ApproveBuilder", fields, MAIN_KEY, 714)
        approved = await world.send("POST", "approveBuilder", urlencode(values | {"signature": signature}))
        assert approved.body == {"code": 200, "msg": "success"}
        assert (await world.call("GET", "builder")).body[0]["maxFeeRate"] == "0.001"
        filled = await world.order("BUY", "0.01", builder=builder, feeRate="0.001")
        assert filled.body["status"] == "FILLED"
        trade = (await world.call("GET", "userTrades", symbol="BTCUSDT")).body[0]
        assert -float(trade["commission"]) == pytest.approx(float(trade["quoteQty"]) * (0.00035 + 0.001))
        assert (await world.order("BUY", "0.01", builder=builder, feeRate="0.002")).code == -1130


def _address(key: str) -> str:
    return str(Account.from_key(key).address)
