"""Variational's public statistics -> Instrument rows, and its row in the roster (docs/venues/variational.md 2).

The statistics name no grid at all: sizes and prices follow from rules by price. The size step of a quote is 0.1 USD worth of
the asset, rounded down to a power of ten; ours is ten times as coarse, so that a size of ours stays on the venue's grid when
the price passes a power of ten between two looks. What the venue says with a live quote (`qty_limits`) is checked again before
it is accepted.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import ETHEREUM_ADDRESS, ETHEREUM_KEY, Credential, Form, Proof, VenueKind, VenueSpec

VENUE = Venue("variational")
QUOTE_CCY = "USDC"
NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")

PREFIXED = re.compile(r"^(1000|1M|k(?=[A-Z]))")
"""Whether any meme is listed per thousand is not recorded [unsure]: what looks so is left out, for a wrong multiplier would be
a price that is wrong by a factor of a thousand."""

ALIASES = {"LIGHTER": "LIT"}
"""Names of other venues for the same token; a ticker that is another's canonical name is left out (page 2)."""

MIN_NOTIONAL_USD = Decimal("0.1")
MAX_LEVERAGE = 10
"""The statistics state none; the account's own bound is read before leverage is set. A low figure only refuses more."""
MAINTENANCE_RATIO = 0.05
"""Not stated by the statistics [unsure]: half of the initial margin at MAX_LEVERAGE. The venue's own liquidation price is
what the guards go by."""
COARSER = Decimal(10)
DECIMALS, SIGNIFICANT, SIGNIFICANT_BELOW_ONE = 2, 6, 4
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e12")
YEAR_S = 365 * 86_400
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

TOKEN = Form(
    pattern=r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
    says="the vr-token of a session: three texts joined by points",
)


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of this venue alone: the table `extra` of its configuration.

    `unofficial_interface` must be set to true by hand before anything is traded: the web application's interface is not
    documented, may change or be blocked any day, and nobody answers for it. `web_url` is its address.
    """

    web_url: str
    unofficial_interface: bool = False
    orders_per_min: int = 36
    quotes_per_min: int = 180
    auth_per_min: int = 6  # a login takes two


SPEC = VenueSpec(
    name=VENUE,
    title="Variational",
    kind=VenueKind.RFQ,
    quote_ccy=QUOTE_CCY,
    proof=Proof.OWN_FRAME,
    taker_fee=0.0,
    maker_fee=0.0,
    order_ttl_ms=1000,  # ours: a quote is accepted within 0.9 s or not at all
    credentials=(
        Credential("VARIATIONAL_PRIVATE_KEY", form=ETHEREUM_KEY, optional=True),
        Credential("VARIATIONAL_WALLET_ADDRESS", secret=False, form=ETHEREUM_ADDRESS),
        Credential("VARIATIONAL_VR_TOKEN", form=TOKEN, optional=True),
    ),
    credentials_advice="the wallet's address, and either its private key, by which a session is opened and renewed, or the "
    "vr-token of a session opened in a browser, which lives seven days at most. The key is the wallet's own: use a wallet that "
    "holds nothing else. Trading goes through the web application's unofficial interface and is off until "
    "[live.extra] unofficial_interface = true.",
    extra=Own,
)


class _Pair(msgspec.Struct):
    bid: Decimal | None = None
    ask: Decimal | None = None


class Sizes(msgspec.Struct):
    """Indicative prices by notional; which sizes exist differs by listing."""

    updated_at: datetime.datetime
    base: _Pair | None = None
    size_1k: _Pair | None = None
    size_100k: _Pair | None = None


class _Interest(msgspec.Struct):
    long_open_interest: Decimal = Decimal(0)
    short_open_interest: Decimal = Decimal(0)


class Listing(msgspec.Struct):
    """One row of the statistics."""

    ticker: str
    mark_price: Decimal
    funding_rate: Decimal | None = None  # ANNUALISED fraction, whatever the interval is
    funding_interval_s: int | None = None
    volume_24h: Decimal | None = None
    open_interest: _Interest | None = None
    quotes: msgspec.Raw = msgspec.Raw(b"null")


class _Stats(msgspec.Struct):
    listings: list[msgspec.Raw]


_stats = msgspec.json.Decoder(_Stats)
_listing = msgspec.json.Decoder(Listing, strict=False)


def listings(stats: bytes | str) -> list[Listing]:
    """Usable rows of `GET /metadata/stats`; a row that lacks a price or a name is left out. Raises Malformed when the answer
    does not decode or nothing of it is usable."""
    try:
        answer = _stats.decode(stats)
    except UNDECODABLE as error:
        raise Malformed(f"variational stats: {error}") from error
    rows = []
    for raw in answer.listings:
        try:
            row = _listing.decode(raw)
        except UNDECODABLE:
            continue
        if NAME.fullmatch(row.ticker) and not PREFIXED.match(row.ticker) and is_figure(row.mark_price):
            rows.append(row)
    if not rows:
        raise Malformed(f"variational stats: none of its {len(answer.listings)} listings is usable")
    return rows


def instruments(stats: bytes | str) -> list[Instrument]:
    """One row per canonical symbol. Raises Malformed as `listings` does."""
    taken = set(ALIASES.values())
    return one_per_symbol(_instrument(row) for row in listings(stats) if row.ticker not in taken)


def canonical(ticker: str) -> str:
    return ALIASES.get(ticker, ticker)


def size_step(px: Decimal) -> Decimal:
    """The step of sizes that the venue falls back on at price `px`: at most 0.1 USD worth, a power of ten, at most 1."""
    return min(Decimal(1), Decimal(1).scaleb((MIN_NOTIONAL_USD / px).adjusted()))


def price_step(px: Decimal) -> Decimal:
    """Six significant figures but never fewer than two decimals; below 1, four figures after the leading zeros."""
    if px >= 1:
        return Decimal(1).scaleb(min(-DECIMALS, px.adjusted() - SIGNIFICANT + 1))
    return Decimal(1).scaleb(px.adjusted() - SIGNIFICANT_BELOW_ONE + 1)


def ns_of(moment: datetime.datetime) -> int:
    """UTC nanoseconds. Raises Malformed where no time zone is told."""
    if moment.tzinfo is None:
        raise Malformed(f"variational: a time without its zone: {moment}")
    return (moment - EPOCH) // datetime.timedelta(microseconds=1) * 1000


def is_figure(value: Decimal) -> bool:
    """Whether `value` can be a price or a size."""
    return value.is_finite() and SMALLEST <= value <= LARGEST


def _instrument(row: Listing) -> Instrument:
    return Instrument(
        venue=VENUE,
        symbol=canonical(row.ticker),
        venue_symbol=row.ticker,
        tick_size=price_step(row.mark_price),
        lot_size=min(Decimal(1), size_step(row.mark_price) * COARSER),
        min_notional_usd=MIN_NOTIONAL_USD,
        max_leverage=MAX_LEVERAGE,
        maintenance_margin_ratio=MAINTENANCE_RATIO,
        quote_ccy=QUOTE_CCY,
    )
