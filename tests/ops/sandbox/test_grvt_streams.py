"""The simulated GRVT's WebSocket: chains of differences, complete samples, private streams, requests, and what faults do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.errors import Malformed
from feeds.venues.base import ControlEvent, FundingEvent, GapEvent, QuoteEvent, Stream
from feeds.venues.grvt import Decoder
from ops.sandbox.fault_kinds import Kind, Traffic
from tests.ops.sandbox.grvt_world import BTC, ETH, GTT, SUB, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


# ---- market data ------------------------------------------------------------------------------------------------------


async def test_differences_follow_their_snapshot(world: World) -> None:
    socket = await world.socket()
    ack = await socket.subscribe("v1.mini.d", f"{BTC}@0")
    assert (ack["subs"], ack["unsubs"], ack["num_snapshots"]) == ([f"{BTC}@0"], [], [1])
    snapshot = await socket.next()
    assert (snapshot["sequence_number"], snapshot["selector"]) == ("0", f"{BTC}@0")
    assert set(snapshot["feed"]) >= {"best_bid_price", "best_ask_size", "mark_price", "index_price", "event_time"}
    world.quote("BTC", 80_010.0)
    first = await socket.next()
    assert first["sequence_number"] == ack["first_sequence_number"][0]
    assert first["prev_sequence_number"] == ack["latest_sequence_number"][0]
    assert first["feed"]["best_bid_price"] != snapshot["feed"]["best_bid_price"]
    assert "last_size" not in first["feed"]  # unchanged
    world.quote("ETH", 2_001.0)
    world.quote("BTC", 80_020.0)
    second = await socket.next()
    assert second["prev_sequence_number"] == first["sequence_number"]


async def test_another_rate_replaces_the_first(world: World) -> None:
    socket = await world.socket()
    await socket.subscribe("v1.mini.d", f"{BTC}@500")
    ack = await socket.subscribe("v1.mini.d", f"{BTC}@0")
    assert ack["unsubs"] == [f"{BTC}@500"]
    gone = await socket.request("unsubscribe", {"stream": "v1.mini.d", "selectors": [f"{BTC}@0"]})
    assert gone["result"]["unsubs"] == [f"{BTC}@0"]


async def test_what_cannot_be_subscribed(world: World) -> None:
    socket = await world.socket()
    for stream, selector, code in (
        ("v1.mini.d", "NOPE_USDT_Perp@50", 3000), ("v1.mini.d", BTC, 1101), ("v1.mini.d", f"{BTC}@7", 1101),
        ("v1.nothing", f"{BTC}@50", 1101), ("v1.book.s", f"{BTC}@500-7", 3031), ("v1.order", SUB, 1000),
    ):  # fmt: skip
        answer = await socket.request("subscribe", {"stream": stream, "selectors": [selector]})
        assert answer["error"]["code"] == code, stream
    await socket.send("ping")
    assert (await socket.next())["error"]["code"] == 1003


async def test_the_older_form_is_served(world: World) -> None:
    socket = await world.socket(path="/ws")
    await socket.send(
        {"request_id": 5, "stream": "v1.mini.s", "feed": [f"{BTC}@500"], "method": "subscribe", "is_full": True}
    )
    ack = await socket.next()
    assert (ack["request_id"], ack["subs"]) == (5, [f"{BTC}@500"])
    assert (await socket.next())["feed"]["instrument"] == BTC


async def feed_of(world: World) -> tuple[Decoder, Stream, list[str]]:
    """Our own decoder with the simulated venue's catalogue, and what it subscribes."""
    decoder = Decoder()
    (request,) = decoder.catalogue_requests()
    async with world.session.post(
        world.url + request.path, data=request.body, headers={"Content-Type": "application/json"}
    ) as answer:
        decoder.load_catalogue([await answer.read()], ())
    (plan,) = decoder.sockets()
    return decoder, decoder.stream(plan), [frame.decode() for frame in plan.frames]


async def test_our_decoder_reads_it_all(world: World) -> None:
    decoder, stream, frames = await feed_of(world)
    socket = await world.socket()
    for frame in frames:
        await socket.send(frame)
    quotes: dict[str, QuoteEvent] = {}
    funding: dict[str, FundingEvent] = {}
    while len(quotes) < 3 or len(funding) < 3 or stream.overdue():
        for event in stream.decode((await socket.socket.receive_str(timeout=5)).encode()):
            assert not isinstance(event, GapEvent)
            if isinstance(event, QuoteEvent):
                quotes[event.symbol] = event
            elif isinstance(event, FundingEvent):
                funding[event.symbol] = event
    assert quotes["BTC"].bid_px < 80_000 < quotes["BTC"].ask_px
    assert quotes["PEPE"].bid_px < 0.000004 < quotes["PEPE"].ask_px
    assert {symbol: event.rate.interval_s for symbol, event in funding.items()} == {
        "BTC": 28_800,
        "ETH": 28_800,
        "PEPE": 3600,
    }
    for event in funding.values():
        assert 0.10 <= event.rate.apr <= 0.114 * 1.06  # the calm rate, and how the estimate wanders
    world.quote("BTC", 81_000.0)
    while quotes["BTC"].bid_px < 80_900:
        for event in stream.decode((await socket.socket.receive_str(timeout=5)).encode()):
            if isinstance(event, QuoteEvent):
                quotes[event.symbol] = event
    answer = await world.ask("funding", {"instrument": BTC, "limit": 3})
    assert len(answer[1]["result"]) == 3
    async with world.session.post(world.url + "/full/v1/funding", json={"instrument": BTC, "limit": 3}) as settled:
        (event,) = decoder.load_figures(await settled.read(), "BTC")
    assert isinstance(event, FundingEvent)
    assert event.rate.rate == 0.0001


async def test_a_lost_difference_is_seen_and_healed(world: World) -> None:
    decoder, stream, frames = await feed_of(world)
    socket = await world.socket()
    await socket.send(frames[0])
    for _ in range(4):  # the acknowledgement and three snapshots
        stream.decode((await socket.socket.receive_str(timeout=5)).encode())
    world.faults.add(Kind.GAP)
    gap = None
    px = 80_200.0
    while gap is None:
        for _ in range(2):  # the first one is left out
            world.quote("BTC", px := px + 10)
            await published(world)
        events = stream.decode((await socket.socket.receive_str(timeout=5)).encode())
        gap = next((event for event in events if isinstance(event, GapEvent)), None)
    assert gap.symbol == "BTC"
    for frame in decoder.resubscribe("BTC"):
        await socket.send(frame.decode())
    healed = None
    while healed is None:
        events = stream.decode((await socket.socket.receive_str(timeout=5)).encode())
        healed = next((event for event in events if isinstance(event, QuoteEvent) and event.symbol == "BTC"), None)
    assert healed.bid_px == pytest.approx(px, rel=1e-3)


async def published(world: World) -> None:
    """Let what is sampled every 50 ms be sampled."""
    world.pass_s(0.06)
    await asyncio.sleep(0.06)


# ---- private ----------------------------------------------------------------------------------------------------------


async def test_orders_fills_and_positions_are_told(world: World) -> None:
    socket = await world.socket(private=True)
    for stream in ("v1.order", "v1.state", "v1.fill", "v1.position"):
        assert (await socket.subscribe(stream, SUB))["num_snapshots"] == [0]
    body = world.order(BTC, True, "80100", "0.01")
    client = body["order"]["metadata"]["client_order_id"]
    ack = await socket.request("v1/create_order", body)
    assert ack["result"]["result"]["state"]["status"] == "PENDING"
    order = await socket.until("v1.order")
    assert (order["feed"]["state"]["status"], order["feed"]["metadata"]["client_order_id"]) == ("FILLED", client)
    state = await socket.until("v1.state")
    assert (state["feed"]["client_order_id"], state["feed"]["order_state"]["status"]) == (client, "FILLED")
    fill = await socket.until("v1.fill")
    assert (fill["feed"]["client_order_id"], fill["feed"]["size"]) == (client, "0.01")
    position = await socket.until("v1.position")
    assert (position["feed"]["instrument"], position["feed"]["size"]) == (BTC, "0.01")
    assert int(position["sequence_number"]) == int(position["prev_sequence_number"]) + 1


async def test_snapshots_show_what_rests_and_what_is_held(world: World) -> None:
    await world.place(ETH, True, "1900", "0.05", GTT)
    await world.place(BTC, True, "80100", "0.01")
    socket = await world.socket(private=True)
    assert (await socket.subscribe("v1.order", SUB))["num_snapshots"] == [1]
    assert (await socket.next())["feed"]["legs"][0]["instrument"] == ETH
    assert (await socket.subscribe("v1.position", f"{SUB}-{BTC}"))["num_snapshots"] == [1]
    assert (await socket.next())["feed"]["size"] == "0.01"
    refused = await socket.request("subscribe", {"stream": "v1.order", "selectors": ["5"]})
    assert refused["error"]["code"] == 1001


async def test_a_cancel_in_vain_says_so(world: World) -> None:
    socket = await world.socket(private=True)
    await socket.subscribe("v1.cancel", SUB)
    params = {"sub_account_id": SUB, "client_order_id": "5", "time_to_live_ms": "1000"}
    assert (await socket.request("v1/cancel_order", params))["result"] == {"result": {"ack": True}}
    await world.get("cancel_order", **params)
    assert (await socket.until("v1.cancel"))["feed"]["cancel_status"] == "DROPPED_DUPLICATE"
    world.pass_s(1.1)
    told = (await socket.until("v1.cancel"))["feed"]
    assert (told["client_order_id"], told["cancel_status"]) == ("5", "EXPIRED")


async def test_requests_over_the_socket_are_refused_by_code(world: World) -> None:
    public, private = await world.socket(), await world.socket(private=True)
    assert (await public.request("v1/create_order", world.order(BTC, True, "80100", "0.01")))["error"]["code"] == 1000
    bad = world.order(BTC, True, "80100", "0.0105")
    assert (await private.request("v1/create_order", bad))["error"]["code"] == 2065
    assert (await private.request("v1/positions", {"sub_account_id": SUB}))["error"]["code"] == 1200
    assert (await private.request("v1/open_orders", {"sub_account_id": SUB}))["result"] == {"result": []}


async def test_an_ended_session_ends_its_sockets(world: World) -> None:
    public, private = await world.socket(), await world.socket(private=True)
    await public.subscribe("v1.mini.d", f"{BTC}@0")
    world.faults.add(Kind.EXPIRED_AUTH, (Traffic.PRIVATE,))
    assert await private.closed() == 1006
    world.quote("BTC", 80_010.0)
    assert (await public.until("v1.mini.d"))["feed"]["instrument"] == BTC
    async with world.session.get(world.url + "/ws/full", headers=world.headers) as handshake:
        assert (handshake.status, (await handshake.json())["code"]) == (401, 1000)


# ---- faults -----------------------------------------------------------------------------------------------------------


async def test_a_lost_answer_does_the_work(world: World) -> None:
    socket = await world.socket(private=True)
    world.faults.add(Kind.LOST_ANSWER)
    body = world.order(BTC, True, "80100", "0.01")
    await socket.send({"jsonrpc": "2.0", "method": "v1/create_order", "params": body, "id": 9})
    row = await world.found(body["order"]["metadata"]["client_order_id"])
    assert row["state"]["status"] == "FILLED"
    with pytest.raises(TimeoutError):
        await socket.socket.receive(timeout=0.1)


async def test_faults_of_the_wire(world: World) -> None:
    socket = await world.socket(private=True)
    body = world.order(BTC, True, "80100", "0.01")
    for kind, value, code in (
        (Kind.HTTP_ERROR, 503.0, 1009), (Kind.REJECTED_NONCE, None, 2001), (Kind.EXPIRED_AUTH, None, 1000),
        (Kind.HTTP_ERROR, 429.0, 1006), (Kind.HTTP_ERROR, 502.0, 1005),
    ):  # fmt: skip
        world.faults.add(kind, (Traffic.ORDERS,), value, times=1)
        assert (await socket.request("v1/create_order", body))["error"]["code"] == code
    assert world.exchange.orders(SUB) == []
    world.faults.add(Kind.PARTIAL_FILL, value=0.5)
    row = await world.place(BTC, True, "80100", "0.02")
    assert (row["state"]["status"], row["state"]["traded_size"]) == ("CANCELLED", ["0.01"])


async def test_garbage_is_malformed_and_never_a_number(world: World) -> None:
    decoder, stream, frames = await feed_of(world)
    socket = await world.socket()
    await socket.send(frames[0])
    for _ in range(4):
        stream.decode((await socket.socket.receive_str(timeout=5)).encode())
    world.faults.add(Kind.GARBAGE, (Traffic.MARKET,), times=24)
    malformed = 0
    for step in range(24):
        world.quote("BTC", 80_100.0 + step * 10)
        await published(world)
        message = await socket.socket.receive(timeout=5)
        data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
        try:
            assert all(isinstance(event, GapEvent | ControlEvent) for event in stream.decode(data))
        except Malformed:
            malformed += 1
    assert malformed > 0
    assert decoder.resubscribe("BTC")


async def test_the_older_socket_and_the_newer_tell_the_same(world: World) -> None:
    old, new = await world.socket(path="/ws"), await world.socket()
    await old.send({"request_id": 1, "stream": "v1.book.s", "feed": [f"{BTC}@500-10"], "method": "subscribe"})
    assert (await old.next())["num_snapshots"] == [1]
    await new.subscribe("v1.book.s", f"{BTC}@500-10")
    first, second = (await old.until("v1.book.s"))["feed"], (await new.until("v1.book.s"))["feed"]
    assert first["bids"] == second["bids"]
    assert len(first["bids"]) == 10
