"""Questions made from sentences: what is asked for, where it stands, and what the reader then sees."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.read.cloze import cloze_examples, phrases

# Written for this test: "Mill River" stands in two sentences, everything else in one.
PASSAGE = (
    "The old bridge over the Mill River was built of oak in 1841 by Anna Holt. "
    "Floods on the Mill River in May carried away two of its seven arches. "
    "A toll of three pence was charged until the town bought the crossing."
)


def test_phrases_are_runs_of_content_words() -> None:
    sentence = "The old bridge over the Mill River was built of oak in 1,841 days, by Anna Holt."
    assert [sentence[start:end] for start, end in phrases(sentence)] == [
        "old bridge",
        "Mill River",
        "built",
        "oak",
        "1,841 days",
        "Anna Holt",
    ]


def test_a_run_that_is_too_long_is_no_answer() -> None:
    assert phrases("one two three four five six seven") == [(4, 33)]  # "one" is a function word
    assert phrases("zero two three four five six seven") == []


def test_every_answer_stands_where_it_says_and_questions_do_not_give_it_away() -> None:
    examples = cloze_examples([PASSAGE], 100, seed=0)
    assert len({example.id for example in examples}) == len(examples) > 12
    for example in examples:
        assert example.question.endswith("?")
        for start, answer in zip(example.starts, example.answers, strict=True):
            assert example.context[start : start + len(answer)] == answer
        (asked,) = {answer.lower() for answer in example.answers}
        assert not re.search(rf"\b{re.escape(asked)}\b", example.question.lower())


def test_a_phrase_that_recurs_is_asked_for_without_its_own_sentence() -> None:
    examples = cloze_examples([PASSAGE], 100, seed=0)
    rivers = [example for example in examples if example.answers[0] == "Mill River"]
    assert len(rivers) == 2
    for example in rivers:
        assert example.context.count("Mill River") == 1
        assert len(example.context) < len(PASSAGE)
    others = [example for example in examples if example.answers[0] == "Anna Holt"]
    assert [example.context for example in others] == [PASSAGE]
    assert others[0].starts == (PASSAGE.index("Anna Holt"),)


def test_question_words_fit_what_is_asked() -> None:
    asked = {
        example.answers[0]: example.question for example in cloze_examples([PASSAGE], 100, seed=3)
    }
    assert re.search(r"\b(when|what year|which year)\b", asked["1841"])
    assert re.search(r"\b(who|what|which|where)\b", asked["Anna Holt"])


def test_a_function_of_the_seed() -> None:
    one, two = (cloze_examples([PASSAGE] * 3, 4, seed=7) for _ in range(2))
    assert one == two
    assert len(one) == 12
    assert cloze_examples([PASSAGE] * 3, 4, seed=8) != one


def test_texts_without_sentences_give_nothing() -> None:
    assert cloze_examples(["", "   ", "Of the.", "Yes!"], 4, seed=0) == []


def test_a_long_text_is_cut_into_passages() -> None:
    examples = cloze_examples([" ".join([PASSAGE] * 20)], 3, seed=0)
    assert len(examples) > 6
    assert all(len(example.context) <= 1_400 for example in examples)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=3), st.integers(0, 5))
def test_any_text(texts: list[str], seed: int) -> None:
    for example in cloze_examples(texts, 3, seed):
        for start, answer in zip(example.starts, example.answers, strict=True):
            assert example.context[start : start + len(answer)] == answer
            assert answer.strip()
