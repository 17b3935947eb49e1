from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from letters import article, write_articles
from pointsman.backbone.encoder import Backbone
from pointsman.errors import InputError
from pointsman.experiments.report import silent
from pointsman.experiments.selection.bed import SETS, Sizes, halves, load
from pointsman.experiments.selection.estimator import Counted
from pointsman.experiments.selection.lab import Plans
from pointsman.experiments.selection.rows import APART, BOUND
from pointsman.experiments.selection.run import run
from pointsman.joint.recipe import Recipe
from pointsman.read.reader import ReaderSettings
from pointsman.read.recipe import Recipe as ReaderRecipe
from pointsman.select.em import log_marginal, posterior
from pointsman.select.selector import SelectorSettings
from pointsman.training.loop import Plan
from pointsman.types import ReadingExample
from tiny import write_tiny

SIZES = Sizes(read=40, taught=30, together=20, dev=10, test=12, candidates=6, trained_candidates=5)
PLAN = Plan(measure="none", epochs=1, learning_rate=3e-3, evaluations=1)
PLANS = Plans(
    ReaderRecipe(
        rank=4,
        alpha=8.0,
        clozes=0,
        dropout=0.0,
        settings=ReaderSettings(max_length=40, overlap=8, answer_width=4),
        plan=Plan(measure="f1", epochs=1, learning_rate=3e-3, evaluations=1),
    ),
    warm=Plan(measure="recall@1", epochs=1, learning_rate=3e-3, evaluations=1),
    together=Recipe(
        selector=SelectorSettings("pointer", 5, 48),
        reader=ReaderSettings(max_length=40, overlap=8, answer_width=4),
        iterations=1,
        samples=2,
        frozen=True,
        selector_plan=PLAN,
        reader_plan=PLAN,
    ),
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test bed of the same files."""
    folder = tmp_path_factory.mktemp("bed") / "squad"
    folder.mkdir()
    rng = random.Random(0)
    numbers = itertools.count()
    for name, collection in SETS.items():
        articles = {
            part: [article(next(numbers), rng, 5) for _ in range(count)]
            for part, count in (("train", 14), ("dev", 4), ("test", 4))
        }
        for part, made in articles.items():
            write_articles(folder / f"{name}-{part}.json", made)
        if len(collection) == 1:
            whole = itertools.chain.from_iterable(articles.values())
            write_articles(folder / f"{collection[0]}.json", whole)
    return folder.parent


def test_who_learns_together_was_not_read_before(bed: Path, backbone: Backbone) -> None:
    found = load(bed, backbone, SIZES, silent)
    apart = {example.question for example in found.read} | {e.question for e in found.taught}
    tests = {e.question for asked in found.tests.values() for e in asked}
    assert len(found.together) == 60
    assert not apart & {each.question for each in found.together}
    assert not tests & (apart | {e.question for e in (*found.together, *found.dev)})
    assert {len(each.passages) for each in found.together} == {5}
    assert {len(each.passages) for each in found.dev} == {6}
    assert sorted(found.tests) == ["squad-articles", "squadshifts-newwiki"]
    # An article is on one side.
    examples = [ReadingExample(str(i), "q", "c", cluster=f"article {i // 3}") for i in range(12)]
    first, second = halves(examples)
    assert not {e.cluster for e in first} & {e.cluster for e in second}
    assert len(first) == len(second) == 6


def test_a_test_question_in_train_is_refused(bed: Path, backbone: Backbone, tmp_path: Path) -> None:
    copied = tmp_path / "squad"
    copied.mkdir()
    for file in (bed / "squad").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    (copied / "squad-articles-train.json").write_bytes(
        (copied / "squadshifts-newwiki-test.json").read_bytes()
    )
    with pytest.raises(InputError, match="squad-articles, train"):
        load(tmp_path, backbone, SIZES, silent)
    (copied / "squadshifts-amazon-dev.json").unlink()
    with pytest.raises(InputError, match=r"no squadshifts-amazon-dev\.json in it"):
        load(tmp_path, backbone, SIZES, silent)


def test_the_whole_experiment_and_going_on_with_it(
    bed: Path, backbone: Backbone, tmp_path: Path
) -> None:
    report = run(bed, backbone, tmp_path, sizes=SIZES, plans=PLANS, seeds=2)
    tables = {table.title: table for table in report.tables}
    main = tables["squad-articles, 2 seeds"]
    rows = {str(row[0]): row for row in main.rows}
    assert {"retrieval order", APART, "DRO", "ours: every set", BOUND} <= rows.keys()
    # What supports the answer is all that the bound reads.
    assert rows[BOUND][8] == pytest.approx(1.0)
    assert float(rows["retrieval order, all read"][7]) == 6  # type: ignore[arg-type]
    differences = tables["squad-articles: differences"]
    assert len(differences.rows) == len(rows) - 1
    iterations = tables["Iterations, on dev"].rows
    assert [row[1] for row in iterations] == [0, 1, 0, 1]
    estimated = tables["The gradient of m drawn selections"].rows
    assert estimated[1][2:] == [pytest.approx(1.0), 0.0, 0.0]  # m = 1, centred: nothing at all
    shown: list[str] = []
    again = run(
        bed,
        backbone,
        tmp_path,
        sizes=SIZES,
        plans=PLANS,
        seeds=2,
        show=lambda what, *_: shown.append(what),
    )
    assert [table.rows for table in again.tables] == [table.rows for table in report.tables]
    assert not any(what.startswith("reading the candidates") for what in shown)
    with pytest.raises(InputError, match="no row 'theirs'; there are retrieval order, "):
        run(bed, backbone, tmp_path, sizes=SIZES, plans=PLANS, seeds=1, only=["theirs"])
    few = run(bed, backbone, tmp_path, sizes=SIZES, plans=PLANS, seeds=1, only=["retrieval order"])
    assert [len(table.rows) for table in few.tables] == [1, 1, 0, 0]


def test_more_samples_are_nearer_to_the_exact_gradient() -> None:
    scores = torch.tensor([0.3, -0.2, 0.1, 0.0])
    counted = Counted.of(scores, 2)
    every = counted.selections
    # Candidate 2 answers, best alone with 3.
    log_p = torch.where((every == 2).any(1), -1.0, -torch.inf) + (every == 3).any(1) * 0.5
    # The gradient by differences, of log Σ p(z) p(y | d_z).
    marginal = log_marginal(counted.log_p, log_p.double())
    moved = Counted.of(scores + torch.tensor([0.0, 0.0, 1e-3, 0.0]), 2)
    slope = (log_marginal(moved.log_p, log_p.double()) - marginal) / 1e-3
    exact = posterior(counted.log_p, log_p.double()) @ counted.slopes
    assert exact[2].item() == pytest.approx(slope.item(), abs=1e-3)
    found = [counted.spread(log_p, m, repeats=4_000) for m in (1, 4, 16, 64)]
    assert found[0].deviation == found[0].cosine == 0
    assert found[0].bias == pytest.approx(1)
    biases = [each.bias for each in found]
    assert biases == sorted(biases, reverse=True)
    assert biases[-1] < 0.1
    assert found[-1].cosine > 0.95
    # Without centring one selection teaches whatever was drawn: noise, and in the mean nothing.
    raw = counted.spread(log_p, 1, centre=False, repeats=4_000)
    assert raw.deviation > 1
    nothing = counted.spread(torch.full((len(every),), 0.0), 4)
    assert np.isfinite([nothing.bias, nothing.deviation, nothing.cosine]).all()
