"""Frames and answers that no decoder should believe: one function per shape, made from what should have been sent."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

MAX_DEPTH = 20_000
_LETTER = re.compile(rb':"[A-Za-z]')
_TIME = re.compile(rb'(?<=:)[0-9]{12,}(?=[,}])|(?<=:")[0-9]{19}(?=")')  # or nanoseconds as text
_NUMBER = re.compile(rb'"?-?[0-9]+(?:\.[0-9]+)?"?(?=[,}\]])')


def garble(frame: bytes, shape: str, rng: random.Random) -> tuple[bytes, bool]:
    """(rubbish, whether it is to go out as a binary frame). `shape` is one of SHAPES; "any" draws one."""
    name = rng.choice(tuple(SHAPES)) if shape == "any" else shape
    return SHAPES[name](frame, rng), name == "binary"


def _binary(frame: bytes, rng: random.Random) -> bytes:
    """Bytes that are no text at all (0xff never stands in UTF-8)."""
    return b"\xff\x00" + rng.randbytes(1 + len(frame) % 200)


def _truncated(frame: bytes, rng: random.Random) -> bytes:
    return frame[: rng.randrange(1, max(2, len(frame)))]


def _types(frame: bytes, rng: random.Random) -> bytes:
    """Every number becomes an object: the words are right, the kinds are not."""
    return _NUMBER.sub(b'{"not":["a","number"]}', frame)


def _hostile(frame: bytes, rng: random.Random) -> bytes:
    """Every number becomes one that no price or size can be."""
    return _NUMBER.sub(lambda _: rng.choice((b'"NaN"', b'"-1"', b'"Infinity"', b"1e999", b"null")), frame)


def _utf8(frame: bytes, rng: random.Random) -> bytes:
    """One letter within a string is no letter of UTF-8."""
    return _LETTER.sub(lambda found: found[0][:-1] + b"\xff", frame, count=1) + b" "


def _times(frame: bytes, rng: random.Random) -> bytes:
    """Every time is beyond all calendars and machine words, and all the rest is right."""
    return _TIME.sub(b"9" * 23, frame) + b" "


def _deep(frame: bytes, rng: random.Random) -> bytes:
    """An unknown field, nested too deeply for a decoder that recurses."""
    return frame.replace(b"{", b'{"zz":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b",", 1)


def _text(frame: bytes, rng: random.Random) -> bytes:
    return b"<html><body>502 Bad Gateway</body></html>"


SHAPES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "binary": _binary,
    "truncated": _truncated,
    "types": _types,
    "hostile": _hostile,
    "times": _times,
    "utf8": _utf8,
    "deep": _deep,
    "text": _text,
}
