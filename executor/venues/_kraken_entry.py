"""Kraken's order entry: messages in flight over the private socket, each correlated with its answer by a number, and the
same by REST where the socket is away (docs/venues/kraken.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting request Unknown: its bytes left. What
was written to the socket is never sent again by REST. An order is made for one of the two ways when it is prepared, since a
token stands in the one and a nonce and a signature in the other; if its way is gone when it is to be sent, it is not sent.
"""

from __future__ import annotations

import asyncio

from core.errors import NotSent
from core.numeric import plain
from core.types import Side, TimeInForce
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Unknown, Unsent
from executor.signing.kraken import FORM, Signer, add_order
from executor.venues import _kraken_answers as answers
from executor.venues import _kraken_rows as rows
from executor.venues._kraken_reads import PRIVATE
from executor.venues.base import OrderRequest, Prepared
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 60
TIF_WIRE = {TimeInForce.GTC: "gtc", TimeInForce.POST_ONLY: "gtc", TimeInForce.IOC: "ioc"}


class Entry:
    """Sends and completes each future exactly once."""

    def __init__(self, socket: WsLane, lane: HttpLane, signer: Signer, timeout_s: float) -> None:
        self._socket = socket
        self._lane = lane
        self._signer = signer
        self._timeout_s = timeout_s
        self._last_id = 1_000  # subscriptions and pings stay below
        self._waiting: dict[int, tuple[asyncio.Future[answers.Answer], asyncio.TimerHandle]] = {}

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def send_message(self, req_id: int, message: bytes) -> asyncio.Future[answers.Answer]:
        """Write `message`, whose number is `req_id`, to the socket now."""
        future: asyncio.Future[answers.Answer] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MAX_IN_FLIGHT:
            future.set_result(Unsent(detail=f"{MAX_IN_FLIGHT} requests are in flight already"))
            return future
        try:
            self._socket.send(message)
        except NotSent as error:
            future.set_result(Unsent(detail=str(error)))
            return future
        timer = asyncio.get_running_loop().call_later(self._timeout_s, self._timed_out, req_id)
        self._waiting[req_id] = (future, timer)
        return future

    def send_call(self, name: str, prepared: Prepared) -> asyncio.Future[answers.Answer]:
        """Sign the call's body and write it now."""
        path, body = PRIVATE + name, prepared.payload
        request = HttpRequest("POST", path, body, FORM, self._signer.headers(path, prepared.nonce, body))
        answer: asyncio.Future[answers.Answer] = asyncio.get_running_loop().create_future()

        def replied(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not answer.done():
                answer.set_result(answers.http_answer(future.result()))

        self._lane.send(request).add_done_callback(replied)
        return answer

    def on_answer(self, row: answers.AnswerRow) -> bool:
        """False when nobody waits for it (late, or a second answer to one request)."""
        return self._settle(row.req_id, answers.socket_answer(row))

    def on_down(self, reason: str) -> None:
        for req_id in list(self._waiting):
            self._settle(req_id, Unknown(detail=f"no answer: {reason}"))

    def _timed_out(self, req_id: int) -> None:
        self._settle(req_id, Unknown(detail=f"nothing within {self._timeout_s:g} s"))

    def _settle(self, req_id: int, answer: answers.Answer) -> bool:
        entry = self._waiting.pop(req_id, None)
        if entry is None:
            return False
        future, timer = entry
        timer.cancel()
        if not future.done():
            future.set_result(answer)
        return True


def order_message(request: OrderRequest, req_id: int, due_ns: int, token: str) -> bytes:
    """For the socket. `due_ns`: UTC by the venue's clock."""
    instrument = request.instrument
    return add_order(
        symbol=instrument.venue_symbol,
        is_buy=request.side is Side.BUY,
        qty=plain(request.lots * instrument.lot_size),
        px=plain(instrument.ticks_to_px(request.limit_ticks)),
        time_in_force=TIF_WIRE[request.time_in_force],
        client_id=request.client_order_id,
        token=token,
        req_id=req_id,
        post_only=request.time_in_force is TimeInForce.POST_ONLY,
        fee_in_quote=True,
        deadline=rows.stamp(due_ns),
    )


def order_params(request: OrderRequest, due_ns: int) -> list[tuple[str, str]]:
    """The same order for REST."""
    instrument = request.instrument
    return [
        ("pair", instrument.venue_symbol),
        ("type", request.side.value),
        ("ordertype", "limit"),
        ("price", plain(instrument.ticks_to_px(request.limit_ticks))),
        ("volume", plain(request.lots * instrument.lot_size)),
        ("timeinforce", TIF_WIRE[request.time_in_force].upper()),
        ("oflags", "fciq,post" if request.time_in_force is TimeInForce.POST_ONLY else "fciq"),
        ("deadline", rows.stamp(due_ns)),
        ("cl_ord_id", request.client_order_id),
    ]
