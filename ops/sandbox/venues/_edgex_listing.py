"""What the sandbox's EdgeX lists: contracts, coins and the signing domain (docs/venues/edgex.md 2, 4, 5).

The scales of signing come as decimal text on some contracts and as hex on others, and 1000PEPEUSDC trades thousands of
PEPE: clients get both wrong. Ids of BTC, ETH and SOL are the recorded ones, the others are this sandbox's own. The domain is
that of the official SDK's test chain. One risk tier each, since the sandbox's margin has one maintenance ratio.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.numeric import plain
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms

MAKER_FEE = Decimal("0.0004")
TAKER_FEE = Decimal("0.00045")
MONEY_STEP = Decimal("0.000001")
RATE_STEP = Decimal("0.00000001")
BAND = Decimal("0.2")
INTERVAL_H = 4
DEFAULT_LEVERAGE = 10
COIN_ID, COIN, COIN_RESOLUTION = "1000", "USDC", 10**6
CHAIN_ID = 33431
CONTRACT_ADDRESS = "0x1ae109ea449cfe0bed08bfe8911e968a49a919b1"
INTEREST_RATE = "0.0003"  # a day


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One contract. Sizes in venue units."""

    contract: Contract
    contract_id: str
    coin_id: str
    min_qty: Decimal
    max_qty: Decimal
    resolution: str  # as the metadata spells it

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def scale(self) -> int:
        return int(self.resolution, 0)

    def row(self) -> dict[str, object]:
        """Its row in contractList."""
        leverage = str(self.contract.max_leverage)
        return {
            "contractId": self.contract_id,
            "contractName": self.name,
            "baseCoinId": self.coin_id,
            "quoteCoinId": COIN_ID,
            "tickSize": plain(self.contract.tick),
            "stepSize": plain(self.contract.lot),
            "minOrderSize": plain(self.min_qty),
            "maxOrderSize": plain(self.max_qty),
            "maxOrderBuyPriceRatio": plain(BAND),
            "minOrderSellPriceRatio": plain(BAND),
            "maxPositionSize": plain(self.max_qty * 10),
            "maxMarketPositionSize": plain(self.max_qty),
            "riskTierList": [
                {
                    "tier": 1,
                    "positionValueUpperBound": "5000000",
                    "maxLeverage": leverage,
                    "maintenanceMarginRate": plain(self.contract.maintenance_ratio),
                }
            ],
            "defaultTakerFeeRate": plain(TAKER_FEE),
            "defaultMakerFeeRate": plain(MAKER_FEE),
            "defaultLeverage": str(self.contract.default_leverage),
            "liquidateFeeRate": "0.01",
            "enableTrade": True,
            "enableDisplay": True,
            "enableOpenPosition": True,
            "fundingInterestRate": INTEREST_RATE,
            "fundingMaxRate": "0.02",
            "fundingMinRate": "-0.02",
            "fundingRateIntervalMin": str(self.contract.funding_interval_h * 60),
            "displayMaxLeverage": leverage,
            "resolution": self.resolution,
            "openSizeReduceRatio": "0.99",
            "isStock": False,
            "isFx": False,
        }


def listings(symbols: tuple[str, ...]) -> tuple[Listing, ...]:
    """The listings of the canonical `symbols` that this venue knows, in its own order."""
    return tuple(listing for listing in _LISTED if listing.contract.symbol in symbols)


def terms(symbols: tuple[str, ...]) -> Terms:
    return Terms(
        contracts=tuple(listing.contract for listing in listings(symbols)),
        maker_fee=MAKER_FEE,
        taker_fee=TAKER_FEE,
        funding_basis=FundingBasis.ORACLE,
        money_step=MONEY_STEP,
        min_notional_exempt=MinNotionalExempt.REDUCE_ONLY,
        max_open_orders=200,
    )


def metadata(listed: tuple[Listing, ...]) -> dict[str, object]:
    """The data of getMetaData."""
    coins = [{"coinId": COIN_ID, "coinName": COIN, "stepSize": plain(MONEY_STEP), "resolution": hex(COIN_RESOLUTION)}]
    coins += [
        {"coinId": listing.coin_id, "coinName": listing.contract.symbol, "stepSize": "1", "resolution": ""}
        for listing in listed
    ]
    return {
        "global": {
            "appName": "edgeX",
            "appEnv": "sandbox",
            "chainId": str(CHAIN_ID),
            "nativeChainId": str(CHAIN_ID),
            "contractAddress": CONTRACT_ADDRESS,
        },
        "coinList": coins,
        "contractList": [listing.row() for listing in listed],
        "multiChain": {},
    }


def _listing(
    symbol: str,
    contract_id: str,
    tick: str,
    lot: str,
    min_qty: str,
    max_qty: str,
    leverage: int,
    maintenance: str,
    resolution: str,
    multiplier: int = 1,
) -> Listing:
    base = symbol if multiplier == 1 else f"{multiplier}{symbol}"
    return Listing(
        contract=Contract(
            symbol=symbol,
            name=base + COIN,
            tick=Decimal(tick),
            lot=Decimal(lot),
            min_notional=Decimal(0),
            max_leverage=leverage,
            default_leverage=DEFAULT_LEVERAGE,
            multiplier=multiplier,
            maintenance_ratio=Decimal(maintenance),
            funding_interval_h=INTERVAL_H,
            funding_step=RATE_STEP,
            price_band=BAND,
            band_both_sides=False,
        ),
        contract_id=contract_id,
        coin_id=str(1000 + int(contract_id) % 1000),
        min_qty=Decimal(min_qty),
        max_qty=Decimal(max_qty),
        resolution=resolution,
    )


_LISTED = (
    _listing("BTC", "30000001", "0.1", "0.001", "0.001", "100", 100, "0.005", "0x2540be400"),
    _listing("ETH", "30000002", "0.01", "0.01", "0.02", "1000", 100, "0.005", "1000000000"),
    _listing("SOL", "30000003", "0.01", "0.1", "0.1", "10000", 50, "0.01", "0x3b9aca00"),
    _listing("HYPE", "30000041", "0.001", "0.1", "0.1", "20000", 20, "0.025", "1000000000"),
    _listing("PAXG", "30000160", "0.1", "0.001", "0.001", "100", 20, "0.025", "1000000000"),
    _listing("PEPE", "30000030", "0.0000001", "10", "100", "100000000", 20, "0.025", "0xf4240", multiplier=1000),
)
