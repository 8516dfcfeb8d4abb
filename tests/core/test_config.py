"""Every way to get a configuration wrong has one clear error that names file and key; nothing is half-applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import Loaded, flat, load
from core.errors import ConfigError
from core.roster import SPEC
from core.types import Venue
from tests.configuration import whole_text

ROOT = Path(__file__).resolve().parents[2]
TEXT = whole_text()


def write(tmp_path: Path, text: str) -> Path:
    directory = tmp_path / "config"
    directory.mkdir(exist_ok=True)
    path = directory / "x.toml"
    path.write_text(text)
    return path


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TEXT, old
    return write(tmp_path, TEXT.replace(old, new))


def load_sandbox() -> Loaded:
    return load(ROOT / "config" / "sandbox.toml")


@pytest.mark.parametrize("name", ["sandbox", "live"])
def test_the_shipped_environments_are_valid(name: str) -> None:
    assert load(ROOT / "config" / f"{name}.toml").config.venues


@pytest.mark.parametrize("venue", SPEC)
def test_every_venue_of_the_roster_takes_part_in_the_sandbox_by_its_own_file(venue: Venue) -> None:
    loaded = load_sandbox()
    assert venue in loaded.enabled_venues, f"config/venues/{venue}.toml has no [sandbox]"
    assert loaded.origin[f"venues.{venue}.rest_url"] == "venue file"
    assert loaded.origin[f"sandbox.venues.{venue}.port"] == "venue file"
    port = loaded.config.sandbox and loaded.config.sandbox.venues[venue].port
    assert f":{port}" in loaded.config.venues[venue].rest_url


def test_the_third_venues_own_settings(tmp_path: Path) -> None:
    lighter = load_sandbox().config.venues["lighter"]
    assert (lighter.nonce_mode.value, lighter.requests_per_min, lighter.auth_ttl_s) == ("skip", 4000, 600.0)
    for old, new, word in (
        ('nonce_mode = "skip"', 'nonce_mode = "guess"', "nonce_mode"),
        ("auth_ttl_s = 600.0", "auth_ttl_s = 30000.0", "auth_ttl_s"),
        ("verify_retries = 3", "verify_retries = -1", "verify_retries"),
        ("verify_ratio = 1.0", "verify_ratio = 1.5", "verify_ratio"),
    ):
        with pytest.raises(ConfigError, match=word):
            load(changed(tmp_path, old, new))


def test_origin_says_preset_file_or_default() -> None:
    origin = load_sandbox().origin
    assert origin["strategies.scalp.cooldown_s"] == "preset seed"
    assert origin["strategies.scalp.offset_window_s"] == "file"
    assert origin["books.spin"] == "default"
    assert set(flat(load_sandbox().config)) <= set(origin)


def test_the_file_beats_the_preset_and_the_preset_beats_nothing_else(tmp_path: Path) -> None:
    path = changed(tmp_path, 'preset = "seed"', 'preset = "seed_conservative"\nslippage_buffer_bps = 9.0')
    scalp = load(path).config.strategies.scalp
    assert (scalp.spread_entry_bps, scalp.slippage_buffer_bps, scalp.stop_basis_bps) == (35.0, 9.0, 50.0)


def test_the_fingerprint_follows_values_not_spelling(tmp_path: Path) -> None:
    same = changed(tmp_path, "# The sandbox environment", "# Another comment")
    assert load(same).fingerprint == load(write(tmp_path, TEXT)).fingerprint
    before = load(same).fingerprint
    assert load(changed(tmp_path, "max_order_usd = 2000.0", "max_order_usd = 2001.0")).fingerprint != before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_order_usd = 2000.0", "max_order_bps = 2000.0", ("risk.max_order_bps", "did you mean max_order_usd")),
        ("offset_window_s", "offset_window_ms", ("strategies.scalp.offset_window_ms", "did you mean offset_window_s")),
        ("seed = 20260101", "sed = 20260101", ("sandbox.sed", "did you mean seed")),
        ("max_order_usd = 2000.0", "max_order_usd = -1.0", ("risk.max_order_usd", "> 0")),
        ("max_order_usd = 2000.0", 'max_order_usd = "2000"', ("risk.max_order_usd", "expected `float`")),
        ("max_open_pairs = 6\n", "", ("risk.max_open_pairs", "missing", "no default")),
        ("[venues.aster]", "[venues.astr]", ("venues.astr", "no such venue", "hyperliquid")),
        ('preset = "seed"', 'preset = "brave"', ("strategies.scalp.preset", "brave", "conservative")),
        ("127.0.0.1:18101\"", "api.example.com\"", ("venues.hyperliquid.rest_url", "127.0.0.1 only")),
        ("leverage = { default = 3 }", "leverage = { default = 30 }", ("stop_leg_pct", "beyond liquidation at 30x")),
        ("leverage = { default = 3 }", "leverage = { BTC = 3 }", ("venues.aster.leverage", "needs a key 'default'")),
        ("scalp = 4000.0, ", "", ("risk.max_strategy_usd", "scalp")),
        ("[sandbox.venues.aster]\nport = 18102\norder_delay_ms = 30.0", "", ("sandbox.venues.aster", "missing")),
        ('order_entry = "rest"', 'order_entry = "fix"', ("venues.aster.order_entry", "ws, rest")),
        ("[risk]\n", '[execution]\nunknown_policy = "hope"\n\n[risk]\n',
         ("execution.unknown_policy", "wait_and_page, unwind_filled_leg, hedge_third_venue")),
        ("max_order_usd = 2000.0", "max_order_usd = inf", ("risk.max_order_usd", "inf", "finite")),
        ("max_order_usd = 2000.0", "max_order_usd = nan", ("risk.max_order_usd",)),
        ("[risk]\n", "[execution]\nflatten_ladder_bps = []\n\n[risk]\n", ("flatten_ladder_bps", "length >= 1")),
        ("[risk]\n", "[execution]\nflatten_ladder_bps = [30.0, -1.0]\n\n[risk]\n", ("flatten_ladder_bps", "> 0")),
        ("[risk]\n", "[execution]\nflatten_ladder_bps = [300.0, 30.0]\n\n[risk]\n", ("flatten_ladder_bps", "sort")),
        ("[risk]\n", "[execution]\nunhedged_unwind_quoted_s = 1.0\n\n[risk]\n",
         ("execution.unhedged_warn_s", "is above execution.unhedged_unwind_quoted_s")),
        ("[risk]\n", "[risk]\ndepeg_stop_pct = 0.2\n", ("risk.depeg_warn_pct", "is above risk.depeg_stop_pct")),
        ("[risk]\n", "[risk]\nmove_to_liq_close_pct = 8.0\n", ("move_to_liq_close_pct", "is above")),
        ("[run]", "[run", ("not valid TOML",)),
        ('environment = "sandbox"', 'environment = "prod"', ("run.environment", "prod")),
        ('name = "sandbox"', 'name = "../evil"', ("run.name",)),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    for word in words:
        assert word in text, text


def test_hedging_on_a_third_venue_needs_one(tmp_path: Path) -> None:
    policy = '[execution]\nunknown_policy = "hedge_third_venue"\n\n[risk]\n'
    three = TEXT.replace("[risk]\n", policy)
    assert load(write(tmp_path, three)).config.execution.unknown_policy == "hedge_third_venue"
    two = three.replace("[venues.lighter]\n", "[venues.lighter]\nenabled = false\n")
    with pytest.raises(
        ConfigError, match=r"execution\.unknown_policy: hedge_third_venue needs a third venue, and only 2"
    ):
        load(write(tmp_path, two))


def test_only_the_sandbox_may_scale_its_calendar(tmp_path: Path) -> None:
    live = whole_text("live").replace("[run]", "[run]\ntime_scale = 2.0")
    with pytest.raises(ConfigError, match=r"run\.time_scale"):
        load(write(tmp_path, live))
    load(changed(tmp_path, "[run]", "[run]\ntime_scale = 2.0"))


def test_a_missing_unreadable_or_binary_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load(tmp_path / "config" / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    path = tmp_path / "b.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path)


def test_paths_are_relative_to_the_project_not_to_the_shell(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT)
    loaded = load(path)
    assert loaded.state_dir == tmp_path / "var" / "sandbox"
    assert loaded.executor_socket == Path("/dev/shm/tandem-sandbox/executor.sock")


@pytest.mark.parametrize(
    ("table", "key"), [("strategies.scalp", "min_profit_bps"), ("risk", "min_edge_bps")], ids=["strategy", "executor"]
)
def test_losing_by_intent_is_for_the_sandbox_only(tmp_path: Path, table: str, key: str) -> None:
    assert load(changed(tmp_path, f"[{table}]\n", f"[{table}]\n{key} = -20.0\n"))
    live = whole_text("live")
    assert f"[{table}]\n" in live
    with pytest.raises(ConfigError, match=f"{table}.{key}: below 0"):
        load(write(tmp_path, live.replace(f"[{table}]\n", f"[{table}]\n{key} = -0.1\n")))
    assert load(write(tmp_path, live.replace(f"[{table}]\n", f"[{table}]\n{key} = 3.0\n")))
