"""Loading one environment: TOML over preset over default, validated whole, with the origin of every value.

`load` either returns a complete frozen tree or raises ConfigError that names file and key and says what to do; nothing
is half-applied. Values come from, in order: the file, the strategy's preset, the default in core.settings.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from core.errors import ConfigError
from core.presets import PRESETS
from core.roster import SPEC
from core.settings import Config, Environment, Section
from core.types import Venue

_UNITS = ("_ns", "_us", "_ms", "_s", "_min", "_bps", "_pct", "_usd", "_ratio", "_ticks", "_kib")
_ERROR_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>.*)`)?$", re.DOTALL)


class Loaded(msgspec.Struct, frozen=True):
    """A configuration with where it came from. `origin` maps "table.key" to "file", "preset NAME" or "default"."""

    config: Config
    path: Path
    fingerprint: str
    origin: dict[str, str]

    def resolve(self, relative: str) -> Path:
        """A path of the configuration: absolute, or relative to the directory above the file's own (the project root)."""
        path = Path(relative).expanduser()
        return path if path.is_absolute() else (self.path.parent.parent / path).resolve()

    @property
    def state_dir(self) -> Path:
        return self.resolve(self.config.run.state_dir)

    @property
    def lock_dir(self) -> Path:
        return self.resolve(self.config.run.lock_dir)

    @property
    def secrets_file(self) -> Path:
        return self.resolve(self.config.run.secrets_file)

    @property
    def run_dir(self) -> Path:
        """The run's directory in shared memory."""
        return Path(self.config.run.shm_dir) / f"tandem-{self.config.run.name}"

    @property
    def recordings_dir(self) -> Path:
        """Where feeds and the recorder write."""
        named = self.config.recorder.directory
        return self.resolve(named) if named else self.state_dir / "recordings"

    @property
    def executor_socket(self) -> Path:
        return self.run_dir / "executor.sock"

    @property
    def enabled_venues(self) -> tuple[Venue, ...]:
        return tuple(Venue(name) for name, venue in self.config.venues.items() if venue.enabled)


def load(path: str | Path) -> Loaded:
    """Read and validate one environment file. Raises ConfigError."""
    file = Path(path).resolve()
    raw = _read(file)
    origin: dict[str, str] = {key: "file" for key, _ in _leaves(raw)}
    _apply_presets(file, raw, origin)
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(file, str(error))) from error
    for key, _ in _leaves(msgspec.to_builtins(config)):
        origin.setdefault(key, "default")
    _check(file, config)
    text = msgspec.json.encode(config, order="deterministic")
    return Loaded(config, file, hashlib.sha256(text).hexdigest()[:12], origin)


def flat(config: Config) -> dict[str, Any]:
    """Every value as "table.key": value, for `config show`."""
    return dict(_leaves(msgspec.to_builtins(config)))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such configuration file; give --config FILE or use config/sandbox.toml"
        ) from None
    except (PermissionError, IsADirectoryError) as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); check its owner and mode") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from error


def _apply_presets(file: Path, raw: dict[str, Any], origin: dict[str, str]) -> None:
    strategies = raw.get("strategies")
    if not isinstance(strategies, dict):
        return
    for name, table in strategies.items():
        known = PRESETS.get(name)
        if known is None or not isinstance(table, dict):
            continue
        preset = table.get("preset", "default")
        if preset not in known:
            choices = ", ".join(known)
            raise ConfigError(f"{file}: strategies.{name}.preset: no preset {preset!r}; choose one of {choices}")
        for key, value in known[preset].items():
            if key not in table:
                table[key] = value
                origin[f"strategies.{name}.{key}"] = f"preset {preset}"


def _check(file: Path, config: Config) -> None:
    """What one field alone cannot say."""
    for name in config.venues:
        if name not in SPEC:
            raise ConfigError(f"{file}: venues.{name}: no such venue; the roster has {', '.join(SPEC)}")
    run = config.run
    if run.environment is not Environment.SANDBOX and run.time_scale != 1.0:
        raise ConfigError(f"{file}: run.time_scale: only the sandbox environment may scale its calendar; set 1.0")
    if run.environment is Environment.SANDBOX:
        _check_sandbox(file, config)
    else:
        for key, value in (
            ("strategies.scalp.min_profit_bps", config.strategies.scalp.min_profit_bps),
            ("risk.min_edge_bps", config.risk.min_edge_bps),
        ):
            if value < 0:
                raise ConfigError(f"{file}: {key}: below 0 loses by intent; only the sandbox may; set 0 or more")
    for name in config.strategies.scalp.venues:
        if name not in config.venues or not config.venues[name].enabled:
            raise ConfigError(f"{file}: strategies.scalp.venues: {name!r} is not an enabled venue of this file")
    if "scalp" not in config.risk.max_strategy_usd and config.strategies.scalp.enabled:
        raise ConfigError(
            f"{file}: risk.max_strategy_usd: has no bound for the enabled strategy 'scalp'; add scalp = USD"
        )
    for name, venue in config.venues.items():
        _check_venue(file, name, venue.leverage, config)
    if config.execution.min_cross_bps > config.execution.max_cross_bps:
        raise ConfigError(f"{file}: execution.min_cross_bps: is above execution.max_cross_bps; lower it")
    if config.execution.unhedged_warn_s > config.execution.unhedged_unwind_s:
        raise ConfigError(f"{file}: execution.unhedged_warn_s: is above execution.unhedged_unwind_s; lower it")
    if config.run.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"{file}: run.log_level: {config.run.log_level!r} is not debug, info, warning or error")
    _check_words(file, config)


def _check_words(file: Path, config: Config) -> None:
    words = (
        ("execution.unknown_policy", config.execution.unknown_policy, ("wait_and_page", "unwind_filled_leg")),
        ("execution.foreign_positions", config.execution.foreign_positions, ("ignore", "close")),
        *((f"venues.{n}.order_entry", v.order_entry, ("ws", "rest")) for n, v in config.venues.items()),
    )
    for key, value, allowed in words:
        if value not in allowed:
            raise ConfigError(f"{file}: {key}: {value!r} is not one of {', '.join(allowed)}")


def _check_sandbox(file: Path, config: Config) -> None:
    if config.sandbox is None:
        raise ConfigError(f"{file}: sandbox: the sandbox environment needs a [sandbox] table; see config/sandbox.toml")
    for name, venue in config.venues.items():
        for key, url in (("rest_url", venue.rest_url), ("ws_url", venue.ws_url)):
            if not re.match(r"^(http|ws)://(127\.0\.0\.1|localhost)(:\d+)?(/|$)", url):
                raise ConfigError(
                    f"{file}: venues.{name}.{key}: {url!r} leaves this machine; the sandbox environment talks to 127.0.0.1 only"
                )
        if venue.enabled and name not in config.sandbox.venues:
            raise ConfigError(f"{file}: sandbox.venues.{name}: missing, though venues.{name} is enabled; add its port")
    for name in config.sandbox.venues:
        if name not in SPEC:
            raise ConfigError(f"{file}: sandbox.venues.{name}: no such venue; the roster has {', '.join(SPEC)}")


def _check_venue(file: Path, name: str, leverage: dict[str, int], config: Config) -> None:
    if "default" not in leverage:
        raise ConfigError(f"{file}: venues.{name}.leverage: needs a key 'default'")
    stop = config.strategies.scalp.stop_leg_pct
    for symbol, times in leverage.items():
        bound = 0.8 * (100.0 / times - 1.25)
        if stop > bound:
            raise ConfigError(
                f"{file}: strategies.scalp.stop_leg_pct: {stop:g} lies beyond liquidation at {times}x "
                f"(venues.{name}.leverage.{symbol}); at most {bound:.1f}, or lower the leverage"
            )


def _explain(file: Path, message: str) -> str:
    match = _ERROR_PATH.match(message)
    what = match["what"] if match else message
    where = (match["where"] or "") if match else ""
    where = where.removeprefix("$.").removeprefix("$").replace("[...]", "")
    unknown = re.search(r"unknown field `(.+?)`", what)
    if unknown:
        key = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{file}: {key}: unknown key{_suggest(where, unknown[1])}"
    missing = re.search(r"missing required field `(.+?)`", what)
    if missing:
        key = f"{where}.{missing[1]}" if where else missing[1]
        return f"{file}: {key}: missing; it has no default, add it"
    return f"{file}: {where}: {what[0].lower()}{what[1:]}" if where else f"{file}: {what}"


def _suggest(where: str, key: str) -> str:
    names = _keys_of(where)
    stem = _stem(key)
    same = [name for name in names if name != key and _stem(name) == stem]
    if same:
        return f"; the unit is part of the name: did you mean {same[0]}?"
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(names)}" if names else ""


def _stem(key: str) -> str:
    for unit in sorted(_UNITS, key=len, reverse=True):
        if key.endswith(unit):
            return key[: -len(unit)]
    return key


def _keys_of(where: str) -> list[str]:
    kind: Any = Config
    for part in filter(None, where.split(".")):
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)} if _is_section(kind) else {}
        kind = fields.get(part, next((a for a in get_args(kind) if _is_section(a)), None))
        kind = next((a for a in get_args(kind) if _is_section(a)), kind)
    return [f.encode_name for f in msgspec.structs.fields(kind)] if _is_section(kind) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
