"""What the simulated Kraken lists, and every spelling under which it knows a pair or an asset (docs/venues/kraken.md 2).

A contract's name is the modern one of the WebSocket v2 ("BTC/USD"). All pairs are against USD; those of the stablecoins
are always there, whatever symbols the sandbox is told.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from core.venue_spec import VenueKind
from ops.sandbox.market import PEGGED
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms

Row = dict[str, Any]

MAKER_FEE, TAKER_FEE = Decimal("0.0025"), Decimal("0.0040")  # below 10,000 USD in 30 days
QUOTE, CLASSIC_QUOTE = "USD", "ZUSD"
COST_MIN = Decimal("0.5")
FAR = Decimal(10)  # no price band is documented: ten times the mark is never reached


class Kind(NamedTuple):
    """How a base is spelled and cut."""

    old: str  # in wsname and altname
    classic: str  # in balances and keys
    price_decimals: int
    lot_decimals: int
    order_min: str


_KINDS = {
    "BTC": Kind("XBT", "XXBT", 1, 8, "0.00005"),
    "ETH": Kind("ETH", "XETH", 2, 8, "0.001"),
    "DOGE": Kind("XDG", "XXDG", 7, 8, "13"),
    "SOL": Kind("SOL", "SOL", 2, 8, "0.02"),
    "HYPE": Kind("HYPE", "HYPE", 4, 8, "0.1"),
    "PAXG": Kind("PAXG", "PAXG", 2, 8, "0.001"),
    "PEPE": Kind("PEPE", "PEPE", 10, 5, "400000"),
    "USDT": Kind("USDT", "USDT", 5, 8, "5"),
    "USDC": Kind("USDC", "USDC", 4, 8, "5"),
}

_CLASSIC_KEYS = {"BTC": "XXBTZUSD", "ETH": "XETHZUSD", "USDT": "USDTZUSD"}


class Pair(NamedTuple):
    """One pair under all its names."""

    symbol: str  # canonical base
    name: str  # BTC/USD, also the contract's
    wsname: str  # XBT/USD
    altname: str  # XBTUSD
    key: str  # XXBTZUSD
    base: str  # XXBT
    price_decimals: int
    lot_decimals: int
    tick: Decimal
    order_min: Decimal


def terms(symbols: tuple[str, ...]) -> Terms:
    """The pairs of these canonical symbols and of the stablecoins."""
    return Terms(
        contracts=tuple(_contract(_pair(symbol)) for symbol in (*symbols, *(s for s in PEGGED if s not in symbols))),
        maker_fee=MAKER_FEE,
        taker_fee=TAKER_FEE,
        funding_basis=FundingBasis.MARK,
        money_step=Decimal("0.0000000001"),
        min_notional_exempt=MinNotionalExempt.NONE,
        max_open_orders=60,
        kind=VenueKind.SPOT,
    )


class Listing:
    """The traded pairs, found by any of their names."""

    def __init__(self, names: set[str]) -> None:
        pairs = [_pair(name.partition("/")[0]) for name in names]
        self.pairs = sorted(pairs, key=lambda pair: pair.name)
        self.by_name = {pair.name: pair for pair in self.pairs}
        self._aliases: dict[str, Pair] = {}
        for pair in self.pairs:
            plain = pair.name.replace("/", "")
            for alias in (pair.name, plain, pair.wsname, pair.altname, pair.key):
                self._aliases[alias.upper()] = pair

    def find(self, text: str) -> Pair | None:
        """By any name, in any case, as REST takes them."""
        return self._aliases.get(text.upper())

    def assets(self) -> Row:
        """The answer of `Assets`."""
        rows: Row = {
            CLASSIC_QUOTE: {"aclass": "currency", "altname": QUOTE, "decimals": 4, "display_decimals": 2,
                            "status": "enabled"}
        }  # fmt: skip
        for pair in self.pairs:
            rows[pair.base] = {
                "aclass": "currency", "altname": pair.wsname.partition("/")[0], "decimals": 10, "display_decimals": 5,
                "status": "enabled",
            }  # fmt: skip
        return rows


def pair_row(pair: Pair) -> Row:
    """A row of `AssetPairs`."""
    return {
        "altname": pair.altname, "wsname": pair.wsname, "aclass_base": "currency", "base": pair.base,
        "aclass_quote": "currency", "quote": CLASSIC_QUOTE, "lot": "unit", "cost_decimals": 5,
        "pair_decimals": pair.price_decimals, "lot_decimals": pair.lot_decimals, "lot_multiplier": 1,
        "leverage_buy": [], "leverage_sell": [], "fees": [], "fees_maker": [], "fee_volume_currency": CLASSIC_QUOTE,
        "margin_call": 80, "margin_stop": 40, "ordermin": str(pair.order_min), "costmin": str(COST_MIN),
        "tick_size": f"{pair.tick:f}", "status": "online",
    }  # fmt: skip


def instrument_row(pair: Pair) -> Row:
    """A row of the `instrument` channel."""
    return {
        "symbol": pair.name, "base": pair.symbol, "quote": QUOTE, "status": "online", "qty_precision": pair.lot_decimals,
        "qty_increment": Decimal(1).scaleb(-pair.lot_decimals), "price_precision": pair.price_decimals,
        "price_increment": pair.tick, "tick_size": pair.tick, "cost_precision": 5, "cost_min": COST_MIN,
        "qty_min": pair.order_min, "marginable": False, "has_index": True,
    }  # fmt: skip


def _pair(symbol: str) -> Pair:
    kind = _KINDS.get(symbol, Kind(symbol, symbol, 4, 8, "0.1"))
    return Pair(
        symbol=symbol,
        name=f"{symbol}/{QUOTE}",
        wsname=f"{kind.old}/{QUOTE}",
        altname=f"{kind.old}{QUOTE}",
        key=_CLASSIC_KEYS.get(symbol, f"{kind.old}{QUOTE}"),
        base=kind.classic,
        price_decimals=kind.price_decimals,
        lot_decimals=kind.lot_decimals,
        tick=Decimal(1).scaleb(-kind.price_decimals),
        order_min=Decimal(kind.order_min),
    )


def _contract(pair: Pair) -> Contract:
    return Contract(
        symbol=pair.symbol,
        name=pair.name,
        tick=pair.tick,
        lot=Decimal(1).scaleb(-pair.lot_decimals),
        min_notional=COST_MIN,
        min_qty=pair.order_min,
        max_leverage=1,
        default_leverage=1,
        maintenance_ratio=Decimal(0),
        price_band=FAR,
        band_both_sides=False,
    )
