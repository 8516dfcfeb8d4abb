"""Commands to a running executor: halt, resume, reduce-only. Each says what the executor answered, or that it is away."""

from __future__ import annotations

from core.client import ExecutorClient
from core.errors import EXIT_OK, EXIT_PERMISSION, EXIT_UNAVAILABLE
from core.messages import OPERATOR, CommandDone, OrderDenied, SetTradingState
from core.types import TradingState
from ops.context import Context, escape

CONNECT_S = 2.0
ANSWER_S = 10.0


def set_state(context: Context, state: TradingState, reason: str) -> int:
    """Ask the executor for `state`; exit 0 only when it says that the state is durable."""
    client = ExecutorClient(context.loaded.executor_socket, OPERATOR, context.clock)
    try:
        if not client.connect(CONNECT_S):
            return _away(
                context, f"the executor does not answer ({client.last_failure}): see supervisorctl status executor"
            )
        command = SetTradingState(
            command_id=client.next_id(),
            valid_until_mono_ns=client.valid_until_ns(ANSWER_S),
            state=state,
            reason=reason,
        )
        client.send(command)
        report = client.wait(lambda found: found.command_id == command.command_id, ANSWER_S)
    finally:
        client.close()
    if isinstance(report, CommandDone):
        if context.as_json:
            context.answer({"ok": report.ok, "detail": report.detail, "trading_state": report.trading_state.value})
        context.say(f"trading state: [bold]{report.trading_state.value}[/bold] ({escape(report.detail)})")
        return EXIT_OK if report.ok else EXIT_PERMISSION
    if isinstance(report, OrderDenied):
        if context.as_json:
            context.answer({"ok": False, "detail": f"{report.reason.value}: {report.detail}"})
        context.say(f"[red]refused[/red]: {report.reason.value}: {escape(report.detail)}")
        return EXIT_PERMISSION
    return _away(context, f"no answer within {ANSWER_S:g} s; `tandem flatten` works without the executor")


def _away(context: Context, detail: str) -> int:
    if context.as_json:
        context.answer({"ok": False, "detail": detail})
    context.say(f"[red]{escape(detail)}[/red]")
    return EXIT_UNAVAILABLE
