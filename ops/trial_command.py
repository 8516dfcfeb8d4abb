"""`tandem test`, `test-auto` and `test-leverage`: the rehearsal of everything that trading needs, on the chosen environment.

A trial opens one small pair, holds it a few seconds, closes it, and checks that nothing is left. `test` asks before each
step; `test-auto` asks nothing and cleans up whatever happens: a pair that opened is closed, also after an error or Ctrl-C.
Each step says what it saw; the exit code is 0 only when every step passed.
"""

from __future__ import annotations

import argparse
from decimal import Decimal

import msgspec

from core.account import AccountSnapshot
from core.errors import EXIT_OK, EXIT_PERMISSION, EXIT_UNAVAILABLE, EXIT_USAGE, VenueError
from core.messages import FINAL_PAIR, CommandDone, ExitGuard, OrderDenied, SetLeverage
from core.roster import SPEC
from core.types import Venue
from core.venue_spec import VenueKind
from ops import views
from ops.context import Context, escape
from ops.market_tables import ranked_spreads
from ops.pair_command import (
    MAX_HOLD_S,
    STOP_BASIS_BPS,
    Plan,
    Refused,
    amount,
    close_pair,
    confirmed,
    described,
    make_plan,
    open_pair,
)
from ops.session import Session

HOLD_S = 5.0
NOTIONAL_USD = Decimal(20)
LEVERAGE_S = 20.0
REASON = "trial"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ok: bool
    detail: str


def add_arguments(
    asking: argparse.ArgumentParser, auto: argparse.ArgumentParser, lever: argparse.ArgumentParser
) -> None:
    for trial in (asking, auto):
        trial.add_argument("symbol", nargs="?", help="canonical symbol (default: where a round trip pays best now)")
        trial.add_argument(
            "--notional", type=amount, default=NOTIONAL_USD, metavar="USD", help="of one leg (default 20)"
        )
        trial.add_argument("--hold-s", type=float, default=HOLD_S, help="between opening and closing (default 5)")
        trial.add_argument("--long", metavar="VENUE", help="where to buy (default: as pays best)")
        trial.add_argument("--short", metavar="VENUE", help="where to sell (default: as pays best)")
    lever.add_argument("symbol", help="canonical symbol")
    lever.add_argument("--venue", action="append", metavar="VENUE", help="only this one; may be repeated")
    lever.add_argument("--leverage", type=int, default=None, help="default: as configured")
    lever.add_argument("--force", action="store_true", help="do not ask")


def run_trial(context: Context, args: argparse.Namespace, *, asks: bool) -> int:
    trial = _Trial(context, asks)
    try:
        plan = _plan(context, args)
    except Refused as refusal:
        trial.note("preflight", False, str(refusal))
        return trial.tell(EXIT_USAGE)
    trial.note("preflight", True, described(plan))
    if not trial.fit():
        return trial.tell(EXIT_UNAVAILABLE)
    with Session(context) as session:
        trial.run(session, plan, args.hold_s)
    return trial.tell(EXIT_OK if all(step.ok for step in trial.steps) else EXIT_PERMISSION)


def run_leverage(context: Context, args: argparse.Namespace) -> int:
    """Set the leverage of one symbol on each venue that lists it, and read it back."""
    symbol = args.symbol.upper()
    listed = [
        each.instrument for each in views.Books(context.loaded, context.observe(), context.clock).listings(symbol)
    ]
    wanted = [i for i in listed if not args.venue or i.venue in args.venue]
    trial = _Trial(context, not args.force)
    if not wanted:
        trial.note("preflight", False, f"no enabled venue of that name lists {symbol}: see `tandem markets`")
        return trial.tell(EXIT_USAGE)
    with Session(context) as session:
        for instrument in wanted:
            settings = context.loaded.config.venues[instrument.venue].leverage
            times = args.leverage or settings.get(symbol, settings["default"])
            trial.set_leverage(session, instrument.venue, symbol, times)
    return trial.tell(EXIT_OK if all(step.ok for step in trial.steps) else EXIT_PERMISSION)


class _Trial:
    """The steps so far. Each is said as it happens."""

    def __init__(self, context: Context, asks: bool) -> None:
        self.steps: list[Step] = []
        self._context = context
        self._asks = asks

    def note(self, name: str, ok: bool, detail: str) -> bool:
        self.steps.append(Step(name=name, ok=ok, detail=detail))
        self._context.say(f"[{'green' if ok else 'red'}]{'ok' if ok else 'NO'}[/]  {name}: {escape(detail)}")
        return ok

    def tell(self, code: int) -> int:
        if self._context.as_json:
            self._context.answer({"ok": code == EXIT_OK, "exit_code": code, "steps": self.steps})
        return code

    def fit(self) -> bool:
        """Whether the executor takes commands now."""
        page = views.account(self._context.observe())
        trouble = views.executor_trouble(page, self._context.clock)
        if trouble or not isinstance(page, AccountSnapshot):
            return self.note("executor", False, f"{trouble}: see `tandem doctor`")
        return self.note("executor", True, f"ready, trading {page.trading_state.value}")

    def run(self, session: Session, plan: Plan, hold_s: float) -> None:
        """Open, hold, close. Whatever happens after the opening was asked for, the pair is closed."""
        if not self._may("open the pair"):
            return
        before = self._pair_ids()
        try:
            guard = ExitGuard(
                stop_basis_bps=STOP_BASIS_BPS,
                stop_leg_pct=self._context.loaded.config.strategies.scalp.stop_leg_pct,
                max_hold_s=MAX_HOLD_S,
            )
            trade = open_pair(self._context, session, plan, guard)
            if not self.note("open", trade.ok, trade.detail) or trade.pair is None:
                return
            session.listen(hold_s)
            self.note("hold", True, f"{hold_s:g} s")
            if not self._may("close it again"):
                self.note(
                    "close", True, "not asked for: the pair is closed all the same, a trial leaves nothing behind"
                )
        finally:
            self._clean_up(session, before)

    def set_leverage(self, session: Session, venue: Venue, symbol: str, times: int) -> None:
        name = f"leverage {venue}:{symbol} {times}x"
        if not self._may(f"set {name}"):
            return
        command_id, valid_until_ns = session.stamp()
        command = SetLeverage(
            command_id=command_id, valid_until_mono_ns=valid_until_ns, venue=venue, symbol=symbol, leverage=times
        )
        match session.set_leverage(command, LEVERAGE_S):
            case CommandDone(ok=ok, detail=detail):
                self.note(name, ok, detail)
            case OrderDenied(reason=reason, detail=detail):
                self.note(name, False, f"denied, {reason.value}: {detail}")
            case _:
                self.note(name, False, f"no answer within {LEVERAGE_S:g} s: opens stay blocked until it is read back")

    def _may(self, what: str) -> bool:
        if not self._asks or confirmed(self._context, what):
            return True
        return self.note(what, False, "not confirmed")

    def _pair_ids(self) -> set[str]:
        page = views.account(self._context.observe())
        return {pair.pair_id for pair in page.pairs} if isinstance(page, AccountSnapshot) else set()

    def _clean_up(self, session: Session, before: set[str]) -> None:
        """Close every pair of this trial, and look whether it is gone. A new conversation where the old one broke."""
        session.listen(0.5)  # the account page is written four times a second
        page = views.account(self._context.observe())
        if not isinstance(page, AccountSnapshot):
            self.note("close", False, f"no account page ({page}): `tandem pairs` and `tandem flatten` when it is back")
            return
        ours = [
            p for p in page.pairs if p.pair_id not in before and p.strategy == "manual" and p.status not in FINAL_PAIR
        ]
        for pair in ours:
            try:
                trade = close_pair(session, pair.pair_id, REASON)
            except VenueError:
                with Session(self._context) as again:
                    trade = close_pair(again, pair.pair_id, REASON)
            self.note("close", trade.ok, trade.detail)


def _plan(context: Context, args: argparse.Namespace) -> Plan:
    """As asked, or for what was left open the round trip that costs the least now. A venue that quotes before it trades is only
    chosen by name: what it indicates may be minutes old. Raises Refused."""
    asked = [
        row
        for row in ranked_spreads(context, args.symbol and args.symbol.upper())
        if args.long in (None, row.long_venue) and args.short in (None, row.short_venue)
    ]
    named = {Venue(name) for name in (args.long, args.short) if name}
    quoted = {name for name in named if name in SPEC and SPEC[name].kind is VenueKind.RFQ}
    rows = [row for row in asked if row.tradable or quoted & {row.long_venue, row.short_venue}]
    if not rows:
        raise Refused("no two venues that were asked for have a usable quote of the same symbol: see `tandem spreads`")
    best = max(rows, key=lambda row: row.net_bps)
    return make_plan(
        context, best.symbol, best.long_venue, best.short_venue, quote_usd=args.notional, at_least_minimum=True
    )
