"""The `tandem` command. Every verb takes --config FILE (config/sandbox.toml by default) and --json.

Exit codes, the same for every verb: 0 done; 2 flatten left a residual; 64 wrong usage; 69 what is asked is away;
70 broken invariant; 75 somebody else is in the way, try again; 77 refused; 78 wrong configuration; 130 interrupted.
With --json an error too is a document on stdout: {"ok": false, "exit_code": ..., "error": ...}.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from core.config import flat, load
from core.errors import (
    EXIT_BUSY,
    EXIT_CONFIG,
    EXIT_INVARIANT,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    BusyError,
    ConfigError,
    InvariantError,
    VenueError,
)
from core.log import Log
from core.types import TradingState, Venue
from ops import (
    control,
    doctor,
    env_example,
    flatten,
    funding_table,
    market_command,
    market_tables,
    pair_command,
    record_command,
    sandbox_command,
    screens,
    supervision,
    trial_command,
)
from ops.context import ROOT, Context, clock

EXIT_INTERRUPTED = 130
DEFAULT_CONFIG = ROOT / "config" / "sandbox.toml"
ABOUT = "Two-legged arbitrage across venues."
EPILOG = """`tandem COMMAND --help` says more. Exit codes: 0 done; 2 flatten left a residual; 64 wrong usage; 69 what is asked is
away; 70 broken invariant; 75 somebody else is in the way, try again; 77 refused; 78 wrong configuration; 130 interrupted."""


def entry() -> int:
    """What the installed command runs."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as `head` does; nothing is left to tell anybody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    return code


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    as_json: bool = args.json
    try:
        context = Context(load(args.config), clock(), as_json)
        run: Callable[[Context, argparse.Namespace], int] = args.run
        return run(context, args)
    except ConfigError as error:
        return _fail(str(error), EXIT_CONFIG, as_json)
    except BusyError as error:
        return _fail(str(error), EXIT_BUSY, as_json)
    except VenueError as error:
        return _fail(str(error), EXIT_UNAVAILABLE, as_json)
    except InvariantError as error:
        return _fail(f"broken invariant: {error}", EXIT_INVARIANT, as_json)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED, as_json)


class Parser(argparse.ArgumentParser):
    """Wrong usage exits 64: argparse's own 2 would read as flatten's residual."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="tandem", description=ABOUT, epilog=EPILOG, parents=[_common(str(DEFAULT_CONFIG), False)])
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, text: str, run: Callable[[Context, argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name, help=text, description=text, parents=[_common(argparse.SUPPRESS, argparse.SUPPRESS)]
        )
        made.set_defaults(run=run)
        return made

    verb("status", "quotes with ages, positions, hedge quality, PnL", lambda c, a: screens.status(c))
    verb("pairs", "open and finished pairs", lambda c, a: screens.pairs(c))
    verb("positions", "positions by venue, ours and as the venue says", lambda c, a: screens.positions(c))
    verb("orders", "orders that are not final", lambda c, a: screens.orders(c))
    why = verb(
        "why", "the latest decisions and refusals, with their numbers", lambda c, a: screens.why(c, a.symbol, a.count)
    )
    why.add_argument("symbol", nargs="?", help="canonical symbol, for example BTC; all when left out")
    why.add_argument("-n", "--count", type=_count, default=40, help="how many (default 40)")
    _add_flatten(verb("flatten", "emergency close; exit code 0 only when flat", _flatten))
    halt = verb("halt", "deny strategies everything but closing", _state(TradingState.HALTED))
    halt.add_argument("reason", nargs="?", default="operator")
    resume = verb("resume", "trade again; the only way out of halted", _state(TradingState.ACTIVE))
    resume.add_argument("reason", nargs="?", default="operator")
    reduce_only = verb("reduce-only", "exits run, nothing increases exposure", _state(TradingState.REDUCING))
    reduce_only.add_argument("reason", nargs="?", default="operator")
    config = verb("config", "check or show the configuration; or print .env.example", _config)
    config.add_argument("what", choices=["check", "show", "example"])
    symbols = {
        "markets": ("contracts of every venue: ticks, lots, minimums", market_tables.markets),
        "funding": ("what every venue pays, and the best pair of each symbol", funding_table.funding),
        "spreads": ("what crossing two venues captures now, after fees", market_tables.spreads),
        "leverage": ("configured, as the venue says, and its maximum", market_tables.leverage),
        "capacity": ("how large a pair the balances allow", market_tables.capacity),
    }
    for name, (text, table) in symbols.items():
        verb(name, text, _of_symbol(table)).add_argument("symbol", nargs="?", help="only this canonical symbol")
    everything = verb(
        "funding-all", "the best pair of every symbol", lambda c, a: funding_table.funding_all(c, a.symbols)
    )
    everything.add_argument("--symbols", metavar="A,B", help="only these")
    traded = verb("volume", "24 h volume and open interest", lambda c, a: market_tables.volume(c, a.symbol, a.min_usd))
    traded.add_argument("symbol", nargs="?", help="only this canonical symbol")
    traded.add_argument("--min-usd", type=float, default=5e6, help="what a leg should have (default 5e6)")
    verb("balances", "every venue's account", lambda c, a: market_tables.balances(c))
    opened = verb("open", "open one pair by hand", pair_command.run_open)
    pair_command.add_arguments(opened, verb("close", "close pairs by hand", pair_command.run_close))
    trial_command.add_arguments(
        verb("test", "rehearse with one small pair, asking before each step", _trial(asks=True)),
        verb("test-auto", "the same unattended; always cleans up", _trial(asks=False)),
        verb("test-leverage", "set leverage and read it back", trial_command.run_leverage),
    )
    verb("doctor", "preflight: what would keep this box from trading", lambda c, a: doctor.doctor(c))
    sandbox = verb("sandbox", "the local venues: books, prices, faults, recordings", sandbox_command.run)
    sandbox_command.add_arguments(sandbox, lambda: _common(argparse.SUPPRESS, argparse.SUPPRESS))
    record = verb("record", "raw frames, quotes and decisions to disk: start, stop, status", record_command.run)
    record_command.add_arguments(record)
    replayed = verb("replay", "a recorded market through scalp's decisions, with a report of what came of it", _replay)
    replayed.add_argument("recording", help="a folder of recorded quotes, or its manifest")
    replayed.add_argument("more", nargs=argparse.REMAINDER, help="--entry-bps X, --min-profit-bps X, --preset-window")
    up = verb("up", "start supervisord and every program, wait until ready (make run)", _up)
    up.add_argument("--market", metavar="PATH", help="play recorded quotes in the sandbox, then print what came of it")
    up.add_argument("--speed", type=float, default=1.0, help="times the recorded pace, with --market (default 1)")
    verb("prepare", "directories, throw-away keys, supervisord's list of feeds", lambda c, a: supervision.prepare(c))
    verb("down", "stop every program and supervisord (make stop)", lambda c, a: supervision.down(c))
    return top


def _common(config: str, as_json: bool | str) -> Parser:
    """The options of every verb, before or after it. Each parser gets actions of its own: argparse shares defaults of
    shared ones, and a verb's default would then overrule what stood before the verb."""
    common = Parser(add_help=False)
    common.add_argument("--config", default=config, help="configuration file (default config/sandbox.toml)")
    common.add_argument("--json", action="store_true", default=as_json, help="answer as one JSON document")
    return common


def _add_flatten(made: argparse.ArgumentParser) -> None:
    made.add_argument("--venue", help="only this venue")
    made.add_argument("--symbol", help="only this canonical symbol")
    made.add_argument("--all", action="store_true", help="close foreign positions too")
    made.add_argument("--force", action="store_true", help="do not ask")


def _replay(context: Context, args: argparse.Namespace) -> int:
    """In a process of its own: decisions are the strategies', and this room does not import them."""
    command = [
        sys.executable,
        "-m",
        "strategies.replay",
        "--config",
        str(context.loaded.path),
        args.recording,
        *args.more,
    ]
    return subprocess.run([*command, *(["--json"] if context.as_json else [])], check=False).returncode


def _up(context: Context, args: argparse.Namespace) -> int:
    if args.market is None:
        return supervision.up(context)
    is_fresh = not supervision.is_up(supervision.project_root(context))
    if is_fresh:
        market_command.play_from_the_start(context, args.market, args.speed)
    try:
        code = supervision.up(context)
    finally:
        market_command.forget_the_start(context)  # the sandbox has read it, or never will
    if code != EXIT_OK:
        return code
    if not is_fresh:
        market_command.play(context, market_command.make_order(context, args.market, args.speed))
    return EXIT_OK if context.as_json else market_command.wait(context)  # JSON: one document, and it is the status


def _flatten(context: Context, args: argparse.Namespace) -> int:
    if not args.force and not _confirmed(context):
        return _fail("not confirmed; nothing was done (--force or FORCE=1 does not ask)", EXIT_USAGE, context.as_json)
    log = Log("flatten", context.clock, write=_stderr)
    venue = Venue(args.venue) if args.venue else None
    result = flatten.flatten(context.loaded, venue, args.symbol, args.all, log, context.clock)
    return flatten.tell(context, result)


def _confirmed(context: Context) -> bool:
    """Asked on stderr, so that a JSON answer stays one; no terminal and no answer count as no."""
    run = context.loaded.config.run
    _stderr(
        f"flatten halts trading and closes everything of run {run.name!r} ({run.environment.value}) at market.\n"
        "Type yes to go on: "
    )
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return count


def _state(state: TradingState) -> Callable[[Context, argparse.Namespace], int]:
    return lambda context, args: control.set_state(context, state, args.reason)


def _of_symbol(table: Callable[[Context, str | None], int]) -> Callable[[Context, argparse.Namespace], int]:
    return lambda context, args: table(context, args.symbol)


def _trial(asks: bool) -> Callable[[Context, argparse.Namespace], int]:
    return lambda context, args: trial_command.run_trial(context, args, asks=asks)


def _config(context: Context, args: argparse.Namespace) -> int:
    loaded = context.loaded
    if args.what == "example":
        sys.stdout.write(env_example.example())
        return EXIT_OK
    if args.what == "check":
        if context.as_json:
            context.answer({"ok": True, "path": str(loaded.path), "fingerprint": loaded.fingerprint})
        context.say(f"{loaded.path}: ok, fingerprint {loaded.fingerprint}")
        return EXIT_OK
    values = flat(loaded.config)
    if context.as_json:
        context.answer({key: {"value": value, "origin": loaded.origin.get(key)} for key, value in values.items()})
        return EXIT_OK
    rows = [(key, msgspec.json.encode(value).decode(), loaded.origin.get(key)) for key, value in values.items()]
    context.table(f"{loaded.path}  fingerprint {loaded.fingerprint}", ("key", "value", "origin"), rows, fold="value")
    context.say(f"secrets: {loaded.secrets_file} (never shown; `tandem doctor` checks names and mode)")
    return EXIT_OK


def _stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _fail(text: str, code: int, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"ok": False, "exit_code": code, "error": text}).decode() + "\n")
    _stderr(f"tandem: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(entry())
