"""Reading a TOML file and saying in one sentence what is wrong with it: file, key, and what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from core.errors import ConfigError

_UNITS = ("_ns", "_us", "_ms", "_s", "_min", "_bps", "_pct", "_usd", "_ratio", "_ticks", "_kib")
_ERROR_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>.*)`)?$", re.DOTALL)

Kind = TypeVar("Kind", bound=msgspec.Struct)


def read(file: Path) -> dict[str, Any]:
    """The file as plain tables. Raises ConfigError."""
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


def convert(file: Path, raw: Any, kind: type[Kind], prefix: str = "") -> Kind:
    """`raw`, found in `file` under the key `prefix`, as `kind`. Raises ConfigError naming file and key."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(file, str(error), kind, prefix)) from error


def _explain(file: Path, message: str, kind: type[msgspec.Struct], prefix: str) -> str:
    match = _ERROR_PATH.match(message)
    what = match["what"] if match else message
    where = (match["where"] or "") if match else ""
    where = where.removeprefix("$.").removeprefix("$").replace("[...]", "")
    within = where
    where = ".".join(filter(None, (prefix, where)))
    unknown = re.search(r"unknown field `(.+?)`", what)
    if unknown:
        key = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{file}: {key}: unknown key{_suggest(kind, within, unknown[1])}"
    missing = re.search(r"missing required field `(.+?)`", what)
    if missing:
        key = f"{where}.{missing[1]}" if where else missing[1]
        return f"{file}: {key}: missing; it has no default, add it"
    return f"{file}: {where}: {what[0].lower()}{what[1:]}" if where else f"{file}: {what}"


def _suggest(kind: type[msgspec.Struct], where: str, key: str) -> str:
    names = _keys_of(kind, where)
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


def _keys_of(root: type[msgspec.Struct], where: str) -> list[str]:
    kind: Any = root
    for part in filter(None, where.split(".")):
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)} if _is_section(kind) else {}
        kind = fields.get(part, next((a for a in get_args(kind) if _is_section(a)), None))
        kind = next((a for a in get_args(kind) if _is_section(a)), kind)
    return [f.encode_name for f in msgspec.structs.fields(kind)] if _is_section(kind) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
