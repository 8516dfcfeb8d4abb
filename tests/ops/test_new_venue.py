"""`make venue NAME=ninth` in a copy of this checkout: every place gets its skeleton, no line that others share changes, the
rest runs on, and tests fail by name until each part is real."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError
from ops import new_venue
from ops.new_venue import PLACES, scaffold
from tests.configuration import ROOT

NAME = "ninth"
COPIED = ("core", "bookshm", "risk", "feeds", "strategies", "executor", "ops", "tests", "config", "docs")
FILES = ("pyproject.toml", "Makefile", "supervisord.conf", ".env.example", "README.md")
BUILT = "tests/conformance/test_built.py"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the ninth venue's skeletons."""
    root = tmp_path_factory.mktemp("checkout")
    for room in COPIED:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, root)
    before = fingerprints(root)
    done = run(root, "-m", "ops.new_venue", NAME, "--root", str(root))
    assert done.returncode == 0, done.stderr
    assert {path: mark for path, mark in fingerprints(root).items() if path in before} == before
    assert sorted(set(fingerprints(root)) - set(before)) == sorted(place.format(NAME) for place in PLACES)
    assert all(f"written: {place.format(NAME)}" in done.stdout for place in PLACES)
    return root


def fingerprints(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".pytest_cache" not in path.parts
    }


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, timeout=120, check=False)


def pytested(root: Path, *words: str) -> tuple[str, set[str]]:
    """(all that pytest said, the names of what failed)."""
    done = run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words)
    return done.stdout, set(re.findall(r"(?m)^(?:FAILED|ERROR) (\S+)", done.stdout))


def test_every_place_fails_by_its_name_and_no_other_venue_does(checkout: Path) -> None:
    said, failed = pytested(checkout, BUILT, "-k", f"{NAME} or aster")
    wanted = {f"{BUILT}::test_the_place_holds_more_than_a_skeleton[{NAME}-{place}]" for place in PLACES}
    assert failed == wanted, said
    for place in PLACES:
        assert f"{place.format(NAME)} is not built yet" in said


def test_the_suite_and_the_configuration_name_it_too(checkout: Path) -> None:
    said, failed = pytested(checkout, "tests/conformance/test_signer.py", "tests/core/test_config.py", "-k", NAME)
    assert f"NotBuilt: tests/conformance/{NAME}.py: DIALECT is not built yet" in said
    assert f"config/venues/{NAME}.toml has no [sandbox]" in said or "is not enabled" in said
    assert len(failed) >= 4
    assert all(f"[{NAME}" in each for each in failed)


def test_a_part_that_is_real_fails_no_more(checkout: Path) -> None:
    """The page of facts is written: one name less."""
    page = checkout / "docs" / "venues" / f"{NAME}.md"
    kept = page.read_text()
    page.write_text("# Ninth\n\n## 1. Hosts\nOne.\n")
    _, failed = pytested(checkout, BUILT, "-k", NAME)
    page.write_text(kept)
    assert len(failed) == len(PLACES) - 1
    assert not any("docs/" in each for each in failed)


def test_it_stands_in_the_roster_and_the_rest_runs_on_without_it(checkout: Path) -> None:
    """In the roster, in the example of secrets, on a port of its own; not enabled, so no program of it is started."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from core.config import load\nfrom core.roster import SPEC\n"
        "from core.settings import Environment\nfrom ops import env_example, feed_stanzas\n"
        "loaded = load('config/sandbox.toml')\n"
        f"assert '{NAME}' in SPEC and '{NAME}' in loaded.config.venues and '{NAME}' not in loaded.enabled_venues\n"
        f"assert '{NAME.upper()}_PRIVATE_KEY=' in env_example.example()\n"
        f"assert 'feed-{NAME}' not in feed_stanzas.stanzas(Environment.SANDBOX, loaded.enabled_venues)\n"
        "ports = [each.port for each in loaded.config.sandbox.venues.values()]\n"
        "assert len(set(ports)) == len(ports)\n"
    )
    done = run(checkout, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("feeds.main", ("--venue", NAME)),
        ("ops.sandbox.main", ()),
    ],
)
def test_a_venue_enabled_too_early_says_what_is_not_built(checkout: Path, program: str, words: tuple[str, ...]) -> None:
    """A wrong configuration (78), and the file that somebody still has to write."""
    text = (checkout / "config" / "sandbox.toml").read_text()
    config = checkout / "config" / "early.toml"
    shm = checkout / "shm"
    shm.mkdir(exist_ok=True)
    text = text.replace('name = "sandbox"', f'name = "early"\nshm_dir = "{shm}"')
    config.write_text(text.replace("[risk]\n", f"[venues.{NAME}]\nenabled = true\n\n[risk]\n", 1))
    done = run(checkout, "-m", program, *words, "--config", str(config))
    assert done.returncode == 78, done.stdout + done.stderr
    assert "is not built yet" in done.stdout


def test_the_skeletons_are_as_tidy_as_the_rest(checkout: Path) -> None:
    written = [place.format(NAME) for place in PLACES if place.endswith(".py")]
    for words in (("check",), ("format", "--check")):
        done = run(checkout, "-m", "ruff", *words, *written)
        assert done.returncode == 0, done.stdout
    said, failed = pytested(checkout, "tests/test_house.py")
    assert not {each for each in failed if NAME in each}, said


@pytest.mark.parametrize("name", ["", "X", "a", "two words", "../evil", "9th", "under_score", "x" * 22])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="lower-case letters"):
        scaffold(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_what_exists_is_never_overwritten_and_nothing_is_half_written(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprints(checkout)
    assert new_venue.main(["aster", "--root", str(checkout)]) == 78
    assert "core/specs/aster.py" in capsys.readouterr().err
    assert new_venue.main([NAME, "--root", str(checkout)]) == 78
    assert new_venue.main(["tenth", "--root", str(checkout / "docs")]) == 78
    assert "is no checkout" in capsys.readouterr().err
    assert fingerprints(checkout) == before
