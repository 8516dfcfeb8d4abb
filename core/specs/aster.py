"""Aster's `exchangeInfo` (and, for who may sign, `leverageBrackets`) -> Instrument rows (docs/venues/aster.md 2)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import THOUSANDS, canonical, one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import ETHEREUM_ADDRESS, Credential, Proof, VenueKind, VenueSpec

VENUE = Venue("aster")
QUOTE_CCY = "USDT"
LISTED = frozenset({"TRADING", "PRE_SETTLE", "SETTLING", "CLOSE"})  # PENDING_TRADING has no book yet
INTERNAL_PREFIX = "TEST"
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision

SPEC = VenueSpec(
    name=VENUE,
    title="Aster",
    kind=VenueKind.PERP,
    quote_ccy=QUOTE_CCY,
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
        Credential("ASTER_USER_ADDRESS", secret=False, form=ETHEREUM_ADDRESS),
    ),
    credentials_advice="the key of an API wallet (agent) with permission to trade perpetuals only, and the main wallet's "
    "address. V1 HMAC keys (ASTER_API_KEY, ASTER_API_SECRET) are no longer issued and are refused with an explanation.",
)


class _Row(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str
    marginAsset: str
    contractType: str
    filters: list[dict[str, str | int | float | bool | None]]


class _Info(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _Bracket(msgspec.Struct):
    initialLeverage: int
    notionalFloor: float
    maintMarginRatio: float


class _Brackets(msgspec.Struct):
    symbol: str
    brackets: list[_Bracket]


def instruments(exchange_info: bytes | str, leverage_brackets: bytes | str | None = None) -> list[Instrument]:
    """Rows of `GET /fapi/v3/exchangeInfo`: USDT-margined perpetuals, one per canonical symbol, delisted ones flagged.

    Leverage and maintenance are not public: without `leverage_brackets` (`GET /fapi/v3/leverageBrackets`, signed)
    max_leverage is 1 and maintenance_margin_ratio 0, which means "not told". Rows that lack a field, are internal or
    whose price and size grids do not start at 0 are left out. Raises Malformed when an answer as a whole does not
    decode or holds no usable row.
    """
    try:
        info = msgspec.json.decode(exchange_info, type=_Info)
    except UNDECODABLE as error:
        raise Malformed(f"aster exchangeInfo: {error}") from error
    lowest = {} if leverage_brackets is None else _lowest_brackets(leverage_brackets)
    rows = [row for raw in info.symbols if (row := _instrument(raw, lowest)) is not None]
    if not rows:
        raise Malformed(f"aster exchangeInfo: none of its {len(info.symbols)} rows is usable")
    return one_per_symbol(rows)


def _instrument(raw: msgspec.Raw, lowest: dict[str, _Bracket]) -> Instrument | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None
    if (row.contractType, row.quoteAsset, row.marginAsset) != ("PERPETUAL", QUOTE_CCY, QUOTE_CCY):
        return None
    if row.status not in LISTED or not row.baseAsset or row.symbol.startswith(INTERNAL_PREFIX):
        return None
    filters = {str(each.get("filterType")): each for each in row.filters}
    tick, min_px = _number(filters, "PRICE_FILTER", "tickSize"), _number(filters, "PRICE_FILTER", "minPrice")
    lot, min_qty = _number(filters, "LOT_SIZE", "stepSize"), _number(filters, "LOT_SIZE", "minQty")
    min_notional = _number(filters, "MIN_NOTIONAL", "notional")
    if tick is None or lot is None or min_px is None or min_qty is None or min_notional is None:
        return None
    if tick <= 0 or lot <= 0 or min_px % tick or min_qty % lot:
        return None
    symbol, multiplier = canonical(row.baseAsset, THOUSANDS)
    bracket = lowest.get(row.symbol)
    return Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.symbol,
        multiplier=multiplier,
        tick_size=tick,
        lot_size=lot,
        min_qty=min_qty,
        max_qty=_number(filters, "LOT_SIZE", "maxQty") or Decimal(0),
        min_notional_usd=min_notional,
        max_leverage=bracket.initialLeverage if bracket else 1,
        maintenance_margin_ratio=bracket.maintMarginRatio if bracket else 0.0,
        quote_ccy=QUOTE_CCY,
        delisted=row.status != "TRADING",
    )


def _number(filters: dict[str, dict[str, str | int | float | bool | None]], name: str, key: str) -> Decimal | None:
    """A filter's figure, never negative; None when it is absent, not a plain number or beyond any market's."""
    value = filters.get(name, {}).get(key)
    if not isinstance(value, str | int):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and (number == 0 or SMALLEST <= number <= LARGEST) else None


def _lowest_brackets(payload: bytes | str) -> dict[str, _Bracket]:
    """The bracket that starts at the lowest notional, by venue symbol; with `symbol=` the venue answers one object."""
    try:
        rows = msgspec.json.decode(payload, type=list[_Brackets] | _Brackets)
    except UNDECODABLE as error:
        raise Malformed(f"aster leverageBrackets: {error}") from error
    listed = rows if isinstance(rows, list) else [rows]
    return {row.symbol: min(row.brackets, key=lambda each: each.notionalFloor) for row in listed if row.brackets}
