"""GRVT's private streams: chains, snapshots, what gives the connection up; and client numbers both ways."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from core.errors import NotSent
from core.ids import OrderTag, client_order_id, tag16
from core.types import Instrument, OrderStatus, Venue
from executor.venues._client_numbers import ClientNumbers, Layout
from executor.venues._grvt_stream import GAP_MARGIN_NS, STREAMS, PrivateStream, decode_frame
from executor.venues._memory import OrderMemory
from executor.venues.base import FillSeen, OrderSeen, PositionSeen, PrivateEvent, StreamDown, StreamUp, VenueOrder
from executor.venues.grvt import NUMBERS
from tests.executor.local_servers import LogLines
from tests.executor.test_answers_grvt import BTC, CREATED

VENUE = Venue("grvt")
SUB = "2147050003876484"
FILL = {
    "event_time": "1767354369431470728", "instrument": "BTC_USDT_Perp", "is_buyer": True, "is_taker": True, "size": "0.001",
    "price": "89473.4", "fee": "0.040263", "trade_id": "74150425-1", "order_id": "0x0101010503a12f6e000000007791f1bd",
    "client_order_id": "99191900",
}  # fmt: skip


class Ear:
    """A stream and everything that it told."""

    def __init__(self, listed: dict[str, Instrument] | None = None) -> None:
        self.events: list[PrivateEvent] = []
        self.heard: list[VenueOrder] = []
        self.broken: list[str] = []
        self.out = LogLines()
        chosen = {"BTC_USDT_Perp": BTC} if listed is None else listed
        self.stream = PrivateStream(
            SUB, OrderMemory(), lambda: chosen, lambda number: None, self.heard.append, self.broken.append,
            self.events.append, self.out.log,
        )  # fmt: skip

    def acknowledge(self, first: int = 17, streams: tuple[str, ...] = STREAMS) -> None:
        self.stream.subscriptions()
        for stream in streams:
            result = {"stream": stream, "subs": [SUB], "unsubs": [], "num_snapshots": [0],
                      "first_sequence_number": [str(first)]}  # fmt: skip
            self.say({"jsonrpc": "2.0", "result": result, "id": 1, "method": "subscribe"})

    def say(self, message: dict[str, Any]) -> None:
        frame = decode_frame(json.dumps(message).encode())
        if frame.stream:
            self.stream.on_frame(frame)
        else:
            self.stream.on_answer(frame)

    def tell(self, stream: str, number: int, feed: Any, previous: int | None = None) -> None:
        before = max(0, number - 1) if previous is None else previous
        self.say({"stream": stream, "selector": SUB, "sequence_number": str(number), "feed": feed,
                  "prev_sequence_number": str(before)})  # fmt: skip


ORDER = CREATED["result"] | {"order_id": "0x010101050390cd89000000007799a374"}


def test_subscriptions_name_the_account() -> None:
    frames = [json.loads(frame) for frame in Ear().stream.subscriptions()]
    assert [frame["params"] for frame in frames] == [{"stream": name, "selectors": [SUB]} for name in STREAMS]
    assert len({frame["id"] for frame in frames}) == len(STREAMS)


def test_it_is_up_when_every_stream_has_acknowledged() -> None:
    ear = Ear()
    ear.acknowledge(streams=STREAMS[:-1])
    assert ear.events == []
    ear.acknowledge()
    assert ear.events == [StreamUp(venue=VENUE, since_wire_ns=0)]
    ear.stream.on_down("cut", 10**18)
    ear.acknowledge()
    assert ear.events[1:] == [
        StreamDown(venue=VENUE, reason="cut"), StreamUp(venue=VENUE, since_wire_ns=10**18 - GAP_MARGIN_NS),
    ]  # fmt: skip


def test_a_refused_stream_gives_the_connection_up() -> None:
    ear = Ear()
    ear.say({"jsonrpc": "2.0", "error": {"code": 1001, "message": "no"}, "id": 1, "method": "subscribe"})
    ear.say({"jsonrpc": "2.0", "result": {"stream": 5}, "id": 1, "method": "subscribe"})
    assert len(ear.broken) == 2
    assert not ear.stream.up.is_set()


def test_orders_fills_and_positions() -> None:
    ear = Ear()
    ear.acknowledge()
    ear.tell("v1.order", 0, ORDER, 0)  # the snapshot
    ear.tell("v1.order", 17, ORDER | {"state": ORDER["state"] | {"status": "FILLED", "traded_size": ["0.002"]}})
    ear.tell("v1.fill", 17, FILL)
    ear.tell("v1.position", 17, {"instrument": "BTC_USDT_Perp", "size": "-0.002", "leverage": "3.0"})
    ear.tell("v1.cancel", 17, {"anything": "else"})
    kinds = [type(event) for event in ear.events[1:]]
    assert kinds == [OrderSeen, OrderSeen, FillSeen, PositionSeen]
    assert [order.status for order in ear.heard] == [OrderStatus.ACCEPTED, OrderStatus.FILLED]
    assert ear.broken == []


def test_a_hole_in_a_chain_gives_the_connection_up() -> None:
    for number in (18, 30, 5):
        ear = Ear()
        ear.acknowledge()
        ear.tell("v1.fill", number, FILL)
        assert len(ear.broken) == 1, number
        assert not [event for event in ear.events if isinstance(event, FillSeen)]


def test_the_same_message_twice_is_told_once() -> None:
    ear = Ear()
    ear.acknowledge()
    for _ in range(3):
        ear.tell("v1.fill", 17, FILL)
    assert sum(isinstance(event, FillSeen) for event in ear.events) == 1
    assert ear.broken == []


def test_chains_are_of_streams() -> None:
    ear = Ear()
    ear.acknowledge()
    ear.tell("v1.fill", 17, FILL)
    ear.tell("v1.order", 17, ORDER)
    ear.tell("v1.fill", 18, FILL | {"trade_id": "2-1"})
    assert ear.broken == []


@pytest.mark.parametrize(
    "feed", [{}, FILL | {"size": "0.0015"}, FILL | {"price": "NaN"}, FILL | {"event_time": "9" * 23}, []]
)
def test_what_does_not_decode_is_asked_for_again(feed: Any) -> None:
    ear = Ear()
    ear.acknowledge()
    ear.tell("v1.fill", 17, feed)
    assert len(ear.broken) == 1
    assert ear.out.has("private_frame_malformed")


def test_what_the_catalogue_lacks_is_said() -> None:
    ear = Ear(listed={})
    ear.acknowledge()
    ear.tell("v1.order", 17, ORDER)
    ear.tell("v1.fill", 17, FILL)
    ear.tell("v1.position", 17, {"instrument": "BTC_USDT_Perp", "size": "1"})
    assert ear.events == [StreamUp(venue=VENUE, since_wire_ns=0)]
    assert ear.out.has("order_of_unknown_instrument")
    assert ear.out.has("fill_of_unknown_instrument")


# ---- client numbers ---------------------------------------------------------------------------------------------------


def numbers(epoch: int = 0, account: str = SUB, recorded: dict[str, int] | None = None) -> ClientNumbers:
    return ClientNumbers(VENUE, NUMBERS, account, epoch, recorded or {})


def test_numbers_lead_back_to_their_ids() -> None:
    rng = random.Random(4)
    ids = [
        client_order_id(tag16(SUB), rng.getrandbits(16), rng.randrange(1, 1 << 20), rng.randrange(1, 1 << 28), rng.getrandbits(8))
        for _ in range(500)
    ]  # fmt: skip
    held = numbers()
    told = [held.of(name) for name in ids]
    assert len(set(told)) == len(set(ids))
    assert all(1 << 63 <= number < 1 << 64 for number in told)
    assert [held.name(number) for number in told] == ids
    recalled = numbers(recorded=dict.fromkeys(ids, 7))
    assert [recalled.name(number) for number in told] == ids
    assert recalled.prepared_wire_ns(ids[0]) == 7


def test_a_lost_order_is_ours_without_its_strategy() -> None:
    lost = client_order_id(tag16(SUB), 5, 3, 9, 2)
    number = numbers().of(lost)
    told = numbers(epoch=3).name(number)
    assert told == client_order_id(tag16(SUB), 0, 3, 9, 2)
    assert numbers(epoch=3).of(told) == number  # so it can be cancelled
    assert numbers(epoch=2).name(number) is None  # that start has not been yet
    assert numbers(epoch=3, account="5").name(number) is None
    for foreign in (0, 1, 12345, 1_795_000_000_000, (1 << 63) - 1, 1 << 63):
        assert numbers(epoch=1000).name(foreign) is None


def test_what_does_not_fit_is_refused_not_wrapped() -> None:
    for name in ("0" * 32, "web", client_order_id(1, 1, 1 << 20, 1, 0), client_order_id(1, 1, 1, 1 << 28, 0)):
        with pytest.raises(NotSent):
            numbers().of(name)


def test_layouts_use_every_bit_once() -> None:
    layout = Layout(mark=3, epoch=4, sequence=5, leg=2)
    seen = {
        layout.number(OrderTag(account, 0, epoch, sequence, leg))
        for account in range(4)
        for epoch in range(16)
        for sequence in range(32)
        for leg in range(4)
    }
    assert len(seen) == 4 * 16 * 32 * 4
    assert max(seen) < 1 << 14
    assert min(seen) >= 1 << 13
