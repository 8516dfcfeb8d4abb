"""One market's public book as Lighter streams it: a nonce per change, differences chained by `begin_nonce`.

The nonce rises with every change of the book. Differences are batched, so a frame says from which nonce to which it goes;
a snapshot is the state at the end of the last frame, so that the next one continues it. Levels are compared only while
somebody listens.
"""

from __future__ import annotations

from typing import Any

from core.clock import NS_PER_US, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Level
from ops.sandbox.venues._lighter_listing import Market

DEPTH = 250
NONCE_STEP_NS = (
    10_000_000  # nonces of a new process start above the old one's if that had less than 100 changes a second
)
Row = dict[str, Any]
Side = dict[str, str]


class PublicBook:
    """The chain of one market; `changed` is called for every change, `difference` every 50 ms while it is listened to."""

    def __init__(self, exchange: Exchange, clock: Clock, market: Market) -> None:
        self.market = market
        self.nonce = clock.wire_ns() // NONCE_STEP_NS
        self._exchange = exchange
        self._clock = clock
        self._changed_us = clock.wire_ns() // NS_PER_US
        self._shown: tuple[Side, Side] = ({}, {})
        self._shown_nonce = 0
        self._shown_us = 0
        self._offset = 0

    def changed(self) -> None:
        self.nonce += 1
        self._changed_us = self._clock.wire_ns() // NS_PER_US

    def snapshot(self) -> Row:
        """The whole book; `begin_nonce` 0 starts a chain. To be called with nothing left to publish."""
        if not self._shown_nonce:
            self._look()
        bids, asks = self._shown
        return self._row(_levels(bids), _levels(asks), 0)

    def difference(self) -> Row | None:
        """What changed since the last frame, None when nothing did or nobody has a snapshot."""
        if not self._shown_nonce or self._shown_nonce == self.nonce:
            return None
        before, began = self._shown, self._shown_nonce
        self._look()
        bids, asks = (self._changes(old, new) for old, new in zip(before, self._shown, strict=True))
        if not bids and not asks:
            self._shown_nonce = began
            return None
        self._offset += 1
        return self._row(bids, asks, began)

    def forget(self) -> None:
        """Nobody listens any more."""
        self._shown_nonce = 0

    def ticker(self) -> Row:
        """Best bid and ask; an empty side has empty strings."""
        top = self._exchange.top(self.market.name)
        return {
            "s": self.market.name,
            "a": self._best(top.ask),
            "b": self._best(top.bid),
            "last_updated_at": self._changed_us,
        }

    def _look(self) -> None:
        market = self.market
        bids, asks = self._exchange.levels(market.name, DEPTH)
        self._shown = (
            {market.px(level.px): market.size(level.qty) for level in bids},
            {market.px(level.px): market.size(level.qty) for level in asks},
        )
        self._shown_nonce, self._shown_us = self.nonce, self._changed_us

    def _changes(self, old: Side, new: Side) -> list[Row]:
        """Absolute sizes; a zero deletes."""
        gone = [{"price": px, "size": self.market.size(self.market.lot * 0)} for px in old if px not in new]
        return [{"price": px, "size": size} for px, size in new.items() if old.get(px) != size] + gone

    def _row(self, bids: list[Row], asks: list[Row], began: int) -> Row:
        return {
            "code": 0, "asks": asks, "bids": bids, "offset": self._offset, "nonce": self._shown_nonce,
            "last_updated_at": self._shown_us, "begin_nonce": began,
        }  # fmt: skip

    def _best(self, level: Level | None) -> Side:
        if level is None:
            return {"price": "", "size": ""}
        return {"price": self.market.px(level.px), "size": self.market.size(level.qty)}


def _levels(side: Side) -> list[Row]:
    return [{"price": px, "size": size} for px, size in side.items()]
