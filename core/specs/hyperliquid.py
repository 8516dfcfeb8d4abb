"""Hyperliquid's `meta` answer -> Instrument rows of its core perps (docs/venues/hyperliquid.md 2)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import KILO, canonical, one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import ETHEREUM_ADDRESS, Credential, Proof, VenueKind, VenueSpec

VENUE = Venue("hyperliquid")
PRICE_SIGFIGS = 5
PRICE_DECIMALS = 6  # less the size decimals; perps only
MIN_NOTIONAL_USD = Decimal(10)
QUOTE_CCY = "USDC"

SPEC = VenueSpec(
    name=VENUE,
    title="Hyperliquid",
    kind=VenueKind.PERP,
    quote_ccy=QUOTE_CCY,
    proof=Proof.SOCKET,
    taker_fee=0.00045,
    maker_fee=0.00015,
    order_ttl_ms=3000,
    credentials=(Credential("HL_PRIVATE_KEY"), Credential("HL_USER_ADDRESS", secret=False, form=ETHEREUM_ADDRESS)),
    credentials_advice="the key of an API wallet (agent) that your account approved, and the address of the account itself "
    "(the master or sub-account, never the agent's own address).",
)


class _Row(msgspec.Struct):
    name: str
    szDecimals: int
    maxLeverage: int
    marginTableId: int | None = None
    isDelisted: bool | None = None


class _Tier(msgspec.Struct):
    lowerBound: str
    maxLeverage: int


class _Table(msgspec.Struct):
    marginTiers: list[_Tier] = []


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]
    marginTables: list[msgspec.Raw] = []


def instruments(meta: bytes | str) -> list[Instrument]:
    """Rows of `POST /info {"type":"meta"}`, one per canonical symbol, delisted ones flagged.

    The asset id is the position in `universe`, counted before anything is left out; a row that does not decode keeps
    its number and is left out. Raises Malformed when the answer as a whole does not decode or holds no usable row.
    """
    try:
        decoded = msgspec.json.decode(meta, type=_Meta)
    except UNDECODABLE as error:
        raise Malformed(f"hyperliquid meta: {error}") from error
    tables = _margin_tables(decoded.marginTables)
    rows = [
        instrument
        for index, raw in enumerate(decoded.universe)
        if (instrument := _instrument(index, raw, tables)) is not None
    ]
    if not rows:
        raise Malformed(f"hyperliquid meta: none of its {len(decoded.universe)} rows is usable")
    return one_per_symbol(rows)


def _instrument(index: int, raw: msgspec.Raw, tables: dict[int, int]) -> Instrument | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None
    if not row.name or not 0 <= row.szDecimals <= PRICE_DECIMALS or row.maxLeverage < 1:
        return None
    symbol, multiplier = canonical(row.name, KILO)
    lot = Decimal(1).scaleb(-row.szDecimals)
    lowest_tier = tables.get(row.marginTableId, row.maxLeverage) if row.marginTableId is not None else row.maxLeverage
    return Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.name,
        venue_index=index,
        multiplier=multiplier,
        tick_size=Decimal(1).scaleb(row.szDecimals - PRICE_DECIMALS),
        price_sigfigs=PRICE_SIGFIGS,
        lot_size=lot,
        min_qty=lot,
        min_notional_usd=MIN_NOTIONAL_USD,
        max_leverage=row.maxLeverage,
        maintenance_margin_ratio=1 / (2 * lowest_tier),  # half of the initial margin at the tier's highest leverage
        quote_ccy=QUOTE_CCY,
        delisted=bool(row.isDelisted),
    )


def _margin_tables(raws: list[msgspec.Raw]) -> dict[int, int]:
    """Highest leverage of the lowest tier by table id; a table that does not decode is left out."""
    found: dict[int, int] = {}
    for raw in raws:
        try:
            number, table = msgspec.json.decode(raw, type=tuple[int, _Table])
            tiers = sorted(table.marginTiers, key=lambda tier: Decimal(tier.lowerBound))
        except (*UNDECODABLE, InvalidOperation):
            continue
        if tiers and tiers[0].maxLeverage >= 1:
            found[number] = tiers[0].maxLeverage
    return found
