"""The venues Tandem knows, found by themselves: every module of `core/specs` whose name does not begin with `_` is a venue
and exposes `SPEC`. Rooms load `<room>/venues/<name>.py` by that name, so a new venue edits nothing here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType

from core import specs
from core.errors import ConfigError
from core.types import Venue
from core.venue_spec import VenueSpec


def collect(modules: Iterable[ModuleType]) -> tuple[VenueSpec, ...]:
    """One row per module, by name. Raises ConfigError naming the module and what is wrong with its row."""
    rows: list[VenueSpec] = []
    owners: dict[str, str] = {}
    for module in sorted(modules, key=lambda each: each.__name__):
        name = module.__name__.rpartition(".")[2]
        row = getattr(module, "SPEC", None)
        if not isinstance(row, VenueSpec):
            raise ConfigError(
                f"{module.__name__}: has no SPEC: VenueSpec; add its row, or begin the module's name with _ if it is no venue"
            )
        if row.name != name:
            raise ConfigError(
                f"{module.__name__}: SPEC.name is {row.name!r}; the module's name is the venue's: {name!r}"
            )
        if all(credential.secret for credential in row.credentials):
            raise ConfigError(f"{module.__name__}: no credential names the account; one must not be secret")
        for credential in row.credentials:
            for word in credential.names:
                if word in owners:
                    raise ConfigError(f"{module.__name__}: the credential name {word} is taken by {owners[word]}")
                owners[word] = name
        rows.append(row)
    return tuple(rows)


def _modules() -> list[ModuleType]:
    found = (each.name for each in pkgutil.iter_modules(specs.__path__) if not each.name.startswith("_"))
    return [importlib.import_module(f"core.specs.{name}") for name in found]


VENUES: tuple[VenueSpec, ...] = collect(_modules())

SPEC: Mapping[Venue, VenueSpec] = {spec.name: spec for spec in VENUES}
