"""Recordings of others, read where they lie; a test that needs one skips aloud where they are missing."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def recording(relative: str) -> Path:
    path = DATA / relative
    if not path.exists():
        pytest.skip(f"no recordings: {path} is missing")
    return path


def received_frames(relative: str) -> Iterator[tuple[int, bytes]]:
    """(receive time in ns, frame) of a gzip file of lines "ns frame"."""
    with gzip.open(recording(relative), "rb") as lines:
        for line in lines:
            stamp, _, frame = line.partition(b" ")
            yield int(stamp), frame.strip()


def answers(relative: str) -> list[bytes]:
    """Response bodies of a recorded HTTP session in YAML, in order."""
    text = recording(relative).read_text()
    return [re.sub(r"\n\s+", " ", body).encode() for body in re.findall(r"string: '(.*?)'\n", text, re.DOTALL)]
