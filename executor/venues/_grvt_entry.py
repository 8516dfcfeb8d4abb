"""GRVT's order entry: the warm socket, else REST, and never the one after the other (docs/venues/grvt.md 7).

Exactly one of these happens to a request: it is never written (Unsent), it is written to the socket, or, while the socket is
not warm, to a REST connection. A new order also waits for a clock that agrees with the venue's: its signature names times.
"""

from __future__ import annotations

import asyncio

from core.errors import NotSent
from core.log import Log
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Unknown, Unsent
from executor.throttle import Throttle
from executor.venues import _grvt_answers as answers
from executor.venues._grvt_posts import Posts
from executor.venues._grvt_reads import PREFIX, WEIGHTS
from executor.venues._grvt_session import JSON, Sessions
from executor.venues._grvt_wire import CREATE
from executor.venues._skew import ClockSkew
from executor.ws_lane import WsLane

DRAIN_STEP_S, DRAIN_S = 0.02, 5.0


class Entry:
    """See the module text. `by_socket`: whether orders may use the socket at all."""

    def __init__(
        self,
        lane: WsLane,
        order_lane: HttpLane,
        by_socket: bool,
        sessions: Sessions,
        throttle: Throttle,
        skew: ClockSkew,
        timeout_s: float,
        log: Log,
    ) -> None:
        self._lane = lane
        self._order_lane = order_lane
        self._by_socket = by_socket
        self._sessions = sessions
        self._throttle = throttle
        self._skew = skew
        self._log = log
        self._posts = Posts(lane, timeout_s)

    @property
    def warm(self) -> bool:
        return (self._by_socket and self._lane.warm) or self._order_lane.warm

    def act(self, name: str, body: bytes) -> asyncio.Future[answers.Answer]:
        """Write a request now; the future always completes."""
        answer: asyncio.Future[answers.Answer] = asyncio.get_running_loop().create_future()
        refusal = self._skew.refusal if name == CREATE else ""
        if not refusal and not self._throttle.take(WEIGHTS[name], priority=True):
            refusal = "our request budget is used up"
        if refusal:
            answer.set_result(Unsent(detail=refusal))
            return answer
        if self._by_socket and self._lane.warm:
            try:
                return self._posts.send(name, body)
            except NotSent as error:
                self._log.warning("ws_request_not_sent", venue="grvt", detail=str(error))

        def replied(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not answer.done():
                answer.set_result(answers.http_answer(future.result()))

        request = HttpRequest("POST", PREFIX + name, body, JSON, tuple(self._sessions.headers))
        self._order_lane.send(request).add_done_callback(replied)
        return answer

    async def drained(self) -> None:
        """Until no answer is awaited on the socket, at most DRAIN_S."""
        for _ in range(int(DRAIN_S / DRAIN_STEP_S)):
            if self._posts.idle:
                return
            await asyncio.sleep(DRAIN_STEP_S)

    def on_answer(self, rpc: answers.Rpc) -> None:
        """An answer over the socket; a late one has nobody waiting."""
        if not self._posts.on_answer(rpc):
            self._log.warning("answer_without_waiter", venue="grvt", method=rpc.method[:40])

    def on_down(self, reason: str) -> None:
        """The socket is gone: whatever is in flight on it is now unknown."""
        self._posts.fail_all(reason)
