"""The official interface of the simulated Variational, as far as it reads (docs/venues/variational.md 6a and 8): what the
venue's own SDK can be pointed at. Keys follow from the account, since nobody issues any."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from core.clock import NS_PER_MS, Clock
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues import _variational_listing as listing
from ops.sandbox.venues._variational_rows import Rows
from ops.sandbox.verify import keccak

PREFIX = "/v1"
WINDOW_MS = 5_000
POOL = str(uuid.UUID(int=1))
Row = dict[str, Any]


class Official:
    """`paths`: what can be read."""

    def __init__(self, exchange: Exchange, clock: Clock, rows: Rows) -> None:
        self._exchange = exchange
        self._clock = clock
        self._rows = rows
        self._reads: dict[str, Callable[[str], Any]] = {
            "/me": self._me,
            "/metadata/limits": lambda account: _limits(),
            "/metadata/supported_assets": lambda account: self._assets(),
            "/portfolio/summary": self._summary,
            "/portfolio/positions": self._positions,
        }
        self.handlers: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
            PREFIX + "/status": self._status,
            **{PREFIX + path: self._serve(read) for path, read in self._reads.items()},
        }

    async def _status(self, request: web.Request) -> web.Response:
        return self._answer({"result": {"auth": None, "server_timestamp_ms": self._now_ms()}})

    def _serve(self, read: Callable[[str], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            account = self._caller(request.headers, request.method, request.path_qs, await request.read())
            if account is None:
                return self._answer({"error": {"code": 401, "message": "invalid signature"}}, 401)
            found = read(account)
            if isinstance(found, list):
                return self._answer({"result": found, "pagination": {"next_page": None}})
            return self._answer({"result": found})

        return endpoint

    def _caller(self, headers: Mapping[str, str], method: str, path: str, body: bytes) -> str | None:
        """The account whose key signed these very bytes within the clock's window."""
        key, told = headers.get("X-Variational-Key", ""), headers.get("X-Request-Timestamp-Ms", "")
        if not told.isdecimal() or abs(int(told) - self._now_ms()) > WINDOW_MS:
            return None
        account = next((each for each in self._exchange.ledger.accounts if api_key_of(each)[0] == key), None)
        if account is None:
            return None
        text = f"{key}|{told}|{method}|{path}".encode() + (b"|" + body if body else b"")
        expected = hmac.digest(bytes.fromhex(api_key_of(account)[1]), text, "sha256").hex()
        return account if hmac.compare_digest(expected, headers.get("X-Variational-Signature", "")) else None

    def _answer(self, body: Row, status: int = 200) -> web.Response:
        return web.Response(
            status=status,
            body=orjson.dumps(body),
            content_type="application/json",
            headers={"X-Request-Received-Ms": str(self._now_ms())},
        )

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS

    # -- reads ------------------------------------------------------------------------------------------------------

    def _me(self, account: str) -> Row:
        return {"key_id": api_key_of(account)[0], "company_id": POOL, "role": "writer"}

    def _summary(self, account: str) -> Row:
        margin = self._exchange.margin(account)
        row = {"sum_balance": plain(margin.equity - margin.unrealized), "sum_upnl": plain(margin.unrealized)}
        return row | {"sum_notional": plain(margin.notional)}

    def _positions(self, account: str) -> list[Row]:
        return [
            {**row["position_info"], "company": POOL, "pool_location": POOL, "counterparty": POOL, "taker_qty": "0"}
            for row in self._rows.positions(account)
        ]

    def _assets(self) -> Row:
        found: Row = {}
        for contract in self._exchange.contracts.values():
            row = {"asset": contract.name, "is_dex": False, "name": listing.TITLES[contract.name]}
            found[contract.name] = [row | {"min_qty_tick": plain(contract.lot), "dex_token_details": None}]
        return found


def api_key_of(account: str) -> tuple[str, str]:
    """(key, secret as hex) of an account."""
    return str(uuid.UUID(bytes=keccak(account.encode())[:16])), keccak(b"secret of " + account.encode()).hex()


def _limits() -> Row:
    precision = {"min_decimal_figures": 2, "max_decimal_only_figures": 4, "max_significant_figures": 6}
    return {
        "min_order_notional": plain(listing.MIN_NOTIONAL),
        "max_order_notional": "1000000000000",
        "default_precision_requirements": precision,
    }
