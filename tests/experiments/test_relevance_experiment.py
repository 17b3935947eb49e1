from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from graded import COLOURS, GREEK, quick_recipe
from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.graded import GradedPair
from pointsman.data.testbed import HOMEDEPOT
from pointsman.errors import InputError
from pointsman.evaluate.calibration import nll
from pointsman.experiments.relevance.bed import Sample, held_out_topics, least_spread, load
from pointsman.experiments.relevance.graders import Graders, Run, summed
from pointsman.experiments.relevance.measures import measured, within_queries
from pointsman.experiments.relevance.rows import PICKS, Rows
from pointsman.experiments.relevance.run import run
from pointsman.experiments.relevance.shifts import LEVEL, Population
from pointsman.experiments.relevance.studies import against_raters
from pointsman.experiments.report import silent
from pointsman.grade.decision import Decision
from pointsman.grade.objective import Objective
from tiny import write_tiny

QUICK = quick_recipe(epochs=2, measure="macro_f1")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop: an item of the query's colour is strong, another colour weak, a Greek letter none."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("bed") / "graded"
    folder.mkdir()
    parts = {"train": 40, "pool": 40, "id_dev": 15, "id_test": 15, "ood_test": 15}
    queries = [
        f"what is {colour} {letter} {number}"
        for colour in COLOURS
        for letter in GREEK
        for number in (1, 2)
    ]
    rng.shuffle(queries)
    split = {}
    for part, count in parts.items():
        split[part], queries = queries[:count], queries[count:]
    (folder / "homedepot-splits.json").write_text(json.dumps(split))

    def row(query: str, grade: int) -> str:
        colour = query.split()[2]
        other = rng.choice([each for each in COLOURS if each != colour])
        return (rng.choice(GREEK), other, colour)[grade]

    lines = ["query\titem\tscore"]
    for part in split.values():
        for query in part:
            lines += [
                f"{query}\there comes {row(query, g)}\t{(1.33, 2.33, 3)[g]}" for g in (0, 1, 2)
            ]
    (folder / "homedepot.tsv").write_text("\n".join(lines) + "\n")
    lines = ["query\titem\tscore\tvariance"]
    for query in queries[:15]:
        lines += [f"{query}\there {row(query, g)}\t{(1, 2, 4)[g]}\t0.4" for g in (0, 1, 2, 2)]
    (folder / "crowdflower.tsv").write_text("\n".join(lines) + "\n")
    return folder.parent


def test_measures_by_hand() -> None:
    sample = Sample(
        "hand",
        (("q", "a"), ("q", "b"), ("r", "c"), ("r", "d")),
        np.array([0, 2, 1, 1]),
        np.array([1.0, 3.0, 2.0, 2.0]),
        np.zeros(4),
    )
    p = np.array([[0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0, 1, 0], [1, 0, 0]], dtype=np.float32)
    sure = Decision.fit(np.eye(3), np.arange(3))
    found = measured(sample, p, sure)
    # Right on b and c; F1 0 of grade 0 (one labelled, one predicted), 2/3 of 1, 2/3 of 2.
    assert found["accuracy"] == 0.5
    assert found["macro-F1"] == pytest.approx(4 / 9)
    # Dev is right as it is and moves no threshold; one that favours grade 1 makes c and d right too.
    assert found["by thresholds"] == found["macro-F1"]
    unsure = np.array([[0.6, 0.4, 0], [0.8, 0.2, 0], [0, 0, 1]], dtype=np.float32)
    favoured = measured(sample, unsure[[1, 2, 0, 0]], Decision.fit(unsure, np.array([1, 0, 2])))
    assert favoured["macro-F1"] == pytest.approx(1 / 2)
    assert favoured["by thresholds"] == 1
    # Only q says something about order: its grade 2 comes second.
    assert found["nDCG@10"] == pytest.approx(1 / np.log2(3))
    assert within_queries(sample, [0, 1, 0, 1]) == 1.0


def test_topics_are_held_out_whole() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(30)[:25] * 10
    vectors = np.repeat(centres, 8, axis=0) + rng.normal(size=(200, 30)) * 0.01
    queries = [f"q{i}" for i in range(200)]
    apart = held_out_topics(queries, vectors.astype(np.float32), 0)
    assert 24 <= len(apart) < 60
    whole = {int(query[1:]) // 8 for query in apart}
    assert apart == {f"q{i}" for i in range(200) if i // 8 in whole}


def test_a_query_of_a_test_part_in_train_is_left_out(shop: Path, backbone: Backbone) -> None:
    bed = load(shop, lambda queries: backbone.encode(queries, prompt="query"))
    train = {query for query, _ in bed.train.texts} | {query for query, _ in bed.shifted.texts}
    held = {q for part in (bed.id_test, bed.ood_test, bed.id_dev) for q in part.queries}
    assert not train & held
    assert not {query for query, _ in bed.pool_texts} & held
    assert not {q for q, _ in bed.train.texts} & {q for q, _ in bed.shifted.texts}
    assert len(bed.train) + len(bed.shifted) == 120
    some = load(shop, lambda queries: backbone.encode(queries, prompt="query"), limit=10)
    assert len(some.id_test) == 30
    assert len(some.pool) == 30
    assert some.pool.spent == 0


@pytest.mark.parametrize("name", PICKS)
def test_every_way_of_picking_keeps_to_its_budget(
    shop: Path, backbone: Backbone, tmp_path: Path, name: str
) -> None:
    bed = load(shop, lambda queries: backbone.encode(queries, prompt="query"))
    graders = Graders(
        bed, backbone, QUICK, tmp_path / "runs", ArrayCache(tmp_path / "said"), silent
    )
    rows = Rows(graders, Objective(), budget=0.2)
    picked = rows.picked(0, name)
    assert len(set(picked)) == rows.budget == 24
    assert bed.pool.spent == 0  # nothing is paid before it is trained on
    assert picked == rows.picked(0, name)
    graders.probabilities(Run(picked=picked), bed.id_test)
    assert bed.pool.spent == 24


def test_the_whole_experiment_and_going_on_with_it(
    shop: Path, backbone: Backbone, tmp_path: Path
) -> None:
    draw = tmp_path / "pictures" / "tiny"
    draw.parent.mkdir()
    report = run(shop, backbone, tmp_path, recipe=QUICK, seeds=1, draw=draw)
    assert {path.name for path in draw.parent.iterdir()} == {
        f"tiny-{name}.svg" for name in ("reliability", "entropy", "path", "budgets")
    }
    tables = {table.title: table for table in report.tables}
    known = tables["Known topics (id_test), 1 seed"]
    scores = {str(row[0]): row for row in known.rows}
    # One grade for all would be 1/6.
    plain, bound = scores["plain fine-tuning"], scores["the whole pool labelled"]
    assert float(bound[3]) > 0.4  # type: ignore[arg-type]
    assert (plain[2], scores["+ random"][2], bound[2]) == (0, 12, 120)
    assert {
        "ours: + wording, coverage, self-training",
        "DaRL: OCC, LPFT, DASA by both",
        "+ DASA by kNN",
    } <= scores.keys()
    assert len(tables["From the probe (α = 0) to the fine-tuned grader (1), first seed"].rows) == 9
    differences = tables["Unknown topics (ood_test): differences of macro-F1 by thresholds"]
    assert len(differences.rows) == len(known.rows)
    bought = {(row[0], row[1]) for row in tables["Labels and what they buy"].rows}
    assert {("none", 0), ("random", 6), ("coverage", 24), ("all", 120)} <= bought
    shares = tables["How many of the labels are out of distribution"].rows
    assert [row[1] for row in shares] == [12, 12, 12]
    assert float(shares[0][0]) < float(shares[-1][0])  # type: ignore[arg-type]

    shown: list[str] = []
    again = run(
        shop, backbone, tmp_path, recipe=QUICK, seeds=1, show=lambda what, *_: shown.append(what)
    )
    assert [table.rows for table in again.tables] == [table.rows for table in report.tables]
    assert not any("training on" in what for what in shown)
    page = tmp_path / "page.md"
    fewer = run(shop, backbone, tmp_path, recipe=QUICK, seeds=1, studies=False, picked=page)
    lines = page.read_text("utf-8").splitlines()
    assert lines[0] == "# DASA by both: 12 of 12 pairs"
    assert len(lines) == 4 + 12
    assert all(" | here comes " in line and line.count("|") == 7 for line in lines[4:])
    titles = [table.title for table in fewer.tables]
    assert titles == [table.title for table in report.tables][: len(titles)]
    assert "What was picked" in titles
    assert "Automatic labels" not in titles


def test_a_row_that_there_is_not(shop: Path, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row 'theirs'; there are plain fine-tuning, "):
        run(shop, backbone, tmp_path, recipe=QUICK, seeds=1, only=["theirs"])


def test_another_place_is_named(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(InputError, match=r"homedepot"):
        run(tmp_path, backbone, tmp_path, recipe=QUICK, seeds=1)


def test_seven_grades_are_summed_to_three() -> None:
    fine = np.arange(7, dtype=np.float32)[None] / 21
    # Irrelevant is below 2, strong from 2.67 on.
    np.testing.assert_allclose(
        summed(fine, HOMEDEPOT), [[(0 + 1 + 2) / 21, (3 + 4) / 21, (5 + 6) / 21]], rtol=1e-6
    )
    pairs = [GradedPair(str(i), "q", "a", "", x) for i, x in enumerate((1.0, 2.5, 2.67, 3.0))]
    sample = Sample.of("scores", pairs, HOMEDEPOT)
    assert sample.fine().labels.tolist() == [0, 4, 5, 6]


def test_what_a_grader_is_taught_it_said_itself(
    shop: Path, backbone: Backbone, tmp_path: Path
) -> None:
    bed = load(shop, lambda queries: backbone.encode(queries, prompt="query"))
    graders = Graders(
        bed, backbone, QUICK, tmp_path / "runs", ArrayCache(tmp_path / "said"), silent
    )
    run = Run(picked=(0, 1), taught=(2, 5))
    labelled = graders._labelled(run)
    assert labelled.pairs[-2:] == [bed.pool_texts[2], bed.pool_texts[5]]
    said = graders.of_pool(Run(picked=(0, 1)))
    np.testing.assert_array_equal(labelled.targets[-2:].numpy(), said[[2, 5]])
    assert bed.pool.spent == 2


def test_the_model_against_its_raters() -> None:
    """Means of three: 2.33 has a spread of √(2/9) at least, a whole number may have none."""
    assert least_spread(7 / 3) == pytest.approx((2 / 9) ** 0.5)
    assert least_spread(2.0) == 0
    sample = Sample.of(
        "hand",
        [GradedPair(str(i), "q", "a", "", x) for i, x in enumerate((1.0, 7 / 3, 3.0))],
        HOMEDEPOT,
    )
    p = np.eye(3, dtype=np.float32)[[0, 1, 1]]  # 1, 7/3, 7/3: wrong by 2/3 on the last
    rows = against_raters([p], sample, sample).rows
    assert [row[1] for row in rows] == [2, 1, 3]
    assert rows[0][3] == pytest.approx((4 / 9 / 2) ** 0.5)
    assert (rows[1][3], rows[1][4]) == (pytest.approx(0), pytest.approx((2 / 9) ** 0.5))
    assert rows[2][4] == pytest.approx((2 / 27) ** 0.5)
    assert against_raters([p], sample, sample, same_scale=False).rows[0][3] is None


def test_a_shift_of_shares_is_corrected_and_another_one_left_alone() -> None:
    prior, centres = np.array([0.5, 0.3, 0.2]), np.array([-1.5, 0.0, 1.5])

    def population(name: str, n: int, moved: float = 0.0) -> Population:
        rng = np.random.default_rng(n)
        labels = rng.choice(3, size=n, p=prior)
        x = rng.normal(centres[labels] + moved, 1)
        joint = prior * np.exp(-((x[:, None] - centres) ** 2) / 2)
        said = (joint / joint.sum(axis=1, keepdims=True)).astype(np.float32)
        return Population(name, labels, [str(i) for i in range(n)], [said, said])

    dev, known = population("dev", 2_000), population("known", 5_000)
    drawn = known.drawn([0.1, 0.2, 0.7])
    assert drawn.shares(3) == pytest.approx([0.1, 0.2, 0.7], abs=0.01)
    assert len(drawn.queries) == len(set(drawn.queries)) == len(drawn.labels) > 1_000
    (given, by_em, mixed, allowed, true), p = drawn.corrected(dev, prior)
    assert p > LEVEL
    assert len(given) == len(true) == 2
    losses = [nll(each[0], drawn.labels) for each in (given, by_em, mixed, allowed, true)]
    assert losses[2] == losses[3]
    assert max(losses[1:]) < losses[0] - 0.1
    (given, _, mixed, allowed, _), p = population("moved", 3_000, moved=3.0).corrected(dev, prior)
    assert p < LEVEL
    assert allowed[0] is given[0]
    assert not np.array_equal(mixed[0], given[0])
