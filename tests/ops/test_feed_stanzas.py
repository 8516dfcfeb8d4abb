"""supervisord gets one feed per enabled venue, in one group, without anybody listing them."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from core.roster import VENUES
from core.settings import Environment
from core.types import Venue
from ops import feed_stanzas, supervision
from ops.context import Context
from tests.configuration import ROOT
from tests.ops.desk import CLOCK, lay_out

SANDBOX = Environment.SANDBOX


def parsed(text: str) -> configparser.RawConfigParser:
    read = configparser.RawConfigParser(strict=True)
    read.read_string(text)
    return read


def test_every_venue_gets_a_program_and_the_group_lists_them() -> None:
    names = [spec.name for spec in VENUES]
    read = parsed(feed_stanzas.stanzas(SANDBOX, names))
    programs = [f"feed-{name}" for name in names]
    assert read.sections() == ["group:feeds", *(f"program:{program}" for program in programs)]
    assert read["group:feeds"]["programs"] == ",".join(programs)
    for name in names:
        assert f"--venue {name} --config" in read[f"program:feed-{name}"]["command"]


def test_a_feed_is_supervised_like_the_other_programs() -> None:
    """Same keys in the same order, and the same values but for paths: the included file stands deeper."""
    feed = dict(parsed(feed_stanzas.stanzas(SANDBOX, [Venue("x")]))["program:feed-x"])
    shipped = parsed((ROOT / "supervisord.conf").read_text())
    exporter = dict(shipped["program:exporter"])
    assert list(feed) == list(exporter)
    own = {"command", "directory", "priority", "stdout_logfile"}
    assert {key: feed[key] for key in feed.keys() - own} == {key: exporter[key] for key in exporter.keys() - own}
    assert "var/%(ENV_TANDEM_ENV)s/supervisor/*.conf" in shipped["include"]["files"]


def test_without_a_venue_there_is_no_group() -> None:
    assert not parsed(feed_stanzas.stanzas(SANDBOX, [])).sections()


def test_it_is_written_once_and_anew_when_venues_change(tmp_path: Path) -> None:
    path = feed_stanzas.path_of(tmp_path, SANDBOX)
    assert feed_stanzas.write(tmp_path, SANDBOX, [Venue("a"), Venue("b")])
    assert not feed_stanzas.write(tmp_path, SANDBOX, [Venue("a"), Venue("b")])
    assert feed_stanzas.write(tmp_path, SANDBOX, [Venue("a")])
    assert "feed-b" not in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["feeds.conf"]


def test_preparing_makes_all_that_a_bare_supervisord_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = lay_out(tmp_path)
    (tmp_path / "supervisord.conf").write_text("[supervisord]\n")
    assert supervision.prepare(Context(loaded, CLOCK, False)) == 0
    assert "TANDEM_ENV=sandbox supervisord -c" in capsys.readouterr().out
    assert (tmp_path / "var" / "sandbox" / "log").is_dir()
    assert loaded.secrets_file.stat().st_mode & 0o777 == 0o600
    read = parsed(feed_stanzas.path_of(tmp_path, SANDBOX).read_text())
    assert read["group:feeds"]["programs"] == ",".join(f"feed-{venue}" for venue in loaded.enabled_venues)
