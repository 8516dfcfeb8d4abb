"""Every signer of the roster: the recorded vectors byte for byte; and every answer of section 10 of its page for what it is."""

from __future__ import annotations

import pytest

from executor.outcome import Rejected
from tests.conformance.dialect import Dialect, Meaning, meaning_of, page_codes, told


async def test_every_vector_is_ours_byte_for_byte(dialect: Dialect) -> None:
    vectors = await dialect.vectors()
    assert len(vectors) >= 3
    for vector in vectors:
        assert vector.ours == vector.recorded, vector.name


def test_every_answer_is_told_apart(dialect: Dialect) -> None:
    answers = dialect.answers()
    assert len({answer.name for answer in answers}) == len(answers), "two answers of one name"
    for answer in answers:
        made = answer.made()
        assert meaning_of(made) is answer.meaning, f"{answer.name}: {made}"
        if answer.code is not None:
            assert isinstance(made, Rejected), answer.name
            assert made.code is answer.code, f"{answer.name}: {made}"


def test_every_code_of_the_page_has_its_answer(venue: str, dialect: Dialect) -> None:
    if not dialect.code:
        pytest.skip(f"{venue} answers in words: its list is exact, with a fixture per entry")
    codes = page_codes(venue, dialect.code)
    assert len(codes) > 10
    assert codes <= {answer.name for answer in dialect.answers()}


@pytest.mark.parametrize("meaning", [Meaning.REJECTED, Meaning.RATE_LIMITED, Meaning.NOT_SENT, Meaning.UNKNOWN])
def test_every_meaning_has_an_answer_that_carries_it(dialect: Dialect, meaning: Meaning) -> None:
    assert meaning in told(dialect.answers())
