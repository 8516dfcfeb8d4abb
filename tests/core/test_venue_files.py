"""A venue's own configuration file: it takes part by being there, the environment file overrides it key by key, and every
mistake is told by the file that holds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from core import venue_files
from core.config import Loaded, load
from core.errors import ConfigError
from core.roster import SPEC
from core.types import Venue
from tests.configuration import CONFIG, THREE

HL = Venue("hyperliquid")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped sandbox environment with three venues."""
    directory = tmp_path / "config"
    (directory / "venues").mkdir(parents=True)
    shutil.copy(CONFIG / "sandbox.toml", directory)
    shutil.copy(CONFIG / "live.toml", directory)
    for venue in THREE:
        shutil.copy(CONFIG / "venues" / f"{venue}.toml", directory / "venues")
    return directory / "sandbox.toml"


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + "\n" + text)


def change(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def fails(config: Path, *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config)
    for word in words:
        assert word in str(caught.value), caught.value


def venue_file(config: Path, venue: str = HL) -> Path:
    return config.parent / "venues" / f"{venue}.toml"


def test_a_venue_takes_part_by_its_file_alone(config: Path) -> None:
    assert load(config).enabled_venues == ("aster", "hyperliquid", "lighter")
    venue_file(config, "lighter").unlink()
    loaded = load(config)
    assert loaded.enabled_venues == ("aster", "hyperliquid")
    assert loaded.config.sandbox is not None
    assert list(loaded.config.sandbox.venues) == ["aster", "hyperliquid"]


def test_a_venue_without_a_table_for_the_environment_stays_out_of_it(config: Path) -> None:
    path = venue_file(config)
    text = path.read_text()
    path.write_text(text[: text.index("[live]")] + text[text.index("[server]\n") :])
    assert HL in load(config).enabled_venues
    assert HL not in load(config.with_name("live.toml")).config.venues


def test_the_environment_overrides_key_by_key_and_origins_tell(config: Path) -> None:
    change(config, "[risk]\n", "[venues.hyperliquid]\nmax_notional_usd = 1.5\nleverage = { BTC = 2 }\n\n[risk]\n")
    add(config, "[sandbox.venues.hyperliquid]\norder_delay_ms = 1.0\n")
    loaded = load(config)
    assert list(loaded.config.venues) == ["aster", "hyperliquid", "lighter"], "by name, whoever speaks first"
    venue = loaded.config.venues[HL]
    assert (venue.max_notional_usd, venue.leverage, venue.rest_url) == (
        1.5, {"BTC": 2, "default": 3}, "http://127.0.0.1:18101",
    )  # fmt: skip
    assert loaded.config.sandbox is not None
    assert loaded.config.sandbox.venues[HL].order_delay_ms == 1.0
    wanted = {
        "venues.hyperliquid.max_notional_usd": "file", "venues.hyperliquid.leverage.BTC": "file",
        "venues.hyperliquid.leverage.default": "venue file", "venues.hyperliquid.rest_url": "venue file",
        "venues.hyperliquid.testnet": "default", "sandbox.venues.hyperliquid.order_delay_ms": "file",
        "sandbox.venues.hyperliquid.port": "venue file",
    }  # fmt: skip
    assert {key: loaded.origin[key] for key in wanted} == wanted


def test_the_environment_may_leave_a_venue_out(config: Path) -> None:
    change(config, "[risk]\n", "[venues.aster]\nenabled = false\n\n[risk]\n")
    loaded = load(config)
    assert loaded.enabled_venues == ("hyperliquid", "lighter")
    assert "aster" in loaded.config.venues


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_notional_usd = 8000.0", "max_notional_bps = 8000.0", ("sandbox.max_notional_bps", "did you mean max_notional_usd")),
        ("max_notional_usd = 8000.0", "max_notional_usd = -1.0", ("sandbox.max_notional_usd", "> 0")),
        ("max_notional_usd = 1000.0", 'max_notional_usd = "x"', ("live.max_notional_usd", "expected `float`")),
        ("max_notional_usd = 1000.0", "", ("live.max_notional_usd", "missing")),
        ("order_delay_ms", "order_delay_s", ("server.order_delay_s", "did you mean order_delay_ms")),
        ("[live]", "[paper]", ("paper", "unknown key")),
        ("[server]\n", "[server\n", ("not valid TOML",)),
        ("127.0.0.1:18101\"", "example.com\"", ("sandbox.rest_url", "127.0.0.1 only")),
        ("default = 3", "default = 30", ("stop_leg_pct", "sandbox.leverage.default")),
        ("{ default = 3 }", "{ BTC = 3 }", ("leverage", "needs a key 'default'")),
        ("port = 18101", "port = 18102", ("server.port: 18102 is taken by", "aster.toml: server.port")),
        ("port = 18101", "port = 18100", ("server.port: 18100 is taken by", "sandbox.toml: sandbox.control_port")),
        ("[live]", "[sandbox.extra]\nx = 1\n\n[live]", ("sandbox.extra.x", "has no settings of its own")),
        ("[sandbox]\n", '[sandbox]\norder_entry = "fix"\n', ("sandbox.order_entry", "ws, rest")),
    ],
)  # fmt: skip
def test_a_mistake_in_a_venues_file_names_that_file(config: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    change(venue_file(config), old, new)
    fails(config, "venues/hyperliquid.toml", *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[venues.hyperliquid]\nmax_notional_bps = 1.0\n", ("venues.hyperliquid.max_notional_bps", "did you mean")),
        ("[venues.hyperliquid]\nmax_notional_usd = -1.0\n", ("venues.hyperliquid.max_notional_usd", "> 0")),
        ("[venues.hyperliquid]\nleverage = 3\n", ("venues.hyperliquid.leverage", "expected `object`")),
        ("[venues.astr]\nenabled = false\n", ("venues.astr", "no such venue")),
        ("[venues.hyperliquid.extra]\nx = 1\n", ("venues.hyperliquid.extra.x", "no settings of its own")),
        ('[venues]\nhyperliquid = "yes"\n', ("venues.hyperliquid", "expected `object`")),
    ],
)
def test_a_mistake_in_the_environments_file_names_that_one(config: Path, text: str, words: tuple[str, ...]) -> None:
    change(config, "[risk]\n", text + "\n[risk]\n")
    fails(config, f"{config}: ", *words)


def test_a_file_of_an_unknown_venue_is_told(config: Path) -> None:
    shutil.copy(venue_file(config), venue_file(config, "hyperliqiud"))
    fails(config, "venues/hyperliqiud.toml", "no such venue", "hyperliquid")


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    auth_url: str
    poll_s: float = 2.0


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hyperliquid with settings that no other venue has."""
    monkeypatch.setattr(venue_files, "SPEC", {**SPEC, HL: msgspec.structs.replace(SPEC[HL], extra=Own)})


@pytest.mark.usefixtures("own")
def test_a_venue_brings_settings_of_its_own(config: Path) -> None:
    for environment, following in (("sandbox", "[live]\n"), ("live", "[server]\n")):
        change(venue_file(config), following, f'[{environment}.extra]\nauth_url = "http://127.0.0.1:1"\n\n{following}')
    change(config, "[risk]\n", "[venues.hyperliquid.extra]\npoll_s = 5.0\n\n[risk]\n")
    loaded: Loaded = load(config)
    assert loaded.config.venues[HL].own(Own) == Own(auth_url="http://127.0.0.1:1", poll_s=5.0)
    assert loaded.origin["venues.hyperliquid.extra.auth_url"] == "venue file"
    assert loaded.origin["venues.hyperliquid.extra.poll_s"] == "file"
    live = load(config.with_name("live.toml"))
    assert live.origin["venues.hyperliquid.extra.poll_s"] == "default"
    assert live.config.venues[HL].own(Own).poll_s == 2.0


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("", ("sandbox.extra.auth_url", "missing")),
        ('[sandbox.extra]\nauth_url = 1\n', ("sandbox.extra.auth_url", "expected `str`")),
        ('[sandbox.extra]\nauth_url = "x"\npol_s = 1.0\n', ("sandbox.extra.pol_s", "did you mean poll_s")),
    ],
)  # fmt: skip
def test_a_mistake_in_settings_of_its_own_is_named(config: Path, extra: str, words: tuple[str, ...]) -> None:
    change(venue_file(config), "[live]", f"{extra}\n[live]")
    fails(config, "venues/hyperliquid.toml", *words)
