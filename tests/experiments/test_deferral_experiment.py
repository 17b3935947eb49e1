"""The deferral experiment on a toy test bed: files, folds, rows, tables, pictures."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from svg import words

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.squad import write_squad
from pointsman.errors import InputError
from pointsman.experiments.deferral.bed import judged, squad
from pointsman.experiments.deferral.published import JUDGED, SQUAD
from pointsman.experiments.deferral.rows import BEST, ORACLE, OURS, Fold, all_folds, rows
from pointsman.experiments.deferral.run import frontier_area, run
from pointsman.experiments.report import silent
from pointsman.types import ReadingExample
from tiny import write_tiny

ARTICLES, EACH = 15, 12
SOME = [BEST, "logistic", "surrogate, u = 1, printed", "MILD", OURS, "the same, shuffled", ORACLE]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readers that are right as often as they are dear."""
    folder = tmp_path_factory.mktemp("bed")
    rng = random.Random(0)
    examples = [
        ReadingExample(
            f"{a}-{i}",
            f"what is {i}",
            f"here comes red {a} {i} after blue",
            (f"red {a} {i}",),
            (11,),
            f"article {a}",
            f"article {a}",
        )
        for a in range(ARTICLES)
        for i in range(EACH)
    ]
    (folder / "squad").mkdir()
    write_squad(folder / "squad" / "squad-dev-v1.1.json", examples)
    recorded = folder / "agents" / "squad-v1.1"
    recorded.mkdir(parents=True)
    order = sorted(SQUAD, key=lambda file: SQUAD[file][1])
    for rank, file in enumerate(order):
        said = {
            each.id: each.answers[0] if rng.random() < 0.5 + 0.045 * rank else "blue"
            for each in examples
        }
        said.pop("0-0")  # an answer that is missing
        (recorded / f"{file}.json").write_text(json.dumps(said), "utf-8")
    asked = []
    for i in range(60):
        entry: dict[str, object] = {"question": f"what is {i}", "golden_answer": "red"}
        for rank, name in enumerate(JUDGED):
            good = rng.random() < 0.5 + 0.1 * rank
            entry |= {f"answer_{name}": "it is red" if good else "blue", f"judge_{name}": good}
        asked.append(entry)
    (folder / "agents" / "evouna-nq-test.json").write_text(json.dumps(asked), "utf-8")
    return folder


def test_the_beds(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    assert len(bed) == ARTICLES * EACH
    assert bed.missing == 10
    assert not bed.em[0].any()
    assert list(bed.units) == sorted(bed.units)
    assert bed.em.mean(axis=0)[-1] > bed.em.mean(axis=0)[0]
    # No article is in two folds, nor in two parts of what a fold learns from.
    for fold in all_folds(bed):
        assert not set(fold.train.clusters) & set(fold.test.clusters)
        parts = [set(fold.train.clusters[fold.inner == i]) for i in range(3)]
        assert not parts[0] & parts[1]
    other = judged(data, backbone, ArrayCache(tmp_path), silent)
    assert other.agents == tuple(name for name, _ in JUDGED.values())
    assert sorted(np.bincount(other.folds)) == [12] * 5


def test_no_row_but_the_bound_knows_the_test(
    data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """With the tests' truth turned over every row does what it did."""
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    fold, other = Fold(bed, 0, 0), Fold(bed, 0, 0)
    object.__setattr__(other.test, "em", 1 - other.test.em)
    for row in rows(bed.agents):
        if "u = " in row.name and row.name != "surrogate, u = 1, printed":
            continue
        one, two = row.decide(fold, 0.1), row.decide(other, 0.1)
        same = np.array_equal(one.given, two.given) and np.array_equal(one.asked, two.asked)
        assert same == (row.name != ORACLE), row.name


def test_the_whole(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    found = run(
        data,
        backbone,
        tmp_path / "run",
        prices=(0.0, 0.2),
        only=SOME,
        draw=tmp_path / "out",
    )
    titles = [table.title for table in found.tables]
    first = "ten readers, SQuAD"
    assert titles[:5] == [
        f"{first}: price 0",
        f"{first}: price 0.2",
        f"{first}: utility",
        f"{first}: mistaken prices",
        f"{first}: promises",
    ]
    assert len(titles) == 10
    table = found.tables[0]
    assert [row[0] for row in table.rows] == SOME
    em = {row[0]: float(row[2]) for row in table.rows}  # type: ignore[arg-type]
    assert em[ORACLE] == max(em.values())
    assert em[OURS] >= em[BEST] - 0.05
    # Shuffled it asks as often, and so costs as much.
    costs = {row[0]: float(row[4]) for row in table.rows}  # type: ignore[arg-type]
    assert costs["the same, shuffled"] == pytest.approx(costs[OURS])
    for name in ("squad", "squad-asked", "judged", "judged-asked"):
        assert any(
            "question" in text or "exact match" in text
            for text in words(tmp_path / f"out-{name}.svg")
        )
    with pytest.raises(InputError, match="there is no row 'nobody'"):
        run(data, backbone, tmp_path / "run", only=["nobody"])


def test_the_area_under_a_frontier() -> None:
    assert frontier_area([(1.0, 0.8)]) == pytest.approx(0.4)  # mixed with answering nothing
    assert frontier_area([(0.0, 0.5), (1.0, 0.5)]) == pytest.approx(0.5)
    assert frontier_area([(0.5, 0.8), (0.75, 0.5)]) == pytest.approx(
        0.2 + 0.4
    )  # the dearer, worse one is not used
    assert frontier_area([(0.5, 0.6), (2.0, 0.9)]) == pytest.approx(0.15 + 0.5 * (0.6 + 0.7) / 2)


def test_a_folder_that_is_no_test_bed(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(InputError, match=r"not the test bed \(no squad-dev-v1.1.json in it\)"):
        run(tmp_path, backbone, tmp_path / "run")
