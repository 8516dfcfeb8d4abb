"""The invariants between events: exposure, belief, doubt and guards, looked at after every event of the world. What they compare
with is the venues' own truth, never a belief.

Exposure     own lots of a symbol over all venues: an order that would repair them, or a reason why none can leave
Belief       equal to the truth within a bound after the venue began to answer truthfully
Doubt        orders in doubt are resolved within a bound after they could last have executed
Guards       a pair by hand is closed when its time is over

`Broken` names what failed; the schedule adds when, and the command that replays it. Single sends: tests.simulation.sends.
"""

from __future__ import annotations

from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.messages import MANUAL, PairStatus
from core.types import OrderStatus, TimeInForce, Venue
from executor.holdings import OrderState, PairBook
from executor.page import snapshot
from tests.simulation.faults import Fault, Faults
from tests.simulation.market import Market, SimBook
from tests.simulation.sends import PRICE_ROOM, Key, Sends
from tests.simulation.venue import VenueModel
from tests.simulation.world import World

LOOK_NS = 200 * NS_PER_MS
REPAIR_BOUND_S = 8.0  # the slowest pace between two attempts (5 s) and what one takes
BELIEF_BOUND_S = 20.0  # two readings at their pace, a confirmation, and the answers' way
GUARD_BOUND_S = 8.0  # two evaluations a second apart, and a second attempt after one that was refused
MARGIN_GUARD_S = 16.0
DOUBT_BOUND_S = 20.0  # beyond the order's own expiry bound
BLOCKING = (Fault.DARK, Fault.HALT, Fault.POST_ONLY, Fault.REDUCE_ONLY, Fault.NO_CONNECTION, Fault.AUTH_EXPIRED,
            Fault.RATE_LIMITED, Fault.REST_BEHIND, Fault.FILLS_BEHIND)  # fmt: skip
UNREADABLE = (Fault.DARK, Fault.AUTH_EXPIRED, Fault.RATE_LIMITED, Fault.REST_BEHIND, Fault.FILLS_BEHIND)


class Episode:
    """Own exposure on one symbol, from its first moment to its last."""

    def __init__(self, now_ns: int) -> None:
        self.since_ns = now_ns
        self.idle_s = 0.0
        self.most_usd = 0.0


class Checks(Sends):
    """See the module text."""

    def __init__(
        self,
        world: World,
        models: dict[Venue, VenueModel],
        books: dict[Venue, SimBook],
        market: Market,
        faults: Faults,
    ) -> None:
        super().__init__(world, models, market, faults)
        self.episodes: list[tuple[float, float]] = []  # seconds, USD
        self._books = books
        self._open: dict[str, Episode] = {}
        self._strange_s: dict[Key, float] = {}
        self._doubt_s: dict[str, float] = {}
        self._late_s: dict[str, float] = {}
        self._looked_ns = 0

    # ---- in between -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Called after every event; the dear part runs five times a simulated second."""
        now_ns = self._world.now_ns
        if now_ns - self._looked_ns < LOOK_NS:
            return
        passed_s = min((now_ns - self._looked_ns) / NS_PER_S, 0.5)
        self._looked_ns = now_ns
        for symbol in self._market.symbols:
            self._exposure(symbol, passed_s)
        stopped = self._world.hung_until_ns > now_ns  # a stopped executor learns, asks and guards nothing
        if self.life is not None and self.life.is_ready and not stopped:
            self._belief(passed_s)
            self._doubts(passed_s)
            self._guards(passed_s)

    def books_differ(self) -> str:
        """Sum of fills = position = account page = what the venue holds, by instrument; "" = all agree."""
        life = self.life
        if life is None or self.lost_records:
            return ""
        page = {(each.venue, each.symbol): each for each in snapshot(life.engine).positions}
        for venue, model in self._models.items():
            for symbol, inst in model.instruments.items():
                key, truth = (venue, symbol), model.counted(symbol)
                shown = page[key].qty if key in page else Decimal(0)
                if shown != inst.lots_to_qty(truth):
                    return f"the page shows {shown} {symbol} on {venue}, it holds {inst.lots_to_qty(truth)}"
                booked, filled = self.booked_lots.get(key, 0), model.bought_lots[symbol]
                if booked != filled and not self._taken_for_ours(model, symbol):
                    return f"our fills on {venue}:{symbol} add up to {booked} lots in the journal, to {filled} at the venue"
                position = life.state.positions.get(key)
                if position is not None and position.book.unbooked_lots:
                    return f"{position.book.unbooked_lots} lots on {venue}:{symbol} are told and not booked"
        return ""

    def _taken_for_ours(self, model: VenueModel, symbol: str) -> bool:
        """Where our ids do not travel, a stranger's fill of the very size and side of our order in doubt passes for its own:
        nothing on the wire tells them apart until the order's own id is known. The position is right all the same."""
        if model.semantics.traits.client_ids:
            return False
        return any(fill.symbol == symbol and fill.client_order_id is None for _, fill in model.fills)

    def exposure_usd(self, symbol: str) -> float:
        """What our own lots of a symbol add up to over all venues, by the truth. Which of two simultaneous fills reduced a leg
        and which was by hand or a stranger's is a matter of the order in which they are told: what stands against lots that
        are not ours at the same venue may be settled with them, and the executor's own share by hand counts as well."""
        listed = self._listed(symbol)
        own = sum(model.own_lots.get(symbol, 0) * self._lot_usd(venue, symbol) for venue, model in listed)
        met = sum(met_lots(model, symbol) * self._lot_usd(venue, symbol) for venue, model in listed)
        own = min(abs(own), abs(met))
        state = self.life.state if self.life is not None else None
        if not own or state is None or not any(model.by_hand for model in self._models.values()):
            return own
        shared = 0.0
        for venue, model in listed:
            position = state.positions.get((venue, symbol))
            beside = position.by_hand_lots if position is not None else 0
            shared += (model.counted(symbol) - beside) * self._lot_usd(venue, symbol)
        return min(own, abs(shared))

    def _listed(self, symbol: str) -> list[tuple[Venue, VenueModel]]:
        return [(venue, model) for venue, model in self._models.items() if symbol in model.instruments]

    def tolerance_usd(self, symbol: str) -> float:
        """What may stay: dust of every pair there was, each less than the larger of its venues' smallest orders."""
        state = self.life.state if self.life is not None else None
        room = 3.0
        if state is not None:
            for pair in state.pairs.values():
                if pair.symbol == symbol and (pair.long.lots or pair.short.lots or pair.tolerated_qty):
                    room += self._dust_usd(pair)
        return room

    def _dust_usd(self, pair: PairBook) -> float:
        """What the books say is left unhedged of a pair, as far as it is dust."""
        smallest = 0.0
        for leg in pair.legs:
            model = self._models[leg.venue]
            inst = model.instruments[pair.symbol]
            px = Decimal(repr(self._market.mid(pair.symbol))) * inst.multiplier
            smallest = max(smallest, inst.min_lots(px) * self._lot_usd(leg.venue, pair.symbol))
        left = abs(float(pair.imbalance_qty)) * self._market.mid(pair.symbol)
        if pair.is_final:  # nobody's by now: either leg's rest may be closed, and the other be too small to be
            left = max(abs(float(leg.qty)) for leg in pair.legs) * self._market.mid(pair.symbol)
        basis = 0.01 * max(abs(float(pair.long.qty)), abs(float(pair.short.qty))) * self._market.mid(pair.symbol)
        return min(left, smallest * PRICE_ROOM) + basis

    def _exposure(self, symbol: str, passed_s: float) -> None:
        usd = self.exposure_usd(symbol)
        episode = self._open.get(symbol)
        if usd <= self.tolerance_usd(symbol):
            if episode is not None:
                self.episodes.append(((self._world.now_ns - episode.since_ns) / NS_PER_S, episode.most_usd))
                del self._open[symbol]
            return
        if episode is None:
            episode = self._open[symbol] = Episode(self._world.now_ns)
            self._world.note("exposed", symbol, round(usd, 2))
        episode.most_usd = max(episode.most_usd, usd)
        reason = self._excuse(symbol)
        if reason or self._world.now_ns - self._attempt_ns.get(symbol, 0) < LOOK_NS * 2:
            episode.idle_s = 0.0
            return
        episode.idle_s += passed_s
        self._require(
            episode.idle_s < REPAIR_BOUND_S,
            f"{usd:.0f} USD of {symbol} unhedged and nothing done for {REPAIR_BOUND_S} s",
        )

    def _excuse(self, symbol: str) -> str:
        """Why no repair of this symbol may or can leave now; "" = none."""
        life = self.life
        if life is None or not life.is_ready or self._world.hung_until_ns > self._world.now_ns:
            return "no executor"
        state, engine = life.state, life.engine
        for venue, model in self._models.items():
            if symbol not in model.instruments:
                continue
            key = (venue, symbol)
            concerned = model.own_lots[symbol] or state.lots(key)
            if not concerned:
                continue
            if any(self._faults.is_open(venue, each) for each in BLOCKING):
                return "the venue does not take it"
            if self._world.is_clock_wrong:
                return "nothing is signed by a wrong clock"
            desk = engine.desks[venue]
            if not desk.reconciled or not desk.gateway.entry_ready or not desk.gateway.may_send(True):
                return "not reconciled"
            if state.lots(key) != model.counted(symbol):
                return "not told yet"  # judged by _belief
            position = state.positions.get(key)
            if position is not None and position.foreign:
                return "foreign"  # judged at the end
        if any(order.key[1] == symbol for order in state.open_orders()):
            return "an order is under way or in doubt"
        return ""

    def _belief(self, passed_s: float) -> None:
        """What the journal believes becomes what the venue holds, once the venue answers truthfully."""
        life = self.life
        assert life is not None
        state = life.state
        for venue, model in self._models.items():
            readable = not any(self._faults.is_open(venue, each) for each in UNREADABLE)
            desk = life.engine.desks[venue]
            for symbol in model.instruments:
                key, lots = (venue, symbol), model.counted(symbol)
                quiet = (
                    all(o.key != key or _rests(o) for o in state.open_orders()) and key not in life.engine.flattening
                )
                if lots == state.lots(key):
                    self._strange_s.pop(key, None)
                elif readable and desk.reconciled and quiet and not self.lost_records:
                    strange = self._strange_s[key] = self._strange_s.get(key, 0.0) + passed_s
                    self._require(
                        strange < BELIEF_BOUND_S, f"{venue} holds {lots} lots of {symbol}, believed {state.lots(key)}"
                    )

    def _doubts(self, passed_s: float) -> None:
        """Every order in doubt is resolved once its venue answers and its bound has passed."""
        state = self._state()
        waiting = {order.client_order_id for order in state.unknown_orders()}
        for order in state.unknown_orders():
            self._require(order.key in state.frozen, f"{order.client_order_id} is in doubt, its instrument not frozen")
        for name in [name for name in self._doubt_s if name not in waiting]:
            del self._doubt_s[name]
        for name in sorted(waiting):
            prepared = state.orders[name].prepared
            readable = not any(self._faults.is_open(prepared.venue, each) for each in UNREADABLE)
            if readable and self._world.clock.wire_ns() > prepared.expires_wire_ns:
                doubt = self._doubt_s[name] = self._doubt_s.get(name, 0.0) + passed_s
                self._require(doubt < DOUBT_BOUND_S, f"{name} is still in doubt {DOUBT_BOUND_S} s after its bound")

    def _guards(self, passed_s: float) -> None:
        """A pair by hand is closed when its time is over: the executor itself is its owner."""
        state = self._state()
        for pair in state.live_pairs():
            limit_s = pair.plan.exit_guard.max_hold_s
            if pair.status is not PairStatus.OPEN or pair.plan.strategy != MANUAL or pair.closing or not limit_s:
                continue
            held_s = (self._world.clock.calendar_ns() - pair.opened_calendar_ns) / NS_PER_S
            usable = all(self._books[leg.venue].is_usable for leg in pair.legs)
            flattening = (
                any((leg.venue, pair.symbol) in self.life.engine.flattening for leg in pair.legs) if self.life else True
            )
            if usable and not flattening and held_s > limit_s and not self._world.is_clock_wrong:
                late = self._late_s[pair.pair_id] = self._late_s.get(pair.pair_id, 0.0) + passed_s
                margin = self._faults.occurred[
                    Fault.NEAR_LIQUIDATION
                ]  # a margin guard that fired comes first for a while
                self._require(
                    late < GUARD_BOUND_S + (MARGIN_GUARD_S if margin else 0.0),
                    f"{pair.pair_id} is held for {held_s:.0f} s, its limit is {limit_s} s",
                )


def met_lots(model: VenueModel, symbol: str) -> int:
    """Our own lots less those that stand against somebody else's there; a wallet's coins never do."""
    own, held = model.own_lots.get(symbol, 0), model.counted(symbol)
    if own * model.excess_lots.get(symbol, 0) >= 0:
        return own
    return held if own * held > 0 else 0


def _rests(order: OrderState) -> bool:
    return order.status is OrderStatus.ACCEPTED and order.prepared.time_in_force is not TimeInForce.IOC
