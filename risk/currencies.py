"""The limit on pairs across quote currencies: both worths known, and neither too far from a dollar (RULES 12)."""

from __future__ import annotations

from core.messages import DenyReason
from core.settings import RiskConfig
from risk.context import Denied, OpenContext
from risk.parity import Depeg, depeg_of


def check_currencies(ctx: OpenContext, risk: RiskConfig) -> Denied | None:
    """Legs in one currency ask nothing of it: what it loses against the dollar, both lose."""
    legs = (ctx.long, ctx.short)
    if ctx.long.instrument.quote_ccy == ctx.short.instrument.quote_ccy:
        return None
    for leg in legs:
        currency, parity = leg.instrument.quote_ccy, leg.parity
        if parity is None:
            return Denied(
                reason=DenyReason.PARITY_UNKNOWN,
                detail=f"{currency}, in which {leg.instrument.venue} quotes, has no known worth now",
            )
        if depeg_of(parity, risk) is Depeg.STOP:
            return Denied(
                reason=DenyReason.DEPEG,
                detail=f"{currency}, in which {leg.instrument.venue} quotes, is off its peg (told by {parity.source})",
                numbers={"parity_usd": parity.usd, "off_pct": parity.off_pct, "depeg_stop_pct": risk.depeg_stop_pct},
            )
    return None
