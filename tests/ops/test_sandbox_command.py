"""`tandem sandbox`: only where there is one, and clear when it does not answer or refuses."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import Loaded
from ops import cli
from tests.ops.desk import ROOT, lay_out, parsed

Out = pytest.CaptureFixture[str]


class Control(http.server.BaseHTTPRequestHandler):
    """Echoes what it was asked; refuses the symbol NONE."""

    def do_GET(self) -> None:
        self._answer(200, {"asked": self.path})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("symbol") == "NONE":
            self._answer(400, {"error": "no such symbol"})
        else:
            self._answer(200, {"asked": self.path, "body": body})

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return lay_out(tmp_path)


@pytest.fixture
def control(loaded: Loaded) -> Iterator[None]:
    assert loaded.config.sandbox is not None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", loaded.config.sandbox.control_port), Control)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield
    server.shutdown()
    serving.join()
    server.server_close()


def tandem(loaded: Loaded, *words: str) -> int:
    return cli.main(["--config", str(loaded.path), "sandbox", *words])


@pytest.mark.usefixtures("control")
@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["state"], {"asked": "/control/state"}),
        (
            ["basis", "aster", "BTC", "80"],
            {"asked": "/control/basis", "body": {"venue": "aster", "symbol": "BTC", "bps": 80.0}},
        ),
        (["price", "ETH", "-25.5"], {"asked": "/control/price", "body": {"symbol": "ETH", "bps": -25.5}}),
        (["serving", "aster", "off"], {"asked": "/control/venue", "body": {"venue": "aster", "serving": False}}),
    ],
    ids=["state", "basis", "price", "serving"],
)
def test_each_verb_asks_the_control_endpoint(loaded: Loaded, capsys: Out, words: list[str], asked: object) -> None:
    for options in ([], ["--json"]):
        assert tandem(loaded, *words, *options) == 0
        assert parsed(capsys.readouterr().out) == asked


@pytest.mark.usefixtures("control")
def test_a_refusal_is_passed_on(loaded: Loaded, capsys: Out) -> None:
    assert tandem(loaded, "basis", "aster", "NONE", "1") == 78
    assert "sandbox refused basis" in (error := capsys.readouterr().err)
    assert "no such symbol" in error


def test_a_sandbox_that_is_away_is_75(loaded: Loaded, capsys: Out) -> None:
    assert tandem(loaded, "state") == 75
    error = capsys.readouterr().err
    assert "/control/state: the sandbox does not answer" in error
    assert "is it running? supervisorctl status" in error


def test_outside_the_sandbox_there_is_none(capsys: Out) -> None:
    assert cli.main(["--config", str(ROOT / "config" / "live.toml"), "sandbox", "state"]) == 78
    assert "has no [sandbox] table" in capsys.readouterr().err
