"""Faults planted into the executor's code, one at a time, each by replacing one exact piece of text.

Each is a mistake that somebody could make, and that would cost money. A text that is no longer found, or found twice, is an
error: then the code has moved on and the fault must be planted anew.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


class Planted(msgspec.Struct, frozen=True):
    """`file`: relative to the project. `old` stands there exactly once."""

    name: str
    file: str
    old: str
    new: str

    def plant(self, root: Path) -> None:
        """Put it into the tree at `root`. Raises LookupError when the text is not there exactly once."""
        path = root / self.file
        text = path.read_text()
        found = text.count(self.old)
        if found != 1:
            raise LookupError(f"{self.name}: {self.file} has its text {found} times, not once:\n{self.old}")
        path.write_text(text.replace(self.old, self.new))


PLANTED = (
    # ---- the journal ------------------------------------------------------------------------------------------------
    Planted(
        "journal writes nothing",
        "executor/journal.py",
        "            written = os.pwrite(self._fd, data, self._offset)\n",
        "            written = size\n",
    ),
    Planted(
        "fills are not journaled",
        "executor/registrar.py",
        "        sequence = self.journal.append(record)\n",
        '        lost = type(record).__name__ == "FillRecorded"\n'
        "        sequence = self.state.sequence + 1 if lost else self.journal.append(record)\n",
    ),
    Planted(
        "a torn record is believed",
        "executor/segments.py",
        "            if len(body) < length or zlib.crc32(body, zlib.crc32(_CRC_PART.pack(length, sequence))) != crc:\n",
        "            if len(body) < length:\n",
    ),
    Planted(
        "records of the next life are written over the last good one",
        "executor/journal.py",
        "        self._offset = end\n        self._synced",
        "        self._offset = max(16, end - 1)\n        self._synced",
    ),
    Planted(
        "a closing pair forgets that it was asked to close",
        "executor/state.py",
        "        if record.status is PairStatus.CLOSING:\n            pair.closing = True\n",
        "",
    ),
    # ---- ids and nonces ---------------------------------------------------------------------------------------------
    Planted(
        "the epoch does not advance",
        "executor/assembly.py",
        "epoch=state.epoch + 1,",
        "epoch=max(1, state.epoch),",
    ),
    Planted("client ids do not advance", "executor/engine.py", "        self._order_count += 1\n", ""),
    Planted(
        "a nonce is used again",
        "executor/nonces.py",
        "        nonce = max(self._clock.wire_ns() // self._unit_ns, self._last + 1)\n        if",
        "        nonce = max(self._clock.wire_ns() // self._unit_ns, self._last)\n        if",
    ),
    Planted(
        "nonces of a former life are forgotten",
        "executor/assembly.py",
        "high_water=self.state.nonce_high.get(signer_id, 0),",
        "high_water=0,",
    ),
    # ---- outcomes ---------------------------------------------------------------------------------------------------
    Planted(
        "a timeout is a refusal",
        "executor/orders.py",
        "        case Unknown():\n            return Verdict(_S.UNKNOWN,",
        "        case Unknown():\n            return Verdict(_S.REJECTED,",
    ),
    Planted(
        "a duplicate is a refusal",
        "executor/orders.py",
        "            return Verdict(_S.UNKNOWN, code=outcome.code.value, detail=outcome.detail)\n",
        "            return Verdict(_S.REJECTED, code=outcome.code.value, detail=outcome.detail)\n",
    ),
    Planted(
        "an accepted order is a filled one",
        "executor/orders.py",
        "            return Verdict(outcome.status, outcome.venue_order_id,",
        "            return Verdict(_S.FILLED, outcome.venue_order_id,",
    ),
    Planted(
        "told and recorded fills are added up",
        "executor/holdings.py",
        "        return max(self.told_lots, self.fill_lots)\n",
        "        return self.told_lots + self.fill_lots\n",
    ),
    Planted(
        "a fill told twice counts twice",
        "executor/state.py",
        "        return trade_id in self.trades.get(venue, ())\n",
        "        return False\n",
    ),
    # ---- doubt ------------------------------------------------------------------------------------------------------
    Planted(
        "orders of a dead life were never sent",
        "executor/engine.py",
        'OrderStatus.UNKNOWN, source="recovery", detail=why)',
        'OrderStatus.NOT_SENT, source="recovery", detail=why)',
    ),
    Planted(
        "an instrument in doubt is not frozen",
        "executor/registrar.py",
        "            self.freeze(order.key, UNKNOWN_OUTCOME)\n",
        "",
    ),
    Planted(
        "a pair acts on half an answer",
        "executor/pairs.py",
        "        if unknown:\n",
        "        if False:\n",
    ),
    Planted(
        "doubt ends without a reading",
        "executor/doubt.py",
        "    if evidence.fills_read_wire_ns <= bound_wire_ns or evidence.excess_lots is None:\n        return None\n",
        "    evidence = msgspec.structs.replace(evidence, excess_lots=evidence.excess_lots or 0)\n",
    ),
    # ---- positions --------------------------------------------------------------------------------------------------
    Planted(
        "a difference is never adopted",
        "executor/reconcile.py",
        "            elif judgement is Judgement.DIFFERS:\n",
        "            elif False:\n",
    ),
    Planted(
        "what nobody owns is not closed",
        "executor/naked.py",
        "        self._close(key, seen, stated)\n",
        "",
    ),
    Planted(
        "a leg is reduced the wrong way",
        "executor/cures.py",
        "        side = leg.way_out if reducing else leg.side\n",
        "        side = leg.side\n",
    ),
    Planted(
        "repairs complete although the pair is long open",
        "executor/pairs.py",
        "        may_complete = being_opened and active and (",
        "        may_complete = True and (",
    ),
    # ---- limits and states ------------------------------------------------------------------------------------------
    Planted(
        "halted opens by hand",
        "risk/limits.py",
        "    if state is not TradingState.ACTIVE:\n",
        "    if state is TradingState.REDUCING:\n",
    ),
    Planted(
        "the order limit is not applied",
        "risk/limits.py",
        '        "max_order_usd": _usd(risk.max_order_usd),',
        '        "max_order_usd": Decimal(10**9),',
    ),
    Planted(
        "the venue's limit is not applied",
        "risk/limits.py",
        '        _tighten(bounds, "max_notional_usd", _usd(leg.venue_max_usd) - leg.venue_notional_usd)\n',
        "",
    ),
    Planted(
        "margin is not reserved nor looked at",
        "risk/limits.py",
        '        _tighten(bounds, "capacity", _capacity_usd(leg))\n',
        "",
    ),
    Planted(
        "pairs by hand have no time limit",
        "executor/exit_guards.py",
        "    if 0 < guard.max_hold_s <= held_s:\n",
        "    if False:\n",
    ),
    # ---- wallets, quotes, switches ----------------------------------------------------------------------------------
    Planted(
        "a wallet's coins are all ours",
        "executor/wallets.py",
        "            return min(stated, max(0, ours))\n",
        "            return stated\n",
    ),
    Planted(
        "an order rests without its switch",
        "executor/dead_man.py",
        "        self._arm(key)\n        return False\n",
        "        return True\n",
    ),
    # ---- flatten ----------------------------------------------------------------------------------------------------
    Planted("flatten says flat", "executor/flatten.py", "flat=not left and not unreachable", "flat=True"),
)
