"""The limits as the executor applies them: every deny reason fires, sends nothing and is recorded; without its flaw the same
command is let through; sizes are capped and margin is reserved."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.messages import (
    AnyCommand,
    CancelOrder,
    ClosePair,
    DenyReason,
    LegOrder,
    PairState,
    PairStatus,
    Sending,
    SetTradingState,
    SubmitOrder,
)
from core.settings import Mode
from core.types import Balance, Down, Quote, QuoteFlag, Side, Stale, TimeInForce, TradingState
from executor.desk import Desk
from executor.parity import CurrencyWatch
from executor.venues.base import DeadMan, DeadManScope
from tests.executor.fake_gateway import Answer, Plan
from tests.executor.rig import LONG, SHORT, Client, Rig, quote, settle

Spoil = Callable[[Rig], AnyCommand]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def opens(rig: Rig, **changes: object) -> AnyCommand:
    return rig.open_command("0.01", **changes)


def _desk(rig: Rig) -> Desk:
    return rig.engine.desks[SHORT]


def not_ready(rig: Rig) -> AnyCommand:
    rig.engine.ready = False
    return opens(rig)


def expired(rig: Rig) -> AnyCommand:
    command = opens(rig)
    rig.pass_ms(251)
    return command


def too_old(rig: Rig) -> AnyCommand:
    return opens(rig, decided_mono_ns=rig.clock.mono_ns() - 251 * NS_PER_MS)


def from_the_future(rig: Rig) -> AnyCommand:
    return opens(rig, decided_mono_ns=rig.clock.mono_ns() + 1)


def stale(rig: Rig) -> AnyCommand:
    command = opens(rig)
    rig.books[SHORT].quotes["BTC"] = Stale(600 * NS_PER_MS)
    return command


def _quote_becomes(rig: Rig, value: object) -> AnyCommand:
    command = opens(rig)
    rig.books[SHORT].quotes["BTC"] = value  # type: ignore[assignment]
    return command


def edge_gone(rig: Rig) -> AnyCommand:
    rig.market(100_000.0, 12.0)  # four fees alone are 16 bps
    return opens(rig)


def out_of_reach(rig: Rig) -> AnyCommand:
    command = opens(rig)
    rig.market(100_000.0, 50.0)
    return command


def collar(rig: Rig) -> AnyCommand:
    return opens(rig, long=rig.leg(LONG, Side.BUY, reach_bps=51.0))


def off_grid(rig: Rig) -> AnyCommand:
    command = rig.open_command()
    leg = msgspec.structs.replace(command.long, limit_px=command.long.limit_px + Decimal("0.01"))
    return msgspec.structs.replace(command, long=leg)


def _in_state(state: TradingState) -> Spoil:
    def spoil(rig: Rig) -> AnyCommand:
        rig.engine.set_trading_state(state, "test")
        return opens(rig)

    return spoil


def live(rig: Rig) -> AnyCommand:
    config = rig.engine.config
    rig.engine.config = msgspec.structs.replace(
        config, run=msgspec.structs.replace(config.run, environment=type(config.run.environment)("live"))
    )
    return opens(rig)


def owned(rig: Rig) -> AnyCommand:
    rig.commands.take(opens(rig), Client("scalp"))
    rig.pass_ms(11_000)
    rig.read_accounts()
    return opens(rig)


def frozen(rig: Rig) -> AnyCommand:
    rig.engine.freeze((SHORT, "BTC"), "unknown_outcome")
    return opens(rig)


def unlisted(rig: Rig) -> AnyCommand:
    command = opens(rig)
    return msgspec.structs.replace(command, symbol="DOGE")


def same_venue_twice(rig: Rig) -> AnyCommand:
    command = rig.open_command()
    return msgspec.structs.replace(command, short=msgspec.structs.replace(command.short, venue=LONG))


def multiplier(rig: Rig) -> AnyCommand:
    rig.market(100_000.0, 600.0)
    return opens(rig)


def foreign(rig: Rig) -> AnyCommand:
    rig.gateways[SHORT].foreign_fill("BTC", Side.BUY, 1, Decimal(100_000))
    return opens(rig)


def blind(rig: Rig) -> AnyCommand:
    rig.pass_ms(30_001)
    return opens(rig)


def _desk_field(name: str, value: object) -> Spoil:
    def spoil(rig: Rig) -> AnyCommand:
        setattr(_desk(rig), name, value)
        return opens(rig)

    return spoil


def _gateway_field(name: str, value: object) -> Spoil:
    def spoil(rig: Rig) -> AnyCommand:
        setattr(rig.gateways[SHORT], name, value)
        return opens(rig)

    return spoil


def _risk(**values: object) -> Spoil:
    def spoil(rig: Rig) -> AnyCommand:
        rig.admission._risk = msgspec.structs.replace(rig.admission._risk, **values)
        return opens(rig)

    return spoil


def venue_full(rig: Rig) -> AnyCommand:
    _desk(rig).settings = msgspec.structs.replace(_desk(rig).settings, max_notional_usd=100.0)
    return opens(rig)


def no_margin(rig: Rig) -> AnyCommand:
    rig.gateways[SHORT].balance_usd = Decimal(50)
    rig.gateways[LONG].balance_usd = Decimal(100_000)
    rig.read_accounts()
    return opens(rig)


def near_liquidation(rig: Rig) -> AnyCommand:
    balance = rig.gateways[SHORT].balance_now()
    worse = Balance(
        venue=SHORT,
        equity_usd=balance.equity_usd,
        free_margin_usd=balance.free_margin_usd,
        maintenance_margin_usd=balance.equity_usd * Decimal("0.9"),
        ts_ns=0,
    )
    _desk(rig).note_balance(worse, rig.clock.mono_ns())
    return opens(rig)


def cooldown(rig: Rig) -> AnyCommand:
    for gateway in rig.gateways.values():
        gateway.plans.append(Plan(answer=Answer.UNSENT))
    rig.state.attempted_calendar_ns["BTC"] = rig.clock.calendar_ns() - 9 * NS_PER_S
    return opens(rig)


def unhedged(rig: Rig) -> AnyCommand:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, fill_lots=0))
    rig.commands.take(rig.open_command(symbol="BTC"), Client("scalp"))
    rig.market(100_000.0, 60.0, "ETH")
    return rig.open_command(symbol="ETH")


def no_pair(rig: Rig) -> AnyCommand:
    return ClosePair(command_id=rig.next_id(), valid_until_mono_ns=0, pair_id="p9-9", reason="x")


def no_order(rig: Rig) -> AnyCommand:
    return CancelOrder(command_id=rig.next_id(), valid_until_mono_ns=1 << 62, client_order_id="0" * 32)


def busy_pair(rig: Rig) -> AnyCommand:
    for gateway in rig.gateways.values():
        gateway.default = Plan(held=True)
    rig.commands.take(opens(rig), Client("scalp"))
    (pair,) = rig.state.pairs.values()
    return ClosePair(command_id=rig.next_id(), valid_until_mono_ns=0, pair_id=pair.pair_id, reason="x")


def halt_by_strategy(rig: Rig) -> AnyCommand:
    return SetTradingState(
        command_id=rig.next_id(), valid_until_mono_ns=1 << 62, state=TradingState.ACTIVE, reason="let me"
    )


def maker_unnamed(rig: Rig) -> AnyCommand:
    return opens(rig, sending=Sending(order=LegOrder.MAKER_FIRST))


def nothing_bid(rig: Rig) -> AnyCommand:
    """What is bought at Hyperliquid could not be sold there again: less than its smallest order is bid."""
    book = rig.books[LONG].quotes["BTC"]
    assert isinstance(book, Quote)
    return _book_becomes(rig, book._replace(bid_qty=0.00001))


def _book_becomes(rig: Rig, book: Quote) -> AnyCommand:
    rig.books[LONG].quotes["BTC"] = book
    return opens(rig)


def by_hand_order(rig: Rig, side: Side, px: str, tif: TimeInForce) -> SubmitOrder:
    return SubmitOrder(
        command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, venue=LONG, symbol="BTC", side=side,
        qty=Decimal("0.01"), limit_px=Decimal(px), time_in_force=tif, reduce_only=False,
    )  # fmt: skip


def own_order(rig: Rig) -> AnyCommand:
    rig.commands.take(by_hand_order(rig, Side.SELL, "100001.0", TimeInForce.GTC), Client("manual"))
    return by_hand_order(rig, Side.BUY, "100001.0", TimeInForce.IOC)


def no_switch(rig: Rig) -> AnyCommand:
    rig.gateways[LONG].dead_man = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=60.0, refresh_s=15.0)
    rig.gateways[LONG].switch_fails = True
    return by_hand_order(rig, Side.BUY, "99900.0", TimeInForce.GTC)


def _quoted_in(currency: str, usd: float | None) -> Spoil:
    def spoil(rig: Rig) -> AnyCommand:
        listed = rig.gateways[SHORT].instruments()
        listed["BTC"] = msgspec.structs.replace(listed["BTC"], quote_ccy=currency)
        assumed = {} if usd is None else {currency: usd}
        rig.engine.config = msgspec.structs.replace(
            rig.engine.config, risk=msgspec.structs.replace(rig.engine.config.risk, parity=assumed)
        )
        rig.admission.currencies = CurrencyWatch(rig.engine)
        return opens(rig)

    return spoil


CASES: list[tuple[DenyReason, Spoil]] = [
    (DenyReason.NOT_READY, not_ready),
    (DenyReason.EXPIRED, expired),
    (DenyReason.DECISION_TOO_OLD, too_old),
    (DenyReason.DECISION_TOO_OLD, from_the_future),
    (DenyReason.QUOTE_STALE, stale),
    (DenyReason.QUOTE_UNUSABLE, lambda rig: _quote_becomes(rig, Down("no writer"))),
    (DenyReason.QUOTE_UNUSABLE, lambda rig: _quote_becomes(rig, quote(100_002.0, 100_001.0))),
    (DenyReason.QUOTE_UNUSABLE, lambda rig: _quote_becomes(rig, quote(1e5, 1e5 + 1, flags=int(QuoteFlag.INDICATIVE)))),
    (DenyReason.EDGE_GONE, edge_gone),
    (DenyReason.EDGE_GONE, out_of_reach),
    (DenyReason.PRICE_COLLAR, collar),
    (DenyReason.PRICE_OFF_GRID, off_grid),
    (DenyReason.TRADING_STATE, _in_state(TradingState.REDUCING)),
    (DenyReason.TRADING_STATE, _in_state(TradingState.HALTED)),
    (DenyReason.LIVE_BLOCKED, live),
    (DenyReason.BLOCKLISTED, _risk(blocklist=("BTC",))),
    (DenyReason.SYMBOL_OWNED, owned),
    (DenyReason.COOLDOWN, cooldown),
    (DenyReason.INSTRUMENT_FROZEN, frozen),
    (DenyReason.INSTRUMENT_UNKNOWN, unlisted),
    (DenyReason.INSTRUMENT_UNKNOWN, same_venue_twice),
    (DenyReason.MULTIPLIER_UNPROVEN, multiplier),
    (DenyReason.PARITY_UNKNOWN, _quoted_in("USDT", None)),
    (DenyReason.DEPEG, _quoted_in("USDT", 0.98)),
    (DenyReason.FOREIGN_POSITION, foreign),
    (DenyReason.VENUE_BLIND, blind),
    (DenyReason.VENUE_BLIND, _desk_field("reconciled", False)),
    (DenyReason.VENUE_BLIND, _desk_field("stream_up", False)),
    (DenyReason.VENUE_BLIND, _desk_field("balance", None)),
    (DenyReason.VENUE_BLIND, _gateway_field("entry_ready", False)),
    (DenyReason.CLOCK_SKEW, _gateway_field("clock_offset_ns", 2 * NS_PER_S)),
    (DenyReason.BELOW_MINIMUM, lambda rig: rig.open_command("0.003")),
    (DenyReason.LIMIT_ORDER, _risk(max_order_usd=100.0)),
    (DenyReason.LIMIT_SYMBOL, _risk(max_symbol_usd=100.0)),
    (DenyReason.LIMIT_SYMBOL, _risk(max_symbol_alloc=0.001)),
    (DenyReason.LIMIT_STRATEGY, _risk(max_strategy_usd={"scalp": 100.0})),
    (DenyReason.LIMIT_STRATEGY, _risk(max_strategy_usd={})),
    (DenyReason.LIMIT_TOTAL, _risk(max_total_usd=100.0)),
    (DenyReason.LIMIT_TOTAL, _risk(max_open_pairs=0)),
    (DenyReason.LIMIT_VENUE, venue_full),
    (DenyReason.CAPACITY, no_margin),
    (DenyReason.LEVERAGE_UNVERIFIED, _desk_field("leverage", {})),
    (DenyReason.LEVERAGE_UNVERIFIED, _desk_field("leverage", {"BTC": 20})),
    (DenyReason.MARGIN_GUARD, near_liquidation),
    (DenyReason.RATE_BUDGET, _gateway_field("budget", False)),
    (DenyReason.UNHEDGED, unhedged),
    (DenyReason.NO_SUCH_PAIR, no_pair),
    (DenyReason.NO_SUCH_ORDER, no_order),
    (DenyReason.PAIR_BUSY, busy_pair),
    (DenyReason.NOT_AUTHORIZED, halt_by_strategy),
    (DenyReason.LEG_ORDER, maker_unnamed),
    (DenyReason.THIN_BOOK, nothing_bid),
    (DenyReason.OWN_ORDER, own_order),
    (DenyReason.DEAD_MAN, no_switch),
]


@pytest.mark.parametrize(("reason", "spoil"), CASES)
async def test_every_refusal_fires_sends_nothing_and_is_recorded(rig: Rig, reason: DenyReason, spoil: Spoil) -> None:
    command = spoil(rig)
    await settle()
    wire = [len(gateway.wire) for gateway in rig.gateways.values()]
    prepared = sum(type(record).__name__ == "OrderPrepared" for record in rig.journal.records())
    rig.commands.take(command, rig.client)
    await settle()
    told = (
        rig.operator if reason is DenyReason.DEAD_MAN else rig.client
    )  # that one takes a moment: told by its client's name
    assert told.denied is reason, told.reports
    assert [len(gateway.wire) for gateway in rig.gateways.values()] == wire
    assert sum(type(record).__name__ == "OrderPrepared" for record in rig.journal.records()) == prepared
    assert ("denied", (str(command.__struct_config__.tag), reason)) in rig.meter.calls
    recorded = bool(rig.state.commands.get(command.command_id))
    assert recorded is (reason not in (DenyReason.NOT_READY, DenyReason.LIVE_BLOCKED))


def test_every_deny_reason_has_a_case() -> None:
    assert {reason for reason, _ in CASES} == set(DenyReason)


async def test_the_same_command_without_a_flaw_is_let_through(rig: Rig) -> None:
    pair = await rig.open("0.01")
    assert rig.client.denied is None
    assert pair.status is PairStatus.OPEN
    assert rig.meter.count("denied") == 0


async def test_a_strategy_in_shadow_mode_is_not_let_near_a_venue(rig: Rig) -> None:
    config = rig.engine.config
    shadow = msgspec.structs.replace(config.strategies.scalp, mode=Mode.SHADOW)
    rig.engine.config = msgspec.structs.replace(
        config, strategies=msgspec.structs.replace(config.strategies, scalp=shadow)
    )
    rig.commands.take(rig.open_command(), rig.client)
    assert rig.client.denied is DenyReason.LIVE_BLOCKED
    assert not rig.state.pairs


async def test_a_journal_in_trouble_opens_nothing_and_still_closes(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.journal.trouble = "disk full"
    rig.pass_ms(11_000)
    rig.market(100_000.0, 60.0, "ETH")
    rig.read_accounts()
    rig.commands.take(rig.open_command(symbol="ETH"), rig.client)
    assert rig.client.denied is DenyReason.NOT_READY
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSED


async def test_the_size_is_capped_and_the_report_says_by_what(rig: Rig) -> None:
    pair = await rig.open("5")
    assert pair.plan.qty == Decimal("0.018")  # 2000 USD, 20% of 20 000 at most 4000; floored to 0.002
    assert any("capped by max_" in report.reason for report in rig.client.of(PairState))  # type: ignore[union-attr]
    rig.check()


async def test_two_commands_never_spend_one_balance(tmp_path: Path) -> None:
    wide = {"max_order_usd": 1e9, "max_symbol_usd": 1e9, "max_total_usd": 1e9, "max_strategy_usd": {"scalp": 1e9}}
    rig = Rig(tmp_path, risk={**wide, "max_symbol_alloc": 1.0})
    for desk in rig.engine.desks.values():
        desk.settings = msgspec.structs.replace(desk.settings, max_notional_usd=1e9)
        rig.gateways[desk.venue].default = Plan(held=True)
    rig.market(100_000.0, 60.0, "ETH")
    rig.commands.take(rig.open_command("0.15", "BTC"), rig.client)
    free = [desk.free_margin_usd for desk in rig.engine.desks.values()]
    assert all(usd is not None and usd < Decimal(5_000) for usd in free)
    rig.commands.take(rig.open_command("0.3", "ETH"), rig.client)
    second = list(rig.state.pairs.values())[1]
    assert second.plan.qty < Decimal("0.15")
    for gateway in rig.gateways.values():
        gateway.release()
    await settle()
    assert all(desk.reserved_usd > 0 for desk in rig.engine.desks.values())  # filled: until a balance shows it
    rig.pass_ms(10)
    rig.read_accounts()
    assert all(desk.reserved_usd == 0 for desk in rig.engine.desks.values())
