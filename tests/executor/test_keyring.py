"""The keyring refuses what is not safe, names file and key, and never shows a value."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle

import msgspec
import pytest

from core.clock import SimClock
from core.errors import ConfigError
from core.log import Log
from core.roster import SPEC
from core.types import Venue
from core.venue_spec import Credential, Form
from executor import keyring
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


LIGHTER = Venue("lighter")
SCALAR = "c0ffee5a" * 10
LIGHTER_GOOD = f"LIGHTER_PRIVATE_KEY={SCALAR}\nLIGHTER_ACCOUNT_INDEX=123456\nLIGHTER_API_KEY_INDEX=5\n"


def test_scalar_keys_and_indices(tmp_path: pathlib.Path, out: Lines) -> None:
    ring = Keyring.open(secrets_file(tmp_path, LIGHTER_GOOD), [LIGHTER], out.log)
    assert ring.secret("LIGHTER_PRIVATE_KEY").reveal() == SCALAR
    assert (ring.address("LIGHTER_ACCOUNT_INDEX"), ring.address("LIGHTER_API_KEY_INDEX")) == ("123456", "5")
    out.log.error("slip", raw=SCALAR)
    assert not any(SCALAR in line for line in out.lines)


def test_other_names_are_taken_with_a_warning(tmp_path: pathlib.Path, out: Lines) -> None:
    text = f"API_KEY_PRIVATE_KEY=0x{SCALAR}\nACCOUNT_INDEX=123456\nAPI_KEY_INDEX=5\n"
    ring = Keyring.open(secrets_file(tmp_path, text), [LIGHTER], out.log)
    assert ring.address("LIGHTER_ACCOUNT_INDEX") == "123456"
    assert sum("credential_alias" in line for line in out.lines) == 3


def test_names_that_agree_are_one_and_names_that_disagree_are_refused(tmp_path: pathlib.Path, out: Lines) -> None:
    agree = LIGHTER_GOOD + f"API_KEY_PRIVATE_KEY=0x{SCALAR.upper()}\nACCOUNT_INDEX=123456\n"
    Keyring.open(secrets_file(tmp_path, agree), [LIGHTER], out.log)
    for line in (f"API_KEY_PRIVATE_KEY={'ab' * 40}", "ACCOUNT_INDEX=7", "API_KEY_INDEX=6"):
        with pytest.raises(ConfigError, match=r"LIGHTER_\w+ and \w+: name the same thing and disagree") as caught:
            Keyring.open(secrets_file(tmp_path, LIGHTER_GOOD + line + "\n"), [LIGHTER], out.log)
        assert SCALAR not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (SCALAR, SCALAR[:64], "LIGHTER_PRIVATE_KEY: is not 80 hex"),
        ("123456", "-1", "LIGHTER_ACCOUNT_INDEX: is not an account index"),
        ("123456", str(1 << 48), "LIGHTER_ACCOUNT_INDEX: .*below 2"),
        ("INDEX=5", "INDEX=3", "LIGHTER_API_KEY_INDEX: is not an API key index of 4 to 254"),
        ("INDEX=5", "INDEX=255", "LIGHTER_API_KEY_INDEX: is not"),
        ("INDEX=5", "INDEX=five", "LIGHTER_API_KEY_INDEX: is not"),
        ("LIGHTER_PRIVATE_KEY", "LIGHTER_API_KEY", "LIGHTER_API_KEY: no longer of use; Lighter signs with"),
    ],
)
def test_odd_lighter_values_are_named(tmp_path: pathlib.Path, out: Lines, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Keyring.open(secrets_file(tmp_path, LIGHTER_GOOD.replace(old, new)), [LIGHTER], out.log)


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


# ---- forms that a venue brings with it ------------------------------------------------------------------------------

BASE64 = Form(pattern=r"[A-Za-z0-9+/]{8,}={0,2}", says="base64")
ODD = Venue("odd")
ODD_SPEC = msgspec.structs.replace(
    SPEC[HL],
    name=ODD,
    credentials=(
        Credential("ODD_SECRET", aliases=("ODD_KEY",), form=BASE64),
        Credential("ODD_ENV", secret=False, form=Form(pattern="prod|testnet", says="prod or testnet")),
        Credential("ODD_TOKEN", form=BASE64, optional=True),
    ),
)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "SPEC", {ODD: ODD_SPEC})


@pytest.mark.usefixtures("odd")
def test_a_form_of_the_venues_own_is_checked_and_may_be_optional(tmp_path: pathlib.Path, out: Lines) -> None:
    ring = Keyring.open(secrets_file(tmp_path, "ODD_SECRET=aGVsbG8gd29ybGQ=\nODD_ENV=prod\n"), [ODD], out.log)
    assert (ring.secret("ODD_SECRET").reveal(), ring.address("ODD_ENV")) == ("aGVsbG8gd29ybGQ=", "prod")
    assert (ring.has("ODD_SECRET"), ring.has("ODD_ENV"), ring.has("ODD_TOKEN")) == (True, True, False)
    with pytest.raises(ConfigError, match="ODD_ENV: is not prod or testnet"):
        Keyring.open(secrets_file(tmp_path, "ODD_SECRET=aGVsbG8gd29ybGQ=\nODD_ENV=aGVsbG8gd29ybGQ=\n"), [ODD], out.log)
    with pytest.raises(ConfigError, match="ODD_TOKEN: is not base64"):
        Keyring.open(secrets_file(tmp_path, "ODD_SECRET=aGVsbG8gd29ybGQ=\nODD_ENV=prod\nODD_TOKEN=?\n"), [ODD], out.log)


@pytest.mark.usefixtures("odd")
def test_case_counts_where_a_form_is_verbatim(tmp_path: pathlib.Path, out: Lines) -> None:
    text = "ODD_SECRET=aGVsbG8gd29ybGQ=\nODD_KEY=AGVsbG8gd29ybGQ=\nODD_ENV=prod\n"
    with pytest.raises(ConfigError, match="ODD_SECRET and ODD_KEY: name the same thing and disagree"):
        Keyring.open(secrets_file(tmp_path, text), [ODD], out.log)
