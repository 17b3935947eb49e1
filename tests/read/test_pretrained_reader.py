"""Question-answering models of Hugging Face's, made very small: the spans that the models themselves score."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pointsman.deadline import Deadline
from pointsman.errors import DeadlineError, ModelError
from pointsman.protocols import Reader
from pointsman.read.pretrained import PretrainedReader, load_pretrained_reader
from pointsman.read.reader import ReaderSettings
from pointsman.types import Passage
from tiny import write_answering, write_classifier

QUESTION = "what is red"
SHORT = Passage("a", "here comes alpha red")
LONG = Passage("b", "red green blue gold " * 60)


def loaded(folder: Path, family: str = "bert") -> PretrainedReader:
    found = load_pretrained_reader(str(write_answering(folder, family)), device="cpu", dtype="fp32")
    assert isinstance(found, Reader)
    return found


FAMILIES = ["bert", "roberta", "distilbert", "electra", "deberta-v2", "mpnet"]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_models_own(tmp_path: Path, family: str) -> None:
    reader = loaded(tmp_path, family)
    (reading,) = reader.read([QUESTION], [[SHORT]], n_best=1000)
    inputs = reader.tokenizer(
        QUESTION, SHORT.text, return_tensors="pt", return_offsets_mapping=True
    )
    offsets = inputs.pop("offset_mapping")[0].tolist()
    inside = [i for i, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    if family in {"roberta", "distilbert", "deberta-v2", "mpnet"}:
        del inputs["token_type_ids"]
    with torch.inference_mode():
        said = reader.model(**inputs)
    start, end = said.start_logits[0], said.end_logits[0]
    null = float(start[0] + end[0])
    expected = {
        (offsets[i][0], offsets[j][1]): float(start[i] + end[j]) - null
        for i, j in itertools.combinations_with_replacement(inside, 2)
    }
    found = {(span.start, span.end): span.score for span in reading.spans}
    assert found == pytest.approx(expected, abs=1e-4)
    partition = 1 + sum(map(math.exp, expected.values()))
    assert reading.no_answer == pytest.approx(1 / partition, rel=1e-3)
    assert reading.gflops > 0


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_long_passages_are_read_in_windows(tmp_path: Path, family: str) -> None:
    reader = loaded(tmp_path, family)
    # RoBERTa keeps two positions for itself.
    assert reader.settings.max_length == (130 if family == "bert" else 128)
    (reading,) = reader.read([QUESTION], [[LONG, SHORT]], n_best=50)
    for span in reading.spans:
        assert (LONG, SHORT)[span.passage].text[span.start : span.end] == span.text
    assert max(span.end for span in reading.spans if span.passage == 0) > 600
    alone, nothing = reader.read([QUESTION, "x"], [[SHORT], []], n_best=3)
    assert nothing.spans == ()
    (moved,) = reader.read([QUESTION], [[replace(SHORT, belief=1.5)]], n_best=3)
    assert moved.spans[0].score == pytest.approx(alone.spans[0].score + 1.5, abs=1e-4)
    passed = Deadline(1e-9)
    with pytest.raises(DeadlineError):
        reader.read([QUESTION], [[SHORT]], deadline=passed)


def test_shorter_windows_than_the_model_can_take(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    reader = PretrainedReader(found.model, found.tokenizer, ReaderSettings(40, 16, 3))
    assert (reader.settings.max_length, reader.settings.overlap) == (40, 13)
    (reading,) = reader.read([QUESTION], [[LONG]], n_best=20)
    assert all(len(span.text.split()) <= 3 for span in reading.spans)


def test_a_model_without_a_token_for_no_answer_is_refused(tmp_path: Path) -> None:
    """As T5's and XLNet's tokenizers write no such token first."""
    folder = write_answering(tmp_path)
    file = folder / "tokenizer.json"
    made = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(made | {"post_processor": None}), "utf-8")
    with pytest.raises(
        ModelError, match="first token stands for “no answer here”, and bert begins"
    ):
        load_pretrained_reader(str(folder))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path, 2)
    with pytest.raises(
        ModelError, match="a question-answering model is needed, not BertForSequence"
    ):
        load_pretrained_reader(str(folder))
    with pytest.raises(ModelError):
        load_pretrained_reader(str(tmp_path / "nowhere"))
