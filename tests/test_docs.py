"""What the documents say exists, exists: paths of the feature map, commands of the README, keys of the example secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.roster import VENUES
from ops.cli import parser
from ops.env_example import example

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "core/",
    "bookshm/",
    "feeds/",
    "executor/",
    "strategies/",
    "risk/",
    "ops/",
    "tests/",
    "config/",
    "docs/",
    "scripts/",
)


def quoted(document: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", (ROOT / document).read_text())


@pytest.mark.parametrize("document", ["README.md", "docs/features.md", "docs/architecture.md"])
def test_every_path_named_exists(document: str) -> None:
    missing = []
    for text in quoted(document):
        for word in text.replace(",", " ").split():
            if word.startswith(ROOMS) and "<" not in word and "{" not in word:
                found = list(ROOT.glob(word.rstrip("/"))) if "*" in word else [ROOT / word.rstrip("/")]
                if not found or not all(path.exists() for path in found):
                    missing.append(word)
    assert not missing, missing


def test_every_tandem_command_of_the_readme_parses() -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"\.venv/bin/tandem ([^`\n]+?)(?:  |\n|`)", text)
    assert commands
    for command in commands:
        parser().parse_args([word.split("|")[0] for word in command.strip().split()])


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    named = set(re.findall(r"(?m)(?:^ {4}|`)make ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named <= targets, named - targets


def test_the_example_secrets_follow_from_the_roster() -> None:
    shipped = (ROOT / ".env.example").read_text()
    assert shipped == example(), "write it anew: .venv/bin/tandem config example > .env.example"


FORMER_NAMES = {
    "": ("BOT_LICENSE_KEY", "BOT_ENV_PATH"),
    "hyperliquid": ("HL_PRIVATE_KEY", "HL_USER_ADDRESS"),
    "aster": ("ASTER_API_KEY", "ASTER_API_SECRET"),
    "lighter": (
        "LIGHTER_API_KEY", "LIGHTER_PRIVATE_KEY", "LIGHTER_ACCOUNT_INDEX", "LIGHTER_API_KEY_INDEX", "API_KEY_PRIVATE_KEY",
        "ACCOUNT_INDEX", "API_KEY_INDEX", "LIGHTER_BASE_URL", "BASE_URL", "LIGHTER_WS_URL", "WEBSOCKET_URL",
        "LIGHTER_NONCE_MODE", "LIGHTER_AUTH_TTL_S", "LIGHTER_ERROR_COOLDOWN_S", "LIGHTER_ERROR_COOLDOWN_AUTH_S",
        "LIGHTER_VERIFY_RETRIES", "LIGHTER_VERIFY_DELAY_S", "LIGHTER_WALLET_ADDRESS", "LIGHTER_PUBLIC_KEY", "LIGHTER_ENV",
    ),
    "pacifica": ("SOL_WALLET", "API_PUBLIC", "API_PRIVATE"),
    "edgex": ("EDGEX_BASE_URL", "EDGEX_WS_URL", "EDGEX_ACCOUNT_ID", "EDGEX_STARK_PRIVATE_KEY"),
    "grvt": ("GRVT_API_KEY", "GRVT_PRIVATE_KEY", "GRVT_TRADING_ACCOUNT_ID", "GRVT_ENV"),
    "kraken": ("KRAKEN_API_KEY", "KRAKEN_API_SECRET"),
    "variational": ("VARIATIONAL_WALLET_ADDRESS", "VARIATIONAL_VR_TOKEN", "VARIATIONAL_PRIVATE_KEY"),
}  # fmt: skip
"""Names under which other programs' users keep what a venue of the roster ("" = none of them) needs."""


@pytest.mark.parametrize("venue", ["", *(spec.name for spec in VENUES)])
def test_the_example_tells_what_became_of_every_name_that_people_have(venue: str) -> None:
    words = set(re.findall(r"[A-Z][A-Z0-9_]+", (ROOT / ".env.example").read_text()))
    assert set(FORMER_NAMES.get(venue, ())) <= words


def test_the_example_names_every_credential_and_no_value() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = {line.split("=")[0]: line.split("=", 1)[1] for line in lines if "=" in line and not line.startswith("#")}
    wanted = {credential.name for spec in VENUES for credential in spec.credentials}
    assert set(names) == wanted
    assert not any(names.values())
    text = "\n".join(lines)
    for spec in VENUES:
        for credential in spec.credentials:
            for retired in credential.retired:
                assert retired in text, f"{retired} is retired and its users look here first"
