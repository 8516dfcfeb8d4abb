"""`tandem sandbox market`: what people type, what they read, and what they are told when it cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops import cli
from tests.feeds.test_feed_process import ROOT, World, until

SYNTHETIC = ROOT / "tests" / "fixtures" / "recordings" / "synthetic-two-venue"


class Desk:
    """A sandbox without anything else, and `tandem` on it."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory)
        shutil.copytree(ROOT / "config" / "recordings", self.world.config.parent / "recordings")
        self.world.start_sandbox()
        until(lambda: '"sandbox_ready"' in self.world.log("sandbox"), "the sandbox serves")

    def market(self, *words: str) -> int:
        return cli.main(["--config", str(self.world.config), "sandbox", "market", *words])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("market"))
    yield desk
    desk.world.close()


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def answered(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(shown(capsys))


def test_without_a_recording_it_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "report", "stop"):
        assert desk.market(verb) == 0
        assert "no recording is played" in shown(capsys)
        assert desk.market(verb, "--json") == 0
        assert answered(capsys) is None


def test_a_slice_on_chosen_venues_is_played_to_its_report(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    slice_ = ("--from", "2026-01-02T00:01:00", "--to", "2026-01-02T00:02:00", "--venues", "aster")
    assert desk.market(str(SYNTHETIC), *slice_, "--speed", "100", "--wait") == 0
    text = shown(capsys)
    assert "ended at 2026-01-02 00:01:58" in text
    assert "54 rows" in text
    assert "left out: hyperliquid BTC" in text
    assert "no trade" in text
    assert desk.market("report", "--json") == 0
    report = answered(capsys)
    assert report["pairs"] == []
    assert report["market"]["venues"][0]["fills"] == 0
    assert desk.market("stop") == 0
    assert "ended" in shown(capsys)


def test_status_tells_where_the_recording_stands(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.market(str(SYNTHETIC)) == 0
    assert "playing at 2026-01-02 00:00:0" in shown(capsys)
    assert desk.market("status", "--json") == 0
    assert answered(capsys)["market"]["state"] == "playing"
    assert desk.market("stop") == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("/nowhere",), "no such recording"),
        ((str(ROOT / "docs"),), "has no manifest"),
        ((str(SYNTHETIC), "--from", "noon"), "'noon' is not a time"),
        ((str(SYNTHETIC), "--from", "2027-01-01"), "nothing of it can be played"),
        ((str(SYNTHETIC), "--speed", "0"), "speed 0 is not within"),
        ((str(SYNTHETIC), "--venues", "kraken"), "nothing of it can be played here"),
    ],
)
def test_what_cannot_be_played_is_refused_with_its_reason(
    desk: Desk, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert desk.market(*words) == 78
    assert complaint in capsys.readouterr().err
    assert desk.market("status", "--json") == 0
    assert answered(capsys) is None, "a refusal changes nothing"


def test_outside_the_sandbox_there_is_nothing_to_play(capsys: pytest.CaptureFixture[str]) -> None:
    live = str(ROOT / "config" / "live.toml")
    assert cli.main(["--config", live, "sandbox", "market", str(SYNTHETIC)]) == 78
    assert "has no [sandbox] table" in capsys.readouterr().err
