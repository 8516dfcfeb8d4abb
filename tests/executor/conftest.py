"""One sandbox process per test module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.executor.sandbox_process import SandboxProcess, sandbox


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("box")) as running:
        yield running
