"""Who commands the simulated executor: a strategy that opens and closes pairs, and people. They know what their session told
them and what the account page shows; they come back after every restart.
"""

from __future__ import annotations

import random
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.ids import CommandId
from core.messages import (
    FINAL_PAIR,
    MANUAL,
    OPERATOR,
    AnyCommand,
    CancelAll,
    ClosePair,
    ExitGuard,
    Fallback,
    Flatten,
    Leg,
    LegOrder,
    OpenPair,
    OrderDenied,
    PairStatus,
    Sending,
    SetTradingState,
    SubmitOrder,
)
from core.types import Instrument, Quote, Side, TimeInForce, TradingState, Venue
from executor.pricing import ioc_limit_ticks
from tests.simulation.faults import Fault, Faults
from tests.simulation.life import Life, SimSession
from tests.simulation.market import SimBook
from tests.simulation.venue import VenueModel
from tests.simulation.world import World

SCALP = "scalp"
TTL_NS = 250 * NS_PER_MS
FOREVER_NS = 1 << 62
ONE_LEG_USD = (25.0, 900.0)


class Clients:
    """All of them. `opens`: whether the strategy still opens pairs."""

    def __init__(
        self,
        world: World,
        models: dict[Venue, VenueModel],
        books: dict[Venue, SimBook],
        faults: Faults,
        rng: random.Random,
        pause_s: float,
    ) -> None:
        self.life: Life | None = None
        self.opens = True
        self.denied: dict[str, int] = {}
        self.opened = 0
        self._world = world
        self._models = models
        self._books = books
        self._faults = faults
        self._rng = rng
        self._pause_s = pause_s
        self._sequence = 0
        self._sessions: dict[str, SimSession] = {}
        self._read: dict[str, int] = {}
        self._last: AnyCommand | None = None
        world.after(rng.uniform(0.1, 1.0), self._turn)

    # ---- connections ------------------------------------------------------------------------------------------------

    def attach(self, life: Life | None) -> None:
        """A new executor: everybody connects again when it listens."""
        self.life = life
        self._sessions.clear()
        self._read.clear()

    def session(self, name: str) -> SimSession | None:
        life = self.life
        if life is None or life.intake is None or not life.is_ready:
            return None
        if name not in self._sessions:
            self._sessions[name] = life.intake.connect(name)
        return self._sessions[name]

    def say(self, name: str, command: AnyCommand) -> bool:
        session = self.session(name)
        if session is None or self.life is None or self.life.intake is None:
            return False
        self._world.note("command", name, type(command).__name__, _about(command))
        self.life.intake.take(command, session)
        return True

    def leave(self) -> None:
        """The strategy's connection breaks."""
        session = self._sessions.pop(SCALP, None)
        if session is not None:
            session.close()

    # ---- the strategy -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._world.after(self._rng.uniform(0.3, 1.7) * self._pause_s, self._turn)
        life = self.life
        if life is None or not life.is_ready:
            return
        if SCALP in self._sessions or self._rng.random() < 0.8:
            life.beats[SCALP] = self._world.now_ns
        self._listen()
        if self._last is not None and self._rng.random() < 0.05:
            self._faults.note(Fault.COMMAND_REPEATED)
            self.say(SCALP, self._last)
        if self._rng.random() < 0.03:
            venue = self._rng.choice(sorted(self._models))
            self.rest(venue, self._rng.choice(sorted(self._models[venue].instruments)))
        open_pairs = [p for p in life.state.live_pairs() if p.status is PairStatus.OPEN and p.plan.strategy == SCALP]
        if open_pairs and (self._rng.random() < 0.45 or not self.opens):
            self.close(self._rng.choice(open_pairs).pair_id)
        elif self.opens:
            self.open(SCALP if self._rng.random() < 0.85 else MANUAL)

    def _listen(self) -> None:
        session = self._sessions.get(SCALP)
        if session is None:
            return
        for report in session.reports[self._read.get(SCALP, 0) :]:
            if isinstance(report, OrderDenied):
                self.denied[report.reason.value] = self.denied.get(report.reason.value, 0) + 1
        self._read[SCALP] = len(session.reports)

    def open(self, name: str) -> None:
        """A pair of a drawn symbol, the cheaper venue long."""
        symbol = self._rng.choice(sorted({s for model in self._models.values() for s in model.instruments}))
        listed = [venue for venue, model in self._models.items() if symbol in model.instruments]
        if len(listed) < 2:
            return
        one, other = self._rng.sample(listed, 2)
        first, second = self._quote(one, symbol), self._quote(other, symbol)
        if first is None or second is None:
            return
        cheap, dear = (one, other) if first.ask_px <= second.ask_px else (other, one)
        if not self._models[dear].instruments[symbol].can_short:
            cheap, dear = dear, cheap
        usd = self._rng.uniform(*ONE_LEG_USD)
        now_ns = self._world.now_ns
        command = OpenPair(
            command_id=self._next_id(name),
            valid_until_mono_ns=now_ns + TTL_NS,
            symbol=symbol,
            long=self._leg(cheap, symbol, Side.BUY),
            short=self._leg(dear, symbol, Side.SELL),
            qty=Decimal(repr(round(usd / first.mid, 8))),
            decided_mono_ns=now_ns,
            edge_bps=50.0,
            offset_bps=0.0,
            exit_guard=ExitGuard(
                stop_basis_bps=100.0, stop_leg_pct=20.0, max_hold_s=self._rng.choice([0.0, 5.0, 20.0, 60.0])
            ),
            sending=self._sending([cheap, dear]),
        )
        self._last = command
        self.opened += self.say(name, command)

    def close(self, pair_id: str, name: str = SCALP) -> None:
        self.say(name, ClosePair(command_id=self._next_id(name), valid_until_mono_ns=0, pair_id=pair_id, reason="done"))

    def close_all(self) -> None:
        """Everything that is open, by its owner's name or the operator's."""
        if self.life is not None and self.life.is_ready:
            for pair in self.life.state.live_pairs():
                if pair.status is PairStatus.OPEN and not pair.closing and pair.status not in FINAL_PAIR:
                    self.close(pair.pair_id, self._rng.choice([OPERATOR, pair.plan.strategy]))

    # ---- people -----------------------------------------------------------------------------------------------------

    def set_state(self, state: TradingState) -> bool:
        command = SetTradingState(
            command_id=self._next_id(OPERATOR), valid_until_mono_ns=FOREVER_NS, state=state, reason="by hand"
        )
        return self.say(OPERATOR, command)

    def flatten(self, *, include_foreign: bool) -> bool:
        command = Flatten(
            command_id=self._next_id(OPERATOR), valid_until_mono_ns=FOREVER_NS, include_foreign=include_foreign
        )
        return self.say(OPERATOR, command)

    def cancel_all(self) -> bool:
        return self.say(OPERATOR, CancelAll(command_id=self._next_id(OPERATOR), valid_until_mono_ns=FOREVER_NS))

    def rest(self, venue: Venue, symbol: str) -> None:
        """An order by hand that rests at or near the touch, to be cancelled later."""
        quote = self._quote(venue, symbol)
        traits = self._models[venue].semantics.traits
        if quote is None or traits.wallet or traits.quotes_first or not self.opens:
            return
        instrument = self._models[venue].instruments[symbol]
        px = Decimal(repr(quote.bid_px * (1 - self._rng.choice([0.0, 3e-4, 2e-3])))) * instrument.multiplier
        command = SubmitOrder(
            command_id=self._next_id(MANUAL),
            valid_until_mono_ns=FOREVER_NS,
            venue=venue,
            symbol=symbol,
            side=Side.BUY,
            qty=Decimal(repr(round(self._rng.uniform(120.0, 400.0) / quote.mid, 8))),
            limit_px=instrument.ticks_to_px(instrument.px_to_ticks(px, Side.BUY)),
            time_in_force=self._rng.choice([TimeInForce.GTC, TimeInForce.POST_ONLY]),
            reduce_only=False,
        )
        if self.say(MANUAL, command):
            self._world.after(self._rng.uniform(0.5, 4.0), self.cancel_all)

    # ---- parts -----------------------------------------------------------------------------------------------------

    def _sending(self, venues: list[Venue]) -> Sending:
        """Mostly as the executor likes; sometimes a resting or a thin leg first."""
        order = self._rng.choice(
            [LegOrder.AUTO, LegOrder.AUTO, LegOrder.BOTH, LegOrder.THIN_FIRST, LegOrder.MAKER_FIRST]
        )
        if any(self._models[venue].semantics.traits.quotes_first for venue in venues):
            order = LegOrder.AUTO
        return Sending(
            order=order,
            first=self._rng.choice(venues) if order in (LegOrder.MAKER_FIRST, LegOrder.THIN_FIRST) else None,
            deadline_s=self._rng.choice([3.0, 10.0, 20.0]),
            fallback=self._rng.choice(list(Fallback)),
        )

    def _next_id(self, name: str) -> CommandId:
        self._sequence += 1
        return CommandId(name, 1, self._sequence)

    def _quote(self, venue: Venue, symbol: str) -> Quote | None:
        book = self._books[venue]
        slot = book.slot(symbol)
        quote = book.quote(slot) if slot is not None else None
        return quote if isinstance(quote, Quote) and quote.is_sound else None

    def _leg(self, venue: Venue, symbol: str, side: Side) -> Leg:
        instrument: Instrument = self._models[venue].instruments[symbol]
        quote = self._quote(venue, symbol)
        assert quote is not None
        assert self.life is not None
        touch = quote.ask_px if side is Side.BUY else quote.bid_px
        ticks = ioc_limit_ticks(instrument, side, touch, self.life.loaded.config.execution, 0.0)
        return Leg(venue=venue, limit_px=instrument.ticks_to_px(ticks), quote_sequence=1, quote_age_ns=0)


def _about(command: AnyCommand) -> str:
    """The part of a command that a reader of the trace wants."""
    match command:
        case OpenPair():
            return f"{command.symbol} {command.qty} {command.long.venue} {command.short.venue}"
        case ClosePair():
            return command.pair_id
        case SubmitOrder():
            return f"{command.venue} {command.symbol} {command.qty} {command.time_in_force.value}"
        case SetTradingState():
            return command.state.value
    return ""


def later(seconds: float) -> int:
    return int(seconds * NS_PER_S)
