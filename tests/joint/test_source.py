from __future__ import annotations

import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.data.multihop import MultihopQuestion, Paragraph
from pointsman.errors import InputError
from pointsman.joint.source import given, retrieved
from pointsman.types import Passage, ReadingExample
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
