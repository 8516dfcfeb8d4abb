"""Pacifica: ed25519 over canonical JSON, no nonces, refusals by HTTP status or socket code and text (docs/venues/pacifica.md
6, 7 and 10)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.types import Side
from executor.outcome import RejectCode, Unknown, Unsent
from executor.venues import _pacifica_answers as answers
from tests.conformance.dialect import Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_pacifica import BUSINESS, EARLY, OPEN_ENDED, by_rest, by_socket
from tests.executor.test_signing_pacifica import SIGNED, body_of, signer_of

FOREIGN_ID = "ab" * 16  # no id of ours begins like this


async def vectors() -> Sequence[Vector]:
    made = []
    for case in SIGNED:
        inputs = case["inputs"]
        body = body_of(
            signer_of(inputs), inputs["operation_type"], inputs["payload"], inputs["timestamp"], inputs["expiry_window"]
        )
        ours = msgspec.json.decode(body)["signature"]
        made.append(Vector(case["name"], ours, case["expected"]["signature_base58"]))
    return made


def told_answers() -> Sequence[Answer]:
    def rest(status: int, text: str, meaning: Meaning, code: RejectCode | None = None) -> Answer:
        body = {"success": False, "data": None, "error": text, "code": status}
        return Answer(f"HTTP {status} {text}", lambda: by_rest(status, body), meaning, code)

    def socket(number: int, text: str, meaning: Meaning, code: RejectCode | None = None) -> Answer:
        return Answer(f"code {number} {text}", lambda: by_socket(number, text), meaning, code)

    def early(code: RejectCode) -> Meaning:
        return Meaning.RATE_LIMITED if code is RejectCode.RATE else Meaning.REJECTED

    return [
        *(rest(422, text, Meaning.REJECTED, code) for text, code in BUSINESS),
        *(socket(420, text, Meaning.REJECTED, code) for text, code in BUSINESS),
        *(rest(status, text, early(code), code) for status, text, code in EARLY),
        *(socket(status, text, early(code), code) for status, text, code in EARLY),
        *(rest(422, text, Meaning.UNKNOWN) for text in OPEN_ENDED),
        *(socket(420, text, Meaning.UNKNOWN) for text in OPEN_ENDED),
        *(rest(status, "words", Meaning.UNKNOWN) for status in (404, 409, 500, 503, 504)),
        socket(500, "words", Meaning.UNKNOWN),
        Answer("not sent", lambda: answers.order_outcome(Unsent(detail="x")), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.order_outcome(Unknown(detail="x")), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    request = await station.request("ETH", Side.BUY, 120.0)
    return await station.send(msgspec.structs.replace(request, client_order_id=FOREIGN_ID))


DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        b'{"channel":"bbo","data":{"s":"ETH","t":1,"li":1,"b":"x","B":"1","a":"2","A":"1"}}',
        b'{"channel":"bbo","data":{"s":"ETH","t":1,"li":-1,"b":"1","B":"1","a":"2","A":"1"}}',
        b'{"channel":"book","data":{"s":"ETH","t":1,"li":1,"l":[[{"p":"NaN","a":"1","n":1}],[]]}}',
        b'{"channel":"prices","data":[{"symbol":"ETH","mark":"2000","oracle":"2000","next_funding":"7.5"}]}',
    ),
    used_nonce_refused=False,
)
