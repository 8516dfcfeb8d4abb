"""Screens show what is in memory, say what is stale, down or silent, fit the terminal, and never print half a number."""

from __future__ import annotations

import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from decimal import Decimal
from fcntl import ioctl

import pytest

from core.account import SubLedgerView
from core.decisions import Action
from core.messages import PairStatus
from core.types import TradingState, Venue
from tests.ops.desk import AS, HL, ROOT, Desk, order, pair, parsed, position, venue_account

Out = pytest.CaptureFixture[str]
FIGURES: dict[str, float] = {f"figure_{n}_bps": n * 1.2345 for n in range(12)}


def trading(desk: Desk) -> None:
    """A page with something in every table."""
    desk.account(
        pair(pair_id="p1-7", fees_usd=Decimal("0.55"), funding_usd=Decimal("0.05"), unrealized_usd=Decimal("1.5")),
        pair(pair_id="p1-3", status=PairStatus.CLOSED, net_usd=Decimal("-2.375"), reason="take_profit"),
        positions=(position(AS, "0.015"), position(HL, "-0.010", venue_qty=Decimal("-0.012"), flags=("FROZEN",))),
        orders=(order(),),
        unhedged_usd=Decimal("500.25"), unhedged_age_ns=1_250_000_000, unhedged_max_ns=2_500_000_000,
        pairs_opened=4, pairs_closed=3, net_usd=Decimal("12.344"),
        venues=(
            venue_account(HL, equity_usd=Decimal("10012.5"), maintenance_margin_usd=Decimal("1001.25")),
            venue_account(AS, status="blind", equity_usd=Decimal(9_000), private_stream_up=False, rate_budget_ratio=0.75),
        ),
    )  # fmt: skip


def row(text: str, *cells: str) -> str:
    """The first line that has all `cells` as words."""
    for line in text.splitlines():
        if all(re.search(rf"(^|\s){re.escape(cell)}(\s|$)", line) for cell in cells):
            return line
    raise AssertionError(f"no line with {cells} in\n{text}")


def test_status_shows_what_is_in_memory(desk: Desk, capsys: Out) -> None:
    desk.quote(HL, "BTC", 100000.5, 100010.5)
    desk.quote(AS, "BTC", 99990.0, 100000.0)
    desk.funding(AS, "BTC", 0.0001)
    trading(desk)
    assert desk.tandem("status") == 0
    text = capsys.readouterr().out
    assert re.search(r"mode sandbox  trading active\n", text)
    assert "equity 19,012.50 USD  realized net 12.34 USD" in text
    assert "pairs 1 open, 4 opened, 3 closed" in text
    assert "unhedged 500.25 USD for 1.25 s (longest 2.50 s)" in text
    assert row(text, "hyperliquid", "up", "1/2", "ok", "10,012.50", "10.0%", "100%")
    assert row(text, "aster", "up", "1/2", "blind", "9,000.00", "0.0%", "down", "75%")
    assert row(text, "BTC", "hyperliquid", "100000.5", "100010.5", "1.5", "2.25", "1.00", "ok")
    assert row(text, "BTC", "aster", "99990", "100000", "1.00", "ok", "87.60%")
    assert row(text, "BTC", "aster", "0.015", "100000.5", "100100", "1,501.50", "1.25", "31.5%")
    assert row(text, "hyperliquid", "-0.01", "-0.012", "FROZEN")
    assert "net exposure: 0.005 BTC" in text
    assert row(text, "p1-7", "open", "60.0", "100.0%", "1.50", "0.55", "0.05", "1.00")
    assert row(text, "p1-3", "closed", "-2.38", "take_profit")


def test_owners_are_told_where_a_position_has_several_and_dust_as_dust(desk: Desk, capsys: Out) -> None:
    def share(venue: Venue, owner: str, qty: str) -> SubLedgerView:
        return SubLedgerView(venue=venue, symbol="BTC", owner=owner, qty=Decimal(qty))

    desk.account(
        pair(pair_id="p1-7", status=PairStatus.CLOSED, net_usd=Decimal(1), reason="dust", dust_qty=Decimal("0.00200")),
        positions=(position(AS, "0.015"), position(HL, "-0.010")),
        sub_ledgers=(share(AS, "scalp", "0.015"), share(HL, "scalp", "-0.015"), share(HL, "", "0.005")),
    )
    assert desk.tandem("status") == 0
    text = capsys.readouterr().out
    assert row(text, "BTC", "hyperliquid", "scalp", "-0.015")
    assert row(text, "BTC", "hyperliquid", "nobody", "0.005")
    assert not re.search(r"aster\s+scalp", text), "one owner needs no telling"
    assert row(text, "p1-7", "dust,", "dust", "0.002")
    trading(desk)
    desk.tandem("status")
    assert "Owners" not in capsys.readouterr().out


def test_an_account_that_was_never_read_is_unknown_and_so_is_the_total(desk: Desk, capsys: Out) -> None:
    desk.quote(AS, "BTC", 99990.0, 100000.0)
    desk.account(
        venues=(
            venue_account(HL, equity_usd=Decimal(8_000)),
            venue_account(AS, status="down", equity_usd=Decimal(0), read_mono_ns=0, rate_budget_ratio=0.5),
        ),
    )
    assert desk.tandem("status") == 0
    text = capsys.readouterr().out
    assert "equity unknown" in text
    assert "0.00" not in row(text, "aster", "down", "50%")


def test_status_as_json_is_the_memory_itself(desk: Desk, capsys: Out) -> None:
    desk.quote(HL, "BTC", 100000.5, 100010.5)
    trading(desk)
    assert desk.tandem("status", "--json") == 0
    shown = parsed(capsys.readouterr().out)
    assert shown["executor_trouble"] == ""
    assert shown["fingerprint"] == desk.loaded.fingerprint
    assert Decimal(shown["account"]["unhedged_usd"]) == Decimal("500.25")
    assert [p["pair_id"] for p in shown["account"]["pairs"]] == ["p1-7", "p1-3"]
    quotes = {(q["venue"], q["symbol"]): q for q in shown["quotes"]}
    assert quotes["hyperliquid", "BTC"]["bid_px"] == 100000.5
    assert 0 <= quotes["hyperliquid", "BTC"]["age_ms"] < 500
    never = quotes["aster", "ETH"]
    assert (never["state"], never["bid_px"], never["age_ms"], never["mark_px"]) == ("stale", None, None, None)


def test_a_stale_quote_is_shown_with_its_age_and_is_not_counted_fresh(desk: Desk, capsys: Out) -> None:
    desk.quote(HL, "BTC", 100.0, 101.0, age_s=4.0)
    desk.beat()
    desk.account()
    desk.tandem("status", "--json")
    shown = parsed(capsys.readouterr().out)
    quote = next(q for q in shown["quotes"] if q["venue"] == "hyperliquid" and q["symbol"] == "BTC")
    assert quote["state"] == "stale"
    assert 4000 <= quote["age_ms"] < 8000
    assert next(f for f in shown["feeds"] if f["venue"] == "hyperliquid")["fresh"] == 0
    desk.tandem("status")
    assert row(capsys.readouterr().out, "BTC", "hyperliquid", "stale")


def test_a_feed_that_is_down_says_why(desk: Desk, capsys: Out) -> None:
    desk.quote(AS, "BTC", 100.0, 101.0)
    desk.books[AS].set_status(False, "socket refused [red][/oops]")
    desk.account()
    desk.tandem("status")
    text = capsys.readouterr().out
    assert "DOWN: socket refused [red][/oops]" in text
    assert row(text, "BTC", "aster", "down")


def test_a_silent_executor_is_told_everywhere(desk: Desk, capsys: Out) -> None:
    desk.account(silent_s=7.0)
    assert desk.tandem("status") == 69
    assert re.search(r"executor silent for 7\.\d s", capsys.readouterr().out)
    assert desk.tandem("status", "--json") == 69
    assert parsed(capsys.readouterr().out)["executor_trouble"].startswith("silent for 7.")
    assert desk.tandem("positions") == 0
    assert "what follows is the last it said" in capsys.readouterr().out
    desk.account()
    assert desk.tandem("status") == 0
    assert "silent" not in capsys.readouterr().out


def test_without_an_executor_quotes_are_still_shown(desk: Desk, capsys: Out) -> None:
    desk.quote(HL, "BTC", 100.0, 101.0)
    assert desk.tandem("status") == 69
    text = capsys.readouterr().out
    assert "no account page: executor: starting" in text
    assert row(text, "BTC", "hyperliquid", "ok")
    for verb in ("pairs", "positions", "orders"):
        assert desk.tandem(verb) == 69
        assert "no account page" in capsys.readouterr().out


def test_halted_and_recovering_and_another_configuration_are_in_the_headline(desk: Desk, capsys: Out) -> None:
    desk.account(
        trading_state=TradingState.HALTED, state_reason="drill [/oops] [red]", ready=False, config_fingerprint="other",
        frozen=("aster:BTC",),
    )  # fmt: skip
    assert desk.tandem("status") == 0
    text = capsys.readouterr().out
    assert "trading halted (drill [/oops] [red])  executor recovering" in text
    assert "the executor runs configuration other" in text
    assert "frozen: aster:BTC" in text


def test_pairs_positions_orders_as_json(desk: Desk, capsys: Out) -> None:
    trading(desk)
    shown = {}
    for verb in ("pairs", "positions", "orders"):
        assert desk.tandem(verb, "--json") == 0
        shown[verb] = parsed(capsys.readouterr().out)
    assert [p["status"] for p in shown["pairs"]] == ["open", "closed"]
    assert [p["qty"] for p in shown["positions"]] == ["0.015", "-0.010"]
    assert shown["orders"][0]["client_order_id"] == order().client_order_id
    desk.tandem("orders")
    assert row(
        capsys.readouterr().out, "14:13:20.123", "aster", "buy", "0.015", "0.005", "100150.1", "submitted", "p1-1"
    )


def test_another_version_of_a_segment_is_a_row_not_a_crash(desk: Desk, capsys: Out) -> None:
    desk.account()
    desk.quote(HL, "BTC", 100.0, 101.0)
    path = desk.run.books / "aster"
    data = bytearray(path.read_bytes())
    path.unlink()
    for at in range(0, 64, 8):  # whatever word holds the layout, it is not this one any more
        data[at : at + 8] = struct.pack("<Q", struct.unpack_from("<Q", data, at)[0] ^ (1 << 20))
    path.write_bytes(data)
    desk.tandem("status", "--json")
    feeds = {f["venue"]: f for f in parsed(capsys.readouterr().out)["feeds"]}
    assert not feeds["aster"]["up"]
    assert str(path) in feeds["aster"]["reason"]
    assert feeds["hyperliquid"]["up"]


def test_why_shows_the_numbers_that_made_it(desk: Desk, capsys: Out) -> None:
    desk.decide("edge_below_entry", edge_bps=12.3456789, notional_usd=2_500_000.0, age_long_ms=math.nan)
    desk.decide("sent", action=Action.OPEN, edge_bps=61.0)
    desk.decide("", action=Action.SUMMARY, refusals=40)
    desk.decide("cooldown", symbol="ETH", left_s=3.5)
    assert desk.tandem("why") == 0
    text = capsys.readouterr().out
    assert row(text, "scalp", "refuse", "BTC", "aster", "hyperliquid", "edge_below_entry", "edge_bps=12.3457")
    assert "notional_usd=2500000" in text
    assert row(text, "open", "BTC", "sent", "edge_bps=61")
    assert "summary" not in text
    assert text.index("edge_below_entry") < text.index("cooldown")
    assert "time UTC" in text
    desk.tandem("why", "--json")
    assert [d["reason"] for d in parsed(capsys.readouterr().out)] == ["edge_below_entry", "sent", "cooldown"]
    desk.tandem("why", "eth", "--json")
    assert [d["symbol"] for d in parsed(capsys.readouterr().out)] == ["ETH"]
    desk.tandem("why", "-n", "1", "--json")
    assert [d["reason"] for d in parsed(capsys.readouterr().out)] == ["cooldown"]
    desk.tandem("why", "DOGE")
    assert "(none)" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("verb", ["status", "pairs", "positions", "orders", "why"])
def test_no_line_is_wider_than_the_terminal(desk: Desk, verb: str, columns: int) -> None:
    desk.quote(HL, "BTC", 100000.5, 100010.5)
    desk.quote(AS, "BTC", 99990.0, 100000.0)
    trading(desk)
    desk.decide("edge_below_entry", symbol="BTC", action=Action.REFUSE, **FIGURES)
    text = on_terminal(columns, lambda: ["--config", str(desk.loaded.path), verb])
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert "BTC" in text
    if verb in ("status", "positions"):
        assert row(text, "hyperliquid", "-0.01", "-0.012", "FROZEN"), "a number was cut"
    if columns == 200:
        assert "left out for width" not in text


def test_a_number_is_never_cut_however_narrow_the_terminal(desk: Desk) -> None:
    trading(desk)
    text = on_terminal(40, lambda: ["--config", str(desk.loaded.path), "positions"])
    assert row(text, "hyperliquid", "-0.01", "-0.012", "1,501.50", "31.5%", "FROZEN")


def on_terminal(columns: int, words: Callable[[], list[str]]) -> str:
    """What `tandem` prints on a terminal of that width, colours removed."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", *words()], stdout=theirs, stdin=subprocess.DEVNULL, cwd=ROOT,
        env={"TERM": "xterm", "PATH": os.defpath},
    )  # fmt: skip
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # the other end has closed
        pass
    os.close(ours)
    process.wait(20)
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(chunks).decode())
