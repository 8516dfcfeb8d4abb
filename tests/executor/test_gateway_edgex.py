"""The EdgeX gateway against the real sandbox process: an accepted answer says nothing, everything else must agree."""

from __future__ import annotations

import asyncio
import json
import pathlib
import random
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.errors import NotSent, RateLimited, VenueError
from core.roster import SPEC
from core.settings import VenueConfig
from core.specs import edgex as specs
from core.types import LiquiditySide, OrderStatus, Side, TimeInForce, Venue
from executor.keyring import Keyring
from executor.nonces import NonceSource
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _edgex_reads, _edgex_stream
from executor.venues._edgex_reads import TIMESTAMP_WINDOW_NS
from executor.venues.base import Equipment, FundingSeen, NotFound, OrderRequest, PositionSeen, PrivateEvent, VenueOrder
from executor.venues.edgex import _REHEARSAL, TIMESTAMP_AGE_NS, Gateway
from ops.sandbox.venues._edgex_listing import listings, metadata
from tests.executor.local_servers import LogLines, free_port, http_reply, read_request, serve
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox
from tests.executor.test_gateway_canary import everything
from tests.ops.sandbox.edgex_world import ACCOUNT, VALUES, AheadClock, World

VENUE = "edgex"
CATALOGUE = specs.catalogue(json.dumps({"code": "SUCCESS", "data": metadata(listings(("BTC",)))}))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("box"), venues=(VENUE,)) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box, verify_delay_s=0.2) as ready:
        await eventually(lambda: ready.ups)
        yield ready
        await asyncio.to_thread(box.control, "clear", {})
        await ready.flat()


class Shifted(SystemClock):
    """A machine whose UTC is off."""

    def __init__(self, off_ns: int) -> None:
        super().__init__()
        self.off_ns = off_ns
        self.wire_ns = lambda: SystemClock.wire_ns() + self.off_ns  # type: ignore[method-assign]


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    """How the stream says that an order ended."""
    await eventually(lambda: [o for o in station.orders(request.client_order_id) if o.status.is_final])
    order: VenueOrder = station.orders(request.client_order_id)[-1]
    return order


async def fault(box: SandboxProcess, kind: str, **more: Any) -> None:
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": kind, **more})


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    assert (gateway.traits.late_refusals, gateway.dead_man, gateway.signs_apart) == (True, None, False)
    assert gateway.instruments()["PEPE"].venue_symbol == "1000PEPEUSDC"
    assert gateway.instruments()["PEPE"].multiplier == 1000
    assert gateway.instruments()["BTC"].max_leverage == 100
    assert (gateway.fees.maker, gateway.fees.taker) == (0.0004, 0.00045)
    assert abs(gateway.clock_offset_ns) < 500 * NS_PER_MS
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.signer_id != gateway.account_id
    assert gateway.burn_nonce(1) is None
    with pytest.raises(VenueError):
        await gateway.arm_dead_man([])


async def test_ioc_fills_and_every_source_agrees(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place("BTC", Side.BUY, 300.0)
    assert isinstance(outcome, Accepted), outcome
    assert (outcome.status, outcome.filled_lots) == (OrderStatus.ACCEPTED, 0)  # an id and nothing more
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.FILLED, request.lots)
    (fill,) = station.fills(request.client_order_id)
    assert (fill.lots, fill.venue_order_id, fill.side) == (request.lots, outcome.venue_order_id, Side.BUY)
    assert fill.liquidity is LiquiditySide.TAKER
    notional = fill.px * fill.lots * request.instrument.lot_size
    assert fill.fee_usd == pytest.approx(notional * Decimal(repr(station.gateway.fees.taker)), abs=Decimal("1e-5"))
    assert order.avg_px == fill.px
    assert any(isinstance(e, PositionSeen) and e.position.lots == request.lots for e in station.events)

    read = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert read == [fill]
    (position,) = await station.gateway.positions()
    assert (position.symbol, position.lots, position.avg_entry_px) == ("BTC", request.lots, fill.px)
    assert station.gateway.unlisted == {}
    truth = box.account(VENUE, station.gateway.account_id)
    held = truth["positions"]["BTCUSDC"]
    assert Decimal(held["qty"]) == position.lots * request.instrument.lot_size
    (row,) = [row for row in truth["fill_rows"] if row["client_id"] == request.client_order_id]
    assert (Decimal(row["fee"]), Decimal(row["px"])) == (fill.fee_usd, fill.px)
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert found == order


async def test_short_and_balance_share_one_answer(station: Station, box: SandboxProcess) -> None:
    request, _ = await station.place("ETH", Side.SELL, 200.0)
    await ended(station, request)
    gateway: Any = station.gateway
    before = gateway._throttle.ratio
    (position,) = await station.gateway.positions()
    balance = await station.gateway.balance()
    assert gateway._throttle.ratio > before - 2 / station.equipment.settings.requests_per_min
    assert position.lots == -request.lots
    truth = box.account(VENUE, station.gateway.account_id)
    assert balance.equity_usd == pytest.approx(Decimal(truth["equity_usd"]), rel=Decimal("1e-4"))
    assert balance.free_margin_usd == pytest.approx(Decimal(truth["free_usd"]), rel=Decimal("1e-3"))
    assert balance.maintenance_margin_usd > 0
    again = await station.gateway.balance()
    assert again.ts_ns > balance.ts_ns  # an answer is shared once


async def test_ioc_without_match_and_partly_filled(station: Station, box: SandboxProcess) -> None:
    nothing, outcome = await station.place("BTC", Side.BUY, 300.0, cross_bps=-50.0)
    assert isinstance(outcome, Accepted)
    order = await ended(station, nothing)
    assert (order.status, order.filled_lots, order.avg_px) == (OrderStatus.EXPIRED, 0, None)
    await fault(box, "partial_fill", value=0.5)
    half, _ = await station.place("BTC", Side.BUY, 500.0)
    order = await ended(station, half)
    assert order.status is OrderStatus.EXPIRED
    assert 0 < order.filled_lots < half.lots
    assert sum(fill.lots for fill in station.fills(half.client_order_id)) == order.filled_lots
    assert await station.gateway.lookup(half.instrument, half.client_order_id) == order


async def test_refusals_of_the_book_come_later_as_canceled(station: Station, box: SandboxProcess) -> None:
    """Margin, reduce-only and post-only: the answer is an order id all the same."""
    cases = (
        await station.request("BTC", Side.BUY, lots=5000),
        await station.request("ETH", Side.SELL, reduce_only=True),
        await station.request("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=20.0),
    )
    for request in cases:
        assert isinstance(await station.send(request), Accepted)
        order = await ended(station, request)
        assert (order.status, order.filled_lots) == (OrderStatus.CANCELED, 0)
    assert await station.gateway.positions() == []
    states = {row["client_id"]: row["reject"] for row in box.account(VENUE, station.gateway.account_id)["orders"]}
    assert [states[each.client_order_id] for each in cases] == ["margin", "reduce_only", "post_only_would_cross"]


async def test_post_only_rests_is_listed_and_cancelled(station: Station) -> None:
    request, resting = await station.place("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
    assert isinstance(resting, Accepted)
    listed = await station.gateway.open_orders()
    assert [(o.client_order_id, o.venue_order_id, o.status) for o in listed] == [
        (request.client_order_id, resting.venue_order_id, OrderStatus.ACCEPTED)
    ]
    canceled = await station.cancel(request, resting.venue_order_id)
    assert canceled == Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
    assert (await ended(station, request)).status is OrderStatus.CANCELED
    assert await station.gateway.open_orders() == []
    again = await station.cancel(request)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.UNKNOWN_ORDER


async def test_cancel_by_client_id(station: Station) -> None:
    request, _ = await station.place("SOL", Side.SELL, tif=TimeInForce.GTC, cross_bps=-100.0)
    assert isinstance(await station.cancel(request), Accepted)
    assert (await ended(station, request)).status is OrderStatus.CANCELED


async def test_reduce_only_never_flips(station: Station) -> None:
    opened, _ = await station.place("ETH", Side.BUY, 60.0)
    await ended(station, opened)
    close, _ = await station.place("ETH", Side.SELL, lots=opened.lots * 3, reduce_only=True, cross_bps=50.0)
    order = await ended(station, close)
    assert (order.status, order.filled_lots) == (OrderStatus.CANCELED, opened.lots)
    assert await station.gateway.positions() == []


@pytest.mark.parametrize(
    "change", [{"lots": 10**6}, {"limit_ticks": 10_000_000}, {"client_order_id": "x y"}], ids=["size", "band", "id"]
)
async def test_refusals_of_the_gateway_are_rejected_and_not_looked_up(station: Station, change: dict[str, Any]) -> None:
    request = msgspec.structs.replace(await station.request("BTC", Side.BUY, 300.0), **change)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is RejectCode.OTHER
    gateway: Any = station.gateway
    await eventually(lambda: not gateway._verifier._cases, 0.15)  # before the first look


async def test_a_repeated_client_id_is_no_second_order(station: Station) -> None:
    request, _ = await station.place("ETH", Side.BUY, 60.0)
    await ended(station, request)
    again = await station.send(request)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.DUPLICATE_ID
    (position,) = await station.gateway.positions()
    assert position.lots == request.lots


async def test_leverage_is_set_and_read_back_and_blocked_by_orders(station: Station) -> None:
    hype = station.instrument("HYPE")
    for leverage in (7, 3):
        await station.gateway.set_leverage(hype, leverage, station.gateway.nonces.next())
        assert await station.gateway.leverage(hype) == leverage
    with pytest.raises(VenueError, match="INVALID_PARAMETER"):
        await station.gateway.set_leverage(hype, 500, 1)
    request, _ = await station.place("HYPE", Side.BUY, tif=TimeInForce.GTC, cross_bps=-100.0)
    with pytest.raises(VenueError, match="ACCOUNT_UPDATE_LEVERAGE_FAILED_ORDER"):
        await station.gateway.set_leverage(hype, 5, 1)
    await station.cancel(request)
    await ended(station, request)
    assert await station.gateway.leverage(hype) == 3
    assert await station.gateway.leverage(station.instrument("PAXG")) == 10  # the contract's own default


async def test_fills_of_an_earlier_process_are_told_by_order_id(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place("ETH", Side.BUY, 100.0)
    assert isinstance(outcome, Accepted)
    await ended(station, request)
    async with Station(VENUE, box) as later:
        read = {f.client_order_id: f for f in await later.gateway.fills_since(0)}
        assert read[request.client_order_id].venue_order_id == outcome.venue_order_id


async def test_fill_of_a_manual_order_is_foreign(station: Station, box: SandboxProcess) -> None:
    async with Station(VENUE, box) as other:
        request = await other.request("ETH", Side.BUY, 60.0)
        foreign = msgspec.structs.replace(request, client_order_id=f"by-hand-{random.getrandbits(40)}")
        assert isinstance(await other.send(foreign), Accepted)
        await eventually(lambda: station.fills(None))
        assert station.fills(None)[0].lots == request.lots
        assert any(f.client_order_id is None for f in await station.gateway.fills_since(0))


@pytest.mark.parametrize("way", ["broken", "silent"])
async def test_a_lost_answer_is_unknown_and_the_lookup_tells(box: SandboxProcess, way: str) -> None:
    async with Station(VENUE, box, request_timeout_ms=500, verify_retries=0) as station:
        await eventually(lambda: station.ups)
        request = await station.request("BTC", Side.BUY, 100.0)
        await fault(box, "lost_answer", way=way)
        assert isinstance(await station.send(request), Unknown)
        found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)
        await station.flat()


@pytest.mark.parametrize(("status", "way"), [(503, "executed"), (500, "refused")])
async def test_a_5xx_proves_nothing(station: Station, box: SandboxProcess, status: int, way: str) -> None:
    request = await station.request("BTC", Side.BUY, 100.0)
    await fault(box, "http_error", traffic=["orders"], value=status, way=way, times=1)
    assert isinstance(await station.send(request), Unknown)
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder) == (way == "executed")


async def test_an_accepted_order_that_nobody_reports_is_looked_up(station: Station, box: SandboxProcess) -> None:
    await fault(box, "stall", traffic=["private"])
    request, _ = await station.place("BTC", Side.BUY, 100.0)
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.FILLED, request.lots)
    assert station.fills(request.client_order_id) == []
    (fill,) = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert fill.lots == request.lots


async def test_absence_is_definitive_once_the_timestamp_has_left_the_window(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await station.request("BTC", Side.BUY, 100.0)
    station.gateway.prepare(request, station.gateway.nonces.next())
    assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=False)
    monkeypatch.setattr(_edgex_reads, "TIMESTAMP_WINDOW_NS", -3 * NS_PER_S)
    assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=True)
    stranger = msgspec.structs.replace(request, client_order_id=station.client_order_id())
    assert await station.gateway.lookup(stranger.instrument, stranger.client_order_id) == NotFound(definitive=False)


async def test_the_venue_refuses_what_is_older_than_the_window(box: SandboxProcess) -> None:
    """What makes absence definitive: the same bytes, later, are refused."""
    clock = Shifted(0)
    async with Station(VENUE, box, clock=clock) as station:
        request = await station.request("BTC", Side.BUY, 100.0)
        gateway: Any = station.gateway
        clock.off_ns = -TIMESTAMP_WINDOW_NS - NS_PER_S
        prepared = gateway.prepare(request, 1)
        clock.off_ns = 0
        outcome = await gateway.submit(prepared)
        assert isinstance(outcome, Rejected)
        assert outcome.code is RejectCode.AUTH
        assert "SIGNATURE_ERROR" in outcome.detail


async def test_bound_of_doubt_is_what_is_left_of_the_window(station: Station) -> None:
    request = await station.request("BTC", Side.BUY, 100.0)
    before = station.clock.wire_ns()
    left_ns = TIMESTAMP_WINDOW_NS - TIMESTAMP_AGE_NS
    assert left_ns == SPEC[Venue(VENUE)].order_ttl_ms * NS_PER_MS
    unsigned = station.gateway.unknown_bound_ns(request)
    assert unsigned >= request.expires_wire_ns + TIMESTAMP_AGE_NS  # an earlier process may have signed freshly
    station.gateway.prepare(request, station.gateway.nonces.next())
    bound = station.gateway.unknown_bound_ns(request)
    assert before + left_ns < bound < before + left_ns + 6 * NS_PER_S


async def test_whether_old_timestamps_are_taken_is_asked_by_a_read_at_start(
    box: SandboxProcess, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway: Any = station.gateway
    assert gateway._age_ns == TIMESTAMP_AGE_NS
    monkeypatch.setattr("executor.venues.edgex.TIMESTAMP_AGE_NS", TIMESTAMP_WINDOW_NS + 2 * NS_PER_S)
    async with Station(VENUE, box) as other:
        refused: Any = other.gateway
        assert refused._age_ns == 0
        _, outcome = await other.place("BTC", Side.BUY, 100.0)
        assert isinstance(outcome, Accepted)


async def test_a_venue_that_refuses_aged_timestamps_gets_fresh_ones(station: Station) -> None:
    gateway: Any = station.gateway
    gateway._age_ns = TIMESTAMP_WINDOW_NS + NS_PER_S
    request, outcome = await station.place("BTC", Side.BUY, 100.0)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.AUTH
    assert station.out.has("timestamps_fresh")
    request, outcome = await station.place("BTC", Side.BUY, 100.0)
    assert isinstance(outcome, Accepted)
    assert (await ended(station, request)).status is OrderStatus.FILLED
    bound = gateway.unknown_bound_ns(request)
    assert bound > station.clock.wire_ns() + TIMESTAMP_WINDOW_NS


async def test_a_fill_during_a_gap_is_read_after_stream_up(station: Station, box: SandboxProcess) -> None:
    await fault(box, "disconnect", traffic=["private"], for_s=1.0)
    await eventually(lambda: station.downs)
    request, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert isinstance(outcome, Accepted)
    await eventually(lambda: len(station.ups) == 2, 20.0)
    since = station.ups[1].since_wire_ns
    assert 0 < since < station.clock.wire_ns()
    assert request.client_order_id in {f.client_order_id for f in await station.gateway.fills_since(since)}


async def test_duplicated_and_reordered_frames_end_an_order_once(station: Station, box: SandboxProcess) -> None:
    await fault(box, "duplicate", traffic=["private"], value=2)
    await fault(box, "reorder", traffic=["private"], value=1, times=1)
    request, _ = await station.place("BTC", Side.BUY, 100.0)
    await ended(station, request)
    other, _ = await station.place("BTC", Side.SELL, lots=request.lots, reduce_only=True)
    await ended(station, other)
    for each in (request, other):
        ids = {fill.trade_id for fill in station.fills(each.client_order_id)}
        read = {f.trade_id for f in await station.gateway.fills_since(0) if f.client_order_id == each.client_order_id}
        assert ids == read
        statuses = [order.status for order in station.orders(each.client_order_id)]
        assert statuses[-1] is OrderStatus.FILLED
        assert statuses.count(OrderStatus.FILLED) == 1


async def test_rubbish_on_the_stream_is_dropped(station: Station, box: SandboxProcess) -> None:
    await fault(box, "garbage", traffic=["private"], times=2)
    request, _ = await station.place("BTC", Side.BUY, 100.0)
    order = await ended(station, request)  # the verifier, if both frames were spoilt
    assert order.status is OrderStatus.FILLED
    assert station.gateway.entry_ready


async def test_connection_refused_is_unsent_and_start_raises(box: SandboxProcess) -> None:
    port = free_port()
    station = Station(VENUE, box, rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}")
    with pytest.raises(NotSent):
        await station.gateway.start(station.events.append)
    assert not station.gateway.entry_ready
    async with Station(VENUE, box) as warm:
        request = await warm.request("BTC", Side.BUY)
    with pytest.raises(NotSent):
        station.gateway.prepare(request, 1)  # without a catalogue there is no signing domain
    station.gateway.rehearse()
    await station.gateway.close()


async def test_a_venue_that_goes_away_is_unsent_and_comes_back(station: Station, box: SandboxProcess) -> None:
    request = await station.request("ETH", Side.BUY)
    await asyncio.to_thread(box.control, "venue", {"venue": VENUE, "serving": False})
    try:
        await eventually(lambda: not station.gateway.entry_ready)
        assert isinstance(await station.send(request), Unsent)
        with pytest.raises(VenueError):
            await station.gateway.positions()
    finally:
        await asyncio.to_thread(box.control, "venue", {"venue": VENUE, "serving": True})
    lane: Any = station.gateway
    await eventually(lambda: station.gateway.entry_ready and lane._read_lane.warm and len(station.ups) == 2, 20.0)
    assert isinstance((await station.place("ETH", Side.BUY))[1], Accepted)


@pytest.mark.parametrize(("off_ms", "allowed"), [(-1200, True), (-2600, False), (2600, False)])
async def test_nothing_is_signed_with_a_wrong_clock(box: SandboxProcess, off_ms: int, allowed: bool) -> None:
    station = Station(VENUE, box, clock=Shifted(off_ms * NS_PER_MS))
    if not allowed:
        with pytest.raises(NotSent, match="clock"):
            await station.gateway.start(station.events.append)
        assert station.gateway.clock_offset_ns == pytest.approx(-off_ms * NS_PER_MS, abs=300 * NS_PER_MS)
        return
    async with station:
        request, outcome = await station.place("ETH", Side.BUY)
        assert isinstance(outcome, Accepted), outcome
        gateway: Any = station.gateway
        sound = list(gateway._skew._samples)
        for _ in range(5):
            gateway._skew.note(10 * NS_PER_S, 0, 0)
        refused = await station.send(request)
        assert isinstance(refused, Unsent)
        assert "clock" in refused.detail
        for sample_ns in sound * 5:
            gateway._skew.note(sample_ns, 0, 0)
        await station.flat()


async def test_throttle_keeps_its_reserve_and_a_429_pauses_everything(box: SandboxProcess) -> None:
    async with Station(VENUE, box, requests_per_min=400, reserve_ratio=0.4) as station:
        gateway: Any = station.gateway
        while gateway._throttle.take():
            pass
        assert not station.gateway.may_send(priority=False)
        assert station.gateway.may_send(priority=True)
        with pytest.raises(RateLimited):
            await station.gateway.funding_since(0)
        assert await station.gateway.positions() == []
        await fault(box, "http_error", traffic=["reads"], value=429, times=1)
        with pytest.raises(RateLimited):
            await station.gateway.open_orders()
        assert station.gateway.rate_budget_ratio == 0
        assert not station.gateway.may_send(priority=True)


async def test_a_refused_signature_makes_the_domain_be_read_again(station: Station, box: SandboxProcess) -> None:
    gateway: Any = station.gateway
    gateway._signer.use_domain(1, "0x" + "11" * 20)
    request, outcome = await station.place("BTC", Side.BUY, 100.0)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.AUTH
    for _ in range(100):
        request, outcome = await station.place("BTC", Side.BUY, 100.0)
        if isinstance(outcome, Accepted):
            break
        await asyncio.sleep(0.02)
    assert (await ended(station, request)).status is OrderStatus.FILLED


async def test_a_revoked_key_is_told_and_stays_hidden(station: Station, box: SandboxProcess) -> None:
    await fault(box, "expired_auth", traffic=["orders", "reads"])
    gateway: Any = station.gateway
    _, outcome = await station.place("BTC", Side.BUY, 100.0)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.AUTH
    with pytest.raises(VenueError, match="INVALID_API_KEY"):
        await station.gateway.positions()
    key = gateway._signer._api[0][1]
    assert not station.out.has(key)
    assert key not in outcome.detail
    await asyncio.to_thread(box.control, "clear", {})


CANARIES = {
    "EDGEX_PRIVATE_KEY": "0x" + "c0ffee5a" * 8,
    "EDGEX_API_KEY": "canary-key-77", "EDGEX_API_SECRET": "canary-secret-78", "EDGEX_API_PASSPHRASE": "canary-phrase-79",
}  # fmt: skip


@pytest.fixture
def planted(box: SandboxProcess) -> Iterator[None]:
    """Valid in form, and nobody's: the venue echoes the key in its refusal."""
    path = box.loaded.secrets_file
    original = path.read_text()
    lines = [line.partition("=")[0] for line in original.splitlines()]
    text = original.splitlines()
    path.write_text(
        "\n".join(f"{name}={CANARIES[name]}" if name in CANARIES else text[at] for at, name in enumerate(lines))
    )
    yield
    path.write_text(original)


def leaked(*shown: object) -> list[str]:
    return [value for value in CANARIES.values() for each in shown if value.removeprefix("0x") in str(each).lower()]


async def test_wrong_keys_are_refused_and_stay_hidden(box: SandboxProcess, planted: None) -> None:
    station = Station(VENUE, box)
    with pytest.raises(VenueError, match="INVALID_API_KEY") as caught:
        await station.gateway.start(station.events.append)
    gateway: Any = station.gateway
    url = await gateway._stream_url()
    assert not leaked(caught.value, repr(caught.value), url, *everything(station))
    await gateway.close()


async def test_an_answer_that_repeats_the_request_shows_no_key(box: SandboxProcess, planted: None) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            assert "canary-key-77" in head or "public" in head
            writer.write(http_reply(json.dumps({"code": head}).encode() + body, 400))

    async with serve(script) as port:
        station = Station(VENUE, box, rest_url=f"http://127.0.0.1:{port}")
        gateway: Any = station.gateway
        await gateway._read_lane.start()
        await gateway._order_lane.start()
        gateway._catalogue = CATALOGUE
        gateway._signer.use_domain(1, "0x" + "11" * 20)
        order = msgspec.structs.replace(_REHEARSAL, instrument=CATALOGUE.instruments[0])
        outcome = await station.send(order)
        with pytest.raises(VenueError) as caught:
            await gateway.positions()
        assert isinstance(outcome, Rejected | Unknown), outcome
        assert not leaked(outcome, caught.value, *everything(station))
        await gateway.close()


async def test_rehearsal_sends_nothing_and_takes_no_nonce(station: Station) -> None:
    first = station.gateway.nonces.next()
    station.gateway.rehearse()
    assert station.gateway.nonces.next() > first
    assert await station.gateway.open_orders() == []
    gateway: Any = station.gateway
    assert gateway._memory.sent("0" * 32) is None


async def test_funding_is_streamed_and_read_back_to_the_cent(tmp_path: pathlib.Path) -> None:
    """The venue in this very process, with a calendar that the test moves."""
    out, events = LogLines(), list[PrivateEvent]()
    clock = AheadClock(1)
    secrets = tmp_path / "secrets.env"
    secrets.write_text("".join(f"{name}={value}\n" for name, value in VALUES.items()))
    secrets.chmod(0o600)
    async with World(clock) as world:
        world.exchange.housekeep()
        equipment = Equipment(
            venue=Venue(VENUE),
            settings=VenueConfig(
                rest_url=world.url,
                ws_url=world.url.replace("http", "ws"),
                max_notional_usd=1000.0,
                leverage={"default": 3},
            ),
            symbols=("BTC",),
            keyring=Keyring.open(secrets, [Venue(VENUE)], out.log),
            clock=clock,
            log=out.log,
            rng=random.Random(1),
            nonces=lambda signer, unit: NonceSource(
                signer, unit_ns=unit, clock=clock, high_water=0, reserve=lambda *_: None
            ),
        )
        gateway = Gateway(equipment)
        await gateway.start(events.append)
        for side, qty in ((Side.BUY, "0.1"), (Side.SELL, "0.3")):
            limit = Decimal(61_000 if side is Side.BUY else 59_000)
            world.exchange.place(ACCOUNT, "BTCUSDC", side, Decimal(qty), limit, TimeInForce.IOC)
            clock.at_ns += 4 * 3600 * NS_PER_S
            world.exchange.housekeep()
        fundings = [event.payment for event in events if isinstance(event, FundingSeen)]
        async with asyncio.timeout(5.0):
            while len(fundings) < 2:
                await asyncio.sleep(0.01)
                fundings = [event.payment for event in events if isinstance(event, FundingSeen)]
        read = await gateway.funding_since(0)
        assert sorted(read, key=lambda each: each.ts_ns) == fundings
        truth = world.exchange.payments(ACCOUNT)
        assert (
            [each.amount_usd for each in fundings] == [each.cash for each in truth] == [Decimal("-0.3"), Decimal("0.6")]
        )
        assert [each.rate for each in fundings] == [0.00005, 0.00005]
        assert await gateway.funding_since(fundings[1].ts_ns) == fundings[1:]
        await gateway.close()


async def test_a_fill_whose_order_nobody_named_is_asked_for(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_edgex_stream, "OWNER_WAIT_S", 0.05)
    request, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert isinstance(outcome, Accepted)
    await ended(station, request)
    gateway: Any = station.gateway
    gateway._memory._clients.clear()
    (fill,) = station.fills(request.client_order_id)
    row = {
        "id": "77", "contractId": "30000002", "orderId": outcome.venue_order_id, "orderSide": "BUY", "fillSize": "0.01",
        "fillPrice": str(fill.px), "fillFee": "0", "direction": "TAKER", "matchTime": "1795132800000",
    }  # fmt: skip
    content = {"event": "ORDER_UPDATE", "version": 0, "data": {"orderFillTransaction": [row]}}
    gateway._on_frame(msgspec.json.encode({"type": "trade-event", "content": content}))
    await eventually(lambda: len(station.fills(request.client_order_id)) == 2)
