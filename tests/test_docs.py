"""What the documents say exists, exists: paths, links, commands, make targets, programs, configuration keys, venues; what the
feature map calls missing is missing; the example secrets follow from the roster."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from core.config import flat, load
from core.roster import VENUES
from ops.cli import parser
from ops.env_example import example
from ops.sandbox.fault_kinds import Kind
from tests.e2e.system import PROGRAMS

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


DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
PAGES = [*DOCUMENTS, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "venues").glob("*.md"))]


def read(document: str) -> str:
    return (ROOT / document).read_text()


def quoted(document: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", read(document))


def verbs() -> set[str]:
    subparsers = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return set(subparsers[0].choices)


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z]+):", read("Makefile")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_named_exists(document: str) -> None:
    missing = []
    for text in quoted(document):
        for word in text.replace(",", " ").split():
            if word.startswith(ROOMS) and "<" not in word and "{" not in word:
                name = word.partition(":")[0].rstrip("/")
                found = list(ROOT.glob(name)) if "*" in name else [ROOT / name]
                if not found or not all(path.exists() for path in found):
                    missing.append(word)
    assert not missing, missing


@pytest.mark.parametrize("document", PAGES)
def test_every_link_leads_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(document))
    broken = [link for link in links if "://" not in link and not ((ROOT / document).parent / link).exists()]
    assert not broken, broken


def test_every_tandem_command_of_the_readme_parses() -> None:
    commands = re.findall(r"\.venv/bin/tandem ([^`\n]+?)(?:  |\n|`)", read("README.md"))
    assert len(commands) > 20
    for command in commands:
        words = [word.split("|")[0] for word in command.strip().split()]
        if "--help" not in words:
            parser().parse_args(words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_verb_and_make_target_named_exists(document: str) -> None:
    text = read(document)
    named = set(re.findall(r"`tandem ([a-z][a-z-]*)", text)) | set(re.findall(r"bin/tandem ([a-z][a-z-]*)", text))
    made = set(re.findall(r"(?m)(?:^ {4}|`)make ([a-z]+)", text))
    lacking = {line for line in text.splitlines() if "not yet" in line}
    promised = {verb for line in lacking for verb in re.findall(r"`tandem ([a-z][a-z-]*)", line)}
    assert named - promised <= verbs(), named - promised - verbs()
    assert made <= targets(), made - targets()


def test_every_program_of_the_readme_is_supervised() -> None:
    programs = re.findall(r"supervisorctl (?:start|stop|restart|pid) ([a-z:-]+)", read("README.md"))
    assert len(programs) > 3
    assert set(programs) <= {"all", *PROGRAMS.values()}, programs


def test_the_readme_counts_the_faults_there_are() -> None:
    assert "lists thirteen ways" in read("README.md")
    assert len(Kind) == 13


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_configuration_key_named_exists(document: str) -> None:
    """Written `[table] key`."""
    keys = {re.sub(r"\[.*?\]", "", key) for key in flat(load(ROOT / "config" / "sandbox.toml").config)}
    named = {f"{table}.{key}" for table, key in re.findall(r"`\[([a-z_.]+)\] ([a-z_]+)", read(document))}
    assert named <= keys, named - keys


@pytest.mark.parametrize("venue", [str(spec.name) for spec in VENUES])
def test_every_venue_has_its_page_and_the_readme_leads_there(venue: str) -> None:
    page = f"docs/venues/{venue}.md"
    assert (ROOT / page).exists(), f"{page} is missing"
    assert f"({page})" in read("README.md"), f"README.md does not link {page}"


def test_every_row_of_the_feature_map_is_shown_or_says_that_it_is_missing() -> None:
    rows = [line.strip("|").split("|") for line in read("docs/features.md").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() != "line"]
    assert len(rows) > 100
    for row in rows:
        assert len(row) == 3, row
        _, where, shown = (cell.strip() for cell in row)
        is_missing = "not yet" in where or where.startswith("no")
        assert "`" in shown or is_missing or shown in ("itself", "run by hand"), row


def test_a_command_that_the_feature_map_calls_missing_is_missing_and_no_other() -> None:
    section = read("docs/features.md").partition("## Commands\n")[2].partition("\n## ")[0]
    there: set[str] = set()
    missing: set[str] = set()
    for line in section.splitlines():
        if line.startswith("| `"):
            first, where = line.split("|")[1:3]
            named = {text.split()[0] for text in re.findall(r"`([a-z][^`]*)`", first) if not text.startswith("make ")}
            (missing if where.strip().startswith("not yet") else there).update(named)
    assert not missing & verbs(), missing & verbs()
    assert verbs() <= there, verbs() - there


def test_the_example_secrets_follow_from_the_roster() -> None:
    shipped = (ROOT / ".env.example").read_text()
    assert shipped == example(), "write it anew: .venv/bin/tandem config example > .env.example"


FORMER_NAMES = {
    "": ("BOT_LICENSE_KEY", "BOT_ENV_PATH", "BOT_LOCK_KILL_EXISTING", "BOT_LOCK_KILL_ALL"),
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
