"""Request weight per IP and order count per account, in whole UTC minutes (docs/venues/aster.md 9).

Over the limit the venue answers 429; whoever goes on after that is banned with 418 for two minutes, longer each time.
Both counters are told in headers of every answer. Pure: the caller passes the time.
"""

from __future__ import annotations

from ops.sandbox.venues._aster_errors import ApiError, Code

WEIGHT_PER_MIN = 2400
ORDERS_PER_MIN = 1200
PATIENCE = 100  # requests answered 429 within one minute before the ban
BAN_MS = 120_000
BAN_MAX_MS = 3 * 86_400_000
MINUTE_MS = 60_000
_SUBJECTS_MAX = 1024  # IPs or accounts remembered per minute


class Limits:
    """Counters of the running minute. `charge` raises ApiError 429 or 418."""

    __slots__ = ("_banned_until_ms", "_bans", "_minute", "_orders", "_refused", "_weight", "orders_max", "weight_max")

    def __init__(self, weight_max: int = WEIGHT_PER_MIN, orders_max: int = ORDERS_PER_MIN) -> None:
        self.weight_max = weight_max
        self.orders_max = orders_max
        self._minute = -1
        self._weight: dict[str, int] = {}
        self._orders: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._bans: dict[str, int] = {}
        self._banned_until_ms: dict[str, int] = {}

    def charge(self, ip: str, weight: int, now_ms: int) -> None:
        """Count `weight` against `ip`. Refused requests count too, as everybody's do who does not back off."""
        self._roll(now_ms)
        until = self._banned_until_ms.get(ip, 0)
        if now_ms < until:
            raise _banned(until)
        used = self._weight[ip] = self._weight.get(ip, 0) + weight
        if used <= self.weight_max:
            return
        refused = self._refused[ip] = self._refused.get(ip, 0) + 1
        if refused > PATIENCE:
            times = self._bans[ip] = self._bans.get(ip, 0) + 1
            until = self._banned_until_ms[ip] = now_ms + min(BAN_MS * 2 ** (times - 1), BAN_MAX_MS)
            raise _banned(until)
        raise ApiError(
            Code.TOO_MANY_REQUESTS,
            f"Too many requests; current limit is {self.weight_max} requests per minute. Please use the websocket for "
            "live updates to avoid polling the API.",
            status=429,
        )

    def charge_orders(self, account: str, count: int, now_ms: int) -> None:
        """Count `count` new orders of `account`; raises 429 with -1015 over the limit."""
        self._roll(now_ms)
        used = self._orders.get(account, 0) + count
        if used > self.orders_max:
            raise ApiError(
                Code.TOO_MANY_ORDERS,
                f"Too many new orders; current limit is {self.orders_max} orders per MINUTE.",
                status=429,
            )
        self._orders[account] = used

    def headers(self, ip: str, account: str | None) -> dict[str, str]:
        """The counters as every answer carries them; the order count only when the caller is an account."""
        told = {"X-MBX-USED-WEIGHT-1M": str(self._weight.get(ip, 0))}
        if account is not None:
            told["X-MBX-ORDER-COUNT-1M"] = str(self._orders.get(account, 0))
        return told

    def retry_after_s(self, now_ms: int) -> int:
        """Seconds until the running minute ends, at least 1."""
        return max(1, (MINUTE_MS - now_ms % MINUTE_MS + 999) // 1000)

    def _roll(self, now_ms: int) -> None:
        minute = now_ms // MINUTE_MS
        if minute != self._minute or len(self._weight) > _SUBJECTS_MAX or len(self._orders) > _SUBJECTS_MAX:
            self._minute = minute
            self._weight.clear()
            self._orders.clear()
            self._refused.clear()


def _banned(until_ms: int) -> ApiError:
    return ApiError(
        Code.TOO_MANY_REQUESTS,
        f"Way too many requests; IP banned until {until_ms}. Please use the websocket for live updates to avoid bans.",
        status=418,
    )
