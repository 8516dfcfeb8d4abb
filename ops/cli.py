"""The `tandem` command. Every verb takes --config FILE (config/sandbox.toml by default) and --json."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import msgspec

from core.config import flat, load
from core.errors import (
    EXIT_BUSY,
    EXIT_CONFIG,
    EXIT_INVARIANT,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    BusyError,
    ConfigError,
    InvariantError,
    VenueError,
)
from core.log import Log
from core.types import TradingState, Venue
from ops import control, doctor, flatten, sandbox_command, screens, supervision
from ops.context import ROOT, Context, clock, console

DEFAULT_CONFIG = ROOT / "config" / "sandbox.toml"


def entry() -> int:
    """What the installed command runs."""
    return main(sys.argv[1:])


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    try:
        context = Context(load(args.config), clock(), args.json)
        run: Callable[[Context, argparse.Namespace], int] = args.run
        return run(context, args)
    except ConfigError as error:
        return _fail(str(error), EXIT_CONFIG)
    except BusyError as error:
        return _fail(str(error), EXIT_BUSY)
    except VenueError as error:
        return _fail(str(error), EXIT_UNAVAILABLE)
    except InvariantError as error:
        return _fail(f"broken invariant: {error}", EXIT_INVARIANT)
    except BrokenPipeError:
        return EXIT_OK  # the reader of our output has gone, as `head` does
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="tandem", description="Two-legged arbitrage across venues.", parents=[_common(str(DEFAULT_CONFIG), False)]
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, text: str, run: Callable[[Context, argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text, parents=[_common(argparse.SUPPRESS, argparse.SUPPRESS)])
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
    why.add_argument("-n", "--count", type=int, default=40, help="how many (default 40)")
    _add_flatten(verb("flatten", "emergency close; exit code 0 only when flat", _flatten))
    halt = verb("halt", "deny strategies everything but closing", _state(TradingState.HALTED))
    halt.add_argument("reason", nargs="?", default="operator")
    resume = verb("resume", "trade again; the only way out of halted", _state(TradingState.ACTIVE))
    resume.add_argument("reason", nargs="?", default="operator")
    reduce_only = verb("reduce-only", "exits run, nothing increases exposure", _state(TradingState.REDUCING))
    reduce_only.add_argument("reason", nargs="?", default="operator")
    config = verb("config", "check or show the configuration", _config)
    config.add_argument("what", choices=["check", "show"])
    verb("doctor", "preflight: what would keep this box from trading", lambda c, a: doctor.doctor(c))
    sandbox = verb("sandbox", "the local venues: their own books, and a shove to their prices", sandbox_command.run)
    sandbox_command.add_arguments(sandbox)
    verb("up", "start supervisord and every program, wait until ready (make run)", lambda c, a: supervision.up(c))
    verb("down", "stop every program and supervisord (make stop)", lambda c, a: supervision.down(c))
    return top


def _common(config: str, as_json: bool | str) -> argparse.ArgumentParser:
    """The options of every verb, before or after it. Each parser gets actions of its own: argparse shares defaults of
    shared ones, and a verb's default would then overrule what stood before the verb."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", default=config, help="configuration file (default config/sandbox.toml)")
    common.add_argument("--json", action="store_true", default=as_json, help="answer as one JSON document")
    return common


def _add_flatten(made: argparse.ArgumentParser) -> None:
    made.add_argument("--venue", help="only this venue")
    made.add_argument("--symbol", help="only this canonical symbol")
    made.add_argument("--all", action="store_true", help="close foreign positions too")
    made.add_argument("--force", action="store_true", help="do not ask")


def _flatten(context: Context, args: argparse.Namespace) -> int:
    if not args.force and not _confirmed(context):
        return _fail("not confirmed; nothing was done (--force or FORCE=1 does not ask)", EXIT_CONFIG)
    log = Log("flatten", context.clock, write=_stderr)
    venue = Venue(args.venue) if args.venue else None
    result = flatten.flatten(context.loaded, venue, args.symbol, args.all, log, context.clock)
    return flatten.tell(context, result)


def _confirmed(context: Context) -> bool:
    name = context.loaded.config.run.name
    console().print(
        f"[bold red]flatten[/bold red] halts trading and closes everything of run {name!r} at market. ", end=""
    )
    sys.stdout.write("Type yes to go on: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def _state(state: TradingState) -> Callable[[Context, argparse.Namespace], int]:
    return lambda context, args: control.set_state(context, state, args.reason)


def _config(context: Context, args: argparse.Namespace) -> int:
    loaded = context.loaded
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
    context.table(f"{loaded.path}  ({loaded.fingerprint})", ("key", "value", "origin"), rows)
    context.say(f"secrets: {loaded.secrets_file} (never shown; `tandem doctor` checks names and mode)")
    return EXIT_OK


def _stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"tandem: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(entry())
