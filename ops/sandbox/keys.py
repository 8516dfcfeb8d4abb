"""Throw-away identities for the sandbox: a secrets file for the executor, and the public half for the venues.

Made once, when missing, from a random source that is passed in. The private keys are AGENT keys: the masters' keys are
thrown away at once, as nobody needs them here. Real files are never overwritten: if the secrets file exists, its
values are taken as they are, and only a venue that it says nothing of is added at its end.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
from coincurve import PrivateKey

from core.errors import ConfigError
from core.roster import SPEC, Form
from core.types import Venue
from ops.sandbox.ecgfp5 import KEY_BYTES, ORDER, public_key
from ops.sandbox.verify import keccak

ACCOUNTS_FILE = "sandbox_accounts.json"


class Identity(msgspec.Struct, frozen=True):
    """An account that a venue knows, no secret: `address` and `agents` as the venue names them.

    Mostly lower-case 0x addresses. Where accounts are numbers and keys have indices (Form.SCALAR_KEY), the address is the
    number in decimal and an agent is `<key index>:<public key in hex>`.
    """

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


def address_of(private_key: bytes) -> str:
    """The lower-case 0x address of a secp256k1 key."""
    return "0x" + keccak(PrivateKey(private_key).public_key.format(compressed=False)[1:])[-20:].hex()


def _make(secrets_file: Path, venue: str, rng: random.Random) -> Identity:
    """A master (its key forgotten) and an agent (its key appended to the secrets file)."""
    values = _new_values(venue, rng)
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    if not secrets_file.exists():
        secrets_file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lines = "# Throw-away agent keys of the sandbox; worth nothing anywhere else.\n" + lines
    descriptor = os.open(secrets_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)
    return _identity(venue, values)


def _new_values(venue: str, rng: random.Random) -> dict[str, str]:
    """A value for each of the venue's credentials."""
    made = {
        Form.ETHEREUM_KEY: lambda: "0x" + rng.randbytes(32).hex(),
        Form.ETHEREUM_ADDRESS: lambda: address_of(rng.randbytes(32)),
        Form.SCALAR_KEY: lambda: rng.randrange(1, ORDER).to_bytes(KEY_BYTES, "little").hex(),
        Form.ACCOUNT_INDEX: lambda: str(rng.randrange(100_000, 1_000_000)),
        Form.API_KEY_INDEX: lambda: str(rng.randrange(4, 255)),
    }
    return {credential.name: made[credential.form]() for credential in SPEC[Venue(venue)].credentials}


def _identity(venue: str, values: dict[str, str]) -> Identity:
    """The public half of a venue's credentials. Raises KeyError or ValueError when they are not all there and well formed."""
    by_form = {credential.form: values[credential.name] for credential in SPEC[Venue(venue)].credentials}
    if Form.SCALAR_KEY in by_form:
        secret = int.from_bytes(bytes.fromhex(by_form[Form.SCALAR_KEY].removeprefix("0x")), "little")
        agent = f"{int(by_form[Form.API_KEY_INDEX])}:{public_key(secret).hex()}"
        return Identity(str(int(by_form[Form.ACCOUNT_INDEX])), (agent,))
    key = bytes.fromhex(by_form[Form.ETHEREUM_KEY].removeprefix("0x"))
    return Identity(by_form[Form.ETHEREUM_ADDRESS].lower(), (address_of(key),))


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
        return _identity(venue, values)
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
