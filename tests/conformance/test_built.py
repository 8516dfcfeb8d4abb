"""Every venue stands in every place, and none of it is a skeleton: what `make venue` wrote fails here, by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from core.errors import NotBuilt
from core.roster import VENUES
from ops.new_venue import PLACES, UNBUILT
from tests.configuration import ROOT

NAMES = [str(spec.name) for spec in VENUES]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_the_place_holds_more_than_a_skeleton(name: str, place: str) -> None:
    path = ROOT / place.format(name)
    if path.name == "README.md" and path.parent.is_dir() and not path.exists():
        return  # captured files may stand without a word
    assert path.exists(), f"{path.relative_to(ROOT)} is missing; `make venue` writes its skeleton"
    text = path.read_text()
    assert UNBUILT not in text, f"{path.relative_to(ROOT)} is {UNBUILT}"
    assert NotBuilt.__name__ not in text, f"{path.relative_to(ROOT)} still refuses"


def test_the_suite_itself_asks_nobody_which_venue_it_is() -> None:
    """Differences come from SPEC, Traits and dialect."""
    shared = [path for path in Path(__file__).parent.glob("*.py") if path.stem not in NAMES]
    wrong = [
        f"{path.name}:{node.lineno} {node.value!r}"
        for path in shared
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in NAMES
    ]
    assert len(shared) > 5
    assert not wrong, wrong
