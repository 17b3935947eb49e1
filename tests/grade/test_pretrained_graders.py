"""Graders of Hugging Face's, made very small: the same numbers as the models themselves give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError, ModelError
from pointsman.grade.pretrained import CausalGrader, CrossEncoderGrader, load_pretrained
from pointsman.grade.scaling import Temperature
from pointsman.protocols import Grader
from pointsman.types import Passage
from tiny import write_causal, write_classifier, write_tiny

PAIRS = [
    ("what is red", "here comes alpha"),
    ("what", "red green blue " * 60),
    ("what follows beta " * 30, "gold"),
    ("", ""),
]


def cross_encoder(folder: Path, labels: int) -> CrossEncoderGrader:
    grader = load_pretrained(str(write_classifier(folder, labels)), device="cpu", dtype="fp32")
    assert isinstance(grader, CrossEncoderGrader)
    assert isinstance(grader, Grader)
    return grader


def causal(folder: Path, **more: Any) -> CausalGrader:
    grader = load_pretrained(str(write_causal(folder)), device="cpu", dtype="fp32")
    assert isinstance(grader, CausalGrader)
    return CausalGrader(grader.model, grader.tokenizer, **more) if more else grader


def logits(grader: CrossEncoderGrader, question: str, passage: str) -> torch.Tensor:
    """What the model itself says of a pair that needs no cutting."""
    inputs = grader.tokenizer(question, passage, return_tensors="pt")
    with torch.inference_mode():
        found: torch.Tensor = grader.model(**inputs).logits[0]
    return found


def test_three_labels_are_three_grades(tmp_path: Path) -> None:
    grader = cross_encoder(tmp_path, 3)
    assert grader.grades == ("LABEL_0", "LABEL_1", "LABEL_2")
    found = grader.probabilities(PAIRS)
    assert found.sum(axis=1) == pytest.approx(1)
    np.testing.assert_allclose(found[0], logits(grader, *PAIRS[0]).softmax(-1), atol=1e-5)


def test_one_label_is_the_logit_of_relevant(tmp_path: Path) -> None:
    grader = cross_encoder(tmp_path, 1)
    assert grader.grades == ("irrelevant", "relevant")
    found = grader.probabilities(PAIRS)
    assert found[0, 1] == pytest.approx(float(logits(grader, *PAIRS[0]).sigmoid()), abs=1e-5)


@pytest.mark.parametrize("kind", ["classifier", "causal"])
def test_a_pair_is_judged_the_same_in_any_company(tmp_path: Path, kind: str) -> None:
    grader = cross_encoder(tmp_path, 3) if kind == "classifier" else causal(tmp_path)
    together, gflops = grader.judged(PAIRS)
    assert (gflops > 0).all()
    assert grader.judged(PAIRS[1:2])[1] > 2 * grader.judged(PAIRS[3:])[1]
    for i, pair in enumerate(PAIRS):
        np.testing.assert_allclose(grader.probabilities([pair])[0], together[i], atol=1e-5)
    assert grader.probabilities([]).shape == (0, len(grader.grades))
    rows = grader.grade(["what is red", "none"], [[Passage("a", "here comes alpha")], []])
    np.testing.assert_allclose(rows[0].probabilities, together[:1], atol=1e-5)
    assert (len(rows[1].probabilities), rows[1].gflops) == (0, 0)


def test_long_texts_are_cut_to_what_the_model_can_take(tmp_path: Path) -> None:
    grader = cross_encoder(tmp_path, 3)
    one, both = ("what", "red " * 500), ("what " * 500, "red " * 500)
    assert len(grader.encoded(*one)["input_ids"]) == 128
    cut = grader.encoded(*both)["input_ids"]
    assert len(cut) == 128
    red = grader.tokenizer.convert_tokens_to_ids("red")
    assert cut.count(red) == 128 - 64 - 3  # half, and the three special tokens


def test_a_causal_model_is_asked_for_a_word(tmp_path: Path) -> None:
    """The share of one word's spellings among those of all grades, right after the question."""
    grader = causal(tmp_path, words=("red", "green", "blue"), prompt="{question} {passage} is")
    assert grader.grades == ("red", "green", "blue")
    ids = grader.tokenizer("what follows alpha is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        last = grader.model(ids).logits[0, -1].softmax(-1)
    chances = torch.stack(
        [last[grader.tokenizer.convert_tokens_to_ids(word)] for word in grader.grades]
    )
    found = grader.probabilities([("what follows", "alpha")])[0]
    np.testing.assert_allclose(found, chances / chances.sum(), atol=1e-5)


def test_a_long_passage_leaves_the_question_to_a_causal_model_whole(tmp_path: Path) -> None:
    grader = causal(tmp_path, words=("red", "green"), prompt="{passage} what is {question} {words}")
    asked = grader.encoded("alpha", "gold " * 300)["input_ids"]
    assert len(asked) <= 128
    text = grader.tokenizer.decode(asked, skip_special_tokens=True)
    assert text.startswith("gold gold")
    assert text.endswith("gold what is alpha red or green")


def test_words_that_begin_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'rest' and 'real' begin with the same token"):
        causal(tmp_path, words=("rest", "real"))
    with pytest.raises(ConfigError, match="1 words"):
        causal(tmp_path, words=("red",))


def test_a_calibration_goes_on_top(tmp_path: Path) -> None:
    grader = cross_encoder(tmp_path, 3)
    raw = grader.probabilities(PAIRS)
    scaled = grader.scaled(Temperature(2.0))
    np.testing.assert_allclose(scaled.probabilities(PAIRS), Temperature(2.0).apply(raw), atol=1e-6)
    np.testing.assert_array_equal(grader.probabilities(PAIRS), raw)


def test_what_is_no_grader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="causal language model is needed, not BertModel"):
        load_pretrained(str(write_tiny(tmp_path / "encoder")))
    with pytest.raises(ModelError, match="not a model directory"):
        load_pretrained("./nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no weights here"):
        load_pretrained(str(tmp_path / "empty"))


def test_a_deadline_holds(tmp_path: Path) -> None:
    late = Deadline()
    late.cancel()
    with pytest.raises(DeadlineError):
        cross_encoder(tmp_path, 1).probabilities(PAIRS, late)
