"""Pairs across quote currencies: what a currency is worth, who says so, and the limits seen to fire and not to fire."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.messages import DenyReason
from core.types import Busy, Down, Quote, QuoteFlag, ReadResult, Stale
from risk.context import Allowed, Denied, OpenContext
from risk.currencies import check_currencies
from risk.limits import check_open
from risk.parity import ASSUMED, Depeg, Parities, Parity, depeg_of
from tests.risk.test_limits import EXECUTION, NOW, RISK, opening, quote

ASSUMING = msgspec.structs.replace(RISK, parity={"USDC": 1.0, "USDT": 0.9995})


def across(long: tuple[str, Parity | None], short: tuple[str, Parity | None]) -> OpenContext:
    ctx = opening()
    legs: dict[str, Any] = {}
    for name, leg, (currency, parity) in (("long", ctx.long, long), ("short", ctx.short, short)):
        instrument = msgspec.structs.replace(leg.instrument, quote_ccy=currency)
        legs[name] = msgspec.structs.replace(leg, instrument=instrument, parity=parity)
    return msgspec.structs.replace(ctx, **legs)


def worth(usd: float) -> Parity:
    return Parity(usd, "kraken")


def test_legs_in_one_currency_ask_nothing_of_its_worth() -> None:
    assert check_currencies(across(("USDC", None), ("USDC", None)), RISK) is None
    assert check_currencies(across(("USDC", worth(0.9)), ("USDC", worth(0.9))), RISK) is None
    assert isinstance(check_open(across(("USDC", None), ("USDC", None)), RISK, EXECUTION), Allowed)


@pytest.mark.parametrize(
    ("long", "short", "reason"),
    [
        (("USD", worth(1.0)), ("USDC", worth(0.9999)), None),
        (("USDT", worth(1.0029)), ("USDC", worth(0.9971)), None),
        (("USDT", worth(1.0099)), ("USDC", worth(0.9901)), None),  # a warning, no stop
        (("USDT", worth(1.0101)), ("USDC", worth(1.0)), DenyReason.DEPEG),
        (("USDT", worth(1.0)), ("USDC", worth(0.9899)), DenyReason.DEPEG),
        (("USDT", None), ("USDC", worth(1.0)), DenyReason.PARITY_UNKNOWN),
        (("USD", worth(1.0)), ("USDC", None), DenyReason.PARITY_UNKNOWN),
    ],
)
def test_pairs_across_currencies(
    long: tuple[str, Parity | None], short: tuple[str, Parity | None], reason: DenyReason | None
) -> None:
    refusal = check_currencies(across(long, short), RISK)
    assert (refusal.reason if isinstance(refusal, Denied) else None) is reason
    verdict = check_open(across(long, short), RISK, EXECUTION)
    if reason is None:
        assert isinstance(verdict, Allowed), verdict
    else:
        assert isinstance(verdict, Denied)
        assert verdict.reason is reason
        assert all(isinstance(value, float) for value in verdict.numbers.values())


@pytest.mark.parametrize(
    ("usd", "stance"),
    [(1.0, Depeg.NONE), (1.0029, Depeg.NONE), (0.9969, Depeg.WARN), (1.0031, Depeg.WARN), (0.9901, Depeg.WARN),
     (0.9899, Depeg.STOP), (1.0101, Depeg.STOP), (0.5, Depeg.STOP)],
)  # fmt: skip
def test_distance_from_a_dollar(usd: float, stance: Depeg) -> None:
    assert depeg_of(worth(usd), RISK) is stance


def test_without_a_teller_the_named_constant_stands() -> None:
    parities = Parities(ASSUMING, "")
    assert parities.of("USDT", NOW) == Parity(0.9995, ASSUMED)
    assert parities.of("USD1", NOW) is None
    assert parities.of("USD", NOW) == Parity(1.0, "itself")


def test_a_teller_replaces_the_constant_and_its_silence_is_not_filled_by_it() -> None:
    parities = Parities(ASSUMING, "kraken")
    assert parities.of("USDT", NOW) is None
    parities.note("USDT", quote(0.9989, 0.9991), NOW)
    told = parities.of("USDT", NOW)
    assert told is not None
    assert (round(told.usd, 6), told.source) == (0.999, "kraken")
    age_ns = int(RISK.parity_max_age_s * NS_PER_S)
    assert parities.of("USDT", NOW + age_ns - NS_PER_S) == told
    assert parities.of("USDT", NOW + age_ns + NS_PER_S) is None
    assert parities.of("USDC", NOW) is None
    assert parities.of("USD", NOW) == Parity(1.0, "itself")


@pytest.mark.parametrize(
    "result",
    [Down("no writer"), Stale(10 * NS_PER_S), Busy(3), quote(1.0, 0.9), quote(0.0, 1.0), quote(0.99, 1.01, qty=0.0),
     quote(0.5, 0.6, flags=int(QuoteFlag.INDICATIVE)), quote(0.5, 0.6, flags=int(QuoteFlag.EXECUTABLE | QuoteFlag.DELISTED))],
)  # fmt: skip
def test_what_cannot_be_traded_on_tells_no_worth(result: ReadResult) -> None:
    parities = Parities(ASSUMING, "kraken")
    parities.note("USDT", result, NOW)
    assert parities.of("USDT", NOW) is None
    parities.note("USDT", quote(0.9989, 0.9991), NOW)
    parities.note("USDT", result, NOW + NS_PER_S)  # and takes none back
    assert parities.of("USDT", NOW + NS_PER_S) is not None


def test_the_age_of_the_quote_counts() -> None:
    parities = Parities(ASSUMING, "kraken")
    old: Quote = quote(0.9999, 1.0001)._replace(age_ns=int(RISK.parity_max_age_s * NS_PER_S) + 1)
    parities.note("USDT", old, NOW)
    assert parities.of("USDT", NOW) is None
