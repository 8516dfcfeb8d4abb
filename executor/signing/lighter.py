"""Lighter's transactions and auth tokens, signed by the venue's own shared library (docs/venues/lighter.md 6, 11, 12).

The library is Go: it is loaded by path from the installed `lighter` package, whose Python side is never imported (half a
second and 50 MB). Three facts about it shape this file. From the main thread each call re-reads the process's memory map
(2.4 ms instead of 0.3); after a fork it hangs; and it wraps integers that do not fit without a word. So one thread of our
own loads it, makes the client and signs, in the order asked; the event loop only hands over integers and gets a future;
and everything is range-checked before it is handed over. A process that signs must not fork without exec.

The client is made with an empty URL: then the library never touches the network, and a missing nonce is an error instead of
a blocking request. Signatures are random and `ExpiredAt` is stamped by the library (now + 599 s), so no two calls agree;
the hash is a pure function of the fields.

Refused: a process apart (its round trip costs as much as the signature), and reimplementing the curve for money.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import platform
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from core.errors import ConfigError, NotSent, VenueError
from executor.signing.signed import Signed

MAINNET_CHAIN_ID = 304
TESTNET_CHAIN_ID = 300

CREATE_ORDER, CANCEL_ORDER, CANCEL_ALL_ORDERS, UPDATE_LEVERAGE = 14, 15, 16, 20
LIMIT_ORDER, MARKET_ORDER = 0, 1
IOC, GOOD_TILL_TIME, POST_ONLY = 0, 1, 2
CANCEL_NOW, CANCEL_SCHEDULED, CANCEL_ABORT = 0, 1, 2
CROSS, ISOLATED = 0, 1
ALL_MARKETS = 255
EXPIRES_AFTER_S = 599

MAX_INDEX = (1 << 48) - 1  # client order indices and base amounts
MAX_PRICE = (1 << 32) - 1
MAX_MARKET = (1 << 15) - 1
MAX_NONCE = (1 << 47) - 2
MAX_INT64 = (1 << 63) - 1
MAX_WAITING = 256
SIGN_BOUND_S = 1.0
START_BOUND_S = 10.0

_LIBRARIES = {"x86_64": "lighter-signer-linux-amd64.so", "aarch64": "lighter-signer-linux-arm64.so"}
_INT, _INT64, _BYTE, _TEXT = ctypes.c_int, ctypes.c_longlong, ctypes.c_uint8, ctypes.c_char_p
T = TypeVar("T")


class _Text(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("error", ctypes.c_void_p))


class _Transaction(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("info", ctypes.c_void_p),
        ("name", ctypes.c_void_p),
        ("message", ctypes.c_void_p),
        ("error", ctypes.c_void_p),
    )


class Signer:
    """Signs for one API key of one account. All methods after `start` return at once; their futures fail with NotSent
    when the library refuses, or does not answer within SIGN_BOUND_S."""

    def __init__(self, private_key: Callable[[], str], *, account: int, key_index: int, chain_id: int) -> None:
        """`private_key` reveals it; it is asked once per `start` and not kept."""
        self._private_key = private_key
        self._account = account
        self._key_index = key_index
        self._chain_id = chain_id
        self._thread: _SigningThread | None = None
        self._library: _Library | None = None

    async def start(self) -> None:
        """Load the library and make the client, once. Raises ConfigError when either cannot be done."""
        if self._library is not None:
            return
        thread = _SigningThread()
        loaded: asyncio.Future[_Library] = thread.call(self._load, START_BOUND_S)
        try:
            self._library = await loaded
        except BaseException:
            thread.stop()
            raise
        self._thread = thread

    def close(self) -> None:
        if self._thread is not None:
            self._thread.stop()
        self._thread = self._library = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits for a signature."""
        return self._thread is not None and self._thread.idle

    def create_order(
        self,
        *,
        market: int,
        client_index: int,
        base_amount: int,
        price: int,
        is_ask: bool,
        time_in_force: int,
        reduce_only: bool,
        expiry_ms: int,
        nonce: int,
        skip_nonce: bool,
        order_type: int = LIMIT_ORDER,
    ) -> asyncio.Future[Signed]:
        """An order in the venue's integers; `expiry_ms` is 0 for IOC, `price` of a market order the worst acceptable. Raises
        NotSent for what does not fit."""
        _within("market", market, 0, MAX_MARKET)
        _within("client order index", client_index, 1, MAX_INDEX)
        _within("size in lots", base_amount, 1, MAX_INDEX)
        _within("price in ticks", price, 1, MAX_PRICE)
        _within("time in force", time_in_force, IOC, POST_ONLY)
        _within("order expiry", expiry_ms, 0, MAX_INT64)
        _within("order type", order_type, LIMIT_ORDER, MARKET_ORDER)
        fields = (market, client_index, base_amount, price, int(is_ask), order_type, time_in_force, int(reduce_only))
        rest = (0, expiry_ms, 0, 0, 0, 0, 0)  # no trigger, no integrator and its fees, default self-trade rules
        return self._sign("SignCreateOrder", (*fields, *rest), nonce, skip_nonce)

    def cancel_order(self, *, market: int, index: int, nonce: int, skip_nonce: bool) -> asyncio.Future[Signed]:
        """`index`: the venue's order index, or our client order index (their ranges are apart)."""
        _within("market", market, 0, MAX_MARKET)
        _within("order index", index, 1, MAX_INT64)
        return self._sign("SignCancelOrder", (market, index), nonce, skip_nonce)

    def cancel_all_orders(
        self, *, when: int, time_ms: int, market: int, nonce: int, skip_nonce: bool
    ) -> asyncio.Future[Signed]:
        """`when`: CANCEL_NOW, CANCEL_SCHEDULED (the dead-man switch, at `time_ms`) or CANCEL_ABORT of a schedule."""
        _within("time in force", when, CANCEL_NOW, CANCEL_ABORT)
        _within("time", time_ms, 0, MAX_INT64)
        _within("market", market, 0, MAX_MARKET)
        return self._sign("SignCancelAllOrders", (when, time_ms, market), nonce, skip_nonce)

    def abort_switch(self, *, nonce: int, skip_nonce: bool) -> asyncio.Future[Signed]:
        """Abort a scheduled cancel-all: with none scheduled, a transaction that does nothing but spend its nonce."""
        return self.cancel_all_orders(
            when=CANCEL_ABORT, time_ms=0, market=ALL_MARKETS, nonce=nonce, skip_nonce=skip_nonce
        )

    def update_leverage(
        self, *, market: int, margin_fraction: int, margin_mode: int, nonce: int, skip_nonce: bool
    ) -> asyncio.Future[Signed]:
        """`margin_fraction`: initial margin in 1e-4 (10x = 1000)."""
        _within("market", market, 0, MAX_MARKET)
        _within("initial margin fraction", margin_fraction, 1, 10_000)
        _within("margin mode", margin_mode, CROSS, ISOLATED)
        return self._sign("SignUpdateLeverage", (market, margin_fraction, margin_mode), nonce, skip_nonce)

    def auth_token(self, deadline_s: int) -> asyncio.Future[str]:
        """A token good until `deadline_s` (unix seconds, at most 8 h ahead by the venue's clock)."""
        _within("deadline", deadline_s, 1, MAX_INT64)
        library, key, account = self._ready(), self._key_index, self._account
        return self._call(lambda: library.token(deadline_s, key, account))

    def __repr__(self) -> str:
        return f"Signer(lighter, account {self._account}, key {self._key_index})"

    def _sign(self, function: str, fields: tuple[int, ...], nonce: int, skip_nonce: bool) -> asyncio.Future[Signed]:
        _within("nonce", nonce, 0, MAX_NONCE)
        library = self._ready()
        arguments = (*fields, int(skip_nonce), nonce, self._key_index, self._account)
        return self._call(lambda: library.transaction(function, arguments))

    def _call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._thread is None:
            raise NotSent("lighter: the signer is not started")
        return self._thread.call(work, SIGN_BOUND_S)

    def _ready(self) -> _Library:
        if self._library is None:
            raise NotSent("lighter: the signer is not started")
        return self._library

    def _load(self) -> _Library:
        library = _Library(_library_path())
        library.create_client(self._private_key(), self._chain_id, self._key_index, self._account)
        return library


class _Library:
    """The functions that we use, typed. Every string it returns is copied and freed."""

    def __init__(self, path: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be loaded ({error}); install lighter-sdk again") from error
        order: list[type] = [_INT64] * 3 + [_INT] * 6 + [_INT64] * 2 + [_INT] * 2 + [_BYTE] * 2
        self._declare("SignCreateOrder", order)
        self._declare("SignCancelOrder", [_INT64, _INT64])
        self._declare("SignCancelAllOrders", [_INT, _INT64, _INT64])
        self._declare("SignUpdateLeverage", [_INT64, _INT, _INT])
        self._library.CreateClient.argtypes = [_TEXT, _TEXT, _INT, _INT, _INT64]
        self._library.CreateClient.restype = ctypes.c_void_p
        self._library.CreateAuthToken.argtypes = [_INT64, _INT, _INT64]
        self._library.CreateAuthToken.restype = _Text
        self._library.Free.argtypes = [ctypes.c_void_p]
        self._library.Free.restype = None

    def create_client(self, private_key: str, chain_id: int, key_index: int, account: int) -> None:
        pointer = self._library.CreateClient(b"", private_key.encode(), chain_id, key_index, account)
        if self._take(pointer):  # its text may repeat what it was given: not shown
            raise ConfigError(
                "LIGHTER_PRIVATE_KEY: the signer does not take it; create an API key again and set its private half"
            )

    def transaction(self, function: str, arguments: tuple[int, ...]) -> Signed:
        result = getattr(self._library, function)(*arguments)
        info, name, error = self._take(result.info), self._take(result.name), self._take(result.error)
        self._take(result.message)
        if error or not info or not name:
            raise NotSent(f"lighter: {function} refused: {error[:200] or 'no answer'}")
        return Signed(result.kind, info.encode(), name)

    def token(self, deadline_s: int, key_index: int, account: int) -> str:
        result = self._library.CreateAuthToken(deadline_s, key_index, account)
        text, error = self._take(result.text), self._take(result.error)
        if error or not text:
            raise NotSent(f"lighter: CreateAuthToken refused: {error[:200] or 'no answer'}")
        return text

    def _declare(self, name: str, fields: Sequence[type]) -> None:
        """All transactions end in: skip nonce, nonce, key index, account."""
        function = getattr(self._library, name)
        function.argtypes = [*fields, _BYTE, _INT64, _INT, _INT64]
        function.restype = _Transaction

    def _take(self, pointer: int | None) -> str:
        if not pointer:
            return ""
        try:
            return (ctypes.cast(pointer, ctypes.c_char_p).value or b"").decode()
        finally:
            self._library.Free(pointer)


class _SigningThread:
    """One daemon thread working off calls in order; results come back to the loop that asked. At most MAX_WAITING wait."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name="lighter-signer", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        return self._waiting == 0

    def call(self, work: Callable[[], T], bound_s: float) -> asyncio.Future[T]:
        """Raises NotSent when too many wait already."""
        if self._waiting >= MAX_WAITING:
            raise NotSent(f"lighter: {MAX_WAITING} signatures are waiting already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting += 1

        def late() -> None:
            if not future.done():
                future.set_exception(NotSent(f"lighter: the signer did not answer within {bound_s:g} s"))

        timer = loop.call_later(bound_s, late)

        def settle(result: T | None, error: VenueError | ConfigError | None) -> None:
            self._waiting -= 1
            timer.cancel()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only if the work's own result is

        def attempt() -> None:
            result: T | None = None
            failure: VenueError | ConfigError | None = None
            try:
                result = work()
            except (VenueError, ConfigError) as error:
                failure = error
            try:
                loop.call_soon_threadsafe(settle, result, failure)
            except RuntimeError:
                return  # the loop has closed: nobody waits any more

        future.add_done_callback(_looked_at)
        self._calls.put(attempt)
        return future

    def stop(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _library_path() -> Path:
    """Found without importing the package."""
    spec = importlib.util.find_spec("lighter")
    name = _LIBRARIES.get(platform.machine()) if platform.system() == "Linux" else None
    if spec is None or spec.origin is None:
        raise ConfigError("lighter is enabled and its signer is not installed; install the package lighter-sdk")
    if name is None:
        raise ConfigError(f"lighter: its signer is used on Linux on x86-64 and arm64 only, not on {platform.machine()}")
    path = Path(spec.origin).parent / "signers" / name
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; install lighter-sdk again")
    return path


def _looked_at(future: asyncio.Future[T]) -> None:
    """Whoever wants the signature asks for it; a failure that nobody asks about (a rehearsal's) is none."""
    if not future.cancelled():
        future.exception()


def _within(what: str, value: int, least: int, most: int) -> None:
    """The library would sign the remainder of a number that is too large."""
    if not least <= value <= most:
        raise NotSent(f"lighter: {what} {value} is outside {least} to {most}")
