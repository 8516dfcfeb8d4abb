"""The invariants of a single send and a single fill: looked at while the bytes leave, and where the venue books.

At each record    no client id and no nonce is ever journaled twice
At each send      the client id is new, its write-ahead record is in the file and says the same, its nonce is new at that signer,
                  no earlier order of the same leg is without a known end, the size is within limits and margin, nothing opens
                  while HALTED or REDUCING or beside an order in doubt, nothing rests without its dead-man switch, and a wallet
                  never sells more than was bought for it
At each fill      a leg never exceeds what its pair planned and never turns round
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.clock import NS_PER_MS
from core.types import Fill, OrderStatus, Side, TimeInForce, TradingState, Venue
from executor.holdings import OrderState
from executor.records import (
    AnyRecord,
    EpochStarted,
    FillRecorded,
    Netted,
    NonceBlock,
    OrderPrepared,
    PositionAdopted,
)
from executor.venues.base import CancelRequest, OrderRequest
from tests.simulation.faults import Fault, Faults
from tests.simulation.gateway import Watcher
from tests.simulation.life import Life
from tests.simulation.market import Market
from tests.simulation.semantics import Counting
from tests.simulation.venue import VenueModel
from tests.simulation.world import Broken, World

PRICE_ROOM = 1.05  # prices move between a decision and a look
SIGNED_NS = 5 * NS_PER_MS  # a signature that is made elsewhere is there by then: what it signs was decided before
MAY_OPEN = ("open", "complete", "manual")
REPAIRS = ("complete", "unwind", "foreign", "hedge", "unhedge")

Key = tuple[Venue, str]


class Sends(Watcher):
    """See the module text. `life` is the living executor, None between two."""

    def __init__(self, world: World, models: dict[Venue, VenueModel], market: Market, faults: Faults) -> None:
        self.life: Life | None = None
        self.hold_back: Callable[[OrderRequest], None] = _nothing
        self.let_go: Callable[[OrderRequest], None] = _nothing
        self.journaled: dict[str, OrderPrepared] = {}
        self._active_ns: dict[str, int] = {}  # when an order was journaled, if trading was ACTIVE then
        self.adopted_foreign: set[Key] = set()
        self.booked_lots: dict[Key, int] = {}  # by the fills of ours in the journal, each once
        self.repair_cost_bps: list[float] = []  # of every fill that repaired, fee included
        self.lost_records = False
        self._world = world
        self._models = models
        self._market = market
        self._faults = faults
        self._sent_ids: set[str] = set()
        self._nonce_blocks: dict[str, int] = {}  # signer -> end of its newest block
        self._nonce_floors: dict[str, int] = {}  # the same when the present life began
        self._journaled_nonces: set[tuple[Venue, int]] = set()
        self._nonces: set[tuple[Venue, int]] = set()
        self._booked_trades: set[tuple[Venue, str]] = set()
        self._legs: dict[tuple[str, Venue], int] = {}  # (pair, venue) -> signed lots by our fills and nettings
        self._shrunk: set[Key] = set()  # where somebody else traded: legs may be filled again up to their plan
        self._attempt_ns: dict[str, int] = {}
        for model in models.values():
            model.on_fill = self._filled

    # ---- the journal ------------------------------------------------------------------------------------------------

    def on_record(self, record: AnyRecord) -> None:
        """A record is in the file."""
        if isinstance(record, OrderPrepared):
            again = record.client_order_id in self.journaled and not (record.purpose == "adopted" and self.lost_records)
            self._require(not again, f"{record.client_order_id} journaled twice")
            self.journaled[record.client_order_id] = record
            if self.life is not None and self._state().trading_state is TradingState.ACTIVE:
                self._active_ns[record.client_order_id] = self._world.now_ns
            nonce = (record.venue, record.nonce)
            self._require(
                record.purpose == "adopted" or nonce not in self._journaled_nonces, f"nonce {nonce} journaled twice"
            )
            self._journaled_nonces.add(nonce)
            floor = self._nonce_floors.get(f"signer-{record.venue}", 0)
            self._require(
                record.purpose == "adopted" or record.nonce >= floor, f"nonce {nonce} may have been used before"
            )
        elif isinstance(record, NonceBlock):
            self._nonce_blocks[record.signer_id] = record.high
        elif isinstance(record, EpochStarted):
            self._nonce_floors = {} if self.lost_records else dict(self._nonce_blocks)  # a block may be lost unused
        elif isinstance(record, FillRecorded):
            fill, key = record.fill, (record.fill.venue, record.fill.symbol)
            if fill.client_order_id is not None and (fill.venue, fill.trade_id) not in self._booked_trades:
                self._booked_trades.add((fill.venue, fill.trade_id))
                self.booked_lots[key] = self.booked_lots.get(key, 0) + fill.lots * fill.side.sign
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
        rests = request.time_in_force is not TimeInForce.IOC
        self._require(
            not rests or self._models[venue].is_covered(request.instrument), f"{name} rests without its switch"
        )
        if record.purpose == "manual":
            self._models[venue].by_hand.add(name)
        elif record.purpose == "foreign" and record.pair_id is None:
            self._models[venue].by_hand.add(name)  # it closes what is not ours
        elif record.purpose == "flatten" or (record.purpose == "unwind" and record.pair_id is None):
            self._models[venue].sweeps.add(name)  # naked lots may have come from a foreign close that met a liquidation
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
        frozen = (record.venue, record.symbol) in state.frozen
        self._require(not frozen or record.purpose != "open", f"an opening order on frozen {record.symbol}")
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
        signing_ns = self._world.now_ns - self._active_ns.get(record.client_order_id, -SIGNED_NS)
        active = state.trading_state is TradingState.ACTIVE or signing_ns < SIGNED_NS
        if active or record.reduce_only:
            return
        pair = state.pairs.get(record.pair_id or "")
        leg = pair.leg(record.venue) if pair is not None else None
        held = leg.lots if leg is not None else state.lots((record.venue, record.symbol))
        truth = self._models[record.venue].counted(record.symbol)
        covered = any(lots * record.side.sign < 0 and abs(lots) >= record.lots for lots in (held, truth))
        closes = record.purpose not in MAY_OPEN and covered
        self._require(
            closes,
            f"a {record.purpose} order of {record.lots} {record.symbol} on {record.venue} leaves while "
            f"{state.trading_state.value}, {held} held, {truth} in truth",
        )

    def _wallet_covers(self, record: OrderPrepared) -> None:
        """Spot never sells more than the ledger bought, with everything else that is on its way to be sold."""
        model = self._models[record.venue]
        sells = model.semantics.traits.wallet and record.side is Side.SELL and record.purpose != "manual"
        if not sells or self.lost_records:
            return
        others = [o for o in self._state().open_orders() if o.client_order_id != record.client_order_id]
        selling = sum(self._may_sell(o) for o in others if o.key == (record.venue, record.symbol))
        bought = model.bought_lots[record.symbol]
        self._require(record.lots + selling <= bought, f"{record.lots} lots of {record.symbol} sold, {bought} bought")

    def _may_sell(self, order: OrderState) -> int:
        """Lots of a wallet that an order may still sell, by the truth."""
        if order.prepared.side is Side.BUY:
            return 0
        truth = self._models[order.prepared.venue].by_client.get(order.client_order_id)
        if truth is None:
            return order.leaves_lots
        return truth.lots - truth.filled_lots if truth.is_live else 0

    def _within_limits(self, record: OrderPrepared, request: OrderRequest) -> None:
        """By what of the venues' truth is ours: no opening order takes anything beyond its limit."""
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
        margin = self._margin_usd(record.venue, usd)
        equity = float(self._models[record.venue].equity_usd)
        changed = self._faults.occurred[Fault.LEVERAGE_CHANGED]  # by hand, behind our back: the venue may refuse
        netted = (
            not risk.symbol_exclusive or self._models[record.venue].by_hand
        )  # a close may then bind margin, not free it
        self._require(
            changed or netted or margin <= equity * PRICE_ROOM,
            f"{margin:.0f} USD of margin on {record.venue}, {equity:.0f} there",
        )
        longest = max(self._usd_held({venue}, record.symbol) for venue in self._models)
        self._require(
            longest + usd <= (risk.max_symbol_usd + 120) * PRICE_ROOM, f"{longest + usd:.0f} USD of {record.symbol}"
        )

    def _margin_usd(self, venue: Venue, more_usd: float) -> float:
        """What the venue's positions bind, and so much notional more."""
        model = self._models[venue]
        return float(model.margin_used_usd()) + more_usd / min(model.leverages.values())

    def _usd_held(self, venues: set[Venue], symbol: str | None) -> float:
        total = 0.0
        for venue in venues:
            model = self._models[venue]
            for name in model.instruments:
                if symbol in (None, name):
                    total += abs(model.own_lots[name]) * self._lot_usd(venue, name)
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

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _state(self) -> Any:
        assert self.life is not None
        return self.life.state

    def _lot_usd(self, venue: Venue, symbol: str) -> float:
        inst = self._models[venue].instruments[symbol]
        return float(inst.lot_size * inst.multiplier) * self._market.mid(symbol)

    def _require(self, holds: object, what: str) -> None:
        if not holds:
            self._world.note("broken", what)
            raise Broken(what)


def _nothing(request: OrderRequest) -> None:
    """No crash is planned."""
