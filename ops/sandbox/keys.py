"""Throw-away identities for the sandbox: a secrets file for the executor, and the public half for the venues.

Made once, when missing, from a random source that is passed in. What an identity of a venue looks like is the venue's own
knowledge (`SandboxVenue.new_credentials` and `.identity`). Real files are never overwritten: if the secrets file exists,
its values are taken as they are, and only a venue that it says nothing of is added at its end.
"""

from __future__ import annotations

import importlib
import os
import random
from pathlib import Path

import msgspec

from core.errors import ConfigError
from core.roster import SPEC
from core.types import Venue
from ops.sandbox.venues.base import Identity, SandboxVenue

ACCOUNTS_FILE = "sandbox_accounts.json"


def venue_kind(name: str) -> type[SandboxVenue]:
    """The class that simulates a venue of the roster."""
    kind: type[SandboxVenue] = importlib.import_module(f"ops.sandbox.venues.{name}").SandboxVenue
    return kind


def ensure(state_dir: Path, secrets_file: Path, venues: tuple[str, ...], rng: random.Random) -> dict[str, Identity]:
    """Both files, made where missing; the identities by venue. Raises ConfigError when they do not fit together."""
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    accounts = load_accounts(state_dir)
    if not secrets_file.exists():
        accounts = {venue: _make(secrets_file, venue, rng) for venue in venues}
    missing = [venue for venue in venues if venue not in accounts]
    if missing:
        accounts.update((venue, _from_secrets(secrets_file, venue, rng)) for venue in missing)
    _write(state_dir / ACCOUNTS_FILE, msgspec.json.format(msgspec.json.encode(accounts)) + b"\n", 0o640)
    return accounts


def load_accounts(state_dir: Path) -> dict[str, Identity]:
    """The identities on file, empty if there is none. Raises ConfigError when the file is damaged."""
    file = state_dir / ACCOUNTS_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Identity])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: {error}; remove the file, `tandem setup` makes a new one") from error


def _make(secrets_file: Path, venue: str, rng: random.Random) -> Identity:
    """A new identity; its credentials are appended to the secrets file."""
    values = venue_kind(venue).new_credentials(rng)
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    if not secrets_file.exists():
        secrets_file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lines = "# Throw-away agent keys of the sandbox; worth nothing anywhere else.\n" + lines
    descriptor = os.open(secrets_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)
    return venue_kind(venue).identity(values)


def _from_secrets(secrets_file: Path, venue: str, rng: random.Random) -> Identity:
    """The identity that an existing secrets file speaks of; of a venue that it does not know at all, a new one is added."""
    values: dict[str, str] = {}
    for line in secrets_file.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith("#"):
            values[name.strip()] = value.strip()
    names = []
    for credential in SPEC[Venue(venue)].credentials:
        names.append(credential.name)
        given = [values[alias] for alias in credential.aliases if values.get(alias)]
        if credential.name not in values and given:
            values[credential.name] = given[0]
    if not any(name in values for name in names):
        return _make(secrets_file, venue, rng)
    try:
        return venue_kind(venue).identity(values)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{secrets_file}: {' and '.join(names)} must hold what {venue} needs ({error}); "
            "remove the file and run `tandem setup` for new throw-away keys"
        ) from error


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all; unchanged content is left alone."""
    if file.exists() and file.read_bytes() == content:
        return
    temporary = file.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(file)
