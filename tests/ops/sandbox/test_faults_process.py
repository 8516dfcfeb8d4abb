"""Faults of the running sandbox: asked for and refused over its control endpoint, ended by time, gone with the process."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ops.sandbox.process import SandboxProcess


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("faults")) as process:
        yield process


def server_time_s(sandbox: SandboxProcess) -> float:
    url = f"http://127.0.0.1:{sandbox.ports['aster']}/fapi/v3/time"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return int(json.loads(answer.read())["serverTime"]) / 1000


def active(sandbox: SandboxProcess, venue: str) -> list[Any]:
    rows: list[Any] = sandbox.control("faults")["venues"][venue]["active"]
    return rows


def test_a_fault_strikes_its_venue_only_and_ends_by_itself(sandbox: SandboxProcess) -> None:
    asked = sandbox.control("fault", {"venue": "aster", "kind": "clock_skew", "value": 50, "for_s": 1.0})
    assert asked["fault"]["number"] == active(sandbox, "aster")[0]["number"]
    assert active(sandbox, "hyperliquid") == []
    assert server_time_s(sandbox) - time.time() == pytest.approx(50, abs=2)
    deadline = time.monotonic() + 10
    while abs(server_time_s(sandbox) - time.time()) > 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert active(sandbox, "aster") == []
    finished = sandbox.control("faults")["venues"]["aster"]["finished"]
    assert finished[-1]["number"] == asked["fault"]["number"]


def test_faults_are_cleared_one_by_one_by_venue_or_all(sandbox: SandboxProcess) -> None:
    for venue in ("aster", "aster", "hyperliquid"):
        sandbox.control("fault", {"venue": venue, "kind": "slow"})
    number = active(sandbox, "aster")[0]["number"]
    assert sandbox.control("clear", {"venue": "aster", "number": number}) == {"cleared": 1}
    assert sandbox.control("clear", {"venue": "aster"}) == {"cleared": 1}
    assert sandbox.control("clear", {}) == {"cleared": 1}
    assert sandbox.control("clear", {}) == {"cleared": 0}


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("fault", {"venue": "nowhere", "kind": "slow"}, "no venue 'nowhere'"),
        ("fault", {"venue": "aster", "kind": "explode"}, "Invalid enum value 'explode'"),
        ("fault", {"venue": "aster", "kind": "gap", "traffic": ["private"]}, "here it can strike market"),
        ("fault", {"venue": "aster", "kind": "slow", "forever": True}, "unknown field `forever`"),
        ("fault", {"venue": "hyperliquid", "kind": "expired_auth", "traffic": ["reads"]}, "can strike orders"),
        ("clear", {"venue": "nowhere"}, "no venue 'nowhere'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    sandbox: SandboxProcess, path: str, body: dict[str, Any], text: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        sandbox.control(path, body)
    assert refused.value.code == 400
    assert text in refused.value.read().decode()
    refused.value.close()


def test_a_restarted_sandbox_behaves(sandbox: SandboxProcess) -> None:
    sandbox.control("fault", {"venue": "aster", "kind": "http_error", "traffic": ["market"], "value": 500})
    with pytest.raises(urllib.error.HTTPError) as refused:
        server_time_s(sandbox)
    refused.value.close()
    assert sandbox.stop() == 0
    sandbox.start()
    assert active(sandbox, "aster") == []
    assert abs(server_time_s(sandbox) - time.time()) < 2
