"""Lighter's `orderBookDetails` (or the lighter `orderBooks`) -> Instrument rows of its perps (docs/venues/lighter.md 2).

Integers on Lighter's wire are our ticks and lots: `price` is in 10^-supported_price_decimals and `base_amount` in
10^-supported_size_decimals, and there is no rule of significant figures.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import THOUSANDS, canonical, one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import Credential, Form, Proof, Spelling, VenueKind, VenueSpec

VENUE = Venue("lighter")
QUOTE_CCY = "USDC"
PERP = "perp"
ACTIVE = "active"
OK = 200
MARGIN_UNIT = 10_000  # margin fractions are in 1e-4
MAX_DECIMALS = 12
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision
NIL_MARKET = 255  # "no market" on the order path, never one

SCALAR_KEY = Form(
    pattern=r"(0x)?[0-9a-fA-F]{80}",
    says="80 hex digits (with or without 0x): a scalar of ecGFp5",
    spelling=Spelling.HEX,
)
ACCOUNT_INDEX = Form(
    pattern=r"[0-9]{1,15}",
    says="an account index, a whole number below 2^48",
    spelling=Spelling.NUMBER,
    most=(1 << 48) - 1,
)
API_KEY_INDEX = Form(
    pattern=r"[0-9]{1,15}",
    says="an API key index of 4 to 254 (lower ones belong to the venue's apps)",
    spelling=Spelling.NUMBER,
    least=4,
    most=254,
)

SPEC = VenueSpec(
    name=VENUE,
    title="Lighter",
    kind=VenueKind.PERP,
    quote_ccy=QUOTE_CCY,
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
            form=SCALAR_KEY,
        ),
        Credential("LIGHTER_ACCOUNT_INDEX", aliases=("ACCOUNT_INDEX",), secret=False, form=ACCOUNT_INDEX),
        Credential("LIGHTER_API_KEY_INDEX", aliases=("API_KEY_INDEX",), secret=False, form=API_KEY_INDEX),
    ),
    credentials_advice="the private half of an API key (80 hex digits) made at an index of 4 to 254, the number of the "
    "account, and the index of the key. API_KEY_PRIVATE_KEY, ACCOUNT_INDEX and API_KEY_INDEX are accepted as other names, "
    "with a warning; two names that disagree are refused. Of LIGHTER_API_KEY, the public half, and of the wallet's address "
    "nothing is needed: both are looked up.",
    unread=(
        ("LIGHTER_PUBLIC_KEY, LIGHTER_WALLET_ADDRESS", "looked up"),
        (
            "LIGHTER_ENV, LIGHTER_BASE_URL, BASE_URL, LIGHTER_WS_URL, WEBSOCKET_URL",
            "testnet, rest_url and ws_url of config/venues/lighter.toml",
        ),
        (
            "LIGHTER_NONCE_MODE, LIGHTER_AUTH_TTL_S, LIGHTER_ERROR_COOLDOWN_S, LIGHTER_ERROR_COOLDOWN_AUTH_S, "
            "LIGHTER_VERIFY_RETRIES, LIGHTER_VERIFY_DELAY_S",
            "keys of the same file without the prefix",
        ),
    ),
)


class _Rules(msgspec.Struct):
    hidden: bool = False


class _Row(msgspec.Struct):
    symbol: str
    market_id: int
    market_type: str
    status: str
    min_base_amount: Decimal
    min_quote_amount: Decimal
    supported_size_decimals: int
    supported_price_decimals: int
    min_initial_margin_fraction: int = 0
    maintenance_margin_fraction: int = 0
    market_config: _Rules | None = None


class _Answer(msgspec.Struct):
    code: int
    message: str = ""
    order_book_details: list[msgspec.Raw] = []
    order_books: list[msgspec.Raw] = []


def instruments(order_book_details: bytes | str) -> list[Instrument]:
    """Perps of `GET /api/v1/orderBookDetails`, one per canonical symbol; what is not active or hidden is flagged delisted.

    `venue_index` is the market id: read here and nowhere else, never inferred (perps stand at 0.. on mainnet, at 4095..
    on testnet). The light `orderBooks` answer does as well: it has no margins, then max_leverage is 1 and
    maintenance_margin_ratio 0, "not told". Spot markets and rows that do not decode are left out. Raises Malformed when
    the answer as a whole does not decode or holds no usable row.
    """
    try:
        answer = msgspec.json.decode(order_book_details, type=_Answer)
    except UNDECODABLE as error:
        raise Malformed(f"lighter orderBookDetails: {error}") from error
    if answer.code != OK:
        raise Malformed(f"lighter orderBookDetails: code {answer.code}: {answer.message[:200]}")
    raws = answer.order_book_details or answer.order_books
    rows = [row for raw in raws if (row := _instrument(raw)) is not None]
    if not rows:
        raise Malformed(f"lighter orderBookDetails: none of its {len(raws)} rows is usable")
    return one_per_symbol(rows)


def _instrument(raw: msgspec.Raw) -> Instrument | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None
    decimals = (row.supported_price_decimals, row.supported_size_decimals)
    minimums = (row.min_base_amount, row.min_quote_amount)
    if row.market_type != PERP or not row.symbol or row.market_id < 0 or row.market_id == NIL_MARKET:
        return None
    if not all(0 <= each <= MAX_DECIMALS for each in decimals):
        return None
    if not all(each.is_finite() and (each == 0 or SMALLEST <= each <= LARGEST) for each in minimums):
        return None
    symbol, multiplier = canonical(row.symbol, THOUSANDS)
    initial = row.min_initial_margin_fraction
    return Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.symbol,
        venue_index=row.market_id,
        multiplier=multiplier,
        tick_size=Decimal(1).scaleb(-row.supported_price_decimals),
        lot_size=Decimal(1).scaleb(-row.supported_size_decimals),
        min_qty=row.min_base_amount,
        min_notional_usd=row.min_quote_amount,
        max_leverage=max(1, MARGIN_UNIT // initial) if initial > 0 else 1,  # 0 was seen: no leverage published
        maintenance_margin_ratio=max(0, row.maintenance_margin_fraction) / MARGIN_UNIT,
        quote_ccy=QUOTE_CCY,
        delisted=row.status != ACTIVE or (row.market_config is not None and row.market_config.hidden),
    )
