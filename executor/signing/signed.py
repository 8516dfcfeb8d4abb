"""A transaction that was signed away from the event loop."""

from __future__ import annotations

import msgspec


class Signed(msgspec.Struct, frozen=True):
    """`kind` is the wire type, `info` the JSON that is sent as it is, `name` the hash that the venue will know it by."""

    kind: int
    info: bytes
    name: str
