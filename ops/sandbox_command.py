"""`tandem sandbox ...`: ask the local venues for their own truth, shove their prices, or make them misbehave.

Faults live in the sandbox's memory: they end with `fault clear`, with their count or time, and with a restart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from core.errors import EXIT_OK
from ops import market_command
from ops.context import Context
from ops.sandbox.fault_kinds import RULES, Kind, Rule, Traffic
from ops.sandbox_call import call


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
    market_command.add_arguments(
        verbs.add_parser("market", help="play recorded quotes instead of the invented market", parents=[common()])
    )
    _add_fault_arguments(verbs.add_parser("fault", help="make a venue misbehave, see what is in force, end it"), common)


def run(context: Context, args: argparse.Namespace) -> int:
    match args.what:
        case "market":
            return market_command.run(context, args)
        case "basis":
            answer = call(context, "basis", {"venue": args.venue, "symbol": args.symbol, "bps": args.bps})
        case "price":
            answer = call(context, "price", {"symbol": args.symbol, "bps": args.bps})
        case "serving":
            answer = call(context, "venue", {"venue": args.venue, "serving": args.on == "on"})
        case "fault":
            answer = _fault(context, args)
        case _:
            answer = call(context, "state", None)
    context.answer(answer)
    return EXIT_OK


def _fault(context: Context, args: argparse.Namespace) -> Any:
    match args.deed:
        case "list":
            return call(context, "faults", None)
        case "clear":
            return call(context, "clear", {"venue": args.venue, "number": args.number})
        case _:
            body = {"venue": args.venue, "kind": args.kind, "traffic": args.on, "way": args.way, "times": args.times}
            return call(context, "fault", {**body, "value": args.value, "for_s": args.for_s})


def _add_fault_arguments(made: argparse.ArgumentParser, common: Callable[[], argparse.ArgumentParser]) -> None:
    deeds = made.add_subparsers(dest="deed", required=True, metavar="DEED")
    kinds = "\n".join(f"  {kind.value:<15} {_told(rule)}" for kind, rule in RULES.items())
    add = deeds.add_parser(
        "add", help="put a fault in force", parents=[common()], formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"kinds:\n{kinds}\n\nFaults do not outlive the sandbox's process.",
    )  # fmt: skip
    add.add_argument("venue")
    add.add_argument("kind", choices=[kind.value for kind in Kind], metavar="KIND")
    add.add_argument("value", nargs="?", type=float, help="in the kind's unit")
    add.add_argument("--on", type=_traffic, default=[], metavar="WHAT[,WHAT]",
                     help="orders, reads, market, private; else what is usual for the kind")  # fmt: skip
    add.add_argument("--way", default="", help="variant of the kind")
    add.add_argument("--times", type=int, default=0, metavar="N", help="end after N requests or frames")
    add.add_argument("--for", dest="for_s", type=float, default=0.0, metavar="S", help="end after S seconds")
    listing = "what is in force and what lately ended, with how often it struck"
    deeds.add_parser("list", help=listing, parents=[common()])
    clear = deeds.add_parser("clear", help="end faults: all, those of a venue, or one", parents=[common()])
    clear.add_argument("venue", nargs="?")
    clear.add_argument("--number", type=int, default=0)


def _traffic(text: str) -> list[str]:
    return [Traffic(word.strip()).value for word in text.split(",")]


def _told(rule: Rule) -> str:
    value = f" [{rule.value.unit}, usually {rule.value.default:g}]" if rule.value else ""
    ways = f" [{' | '.join(rule.ways)}]" if len(rule.ways) > 1 else ""
    return f"{rule.says}{value}{ways}"
