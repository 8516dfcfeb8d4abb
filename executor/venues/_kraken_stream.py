"""Kraken's private channels as events (docs/venues/kraken.md 7, 8).

    executions   every step of every order. Rows are sparse: the first one (pending_new, or the snapshot's) names everything,
                 later ones the order and what changed; so each order is kept as first told, and later rows are read onto it
    balances     hints that a wallet moved

A trade row names its order by the venue's id alone. Whose order that is was told by its first row or by the answer to it;
what began before this connection is asked for by REST before the fill is told, so that no fill of ours passes as foreign.
Trades of the snapshot are not asked for: the engine reads the gap by REST from the time that `StreamUp` names.

Messages of a subscription are numbered. A number that is not the next one means a loss, and only a new snapshot heals it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed, VenueError
from core.log import Log
from core.specs import kraken as specs
from core.types import Fill, Instrument, OrderStatus, Side
from executor.background import Background
from executor.venues import _kraken_rows as rows
from executor.venues._decoding import is_price, whole_lots
from executor.venues._memory import OrderMemory
from executor.venues.base import EventSink, FillSeen, OrderSeen, PositionSeen, StreamDown, StreamUp, VenueOrder

EXECUTIONS, BALANCES = "executions", "balances"
CHANNELS = (EXECUTIONS, BALANCES)
GAP_MARGIN_NS = 5 * NS_PER_S
MAX_ORDERS = 20_000
MAX_QUESTIONS = 64
ASKED_AGAIN_S = (0.0, 0.5, 2.0)
SPOT = "spot"
TRADE, AMENDED, RESTATED = "trade", "amended", "restated"


class _Known(msgspec.Struct):
    """An order as far as its rows have told."""

    instrument: Instrument
    side: Side
    lots: int
    filled_lots: int = 0


class PrivateStream:
    """Turns frames into events for `sink`. `order_of` asks the venue for an order by its id, which also settles whose it is;
    `lost` is called when messages are missing: the connection is of no more use."""

    def __init__(
        self,
        memory: OrderMemory,
        listed: Callable[[], rows.Listed],
        by_symbol: Callable[[], Mapping[str, Instrument]],
        order_of: Callable[[str], Awaitable[VenueOrder | None]],
        lost: Callable[[str], None],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._memory = memory
        self._listed = listed
        self._by_symbol = by_symbol
        self._order_of = order_of
        self._lost = lost
        self._sink = sink
        self._log = log
        self._orders: dict[str, _Known] = {}
        self._sequences: dict[str, int] = {}
        self._down_since_ns = 0
        self._background = Background()
        self.up = asyncio.Event()

    @staticmethod
    def subscriptions(token: str) -> list[bytes]:
        """The frames to send on a fresh connection."""
        executions = {
            "channel": EXECUTIONS, "snap_orders": True, "snap_trades": False, "order_status": True, "token": token,
        }  # fmt: skip
        asked = ({"channel": BALANCES, "token": token}, executions)
        return [
            msgspec.json.encode({"method": "subscribe", "params": params, "req_id": number})
            for number, params in enumerate(asked, 1)
        ]

    async def close(self) -> None:
        await self._background.close()

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        """The connection is gone; what happens from now on must be read."""
        self._sequences.clear()
        if self.up.is_set():
            self.up.clear()
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    def on_frame(self, channel: str, data: bytes) -> None:
        """A frame that does not decode is a lost one: the next number shows that it is missing. Should none follow, what it
        said is found as the end of any silent order is: by asking."""
        try:
            if channel == EXECUTIONS:
                frame = rows.decode(data, rows.ExecutionsFrame, channel)
                if self._follows(channel, frame.type, frame.sequence):
                    self._on_executions(frame)
            elif channel == BALANCES:
                wallets = rows.decode(data, rows.BalancesFrame, channel)
                if self._follows(channel, wallets.type, wallets.sequence):
                    self._on_balances(wallets)
        except Malformed as error:
            self._log.error("private_frame_malformed", venue=rows.VENUE, channel=channel, detail=str(error))

    # ---- frames ---------------------------------------------------------------------------------------------------

    def _follows(self, channel: str, kind: str, sequence: int) -> bool:
        """Whether this is the frame that comes next; what came before the snapshot or again is passed over."""
        last = self._sequences.get(channel)
        if kind == "snapshot":
            self._sequences[channel] = sequence
            if not self.up.is_set() and len(self._sequences) == len(CHANNELS):
                self.up.set()
                self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))
            return True
        if last is None or sequence <= last:
            return False
        self._sequences[channel] = sequence
        if sequence != last + 1:
            self._log.warning("private_frames_lost", venue=rows.VENUE, channel=channel, last=last, sequence=sequence)
            self._lost("private frames were lost")
        return True

    def _on_executions(self, frame: rows.ExecutionsFrame) -> None:
        """The frame's number is taken, so a row that cannot be used would be missed by nobody: it costs the connection."""
        for row in frame.data:
            if row.cl_ord_id:
                self._memory.bind(row.order_id, rows.client_id(row.cl_ord_id))
            self._note(row)
            try:
                if row.exec_type == TRADE:
                    self._on_trade(row)
                else:
                    self._on_step(row)
            except Malformed as error:
                self._log.error("private_row_malformed", venue=rows.VENUE, channel=EXECUTIONS, detail=str(error))
                self._lost("a private row cannot be used")

    def _on_balances(self, frame: rows.BalancesFrame) -> None:
        for row in frame.data if frame.type == "update" else ():
            instrument = self._by_symbol().get(specs.spot_asset(row.asset) or "")
            is_spot = row.wallet_type == SPOT and row.asset not in specs.STABLECOINS
            if instrument is not None and row.balance.is_finite() and is_spot:
                lots = instrument.qty_to_lots(row.balance)
                self._sink(PositionSeen(position=rows.wallet(instrument, lots)))

    def _note(self, row: rows.ExecutionRow) -> None:
        """Keep what a full row tells; a later one may tell of another size."""
        known, instrument = self._orders.get(row.order_id), self._listed().get(row.symbol)
        lots = whole_lots(row.order_qty, instrument) if row.order_qty is not None and instrument is not None else None
        if known is None:
            side = rows.side_of(row)
            if instrument is None or side is None or lots is None:
                return
            known = self._orders[row.order_id] = _Known(instrument, side, lots)
            while len(self._orders) > MAX_ORDERS:
                del self._orders[next(iter(self._orders))]
        elif row.exec_type in (AMENDED, RESTATED) and row.order_qty is not None:
            known.lots = whole_lots(row.order_qty, known.instrument) or known.lots
        filled = whole_lots(row.cum_qty, known.instrument) if row.cum_qty is not None else None
        if filled is not None:
            known.filled_lots = max(known.filled_lots, filled)

    def _on_trade(self, row: rows.ExecutionRow) -> None:
        if self._memory.knows(row.order_id):
            self._tell_fill(row)
        elif len(self._background) < MAX_QUESTIONS:
            self._background.spawn(self._ask_owner(row))
        else:
            self._lost("too many trades of unknown orders")  # the gap read tells them

    def _tell_fill(self, row: rows.ExecutionRow) -> None:
        fill: Fill | None = rows.stream_fill(row, self._listed(), self._memory.client_of(row.order_id))
        if fill is None:
            self._log.warning("fill_of_unknown_pair", venue=rows.VENUE, pair=row.symbol)
            return
        self._sink(FillSeen(fill=fill))

    def _on_step(self, row: rows.ExecutionRow) -> None:
        status, known = rows.status_of(row), self._orders.get(row.order_id)
        if status is None:
            self._log.warning("order_status_unknown", venue=rows.VENUE, exec=row.exec_type, status=row.order_status)
            return
        if known is None or (status.is_final and not self._memory.knows(row.order_id)):
            if status.is_final and len(self._background) < MAX_QUESTIONS:
                self._background.spawn(self._ask_end(row.order_id))
            return
        if status is OrderStatus.FILLED:
            known.filled_lots = max(known.filled_lots, known.lots)
        owner = self._memory.client_of(row.order_id)
        px = row.avg_price
        told = VenueOrder(
            symbol=known.instrument.symbol,
            venue_order_id=row.order_id,
            client_order_id=owner,
            side=known.side,
            lots=known.lots,
            filled_lots=known.filled_lots,
            status=rows.ended(status, known.filled_lots, known.lots, self._memory.sent(owner or "")),
            avg_px=px if px is not None and known.filled_lots and is_price(px) else None,
        )
        self._sink(OrderSeen(venue=rows.VENUE, order=told))

    # ---- what must be asked for -----------------------------------------------------------------------------------

    async def _ask_owner(self, row: rows.ExecutionRow) -> None:
        """Whose order this trade belongs to, then the trade. Nobody's word is nobody's fill: then the gap is read."""
        try:
            await self._asked(row.order_id)
        except VenueError as error:
            self._log.warning("order_not_asked", venue=rows.VENUE, order=row.order_id, detail=str(error))
            self._lost("a trade's order could not be asked for")
            return
        try:
            self._tell_fill(row)
        except Malformed as error:
            self._log.error("private_frame_malformed", venue=rows.VENUE, channel=EXECUTIONS, detail=str(error))

    async def _ask_end(self, txid: str) -> None:
        try:
            order = await self._asked(txid)
        except VenueError as error:
            self._log.warning("order_not_asked", venue=rows.VENUE, order=txid, detail=str(error))
            return
        if order is not None:
            self._sink(OrderSeen(venue=rows.VENUE, order=order))

    async def _asked(self, txid: str) -> VenueOrder | None:
        """Raises the last VenueError when none of the tries was answered."""
        for pause_s in ASKED_AGAIN_S[:-1]:
            await asyncio.sleep(pause_s)
            try:
                return await self._order_of(txid)
            except VenueError as error:
                self._log.debug("order_asked_again", venue=rows.VENUE, order=txid, detail=str(error))
        await asyncio.sleep(ASKED_AGAIN_S[-1])
        return await self._order_of(txid)
