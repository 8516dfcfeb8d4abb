"""The typed tree of one environment's configuration. Units last in every key; bounds beside every number.

Sizes that can lose money (`[risk]`, leverage, strategy allocations) have no default here: the file or a preset says them.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
LadderStep = Annotated[float, Meta(gt=0.0, le=5_000.0)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]


Own = TypeVar("Own", bound=msgspec.Struct)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Root of every table: frozen, and an unknown key is an error."""


class Environment(enum.Enum):
    SANDBOX = "sandbox"
    LIVE = "live"


class Mode(enum.Enum):
    """How far a strategy may go: decide only (orders are not sent), or send."""

    SHADOW = "shadow"
    LIVE = "live"


class NonceMode(enum.Enum):
    """Where the next nonce of a key comes from."""

    OPTIMISTIC = "optimistic"  # counted here, read from the venue at start and after a refusal
    API = "api"  # read from the venue before every transaction
    SKIP = "skip"  # the wire clock, under the venue's permission to leave gaps


class RunConfig(Section, frozen=True, kw_only=True):
    name: Name  # names the directory in shared memory and every socket
    environment: Environment
    state_dir: str  # journal, ledger, logs; relative to the configuration file's parent directory
    lock_dir: str  # one lock per venue account, shared by every checkout on the box
    secrets_file: str  # KEY=value lines, 0600
    shm_dir: str = "/dev/shm"
    log_level: str = "info"
    time_scale: Annotated[float, Meta(ge=1.0, le=10_000.0)] = 1.0  # calendar clock; only the sandbox may exceed 1


class BooksConfig(Section, frozen=True, kw_only=True):
    capacity_slots: Annotated[int, Meta(ge=8, le=4096)] = 256
    ring_records: Annotated[int, Meta(ge=64, le=1 << 20)] = 4096
    account_page_kib: Annotated[int, Meta(ge=16, le=4096)] = 256
    decision_records: Annotated[int, Meta(ge=64, le=1 << 16)] = 2048
    spin: bool = False  # readers spin on a reserved core instead of sleeping on the bell


class FeedsConfig(Section, frozen=True, kw_only=True):
    symbols: tuple[str, ...]  # canonical; empty = all that at least two venues list
    max_quote_age_ms: Positive = 500.0
    proof_max_age_s: Positive = 3.0
    max_lag_ms: Positive = 500.0  # exchange lag less its rolling median
    silence_reconnect_s: Positive = 10.0  # nothing at all received on a socket
    backoff_initial_s: Positive = 0.25
    backoff_max_s: Positive = 15.0
    specs_refresh_s: Positive = 900.0
    liquidity_refresh_s: Positive = 10.0
    liquidity_size_usd: Positive = 1000.0


class VenueConfig(Section, frozen=True, kw_only=True):
    rest_url: str
    ws_url: str
    enabled: bool = True
    testnet: bool = True  # the signing network; the sandbox counts as testnet
    max_notional_usd: Positive  # one-leg notional over all symbols of this venue
    leverage: dict[str, Annotated[int, Meta(ge=1, le=125)]]  # per symbol; "default" for the rest
    order_entry: str = "ws"  # "ws" where the venue has it, else "rest"
    request_timeout_ms: Positive = 5000.0
    reconcile_interval_s: Positive = 5.0
    extra_cross_bps: NonNegative = 0.0
    taker_fee_bps: NonNegative | None = None  # None = as the account or the roster says
    requests_per_min: Count = 1200
    nonce_mode: NonceMode = NonceMode.OPTIMISTIC  # for venues with strictly sequential nonces
    auth_ttl_s: Annotated[float, Meta(ge=60.0, le=28_800.0)] = 600.0  # life of an auth token, where the venue has them
    error_cooldown_s: NonNegative = 2.0  # no new opening after a refused or lost transaction
    error_cooldown_auth_s: NonNegative = 30.0  # the same after a refused signature or token
    verify_retries: Annotated[int, Meta(ge=0, le=20)] = 3  # look-ups of an accepted order that nobody reported
    verify_delay_s: Positive = 0.7  # before each of them
    reserve_ratio: Fraction = 0.3  # of the request budget, kept for cancel and flatten
    extra: dict[str, Any] = {}  # what only this venue has, checked against its SPEC.extra when loaded

    def own(self, kind: type[Own]) -> Own:
        """`extra` as the venue's own struct (`SPEC.extra`), its defaults filled in."""
        return msgspec.convert(self.extra, kind)


class ExecutionConfig(Section, frozen=True, kw_only=True):
    cross_ticks: Annotated[int, Meta(ge=0, le=1000)] = 10
    min_cross_bps: NonNegative = 1.0
    max_cross_bps: Positive = 5.0
    complete_slippage_bps: Positive = 20.0  # bound for completing a short leg
    unwind_slippage_bps: Positive = 100.0
    unhedged_warn_s: Positive = 2.0
    unhedged_unwind_s: Positive = 5.0
    unhedged_unwind_quoted_s: Positive = 8.0  # with a leg on a venue that quotes before it trades
    thin_first_ratio: Annotated[float, Meta(ge=1.0)] = 4.0  # depths this far apart: the thin leg is sent first
    thin_first_cover: Annotated[float, Meta(ge=1.0)] = 3.0  # unless the thin side shows this many times the size
    exit_depth_bps: Positive = 100.0  # within which a pair's size must be closable before it is opened
    unknown_grace_s: Positive = 2.0  # beyond an order's expiry bound, before the position difference decides
    unknown_policy: str = "wait_and_page"  # | "unwind_filled_leg" | "hedge_third_venue", once a venue is unreachable
    unreachable_s: Positive = 30.0
    foreign_positions: str = "ignore"  # "ignore" | "close"
    owner_silent_s: Positive = 10.0
    rehearse_ms: NonNegative = 2.0  # 0 = never
    flatten_ladder_bps: Annotated[tuple[LadderStep, ...], Meta(min_length=1, max_length=20)] = (30.0, 100.0, 300.0)
    flatten_step_s: Positive = 2.0
    lock_wait_s: NonNegative = 30.0
    blind_stop_s: Positive = 30.0
    blind_page_s: Positive = 120.0
    flatten_when_blind: bool = False  # from the page on, close the readable legs of pairs with a blind one
    max_clock_offset_ms: Positive = 1000.0  # beyond it nothing new is signed for that venue (TRAPS T20)
    finished_pairs_kept: Count = 50


class RiskConfig(Section, frozen=True, kw_only=True):
    max_order_usd: Positive
    max_symbol_usd: Positive
    max_strategy_usd: dict[str, Positive]
    max_total_usd: Positive  # sum of one-leg notionals
    max_symbol_alloc: Fraction
    max_total_alloc: Fraction
    max_open_pairs: Count
    price_collar_bps: Positive  # limit price against the opposite touch
    symbol_exclusive: bool = True
    attempt_cooldown_s: NonNegative = 10.0
    blocklist: tuple[str, ...] = ()
    move_to_liq_warn_pct: Positive = 15.0
    move_to_liq_stop_pct: Positive = 10.0
    move_to_liq_reduce_pct: Positive = 7.0
    move_to_liq_close_pct: Positive = 4.0
    margin_used_warn: Fraction = 0.40
    margin_used_last: Fraction = 0.80
    min_edge_bps: Annotated[float, Meta(ge=-100.0, le=100.0)] = (
        0.0  # left after all costs; below 0: study, sandbox only
    )
    parity: dict[
        str, Positive
    ] = {}  # assumed USD value of each quote currency where no spot venue is enabled to tell it
    parity_max_age_s: Positive = 30.0  # a worth that was told longer ago is unknown: no new pairs across currencies
    depeg_warn_pct: Positive = 0.3  # from one dollar
    depeg_stop_pct: Positive = 1.0  # no new pairs across that currency


class ScalpConfig(Section, frozen=True, kw_only=True):
    """RULES 7. `preset` fills what the table leaves out."""

    enabled: bool
    mode: Mode
    preset: str = "default"
    venues: tuple[str, ...] = ()  # empty = all enabled perp venues
    spread_entry_bps: Positive
    slippage_buffer_bps: NonNegative
    min_profit_bps: Annotated[float, Meta(ge=-100.0)]  # below 0 = trade at a loss, to study; the sandbox only
    take_profit_ratio: Fraction
    stop_basis_bps: Positive
    stop_leg_pct: Positive
    max_hold_s: Positive
    cooldown_s: NonNegative
    alloc_per_trade: Fraction
    max_alloc: Fraction
    top_qty_ratio: Fraction
    ttl_ms: Positive
    offset_window_s: Positive
    offset_min_samples: Annotated[int, Meta(ge=2)]


class StrategiesConfig(Section, frozen=True, kw_only=True):
    scalp: ScalpConfig


class RecorderConfig(Section, frozen=True, kw_only=True):
    """What `tandem record` writes: raw frames by each feed, books' rings and decisions by the recorder process."""

    autostart: bool = False  # recording from the recorder's start on, without being asked
    directory: str = ""  # "" = recordings in the state directory
    max_file_mib: Annotated[float, Meta(ge=0.01, le=1024.0)] = 64.0  # compressed
    max_total_mib: Annotated[float, Meta(ge=0.1)] = 2048.0  # of each writer's files; the oldest go first
    queue_records: Annotated[int, Meta(ge=16, le=1 << 20)] = 8192  # between a feed and its writing thread
    queue_mib: Annotated[float, Meta(gt=0.0, le=1024.0)] = 32.0


class ExporterConfig(Section, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Port = 9108


class SandboxVenueConfig(Section, frozen=True, kw_only=True):
    port: Port  # 0 = any free one, written to the run directory's state file
    order_delay_ms: NonNegative = 70.0
    tier: str = ""  # account tier that rules the request budget; "" = the venue's base tier
    verify_ratio: Fraction = 1.0  # share of signatures checked in full where that is dear; digests always are


class SandboxConfig(Section, frozen=True, kw_only=True):
    seed: int
    control_port: Port
    venues: dict[str, SandboxVenueConfig] = {}  # mostly from config/venues/
    symbols: tuple[str, ...] = ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")
    balance_usd: Positive = 10_000.0
    quotes_per_s: Annotated[float, Meta(gt=0.0, le=10_000.0)] = 200.0  # in total over venues and symbols
    basis_sd_bps: NonNegative = 18.0
    basis_half_life_s: Positive = 15.0
    jump_bps: NonNegative = 60.0
    jump_every_s: Positive = 30.0


class VenueFile(Section, frozen=True, kw_only=True):
    """`config/venues/<venue>.toml`: a whole table per environment that the venue takes part in, and its sandbox's side."""

    sandbox: VenueConfig | None = None
    live: VenueConfig | None = None
    server: SandboxVenueConfig | None = None

    def of(self, environment: Environment) -> VenueConfig | None:
        """The table of one environment; None where the venue takes no part in it."""
        tables = {Environment.SANDBOX: self.sandbox, Environment.LIVE: self.live}
        return tables[environment]


class Config(Section, frozen=True, kw_only=True):
    """One environment, whole."""

    run: RunConfig
    books: BooksConfig = BooksConfig()
    feeds: FeedsConfig
    venues: dict[str, VenueConfig] = {}  # mostly from config/venues/
    execution: ExecutionConfig = ExecutionConfig()
    risk: RiskConfig
    strategies: StrategiesConfig
    exporter: ExporterConfig = ExporterConfig()
    recorder: RecorderConfig = RecorderConfig()
    sandbox: SandboxConfig | None = None
