"""`config/venues/<venue>.toml`: one file per venue, beside the environment files, so that a venue joins without an edit.

Each holds a whole table per environment it takes part in and `[server]`, its side of the sandbox; it is checked whole by
itself, whichever environment is loaded. What the environment file says under `[venues.X]` and `[sandbox.venues.X]` lies
over it, key by key. A directory without `venues/` has no venue files: then the environment file says everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from core.config_errors import convert, read
from core.errors import ConfigError
from core.roster import SPEC
from core.settings import Environment, VenueFile
from core.types import Venue

DIRECTORY = "venues"
ORIGIN = "venue file"
VENUES = "venues"
SERVERS = "sandbox.venues"
_SERVER = "server"


class VenueFiles:
    """The venue files of one environment; says afterwards where a key of the whole came from."""

    def __init__(self, file: Path) -> None:
        """Read and check every file beside the environment file `file`. Raises ConfigError naming file and key."""
        self._file = file
        self._environment = ""
        self._paths: dict[str, Path] = {}
        self._raw: dict[str, dict[str, Any]] = {}
        self._given: set[str] = set()
        for path in sorted((file.parent / DIRECTORY).glob("*.toml")):
            name = path.stem
            if name not in SPEC:
                raise ConfigError(f"{path}: no such venue: {name}; the roster has {', '.join(SPEC)}")
            raw = read(path)
            whole = convert(path, raw, VenueFile)
            for environment in Environment:
                table = whole.of(environment)
                if table is not None:
                    own_settings(path, f"{environment.value}.extra", name, table.extra)
            self._paths[name], self._raw[name] = path, raw

    def lay_under(self, raw: dict[str, Any], environment: Environment) -> None:
        """Complete the environment's raw tables, venues in the order of their names."""
        self._environment = environment.value
        venues = _table(raw, VENUES)
        for name, tables in self._raw.items():
            table = tables.get(environment.value)
            if table is None:
                continue
            venues[name] = self._merged(f"{VENUES}.{name}", venues.get(name, {}), table)
            server = tables.get(_SERVER)
            sandbox = raw.get("sandbox")
            if server is not None and isinstance(sandbox, dict):
                servers = _table(sandbox, VENUES)
                servers[name] = self._merged(f"{SERVERS}.{name}", servers.get(name, {}), server)
        raw[VENUES] = dict(sorted(venues.items()))
        if isinstance(raw.get("sandbox"), dict) and isinstance(raw["sandbox"].get(VENUES), dict):
            raw["sandbox"][VENUES] = dict(sorted(raw["sandbox"][VENUES].items()))

    def origins(self) -> dict[str, str]:
        return dict.fromkeys(self._given, ORIGIN)

    def place(self, key: str) -> str:
        """The file that says `key`, and the key as it stands there: "FILE: KEY"."""
        if any(each == key or each.startswith(f"{key}.") for each in self._given):
            for prefix, table in ((VENUES, self._environment), (SERVERS, _SERVER)):
                name, _, rest = key.removeprefix(prefix + ".").partition(".")
                if key.startswith(prefix + ".") and name in self._paths:
                    return f"{self._paths[name]}: {table}.{rest}"
        return f"{self._file}: {key}"

    def _merged(self, prefix: str, over: Any, under: dict[str, Any]) -> Any:
        """`over` laid over `under`; a value that is no table where one is expected is left for the check to tell."""
        if not isinstance(over, dict):
            return over
        merged = dict(over)
        for key, value in under.items():
            if isinstance(value, dict) and isinstance(over.get(key, {}), dict):
                merged[key] = self._merged(f"{prefix}.{key}", over.get(key, {}), value)
            elif key not in over:
                merged[key] = value
                self._given.add(f"{prefix}.{key}")
        return merged


def own_settings(file: Path, key: str, venue: str, extra: dict[str, Any]) -> dict[str, Any]:
    """A venue's `extra` table checked against its SPEC.extra, defaults filled in. Raises ConfigError naming file and key."""
    kind = SPEC[Venue(venue)].extra
    if kind is None:
        if extra:
            raise ConfigError(f"{file}: {key}.{next(iter(extra))}: unknown key; {venue} has no settings of its own")
        return {}
    filled: dict[str, Any] = msgspec.to_builtins(convert(file, extra, kind, key))
    return filled


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    """A sub-table, made where there is none; one that is no table is replaced by an empty one and told by the check."""
    found = raw.setdefault(key, {})
    return found if isinstance(found, dict) else {}
