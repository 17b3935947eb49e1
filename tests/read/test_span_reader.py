"""SpanReader: spans of the very text, one distribution over passages, any input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, new_adapter
from pointsman.backbone.pairs import collate
from pointsman.backbone.specialist import Specialist, save_specialist
from pointsman.deadline import Deadline
from pointsman.errors import BackboneMismatchError, ConfigError, DeadlineError, SpecialistError
from pointsman.protocols import Reader
from pointsman.read.confidence import Calibration
from pointsman.read.head import SpanHead
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.types import Passage
from tiny import WORDS, write_tiny

QUESTION = "what follows alpha?"
SHORT = Passage(id="1", text="Alpha is red, beta is\tblue — naïve café 日本語 🙂.")
LONG = Passage(id="2", text=" ".join(WORDS[(7 * i) % len(WORDS)] for i in range(90)))
OTHER = Passage(id="3", text="gamma delta\x00 epsilon \ud800 zeta")
BLANK = Passage(id="4", text=" \n ")
EMPTY = Passage(id="5", text="", title="only a title")
ALL = [SHORT, LONG, BLANK, OTHER, EMPTY]


def brute_force(
    reader: SpanReader, passages: Sequence[Passage]
) -> dict[tuple[int, int, int], float]:
    """Log-odds of every span, window by window and pair by pair; the best where windows overlap."""
    settings, found = reader.settings, {}
    weight, bias = reader._head.tensors["weight"], reader._head.tensors["bias"]
    for place, passage in enumerate(passages):
        pair = [(QUESTION, passage.text)]
        for window in reader.backbone.windows(pair, settings.max_length, settings.overlap):
            with torch.inference_mode():
                states = reader.backbone.forward(collate([window], 0))[0]
            logits = states @ weight.T + bias
            inside = [i for i, (start, _) in enumerate(window.offsets) if start >= 0]
            for i in inside:
                for j in inside:
                    if i <= j < i + settings.answer_width:
                        key = (place, int(window.offsets[i, 0]), int(window.offsets[j, 1]))
                        odds = float(logits[i, 0] + logits[j, 1] - logits[0].sum())
                        found[key] = max(odds, found.get(key, -math.inf))
    return found


def test_it_is_a_reader(reader: SpanReader) -> None:
    assert isinstance(reader, Reader)


def test_the_best_spans_by_brute_force(reader: SpanReader) -> None:
    (reading,) = reader.read([QUESTION], [ALL], n_best=20)
    expected = sorted(brute_force(reader, ALL).items(), key=lambda item: -item[1])[:20]
    assert [span.score for span in reading.spans] == pytest.approx(
        [odds for _, odds in expected], abs=1e-4
    )
    found = [(span.passage, span.start, span.end) for span in reading.spans]
    assert found[0] == expected[0][0]
    assert set(found) == {place for place, _ in expected}


def test_spans_are_the_passages_own_text_distinct_and_sorted(reader: SpanReader) -> None:
    (reading,) = reader.read([QUESTION], [ALL], n_best=40)
    assert len(reading.spans) == 40
    for span in reading.spans:
        assert span.text == ALL[span.passage].text[span.start : span.end]
        assert span.text.strip()
    assert len({(s.passage, s.start, s.end) for s in reading.spans}) == 40
    scores = [span.score for span in reading.spans]
    assert scores == sorted(scores, reverse=True)
    (few,) = reader.read([QUESTION], [ALL], n_best=3)
    assert few.spans == reading.spans[:3]


def test_all_spans_and_silence_are_one_distribution(reader: SpanReader) -> None:
    (reading,) = reader.read([QUESTION], [[SHORT]], n_best=1000)
    every = brute_force(reader, [SHORT])
    assert len(reading.spans) == len(every)  # one window: no span is counted twice
    total = sum(span.probability for span in reading.spans) + reading.no_answer
    assert total == pytest.approx(1, abs=1e-5)
    partition = 1 + sum(map(math.exp, every.values()))
    assert reading.no_answer == pytest.approx(1 / partition, rel=1e-4)
    for span in reading.spans:
        assert span.probability == pytest.approx(math.exp(span.score) * reading.no_answer, rel=1e-4)


def test_scores_do_not_depend_on_the_company(reader: SpanReader) -> None:
    questions = [QUESTION, "what is beta", QUESTION]
    together = reader.read(questions, [[SHORT], [LONG, OTHER], ALL], n_best=500)
    (alone,) = reader.read([QUESTION], [[SHORT]], n_best=500)
    assert {(s.start, s.end): s.score for s in together[0].spans} == pytest.approx(
        {(s.start, s.end): s.score for s in alone.spans}, abs=1e-4
    )
    in_company = {(s.start, s.end): s for s in together[2].spans if s.passage == 0}
    assert in_company
    for span in alone.spans:
        if (span.start, span.end) in in_company:
            other = in_company[span.start, span.end]
            assert other.score == pytest.approx(span.score, abs=1e-4)
            assert other.probability < span.probability  # shared with more spans


def test_order_of_passages_changes_only_their_places(reader: SpanReader) -> None:
    (one,) = reader.read([QUESTION], [[SHORT, OTHER]], n_best=10)
    (two,) = reader.read([QUESTION], [[OTHER, SHORT]], n_best=10)
    assert [s.text for s in one.spans] == [s.text for s in two.spans]
    assert [1 - s.passage for s in one.spans] == [s.passage for s in two.spans]


def test_what_is_believed_of_a_passage_moves_its_spans(reader: SpanReader) -> None:
    (plain,) = reader.read([QUESTION], [[SHORT, OTHER]], n_best=1000)
    believed = [replace(SHORT, belief=-2.0), replace(OTHER, belief=0.5)]
    (moved,) = reader.read([QUESTION], [believed], n_best=1000)
    expected = {
        (s.passage, s.start, s.end): s.score + (-2.0 if s.passage == 0 else 0.5)
        for s in plain.spans
    }
    found = {(s.passage, s.start, s.end): s.score for s in moved.spans}
    assert found == pytest.approx(expected, abs=1e-4)
    partition = 1 + sum(map(math.exp, expected.values()))
    assert moved.no_answer == pytest.approx(1 / partition, rel=1e-4)
    best = max(expected, key=lambda place: expected[place])
    assert (moved.spans[0].passage, moved.spans[0].start, moved.spans[0].end) == best


def test_width_is_in_tokens(reader: SpanReader) -> None:
    text = "alpha beta gamma delta epsilon zeta eta theta"
    for width in (1, 3):
        narrow = SpanReader(
            reader.backbone, reader._head, None, replace(reader.settings, answer_width=width)
        )
        (reading,) = narrow.read([QUESTION], [[Passage(id="1", text=text)]], n_best=100)
        assert max(len(span.text.split()) for span in reading.spans) == width
        assert len(reading.spans) == sum(8 - w for w in range(width))


@pytest.mark.parametrize("passages", [[], [EMPTY], [BLANK, EMPTY]])
def test_nothing_to_read(reader: SpanReader, passages: list[Passage]) -> None:
    (reading,) = reader.read([QUESTION], [passages], n_best=3)
    assert reading.spans == ()
    assert (reading.no_answer, reading.confidence) == (1.0, 0.0)


def test_questions_with_nothing_beside_others(reader: SpanReader) -> None:
    readings = reader.read(["a", QUESTION, "b"], [[], [BLANK, SHORT], [EMPTY]])
    assert [len(reading.spans) for reading in readings] == [0, 1, 0]
    assert readings[1].spans[0].passage == 1
    assert reader.read([], []) == []


@pytest.mark.parametrize(
    "question", ["", " ", "\ud800", "\x00" * 50, "🙂" * 500, "alpha " * 20_000, "שלום עולם 日本"]
)
def test_questions_from_anywhere(reader: SpanReader, question: str) -> None:
    (reading,) = reader.read([question], [[SHORT]])
    span = reading.spans[0]
    assert span.text == SHORT.text[span.start : span.end]
    assert 0 <= reading.confidence <= 1


def test_as_many_questions_as_lists_of_passages(reader: SpanReader) -> None:
    with pytest.raises(ValueError, match="zip"):
        reader.read([QUESTION], [])


def test_a_deadline_that_has_passed(reader: SpanReader) -> None:
    deadline = Deadline()
    deadline.cancel()
    with pytest.raises(DeadlineError, match="reading"):
        reader.read([QUESTION], [[SHORT]], deadline=deadline)


def test_confidence_is_the_calibrations_word(reader: SpanReader) -> None:
    (plain,) = reader.read([QUESTION], [ALL])
    assert plain.confidence == pytest.approx(plain.spans[0].probability, abs=1e-6)
    (other,) = reader.calibrated(Calibration((0.0, 0.0, 0.0, 1.0, 0.0), 0.0)).read(
        [QUESTION], [ALL]
    )
    # σ(ln 5) = 5 / 6 for five passages.
    assert other.confidence == pytest.approx(5 / 6)
    assert other.spans == plain.spans


def specialist(tiny: Backbone, reader: SpanReader) -> Specialist:
    generator = torch.Generator().manual_seed(9)
    fresh = new_adapter(tiny.model, 2, 4, generator)
    layers = {
        name: LowRank(pair.a, torch.randn(pair.b.shape, generator=generator) / 4, pair.scale)
        for name, pair in fresh.layers.items()
    }
    return Specialist(
        kind="reader",
        name="r",
        base_sha256=tiny.identity.sha256,
        base_name=tiny.identity.name,
        adapter=LoraAdapter(layers),
        head=reader._head.tensors,
        settings=reader.settings.record(),
    )


def test_settings_survive_the_disk(tmp_path: Path, tiny: Backbone, reader: SpanReader) -> None:
    settings = replace(
        reader.settings, calibration=Calibration((0.5, 0.25, -1.0, 0.5, 0.75), 0.125)
    )
    save_specialist(replace(specialist(tiny, reader), settings=settings.record()), tmp_path / "r")
    loaded = SpanReader.load(tiny, tmp_path / "r")
    try:
        assert loaded.settings == settings
        assert "reader:r" in tiny.adapters
        (with_adapter,) = loaded.read([QUESTION], [[SHORT]])
        (without,) = reader.read([QUESTION], [[SHORT]])
        assert with_adapter.spans[0].score != pytest.approx(without.spans[0].score, abs=1e-2)
    finally:
        tiny.remove_adapter("reader:r")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_length": 40},
        {"calibration": None},
        {"calibration": {"weights": [1.0]}},
        {"calibration": {"weights": "abc", "bias": "x"}},
        {"calibration": {"weights": [1, 0, 0], "bias": 0}, "colour": "red"},
        None,
    ],
)
def test_incomplete_settings(settings: object) -> None:
    with pytest.raises(SpecialistError, match="settings are incomplete"):
        ReaderSettings.of(settings)


def test_another_base_another_kind_another_head(
    tmp_path: Path, tiny: Backbone, reader: SpanReader
) -> None:
    made = specialist(tiny, reader)
    save_specialist(made, tmp_path / "r")
    other = Backbone.load(write_tiny(tmp_path / "other", seed=5), device="cpu", dtype="fp32")
    with pytest.raises(BackboneMismatchError, match=rf"{tiny.identity.sha256[:12]}.*other"):
        SpanReader.load(other, tmp_path / "r")
    save_specialist(replace(made, kind="grader"), tmp_path / "g")
    with pytest.raises(SpecialistError, match="kind 'grader'"):
        SpanReader.load(tiny, tmp_path / "g")
    save_specialist(replace(made, head={}), tmp_path / "h")
    with pytest.raises(SpecialistError, match="a span head has"):
        SpanReader.load(tiny, tmp_path / "h")
    assert other.adapters == ()
    for name in tiny.adapters:
        tiny.remove_adapter(name)


def test_an_overlap_that_leaves_no_room(reader: SpanReader) -> None:
    settings = replace(reader.settings, overlap=40)
    wide = SpanReader(reader.backbone, SpanHead(reader._head.tensors), None, settings)
    with pytest.raises(ConfigError, match="windows of 40 tokens can overlap by 0 to 16"):
        wide.read([QUESTION], [[SHORT]])
