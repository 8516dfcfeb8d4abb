"""What the suite must be told of a venue beyond its SPEC and its gateway's Traits: `tests/conformance/<venue>.py: DIALECT`.

Loaded by the venue's name, so a venue joins the suite by its own file. Nothing in the suite itself asks which venue it is.
"""

from __future__ import annotations

import enum
import importlib
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.types import Venue
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from tests.executor.sandbox_process import Station

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


class Meaning(enum.Enum):
    """What an answer to an order proves (HOUSE 7)."""

    TAKEN = "taken"
    REJECTED = "rejected"  # the venue's own structured word
    RATE_LIMITED = "rate_limited"  # refused before matching
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"  # never sent again


def meaning_of(outcome: object) -> Meaning:
    """Of whatever a gateway's answers module makes of an answer."""
    if isinstance(outcome, Rejected):
        return Meaning.RATE_LIMITED if outcome.code is RejectCode.RATE else Meaning.REJECTED
    if isinstance(outcome, Unsent):
        return Meaning.NOT_SENT
    if isinstance(outcome, Unknown):
        return Meaning.UNKNOWN
    return Meaning.TAKEN


class Answer(NamedTuple):
    """One answer of section 10 of the venue's page: what our gateway makes of it, and what it must be."""

    name: str
    made: Callable[[], Outcome | object]
    meaning: Meaning
    code: RejectCode | None = None  # None = any


class Vector(NamedTuple):
    """One signature: ours and the recorded one. Where signatures are randomised both are the digest."""

    name: str
    ours: bytes | str
    recorded: bytes | str


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """`foreign_order` trades on our account as somebody else would, so that a fill comes that no id of ours names."""

    vectors: Callable[[], Awaitable[Sequence[Vector]]]
    answers: Callable[[], Sequence[Answer]]
    foreign_order: Callable[[Station], Awaitable[object]]
    malformed: tuple[bytes, ...]  # frames that only this venue could send wrong
    code: str = ""  # what a code looks like: each in section 10 of the venue's page must have an Answer of that name
    unique_ids: bool = True  # a second order of one client id is refused
    used_nonce_refused: bool = True  # a nonce is good once
    symbol: str = "ETH"  # what the suite trades


def dialect_of(venue: Venue | str) -> Dialect:
    """Raises NotBuilt for a skeleton, ModuleNotFoundError where even that is missing."""
    found: Dialect = importlib.import_module(f"tests.conformance.{venue}").DIALECT
    return found


def page_codes(venue: str, pattern: str) -> set[str]:
    """The codes of section 10 of a venue's page, ranges such as 21717-21720 written out."""
    text = (FIXTURES.parents[1] / "docs" / "venues" / f"{venue}.md").read_text()
    section = text.partition("\n## 10.")[2].partition("\n## ")[0]
    ranges = re.findall(rf"({pattern})–({pattern})", section)
    within = {str(code) for first, last in ranges for code in range(int(first), int(last) + 1)}
    return within | set(re.findall(rf"(?<![\w.]){pattern}(?![\w])", section))


def told(answers: Sequence[Answer]) -> set[Meaning]:
    """Every meaning that some answer has."""
    return {answer.meaning for answer in answers}


__all__ = ["FIXTURES", "Accepted", "Answer", "Dialect", "Meaning", "Vector", "dialect_of", "meaning_of", "told"]
