from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.data.multihop import MultihopQuestion, Paragraph
from pointsman.deadline import Deadline
from pointsman.errors import InputError
from pointsman.joint.asked import Asked
from pointsman.joint.source import Judge, Searched, given
from pointsman.types import Graded, Passage, ReadingExample
from tiny import write_tiny

TEXTS = ["alpha is red", "beta is blue", "gamma is white", "delta is pink"]
COLLECTION = [Passage(str(i), text) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def example(id: str, question: str, context: str, answer: str) -> ReadingExample:
    start = context.index(answer)
    return ReadingExample(
        id, question, context, (answer, answer), (start, start), cluster=f"article {id}"
    )


def retrieved(
    backbone: Backbone,
    examples: list[ReadingExample],
    collection: list[Passage],
    candidates: int = 20,
    judge: Judge | None = None,
) -> list[Asked]:
    with Searched.of(backbone, collection) as searched:
        return searched.asked(examples, candidates, judge)


def test_what_a_search_finds(backbone: Backbone) -> None:
    examples = [
        example("a", "what is beta blue", "beta is blue", "blue"),
        example("b", "what is delta", "delta is pink", "pink"),
    ]
    twice = [*COLLECTION, Passage("again", "beta is blue")]
    one, other = retrieved(backbone, examples, twice, candidates=3)
    assert len(one.passages) == len(one.relevance) == 3
    # Words decide here, the vectors are of random weights.
    assert one.passages[0].text == "beta is blue"
    assert one.supporting == (0,)
    assert other.passages[other.supporting[0]].text == "delta is pink"
    assert one.answers == ("blue",)
    assert (one.id, one.cluster) == ("a", "article a")
    # Of the two with one text the first was kept.
    assert "again" not in {passage.id for passage in one.passages}
    # By words alone there is no rival, and by vectors alone the words do not decide.
    with Searched.of(backbone, twice) as searched:
        (by_words,) = searched.asked(examples[:1], 3, mode="bm25")
        (by_vectors,) = searched.asked(examples[:1], 3, mode="dense")
    assert by_words.supporting == (0,)
    assert len(by_vectors.passages) == 3
    lost = example("c", "what", "epsilon is gold", "gold")
    with pytest.raises(InputError, match="does not hold the paragraph of question 'c'"):
        retrieved(backbone, [*examples, lost], COLLECTION)


def test_paragraphs_that_questions_bring_along(backbone: Backbone) -> None:
    paragraphs = tuple(
        Paragraph("", text, text in ("beta is blue", "delta is pink")) for text in TEXTS
    )
    question = MultihopQuestion("q", "beta is blue", ("pink",), paragraphs)
    alone = MultihopQuestion("r", "gamma", ("white",), paragraphs[2:3])
    first, second = given(backbone, [question, alone])
    # Nothing is liker to the question than itself.
    assert first.passages[0].text == "beta is blue"
    assert sorted(passage.text for passage in first.passages) == sorted(TEXTS)
    marked = {first.passages[i].text for i in first.supporting}
    assert marked == {"beta is blue", "delta is pink"}
    assert (len(second.passages), second.supporting) == (1, ())
    assert first.passages[0].id == "q-1"
    assert given(backbone, []) == []


class Pinkest:
    """Finds pink relevant, blue half so, and nothing else (protocol `Grader`)."""

    grades = ("no", "yes")

    def grade(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Graded]:
        worth = {"pink": 1.0, "blue": 0.5}
        said = [[worth.get(p.text.split()[-1], 0.0) for p in given] for given in passages]
        return [Graded(np.array([[1 - w, w] for w in row], np.float32)) for row in said]


@pytest.mark.parametrize(("weight", "first"), [(1.0, "delta is pink"), (0.0, "beta is blue")])
def test_a_judge_orders_as_the_pipeline_does(backbone: Backbone, weight: float, first: str) -> None:
    judge = Judge(Pinkest(), weight)
    asked = [example("a", "what is beta blue", "beta is blue", "blue")]
    (found,) = retrieved(backbone, asked, COLLECTION, 4, judge=judge)
    assert found.passages[0].text == first
    worth = {"pink": 1.0, "blue": 0.5}
    expected = [worth.get(passage.text.split()[-1], 0.0) for passage in found.passages]
    assert found.relevance.tolist() == expected
    assert [found.passages[i].text for i in found.supporting] == ["beta is blue"]
    paragraphs = tuple(Paragraph("", text, text == "delta is pink") for text in TEXTS)
    question = MultihopQuestion("q", "beta is blue", ("pink",), paragraphs)
    (own,) = given(backbone, [question], judge)
    assert own.passages[0].text == first
    assert [own.passages[i].text for i in own.supporting] == ["delta is pink"]
