"""The venues Tandem knows: one row each, data only. Rooms load `<room>/venues/<name>.py` by this name."""

from __future__ import annotations

import enum

import msgspec

from core.types import Venue


class Proof(enum.Enum):
    """What proves that a quote still stands (RULES 2)."""

    OWN_FRAME = "own_frame"  # sampled channel: only the quote's own frame
    SOCKET = "socket"  # speaks on change only: any market frame of that socket, while the symbol's own proof is fresh


class VenueKind(enum.Enum):
    PERP = "perp"
    SPOT = "spot"
    RFQ = "rfq"


class Credential(msgspec.Struct, frozen=True):
    """One secret or address. `aliases` are accepted with a warning; `retired` names get the message instead of a value."""

    name: str
    aliases: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    retired_advice: str = ""
    secret: bool = True


class VenueSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: Venue
    title: str
    kind: VenueKind
    quote_ccy: str
    proof: Proof
    taker_fee: float  # fraction; base tier, used until the account's own rate is read
    maker_fee: float
    order_ttl_ms: int  # the shortest expiry the venue allows for an IOC order that we use
    credentials: tuple[Credential, ...]


VENUES: tuple[VenueSpec, ...] = (
    VenueSpec(
        name=Venue("hyperliquid"),
        title="Hyperliquid",
        kind=VenueKind.PERP,
        quote_ccy="USDC",
        proof=Proof.SOCKET,
        taker_fee=0.00045,
        maker_fee=0.00015,
        order_ttl_ms=3000,
        credentials=(
            Credential("HL_PRIVATE_KEY"),
            Credential("HL_USER_ADDRESS", secret=False),
        ),
    ),
    VenueSpec(
        name=Venue("aster"),
        title="Aster",
        kind=VenueKind.PERP,
        quote_ccy="USDT",
        proof=Proof.SOCKET,
        taker_fee=0.00035,
        maker_fee=0.0001,
        order_ttl_ms=60_000,
        credentials=(
            Credential(
                "ASTER_PRIVATE_KEY",
                retired=("ASTER_API_KEY", "ASTER_API_SECRET"),
                retired_advice="Aster issues no V1 HMAC keys any more: create an API wallet (agent) on its API-wallet page "
                "and set ASTER_PRIVATE_KEY to the agent's key and ASTER_USER_ADDRESS to the main wallet's address",
            ),
            Credential("ASTER_USER_ADDRESS", secret=False),
        ),
    ),
)

SPEC: dict[Venue, VenueSpec] = {spec.name: spec for spec in VENUES}
