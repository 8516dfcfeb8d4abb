"""How the suite is dealt to its workers: whole files, and everything that starts real systems to one worker, first.

Two systems at once would share two cores with eight feeds each, and what such tests look at is time. All other tests have
run names, ports and directories of their own and may run beside them.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SYSTEMS = ("tests/e2e/", "tests/crash/")


class Dealing(LoadScopeScheduling):  # type: ignore[misc]
    """One scope per file, and one for all that starts systems."""

    def _split_scope(self, nodeid: str) -> str:
        return "systems" if nodeid.startswith(SYSTEMS) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Dealing:
    return Dealing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest scope begins first."""
    items.sort(key=lambda item: not item.nodeid.startswith(SYSTEMS))
