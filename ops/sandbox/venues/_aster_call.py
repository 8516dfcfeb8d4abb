"""One authenticated call: who asks, with which nonce, and whether a noop has killed it while it was in flight."""

from __future__ import annotations

import msgspec

from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_request import Params


class Call(msgspec.Struct, kw_only=True):
    """`user` and `signer` are lower-case addresses; both empty on a public endpoint. `killed` is set by noop."""

    params: Params
    ip: str = ""
    user: str = ""
    signer: str = ""
    nonce: int = 0
    killed: bool = False

    def require_alive(self) -> None:
        """Raise -4225 if a noop with the same nonce arrived before this request was processed."""
        if self.killed:
            raise ApiError(Code.NONCE_EXPIRED)


class Flights:
    """Calls that arrived and are not processed yet, by signer and nonce; as many as there are open requests."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int], Call] = {}

    def enter(self, call: Call) -> None:
        self._calls[call.signer, call.nonce] = call

    def leave(self, call: Call) -> None:
        self._calls.pop((call.signer, call.nonce), None)

    def kill(self, signer: str, nonce: int) -> bool:
        """Whether there was such a call, which will now answer -4225."""
        call = self._calls.get((signer, nonce))
        if call is None:
            return False
        call.killed = True
        return True
