"""`tandem sandbox ...`: ask the local venues for their own truth, or shove their prices so that an edge appears."""

from __future__ import annotations

import argparse
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import orjson

from core.errors import EXIT_OK, BusyError, ConfigError
from ops.context import Context

TIMEOUT_S = 5.0


def add_arguments(made: argparse.ArgumentParser, common: Callable[[], argparse.ArgumentParser]) -> None:
    """`common` makes a parser of the options that every command takes: they may stand behind these verbs too."""
    verbs = made.add_subparsers(dest="what", required=True, metavar="WHAT")
    verbs.add_parser("state", help="every account of every sandbox venue, as the venues keep it", parents=[common()])
    basis = verbs.add_parser(
        "basis", help="shift one venue's price of a symbol; it decays like any other basis", parents=[common()]
    )
    basis.add_argument("venue")
    basis.add_argument("symbol")
    basis.add_argument("bps", type=float)
    price = verbs.add_parser("price", help="move the fair price of a symbol on every venue", parents=[common()])
    price.add_argument("symbol")
    price.add_argument("bps", type=float)
    serving = verbs.add_parser("serving", help="take a venue's port away, or give it back", parents=[common()])
    serving.add_argument("venue")
    serving.add_argument("on", choices=["on", "off"])


def run(context: Context, args: argparse.Namespace) -> int:
    match args.what:
        case "basis":
            answer = call(context, "basis", {"venue": args.venue, "symbol": args.symbol, "bps": args.bps})
        case "price":
            answer = call(context, "price", {"symbol": args.symbol, "bps": args.bps})
        case "serving":
            answer = call(context, "venue", {"venue": args.venue, "serving": args.on == "on"})
        case _:
            answer = call(context, "state", None)
    context.answer(answer)
    return EXIT_OK


def call(context: Context, what: str, body: dict[str, Any] | None) -> Any:
    """One request to the control endpoint. Raises ConfigError outside the sandbox, BusyError when it does not answer."""
    sandbox = context.loaded.config.sandbox
    if sandbox is None:
        raise ConfigError(f"{context.loaded.path}: has no [sandbox] table; this command is for the sandbox environment")
    url = f"http://127.0.0.1:{sandbox.control_port}/control/{what}"
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return orjson.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise ConfigError(f"sandbox refused {what}: {error.read().decode(errors='replace')}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise BusyError(f"{url}: the sandbox does not answer ({error}); is it running? supervisorctl status") from error
