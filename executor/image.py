"""The state as bytes: what a journal checkpoint keeps, so that a start replays only what came after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from core.errors import ConfigError
from executor.records import AnyRecord
from executor.state import State

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(State)


class Recorded(Protocol):
    """What recovery reads: executor.journal.Journal."""

    @property
    def image(self) -> tuple[int, bytes] | None: ...
    def replay(self) -> Iterator[tuple[int, AnyRecord]]: ...


def encode_state(state: State) -> bytes:
    return _encoder.encode(state)


def decode_state(data: bytes) -> State:
    """Raises ConfigError for an image of another version of the executor."""
    try:
        state = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"the journal's checkpoint does not decode ({error}); it was written by another version of Tandem: "
            "start that version, flatten, and move the state directory away"
        ) from error
    state.live = {name: None for name, pair in state.pairs.items() if not pair.is_final}
    state.unsettled = {name: None for name, order in state.orders.items() if not order.status.is_final}
    return state


def rebuild(journal: Recorded) -> State:
    """The state as the journal has it: the image, then every record after it."""
    state = decode_state(journal.image[1]) if journal.image is not None else State()
    for sequence, record in journal.replay():
        state.apply(sequence, record)
    return state
