"""Durable account settings that only Aster has, kept as text in the account's extras (docs/venues/aster.md 6, 7, 8).

Position mode, multi-assets mode, self-trade mode, approved builders, agents beyond the seeded ones, dead-man switches and
the listen key survive a restart of the sandbox, as they would any outage of a client.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ops.sandbox.exchange import Exchange
from ops.sandbox.venues._aster_auth import Address, Agent

HEDGE = "aster.hedge"
MULTI_ASSETS = "aster.multi_assets"
STP = "aster.stp"
BUILDER = "aster.builder."
AGENT = "aster.agent."
COUNTDOWN = "aster.countdown."
LISTEN_KEY = "aster.listen_key"
UNDEPOSITED = "aster.undeposited"
DEFAULT_STP = "EXPIRE_MAKER"
FOREVER_MS = 4_133_404_800_000  # an agent seeded with the account


class Builder(msgspec.Struct, frozen=True):
    """A third party that may charge a fee on top, up to `max_fee_rate` (fraction)."""

    address: Address
    name: str
    max_fee_rate: Decimal


class ListenKey(msgspec.Struct, frozen=True):
    key: str
    expires_ms: int  # wire


class Settings:
    """Typed reads and writes of one exchange's account extras. Unknown accounts have every default."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def hedge_mode(self, user: Address) -> bool:
        return self._read(user, HEDGE) is not None

    def set_hedge_mode(self, user: Address, on: bool) -> None:
        self._exchange.set_extra(user, HEDGE, "true" if on else None)

    def multi_assets(self, user: Address) -> bool:
        return self._read(user, MULTI_ASSETS) is not None

    def set_multi_assets(self, user: Address, on: bool) -> None:
        self._exchange.set_extra(user, MULTI_ASSETS, "true" if on else None)

    def stp_mode(self, user: Address) -> str:
        """EXPIRE_TAKER, EXPIRE_MAKER or EXPIRE_BOTH."""
        return self._read(user, STP) or DEFAULT_STP

    def set_stp_mode(self, user: Address, mode: str) -> None:
        self._exchange.set_extra(user, STP, mode)

    def deposited(self, user: Address) -> bool:
        """Whether the wallet ever put money in: without it no business endpoint answers (-5050)."""
        return self._exchange.account(user) is not None and self._read(user, UNDEPOSITED) is None

    def set_deposited(self, user: Address, done: bool) -> None:
        self._exchange.set_extra(user, UNDEPOSITED, None if done else "true")

    # -- agents and builders ----------------------------------------------------------------------------------------

    def agents(self, user: Address) -> list[Agent]:
        """Seeded agents, overruled by what was approved or removed since."""
        account = self._exchange.account(user)
        if account is None:
            return []
        known = {a: Agent(name="seed", address=a, expired_ms=FOREVER_MS) for a in account.agents}
        for key, text in account.extras.items():
            if key.startswith(AGENT):
                known[key.removeprefix(AGENT)] = msgspec.json.decode(text, type=Agent)
        return list(known.values())

    def agent(self, user: Address, address: Address) -> Agent | None:
        """One agent of `user`, expired or not."""
        text = self._read(user, AGENT + address)
        if text:
            return msgspec.json.decode(text, type=Agent)
        account = self._exchange.account(user)
        seeded = account is not None and address in account.agents
        return Agent(name="seed", address=address, expired_ms=FOREVER_MS) if seeded else None

    def set_agent(self, user: Address, agent: Agent) -> None:
        """Approve, change, or (with an expiry in the past) remove an agent."""
        self._exchange.set_extra(user, AGENT + agent.address, msgspec.json.encode(agent).decode())

    def builders(self, user: Address) -> list[Builder]:
        account = self._exchange.account(user)
        extras = account.extras if account is not None else {}
        return [msgspec.json.decode(text, type=Builder) for key, text in extras.items() if key.startswith(BUILDER)]

    def builder_allows(self, user: Address, address: Address, fee_rate: Decimal) -> bool:
        return any(b.address.lower() == address and fee_rate <= b.max_fee_rate for b in self.builders(user))

    def set_builder(self, user: Address, address: Address, builder: Builder | None) -> None:
        text = msgspec.json.encode(builder).decode() if builder is not None else None
        self._exchange.set_extra(user, BUILDER + address.lower(), text)

    # -- dead-man switches and listen keys --------------------------------------------------------------------------

    def set_countdown(self, user: Address, name: str, deadline_ms: int | None) -> None:
        """Arm or disarm (None); `deadline_ms` is wire time."""
        self._exchange.set_extra(user, COUNTDOWN + name, str(deadline_ms) if deadline_ms is not None else None)

    def due_countdowns(self, now_ms: int) -> list[tuple[Address, str]]:
        return [
            (user, key.removeprefix(COUNTDOWN))
            for user, account in self._exchange.ledger.accounts.items()
            for key, text in account.extras.items()
            if key.startswith(COUNTDOWN) and int(text) <= now_ms
        ]

    def listen_key(self, user: Address) -> ListenKey | None:
        text = self._read(user, LISTEN_KEY)
        return msgspec.json.decode(text, type=ListenKey) if text else None

    def set_listen_key(self, user: Address, key: ListenKey | None) -> None:
        self._exchange.set_extra(user, LISTEN_KEY, msgspec.json.encode(key).decode() if key is not None else None)

    def _read(self, user: Address, key: str) -> str | None:
        account = self._exchange.account(user)
        return account.extras.get(key) if account is not None else None
