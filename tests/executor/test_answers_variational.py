"""Every answer of Variational that its page names, and what it proves. One fixture per entry."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import pytest

from core.errors import NotSent, OutcomeUnknown, VenueError
from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _variational_answers as answers


class Said(NamedTuple):
    """An answer: what it is called here, and its parts."""

    name: str
    status: int
    body: object
    headers: dict[str, str] | None = None

    def reply(self) -> HttpReply:
        return reply(self.status, self.body, self.headers)


STAMP = {"x-omni-auth": "r"}
REFUSED: list[tuple[str, RejectCode]] = [
    ("user_gross_notional_limit_risk_check", RejectCode.MARGIN),
    ("user_net_notional_limit_risk_check", RejectCode.MARGIN),
    ("user_instrument_limit_risk_check", RejectCode.MARGIN),
    ("user_risk_checks", RejectCode.MARGIN),
    ("olp_risk_checks", RejectCode.OPEN_INTEREST),
    ("olp_gross_notional_risk_check", RejectCode.OPEN_INTEREST),
    ("skew_limit_exceeded", RejectCode.OPEN_INTEREST),
    ("oi_limit_exceeded", RejectCode.OPEN_INTEREST),
    ("oi_as_percent_of_fdv_limit", RejectCode.OPEN_INTEREST),
    ("global_configs_check", RejectCode.VENUE_MODE),
    ("is_close_only_mode", RejectCode.VENUE_MODE),
    ("market_delisted", RejectCode.VENUE_MODE),
    ("min_qty_tick", RejectCode.SIZE),
    ("min_order_notional", RejectCode.MIN_NOTIONAL),
    ("quote_expired", RejectCode.EXPIRED),
    ("slippage_exceeded", RejectCode.PRICE_BAND),
    ("words_of_next_year", RejectCode.OTHER),
]
EARLY: list[tuple[RejectCode, Said]] = [
    (RejectCode.AUTH, Said("401 stamped", 401, {"message": "Invalid token"}, STAMP)),
    (RejectCode.AUTH, Said("401 No token", 401, {"message": "No token"})),
    (RejectCode.AUTH, Said("403 of the front", 403, "<html>challenge</html>", {"cf-mitigated": "challenge"})),
    (RejectCode.AUTH, Said("403 with a message", 403, {"error_message": "not available in your jurisdiction"})),
    (RejectCode.RATE, Said("418", 418, {"wait_until_seconds": 30})),
    (RejectCode.RATE, Said("429", 429, {"wait_until_seconds": 3})),
    (RejectCode.RATE, Said("429 without a word", 429, "")),
    (RejectCode.EXPIRED, Said("400 quote expired", 400, {"error_code": "quote_expired", "message": "quote expired"})),
    (RejectCode.SIZE, Said("422 tick in words", 422, {"message": "qty does not match min_qty_tick (0.01)"})),
]
OPEN_ENDED = [
    Said("500", 500, {"message": "internal"}),
    Said("502", 502, "<html>bad gateway</html>"),
    Said("504", 504, ""),
    Said("404", 404, {"message": "not found"}),
    Said("409", 409, {"message": "conflict"}),
    Said("401 of the front", 401, "<html></html>"),
    Said("403 page", 403, "<html></html>"),
    Said("422 page", 422, "<html></html>"),
    Said("400 empty object", 400, {}),
    Said("200 empty", 200, ""),
    Said("200 without an rfq", 200, {"rfq_id": ""}),
    Said("200 other", 200, {"ok": True}),
]


def reply(status: int, body: object, headers: dict[str, str] | None = None) -> HttpReply:
    text = body if isinstance(body, str) else json.dumps(body)
    return HttpReply(status, headers or {}, text.encode())


def test_a_taken_order_is_pending_and_no_more() -> None:
    said = reply(200, {"rfq_id": "22222222-2222-4222-8222-222222222222", "take_profit_rfq_id": None})
    assert answers.take_outcome(said) == Accepted(
        venue_order_id="22222222-2222-4222-8222-222222222222", status=OrderStatus.ACCEPTED, filled_lots=0
    )


@pytest.mark.parametrize(("code", "means"), REFUSED)
def test_refusals_by_code(code: str, means: RejectCode) -> None:
    outcome = answers.take_outcome(reply(422, {"error_code": code, "passed": False, "message": "Validation error"}))
    assert isinstance(outcome, Rejected)
    assert outcome.code is means


@pytest.mark.parametrize(("pattern", "means"), answers.CODES)
def test_every_listed_code_has_a_fixture(pattern: re.Pattern[str], means: RejectCode) -> None:
    named = [code for code, _ in REFUSED if pattern.fullmatch(code)]
    assert named or means is RejectCode.UNKNOWN_ORDER


@pytest.mark.parametrize("status", [404, 409, 500, 503])
def test_a_known_code_under_another_status_proves_nothing(status: int) -> None:
    assert isinstance(answers.take_outcome(reply(status, {"error_code": "quote_expired"})), Unknown)


def test_how_long_a_ban_lasts() -> None:
    assert answers.wait_s(reply(429, {"wait_until_seconds": 3.5})) == 3.5
    assert answers.wait_s(reply(418, {"wait_until_seconds": 1_795_132_860}), now_s=1_795_132_800.0) == 60.0
    assert answers.wait_s(reply(418, {"wait_until_seconds": 1_795_132_860})) == answers.WAIT_MAX_S
    assert answers.wait_s(reply(429, "", {"x-rate-limit-resets-in-ms": "1500"})) == 1.5
    for body in ("", "[]", "7", {"wait_until_seconds": "soon"}, {"wait_until_seconds": -1}):
        assert answers.wait_s(reply(429, body)) == answers.WAIT_S


def test_cancels() -> None:
    assert isinstance(answers.cancel_outcome(reply(200, {"rfq_id": "x"})), Accepted)
    gone = answers.cancel_outcome(reply(404, {"error_code": "order_not_found", "message": "x"}))
    assert isinstance(gone, Rejected)
    assert gone.code is RejectCode.UNKNOWN_ORDER
    assert isinstance(answers.cancel_outcome(reply(404, "<html>")), Unknown)
    assert isinstance(answers.cancel_outcome(reply(500, "")), Unknown)


def test_settings_are_done_or_raise() -> None:
    answers.require_done(reply(200, {}), "leverage")
    with pytest.raises(NotSent):
        answers.require_done(Unsent(detail="x"), "leverage")
    with pytest.raises(OutcomeUnknown):
        answers.require_done(Unknown(detail="x"), "leverage")
    with pytest.raises(VenueError, match="was refused"):
        answers.require_done(reply(400, {"message": "no"}), "leverage")
