"""A reader taught by answers alone, on passages that someone else selected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.read.head import SpanHead
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.marginal import MarginalTask, Shown, reader_of
from pointsman.read.reader import ReaderSettings
from pointsman.read.task import Part
from pointsman.training.loop import Plan, train
from pointsman.types import Passage
from tiny import WIDTH

SETTINGS = ReaderSettings(max_length=40, overlap=8, answer_width=5)
GREEK = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
COLOURS = ["red", "green", "blue", "white", "black", "grey"]


def part(tiny: Backbone, seed: int = 0) -> Part:
    generator = torch.Generator().manual_seed(seed)
    return Part(new_adapter(tiny.model, 4, 8.0, generator), SpanHead.fresh(WIDTH, generator))


def passages(texts: Sequence[str]) -> list[Passage]:
    return [Passage(str(i), text) for i, text in enumerate(texts)]


def test_the_loss_is_what_the_likelihood_says(tiny: Backbone) -> None:
    long = "beta is red " * 12  # several windows
    shown = [
        Shown(
            "what follows alpha?",
            ("alpha is red", "beta is blue and Red", "gamma is white"),
            ("red",),
            ((0, 1), (2, 0), (2,)),
            (0.5, 0.25, 0.25),
        ),
        Shown.all_of("what follows beta?", (long, ""), ("red", "blue")),
    ]
    made = part(tiny, seed=3)
    task = MarginalTask(tiny, made, shown, lambda _: {}, settings=SETTINGS)
    likelihood = SpanLikelihood(reader_of(tiny, made, SETTINGS))
    log_p = [
        [
            likelihood.log_likelihood(s.question, passages([s.texts[i] for i in z]), s.answers)
            for z in s.selections
        ]
        for s in shown
    ]
    assert log_p[0][2] == -math.inf  # and counts for nothing
    first = -(0.5 * log_p[0][0] + 0.25 * log_p[0][1])
    assert task.loss([0]).item() == pytest.approx(first / 0.75, rel=1e-4)
    assert task.loss([1]).item() == pytest.approx(-log_p[1][0], rel=1e-4)
    assert task.loss([1, 0]).item() == pytest.approx((first - log_p[1][0]) / 1.75, rel=1e-4)


def test_what_cannot_teach_is_left_out_and_counted(tiny: Backbone) -> None:
    shown = [
        Shown("q", ("alpha is red", "not seen"), ("red",), ((0,),), (0.3,)),
        Shown.all_of("q", ("alpha is red",), ("blue",)),
        Shown("q", ("alpha is red",), ("red",), ((0,),), (0.0,)),
        Shown("q", ("alpha is red", "gamma"), ("red",), ((1,),), (1.0,)),
        Shown.all_of("q", (), ("red",)),
    ]
    task = MarginalTask(tiny, part(tiny), shown, lambda _: {}, settings=SETTINGS)
    assert task.left_out == 4
    assert task.batches(0) == [[0]]
    task.loss([0]).backward()
    grads = [p.grad for p in task.parameters().values()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)


def test_an_answer_wider_than_spans_go_is_no_nan(tiny: Backbone) -> None:
    answer = "red green blue white black grey"
    shown = [Shown.all_of("q", (answer,), (answer,))]
    task = MarginalTask(tiny, part(tiny), shown, lambda _: {}, settings=SETTINGS)
    assert task.loss([0]).item() == 0


def test_a_reader_learns_from_answers_alone(tiny: Backbone, tmp_path: Path) -> None:
    """The colour of the letter that is asked for; the other passage names another letter's."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[Shown]:
        made = []
        for _ in range(count):
            one, other = torch.randperm(len(GREEK), generator=generator)[:2].tolist()
            right, wrong = torch.randperm(len(COLOURS), generator=generator)[:2].tolist()
            texts = (
                f"here comes {GREEK[other]} after {COLOURS[wrong]}",
                f"here comes {GREEK[one]} after {COLOURS[right]}",
            )
            made.append(Shown.all_of(f"what precedes {GREEK[one]}", texts, (COLOURS[right],)))
        return made

    task = MarginalTask(tiny, part(tiny), draw(300), lambda _: {}, settings=SETTINGS, batch_size=16)
    plan = Plan(measure=None, epochs=10, learning_rate=1e-2, evaluations=1)
    outcome = train(task, plan, tmp_path)
    # Every evaluation says the same: the weights of the end are wanted.
    reader = reader_of(tiny, task.part(), SETTINGS)
    assert outcome.steps > 0
    tests = draw(40)
    readings = reader.read([t.question for t in tests], [passages(t.texts) for t in tests])
    right = [r.spans[0].text == t.answers[0] for r, t in zip(readings, tests, strict=True)]
    assert sum(right) / len(right) > 0.8


def test_another_selection_is_another_run(tiny: Backbone) -> None:
    def task(weight: float) -> MarginalTask:
        shown = [Shown("q", ("alpha is red",), ("red",), ((0,),), (weight,))]
        return MarginalTask(tiny, part(tiny), shown, lambda _: {}, settings=SETTINGS)

    assert task(1.0).fingerprint() == task(1.0).fingerprint()
    assert task(1.0).fingerprint() != task(0.5).fingerprint()
