"""The keyring refuses what is not safe, names file and key, and never shows a value."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle

import pytest

from core.clock import SimClock
from core.errors import ConfigError
from core.log import Log
from core.types import Venue
from executor.keyring import Keyring
from executor.signing import aster, hyperliquid

HL, ASTER = Venue("hyperliquid"), Venue("aster")
CANARY = "0x" + "c0ffee5a" * 8
ADDRESS = "0x5050A4F4b3f9338C3472dcC01A87C76A144b3c9c"
GOOD = f"HL_PRIVATE_KEY={CANARY}\nHL_USER_ADDRESS={ADDRESS}\nASTER_PRIVATE_KEY={CANARY}\nASTER_USER_ADDRESS={ADDRESS}\n"


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = Log("t", SimClock(), "debug", self.lines.append)


@pytest.fixture
def out() -> Lines:
    return Lines()


def secrets_file(tmp_path: pathlib.Path, text: str, mode: int = 0o600) -> pathlib.Path:
    path = tmp_path / "secrets.env"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_reads_keys_and_addresses(tmp_path: pathlib.Path, out: Lines) -> None:
    text = f"# keys\n\nexport HL_PRIVATE_KEY='{CANARY}'\nHL_USER_ADDRESS = {ADDRESS}\nOTHER=1\n"
    ring = Keyring.open(secrets_file(tmp_path, text), [HL], out.log)
    assert ring.secret("HL_PRIVATE_KEY").reveal() == CANARY
    assert ring.address("HL_USER_ADDRESS") == ADDRESS
    with pytest.raises(ConfigError, match="ASTER_PRIVATE_KEY: not opened"):
        ring.secret("ASTER_PRIVATE_KEY")
    with pytest.raises(ConfigError, match="ASTER_USER_ADDRESS: not opened"):
        ring.address("ASTER_USER_ADDRESS")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_wider_than_0600_is_refused(tmp_path: pathlib.Path, out: Lines, mode: int) -> None:
    path = secrets_file(tmp_path, GOOD, mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}.*chmod 600"):
        Keyring.open(path, [HL, ASTER], out.log)
    path.chmod(0o400)
    Keyring.open(path, [HL, ASTER], out.log)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("HL_PRIVATE_KEY", "HL_KEY"), "HL_PRIVATE_KEY: missing"),
        (GOOD.replace(f"HL_PRIVATE_KEY={CANARY}", "HL_PRIVATE_KEY="), "HL_PRIVATE_KEY: empty"),
        (GOOD + GOOD, "HL_PRIVATE_KEY: given twice"),
        (GOOD + f"just {CANARY}\n", "line 5: is not KEY=value"),
        (GOOD.replace(f"HL_PRIVATE_KEY={CANARY}", f"HL_PRIVATE_KEY={CANARY}ff"), "HL_PRIVATE_KEY: is not 64 hex"),
        (GOOD.replace(f"HL_PRIVATE_KEY={CANARY}", "HL_PRIVATE_KEY=0xab"), "HL_PRIVATE_KEY: is not 64 hex"),
        (GOOD.replace(ADDRESS, "0x1234"), "HL_USER_ADDRESS: is not an address"),
        (GOOD.replace(ADDRESS, ADDRESS.replace("A4F4b", "a4F4b")), "HL_USER_ADDRESS.*wrong checksum"),
        (GOOD.replace("ASTER_PRIVATE_KEY", "ASTER_API_KEY"), "ASTER_API_KEY: no longer of use; Aster issues no V1"),
    ],
)
def test_bad_content_names_file_and_key_but_no_value(
    tmp_path: pathlib.Path, out: Lines, text: str, message: str
) -> None:
    path = secrets_file(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        Keyring.open(path, [HL, ASTER], out.log)
    assert str(path) in str(caught.value)
    assert CANARY[2:] not in str(caught.value)


def test_missing_unreadable_odd_files(tmp_path: pathlib.Path, out: Lines) -> None:
    with pytest.raises(ConfigError, match=r"no such secrets file.*\.env\.example"):
        Keyring.open(tmp_path / "none", [HL], out.log)
    with pytest.raises(ConfigError, match="not a regular file"):
        Keyring.open(tmp_path, [HL], out.log)
    binary = secrets_file(tmp_path, "")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Keyring.open(binary, [HL], out.log)
    binary.write_bytes(b"#" * 70_000)
    with pytest.raises(ConfigError, match="larger than"):
        Keyring.open(binary, [HL], out.log)
    if os.geteuid() != 0:
        binary.chmod(0)
        with pytest.raises(ConfigError, match="cannot be read"):
            Keyring.open(binary, [HL], out.log)


def test_environment_is_never_read_and_is_scrubbed(
    tmp_path: pathlib.Path, out: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HL_PRIVATE_KEY", CANARY)
    with pytest.raises(ConfigError, match="HL_PRIVATE_KEY: missing"):
        Keyring.open(secrets_file(tmp_path, f"HL_USER_ADDRESS={ADDRESS}\n"), [HL], out.log)
    assert "HL_PRIVATE_KEY" not in os.environ
    assert any("secret_in_environment" in line for line in out.lines)


def test_canary_appears_nowhere(tmp_path: pathlib.Path, out: Lines) -> None:
    ring = Keyring.open(secrets_file(tmp_path, GOOD), [HL, ASTER], out.log)
    secret = ring.secret("HL_PRIVATE_KEY")
    signers = (
        hyperliquid.Signer(secret.reveal(), mainnet=False),
        aster.Signer(ring.secret("ASTER_PRIVATE_KEY").reveal(), user=ADDRESS, mainnet=False),
    )
    digits = CANARY[2:]
    for thing in (ring, secret, *signers, signers[0]._key):
        assert digits not in repr(thing)
        assert digits not in f"{thing}"
        with pytest.raises(TypeError):
            pickle.dumps(thing)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    out.log.error("slip", raw=CANARY, bare=digits, nested={"k": [CANARY]}, text=f"key is {digits}!")
    assert any("slip" in line for line in out.lines)
    assert not any(digits in line for line in out.lines)
