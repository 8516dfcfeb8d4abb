"""Agents and builders: who may sign for a wallet, and who may charge a fee on its orders (docs/venues/aster.md 6, 11).

Approvals are signed by the main wallet itself, with a typed struct of their own; they need no deposit. An order that names
an approved builder pays its feeRate on top of the commission, which is why clients should not approve any unasked.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.clock import NS_PER_MS
from core.numeric import plain
from ops.sandbox.model import ZERO
from ops.sandbox.venues._aster_auth import (
    TESTNET_CHAIN_ID,
    WALLET_CHAIN_ID,
    Address,
    Agent,
    recover,
    struct_digest,
)
from ops.sandbox.venues._aster_call import Call
from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_orders import Row
from ops.sandbox.venues._aster_request import Params
from ops.sandbox.venues._aster_settings import Builder, Settings
from ops.sandbox.venues.base import Host

AGENT_MANDATORY = (
    "agentName",
    "agentAddress",
    "expired",
    "canSpotTrade",
    "canPerpTrade",
    "canWithdraw",
    "asterChain",
    "signatureChainId",
)
BUILDER_MANDATORY = ("builder", "maxFeeRate", "builderName", "asterChain", "signatureChainId")
_BUILDER_ORDER = ("builder", "maxFeeRate", "builderName", "asterChain", "user", "nonce")
_TYPES = {
    "expired": "uint256",
    "nonce": "uint256",
    "canSpotTrade": "bool",
    "canPerpTrade": "bool",
    "canWithdraw": "bool",
}
_UNSIGNED = ("signature", "signatureChainId", "signer")
SUCCESS: Row = {"code": 200, "msg": "success"}


class Wallet:
    """Handlers of agent and builder management."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._clock = host.clock
        self._exchange = host.exchange
        self._settings = settings

    def agents(self, call: Call) -> list[Row]:
        return [
            {
                "agentName": agent.name,
                "agentAddress": agent.address,
                "ipWhitelist": agent.ip_whitelist,
                "expired": agent.expired_ms,
                "canSpotTrade": agent.can_spot_trade,
                "canPerpTrade": agent.can_perp_trade,
                "canWithdraw": agent.can_withdraw,
            }
            for agent in self._settings.agents(call.user)
        ]

    def approve_agent(self, call: Call) -> Row:
        """Wallet-signed (ApproveAgent, chain id 56). A wallet without a deposit may approve, but not trade."""
        names = [name for name in call.params.values if name not in _UNSIGNED]
        self._require_wallet(call, "ApproveAgent", names, WALLET_CHAIN_ID)
        self._ensure_account(call.user)
        params = call.params
        self._settings.set_agent(
            call.user,
            Agent(
                name=params.text("agentName"),
                address=params.text("agentAddress").lower(),
                expired_ms=params.integer("expired"),
                can_perp_trade=params.boolean("canPerpTrade"),
                can_spot_trade=params.boolean("canSpotTrade"),
                can_withdraw=params.boolean("canWithdraw"),
                ip_whitelist=params.values.get("ipWhitelist", ""),
            ),
        )
        return dict(SUCCESS)

    def remove_agent(self, call: Call) -> Row:
        """Only the main wallet itself may remove an agent."""
        if call.signer != call.user:
            raise ApiError(Code.REJECTED_KEY, status=401)
        agent = self._settings.agent(call.user, call.params.text("agentAddress").lower())
        if agent is None:
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'agentAddress' is not valid.")
        self._settings.set_agent(call.user, Agent(name=agent.name, address=agent.address, expired_ms=0))
        return dict(SUCCESS)

    def builders(self, call: Call) -> list[Row]:
        return [
            {
                "userAddress": call.user,
                "builderAddress": builder.address,
                "maxFeeRate": plain(builder.max_fee_rate),
                "builderName": builder.name,
            }
            for builder in self._settings.builders(call.user)
        ]

    def approve_builder(self, call: Call) -> Row:
        """Wallet-signed (ApproveBuilder); the members' order is fixed, not the one sent."""
        chain_id = call.params.integer("signatureChainId")
        if chain_id not in (WALLET_CHAIN_ID, TESTNET_CHAIN_ID):
            raise ApiError(Code.INVALID_SIGNATURE)
        self._require_wallet(call, "ApproveBuilder", _BUILDER_ORDER, chain_id)
        address, rate = call.params.text("builder"), call.params.decimal("maxFeeRate")
        if not 0 <= rate <= 1:
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'maxFeeRate' is not valid.")
        self._ensure_account(call.user)
        self._settings.set_builder(call.user, address, Builder(address, call.params.text("builderName"), rate))
        return dict(SUCCESS)

    def remove_builder(self, call: Call) -> Row:
        if call.signer != call.user:
            raise ApiError(Code.REJECTED_KEY, status=401)
        address = call.params.text("builder").lower()
        if all(builder.address.lower() != address for builder in self._settings.builders(call.user)):
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'builder' is not valid.")
        self._settings.set_builder(call.user, address, None)
        return dict(SUCCESS)

    def may_sign(self, user: Address, signer: Address) -> bool:
        """The wallet itself, or an unexpired agent of it with permission for perpetuals."""
        if signer == user:
            return True
        agent = self._settings.agent(user, signer)
        return agent is not None and agent.may_trade(self._clock.wire_ns() // NS_PER_MS)

    def _ensure_account(self, user: Address) -> None:
        """A wallet that only manages agents and builders has an account without money, which may not trade."""
        if self._exchange.account(user) is None:
            self._exchange.open_account(user, ZERO)
            self._settings.set_deposited(user, False)

    def _require_wallet(self, call: Call, primary: str, names: Iterable[str], chain_id: int) -> None:
        try:
            digest = struct_digest(primary, _fields(call.params, names), chain_id)
        except ValueError:
            raise ApiError(Code.INVALID_PARAMETER) from None
        if recover(digest, call.params.text("signature")) != call.user:
            raise ApiError(Code.INVALID_SIGNATURE)


def _fields(params: Params, names: Iterable[str]) -> list[tuple[str, str, str]]:
    """(Name, type, value) of a wallet-signed struct."""
    return [
        (name[0].upper() + name[1:], _TYPES.get(name, "string"), params.values.get(name, "")) for name in names if name
    ]
