"""The event loops of the executor's tests, and one sandbox process per test module that asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.executor.sandbox_process import SandboxProcess, sandbox

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
BOTH: Mapping[str, LoopFactory] = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
PLAIN: Mapping[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
PRODUCTION: Mapping[str, LoopFactory] = {"uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Sockets are watched by the loop: lanes run on both loops, gateways on the one that production runs."""
    if item.path.name == "test_lanes.py":
        return BOTH
    return PRODUCTION if item.path.name.startswith("test_gateway") else PLAIN


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("box")) as running:
        yield running
