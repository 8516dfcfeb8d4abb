"""The words of faults: what traffic there is, what can go wrong with it, and what a venue tells of itself for that."""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

from ops.sandbox.garbage import SHAPES


class Traffic(enum.Enum):
    """What a request or a frame is about."""

    ORDERS = "orders"  # everything signed that changes state, and its answers
    READS = "reads"  # the account by REST
    MARKET = "market"  # public data, by REST and by stream
    PRIVATE = "private"  # the account by stream, and what opens such a stream


class Kind(enum.Enum):
    DISCONNECT = "disconnect"
    STALL = "stall"
    SLOW = "slow"
    HTTP_ERROR = "http_error"
    LOST_ANSWER = "lost_answer"
    REJECTED_NONCE = "rejected_nonce"
    EXPIRED_AUTH = "expired_auth"
    PARTIAL_FILL = "partial_fill"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    GAP = "gap"
    GARBAGE = "garbage"
    CLOCK_SKEW = "clock_skew"


class Value(NamedTuple):
    """The number that a kind takes, in `unit`."""

    unit: str
    default: float
    low: float
    high: float


class Rule(NamedTuple):
    """What may be asked of one kind. `times`: how often it strikes when neither a number nor a time is asked, 0 = until
    cleared. `ways`: variants, the first being the usual one."""

    says: str
    usual: tuple[Traffic, ...]
    allowed: tuple[Traffic, ...]
    times: int = 0
    value: Value | None = None
    ways: tuple[str, ...] = ("",)


_ORDERS, _READS, _MARKET, _PRIVATE = Traffic.ORDERS, Traffic.READS, Traffic.MARKET, Traffic.PRIVATE
_STREAMS = (_MARKET, _PRIVATE)
_REST = (_ORDERS, _READS, _MARKET)
_ALL = tuple(Traffic)

RULES: dict[Kind, Rule] = {
    Kind.DISCONNECT: Rule(
        "break connections: streams that carry the traffic, requests before they are read; without --times and --for, "
        "every such stream once, now", _STREAMS, _ALL),
    Kind.STALL: Rule("streams stay open and answer pings but bring no data", _STREAMS, _STREAMS),
    Kind.SLOW: Rule("hold answers and frames back", (_ORDERS, _READS), _ALL, value=Value("ms", 1000, 1, 60_000)),
    Kind.HTTP_ERROR: Rule(
        "answer with an HTTP status; 'executed' does the work first", (_ORDERS, _READS), _REST,
        value=Value("status", 503, 400, 599), ways=("refused", "executed")),
    Kind.LOST_ANSWER: Rule(
        "do the work, then never answer ('silent') or break the connection ('broken')", (_ORDERS,), (_ORDERS, _READS),
        times=1, ways=("silent", "broken")),
    Kind.REJECTED_NONCE: Rule("refuse the nonce", (_ORDERS,), (_ORDERS, _READS), times=1),
    Kind.EXPIRED_AUTH: Rule(
        "the agent (orders, reads) or the listen key and tokens of open streams (private) have run out", (_ORDERS,),
        (_ORDERS, _READS, _PRIVATE)),
    Kind.PARTIAL_FILL: Rule(
        "an order finds only this part of its size; 0 = nothing", (_ORDERS,), (_ORDERS,), times=1,
        value=Value("ratio", 0.5, 0.0, 1.0)),
    Kind.DUPLICATE: Rule("send frames again", _STREAMS, _STREAMS, value=Value("copies", 1, 1, 10)),
    Kind.REORDER: Rule("let frames be overtaken by later ones", _STREAMS, _STREAMS, value=Value("frames", 1, 1, 100)),
    Kind.GAP: Rule("leave frames of the book out", (_MARKET,), (_MARKET,), times=1),
    Kind.GARBAGE: Rule("send rubbish instead of frames and answers", _STREAMS, _ALL, ways=("any", *SHAPES)),
    Kind.CLOCK_SKEW: Rule(
        "the venue's clock is off: server time, Date header, event times, nonce windows", _ALL, _ALL,
        value=Value("s", 5, -3600, 3600)),
}  # fmt: skip


class Reply(NamedTuple):
    """An answer in the venue's own words."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Dialect(Protocol):
    """How one venue's traffic is told apart, and how it refuses. Pure."""

    auth: frozenset[Traffic]
    """The traffic that stands on something which can run out: an agent, a listen key, a token."""

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        """`path` with its query."""

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        """The stream traffic that a socket opened at `path` (with query) may carry."""

    def of_frame(self, frame: bytes) -> Traffic | None:
        """MARKET or PRIVATE; None for everything else a socket says: acknowledgements, pongs, answers to posts."""

    def is_book(self, frame: bytes) -> bool:
        """Whether a MARKET frame tells of a book, so that its absence is a gap."""

    def http_error(self, status: int) -> Reply: ...
    def refused_nonce(self) -> Reply: ...
    def expired_auth(self) -> Reply: ...
