"""How the suite is dealt to its workers: whole files, and everything that starts real systems to one worker, first.

Two systems at once would share two cores with eight feeds each, and what such tests look at is time. All other tests have
run names, ports and directories of their own and may run beside them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
SYSTEMS = frozenset({"e2e", "crash"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _starts_systems(item))  # stable; the longest group begins first
    for item in items:
        item.add_marker(pytest.mark.xdist_group("systems" if _starts_systems(item) else item.path.stem))


def _starts_systems(item: pytest.Item) -> bool:
    return bool(SYSTEMS.intersection(item.path.relative_to(ROOT).parts))
