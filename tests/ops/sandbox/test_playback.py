"""Recorded quotes on sandbox books: what is shown, what fills, what stands still, and how it ends."""

from __future__ import annotations

import gzip
import json
import time
import urllib.error
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import NS_PER_S, SimClock
from core.errors import ConfigError
from core.recordings import COLUMNS, MANIFEST, Track, load_manifest
from core.types import Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.market import Market, MarketTerms
from ops.sandbox.model import Placed
from ops.sandbox.playback import Order, Playback, State
from ops.sandbox.venues import aster, hyperliquid
from tests.ops.sandbox.process import SandboxProcess
from tests.ops.sandbox.small_exchange import Memory

ROOT = Path(__file__).resolve().parents[3]
SYNTHETIC = ROOT / "tests" / "fixtures" / "recordings" / "synthetic-two-venue"
SYMBOLS = ("BTC", "ETH")
ALICE = "0x" + "a1" * 20
D = Decimal


def write(folder: Path, rows: Mapping[str, Sequence[str]]) -> tuple[Track, ...]:
    """A recording of BTC: rows by venue as "second bid bid_qty ask ask_qty"."""
    tracks = []
    for venue, lines in rows.items():
        body = [",".join(COLUMNS)]
        for line in lines:
            second, bid, bid_qty, ask, ask_qty = line.split()
            body.append(f"2026-01-01 00:00:{int(second):02d},{ask_qty},{ask},{bid},{bid_qty}")
        (folder / f"{venue}.csv.gz").write_bytes(gzip.compress("\n".join([*body, ""]).encode()))
        tracks.append(
            f'[[track]]\nvenue = "{venue}"\nsymbol = "BTC"\nfile = "{venue}.csv.gz"\ntick = "0.1"\nlot = "0.001"\n'
            'min_notional_usd = "10"\n'
        )
    (folder / MANIFEST).write_text("".join(tracks))
    return load_manifest(folder, folder)


class World:
    """Two venues' exchanges without sockets, on a clock that only the test moves."""

    def __init__(self, folder: Path, rows: Mapping[str, Sequence[str]], **order: Any) -> None:
        self.clock = SimClock()
        self.market = Market(
            MarketTerms(
                seed=1, symbols=SYMBOLS, venues=("hyperliquid", "aster"), quotes_per_s=100.0, basis_sd_bps=18.0,
                basis_half_life_s=15.0, jump_bps=60.0, jump_every_s=30.0,
            )
        )  # fmt: skip
        self.exchanges = {module.__name__.rsplit(".", 1)[1]: self._exchange(module) for module in (hyperliquid, aster)}
        for _ in range(40):
            symbol, samples = self.market.step()
            for exchange, sample in zip(self.exchanges.values(), samples, strict=True):
                exchange.apply(symbol, sample)
        tracks = write(folder, rows)
        self.playback = Playback(Order(path=str(folder), **order), tracks, self.exchanges, self.market, self.clock)
        self.playback.begin()

    def _exchange(self, module: Any) -> Exchange:
        exchange = Exchange(
            module.__name__.rsplit(".", 1)[1],
            module.SandboxVenue.terms(SYMBOLS),
            self.clock,
            lambda s, h: 0.0,
            lambda t: None,
        )
        exchange.open_account(ALICE, D(100_000))
        return exchange

    def forward(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance_ns(NS_PER_S // 10)
            self.playback.advance()

    def top(self, venue: str = "aster", symbol: str = "BTC") -> tuple[Decimal, ...] | None:
        exchange = self.exchanges[venue]
        contract = exchange.contract_of(symbol)
        assert contract is not None
        top = exchange.top(contract.name)
        return None if top.bid is None or top.ask is None else (top.bid.px, top.bid.qty, top.ask.px, top.ask.qty)

    def take(self, side: Side, qty: str, px: str, venue: str = "aster") -> Placed:
        exchange = self.exchanges[venue]
        contract = exchange.contract_of("BTC")
        assert contract is not None
        return exchange.place(ALICE, contract.name, side, D(qty), D(px), TimeInForce.IOC)


ROWS = {
    "aster": ["0 87000 1 87000.1 0.5", "1 87000 1 87003 0.3", "2 87000 2 87000.1 2", "9 87000 1 87000.1 1"],
    "hyperliquid": ["0 87010 1 87011 1", "3 87020 1 87021 1", "9 87020 1 87021 1"],
}


def test_books_follow_the_rows_at_the_recorded_pace(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    assert world.top() == (D(87000), D(1), D("87000.1"), D("0.5"))
    world.forward(0.9)
    assert world.top() == (D(87000), D(1), D("87000.1"), D("0.5"))
    world.forward(0.2)
    assert world.top() == (D(87000), D(1), D(87003), D("0.3"))
    assert world.top("hyperliquid") == (D(87010), D(1), D(87011), D(1))
    world.forward(2)
    assert world.top("hyperliquid") == (D(87020), D(1), D(87021), D(1))


def test_ten_times_faster_is_ten_times_faster(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS, speed=10.0)
    world.forward(0.3)
    assert world.top("hyperliquid") == (D(87020), D(1), D(87021), D(1))
    world.forward(0.7)
    assert world.playback.state is State.ENDED
    assert world.playback.report().rows == 7


def test_only_the_recorded_level_is_there(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    bids, asks = world.exchanges["aster"].levels("BTCUSDT", 20)
    assert (len(bids), len(asks)) == (1, 1)


def test_a_taker_gets_what_this_quote_and_the_next_both_give(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    assert world.take(Side.BUY, "0.1", "87002").order.filled == 0, "the next ask is 87003"
    placed = world.take(Side.BUY, "1", "87010")
    assert [(fill.px, fill.qty) for fill in placed.fills] == [(D(87003), D("0.3"))]
    assert world.take(Side.BUY, "1", "87010").order.filled == 0, "the same size is not there twice"
    world.forward(0.5)
    assert world.take(Side.BUY, "1", "87010").order.filled == 0, "and does not come back before the next row"
    world.forward(0.6)
    assert world.take(Side.BUY, "1", "87010").order.filled == D("0.3")


def test_books_that_stand_still_are_told_again_with_the_present_time(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    heard = Memory()
    world.exchanges["aster"].attach(heard)
    world.forward(0.5)
    books = [what for kind, what in heard.heard if kind == "book"]
    assert books.count("BTCUSDT") >= 4
    assert books.count("ETHUSDT") >= 4
    assert world.clock.wire_ns() - world.exchanges["aster"].top("BTCUSDT").time_ns <= NS_PER_S // 10


def test_other_symbols_stand_without_basis_and_untracked_venues_have_no_book(tmp_path: Path) -> None:
    world = World(tmp_path, {"aster": ROWS["aster"]})
    assert world.top("hyperliquid") is None, "no invented price beside a recorded one"
    one, two = world.top("aster", "ETH"), world.top("hyperliquid", "ETH")
    assert one is not None
    assert two is not None
    assert abs(one[0] / two[0] - 1) < D("0.0002")
    world.forward(3)
    later = world.top("aster", "ETH")
    assert later is not None
    assert (later[0], later[2]) == (one[0], one[2])


def test_what_this_sandbox_does_not_have_is_left_out_aloud(tmp_path: Path) -> None:
    world = World(tmp_path, {**ROWS, "lighter": ["0 1 1 2 1"]})
    assert world.playback.report().left_out == ("lighter BTC",)
    with pytest.raises(ConfigError, match="lighter BTC"):
        World(tmp_path, {"lighter": ["0 1 1 2 1"]})


def test_only_the_chosen_venues_are_played(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS, venues=("aster",))
    assert world.playback.report().tracks == ("aster BTC",)
    assert world.playback.report().left_out == ("hyperliquid BTC",)
    assert world.top("hyperliquid") is None


def test_the_last_quotes_can_be_closed_against_and_the_walk_goes_on_from_them(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    world.forward(12)
    assert world.playback.state is State.ENDED
    assert world.take(Side.BUY, "0.5", "87010").order.filled == D("0.5")
    world.forward(1.1)
    assert world.take(Side.BUY, "1", "87010").order.filled == 1, "sizes are given again"
    world.playback.stop()
    for venue in ("aster", "hyperliquid"):
        top = world.top(venue)
        assert top is not None
        assert abs(float(top[0]) / 87_010 - 1) < 3e-4


def test_a_sandbox_that_is_killed_goes_on_from_the_recorded_prices(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    world.forward(4)
    assert world.market.state().fair["BTC"] == pytest.approx((87_000.05 + 87_020.5) / 2)
    assert not any(world.market.state().basis_bps[venue]["BTC"] for venue in ("aster", "hyperliquid"))


def test_the_report_splits_price_and_fees(tmp_path: Path) -> None:
    world = World(tmp_path, ROWS)
    world.take(Side.BUY, "0.2", "87010")
    world.forward(2.5)
    world.take(Side.SELL, "0.2", "86990")
    world.take(Side.SELL, "0.1", "87000", "hyperliquid")
    report = world.playback.report()
    (flat,) = [row for row in report.venues if row.venue == "aster"]
    assert (flat.fills, flat.held, flat.price_usd) == (2, D(0), D("0.2") * (87000 - 87003))
    fees = sum((fill.fee for fill in world.exchanges["aster"].fills(ALICE)), D(0))
    assert flat.fees_usd == fees
    assert fees > 0
    (short,) = [row for row in report.venues if row.venue == "hyperliquid"]
    assert short.held == D("-0.1")
    assert {(edge.short_venue, edge.long_venue) for edge in report.edges} == {
        ("hyperliquid", "aster"),
        ("aster", "hyperliquid"),
    }
    assert all(edge.samples == 3 for edge in report.edges), "one look a second at quotes of both"


# ---- the real process -----------------------------------------------------------------------------------------------


def test_the_process_plays_reports_and_stops(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        assert sandbox.control("market") is None
        with pytest.raises(urllib.error.HTTPError) as refused:
            sandbox.control("market", {"path": str(tmp_path)})
        assert b"has no manifest" in refused.value.read()
        with pytest.raises(urllib.error.HTTPError):
            sandbox.control("market", {"path": str(SYNTHETIC), "speed": 0})
        started = sandbox.control("market", {"path": str(SYNTHETIC), "speed": 200.0, "offset_min_samples": 30})
        assert started["state"] == "playing"
        assert started["tracks"] == ["hyperliquid BTC", "aster BTC"]
        deadline = time.monotonic() + 30
        while (report := sandbox.control("market"))["state"] == "playing":
            assert time.monotonic() < deadline, report
            time.sleep(0.1)
        assert report["rows"] == 600 + 540
        assert max(edge["max_dev_bps"] for edge in report["edges"]) > 3
        assert '"market_ended"' in sandbox.output()
        assert sandbox.control("market/stop", {})["state"] == "ended"
        assert sandbox.control("market") is None


def test_an_order_left_for_the_start_is_played_once(tmp_path: Path) -> None:
    sandbox = SandboxProcess(tmp_path)
    sandbox.state_dir.mkdir(parents=True)
    (sandbox.state_dir / "market_at_start.json").write_text(json.dumps({"path": str(SYNTHETIC)}))
    with sandbox:
        assert sandbox.control("market")["state"] == "playing"
        assert sandbox.stop() == 0
        sandbox.start()
        assert sandbox.control("market") is None
