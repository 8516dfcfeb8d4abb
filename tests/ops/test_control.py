"""halt, resume and reduce-only say what the executor answered: done, refused, silent, or away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from core.messages import AnyCommand, AnyReport, CommandDone, DenyReason, OrderDenied, SetTradingState
from core.types import TradingState
from ops import control
from tests.ops.desk import Answering, Desk, parsed

Out = pytest.CaptureFixture[str]
Start = Callable[[Callable[[AnyCommand], AnyReport | None]], Answering]


@pytest.fixture
def executor(desk: Desk) -> Iterator[Start]:
    started: list[Answering] = []

    def start(answer: Callable[[AnyCommand], AnyReport | None]) -> Answering:
        started.append(Answering(desk.loaded.executor_socket, answer))
        return started[-1]

    yield start
    for each in started:
        each.close()


def agree(command: AnyCommand) -> AnyReport:
    assert isinstance(command, SetTradingState)
    return CommandDone(command_id=command.command_id, ok=True, detail="durable", trading_state=command.state)


@pytest.mark.parametrize(
    ("verb", "state"),
    [("halt", TradingState.HALTED), ("resume", TradingState.ACTIVE), ("reduce-only", TradingState.REDUCING)],
)
def test_a_state_that_is_durable_is_success(
    desk: Desk, executor: Start, capsys: Out, verb: str, state: TradingState
) -> None:
    there = executor(agree)
    assert desk.tandem(verb, "a [drill]") == 0
    assert f"trading state: {state.value} (durable)" in capsys.readouterr().out
    (command,) = there.commands
    assert isinstance(command, SetTradingState)
    assert (command.state, command.reason) == (state, "a [drill]")


def test_the_answer_as_json(desk: Desk, executor: Start, capsys: Out) -> None:
    executor(agree)
    assert desk.tandem("halt", "--json") == 0
    assert parsed(capsys.readouterr().out) == {"ok": True, "detail": "durable", "trading_state": "halted"}


def test_a_refusal_is_77_with_its_reason(desk: Desk, executor: Start, capsys: Out) -> None:
    executor(
        lambda command: OrderDenied(
            command_id=command.command_id, reason=DenyReason.NOT_AUTHORIZED, detail="uid [0] may not"
        )
    )
    assert desk.tandem("resume") == 77
    assert "refused: not_authorized: uid [0] may not" in capsys.readouterr().out


def test_a_state_that_is_not_durable_is_77(desk: Desk, executor: Start, capsys: Out) -> None:
    executor(
        lambda command: CommandDone(
            command_id=command.command_id, ok=False, detail="disk full", trading_state=TradingState.ACTIVE
        )
    )
    assert desk.tandem("halt", "--json") == 77
    assert parsed(capsys.readouterr().out) == {"ok": False, "detail": "disk full", "trading_state": "active"}


def test_an_executor_that_is_away_is_69(desk: Desk, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECT_S", 0.3)
    assert desk.tandem("halt", "--json") == 69
    answer = parsed(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "No such file or directory" in answer["detail"]
    assert "supervisorctl status executor" in answer["detail"]


def test_an_executor_that_says_nothing_is_69(
    desk: Desk, executor: Start, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.3)
    there = executor(lambda command: None)
    assert desk.tandem("halt") == 69
    assert "no answer within 0.3 s; `tandem flatten` works without the executor" in capsys.readouterr().out
    assert len(there.commands) == 1
