"""GRVT: EIP-712 orders under a session, acknowledgements that prove nothing, refusals by code (docs/venues/grvt.md 6, 7, 10)."""

from __future__ import annotations

from collections.abc import Sequence

from core.types import OrderStatus, Side
from executor.outcome import Accepted, RejectCode, Unknown, Unsent
from executor.venues import _grvt_answers as answers
from executor.venues.grvt import Gateway
from tests.conformance.dialect import Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_grvt import CREATED, DOUBTFUL, NUMBER, RATE_LIMITED, REFUSED, by_rest, by_socket, reply
from tests.executor.test_signing_grvt import CASES, ORDERS, signature_of

FOREIGN_NUMBER = 12_345  # of the half that the venue's own interface draws from


async def vectors() -> Sequence[Vector]:
    made = []
    for name in ORDERS:
        expected = CASES[name]["expected"]
        if "r" in expected:
            ours = signature_of(CASES[name]["inputs"])
            made.append(
                Vector(
                    name,
                    f"0x{ours.r:064x} 0x{ours.s:064x} {ours.v}",
                    f"{expected['r']} {expected['s']} {expected['v']}",
                )
            )
    return made


def told_answers() -> Sequence[Answer]:
    def rest(status: int, code: int, meaning: Meaning, kind: RejectCode | None = None) -> Answer:
        return Answer(f"HTTP {status} code {code}", lambda: by_rest(status, code), meaning, kind)

    def socket(code: int, meaning: Meaning, kind: RejectCode | None = None) -> Answer:
        return Answer(str(code), lambda: by_socket(code), meaning, kind)

    def taken() -> object:
        return answers.order_outcome(answers.http_answer(reply(200, CREATED)), NUMBER)

    return [
        *(rest(status, code, Meaning.REJECTED, kind) for status, code, kind in REFUSED),
        *(socket(code, Meaning.REJECTED, kind) for _, code, kind in REFUSED),
        *(rest(status, code, Meaning.RATE_LIMITED, RejectCode.RATE) for status, code in RATE_LIMITED),
        *(socket(code, Meaning.RATE_LIMITED, RejectCode.RATE) for _, code in RATE_LIMITED),
        *(rest(status, code, Meaning.UNKNOWN) for status, code in DOUBTFUL),
        *(socket(code, Meaning.UNKNOWN) for _, code in DOUBTFUL[:3]),
        Answer("acknowledged", taken, Meaning.TAKEN),
        Answer("not sent", lambda: answers.order_outcome(Unsent(detail="x"), NUMBER), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.order_outcome(Unknown(detail="x"), NUMBER), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    """Signed by our key under a client number of somebody else's."""
    gateway = station.gateway
    assert isinstance(gateway, Gateway)
    request = await station.request("ETH", Side.BUY, 120.0)
    lot = gateway._signed_lots[request.instrument.venue_symbol]
    body = gateway._sign(request, gateway.nonces.next(), FOREIGN_NUMBER, lot)
    assert isinstance(await gateway._entry.act("create_order", body), bytes)
    return Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)


DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        b'{"stream":"v1.mini.d","selector":"ETH_USDT_Perp@50","sequence_number":"0","feed":{"event_time":"1767198364309454192",'
        b'"instrument":"ETH_USDT_Perp","best_bid_price":"x","best_bid_size":"1"},"prev_sequence_number":"0"}',
        b'{"stream":"v1.ticker.s","selector":"ETH_USDT_Perp@1000","sequence_number":"0","feed":{"event_time":'
        b'"1767198364309454192","instrument":"ETH_USDT_Perp","mark_price":"2000","index_price":"2000","funding_rate":"100",'
        b'"funding_interval_hours":8,"next_funding_time":"1767225600000000000"},"prev_sequence_number":"0"}',
        b'{"stream":"v1.book.s","selector":"ETH_USDT_Perp@1000-10","sequence_number":"0","feed":{"event_time":'
        b'"1767198364309454192","instrument":"ETH_USDT_Perp","bids":[{"price":"NaN","size":"1"}],"asks":[]}}',
    ),
    code=r"[1-7][0-9]{3}",
    used_nonce_refused=False,
)
