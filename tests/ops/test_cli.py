"""The command as people and scripts meet it: options in any place, exit codes, JSON, help, a reader that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops import cli
from tests.ops.desk import ROOT, Desk, lay_out, parsed

Out = pytest.CaptureFixture[str]
VERBS = (
    "status", "pairs", "positions", "orders", "why", "flatten", "halt", "resume", "reduce-only", "config", "doctor",
    "sandbox", "up", "prepare", "down",
)  # fmt: skip
ANSWERING = (
    ["status"],
    ["pairs"],
    ["positions"],
    ["orders"],
    ["why"],
    ["config", "check"],
    ["config", "show"],
    ["doctor"],
)


def tandem(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The installed command's entry, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *words], capture_output=True, text=True, input=stdin, cwd=ROOT, check=False,
        timeout=60, env={"PATH": os.defpath},
    )  # fmt: skip


@pytest.mark.parametrize("words", ANSWERING, ids=" ".join)
def test_every_answer_is_one_json_document(desk: Desk, capsys: Out, words: list[str]) -> None:
    desk.account()
    assert desk.tandem(*words, "--json") == 0
    shown = capsys.readouterr()
    assert parsed(shown.out) is not None
    assert shown.err == ""


def test_options_count_before_and_after_the_verb(desk: Desk, capsys: Out) -> None:
    path = str(desk.loaded.path)
    desk.account()
    said = []
    for words in (
        ["--config", path, "--json", "positions"],
        ["positions", "--json", "--config", path],
        ["--json", "positions", "--config", path],
        ["--config", "/nowhere.toml", "positions", "--json", "--config", path],
    ):
        assert cli.main(words) == 0
        said.append(capsys.readouterr().out)
    assert said == ["[]\n"] * 4


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: tandem {verb}" in text
    assert "--json" in text


def test_the_help_lists_every_verb(capsys: Out) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {verb} " in text for verb in VERBS)


@pytest.mark.parametrize(
    "words",
    [[], ["nonsense"], ["status", "--bogus"], ["why", "-n", "0"], ["why", "-n", "many"], ["config"], ["sandbox"],
     ["sandbox", "basis", "aster", "BTC", "much"], ["sandbox", "serving", "aster", "perhaps"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_64_and_never_the_code_of_a_residual(words: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usage: tandem" in shown.err


def test_a_wrong_configuration_is_78_and_names_file_and_key(desk: Desk, capsys: Out) -> None:
    text = desk.loaded.path.read_text()
    desk.loaded.path.write_text(text.replace("price_collar_bps", "price_collar_pct"))
    assert desk.tandem("config", "check") == 78
    error = capsys.readouterr().err
    assert error.startswith(f"tandem: {desk.loaded.path}: risk.price_collar_pct: unknown key")
    assert "did you mean price_collar_bps?" in error
    assert desk.tandem("status", "--json") == 78
    answer = parsed(capsys.readouterr().out)
    assert (answer["ok"], answer["exit_code"]) == (False, 78)
    assert "risk.price_collar_pct" in answer["error"]
    assert cli.main(["--config", "/nowhere.toml", "status"]) == 78
    assert "/nowhere.toml: no such configuration file" in capsys.readouterr().err


def test_a_run_that_is_not_up_says_how_to_start_it(tmp_path: Path, capsys: Out) -> None:
    loaded = lay_out(tmp_path)
    for verb in ("status", "pairs", "positions", "orders", "why"):
        assert cli.main(["--config", str(loaded.path), verb]) == 78
        shown = capsys.readouterr()
        assert shown.out == ""
        assert f"{loaded.run_dir}: no such run; start it (make run)" in shown.err


def test_config_show_has_every_value_with_its_origin_and_no_secret(desk: Desk, capsys: Out) -> None:
    desk.loaded.secrets_file.parent.mkdir(parents=True)
    desk.loaded.secrets_file.write_text("HYPERLIQUID_AGENT_KEY=0xcanary\n")
    assert desk.tandem("config", "show", "--json") == 0
    shown = parsed(capsys.readouterr().out)
    assert shown["risk.max_total_usd"] == {"value": 6000.0, "origin": "file"}
    assert shown["strategies.scalp.spread_entry_bps"]["origin"].startswith("preset ")
    assert shown["feeds.max_quote_age_ms"] == {"value": 500.0, "origin": "default"}
    assert desk.tandem("config", "show") == 0
    text = capsys.readouterr().out
    assert "canary" not in text
    assert desk.loaded.fingerprint in text
    assert all(key in text for key in shown)


@pytest.mark.parametrize("answer", ["", "no\n", "\n"])
def test_flatten_asks_and_does_nothing_without_a_yes(tmp_path: Path, answer: str) -> None:
    loaded = lay_out(tmp_path)
    done = tandem("--config", str(loaded.path), "--json", "flatten", stdin=answer)
    assert done.returncode == 64
    assert "Type yes to go on" in done.stderr
    assert parsed(done.stdout)["error"].startswith("not confirmed; nothing was done")
    assert not (loaded.state_dir / "halt.latch").exists()


def test_a_reader_that_goes_away_is_no_failure(desk: Desk) -> None:
    """Like `tandem config show | head -1`, with the reader gone before the first byte."""
    ours, theirs = os.pipe()
    os.close(ours)
    for words in (["config", "show"], ["config", "show", "--json"], ["status"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "--config", str(desk.loaded.path), *words],
            stdout=theirs, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={"PATH": os.defpath},
        )  # fmt: skip
        _, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (0, ""), words
    os.close(theirs)
