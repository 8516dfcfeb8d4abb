"""What a simulated venue is given and what it must offer. Loaded as `ops.sandbox.venues.<name>.SandboxVenue`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Protocol

import msgspec
from aiohttp import web

from core.clock import Clock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Dialect
from ops.sandbox.model import Listener
from ops.sandbox.terms import Terms


class Identity(msgspec.Struct, frozen=True):
    """An account that a venue knows: `address` and `agents` as the venue names them.

    Mostly a lower-case 0x address and an agent's. Other venues write what they check by: `<key index>:<public key in hex>`,
    or, where both ends share a secret, that secret; it is a throw-away one, worth nothing anywhere else.
    """

    address: str
    agents: tuple[str, ...] = ()


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What main hands to a venue."""

    exchange: Exchange
    clock: Clock
    log: Log
    order_delay_s: float  # to wait (asyncio.sleep) before an order or cancel reaches the exchange
    tier: str = ""  # account tier that rules the request budget, where the venue has tiers; "" = its base tier
    verify_ratio: float = 1.0  # share of signatures checked in full, where that is dear; digests are always checked


class SandboxVenue(Protocol):
    """One venue: `terms` says what it lists, `application` serves it, and it listens to its exchange.

    Built once per process: `SandboxVenue(host)`. `application()` may be called again after the venue was stopped; it
    returns a fresh app whose on_shutdown drops every connection.
    """

    dialect: Dialect
    """How faults tell its traffic apart."""

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        """A throw-away value for each credential of the venue's SPEC, by its name, as the secrets file spells them."""

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        """What the venue knows of who holds these credentials. Raises KeyError when one is missing, ValueError when one is
        not well formed (never quoting it)."""

    @staticmethod
    def terms(symbols: tuple[str, ...]) -> Terms: ...

    def __init__(self, host: Host) -> None: ...

    @property
    def listener(self) -> Listener: ...

    def application(self) -> web.Application: ...

    def drop_connections(self) -> None:
        """Abort every WebSocket at once, as a broken path would."""

    def expire_auth(self) -> None:
        """What open streams stand on (listen keys, tokens) has run out, all at once; nothing where there is none."""

    def tick(self) -> None:
        """About ten times a second: sampled channels, dead-man switches, keep-alives."""
