"""`tandem funding`: rates as told, what is doubted, the best pair and when it has paid for itself."""

from __future__ import annotations

import pytest

from core.types import FundingKind, FundingRate
from tests.ops.desk import AS, CLOCK, HL, Desk, parsed
from tests.ops.test_screens import row

Out = pytest.CaptureFixture[str]


def pay(desk: Desk, venue: str, symbol: str, rate: float, hours: int, kind: FundingKind = FundingKind.ESTIMATE) -> None:
    book = desk.books[venue]  # type: ignore[index]
    book.publish_funding(book.slots[symbol], FundingRate(rate, hours * 3600, 0, kind, "test"), CLOCK.mono_ns())


def market(desk: Desk) -> None:
    desk.beat()
    desk.account()
    desk.quote(HL, "BTC", 100_000.0, 100_010.0)
    desk.quote(AS, "BTC", 100_000.0, 100_020.0)


def test_rates_of_different_intervals_are_compared_per_hour(desk: Desk, capsys: Out) -> None:
    market(desk)
    pay(desk, HL, "BTC", 0.0000125, 1)
    pay(desk, AS, "BTC", 0.0008, 8)
    pay(desk, AS, "BTC", 0.0004, 8, FundingKind.SETTLED)
    assert desk.tandem("funding", "btc") == 0
    text = capsys.readouterr().out
    assert row(text, "BTC", "hyperliquid", "0.00125%", "0.1250", "10.95%", "ok")
    assert row(text, "BTC", "aster", "0.08000%", "8", "1.0000", "87.60%", "0.04000%", "ok")
    assert desk.tandem("--json", "funding", "BTC") == 0
    (best,) = parsed(capsys.readouterr().out)["best"]
    assert (best["long_venue"], best["short_venue"]) == ("hyperliquid", "aster")
    assert best["diff_bps_per_8h"] == pytest.approx(7.0)
    spreads_bps = 30 / 100_007.5 * 1e4
    assert best["cost_bps"] == pytest.approx(2 * (4.5 + 3.5) + spreads_bps, rel=1e-3)
    assert best["break_even_h"] == pytest.approx(best["cost_bps"] / 0.875)


def test_equal_rates_never_break_even(desk: Desk, capsys: Out) -> None:
    market(desk)
    pay(desk, HL, "BTC", 0.0000125, 1)
    pay(desk, AS, "BTC", 0.0001, 8)
    assert desk.tandem("funding-all", "--symbols", "btc,eth") == 0
    assert row(capsys.readouterr().out, "BTC", "0.00", "never")


def test_a_rate_that_is_not_believed_is_shown_and_left_out(
    desk: Desk, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    market(desk)
    pay(desk, HL, "BTC", 0.0000125, 1)
    pay(desk, AS, "BTC", 0.01, 8)
    monkeypatch.setattr("core.funding.MIN_SYMBOLS", 1)  # two venues with one symbol are what this desk has
    assert desk.tandem("funding") == 0
    text = capsys.readouterr().out
    assert row(text, "BTC", "aster", "1.00000%", "believed:", "scale")
    assert "no symbol has a believed rate on two venues" in text


def test_a_venue_that_told_nothing_is_not_a_zero(desk: Desk, capsys: Out) -> None:
    market(desk)
    pay(desk, HL, "BTC", 0.0000125, 1)
    assert desk.tandem("--json", "funding") == 0
    told = parsed(capsys.readouterr().out)
    assert [rate["venue"] for rate in told["rates"]] == ["hyperliquid"]
    assert told["best"] == []
