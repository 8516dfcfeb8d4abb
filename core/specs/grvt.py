"""GRVT's `all_instruments` (and, for who may sign, leverage and margin rules) -> Instrument rows (docs/venues/grvt.md 2).

`min_size` is the smallest size and the step of sizes at once; `base_decimals` is neither, it only scales the signed size.
The asset id that is signed (`instrument_hash`) stands in `venue_index`; it is read, never computed.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import canonical, one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import ETHEREUM_KEY, Credential, Form, Proof, Spelling, VenueKind, VenueSpec

VENUE = Venue("grvt")
QUOTE_CCY = "USDT"
PERPETUAL = "PERPETUAL"
ORDERBOOK = "ORDERBOOK"
THOUSANDS = re.compile(r"^(?P<prefix>K)(?=(?:PEPE|BONK|SHIB)$)")
"""Upper-case K is a thousand before these three only (the venue's list of currencies); KAITO is a token of its own. An unlisted
K name keeps its own symbol and so pairs with nothing by mistake."""
MAX_BASE_DECIMALS = 18
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision
MAX_PRICE_SCALE = Decimal("1e-9")  # a signed price has nine decimals


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses that only this venue has; "" = the same as `rest_url` or `ws_url`, which are those of the market data."""

    login_url: str = ""
    trade_rest_url: str = ""
    trade_ws_url: str = ""


SPEC = VenueSpec(
    name=VENUE,
    title="GRVT",
    kind=VenueKind.PERP,
    quote_ccy=QUOTE_CCY,
    proof=Proof.SOCKET,
    taker_fee=0.00045,
    maker_fee=-0.000001,
    order_ttl_ms=4000,  # ours to choose; a cancel can wait 5 s for its order, and clocks may differ by one
    credentials=(
        Credential(
            "GRVT_API_KEY", form=Form(pattern=r"[!-~]{8,200}", says="an API key (8 to 200 characters, no blanks)")
        ),
        Credential("GRVT_PRIVATE_KEY", form=ETHEREUM_KEY),
        Credential(
            "GRVT_SUB_ACCOUNT_ID",
            aliases=("GRVT_TRADING_ACCOUNT_ID",),
            secret=False,
            form=Form(pattern=r"[0-9]{1,20}", says="a trading account's number", spelling=Spelling.NUMBER, least=1),
        ),
    ),
    credentials_advice="an API key made in the settings of the trading account with permission to trade only, the private key "
    "that was shown with it, and the number of that trading account. The key of your own wallet is not needed.",
    unread=(("GRVT_ENV", "testnet and the addresses of config/venues/grvt.toml"),),
    extra=Settings,
)


class Listing(NamedTuple):
    """An instrument, and what else the catalogue says of it."""

    instrument: Instrument
    signed_lot: int  # one lot in a signature: lot_size * 10^base_decimals
    funding_cap: float  # the most that a funding rate may be: fraction per interval; 0 = not told


class Leverage(msgspec.Struct, frozen=True):
    """The account's setting of one instrument: `cross` margin, and the highest leverage it may choose."""

    times: int  # 0 = not a whole number
    most: int
    cross: bool


class _Row(msgspec.Struct):
    instrument: str
    instrument_hash: str
    base: str
    quote: str
    kind: str
    base_decimals: int
    tick_size: Decimal
    min_size: Decimal
    min_notional: Decimal = Decimal(0)
    max_position_size: Decimal = Decimal(0)
    adjusted_funding_rate_cap: Decimal = Decimal(0)  # percent
    adjusted_funding_rate_floor: Decimal = Decimal(0)
    venues: tuple[str, ...] = (ORDERBOOK,)


class _Answer(msgspec.Struct):
    result: list[msgspec.Raw]


class _LeverageRow(msgspec.Struct):
    instrument: str
    leverage: Decimal
    max_leverage: Decimal
    margin_type: str = ""


class _Leverages(msgspec.Struct):
    results: list[_LeverageRow] = []
    result: list[_LeverageRow] = []  # the name that older answers have


class _Bracket(msgspec.Struct):
    notional_floor: Decimal
    maintenance_margin_rate: Decimal


class _Rules(msgspec.Struct):
    risk_brackets: list[_Bracket]


class _RulesAnswer(msgspec.Struct):
    result: _Rules


def instruments(all_instruments: bytes | str) -> list[Instrument]:
    """The instruments of `listings`, without leverage (max_leverage 1) and maintenance (0): "not told"."""
    return [listing.instrument for listing in listings(all_instruments)]


def listings(
    all_instruments: bytes | str,
    leverages: dict[str, Leverage] | None = None,
    maintenance: dict[str, float] | None = None,
) -> list[Listing]:
    """USDT perpetuals of `POST full/v1/all_instruments` or `full/v1/instruments`, one per canonical symbol.

    What an answer to `is_active: true` lacks is not delisted here, it is absent. `leverages` (of `leverages_of`) and
    `maintenance` (of `maintenance_of`, by venue symbol) fill what the catalogue does not say. Rows that lack a field, do
    not trade on the book, or whose steps no signature can carry are left out. Raises Malformed when the answer as a whole
    does not decode or holds no usable row.
    """
    try:
        raws = msgspec.json.decode(all_instruments, type=_Answer).result
    except UNDECODABLE as error:
        raise Malformed(f"grvt all_instruments: {error}") from error
    found = [row for raw in raws if (row := _listing(raw, leverages or {}, maintenance or {})) is not None]
    if not found:
        raise Malformed(f"grvt all_instruments: none of its {len(raws)} rows is usable")
    by_name = {row.instrument.venue_symbol: row for row in found}
    return [by_name[chosen.venue_symbol] for chosen in one_per_symbol(row.instrument for row in found)]


def leverages_of(answer: bytes | str) -> dict[str, Leverage]:
    """`POST full/v1/get_all_initial_leverage` by venue symbol. A margin type that is not told counts as cross, its default.
    Raises Malformed."""
    try:
        decoded = msgspec.json.decode(answer, type=_Leverages)
        rows = decoded.results or decoded.result
        return {row.instrument: _leverage(row) for row in rows}
    except UNDECODABLE as error:
        raise Malformed(f"grvt get_all_initial_leverage: {error}") from error


def maintenance_of(answer: bytes | str) -> float:
    """Maintenance margin over notional in the lowest bracket of `POST full/v1/margin_rules`. Raises Malformed."""
    try:
        brackets = msgspec.json.decode(answer, type=_RulesAnswer).result.risk_brackets
    except UNDECODABLE as error:
        raise Malformed(f"grvt margin_rules: {error}") from error
    lowest = min(brackets, key=lambda each: each.notional_floor, default=None)
    if lowest is None or not 0 < lowest.maintenance_margin_rate < 1:
        raise Malformed("grvt margin_rules: no bracket with a maintenance margin between 0 and 1")
    return float(lowest.maintenance_margin_rate)


def _leverage(row: _LeverageRow) -> Leverage:
    times, most = row.leverage, row.max_leverage
    if not (times.is_finite() and most.is_finite() and 0 < times <= 1000 and 0 < most <= 1000):
        raise Malformed(f"grvt get_all_initial_leverage: {row.instrument} has {times} of {most}")
    return Leverage(int(times) if times == int(times) else 0, max(1, int(most)), row.margin_type in ("CROSS", ""))


def _listing(raw: msgspec.Raw, leverages: dict[str, Leverage], maintenance: dict[str, float]) -> Listing | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
        asset_id = int(row.instrument_hash, 16)
    except (*UNDECODABLE, ValueError):
        return None
    if (row.kind, row.quote) != (PERPETUAL, QUOTE_CCY) or ORDERBOOK not in row.venues or not row.base:
        return None
    tick, lot = row.tick_size, row.min_size
    if not (_is_figure(tick) and _is_figure(lot) and 0 <= row.base_decimals <= MAX_BASE_DECIMALS and asset_id > 0):
        return None
    signed_lot = lot.scaleb(row.base_decimals)
    if tick % MAX_PRICE_SCALE or signed_lot % 1:
        return None
    if not all(each == 0 or _is_figure(each) for each in (row.min_notional, row.max_position_size)):
        return None
    symbol, multiplier = canonical(row.base, THOUSANDS)
    own = leverages.get(row.instrument)
    instrument = Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.instrument,
        venue_index=asset_id,
        multiplier=multiplier,
        tick_size=tick,
        lot_size=lot,
        min_qty=lot,
        max_qty=row.max_position_size,
        min_notional_usd=row.min_notional,
        max_leverage=own.most if own is not None else 1,
        maintenance_margin_ratio=maintenance.get(row.instrument, 0.0),
        quote_ccy=QUOTE_CCY,
    )
    return Listing(instrument, int(signed_lot), _funding_cap(row))


def _funding_cap(row: _Row) -> float:
    """The wider of cap and floor as a fraction; 0 where either is no such figure."""
    cap, floor = row.adjusted_funding_rate_cap, row.adjusted_funding_rate_floor
    return float(max(cap, -floor) / 100) if _is_figure(cap) and _is_figure(-floor) else 0.0


def _is_figure(value: Decimal) -> bool:
    return value.is_finite() and SMALLEST <= value <= LARGEST
