"""A planted key: whatever goes wrong, its value is in no log line, no exception, no outcome and no representation."""

from __future__ import annotations

import asyncio
import importlib
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import TandemError, VenueError
from core.log import Log
from executor.outcome import Unknown
from tests.executor.local_servers import http_reply, read_request, serve
from tests.executor.sandbox_process import SandboxProcess, Station

CANARY = "0x" + "c0ffee5a" * 8
SECRET_LINE = re.compile(r"(?m)^((?:HL|ASTER)_PRIVATE_KEY)=.*$")
VENUES = ("hyperliquid", "aster")


@pytest.fixture
def planted(box: SandboxProcess) -> Any:
    """The sandbox's secrets file with the canary as every key: valid, but nobody's agent."""
    path: Path = box.loaded.secrets_file
    original = path.read_text()
    path.write_text(SECRET_LINE.sub(rf"\1={CANARY}", original))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    yield
    path.write_text(original)


def leaks(text: object) -> bool:
    return CANARY[2:].lower() in str(text).lower()


def everything(station: Station) -> list[object]:
    """Representations of the gateway and all that hangs on it, two levels deep; not the masker's own list in the log."""
    gateway: Any = station.gateway
    parts = list(vars(gateway).values())
    deeper = [
        value
        for part in parts
        if hasattr(part, "__dict__") and not isinstance(part, Log)
        for value in vars(part).values()
    ]
    return [repr(each) for each in (gateway, *parts, *deeper)] + station.out.lines


@pytest.mark.parametrize("venue", VENUES)
async def test_wrong_key_is_refused_and_stays_hidden(box: SandboxProcess, planted: None, venue: str) -> None:
    station = Station(venue, box)
    with pytest.raises(VenueError) as caught:
        await station.gateway.start(station.events.append)
    shown = [caught.value, repr(caught.value), caught.getrepr(style="long", showlocals=False), *everything(station)]
    await station.gateway.close()
    assert not [each for each in shown if leaks(each)]


@pytest.fixture
async def echoing() -> AsyncIterator[int]:
    """A venue that answers every request with the request, as some do in their errors."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            writer.write(http_reply(head.encode() + body, 500))

    async with serve(script) as port:
        yield port


@pytest.mark.parametrize("venue", VENUES)
async def test_an_answer_that_repeats_the_request_shows_no_key(
    box: SandboxProcess, planted: None, echoing: int, venue: str
) -> None:
    station = Station(venue, box, rest_url=f"http://127.0.0.1:{echoing}", order_entry="rest")
    with pytest.raises(TandemError) as caught:
        await station.gateway.start(station.events.append)
    gateway: Any = station.gateway
    await gateway._order_lane.start()
    order = importlib.import_module(f"executor.venues.{venue}")._REHEARSAL
    outcome = await station.send(order)
    assert isinstance(outcome, Unknown), outcome
    assert not leaks(outcome)
    assert not leaks(caught.value)
    assert not [each for each in everything(station) if leaks(each)]
    await station.gateway.close()
