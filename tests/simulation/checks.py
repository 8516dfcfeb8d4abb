"""The invariants, looked at after every event of the world. What they compare with is the venues' own truth, never a belief.

At each send      the client id is new, its write-ahead record is in the file, its nonce is new at that signer, no earlier order
                  of the same leg is without a known end, the size is within the limits, nothing opens while HALTED or REDUCING
At each fill      a leg never exceeds what its pair planned and never turns round
In between        exposure of our own lots on a symbol: an order that would repair it, or a reason why none can leave; belief
                  equal to the truth within a bound after the venue began to answer; orders in doubt resolved within a bound
Across lives      the state that a new life rebuilds is the state that the old one had at its last record

`Broken` names what failed; the schedule adds when, and the command that replays it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_MS, NS_PER_S
from core.messages import MANUAL, PairStatus
from core.types import Fill, OrderStatus, Side, TimeInForce, TradingState, Venue
from executor.holdings import OrderState, PairBook
from executor.records import AnyRecord, Netted, OrderPrepared, PositionAdopted
from executor.venues.base import CancelRequest, OrderRequest
from tests.simulation.faults import Fault, Faults
from tests.simulation.gateway import Watcher
from tests.simulation.life import Life
from tests.simulation.market import Market, SimBook
from tests.simulation.semantics import Counting
from tests.simulation.venue import VenueModel
from tests.simulation.world import Broken, World

LOOK_NS = 200 * NS_PER_MS
REPAIR_BOUND_S = 8.0  # the slowest pace between two attempts (5 s) and what one takes
BELIEF_BOUND_S = 20.0  # two readings at their pace, a confirmation, and the answers' way
GUARD_BOUND_S = 8.0  # two evaluations a second apart, and a second attempt after one that was refused
DOUBT_BOUND_S = 20.0  # beyond the order's own expiry bound
PRICE_ROOM = 1.05  # prices move between a decision and a look
MAY_OPEN = ("open", "complete", "manual")
REPAIRS = ("complete", "unwind", "foreign", "hedge", "unhedge")
BLOCKING = (Fault.DARK, Fault.HALT, Fault.POST_ONLY, Fault.REDUCE_ONLY, Fault.NO_CONNECTION, Fault.AUTH_EXPIRED,
            Fault.RATE_LIMITED, Fault.REST_BEHIND)  # fmt: skip
UNREADABLE = (Fault.DARK, Fault.AUTH_EXPIRED, Fault.RATE_LIMITED, Fault.REST_BEHIND)

Key = tuple[Venue, str]


class Episode:
    """Own exposure on one symbol, from its first moment to its last."""

    def __init__(self, now_ns: int) -> None:
        self.since_ns = now_ns
        self.idle_s = 0.0
        self.most_usd = 0.0


class Checks(Watcher):
    """See the module text. `life` is the living executor, None between two."""

    def __init__(
        self,
        world: World,
        models: dict[Venue, VenueModel],
        books: dict[Venue, SimBook],
        market: Market,
        faults: Faults,
    ) -> None:
        self.life: Life | None = None
        self.hold_back: Callable[[OrderRequest], None] = _nothing
        self.let_go: Callable[[OrderRequest], None] = _nothing
        self.journaled: dict[str, OrderPrepared] = {}
        self.adopted_foreign: set[Key] = set()
        self.episodes: list[tuple[float, float]] = []  # seconds, USD
        self.repair_cost_bps: list[float] = []  # of every fill that repaired, fee included
        self.lost_records = False
        self._world = world
        self._models = models
        self._books = books
        self._market = market
        self._faults = faults
        self._sent_ids: set[str] = set()
        self._nonces: set[tuple[Venue, int]] = set()
        self._legs: dict[tuple[str, Venue], int] = {}  # (pair, venue) -> signed lots by our fills
        self._shrunk: set[Key] = set()  # where somebody else traded: legs may be filled again up to their plan
        self._open: dict[str, Episode] = {}
        self._attempt_ns: dict[str, int] = {}
        self._strange_s: dict[Key, float] = {}
        self._doubt_s: dict[str, float] = {}
        self._late_s: dict[str, float] = {}
        self._looked_ns = 0
        for model in models.values():
            model.on_fill = self._filled

    # ---- the journal ------------------------------------------------------------------------------------------------

    def on_record(self, record: AnyRecord) -> None:
        """A record is in the file."""
        if isinstance(record, OrderPrepared):
            again = record.client_order_id in self.journaled and not (record.purpose == "adopted" and self.lost_records)
            self._require(not again, f"{record.client_order_id} journaled twice")
            self.journaled[record.client_order_id] = record
        elif isinstance(record, Netted):
            for pair_id, sign in ((record.buyer, 1), (record.seller, -1)):
                key = (pair_id, record.venue)
                self._legs[key] = self._legs.get(key, 0) + record.lots * sign
        elif isinstance(record, PositionAdopted) and record.foreign and record.lots:
            self.adopted_foreign.add((record.venue, record.symbol))

    # ---- what leaves ------------------------------------------------------------------------------------------------

    def before_send(self, request: OrderRequest) -> None:
        self.hold_back(request)
        name, venue = request.client_order_id, request.instrument.venue
        self._require(name in self.journaled, f"{name} leaves without a journal record")
        self._require(name not in self._sent_ids, f"{name} is sent twice")
        self._sent_ids.add(name)
        record = self.journaled[name]
        same = (record.lots, record.limit_ticks, record.side, record.reduce_only, record.time_in_force)
        wire = (request.lots, request.limit_ticks, request.side, request.reduce_only, request.time_in_force)
        self._require(same == wire, f"{name} leaves as {wire}, journaled as {same}")
        if record.purpose == "manual":
            self._models[venue].by_hand.add(name)
        elif record.purpose == "foreign" and record.pair_id is None:
            self._models[venue].by_hand.add(name)  # it closes what is not ours
        elif record.purpose == "flatten":
            self._models[venue].sweeps.add(name)
        self._attempt_ns[record.symbol] = self._world.now_ns
        if self.life is not None and self.life.state is not None:
            self._nothing_in_doubt(record)
            self._state_allows(record)
            self._wallet_covers(record)
            self._within_limits(record, request)

    def sent(self, request: OrderRequest, nonce: int) -> None:
        self._new_nonce(request.instrument.venue, nonce)
        self.let_go(request)

    def cancel_sent(self, request: CancelRequest, nonce: int) -> None:
        self._new_nonce(request.instrument.venue, nonce)

    def _new_nonce(self, venue: Venue, nonce: int) -> None:
        if self._models[venue].semantics.counting is Counting.SEQUENTIAL:
            return  # what was never taken may be given again; the venue takes each number once
        self._require((venue, nonce) not in self._nonces, f"nonce {nonce} of {venue} is used twice")
        self._nonces.add((venue, nonce))

    def _nothing_in_doubt(self, record: OrderPrepared) -> None:
        """No order of this leg, or in doubt on any leg of its pair, is without a known end; nothing opens beside one in doubt."""
        state, life = self._state(), self.life
        beside = [o for o in state.unknown_orders() if o.key == (record.venue, record.symbol)]
        self._require(
            not beside or record.purpose != "open", f"an opening order beside one in doubt on {record.symbol}"
        )
        pair = state.pairs.get(record.pair_id or "")
        if pair is None:
            doubtful = [o for o in state.unknown_orders() if o.key == (record.venue, record.symbol)]
            wallet = self._models[record.venue].semantics.traits.wallet  # judged by _wallet_covers
            covered = record.reduce_only or wallet or record.purpose == "manual"
            self._require(not doubtful or covered, f"{record.purpose} order beside one in doubt on {record.symbol}")
            return
        policy = life.loaded.config.execution.unknown_policy if life is not None else ""
        for order in state.pair_orders(pair):
            if order.client_order_id == record.client_order_id or order.status.is_final:
                continue
            same_leg = order.prepared.venue == record.venue
            rests = order.prepared.time_in_force is not TimeInForce.IOC  # its fills are hedged as they come
            follows = pair.is_led and record.lots * state.lot_qty((record.venue, record.symbol)) <= abs(
                pair.imbalance_qty
            )
            doubtful = not (rests or follows) and order.status is OrderStatus.UNKNOWN and policy == "wait_and_page"
            self._require(
                not (same_leg or doubtful),
                f"{record.client_order_id} leaves while {order.client_order_id} is {order.status.value}",
            )

    def _state_allows(self, record: OrderPrepared) -> None:
        state = self._state()
        if state.trading_state is TradingState.ACTIVE or record.reduce_only:
            return
        pair = state.pairs.get(record.pair_id or "")
        leg = pair.leg(record.venue) if pair is not None else None
        held = leg.lots if leg is not None else state.lots((record.venue, record.symbol))
        truth = self._models[record.venue].counted(record.symbol)
        covered = any(lots * record.side.sign < 0 and abs(lots) >= record.lots for lots in (held, truth))
        closes = record.purpose not in MAY_OPEN and covered
        self._require(closes, f"a {record.purpose} order leaves while {state.trading_state.value}")

    def _wallet_covers(self, record: OrderPrepared) -> None:
        """Spot never sells more than the ledger bought, with everything else that is on its way to be sold."""
        model = self._models[record.venue]
        sells = model.semantics.traits.wallet and record.side is Side.SELL and record.purpose != "manual"
        if not sells or self.lost_records:
            return
        others = (o for o in self._state().open_orders() if o.client_order_id != record.client_order_id)
        selling = sum(
            o.leaves_lots for o in others if o.key == (record.venue, record.symbol) and o.prepared.side is Side.SELL
        )
        bought = model.own_lots[record.symbol]
        self._require(record.lots + selling <= bought, f"{record.lots} lots of {record.symbol} sold, {bought} bought")

    def _within_limits(self, record: OrderPrepared, request: OrderRequest) -> None:
        """By the truth of the venues and what is on its way: no opening order takes anything beyond its limit."""
        if record.purpose not in ("open", "manual") or record.reduce_only:
            return
        life = self.life
        assert life is not None
        risk, venues = life.loaded.config.risk, life.loaded.config.venues
        usd = float(request.instrument.ticks_to_px(request.limit_ticks) * request.lots * request.instrument.lot_size)
        self._require(usd <= risk.max_order_usd * PRICE_ROOM, f"an order of {usd:.0f} USD, max_order_usd")
        by_venue = self._usd_held({record.venue}, None) + usd
        self._require(
            by_venue <= venues[record.venue].max_notional_usd * PRICE_ROOM, f"{by_venue:.0f} USD on {record.venue}"
        )
        margin = (
            float(self._models[record.venue].margin_used_usd())
            + usd / self._models[record.venue].leverages[record.symbol]
        )
        equity = float(self._models[record.venue].equity_usd)
        self._require(
            margin <= equity * PRICE_ROOM, f"{margin:.0f} USD of margin on {record.venue}, {equity:.0f} there"
        )
        longest = max(self._usd_held({venue}, record.symbol) for venue in self._models)
        self._require(
            longest + usd <= (risk.max_symbol_usd + 120) * PRICE_ROOM, f"{longest + usd:.0f} USD of {record.symbol}"
        )

    def _usd_held(self, venues: set[Venue], symbol: str | None) -> float:
        total = 0.0
        for venue in venues:
            model = self._models[venue]
            for name in model.instruments:
                if symbol in (None, name):
                    total += abs(model.counted(name)) * self._lot_usd(venue, name)
        return total

    # ---- what fills -------------------------------------------------------------------------------------------------

    def _filled(self, fill: Fill) -> None:
        record = self.journaled.get(fill.client_order_id or "")
        if record is not None and record.purpose in REPAIRS:
            self.repair_cost_bps.append(self._cost_bps(fill))
        if record is None or record.purpose == "manual":
            self._shrunk.add((fill.venue, fill.symbol))
        if record is None or (fill.venue, fill.symbol) in self._shrunk or record.pair_id is None or self.lost_records:
            return
        key = (record.pair_id, fill.venue)
        lots = self._legs[key] = self._legs.get(key, 0) + fill.lots * fill.side.sign
        state = self.life.state if self.life is not None else None
        pair = state.pairs.get(record.pair_id) if state is not None else None
        leg = pair.leg(fill.venue) if pair is not None else None
        if pair is None or leg is None:
            return
        most = int(pair.plan.qty / leg.lot_qty)
        self._require(
            0 <= lots * leg.side.sign <= most, f"{record.pair_id} has {lots} lots on {fill.venue}, planned {most}"
        )

    def _cost_bps(self, fill: Fill) -> float:
        """What a repairing fill paid against the mid of all venues, and its fee."""
        model = self._models[fill.venue]
        px = float(fill.px) / model.instruments[fill.symbol].multiplier
        mid = self._market.mid(fill.symbol)
        return (fill.side.sign * (px - mid) / mid + model.semantics.taker_fee) * 1e4

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
        if self.life is not None and self.life.is_ready:
            self._belief(passed_s)
            self._doubts(passed_s)
            self._guards(passed_s)

    def exposure_usd(self, symbol: str) -> float:
        """What our own lots of a symbol add up to over all venues, by the truth."""
        total = 0.0
        for venue, model in self._models.items():
            lots = model.own_lots.get(symbol, 0)
            if lots:
                total += lots * self._lot_usd(venue, symbol)
        return abs(total)

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
            flattening = any((leg.venue, pair.symbol) in self.life.engine.flattening for leg in pair.legs) if self.life else True
            if usable and not flattening and held_s > limit_s and not self._world.is_clock_wrong:
                late = self._late_s[pair.pair_id] = self._late_s.get(pair.pair_id, 0.0) + passed_s
                self._require(
                    late < GUARD_BOUND_S, f"{pair.pair_id} is held for {held_s:.0f} s, its limit is {limit_s} s"
                )

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _state(self) -> Any:
        assert self.life is not None
        return self.life.state

    def _lot_usd(self, venue: Venue, symbol: str) -> float:
        inst = self._models[venue].instruments[symbol]
        return float(inst.lot_size * inst.multiplier) * self._market.mid(symbol)

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self._world.note("broken", what)
            raise Broken(what)


def _rests(order: OrderState) -> bool:
    return order.status is OrderStatus.ACCEPTED and order.prepared.time_in_force is not TimeInForce.IOC


def _nothing(request: OrderRequest) -> None:
    """No crash is planned."""
