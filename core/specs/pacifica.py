"""Pacifica's `info` -> Instrument rows of its perpetuals (docs/venues/pacifica.md 2).

`min_order_size` is USD notional despite its name (TRAPS T7). Spot markets share the list and are left out; older rows say
nothing of their type and are perpetuals. There is no rule of significant figures.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import KILO, canonical, one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import Credential, Form, Proof, VenueKind, VenueSpec

VENUE = Venue("pacifica")
QUOTE_CCY = "USDC"
PERPETUAL = "perpetual"
NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")  # what may stand in a signed message as it is
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision

SOLANA_SECRET = Form(
    pattern=r"[1-9A-HJ-NP-Za-km-z]{80,90}", says="a Solana secret key: the base58 text of 64 bytes, 86 to 88 characters"
)
SOLANA_ADDRESS = Form(
    pattern=r"[1-9A-HJ-NP-Za-km-z]{32,44}", says="a Solana address: the base58 text of 32 bytes, 32 to 44 characters"
)
CONFIG_KEY = Form(pattern=r"[A-Za-z0-9]{4,16}_[1-9A-HJ-NP-Za-km-z]{8,64}", says="an API config key (XXXXXXXX_...)")

SPEC = VenueSpec(
    name=VENUE,
    title="Pacifica",
    kind=VenueKind.PERP,
    quote_ccy=QUOTE_CCY,
    proof=Proof.SOCKET,
    taker_fee=0.0004,
    maker_fee=0.00015,
    order_ttl_ms=3000,  # ours to choose: the speed bump is 200 ms, the answer follows within half a second
    credentials=(
        Credential("PACIFICA_AGENT_KEY", aliases=("API_PRIVATE",), form=SOLANA_SECRET),
        Credential("PACIFICA_ACCOUNT", aliases=("SOL_WALLET",), secret=False, form=SOLANA_ADDRESS),
        Credential("PACIFICA_API_CONFIG_KEY", form=CONFIG_KEY, optional=True),
    ),
    credentials_advice="the secret key of an agent wallet (base58, as the key page shows it once) bound to the account, and "
    "the account's own address. API_PRIVATE and SOL_WALLET are accepted as other names, with a warning; of API_PUBLIC, the "
    "agent's address, nothing is needed. The API config key raises the request budget from 100 to 300 credits a minute: too "
    "few without it for a live trader.",
)


class _Row(msgspec.Struct):
    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    min_order_size: Decimal
    max_leverage: int
    isolated_only: bool = False
    instrument_type: str | None = None


class _Answer(msgspec.Struct):
    success: bool
    data: list[msgspec.Raw] | None = None
    error: str | None = None


def instruments(info: bytes | str) -> list[Instrument]:
    """Rows of `GET /info`, one per canonical symbol. Rows that lack a field or hold an impossible figure are left out.

    What can only be held in isolated margin is flagged delisted: our margin figures are those of cross margin. Raises
    Malformed when the answer as a whole does not decode, is a refusal, or holds no usable row.
    """
    try:
        answer = msgspec.json.decode(info, type=_Answer)
    except UNDECODABLE as error:
        raise Malformed(f"pacifica info: {error}") from error
    if not answer.success or answer.data is None:
        raise Malformed(f"pacifica info: refused: {(answer.error or '')[:200]}")
    rows = [row for raw in answer.data if (row := _instrument(raw)) is not None]
    if not rows:
        raise Malformed(f"pacifica info: none of its {len(answer.data)} rows is usable")
    return one_per_symbol(rows)


def _instrument(raw: msgspec.Raw) -> Instrument | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None
    if (row.instrument_type or PERPETUAL) != PERPETUAL or not NAME.fullmatch(row.symbol):
        return None
    if row.max_leverage < 1:
        return None
    if not all(_is_step(each) for each in (row.tick_size, row.lot_size)):
        return None
    if row.min_order_size != 0 and not _is_step(row.min_order_size):
        return None
    symbol, multiplier = canonical(row.symbol, KILO)
    return Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.symbol,
        multiplier=multiplier,
        tick_size=row.tick_size,
        lot_size=row.lot_size,
        min_qty=row.lot_size,
        min_notional_usd=row.min_order_size,
        max_leverage=row.max_leverage,
        maintenance_margin_ratio=1 / (2 * row.max_leverage),  # half of the initial margin at the highest leverage
        quote_ccy=QUOTE_CCY,
        delisted=row.isolated_only,
    )


def _is_step(value: Decimal) -> bool:
    return value.is_finite() and SMALLEST <= value <= LARGEST
