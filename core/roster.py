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


class Form(enum.Enum):
    """What a credential's text looks like."""

    ETHEREUM_KEY = "ethereum_key"  # 64 hex digits, 0x optional
    ETHEREUM_ADDRESS = "ethereum_address"  # 0x and 40 hex digits
    SCALAR_KEY = "scalar_key"  # 80 hex digits, 0x optional: a scalar of ecGFp5
    ACCOUNT_INDEX = "account_index"  # a whole number
    API_KEY_INDEX = "api_key_index"  # 4..254: those below belong to the venue's own apps


class Credential(msgspec.Struct, frozen=True):
    """One secret or address. `aliases` are accepted with a warning, and refused where two names disagree; `retired` names
    get the message instead of a value. The account is a venue's first credential that is not secret."""

    name: str
    aliases: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    retired_advice: str = ""
    secret: bool = True
    form: Form = Form.ETHEREUM_KEY


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
            Credential("HL_USER_ADDRESS", secret=False, form=Form.ETHEREUM_ADDRESS),
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
            Credential("ASTER_USER_ADDRESS", secret=False, form=Form.ETHEREUM_ADDRESS),
        ),
    ),
    VenueSpec(
        name=Venue("lighter"),
        title="Lighter",
        kind=VenueKind.PERP,
        quote_ccy="USDC",
        proof=Proof.SOCKET,
        taker_fee=0.0,  # Standard tier; it pays with 300 ms of delay instead
        maker_fee=0.0,
        order_ttl_ms=599_000,  # the signer stamps it, nobody can choose it
        credentials=(
            Credential(
                "LIGHTER_PRIVATE_KEY",
                aliases=("API_KEY_PRIVATE_KEY",),
                retired=("LIGHTER_API_KEY",),
                retired_advice="Lighter signs with the private half of an API key: create one at an index of 4 to 254 and set "
                "LIGHTER_PRIVATE_KEY, LIGHTER_ACCOUNT_INDEX and LIGHTER_API_KEY_INDEX; the public half is looked up",
                form=Form.SCALAR_KEY,
            ),
            Credential("LIGHTER_ACCOUNT_INDEX", aliases=("ACCOUNT_INDEX",), secret=False, form=Form.ACCOUNT_INDEX),
            Credential("LIGHTER_API_KEY_INDEX", aliases=("API_KEY_INDEX",), secret=False, form=Form.API_KEY_INDEX),
        ),
    ),
)

SPEC: dict[Venue, VenueSpec] = {spec.name: spec for spec in VENUES}
