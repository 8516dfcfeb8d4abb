"""The tables of markets and money: the figures worked out by hand, and dashes where nobody has told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.ops.desk import AS, HL, Desk, parsed, venue_account
from tests.ops.test_screens import row

Out = pytest.CaptureFixture[str]


def two_quotes(desk: Desk) -> None:
    desk.beat()
    desk.quote(HL, "BTC", 100_100.0, 100_110.0)
    desk.quote(AS, "BTC", 99_990.0, 100_000.0)


def accounts(desk: Desk) -> None:
    desk.account(
        venues=(
            venue_account(HL, free_margin_usd=Decimal(10_000), taker_fee=0.00045, leverage={"BTC": 3}),
            venue_account(AS, free_margin_usd=Decimal(1_000), taker_fee=0.00035, leverage={"BTC": 5}),
        )
    )


def test_a_spread_is_what_crossing_captures_less_fees(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    accounts(desk)
    assert desk.tandem("--json", "spreads", "btc") == 0
    best, worst = parsed(capsys.readouterr().out)
    assert (best["long_venue"], best["short_venue"]) == ("aster", "hyperliquid")
    mid = (100_105 + 99_995) / 2
    assert best["edge_bps"] == pytest.approx(100 / mid * 1e4)
    assert best["fees_bps"] == pytest.approx(2 * (4.5 + 3.5))
    assert best["half_spreads_bps"] == pytest.approx(10 / mid * 1e4)
    assert best["net_bps"] == pytest.approx(best["edge_bps"] - best["fees_bps"] - best["half_spreads_bps"])
    assert best["tradable"]
    assert worst["edge_bps"] == pytest.approx(-120 / mid * 1e4)


def test_a_stale_quote_ranks_but_is_not_tradable(desk: Desk, capsys: Out) -> None:
    desk.beat()
    desk.quote(HL, "BTC", 100_100.0, 100_110.0)
    desk.quote(AS, "BTC", 99_990.0, 100_000.0, age_s=9.0)
    accounts(desk)
    assert desk.tandem("spreads") == 0
    assert row(capsys.readouterr().out, "BTC", "aster", "hyperliquid", "no")


def test_capacity_is_the_smaller_leg_by_the_formula(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    accounts(desk)
    assert desk.tandem("--json", "capacity", "BTC") == 0
    found = {(r["long_venue"], r["short_venue"]): r for r in parsed(capsys.readouterr().out)}
    leverage = desk.loaded.config.venues["aster"].leverage["default"]
    usd = Decimal("0.99") * 1000 / (Decimal(1) / leverage + Decimal("0.00035") + Decimal("0.001"))
    lots = usd / Decimal(100_105) // Decimal("0.001")
    both = found[("aster", "hyperliquid")]
    assert both["bound_by"] == "aster"
    assert Decimal(both["qty"]) == lots * Decimal("0.001")
    assert both["fits"]
    assert Decimal(both["minimum_usd"]) == Decimal("0.002") * Decimal(100_105)


def test_a_venue_whose_balance_was_never_read_has_no_capacity_and_is_named(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    desk.account(venues=(venue_account(HL), venue_account(AS, read_mono_ns=0)))
    assert desk.tandem("capacity") == 0
    text = capsys.readouterr().out
    assert "(none)" in text
    assert "no balance read yet: aster" in text


def test_leverage_shows_what_blocks_an_open(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    accounts(desk)
    wanted = desk.loaded.config.venues["aster"].leverage["default"]
    assert desk.tandem("leverage") == 0
    text = capsys.readouterr().out
    assert row(text, "BTC", "aster", f"{wanted}x", "5x", "20x", "differs:" if wanted != 5 else "ok")
    assert row(text, "BTC", "hyperliquid", "3x", "ok")
    assert row(text, "ETH", "aster", "unread")


def test_volume_that_nobody_told_is_a_dash_and_null(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    book = desk.books[HL]
    book.publish_mark(book.slots["BTC"], 100_105.0, float("nan"), 12.0, 4_000_000.0, 0, 1)
    accounts(desk)
    assert desk.tandem("volume", "BTC") == 0
    text = capsys.readouterr().out
    assert row(text, "BTC", "hyperliquid", "4,000,000", "1,201,260", "no")
    assert row(text, "BTC", "aster", "-")
    desk.beat()
    assert desk.tandem("--json", "volume", "BTC", "--min-usd", "3e6") == 0
    aster, hyperliquid = parsed(capsys.readouterr().out)
    assert aster["volume_24h_usd"] is None
    assert aster["enough"] is None
    assert hyperliquid["enough"] is True


def test_markets_speak_in_the_venues_own_units(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    desk.funding(AS, "BTC", 0.0001)
    assert desk.tandem("markets", "BTC") == 0
    text = capsys.readouterr().out
    assert row(text, "BTC", "aster", "perp", "0.1", "0.001", "10", "20", "1", "h")
    assert row(text, "BTC", "hyperliquid", "perp", "-")


def test_balances_sum_only_what_is_known(desk: Desk, capsys: Out) -> None:
    two_quotes(desk)
    accounts(desk)
    assert desk.tandem("balances") == 0
    text = capsys.readouterr().out
    assert row(text, "aster", "1,000.00", "3.50")
    desk.account(venues=(venue_account(HL), venue_account(AS, read_mono_ns=0)))
    assert desk.tandem("balances") == 0
    assert "equity of all venues: unknown" in capsys.readouterr().out


def test_without_an_executor_balances_say_so(desk: Desk, capsys: Out) -> None:
    assert desk.tandem("balances") == 69
    assert "no account page" in capsys.readouterr().out
