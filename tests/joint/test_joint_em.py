"""Selector and reader on a very small backbone: the passage of the asked letter names its colour."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graded import COLOURS, GREEK
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.errors import ConfigError, FormatError, InputError
from pointsman.evaluate.reading import exact_match
from pointsman.joint.asked import Asked, digest, ungraded
from pointsman.joint.em import Iteration, best, ready, train_together, warm_up
from pointsman.joint.estimate import COLLAPSED, Estimate, estimate, explained
from pointsman.joint.measures import measure
from pointsman.joint.recipe import Both, Recipe
from pointsman.read.head import SpanHead
from pointsman.read.joined import as_read
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.task import Part as ReaderPart
from pointsman.select.chooser import Policy
from pointsman.select.em import posterior
from pointsman.select.permutation import END
from pointsman.select.pointer import PointerHead
from pointsman.select.selector import ListSelector, SelectorSettings, candidate_width
from pointsman.select.task import Part as SelectorPart
from pointsman.select.task import selector_of
from pointsman.training.loop import Plan
from pointsman.types import Passage
from tiny import WIDTH, write_tiny

CANDIDATES = 4


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def world(questions: int, seed: int) -> list[Asked]:
    """All passages name a colour; the one of the letter that is asked for is right."""
    rng = random.Random(seed)
    made = []
    for number in range(questions):
        letters = rng.sample(GREEK, CANDIDATES)
        colours = rng.sample(COLOURS, CANDIDATES)
        place = rng.randrange(CANDIDATES)
        passages = tuple(
            Passage(str(i), f"here comes {letter} after {colour}")
            for i, (letter, colour) in enumerate(zip(letters, colours, strict=True))
        )
        made.append(
            Asked(
                str(number),
                f"what precedes {letters[place]}",
                (colours[place],),
                passages,
                ungraded(passages),
                (place,),
            )
        )
    return made


def start(backbone: Backbone, seed: int = 0) -> Both:
    generator = torch.Generator().manual_seed(seed)
    selector = SelectorPart(
        new_adapter(backbone.model, 4, 8.0, generator),
        PointerHead.fresh(candidate_width(WIDTH), 32, generator),
    )
    reader = ReaderPart(
        new_adapter(backbone.model, 4, 8.0, generator), SpanHead.fresh(WIDTH, generator)
    )
    return Both(selector, reader)


def recipe(policy: Policy = "pointer", **changes: object) -> Recipe:
    quick = Plan(measure=None, epochs=2, learning_rate=1e-2, evaluations=1)
    made = Recipe(
        selector=SelectorSettings(policy, 2, 48),
        reader=ReaderSettings(max_length=40, overlap=8, answer_width=3),
        samples=4,
        iterations=3,
        selector_plan=quick,
        reader_plan=quick,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def measured(
    asked: Sequence[Asked], selector: ListSelector, reader: SpanReader
) -> Mapping[str, float]:
    questions = [each.question for each in asked]
    chosen = selector.select(
        questions, [each.passages for each in asked], [each.relevance for each in asked]
    )
    shown = [[each.passages[i] for i in one.order] for each, one in zip(asked, chosen, strict=True)]
    right = [
        exact_match(reading.spans[0].text if reading.spans else "", each.answers)
        for each, reading in zip(asked, reader.read(questions, shown), strict=True)
    ]
    recall = [each.supporting[0] in one.order for each, one in zip(asked, chosen, strict=True)]
    return {"em": float(np.mean(right)), "recall": float(np.mean(recall))}


@pytest.mark.parametrize(("policy", "iterations"), [("pointer", 4), ("sets", 3)])
def test_from_answers_alone_both_learn(
    backbone: Backbone, tmp_path: Path, policy: Policy, iterations: int
) -> None:
    """Neither was told which passage or which span is right; by chance 1 in 4 and 1 in 2."""
    tests = world(60, seed=5)
    history = train_together(
        backbone,
        world(300, seed=1),
        start(backbone),
        recipe(policy, samples=8, iterations=iterations),
        tmp_path,
        lambda both: measured(tests, *both.on(backbone, recipe(policy))),
    )
    assert len(history) == 1 + iterations
    assert history[0].measures["em"] < 0.3
    assert best(history, "em").measures["em"] > 0.75
    assert history[-1].measures["recall"] > 0.8


@pytest.mark.parametrize(("trains", "stays"), [("selector", "reader"), ("reader", "selector")])
def test_what_is_not_trained_stays_as_it_was(
    backbone: Backbone, tmp_path: Path, trains: str, stays: str
) -> None:
    begun = start(backbone)
    history = train_together(
        backbone,
        world(16, seed=1),
        begun,
        recipe(trains=trains, iterations=1, frozen=True),
        tmp_path,
        lambda *_: {},
    )
    assert getattr(history[-1].both, stays) is getattr(begun, stays)
    before, after = (getattr(each, trains) for each in (begun, history[-1].both))
    changed = [
        not torch.equal(tensor, after.head.tensors[name])
        for name, tensor in before.head.tensors.items()
    ]
    assert any(changed)
    if trains == "selector":  # frozen: its adapter is what it was
        for name, tensor in before.adapter.tensors().items():
            assert torch.equal(tensor, after.adapter.tensors()[name])


class StoppedError(Exception):
    pass


def test_an_interrupted_iteration_goes_on_from_the_last_whole_step(
    backbone: Backbone, tmp_path: Path
) -> None:
    asked, begun = world(24, seed=1), start(backbone)
    looked: list[str] = []

    def measure(*_: object) -> Mapping[str, float]:
        looked.append("measured")
        return {}

    def run(folder: Path, stop_at: str | None = None) -> Both:
        def show(what: str, progress: object) -> None:
            if what == stop_at:
                raise StoppedError

        return train_together(backbone, asked, begun, recipe(iterations=2), folder, measure, show)[
            -1
        ].both

    whole = run(tmp_path / "whole")
    measurements = len(looked)
    with pytest.raises(StoppedError):
        run(tmp_path / "broken", "iteration-2: reader")
    kept = (tmp_path / "broken/iteration-2/estimate.npz").stat().st_mtime_ns
    gone_on = run(tmp_path / "broken")
    assert (tmp_path / "broken/iteration-2/estimate.npz").stat().st_mtime_ns == kept
    assert len(looked) == 2 * measurements  # nothing was measured twice
    for name, tensor in whole.reader.head.tensors.items():
        torch.testing.assert_close(tensor, gone_on.reader.head.tensors[name])
    for name, tensor in whole.selector.adapter.tensors().items():
        torch.testing.assert_close(tensor, gone_on.selector.adapter.tensors()[name])
    with pytest.raises(
        ConfigError, match="other questions, with other settings or from other weights"
    ):
        train_together(
            backbone, world(24, seed=2), begun, recipe(iterations=2), tmp_path / "broken", measure
        )


@pytest.mark.parametrize("policy", ["pointer", "sets"])
def test_an_answer_in_no_candidate_is_counted_and_never_nan(
    backbone: Backbone, tmp_path: Path, policy: Policy
) -> None:
    asked = world(6, seed=1)
    lost = replace_answers(asked[1], ("nowhere",))
    empty = Asked("none", "what is red", ("red",), (), ungraded(()))
    few = asked[2].first(1)
    mixed = [asked[0], lost, empty, few, *asked[3:]]
    found = estimate(backbone, mixed, start(backbone), recipe(policy), tmp_path)
    assert found.unanswered == 2 + (0 in range(asked[2].supporting[0]))
    assert np.isfinite(found.entropy)
    shown = found.shown(mixed, recipe(policy))
    assert sum(shown[1].weights) == sum(shown[2].weights) == 0
    assert sum(shown[0].weights) in (0.0, pytest.approx(1))
    history = train_together(
        backbone, mixed, start(backbone), recipe(policy, iterations=1), tmp_path, lambda *_: {}
    )
    for tensor in history[-1].both.selector.head.tensors.values():
        assert torch.isfinite(tensor).all()


def test_where_no_question_can_be_answered_nothing_is_learned(
    backbone: Backbone, tmp_path: Path
) -> None:
    lost = [replace_answers(each, ("nowhere",)) for each in world(6, seed=1)]
    with pytest.raises(InputError, match="no answer to any of the 6 questions stands in what was"):
        train_together(backbone, lost, start(backbone), recipe(), tmp_path, lambda *_: {})
    many = [replace(each, passages=each.passages * 15) for each in lost]
    sets = recipe("sets", selector=SelectorSettings("sets", 5, 48))
    with pytest.raises(ConfigError, match="5,985,197 sets of up to 5 among 60 candidates"):
        train_together(backbone, many, start(backbone), sets, tmp_path, lambda *_: {})


def test_a_selector_that_has_collapsed_stays_and_the_reader_goes_on(
    backbone: Backbone, tmp_path: Path
) -> None:
    """One that draws one selection of each question alone could only grow surer of it."""
    begun = start(backbone)
    tensors = begun.selector.head.tensors
    sure = {**tensors, "score": tensors["score"] * 1e6}
    both = Both(SelectorPart(begun.selector.adapter, PointerHead(sure)), begun.reader)
    said: list[str] = []

    def run(start: Both, made: Recipe, name: str) -> Iteration:
        folder = tmp_path / name
        said.clear()
        return train_together(
            backbone, world(24, seed=1), start, made, folder, lambda *_: {}, say=said.append
        )[-1]

    collapsed = run(both, recipe(iterations=1), "collapsed")
    assert collapsed.entropy is not None
    assert collapsed.entropy < COLLAPSED
    assert collapsed.both.selector is both.selector
    assert collapsed.both.reader is not both.reader
    assert any("draws nothing to choose between" in each for each in said)
    # Of one selection the weight is always 1 and says nothing.
    alone = run(begun, recipe(iterations=1, samples=1), "alone")
    assert alone.both.selector is begun.selector
    lively = run(begun, recipe(iterations=1), "lively")
    assert lively.both.selector is not begun.selector
    assert not any("draws nothing" in each for each in said)


def test_what_was_measured_of_other_weights_is_measured_again(
    backbone: Backbone, tmp_path: Path
) -> None:
    asked, looked = world(12, seed=1), []

    def run(begun: Both, watched: str = "") -> None:
        def measure(both: Both) -> Mapping[str, float]:
            looked.append(both.digest)
            return {"f1": float(len(looked))}

        train_together(
            backbone, asked, begun, recipe(iterations=1), tmp_path, measure, watched=watched
        )

    run(start(backbone))
    run(start(backbone))
    assert len(looked) == 2
    run(start(backbone), "other questions")  # to look at
    assert len(looked) == 4
    with pytest.raises(ConfigError, match="from other weights"):
        run(start(backbone, seed=1))
    (tmp_path / "start/measures.json").write_text('{"of": "', "utf-8")  # not whole
    run(start(backbone), "other questions")
    assert len(looked) == 6  # and once of the other weights before it was refused
    broken = tmp_path / "iteration-1/estimate.npz"
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(FormatError, match="no estimate of a selection run"):
        run(start(backbone), "other questions")


def test_the_likeliest_selections_are_weighed_by_the_posterior(
    backbone: Backbone, tmp_path: Path
) -> None:
    """With as many as there are, 4 of one and 12 of two, nothing of the posterior is left out."""
    asked, begun = world(5, seed=3), start(backbone)
    looking = recipe(samples=16, looks="likeliest")
    found = estimate(backbone, asked, begun, looking, tmp_path)
    assert found.log_prior is not None
    torch.testing.assert_close(found.log_prior.exp().sum(1), torch.ones(5))
    expected = posterior(found.log_prior.double(), found.log_p)
    torch.testing.assert_close(found.weights, expected)
    again = estimate(backbone, asked, begun, looking, tmp_path)
    torch.testing.assert_close(again.weights, found.weights)
    # Fewer: those of the highest prior, and log p(y | x) by selections drawn is an average of theirs.
    few = estimate(backbone, asked, begun, recipe(samples=3, looks="likeliest"), tmp_path / "few")
    assert few.log_prior is not None
    torch.testing.assert_close(few.log_prior, found.log_prior.topk(3, dim=1).values)
    log_p, entropy = explained(backbone, asked, begun, recipe(samples=400))
    exact = torch.logsumexp(found.log_prior.double() + found.log_p, 1)
    torch.testing.assert_close(log_p, exact, atol=0.3, rtol=0)
    exactly = -(found.log_prior.exp() * found.log_prior).sum(1).mean().item()
    assert entropy == pytest.approx(exactly, abs=0.1)


def replace_answers(asked: Asked, answers: tuple[str, ...]) -> Asked:
    return Asked(
        asked.id, asked.question, answers, asked.passages, asked.relevance, asked.supporting
    )


def test_selections_of_the_exact_posterior_hold_the_answer(
    backbone: Backbone, tmp_path: Path
) -> None:
    asked = world(8, seed=3)
    found = estimate(backbone, asked, start(backbone), recipe("sets", samples=16), tmp_path)
    for each, rows in zip(asked, found.drawn, strict=True):
        assert (rows == each.supporting[0]).any(1).all()
        assert ((rows != END).sum(1) >= 1).all()
    # The prior of a fresh head is nearly uniform: 4 sets of one and 6 of two.
    assert found.entropy == pytest.approx(np.log(10), abs=0.1)


def test_a_joined_text_of_next_to_no_weight_is_not_read_again() -> None:
    drawn = torch.tensor([[[0, 1], [1, 0], [0, 1], [2, END]]])
    found = Estimate(drawn, torch.log(torch.tensor([[0.4, 0.196, 0.4, 0.004]]).double()), 0.0)
    joined = recipe(reader=ReaderSettings(joined=True))
    (shown,) = found.shown(world(1, seed=3), joined)
    assert len(shown.texts) == 2
    assert shown.weights == pytest.approx((0.8, 0.196))  # drawn twice, once, and left out
    (apart,) = found.shown(world(1, seed=3), recipe())  # there it costs nothing
    assert apart.weights == pytest.approx((0.996, 0.004))


def test_both_learn_where_the_reader_sees_passages_together(
    backbone: Backbone, tmp_path: Path
) -> None:
    tests = world(60, seed=5)
    quick = Plan(measure=None, epochs=1, learning_rate=3e-3, evaluations=1)
    both = recipe(
        reader=ReaderSettings(max_length=64, overlap=8, answer_width=3, joined=True),
        samples=8,
        iterations=1,
        selector_plan=quick,
        reader_plan=replace(quick, epochs=4),
    )

    def measured_together(weights: Both) -> Mapping[str, float]:
        selector, reader = weights.on(backbone, both)
        return measure(tests, selector, as_read(reader)).means()

    history = train_together(
        backbone,
        world(300, seed=1),
        start(backbone),
        both,
        tmp_path,
        measured_together,
    )
    before, after = (each.measures for each in history)
    assert before["em"] < 20
    assert after["em"] > 50
    assert after["recall@1"] > before["recall@1"] + 20
    asked = world(4, seed=2)
    found = estimate(backbone, asked, start(backbone), both, tmp_path / "again")
    assert not found.shares
    shown = found.shown(asked, both)
    assert all(text.startswith("yes no\n") for each in shown for text in each.texts)
    again = estimate(backbone, asked, start(backbone), both, tmp_path / "again")
    assert torch.equal(again.log_p, found.log_p)
    for rows, log_p in zip(found.drawn.tolist(), found.log_p.tolist(), strict=True):
        of_each = dict(zip(map(tuple, rows), log_p, strict=True))
        assert [of_each[tuple(row)] for row in rows] == log_p  # one text, one reading
    with pytest.raises(ConfigError, match="take the policy pointer"):
        recipe("sets", reader=both.reader)


def test_the_warm_up_needs_to_know_what_supports_the_answer(
    backbone: Backbone, tmp_path: Path
) -> None:
    asked = world(200, seed=1)
    plan = Plan(measure="first", epochs=3, learning_rate=1e-2, evaluations=1)

    def first(selector: ListSelector) -> Mapping[str, float]:
        tests = world(40, seed=4)
        chosen = selector.select(
            [each.question for each in tests],
            [each.passages for each in tests],
            [each.relevance for each in tests],
        )
        hits = [one.order[0] == each.supporting[0] for each, one in zip(tests, chosen, strict=True)]
        return {"first": float(np.mean(hits))}

    begun = start(backbone).selector
    warm = warm_up(backbone, asked, begun, recipe(), plan, tmp_path, first)
    assert first(selector_of(backbone, warm, recipe().selector))["first"] > 0.8
    unknown = [
        Asked(each.id, each.question, each.answers, each.passages, each.relevance) for each in asked
    ]
    with pytest.raises(InputError, match="no question has a passage that is known to support"):
        warm_up(backbone, unknown, begun, recipe(), plan, tmp_path, first)


def test_taught_by_the_whole_it_chooses_that_and_nothing_else(
    backbone: Backbone, tmp_path: Path
) -> None:
    asked, plan = world(200, seed=1), Plan(measure=None, epochs=3, learning_rate=1e-2)
    begun = start(backbone).selector
    taught = warm_up(backbone, asked, begun, recipe(), plan, tmp_path, lambda _: {}, whole=True)

    tests = world(40, seed=4)
    chosen = selector_of(backbone, taught, recipe().selector).select(
        [each.question for each in tests],
        [each.passages for each in tests],
        [each.relevance for each in tests],
    )
    right = [
        one.order.tolist() == [*each.supporting] for each, one in zip(tests, chosen, strict=True)
    ]
    assert np.mean(right) > 0.8
    # EM begins with the same, but for how much it takes to stop.
    changed = {
        name
        for name, tensor in ready(taught).head.tensors.items()
        if not torch.equal(tensor, taught.head.tensors[name])
    }
    assert changed == {"stop.bias"}


def test_questions_are_told_apart_by_all_that_can_be_learned() -> None:
    one = world(2, seed=1)
    others = [
        world(2, seed=2),
        one[:1],
        [one[0].first(3), one[1]],
        [replace_answers(one[0], ("x",)), one[1]],
    ]
    assert len({digest(each) for each in (one, *others)}) == 5
    assert digest(one) == digest(world(2, seed=1))


def test_what_cannot_be_done_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no question to train"):
        train_together(backbone, [], start(backbone), recipe(), tmp_path, lambda *_: {})
    for changes, message in (
        ({"samples": 0}, "at least 1 sample"),
        ({"iterations": 0}, "at least 1 iteration"),
        ({"trains": "nobody"}, "one of both, selector, reader, not 'nobody'"),
    ):
        with pytest.raises(ConfigError, match=message):
            recipe(**changes)  # type: ignore[arg-type]
