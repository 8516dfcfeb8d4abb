"""Lighter's channels: how they are named, and what stands in their frames (docs/venues/lighter.md 3, 8)."""

from __future__ import annotations

from typing import NamedTuple

from core.clock import Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import ZERO, AccountState
from ops.sandbox.venues._lighter_book import PublicBook
from ops.sandbox.venues._lighter_call import whole
from ops.sandbox.venues._lighter_listing import Listing
from ops.sandbox.venues._lighter_public import Public
from ops.sandbox.venues._lighter_rows import (
    Row,
    asset_row,
    margin_fraction,
    market_stats,
    order_row,
    position_row,
    stats_row,
)

ALL = -1  # the argument `all`
REPLAYED = 50
_MARKET = frozenset({"ticker", "order_book", "trade", "market_stats"})
_ACCOUNT = frozenset({"account_all", "user_stats"})
PRIVATE = frozenset(
    {
        "account_all_orders",
        "account_orders",
        "account_all_trades",
        "account_all_positions",
        "account_all_assets",
        "account_tx",
    }
)
Shape = tuple[object, ...]


class NoChannel(Exception):
    """There is no such channel; the message is what the venue puts in brackets."""


class Channel(NamedTuple):
    """`ticker/1` is Channel("ticker", (1,)); `account_orders/0/5` has market and account."""

    name: str
    arguments: tuple[int, ...]

    @property
    def label(self) -> str:
        """As it stands in frames. An account's orders of one market are labelled by the market alone."""
        arguments = self.arguments[:1] if self.name == "account_orders" else self.arguments
        return ":".join([self.name, *("all" if argument == ALL else str(argument) for argument in arguments)])

    @property
    def sampled(self) -> bool:
        """Sent at a pace of its own, not on change."""
        return self.name in ("market_stats", "user_stats")


class Channels:
    """Reads channel names and fills frames."""

    def __init__(
        self, exchange: Exchange, clock: Clock, listing: Listing, public: Public, books: dict[str, PublicBook]
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._public = public
        self._books = books
        self._seen: dict[tuple[str, str], Shape] = {}

    def read(self, text: object) -> Channel:
        """A subscription's channel. Raises NoChannel."""
        name, *rest = text.split("/") if isinstance(text, str) else ("",)
        if name == "market_stats" and rest == ["all"]:
            return Channel(name, (ALL,))
        if name not in _MARKET | _ACCOUNT | PRIVATE:
            raise NoChannel(name)
        numbers = [number for number in map(whole, rest) if number is not None]
        if len(numbers) != len(rest) or len(rest) != (2 if name == "account_orders" else 1):
            raise NoChannel("marketId" if name in _MARKET else "accountId")
        channel = Channel(name, tuple(numbers))
        of_market = name in _MARKET or name == "account_orders"
        if of_market and channel.arguments[0] not in self._listing.by_index:
            raise NoChannel("marketId")
        if name not in _MARKET and self._exchange.account(str(channel.arguments[-1])) is None:
            raise NoChannel("accountId")
        return channel

    def first(self, channel: Channel) -> Row:
        """What the acknowledgement carries."""
        if channel.name == "order_book":
            return self.book_content(self._book(channel).snapshot())
        return self.content(channel)

    def content(self, channel: Channel) -> Row:
        """The present state of a channel; fills and transactions have none."""
        market = self._listing.by_index.get(channel.arguments[0])
        now_ns = self._clock.calendar_ns()
        match channel.name:
            case "ticker":
                book = self._book(channel)
                ticker = book.ticker()
                return {"last_updated_at": ticker["last_updated_at"], "nonce": book.nonce, "ticker": ticker}
            case "trade" if market is not None:
                return {"trades": self._public.prints(market, REPLAYED), "liquidation_trades": []}
            case "market_stats" if market is not None:
                return {"market_stats": market_stats(self._exchange, market, now_ns)}
            case "market_stats":
                return {
                    "market_stats": {
                        str(row.index): market_stats(self._exchange, row, now_ns) for row in self._listing.traded
                    }
                }
            case "account_tx":
                return {"txs": []}
            case "account_all_trades":
                return {"trades": {}}
        return self._account_content(channel)

    def book_content(self, row: Row) -> Row:
        return {"last_updated_at": row["last_updated_at"], "offset": row["offset"], "order_book": row}

    def account_content(self, channel: Channel, account: AccountState, positions: Row) -> Row:
        """A frame of positions; the all-in-one channel carries assets and (elsewhere) trades beside them."""
        if channel.name == "account_all":
            return {"account": int(account.address), "assets": _assets(account), "positions": positions, "trades": {}}
        return {"positions": positions, "shares": [], "last_funding_round": None, "last_funding_discount": None}

    def changed_positions(self, account: AccountState) -> Row:
        """Rows whose size, entry, settings or order count differ from the last time; marks alone do not count."""
        changed = {}
        for position in account.positions.values():
            market = self._listing.by_name.get(position.name)
            if market is None:
                continue
            orders = len(self._exchange.open_orders(account.address, position.name))
            shape = (
                position.qty, position.entry_px, position.cross, position.isolated_margin, orders,
                margin_fraction(account, position),
            )  # fmt: skip
            if self._seen.get((account.address, position.name)) != shape:
                self._seen[account.address, position.name] = shape
                changed[str(market.index)] = position_row(self._exchange, account, position, market)
        return changed

    def _account_content(self, channel: Channel) -> Row:
        index = channel.arguments[-1]
        account = self._exchange.account(str(index))
        if account is None:
            raise NoChannel("accountId")
        rows = {
            str(self._listing.by_name[row.name].index): row
            for row in account.positions.values()
            if self._lists(row.name)
        }
        match channel.name:
            case "account_all_orders" | "account_orders":
                content: Row = {"orders": self._orders(channel, account)}
                if channel.name == "account_orders":
                    content |= {"account": index, "nonce": self._book(channel).nonce}
                return content
            case "account_all_assets":
                return {"assets": _assets(account)}
            case "user_stats":
                return {"stats": stats_row(self._exchange, account)}
        positions = {
            key: position_row(self._exchange, account, row, self._listing.by_name[row.name])
            for key, row in rows.items()
        }
        return self.account_content(channel, account, positions)

    def _orders(self, channel: Channel, account: AccountState) -> Row:
        orders: dict[str, list[Row]] = {}
        for order in self._exchange.open_orders(account.address):
            market = self._listing.by_name[order.name]
            if channel.name == "account_all_orders" or market.index == channel.arguments[0]:
                orders.setdefault(str(market.index), []).append(order_row(order, market))
        return orders

    def _book(self, channel: Channel) -> PublicBook:
        return self._books[self._listing.by_index[channel.arguments[0]].name]

    def _lists(self, name: str) -> bool:
        return name in self._listing.by_name


def _assets(account: AccountState) -> Row:
    held = sum((position.isolated_margin for position in account.positions.values()), ZERO)
    return {"3": asset_row(account.cash + held)}
