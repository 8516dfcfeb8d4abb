"""`open`, `close` and the trials: what they send, what they refuse before sending, and that a trial leaves nothing behind."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from decimal import Decimal

import msgspec
import pytest

from core.messages import (
    AnyCommand,
    AnyReport,
    ClosePair,
    CommandDone,
    DenyReason,
    Fallback,
    LegOrder,
    OpenPair,
    OrderDenied,
    PairState,
    PairStatus,
    Sending,
    SetLeverage,
)
from core.roster import SPEC
from core.types import TradingState
from core.venue_spec import VenueKind
from ops.session import Session
from tests.ops.desk import AS, HL, Answering, Desk, pair, parsed
from tests.strategies.market import instrument

Out = pytest.CaptureFixture[str]
Stand = Callable[[Callable[[AnyCommand], AnyReport | None]], Answering]
OPEN = ("open", "BTC", "--long", "aster", "--short", "hyperliquid")


@pytest.fixture
def executor(desk: Desk) -> Iterator[Stand]:
    """Stands where the executor listens; a market and an account page come with it."""
    made: list[Answering] = []
    desk.beat()
    desk.quote(HL, "BTC", 100_100.0, 100_110.0)
    desk.quote(AS, "BTC", 99_990.0, 100_000.0)
    desk.account(pair(pair_id="p9-1", strategy="manual"))

    def stand(answer: Callable[[AnyCommand], AnyReport | None]) -> Answering:
        made.append(Answering(desk.loaded.executor_socket, answer))
        return made[-1]

    yield stand
    for each in made:
        each.close()


def state(command: AnyCommand, status: PairStatus, pair_id: str = "p9-1", **changes: object) -> PairState:
    fields: dict[str, object] = {
        "command_id": command.command_id, "pair_id": pair_id, "symbol": "BTC", "strategy": "manual", "status": status,
        "long_venue": AS, "short_venue": HL, "long_qty": Decimal("0.01"), "short_qty": Decimal("-0.01"), "reason": "legs agree",
    }  # fmt: skip
    return PairState(**{**fields, **changes})  # type: ignore[arg-type]


def obliging(command: AnyCommand) -> AnyReport | None:
    if isinstance(command, OpenPair):
        return state(command, PairStatus.OPEN)
    if isinstance(command, ClosePair):
        zero = {"long_qty": Decimal(0), "short_qty": Decimal(0)}
        return state(command, PairStatus.CLOSED, command.pair_id, net_usd=Decimal("-0.5"), **zero)
    return CommandDone(command_id=command.command_id, ok=True, detail="reads 3x", trading_state=TradingState.ACTIVE)


def test_open_works_out_size_and_limits_and_waits_for_the_pair(desk: Desk, executor: Stand, capsys: Out) -> None:
    there = executor(obliging)
    assert desk.tandem(*OPEN, "--size-quote", "1000", "--cross-ticks", "7", "--force") == 0
    assert "pair p9-1 BTC open" in capsys.readouterr().out
    (sent,) = there.commands
    assert isinstance(sent, OpenPair)
    assert sent.qty == Decimal("0.009")  # 1000 USD at 100,050 in lots of 0.001, down
    # 7 ticks of 0.1 are 0.7, less than the 1 bps minimum: 10.0 beyond the ask, and 10.01 under the bid, to the safe side
    assert (sent.long.limit_px, sent.short.limit_px) == (Decimal("100010.0"), Decimal("100090.0"))
    assert sent.command_id.strategy == "manual"
    assert sent.exit_guard.stop_basis_bps == 100.0
    assert sent.exit_guard.stop_leg_pct > 0
    assert sent.exit_guard.max_hold_s > 0


def test_a_denied_open_says_why_with_its_numbers(desk: Desk, executor: Stand, capsys: Out) -> None:
    executor(
        lambda command: OrderDenied(
            command_id=command.command_id, reason=DenyReason.COOLDOWN, detail="wait", numbers={"left_s": 4.0}
        )
    )
    assert desk.tandem("--json", *OPEN, "--size-base", "0.01", "--force") == 77
    told = parsed(capsys.readouterr().out)
    assert not told["ok"]
    assert told["detail"] == "denied, cooldown: wait"
    assert told["numbers"] == {"left_s": 4.0}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("open", "BTC", "--long", "aster", "--short", "aster", "--size-base", "1"), "two venues"),
        (("open", "BTC", "--long", "aster", "--short", "nowhere", "--size-base", "1"), "not an enabled venue"),
        (("open", "DOGE", "--long", "aster", "--short", "hyperliquid", "--size-base", "1"), "lists no DOGE"),
        (("open", "ETH", "--long", "aster", "--short", "hyperliquid", "--size-base", "1"), "the quote is"),
        ((*OPEN, "--size-quote", "15"), "too small"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(
    desk: Desk, executor: Stand, capsys: Out, words: tuple[str, ...], why: str
) -> None:
    there = executor(obliging)
    assert desk.tandem(*words, "--force") == 64
    assert why in capsys.readouterr().out
    assert there.commands == []


def test_a_spot_venue_can_only_be_bought_at(desk: Desk, executor: Stand, capsys: Out) -> None:
    there = executor(obliging)
    desk.books[HL].add(instrument(HL, "BTC", can_short=False))
    assert desk.tandem(*OPEN, "--size-base", "0.01", "--force") == 64
    assert "spot venue" in capsys.readouterr().out
    assert there.commands == []


@pytest.mark.parametrize(("answer", "sent"), [("no\n", 0), ("", 0), ("yes\n", 1)])
def test_open_asks_first(desk: Desk, executor: Stand, monkeypatch: pytest.MonkeyPatch, answer: str, sent: int) -> None:
    there = executor(obliging)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert desk.tandem(*OPEN, "--size-base", "0.01") == (0 if sent else 64)
    assert len(there.commands) == sent


def test_close_finds_the_pair_by_symbol(desk: Desk, executor: Stand, capsys: Out) -> None:
    there = executor(obliging)
    assert desk.tandem("close", "btc", "--force") == 0
    assert [command.pair_id for command in there.commands] == ["p9-1"]  # type: ignore[union-attr]
    assert "net -0.5000 USD" in capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("ETH",), ("p1-99",)])
def test_close_of_nothing_names_what_is_open(desk: Desk, executor: Stand, capsys: Out, words: tuple[str, ...]) -> None:
    there = executor(obliging)
    assert desk.tandem("close", *words, "--force") == 64
    text = capsys.readouterr().out
    assert ("p9-1 (BTC)" in text) or ("say which pair" in text)
    assert there.commands == []


def test_close_all_closes_each(desk: Desk, executor: Stand) -> None:
    desk.account(pair(pair_id="p9-1"), pair(pair_id="p9-2", symbol="ETH"))
    there = executor(obliging)
    assert desk.tandem("close", "--all", "--force") == 0
    assert [command.pair_id for command in there.commands] == ["p9-1", "p9-2"]  # type: ignore[union-attr]


class Exchange:
    """An executor that keeps its page true: what opens is on it, what closes is not."""

    def __init__(self, desk: Desk, *, closes: bool = True) -> None:
        self._desk, self._closes = desk, closes
        desk.account()

    def __call__(self, command: AnyCommand) -> AnyReport | None:
        if isinstance(command, OpenPair):
            self._desk.account(pair(pair_id="p9-7", strategy="manual"))
            return state(command, PairStatus.OPEN, "p9-7")
        if isinstance(command, ClosePair) and not self._closes:
            return OrderDenied(command_id=command.command_id, reason=DenyReason.PAIR_BUSY, detail="being worked on")
        self._desk.account()
        return obliging(command)


def test_test_auto_opens_holds_closes_and_takes_the_best_direction(desk: Desk, executor: Stand, capsys: Out) -> None:
    there = executor(Exchange(desk))
    assert desk.tandem("--json", "test-auto", "--notional", "20", "--hold-s", "0.05") == 0
    told = parsed(capsys.readouterr().out)
    assert [step["name"] for step in told["steps"]] == ["preflight", "executor", "open", "hold", "close"]
    assert told["ok"]
    opened, closed = there.commands
    assert isinstance(opened, OpenPair)
    assert (opened.long.venue, opened.short.venue) == (AS, HL)
    assert opened.qty == Decimal("0.002")  # 20 USD are less than what can be closed in two parts
    assert isinstance(closed, ClosePair)
    assert closed.pair_id == "p9-7"


def test_a_trial_that_is_interrupted_closes_its_pair(
    desk: Desk, executor: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = executor(Exchange(desk))
    listen = Session.listen
    heard: list[float] = []

    def interrupted(self: Session, duration_s: float) -> None:
        if not heard:
            heard.append(duration_s)
            raise KeyboardInterrupt
        listen(self, duration_s)

    monkeypatch.setattr(Session, "listen", interrupted)
    assert desk.tandem("test-auto", "--notional", "20", "--hold-s", "9") == 130
    assert [type(command) for command in there.commands] == [OpenPair, ClosePair]


def test_a_trial_whose_close_is_refused_fails(desk: Desk, executor: Stand, capsys: Out) -> None:
    executor(Exchange(desk, closes=False))
    assert desk.tandem("test-auto", "--notional", "20", "--hold-s", "0.05") == 77
    assert "NO  close: denied, pair_busy" in capsys.readouterr().out


def test_test_asks_before_each_step_and_cleans_up_when_told_no(
    desk: Desk, executor: Stand, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    there = executor(Exchange(desk))
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\nno\n"))
    assert desk.tandem("test", "--hold-s", "0.05") == 77
    assert [type(command) for command in there.commands] == [OpenPair, ClosePair]
    assert "NO  close it again: not confirmed" in capsys.readouterr().out


def test_test_does_nothing_unasked(desk: Desk, executor: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    there = executor(Exchange(desk))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert desk.tandem("test") == 77
    assert there.commands == []


def test_test_leverage_sets_what_is_configured_on_every_venue(desk: Desk, executor: Stand, capsys: Out) -> None:
    there = executor(obliging)
    assert desk.tandem("test-leverage", "BTC", "--force") == 0
    sent = {command.venue: command.leverage for command in there.commands if isinstance(command, SetLeverage)}
    assert sent == {venue: desk.loaded.config.venues[venue].leverage["default"] for venue in (HL, AS)}
    assert "ok  leverage aster:BTC 3x: reads 3x" in capsys.readouterr().out


def test_test_leverage_of_a_venue_that_is_not_there(desk: Desk, executor: Stand) -> None:
    there = executor(obliging)
    assert desk.tandem("test-leverage", "BTC", "--venue", "nowhere", "--force") == 64
    assert there.commands == []


def test_an_executor_that_is_away_is_named(desk: Desk, capsys: Out) -> None:
    desk.beat()
    desk.quote(HL, "BTC", 100_100.0, 100_110.0)
    desk.quote(AS, "BTC", 99_990.0, 100_000.0)
    desk.account()
    assert desk.tandem(*OPEN, "--size-base", "0.01", "--force") == 69
    assert "the executor does not answer" in capsys.readouterr().err


def test_the_order_of_legs_goes_along(desk: Desk, executor: Stand) -> None:
    there = executor(obliging)
    maker = ("--legs", "maker_first", "--first", "aster", "--deadline-s", "5", "--fallback", "taker")
    assert desk.tandem(*OPEN, "--size-base", "0.01", *maker, "--force") == 0
    (sent,) = there.commands
    assert isinstance(sent, OpenPair)
    assert sent.sending == Sending(order=LegOrder.MAKER_FIRST, first=AS, deadline_s=5.0, fallback=Fallback.TAKER)


def test_a_venue_that_quotes_first_is_priced_by_its_last_indication(
    desk: Desk, executor: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = executor(obliging)
    desk.quote(AS, "BTC", 99_990.0, 100_000.0, age_s=200.0)
    assert desk.tandem(*OPEN, "--size-base", "0.01", "--force") == 64
    assert there.commands == []
    quoting = msgspec.structs.replace(SPEC[AS], kind=VenueKind.RFQ)
    monkeypatch.setitem(SPEC, AS, quoting)
    assert desk.tandem(*OPEN, "--size-base", "0.01", "--quote-slippage-bps", "20", "--force") == 0
    (sent,) = there.commands
    assert isinstance(sent, OpenPair)
    assert sent.long.limit_px == Decimal("100210.0")  # 1 bps of cross and 20 of slippage beyond 100,000
