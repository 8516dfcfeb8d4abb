"""EdgeX's `getMetaData` -> Instrument rows, funding intervals, and what orders are signed over (docs/venues/edgex.md 2, 4, 6)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import THOUSANDS, canonical, one_per_symbol
from core.types import Instrument, Venue
from core.venue_spec import ETHEREUM_KEY, Credential, Form, Proof, Spelling, VenueKind, VenueSpec

VENUE = Venue("edgex")
QUOTE_CCY = "USDC"
SUCCESS = "SUCCESS"
DEFAULT_FEE_RATE = Decimal("0.001")  # what the signed fee cap is reckoned with where a contract names no fee
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision
MAX_WHOLE = 10**18

ACCOUNT_ID = Form(
    pattern=r"[0-9]{1,20}", says="an account id: a whole number of up to 20 digits", spelling=Spelling.NUMBER, least=1
)
TOKEN = Form(pattern=r"[\x21-\x7e]{1,256}", says="1 to 256 printable characters without blanks")

SPEC = VenueSpec(
    name=VENUE,
    title="EdgeX",
    kind=VenueKind.PERP,
    quote_ccy=QUOTE_CCY,
    proof=Proof.SOCKET,
    taker_fee=0.00045,
    maker_fee=0.0004,
    order_ttl_ms=10_000,  # a request whose timestamp is 60 s old is refused, and ours are 50 s old when they leave
    credentials=(
        Credential("EDGEX_ACCOUNT_ID", secret=False, form=ACCOUNT_ID),
        Credential(
            "EDGEX_PRIVATE_KEY",
            retired=("EDGEX_STARK_PRIVATE_KEY",),
            retired_advice="Stark keys belong to EdgeX V1, which is no longer traded: create a V2 SDK signer in API Management "
            "and set EDGEX_PRIVATE_KEY to its private key, with EDGEX_API_KEY, EDGEX_API_SECRET and EDGEX_API_PASSPHRASE",
            form=ETHEREUM_KEY,
        ),
        Credential("EDGEX_API_KEY", form=TOKEN),
        Credential("EDGEX_API_SECRET", form=TOKEN),
        Credential("EDGEX_API_PASSPHRASE", form=TOKEN),
    ),
    credentials_advice="the five values of API Management, Perps V2, SDK Signer, Detail, which are shown once: account id, "
    "private key, API key, secret and passphrase. The wallet's own key is not needed. Stark keys of V1 "
    "(EDGEX_STARK_PRIVATE_KEY) are no longer traded with and are refused with an explanation.",
    unread=(("EDGEX_BASE_URL, EDGEX_WS_URL", "rest_url and ws_url of config/venues/edgex.toml"),),
)


class SigningTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the signature of an order in one contract needs beside the order: scales, ids and the rate of the fee cap."""

    contract_id: int
    resolution: int  # signed size = size x this
    coin_id: int
    coin_resolution: int  # signed value = value x this
    fee_rate: Decimal  # the dearer of the default taker and maker rates


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """One `getMetaData` answer. The maps are by contract id; `chain_id` and `contract_address` are the signing domain's."""

    instruments: list[Instrument]
    funding_interval_s: dict[int, int]  # those that the venue tells
    terms: dict[int, SigningTerms]  # those whose scales are known: nothing else can be signed for
    default_leverage: dict[int, int]  # what an account that set nothing trades with
    chain_id: int
    contract_address: str


class _Global(msgspec.Struct):
    contractAddress: str = ""
    nativeChainId: str | None = None
    chainId: str | None = None


class _Coin(msgspec.Struct):
    coinId: str
    coinName: str
    resolution: str | None = None


class _Tier(msgspec.Struct):
    maxLeverage: str
    maintenanceMarginRate: str


class _Row(msgspec.Struct):
    contractId: str
    contractName: str
    quoteCoinId: str
    tickSize: str
    stepSize: str
    minOrderSize: str
    maxOrderSize: str
    riskTierList: list[_Tier]
    enableTrade: bool
    enableOpenPosition: bool
    resolution: str | None = None
    defaultTakerFeeRate: str | None = None
    defaultMakerFeeRate: str | None = None
    defaultLeverage: str | None = None
    fundingRateIntervalMin: str | None = None


class _Data(msgspec.Struct):
    coinList: list[msgspec.Raw]
    contractList: list[msgspec.Raw]
    global_: _Global = msgspec.field(name="global", default_factory=_Global)


class _Answer(msgspec.Struct):
    code: str
    data: _Data | None = None


def catalogue(metadata: bytes | str) -> Catalogue:
    """All USDC-margined contracts, one per canonical symbol, those that cannot be opened flagged as delisted.

    Rows that lack a field or whose figures are no market's are left out. Raises Malformed when the answer as a whole does
    not decode, is a refusal, or holds no usable row.
    """
    try:
        answer = msgspec.json.decode(metadata, type=_Answer)
    except UNDECODABLE as error:
        raise Malformed(f"edgex getMetaData: {error}") from error
    if answer.code != SUCCESS or answer.data is None:
        raise Malformed(f"edgex getMetaData: code {answer.code!r}")
    coins = _coins(answer.data.coinList)
    decoded = [row for raw in answer.data.contractList if (row := _row(raw)) is not None]
    pairs = [(row, made) for row in decoded if (made := _instrument(row, coins)) is not None]
    if not pairs:
        raise Malformed(f"edgex getMetaData: none of its {len(answer.data.contractList)} contracts is usable")
    chosen = one_per_symbol(made for _, made in pairs)
    kept = {made.venue_index for made in chosen}
    rows = {made.venue_index: row for row, made in pairs if made.venue_index in kept}
    return Catalogue(
        instruments=chosen,
        funding_interval_s={number: found for number, row in rows.items() if (found := _interval_s(row))},
        terms={number: terms for number, row in rows.items() if (terms := _terms(number, row, coins)) is not None},
        default_leverage={number: _whole(row.defaultLeverage) or 1 for number, row in rows.items()},
        chain_id=_whole(answer.data.global_.nativeChainId) or _whole(answer.data.global_.chainId),
        contract_address=answer.data.global_.contractAddress,
    )


def instruments(metadata: bytes | str) -> list[Instrument]:
    """The Instrument rows alone. Raises Malformed, as `catalogue` does."""
    return catalogue(metadata).instruments


def _coins(raws: list[msgspec.Raw]) -> dict[str, _Coin]:
    """By id; rows that do not decode are left out."""
    found = {}
    for raw in raws:
        try:
            coin = msgspec.json.decode(raw, type=_Coin)
        except UNDECODABLE:
            continue
        found[coin.coinId] = coin
    return found


def _row(raw: msgspec.Raw) -> _Row | None:
    try:
        return msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None


def _instrument(row: _Row, coins: Mapping[str, _Coin]) -> Instrument | None:
    coin = coins.get(row.quoteCoinId)
    base = row.contractName.removesuffix(QUOTE_CCY)
    if coin is None or coin.coinName != QUOTE_CCY or not base or base == row.contractName:
        return None
    tick, lot = _number(row.tickSize), _number(row.stepSize)
    min_qty, max_qty = _number(row.minOrderSize), _number(row.maxOrderSize)
    number = _whole(row.contractId)
    if not number or not tick or not lot or min_qty is None or max_qty is None or min_qty % lot:
        return None
    tier = row.riskTierList[0] if row.riskTierList else None
    leverage = _number(tier.maxLeverage) if tier else None
    maintenance = _number(tier.maintenanceMarginRate) if tier else None
    symbol, multiplier = canonical(base, THOUSANDS)
    return Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.contractName,
        venue_index=number,
        multiplier=multiplier,
        tick_size=tick,
        lot_size=lot,
        min_qty=min_qty,
        max_qty=max_qty,
        max_leverage=max(1, int(leverage)) if leverage else 1,
        maintenance_margin_ratio=float(maintenance) if maintenance else 0.0,
        quote_ccy=QUOTE_CCY,
        delisted=not (row.enableTrade and row.enableOpenPosition),
    )


def _terms(number: int, row: _Row, coins: Mapping[str, _Coin]) -> SigningTerms | None:
    coin = coins[row.quoteCoinId]
    resolution, coin_resolution = _whole(row.resolution), _whole(coin.resolution)
    if not resolution or not coin_resolution:
        return None
    rates = [_number(text) if text else DEFAULT_FEE_RATE for text in (row.defaultTakerFeeRate, row.defaultMakerFeeRate)]
    if None in rates:
        return None
    return SigningTerms(
        contract_id=number,
        resolution=resolution,
        coin_id=_whole(coin.coinId),
        coin_resolution=coin_resolution,
        fee_rate=max(rate for rate in rates if rate is not None),
    )


def _interval_s(row: _Row) -> int:
    """0 where it is not told, or does not divide a day."""
    minutes = _whole(row.fundingRateIntervalMin)
    return minutes * 60 if minutes and 24 * 60 % minutes == 0 else 0


def _number(text: str) -> Decimal | None:
    """A figure that is never negative; None when it is not a plain number or beyond any market's."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and (number == 0 or SMALLEST <= number <= LARGEST) else None


def _whole(text: str | None) -> int:
    """A whole number in decimal digits, or in hex behind 0x, as the venue mixes them; 0 when it is neither."""
    try:
        number = int(text or "", 16) if (text or "").lower().startswith("0x") else int(text or "")
    except ValueError:
        return 0
    return number if 0 < number <= MAX_WHOLE else 0
