"""The judge: the official lighter-sdk, unchanged, as a client of the real sandbox process.

Prices walk but have no basis here. The SDK's shared library must never be in a process that forks, so nothing here starts
one after it was loaded; its WebSocket client uses names that its own dependency deprecates.
"""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from ops.sandbox import ecgfp5
from tests.ops.sandbox.process import SandboxProcess

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lighter as sdk
    from lighter.nonce_manager import NonceManagerType

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

lighter: Any = sdk  # half of it is untyped
ETH, BTC, KPEPE = 0, 1, 4
CHAIN = 300
KEY = 7
WAIT_S = 10.0
NUMBERS = itertools.count(1)
CLIENTS = itertools.count(1_000)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("lighter")) as process:
        yield process


class Trader:
    """One funded account with a key of its own, so that tests do not meet."""

    def __init__(self, sandbox: SandboxProcess, **how: Any) -> None:
        number = next(NUMBERS)
        secret = 10_000 + number
        self.account = 700_000 + number
        self.url = f"http://127.0.0.1:{sandbox.ports['lighter']}"
        self.secret = secret.to_bytes(40, "little").hex()
        agent = f"{KEY}:{ecgfp5.public_key(secret).hex()}"
        sandbox.control("account", {"venue": "lighter", "address": str(self.account), "agents": [agent]})
        self.client = lighter.SignerClient(
            url=self.url, account_index=self.account, api_private_keys={KEY: self.secret}, chain_id=CHAIN, **how
        )
        self.orders: Any = lighter.OrderApi(self.client.api_client)
        self.accounts: Any = lighter.AccountApi(self.client.api_client)
        self.txs: Any = lighter.TransactionApi(self.client.api_client)

    @property
    def token(self) -> str:
        token, error = self.client.create_auth_token_with_expiry(api_key_index=KEY)
        assert error is None
        return str(token)

    async def active(self) -> list[Any]:
        answer = await self.orders.account_active_orders(account_index=self.account, authorization=self.token)
        return list(answer.orders)

    async def inactive(self) -> dict[int, Any]:
        answer = await self.orders.account_inactive_orders(
            account_index=self.account, limit=100, authorization=self.token
        )
        return {order.client_order_index: order for order in answer.orders}

    async def position(self, market: int) -> float:
        account = (await self.accounts.account(by="index", value=str(self.account))).accounts[0]
        rows: dict[int, float] = {row.market_id: float(row.position) * row.sign for row in account.positions}
        return rows.get(market, 0.0)


@pytest.fixture
async def trader(sandbox: SandboxProcess) -> AsyncIterator[Trader]:
    trader = Trader(sandbox)
    yield trader
    await trader.client.close()


def accepted(answer: Any) -> str:
    """The hash of what the SDK sent."""
    _, response, error = answer
    assert error is None, error
    assert response.code == 200
    return str(response.tx_hash)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not (value := await condition()):
            await asyncio.sleep(0.05)
    return value


async def test_the_client_finds_its_key(trader: Trader) -> None:
    assert await asyncio.to_thread(trader.client.check_client) is None
    wrong = lighter.SignerClient(
        url=trader.url, account_index=trader.account, api_private_keys={KEY: "02" * 40}, chain_id=CHAIN
    )
    assert await asyncio.to_thread(wrong.check_client) is not None
    await wrong.close()


async def test_catalogue_and_market_reads(trader: Trader) -> None:
    details = await trader.orders.order_book_details()
    rows = {row.symbol: row for row in details.order_book_details}
    assert {"ETH", "BTC", "SOL", "1000PEPE", "HYPE", "PAXG"} <= set(rows)
    assert (rows["1000PEPE"].market_id, rows["BTC"].price_decimals, rows["BTC"].size_decimals) == (KPEPE, 1, 5)
    assert 0.001 < float(rows["1000PEPE"].mark_price) < 0.1
    books = await trader.orders.order_books()
    assert len(books.order_books) == len(rows) + 1
    book = await trader.orders.order_book_orders(BTC, 10)
    assert float(book.bids[0].price) < float(book.asks[0].price)
    assert len((await trader.orders.exchange_stats()).order_book_stats) == 6
    rates = await lighter.FundingApi(trader.client.api_client).funding_rates()
    assert {rate.exchange for rate in rates.funding_rates} >= {"lighter", "binance"}
    history = await lighter.CandlestickApi(trader.client.api_client).fundings(
        market_id=BTC, resolution="1h", start_timestamp=0, end_timestamp=4_000_000_000, count_back=24
    )
    assert len(history.fundings) == 24
    assert (await lighter.RootApi(trader.client.api_client).status()).status == 200


async def test_market_order_fills_and_is_read_back(trader: Trader) -> None:
    client, best = next(CLIENTS), await trader.client.get_best_price(BTC, False)
    tx_hash = accepted(await trader.client.create_market_order(BTC, client, 100, round(best * 1.01), False))

    async def executed() -> Any:
        tx = await trader.txs.tx(by="hash", value=tx_hash)
        return tx if tx.status == 2 else None

    tx = await until(executed)
    assert (tx.account_index, tx.api_key_index, tx.type, tx.hash) == (trader.account, KEY, 14, tx_hash)
    order = (await trader.inactive())[client]
    assert (order.status, order.type, order.filled_base_amount) == ("filled", "market", "0.00100")
    assert await trader.position(BTC) == 0.001
    trades = await trader.orders.trades(
        sort_by="timestamp", limit=10, account_index=trader.account, authorization=trader.token
    )
    assert [(row.bid_account_id, row.bid_client_id, row.size) for row in trades.trades] == [
        (trader.account, client, "0.00100")
    ]
    close = next(CLIENTS)
    accepted(await trader.client.create_market_order_limited_slippage(BTC, close, 100, 0.01, True, reduce_only=True))

    async def flat() -> bool:
        return await trader.position(BTC) == 0

    await until(flat)


async def test_limit_orders_rest_and_are_canceled(trader: Trader) -> None:
    best = await trader.client.get_best_price(ETH, True)
    px = round(best * 0.97)
    clients = [next(CLIENTS) for _ in range(3)]
    for client, tif in zip(clients, (1, 2, 1), strict=True):
        accepted(await trader.client.create_order(ETH, client, 500, px, False, 0, tif))

    async def resting(count: int) -> list[Any]:
        async def there() -> Any:
            rows = await trader.active()
            return [rows] if len(rows) == count else None

        return list((await until(there))[0])

    rows = await resting(3)
    assert {row.client_order_index: row.time_in_force for row in rows} == {
        clients[0]: "good-till-time", clients[1]: "post-only", clients[2]: "good-till-time",
    }  # fmt: skip
    accepted(await trader.client.cancel_order(ETH, clients[0]))
    by_venue = next(row.order_index for row in rows if row.client_order_index == clients[1])
    accepted(await trader.client.cancel_order(ETH, by_venue))
    await resting(1)
    accepted(await trader.client.modify_order(ETH, clients[2], 600, px - 100))

    async def modified() -> bool:
        return [row.base_size for row in await trader.active()] == [600]

    await until(modified)
    accepted(await trader.client.cancel_all_orders(trader.client.CANCEL_ALL_TIF_IMMEDIATE, 0))
    await resting(0)
    _, _, error = await trader.client.cancel_order(ETH, clients[0])
    assert "21600" in error


async def test_cancel_all_of_market_zero_leaves_the_others(trader: Trader) -> None:
    for market, amount in ((ETH, 500), (BTC, 100)):
        px = round(await trader.client.get_best_price(market, True) * 0.97)
        accepted(await trader.client.create_order(market, next(CLIENTS), amount, px, False, 0, 1))

    async def markets(expected: list[int]) -> bool:
        return sorted(row.market_index for row in await trader.active()) == expected

    await until(lambda: markets([ETH, BTC]))
    accepted(await trader.client.cancel_all_orders(0, 0, cancel_all_market_index=ETH))
    await until(lambda: markets([BTC]))


async def test_the_dead_mans_switch_is_armed_and_shown(trader: Trader) -> None:
    due_ms = (await server_time_s(trader) + 400) * 1000
    accepted(await trader.client.cancel_all_orders(trader.client.CANCEL_ALL_TIF_SCHEDULED, due_ms))

    async def armed() -> bool:
        return bool(
            (await trader.accounts.account(by="index", value=str(trader.account))).accounts[0].cancel_all_time == due_ms
        )

    await until(armed)


async def test_leverage_is_set_and_read_back(trader: Trader) -> None:
    accepted(await trader.client.update_leverage(BTC, trader.client.CROSS_MARGIN_MODE, 3))

    async def fraction() -> Any:
        rows = (await trader.accounts.account(by="index", value=str(trader.account))).accounts[0].positions
        return next((row.initial_margin_fraction for row in rows if row.market_id == BTC), None)

    assert await until(fraction) == "33.33"
    _, _, error = await trader.client.update_leverage(BTC, trader.client.CROSS_MARGIN_MODE, 100)
    assert "21613" in error


async def test_late_verdicts_have_the_venues_words(trader: Trader) -> None:
    best = await trader.client.get_best_price(BTC, False)
    cases = {
        next(CLIENTS): ((0, 0), {"order_expiry": 0}, round(best * 0.97), "canceled-not-enough-liquidity"),
        next(CLIENTS): ((0, 2), {}, round(best * 1.01), "canceled-post-only"),
    }
    for client, ((kind, tif), more, px, _) in cases.items():
        accepted(await trader.client.create_order(BTC, client, 100, px, False, kind, tif, **more))

    async def done() -> Any:
        rows = await trader.inactive()
        return rows if len(rows) == len(cases) else None

    rows = await until(done)
    assert {client: rows[client].status for client in cases} == {client: case[3] for client, case in cases.items()}


async def test_refusals_leave_the_nonce_where_it_was(trader: Trader) -> None:
    best = await trader.client.get_best_price(BTC, False)
    client = next(CLIENTS)
    accepted(await trader.client.create_market_order(BTC, client, 100, round(best * 1.01), False))
    _, _, error = await trader.client.create_market_order(BTC, client, 100, round(best * 1.01), False)
    assert "21728" in error
    _, _, error = await trader.client.create_order(BTC, next(CLIENTS), 1, round(best * 0.5), False, 0, 1)
    assert "21706" in error
    accepted(await trader.client.create_market_order(BTC, next(CLIENTS), 100, round(best * 1.01), False))


async def test_skipped_nonces(sandbox: SandboxProcess) -> None:
    trader = Trader(sandbox, nonce_management_type=NonceManagerType.NONE)
    px = round(await trader.client.get_best_price(BTC, False) * 1.01)
    now_ms = await server_time_s(trader) * 1000
    how: dict[str, Any] = {"skip_nonce": 1, "api_key_index": KEY}
    for nonce in (now_ms, now_ms + 1, now_ms + 500):
        accepted(await trader.client.create_market_order(BTC, next(CLIENTS), 100, px, False, nonce=nonce, **how))
    _, _, error = await trader.client.create_market_order(BTC, next(CLIENTS), 100, px, False, nonce=now_ms + 2, **how)
    assert "21104" in error

    async def caught_up() -> bool:
        answer = await trader.txs.next_nonce(account_index=trader.account, api_key_index=KEY)
        return bool(answer.nonce == now_ms + 501)

    await until(caught_up)
    await trader.client.close()


async def test_a_batch_and_the_wrong_chain(trader: Trader) -> None:
    px = round(await trader.client.get_best_price(BTC, False) * 1.01)
    signed = []
    for nonce in range(2):
        kind, info, tx_hash, error = trader.client.sign_create_order(
            BTC, next(CLIENTS), 100, px, 0, 1, 0, order_expiry=0, nonce=nonce, api_key_index=KEY
        )
        assert error is None
        signed.append((kind, info, tx_hash))
    answer = await trader.client.send_tx_batch([row[0] for row in signed], [row[1] for row in signed])
    assert list(answer.tx_hash) == [row[2] for row in signed]
    mainnet = lighter.SignerClient(
        url=trader.url, account_index=trader.account, api_private_keys={KEY: trader.secret}, chain_id=304
    )
    await asyncio.sleep(0.1)
    _, _, error = await mainnet.create_market_order(BTC, next(CLIENTS), 100, px, False)
    assert "21120" in error
    await mainnet.close()


async def test_tokens(trader: Trader) -> None:
    token, _ = trader.client.create_auth_token_with_expiry(9 * 3600, api_key_index=KEY)
    with pytest.raises(lighter.exceptions.UnauthorizedException, match="invalid deadline"):
        await trader.orders.account_active_orders(account_index=trader.account, authorization=token)
    limits = await trader.accounts.account_limits(account_index=trader.account, authorization=trader.token)
    assert limits.user_tier == "premium"
    keys = await trader.accounts.apikeys(account_index=trader.account, api_key_index=255)
    assert [row.api_key_index for row in keys.api_keys] == [KEY]
    l1 = (await trader.accounts.account(by="index", value=str(trader.account))).accounts[0].l1_address
    found = await trader.accounts.accounts_by_l1_address(l1_address=l1)
    assert [row.index for row in found.sub_accounts] == [trader.account]


async def test_the_web_socket_client_follows_books_and_an_account(trader: Trader) -> None:
    books: dict[str, Any] = {}
    updates: list[Any] = []
    sides: asyncio.Event = asyncio.Event()

    def on_book(market: str, book: Any) -> None:
        books[market] = book
        if len(books) == 2:
            sides.set()

    client = lighter.WsClient(
        ws_url=trader.url.replace("http", "ws") + "/stream",
        order_book_ids=[ETH, BTC],
        account_ids=[trader.account],
        on_order_book_update=on_book,
        on_account_update=lambda account, state: updates.append(state),
    )
    task = asyncio.create_task(client.run_async())
    async with asyncio.timeout(WAIT_S):
        await sides.wait()
    px = round(await trader.client.get_best_price(BTC, False) * 1.01)
    accepted(await trader.client.create_market_order(BTC, next(CLIENTS), 100, px, False))

    async def seen() -> bool:
        return any(state["trades"] for state in updates) and any(
            row["position"] == "0.00100" for state in updates for row in state["positions"].values()
        )

    await until(seen)
    for book in books.values():
        assert max(float(level["price"]) for level in book["bids"]) < min(
            float(level["price"]) for level in book["asks"]
        )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.ws.close()


async def server_time_s(trader: Trader) -> int:
    return int((await lighter.RootApi(trader.client.api_client).status()).timestamp)
