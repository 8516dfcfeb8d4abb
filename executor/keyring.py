"""The only reader of secrets: KEY=value lines of one file that nobody but its owner may read.

Nothing is taken from the environment: every child of a process inherits that, and /proc shows it. A credential found
there is dropped from our own environment and reported. Values leave this file only through `Secret.reveal()`, which the
signers call; `repr`, logs, pickles and exceptions never carry them, and the log masks them should anything else try.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from core.errors import ConfigError
from core.log import MASK, Log
from core.roster import SPEC
from core.types import Venue
from core.venue_spec import Credential, Spelling
from executor.signing._secp256k1 import checksummed

MAX_FILE_BYTES = 64 * 1024
_NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")


class Secret:
    """A value that shows itself to nobody who does not ask for it by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not leave its process")


class Keyring:
    """The credentials of the venues in use, checked for presence and form when opened."""

    __slots__ = ("_addresses", "_path", "_secrets")

    def __init__(self, path: Path, secrets: dict[str, Secret], addresses: dict[str, str]) -> None:
        self._path = path
        self._secrets = secrets
        self._addresses = addresses

    @classmethod
    def open(cls, path: Path, venues: Sequence[Venue], log: Log) -> Keyring:
        """Read `path` once for `venues`. Raises ConfigError naming file and key, never a value."""
        _scrub_environment(venues, log)
        lines = _parse(path, _read(path))
        secrets: dict[str, Secret] = {}
        addresses: dict[str, str] = {}
        for venue in venues:
            for credential in SPEC[venue].credentials:
                given = _take(path, venue, credential, lines, log)
                if given is None:
                    continue
                # Checked first: a fragment is an error of the file, not a thing to mask.
                value = _checked(path, credential, given)
                if credential.secret:
                    log.mask(value)
                    log.mask(value.lower())
                    secrets[credential.name] = Secret(value)
                else:
                    addresses[credential.name] = value
        return cls(path, secrets, addresses)

    def has(self, name: str) -> bool:
        """Whether an optional credential was given."""
        return name in self._secrets or name in self._addresses

    def secret(self, name: str) -> Secret:
        """A secret by its roster name, spelled as in the file; its form holds."""
        if name not in self._secrets:
            raise ConfigError(f"{self._path}: {name}: not opened; its venue is not enabled in this configuration")
        return self._secrets[name]

    def address(self, name: str) -> str:
        """What is no secret by its roster name, as written in the file; a number in decimal digits without leading zeros."""
        if name not in self._addresses:
            raise ConfigError(f"{self._path}: {name}: not opened; its venue is not enabled in this configuration")
        return self._addresses[name]

    def __repr__(self) -> str:
        return f"Keyring({self._path}, {len(self._secrets)} secrets {MASK})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring does not leave its process")


def _scrub_environment(venues: Sequence[Venue], log: Log) -> None:
    for venue in venues:
        for credential in SPEC[venue].credentials:
            for name in credential.names:
                if credential.secret and os.environ.pop(name, None) is not None:
                    log.warning("secret_in_environment", key=name, advice="ignored; keep it in the secrets file only")


def _read(path: Path) -> str:
    advice = "create it with KEY=value lines and mode 0600 (see .env.example), or correct run.secrets_file"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such secrets file; {advice}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check its owner and mode") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: is not a regular file; {advice}")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(f"{path}: has mode {mode:04o}, others may read the keys; run chmod 600 on it")
        data = os.read(fd, MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_FILE_BYTES} bytes; it should hold a few KEY=value lines")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; it should hold KEY=value lines") from None


def _parse(path: Path, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        name = name.removeprefix("export ").strip()
        if not equals or not _NAME.match(name):
            raise ConfigError(
                f"{path}: line {number}: is not KEY=value; write the key in capitals, then =, then the value"
            )
        if name in found:
            raise ConfigError(f"{path}: {name}: given twice (again in line {number}); keep one")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name] = value
    return found


def _take(path: Path, venue: Venue, credential: Credential, lines: dict[str, str], log: Log) -> str | None:
    given = {name: value for name in (credential.name, *credential.aliases) if (value := lines.get(name))}
    if len({_plain(credential.form.spelling, value) for value in given.values()}) > 1:
        raise ConfigError(
            f"{path}: {' and '.join(given)}: name the same thing and disagree; keep {credential.name} only"
        )
    if credential.name in given:
        return given[credential.name]
    for alias, value in given.items():
        log.warning("credential_alias", key=alias, advice=f"rename it to {credential.name} in {path}")
        return value
    retired = [name for name in credential.retired if lines.get(name)]
    if retired:
        raise ConfigError(f"{path}: {', '.join(retired)}: no longer of use; {credential.retired_advice}")
    if credential.optional:
        return None
    state = "empty" if credential.name in lines else "missing"
    raise ConfigError(f"{path}: {credential.name}: {state}; {venue} is enabled and needs it, add {credential.name}=...")


def _plain(spelling: Spelling, value: str) -> str:
    """Two ways to write one value are no disagreement."""
    if spelling is Spelling.VERBATIM:
        return value
    return value.lower().removeprefix("0x") if spelling is not Spelling.NUMBER else value.lstrip("0")


def _checked(path: Path, credential: Credential, value: str) -> str:
    """`value` if its form holds, numbers without leading zeros. No error quotes it: a secret may stand under a wrong name."""
    form = credential.form
    if not re.fullmatch(form.pattern, value, re.ASCII):
        raise ConfigError(f"{path}: {credential.name}: is not {form.says}; the value is not shown here")
    if form.spelling is Spelling.NUMBER:
        number = int(value)
        if not form.least <= number <= form.most:
            raise ConfigError(f"{path}: {credential.name}: is not {form.says}; the value is not shown here")
        return str(number)
    if form.spelling is Spelling.ADDRESS and not _is_checksummed(value):
        raise ConfigError(f"{path}: {credential.name}: has a wrong checksum (a mistyped digit?); copy it again")
    return value


def _is_checksummed(address: str) -> bool:
    """EIP-55: mixed case carries a checksum, one case carries none."""
    digits = address[2:]
    return digits in (digits.lower(), digits.upper()) or address == checksummed(bytes.fromhex(digits))
