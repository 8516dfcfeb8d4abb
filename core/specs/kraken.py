"""Kraken's `AssetPairs` -> Instrument rows of its spot pairs, and the three dialects of its names (docs/venues/kraken.md 2).

    classic   XXBT, XETH, ZUSD: keys of answers and balances; X and Z stand only before OLD assets
    wsname    XBT/USD, XDG/USD
    modern    BTC/USD, DOGE/USD: the WebSocket v2, and REST requests too

`venue_symbol` is the modern name. A letter is never stripped by rule, only by the table: XRP, XTZ, ZEC are names of today.
A base is listed against one quote currency here, since one canonical symbol has one book.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import NamedTuple

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import Credential, Form, Proof, VenueKind, VenueSpec

VENUE = Venue("kraken")
QUOTE_CCY = "USD"
STABLECOINS = ("USDC", "USDT")
"""Bases whose USD pairs are read for their worth, never traded; in a wallet they are money, not inventory."""

OPEN = frozenset({"", "online", "limit_only"})  # no status = online; every order of ours is a limit
CURRENCY = "currency"  # aclass; the other class is tokenized stock
MAX_DECIMALS = 12
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision

_MODERN = {
    "XXBT": "BTC", "XBT": "BTC", "XXDG": "DOGE", "XDG": "DOGE", "XETH": "ETH", "XETC": "ETC", "XLTC": "LTC",
    "XMLN": "MLN", "XREP": "REP", "XXLM": "XLM", "XXMR": "XMR", "XXRP": "XRP", "XZEC": "ZEC", "ZUSD": "USD",
    "ZEUR": "EUR", "ZGBP": "GBP", "ZCAD": "CAD", "ZJPY": "JPY", "ZAUD": "AUD", "KFEE": "FEE",
}  # fmt: skip

API_KEY = Form(pattern=r"[A-Za-z0-9+/=_-]{8,200}", says="an API key (letters, digits, + / = _ -)")
API_SECRET = Form(
    pattern=r"(?:[A-Za-z0-9+/]{4}){4,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    says="a private key as Kraken shows it (base64, 88 characters)",
)


class Tier(enum.Enum):
    """The account's verification level, which sets its request budgets."""

    STARTER = "starter"
    INTERMEDIATE = "intermediate"
    PRO = "pro"
    AGREED = "agreed"  # an institution's own limits; the sandbox has such an account


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only this venue is told."""

    private_ws_url: str  # the socket of orders, executions and balances, which has a host of its own
    tier: Tier = Tier.STARTER


SPEC = VenueSpec(
    name=VENUE,
    title="Kraken",
    kind=VenueKind.SPOT,
    quote_ccy=QUOTE_CCY,
    proof=Proof.SOCKET,
    taker_fee=0.008,  # the dearer of the two base tiers that are told (page 5): rather no trade than one at a loss
    maker_fee=0.004,
    order_ttl_ms=5_000,
    credentials=(
        Credential("KRAKEN_API_KEY", secret=False, form=API_KEY),
        Credential("KRAKEN_API_SECRET", form=API_SECRET),
    ),
    credentials_advice="an API key of kraken.com (not of Kraken Futures) with query funds, query open and closed orders, "
    "create and modify, cancel, and WebSocket interface; no withdrawals, an IP whitelist, and no other program on the key",
    extra=Settings,
)


class Listing(NamedTuple):
    """An instrument, the decimals with which its book's checksum writes prices and sizes, and every name that an answer
    may call the pair by."""

    instrument: Instrument
    price_decimals: int
    qty_decimals: int
    names: tuple[str, ...]


class _Row(msgspec.Struct):
    wsname: str
    altname: str
    aclass_base: str
    pair_decimals: int
    lot_decimals: int
    ordermin: Decimal
    costmin: Decimal
    tick_size: Decimal
    lot_multiplier: int = 1
    status: str = ""


class _Answer(msgspec.Struct):
    error: list[str] = []
    result: dict[str, msgspec.Raw] = {}


def modern(name: str) -> str:
    """A currency in today's spelling, from any dialect; names that the table lacks are today's already."""
    return _MODERN.get(name, name)


def spot_asset(name: str) -> str | None:
    """The modern name of a key of `Balance`; None for what lies in earn or staking (`XBT.F`, `SOL.S`), which no order can
    sell."""
    return None if "." in name else modern(name)


def instruments(asset_pairs: bytes | str, quote_ccy: str = QUOTE_CCY) -> list[Instrument]:
    """The instruments of `listings`."""
    return [listing.instrument for listing in listings(asset_pairs, quote_ccy)]


def listings(asset_pairs: bytes | str, quote_ccy: str = QUOTE_CCY) -> list[Listing]:
    """Pairs of `GET /0/public/AssetPairs` against `quote_ccy`, one per base; what takes no limit orders is flagged delisted.

    Rows that lack a field or hold figures out of bounds are left out (pairs without `tick_size` are of old answers).
    Raises Malformed when the answer as a whole does not decode, is an error, or holds no usable row.
    """
    try:
        answer = msgspec.json.decode(asset_pairs, type=_Answer)
    except UNDECODABLE as error:
        raise Malformed(f"kraken AssetPairs: {error}") from error
    if any(text.startswith("E") for text in answer.error):
        raise Malformed(f"kraken AssetPairs: {', '.join(answer.error)[:200]}")
    rows = [row for key, raw in answer.result.items() if (row := _listing(key, raw, quote_ccy)) is not None]
    if not rows:
        raise Malformed(f"kraken AssetPairs: none of its {len(answer.result)} rows is usable against {quote_ccy}")
    by_instrument = {row.instrument: row for row in rows}
    return [by_instrument[chosen] for chosen in one_per_symbol(row.instrument for row in rows)]


def _listing(key: str, raw: msgspec.Raw, quote_ccy: str) -> Listing | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None
    base, slash, quote = row.wsname.partition("/")
    if not base or not slash or modern(quote) != quote_ccy or row.aclass_base != CURRENCY or row.lot_multiplier != 1:
        return None
    if not (0 <= row.pair_decimals <= MAX_DECIMALS and 0 <= row.lot_decimals <= MAX_DECIMALS):
        return None
    if not all(each.is_finite() and (each == 0 or SMALLEST <= each <= LARGEST) for each in (row.ordermin, row.costmin)):
        return None
    if not (row.tick_size.is_finite() and Decimal(1).scaleb(-row.pair_decimals) <= row.tick_size <= LARGEST):
        return None  # finer than prices are written: no price would stand on its grid
    symbol = modern(base)
    instrument = Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=f"{symbol}/{quote_ccy}",
        tick_size=row.tick_size,
        lot_size=Decimal(1).scaleb(-row.lot_decimals),
        min_qty=row.ordermin,
        min_notional_usd=row.costmin,
        max_leverage=1,
        quote_ccy=quote_ccy,
        can_short=False,
        delisted=row.status not in OPEN,
    )
    names = (instrument.venue_symbol, key, row.altname, row.wsname)
    return Listing(instrument, row.pair_decimals, row.lot_decimals, tuple(dict.fromkeys(names)))
