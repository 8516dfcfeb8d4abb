"""Signing one order: ours beside the official SDK (Hyperliquid) and eth-account as the venue's samples do it (Aster)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from eth_account import Account
from eth_account.messages import encode_typed_data
from hyperliquid.utils.signing import order_request_to_order_wire, order_wires_to_order_action, sign_l1_action

from executor.signing.aster import Signer as AsterSigner
from executor.signing.hyperliquid import Signer as HyperliquidSigner
from tests.bench.measure import Row, calls

KEY = "0x" + "01" * 32
USER = "0x" + "50" * 20
NONCE_MS = 1_795_132_800_000


def rows() -> list[Row]:
    ours = calls(_hyperliquid_ours(), rounds=3000)
    sdk = calls(_hyperliquid_sdk(), rounds=600)
    aster = calls(_aster_ours(), rounds=3000)
    sample = calls(_aster_sample(), rounds=600)
    return [
        Row(hop="Hyperliquid order signed, body ready", median_us=ours[0], p99_us=ours[1], goal_median_us=25.0, goal_p99_us=60.0,
            peer="hyperliquid-python-sdk", peer_median_us=sdk[0]),
        Row(hop="Aster order signed, body ready", median_us=aster[0], p99_us=aster[1], goal_median_us=30.0,
            peer="eth-account, as its samples", peer_median_us=sample[0]),
    ]  # fmt: skip


def _hyperliquid_ours() -> Any:
    signer = HyperliquidSigner(KEY, mainnet=True)

    def sign() -> bytes:
        order = {
            "a": 0,
            "b": True,
            "p": "95000",
            "s": "0.001",
            "r": False,
            "t": {"limit": {"tif": "Ioc"}},
            "c": "0x" + "0" * 32,
        }
        return signer.body({"type": "order", "orders": [order], "grouping": "na"}, NONCE_MS, NONCE_MS + 3000)

    return sign


def _hyperliquid_sdk() -> Any:
    wallet = Account.from_key(KEY)

    def sign() -> Any:
        request: Any = {
            "coin": "BTC", "is_buy": True, "sz": 0.001, "limit_px": 95000.0, "order_type": {"limit": {"tif": "Ioc"}},
            "reduce_only": False,
        }  # fmt: skip
        action = order_wires_to_order_action([order_request_to_order_wire(request, 0)])
        return sign_l1_action(wallet, action, None, NONCE_MS, NONCE_MS + 3000, True)

    return sign


PARAMS: list[tuple[str, str]] = [
    ("symbol", "BTCUSDT"), ("side", "BUY"), ("type", "LIMIT"), ("timeInForce", "IOC"), ("quantity", "0.010"),
    ("price", "60000.1"), ("newClientOrderId", "7a6d" + "0" * 28), ("newOrderRespType", "RESULT"),
]  # fmt: skip


def _aster_ours() -> Any:
    signer = AsterSigner(KEY, user=USER, mainnet=True)
    return lambda: signer.signed(PARAMS, NONCE_MS * 1000)


def _aster_sample() -> Any:
    wallet = Account.from_key(KEY)

    def sign() -> str:
        msg = urlencode([*PARAMS, ("nonce", NONCE_MS * 1000), ("user", USER), ("signer", wallet.address)])
        typed = {
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"},
                ],
                "Message": [{"name": "msg", "type": "string"}],
            },
            "primaryType": "Message",
            "domain": {"name": "AsterSignTransaction", "version": "1", "chainId": 1666, "verifyingContract": "0x" + "0" * 40},
            "message": {"msg": msg},
        }  # fmt: skip
        signature = wallet.sign_message(encode_typed_data(full_message=typed)).signature.hex()
        return f"{msg}&signature=0x{signature}"

    return sign
