"""Commands: who may ask what, whether it was asked before, and what it sets in motion.

A command id is answered once. What was recorded for it is sent again on repetition, from the journal, also after a restart;
an id older than what the journal's state keeps is refused, never executed. NOT_READY and Probe alone leave no record:
nothing happened, and the same id may be tried again.

Clients are told apart by name. A name that has a table under [strategies] is a strategy: it opens and closes its own pairs
and cancels its own orders. OPERATORS may do everything, `risk` may only tighten. Peers are checked by uid at the door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from core.errors import VenueError
from core.ids import CommandId
from core.messages import (
    OPERATORS,
    RISK,
    AnyCommand,
    CancelAll,
    CancelOrder,
    ClosePair,
    CommandDone,
    DenyReason,
    Flatten,
    FlattenReport,
    OpenPair,
    OrderDenied,
    Probe,
    SetLeverage,
    SetTradingState,
    SubmitOrder,
    decode_command,
    decode_report,
    encode,
)
from core.settings import Mode
from core.types import OrderStatus, TimeInForce, TradingState, Venue
from executor.admission import Admission
from executor.engine import Engine
from executor.netting import crossed
from executor.orders import Draft
from executor.outcome import Outcome
from executor.pairs import Pairs
from executor.peers import Listener
from executor.records import CommandAnswered, CommandTaken
from executor.reports import order_now, pair_now
from executor.state import CommandState, OrderState
from risk.context import Denied

FlattenCall = Callable[[Engine, Venue | None, str | None, bool], Awaitable[FlattenReport]]

_CLOSES = (ClosePair, Flatten)
_FOR_OPERATORS = (SubmitOrder, SetLeverage, SetTradingState, Flatten)


class Commands:
    """The intake's `on_command`."""

    def __init__(self, engine: Engine, pairs: Pairs, admission: Admission, flatten: FlattenCall) -> None:
        self._engine = engine
        self._pairs = pairs
        self._admission = admission
        self._flatten = flatten
        self._tasks: set[asyncio.Task[None]] = set()
        self._flattening: asyncio.Task[None] | None = None
        self._covering: dict[CommandId, SubmitOrder] = {}  # orders that wait for their switch to be armed

    def take(self, command: AnyCommand, session: Listener) -> None:
        """One command, from its arrival to its bytes on the wire, without an await."""
        engine = self._engine
        engine.meter.command(_kind(command))
        if isinstance(command, OpenPair):
            engine.meter.decision_age(engine.clock.mono_ns() - command.decided_mono_ns)
        if isinstance(command, Probe):
            session.send(self._done(command, engine.ready, "ready" if engine.ready else "recovering"))
            return
        if self._admission.live_blocked:
            self._say_denied(
                command, Denied(reason=DenyReason.LIVE_BLOCKED, detail="Live mode blocked: no permit"), session
            )
            return
        known = engine.state.commands.get(command.command_id)
        if known is not None:
            self._repeat(command, known, session)
            return
        if not engine.ready:
            self._say_denied(command, Denied(reason=DenyReason.NOT_READY, detail="recovery has not finished"), session)
            return
        denied = self._refusal(command) or self._serve(command)
        if denied is not None:
            self._say_denied(command, denied, session, recorded=True)

    async def drain(self, timeout_s: float) -> None:
        """Wait for what is under way (cancels, a flatten), at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    # ---- before anything happens ------------------------------------------------------------------------------------

    def _refusal(self, command: AnyCommand) -> Denied | None:
        engine = self._engine
        if engine.state.is_forgotten(command.command_id):
            return Denied(reason=DenyReason.EXPIRED, detail="an id this old was answered before; its reports are gone")
        if not isinstance(command, _CLOSES) and engine.clock.mono_ns() > command.valid_until_mono_ns:
            return Denied(reason=DenyReason.EXPIRED, detail="the command's validity has passed")
        return self._unauthorized(command) or self._halted(command)

    def _unauthorized(self, command: AnyCommand) -> Denied | None:
        name = command.command_id.strategy
        settings = getattr(self._engine.config.strategies, name, None)
        if settings is None and name not in OPERATORS:
            return Denied(reason=DenyReason.NOT_AUTHORIZED, detail=f"{name!r} is neither a strategy nor an operator")
        if settings is not None and isinstance(command, _FOR_OPERATORS):
            return Denied(reason=DenyReason.NOT_AUTHORIZED, detail=f"{_kind(command)} is not for strategies")
        if settings is not None and isinstance(command, OpenPair) and settings.mode is not Mode.LIVE:
            return Denied(reason=DenyReason.LIVE_BLOCKED, detail=f"strategy {name} runs in {settings.mode.value} mode")
        if isinstance(command, SetTradingState) and command.state is TradingState.ACTIVE and name == RISK:
            return Denied(reason=DenyReason.NOT_AUTHORIZED, detail="risk may only tighten; resume is for a person")
        return None

    def _halted(self, command: AnyCommand) -> Denied | None:
        """HALTED: strategies may only close; REDUCING is judged by the limits. Only resume leaves HALTED."""
        engine = self._engine
        if engine.state.trading_state is not TradingState.HALTED:
            return None
        is_strategy = command.command_id.strategy not in OPERATORS
        if is_strategy and not isinstance(command, ClosePair):
            return Denied(reason=DenyReason.TRADING_STATE, detail=f"halted: {engine.state.state_reason}")
        if isinstance(command, SetTradingState) and command.state is TradingState.REDUCING:
            return Denied(reason=DenyReason.TRADING_STATE, detail="only resume leaves halted")
        return None

    def _repeat(self, command: AnyCommand, known: CommandState, session: Listener) -> None:
        """The recorded reports again, and how its orders and its pair stand now."""
        state = self._engine.state
        for body in known.answers:
            session.send(decode_report(body))
        for order in state.orders.values():
            if order.prepared.command_id == command.command_id:
                session.send(order_now(state, order))
        first = decode_command(known.body) if known.body else command
        for pair in state.pairs.values():
            asked = isinstance(first, ClosePair) and first.pair_id == pair.pair_id
            if (pair.plan.command_id == command.command_id or asked) and not known.answers:
                session.send(pair_now(pair, command.command_id))

    def _say_denied(self, command: AnyCommand, denied: Denied, session: Listener, recorded: bool = False) -> None:
        engine = self._engine
        report = OrderDenied(
            command_id=command.command_id, reason=denied.reason, detail=denied.detail, numbers=denied.numbers
        )
        engine.meter.denied(_kind(command), denied.reason)
        if recorded:
            engine.record(
                CommandAnswered(wire_ns=engine.clock.wire_ns(), command_id=command.command_id, body=encode(report))
            )
        session.send(report)

    # ---- what happens -----------------------------------------------------------------------------------------------

    def _serve(self, command: AnyCommand) -> Denied | None:
        match command:
            case OpenPair():
                return self._open(command)
            case ClosePair():
                return self._close(command)
            case SubmitOrder():
                return self._submit(command)
            case CancelOrder():
                return self._cancel(command)
            case CancelAll():
                return self._cancel_all(command)
            case SetLeverage():
                return self._set_leverage(command)
            case SetTradingState():
                return self._set_state(command)
            case Flatten():
                return self._start_flatten(command)
            case Probe():
                return None

    def _taken(self, command: AnyCommand) -> None:
        self._engine.record(
            CommandTaken(
                wire_ns=self._engine.clock.wire_ns(),
                command_id=command.command_id,
                kind=_kind(command),
                body=encode(command),
            )
        )

    def _open(self, command: OpenPair) -> Denied | None:
        ticket = self._admission.open(command)
        if isinstance(ticket, Denied):
            return ticket
        self._taken(command)
        self._pairs.open(command, ticket)
        return None

    def _close(self, command: ClosePair) -> Denied | None:
        pair = self._engine.state.pairs.get(command.pair_id)
        name = command.command_id.strategy
        if pair is not None and name not in OPERATORS and pair.plan.strategy != name:
            return Denied(reason=DenyReason.NOT_AUTHORIZED, detail=f"pair {command.pair_id} is not of {name}")
        sending = self._admission.close(pair, command)
        if isinstance(sending, Denied) or pair is None:
            return sending if isinstance(sending, Denied) else None
        self._taken(command)
        self._pairs.request_close(pair, command.reason, command.command_id, sending)
        return None

    def _by_hand(self, command: SubmitOrder) -> Draft | Denied:
        """What may go of an order by hand, now."""
        verdict = self._admission.order(command)
        if isinstance(verdict, Denied):
            return verdict
        instrument, qty = verdict
        draft = Draft(
            instrument=instrument,
            side=command.side,
            lots=instrument.qty_to_lots(qty),
            limit_ticks=instrument.px_to_ticks(command.limit_px, command.side),
            time_in_force=command.time_in_force,
            reduce_only=command.reduce_only,
            purpose="manual",
            strategy=command.command_id.strategy,
            command_id=command.command_id,
        )
        met = crossed(self._engine, draft)
        if met:
            return Denied(
                reason=DenyReason.OWN_ORDER,
                detail=f"would trade against our own resting order {met[0].client_order_id}; cancel that first",
                numbers={"resting": len(met)},
            )
        return draft

    def _submit(self, command: SubmitOrder) -> Denied | None:
        draft = self._by_hand(command)
        if isinstance(draft, Denied):
            return draft
        self._taken(command)
        rests = command.time_in_force is not TimeInForce.IOC
        if rests and not self._pairs.switches.is_covered((command.venue, command.symbol)):
            self._covering[command.command_id] = command
            self._spawn(self._submit_covered(command))
        else:
            self._send_by_hand(command, draft)
        return None

    def _send_by_hand(self, command: SubmitOrder, draft: Draft) -> None:
        (order,) = self._engine.send([draft])
        if not command.reduce_only:
            self._engine.reserve(order, draft.instrument)

    async def _submit_covered(self, command: SubmitOrder) -> None:
        """A resting order whose dead-man switch has to be armed first; judged again when it is, since that takes a moment."""
        armed = await self._pairs.switches.cover((command.venue, command.symbol))
        refusal = Denied(reason=DenyReason.DEAD_MAN, detail=f"the switch of {command.venue} could not be armed")
        if self._covering.pop(command.command_id, None) is None:
            armed, refusal = False, Denied(reason=DenyReason.EXPIRED, detail="cancelled before it was sent")
        draft = self._by_hand(command) if armed else refusal
        if isinstance(draft, Denied):
            self._engine.meter.denied(_kind(command), draft.reason)
            self._engine.answer(
                command.command_id,
                OrderDenied(
                    command_id=command.command_id, reason=draft.reason, detail=draft.detail, numbers=draft.numbers
                ),
            )
        else:
            self._send_by_hand(command, draft)

    def _cancel(self, command: CancelOrder) -> Denied | None:
        order = self._engine.state.orders.get(command.client_order_id)
        name = command.command_id.strategy
        if order is None or order.status.is_final or (name not in OPERATORS and order.prepared.strategy != name):
            return Denied(reason=DenyReason.NO_SUCH_ORDER, detail="no open order of that id")
        return self._cancel_these(command, [order])

    def _cancel_all(self, command: CancelAll) -> Denied | None:
        name = command.command_id.strategy
        client = None if name in OPERATORS else name
        for each in list(self._covering.values()):
            mine = client in (None, each.command_id.strategy)
            if mine and command.venue in (None, each.venue) and command.symbol in (None, each.symbol):
                del self._covering[each.command_id]
        return self._cancel_these(command, self.resting(command.venue, command.symbol, client))

    def _cancel_these(self, command: AnyCommand, orders: list[OrderState]) -> Denied | None:
        self._taken(command)
        for order in orders:
            if order.prepared.pair_id is not None:
                self._pairs.end_leads("its resting leg was cancelled", pair_id=order.prepared.pair_id)
        asked = [future for future in map(self._engine.cancel_order, orders) if future is not None]

        async def report() -> None:
            outcomes: list[Outcome] = list(await asyncio.gather(*asked))
            gone = sum(order.status.is_final for order in orders)
            detail = f"{gone} of {len(orders)} orders ended, {len(outcomes)} cancels answered"
            self._engine.answer(command.command_id, self._done(command, gone == len(orders), detail))

        self._spawn(report())
        return None

    def resting(self, venue: Venue | None, symbol: str | None, client: str | None) -> list[OrderState]:
        """Orders that may rest at a venue, filtered; None = any."""
        return [
            order
            for order in self._engine.state.open_orders()
            if order.prepared.time_in_force is not TimeInForce.IOC
            and order.status is not OrderStatus.UNKNOWN
            and venue in (None, order.prepared.venue)
            and symbol in (None, order.prepared.symbol)
            and client in (None, order.prepared.strategy)
        ]

    def client_left(self, client: str) -> None:
        """A strategy that disconnects keeps its hedged pairs; its resting orders are cancelled (DESIGN 3)."""
        if not client or any(session.strategy == client for session in self._engine.sessions):
            return
        self._pairs.end_leads("its owner is gone", strategy=client)
        for order in self.resting(None, None, client):
            self._engine.cancel_order(order)

    def _set_leverage(self, command: SetLeverage) -> Denied | None:
        engine = self._engine
        key = (command.venue, command.symbol)
        instrument = engine.instrument(key)
        if instrument is None:
            return Denied(reason=DenyReason.INSTRUMENT_UNKNOWN, detail=f"{key[0]} lists no {key[1]}, or is not up")
        desk = engine.desks[command.venue]
        stated = desk.positions.get(command.symbol)
        coming = any(pair.symbol == key[1] and pair.leg(key[0]) is not None for pair in engine.state.live_pairs())
        coming = coming or any(order.key == key for order in engine.state.open_orders())
        if coming or engine.state.lots(key) or (stated is not None and stated.lots):
            return Denied(reason=DenyReason.PAIR_BUSY, detail="leverage is set before any position exists")
        if not 1 <= command.leverage <= instrument.max_leverage:
            return Denied(
                reason=DenyReason.CAPACITY,
                detail=f"{key[0]}:{key[1]} takes 1 to {instrument.max_leverage}",
                numbers={"leverage": command.leverage, "max_leverage": instrument.max_leverage},
            )
        self._taken(command)
        desk.leverage.pop(command.symbol, None)

        async def apply() -> None:
            try:
                await desk.gateway.set_leverage(instrument, command.leverage, desk.gateway.nonces.next())
                desk.leverage[command.symbol] = read = await desk.gateway.leverage(instrument)
            except VenueError as error:
                engine.answer(command.command_id, self._done(command, False, f"not verified: {error}"))
                return
            engine.answer(command.command_id, self._done(command, read == command.leverage, f"reads {read}x"))

        self._spawn(apply())
        return None

    def _set_state(self, command: SetTradingState) -> Denied | None:
        engine = self._engine
        if command.state is TradingState.ACTIVE and self._flattening is not None and not self._flattening.done():
            return Denied(reason=DenyReason.PAIR_BUSY, detail="a flatten is under way")
        self._taken(command)
        if command.state is TradingState.HALTED:
            engine.latch.set(command.reason, engine.clock.wire_ns())
        elif command.state is TradingState.ACTIVE:
            engine.latch.clear()
        engine.set_trading_state(command.state, command.reason)
        engine.answer(command.command_id, self._done(command, True, f"{command.state.value}: {command.reason}"))
        return None

    def _start_flatten(self, command: Flatten) -> Denied | None:
        engine = self._engine
        if self._flattening is not None and not self._flattening.done():
            return Denied(reason=DenyReason.PAIR_BUSY, detail="a flatten is under way")
        self._taken(command)
        halt = engine.latch.read()
        if halt is not None and engine.state.trading_state is not TradingState.HALTED:
            engine.set_trading_state(TradingState.HALTED, halt.reason)

        async def run() -> None:
            report = await self._flatten(engine, command.venue, command.symbol, command.include_foreign)
            engine.answer(
                command.command_id,
                FlattenReport(
                    command_id=command.command_id,
                    flat=report.flat,
                    residual=report.residual,
                    unreachable=report.unreachable,
                ),
            )

        self._flattening = self._spawn(run())
        return None

    def _done(self, command: AnyCommand, ok: bool, detail: str) -> CommandDone:
        return CommandDone(
            command_id=command.command_id, ok=ok, detail=detail, trading_state=self._engine.state.trading_state
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()  # an error of ours surfaces in the loop's exception handler, which ends the process


def _kind(command: AnyCommand) -> str:
    """The message's own tag."""
    return str(command.__struct_config__.tag)
