"""Every signer of the roster: the recorded vectors byte for byte; and every answer of section 10 of its page for what it is."""

from __future__ import annotations

import pytest

from executor.outcome import Rejected
from tests.conformance.dialect import Dialect, Meaning, meaning_of, told


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


@pytest.mark.parametrize("meaning", [Meaning.REJECTED, Meaning.RATE_LIMITED, Meaning.NOT_SENT, Meaning.UNKNOWN])
def test_every_meaning_has_an_answer_that_carries_it(dialect: Dialect, meaning: Meaning) -> None:
    assert meaning in told(dialect.answers())
