"""Throw-away identities for the sandbox: a secrets file for the executor, and the public half for the venues.

Made once, when missing, from a random source that is passed in. The private keys are AGENT keys: the masters' keys are
thrown away at once, as nobody needs them here. Real files are never overwritten: if the secrets file exists, its
addresses are taken as they are.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
from coincurve import PrivateKey

from core.errors import ConfigError
from core.roster import SPEC
from core.types import Venue
from ops.sandbox.verify import keccak

ACCOUNTS_FILE = "sandbox_accounts.json"


class Identity(msgspec.Struct, frozen=True):
    """An account that a venue knows: lower-case addresses, no secret."""

    address: str
    agents: tuple[str, ...] = ()


def ensure(state_dir: Path, secrets_file: Path, venues: tuple[str, ...], rng: random.Random) -> dict[str, Identity]:
    """Both files, made where missing; the identities by venue. Raises ConfigError when they do not fit together."""
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    accounts = load_accounts(state_dir)
    if not secrets_file.exists():
        accounts = {venue: _make(secrets_file, venue, rng) for venue in venues}
    missing = [venue for venue in venues if venue not in accounts]
    if missing:
        accounts.update((venue, _from_secrets(secrets_file, venue)) for venue in missing)
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


def address_of(private_key: bytes) -> str:
    """The lower-case 0x address of a secp256k1 key."""
    return "0x" + keccak(PrivateKey(private_key).public_key.format(compressed=False)[1:])[-20:].hex()


def _make(secrets_file: Path, venue: str, rng: random.Random) -> Identity:
    """A master (its key forgotten) and an agent (its key appended to the secrets file)."""
    agent_key = rng.randbytes(32)
    master, agent = address_of(rng.randbytes(32)), address_of(agent_key)
    key_name, address_name = _names(venue)
    lines = f"{key_name}=0x{agent_key.hex()}\n{address_name}={master}\n"
    if not secrets_file.exists():
        secrets_file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lines = "# Throw-away agent keys of the sandbox; worth nothing anywhere else.\n" + lines
    descriptor = os.open(secrets_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)
    return Identity(master, (agent,))


def _from_secrets(secrets_file: Path, venue: str) -> Identity:
    """The identity that an existing secrets file speaks of."""
    values: dict[str, str] = {}
    for line in secrets_file.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith("#"):
            values[name.strip()] = value.strip()
    key_name, address_name = _names(venue)
    try:
        agent = address_of(bytes.fromhex(values[key_name].removeprefix("0x")))
        return Identity(values[address_name].lower(), (agent,))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{secrets_file}: {key_name} and {address_name} must hold a key and an address ({error}); "
            "remove the file and run `tandem setup` for new throw-away keys"
        ) from error


def _names(venue: str) -> tuple[str, str]:
    """The names of a venue's private key and user address, from the roster."""
    credentials = SPEC[Venue(venue)].credentials
    return (
        next(c.name for c in credentials if c.secret),
        next(c.name for c in credentials if not c.secret),
    )


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
