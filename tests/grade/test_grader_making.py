"""Making a grader: its data, the point of the path, calibration, and what is saved of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graded import quick_recipe
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import read_safetensors
from pointsman.backbone.specialist import load_specialist
from pointsman.data.graded import Grading
from pointsman.data.splits import normalise
from pointsman.errors import ConfigError, InputError
from pointsman.grade import make as module
from pointsman.grade.calibrate import Measured, crossed
from pointsman.grade.grader import PairGrader
from pointsman.grade.head import GradeHead
from pointsman.grade.make import Made, make_grader, run_name
from pointsman.grade.recipe import Labelled
from pointsman.grade.scaling import Identity, Temperature
from pointsman.grade.source import Source, read_source
from tiny import write_tiny

GRADING = Grading(("no", "some", "yes"), (2, 2.67))
QUICK = quick_recipe(epochs=1, rank=2)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def write(path: Path, queries: int, scores: tuple[float, ...] = (1.0, 2.33, 3.0)) -> Path:
    """A pair of each score for each query; queries come twice, the second time in other clothes."""
    items = ("alpha", "red", "blue")
    lines = [
        json.dumps({"query": query, "text": f"here comes {item}", "score": score})
        for i in range(queries)
        for query in (f"what is {i}", f"What is: {i}?")
        for item, score in zip(items, scores, strict=False)
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


# --- data -----------------------------------------------------------------------------------------


def test_whole_queries_are_held_out_whatever_their_clothes(tmp_path: Path) -> None:
    source = read_source(write(tmp_path / "a.jsonl", 40), GRADING)
    texts = [{normalise(query) for query, _ in part.pairs} for part in (source.train, source.dev)]
    assert [len(part) for part in texts] == [34, 6]  # 15 % of 40
    assert not texts[0] & texts[1]
    assert (len(source.train.pairs), len(source.dev.pairs)) == (34 * 6, 6 * 6)
    assert source.dev_held_out
    assert source.train.targets.tolist()[:3] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    again = read_source(tmp_path / "a.jsonl", GRADING)
    assert again.dev.pairs == source.dev.pairs
    assert read_source(tmp_path / "a.jsonl", GRADING, seed=1).dev.pairs != source.dev.pairs
    few = read_source(tmp_path / "a.jsonl", GRADING, limit=3)
    assert few.record()["train"] == {
        "pairs": 18,
        "queries": 3,
        "grades": {"no": 6, "some": 6, "yes": 6},
    }
    assert few.dev.pairs == source.dev.pairs
    assert read_source(write(tmp_path / "b.jsonl", 10), GRADING).record()["dev"]["queries"] == 5
    with pytest.raises(InputError, match="of its 9 queries no more than 4 can be held out"):
        read_source(write(tmp_path / "c.jsonl", 9), GRADING)


def test_targets_shared_between_grades(tmp_path: Path) -> None:
    """By hand: mean scores 1.5 of (1, 2), here below the cut at 2.1, and 2.5, 3."""
    grading = Grading(("no", "some", "yes"), (2.1, 2.67))
    rows = [("a", 1.0), ("b", 2.0), ("c", 2.5), ("d", 3.0)]
    lines = [
        json.dumps({"query": f"{letter}{i}", "text": letter, "score": score})
        for i in range(5)
        for letter, score in rows
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), "utf-8")
    (tmp_path / "dev.jsonl").write_text("\n".join(lines).replace('"query": "', '"query": "x'))
    source = read_source(tmp_path / "a.jsonl", grading, tmp_path / "dev.jsonl", soft=True)
    assert source.levels == (1.5, 2.5, 3.0)
    assert source.train.targets[:4].tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    assert source.train.labels[:4].tolist() == [0, 0, 1, 2]
    # Dev is scored by its grades.
    assert source.dev.targets[1].tolist() == [1, 0, 0]
    assert (source.dev_held_out, source.record()["levels"]) == (False, [1.5, 2.5, 3.0])


# --- calibration ----------------------------------------------------------------------------------


def test_measured_by_hand() -> None:
    probabilities = [[0.8, 0.2, 0.0], [0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.1, 0.3, 0.6]]
    found = Measured.of(probabilities, np.array([0, 1, 2, 2]))
    assert found.nll == pytest.approx(-np.log([0.8, 0.3, 0.6, 0.6]).mean())
    # F1 is 2/3, 0 and 1; confidences 0.8, 0.5 and 0.6 twice are right in 1, 0 and 1 of 1.
    assert found.macro_f1 == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert found.ece == pytest.approx((0.2 + 0.5 + 0.4 + 0.4) / 4)


def test_nobody_is_calibrated_by_himself() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 60)
    labels = np.array([rng.choice(3, p=row) for row in probabilities])
    groups = [f"q{i // 3}" for i in range(60)]
    before = crossed(Temperature, probabilities, labels, groups)
    assert crossed(Identity, probabilities, labels, groups) == pytest.approx(probabilities)
    # Other labels of a group, and of its fold, change what is said of all others and not of it.
    changed = labels.copy()
    changed[:3] = (labels[:3] + 1) % 3
    after = crossed(Temperature, probabilities, changed, groups)
    fold = np.array([i // 3 % 5 == 0 for i in range(60)])
    assert (after == before).all(axis=1).tolist() == fold.tolist()
    with pytest.raises(InputError, match="4 queries cannot be split into 5 folds"):
        crossed(Temperature, probabilities[:12], labels[:12], groups[:12])


# --- the whole way --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return read_source(write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", 30), GRADING)


def made(backbone: Backbone, source: Source, place: Path, **more: Any) -> Made:
    given = {"recipe": QUICK, **more}
    return make_grader(
        backbone, source, given.pop("recipe"), place / "run", place / "g", command="me", **given
    )


def test_what_is_saved_is_what_was_measured(
    backbone: Backbone, source: Source, tmp_path: Path
) -> None:
    found = made(backbone, source, tmp_path)
    grader = PairGrader.load(backbone, tmp_path / "g")
    assert grader.settings.scaling == found.calibrated.scaling
    assert grader.grades == GRADING.names
    raw = grader.scaled(Identity()).probabilities(source.dev.pairs)
    assert Measured.of(raw, source.dev.labels).nll == pytest.approx(
        found.calibrated.before.nll, rel=0.05
    )
    specialist = load_specialist(tmp_path / "g", "grader")
    assert specialist.numbers["calibration"]["chosen"] == found.calibrated.scaling.kind
    assert specialist.training["steps"] == found.outcome.steps
    assert specialist.training["data"] == source.record()
    for part in ("# g: a grader", "(held out of the training queries)", "not stated", "    me"):
        assert part in specialist.card
    after = found.calibrated.after
    shown = f"| calibrated | {after.nll:.3f} | {100 * after.macro_f1:.1f} |"
    assert shown in specialist.card


def test_the_point_of_the_path(
    backbone: Backbone, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(backbone, source, tmp_path).alpha == 1.0
    half = made(backbone, source, tmp_path, alpha=0.5)
    assert half.alpha == 0.5
    adapter = load_specialist(tmp_path / "g").adapter
    assert {pair.scale for pair in adapter.layers.values()} == {0.5 * QUICK.alpha_lora / QUICK.rank}
    # Held-out pairs choose by likelihood, of equal points the one that has learned most.
    scores = {0.0: (0.9, 1.0), 0.4: (0.1, 0.7), 0.8: (0.1, 0.7), 1.0: (0.5, 0.8)}
    monkeypatch.setattr(module, "along", lambda *_: scores)
    chosen = made(backbone, source, tmp_path, shifted=source.dev)
    assert chosen.alpha == 0.8
    numbers = load_specialist(tmp_path / "g").numbers
    assert numbers["alpha"]["0.4"] == {"macro_f1": 0.1, "nll": 0.7}
    assert made(backbone, source, tmp_path, shifted=source.dev, alpha=1.0).alpha == 1.0


def test_the_probe_is_what_alpha_0_saves(
    backbone: Backbone, source: Source, tmp_path: Path
) -> None:
    made(backbone, source, tmp_path, alpha=0.0)
    (probe,) = (tmp_path / "run").glob("probe-*.safetensors")
    frozen = PairGrader(
        backbone,
        GradeHead(QUICK.head, read_safetensors(probe)),
        None,
        replace(PairGrader.load(backbone, tmp_path / "g").settings, scaling=Identity()),
    )
    saved = PairGrader.load(backbone, tmp_path / "g").scaled(Identity())
    pairs = source.dev.pairs
    assert saved.probabilities(pairs) == pytest.approx(frozen.probabilities(pairs), abs=5e-3)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"alpha": 1.5}, "alpha must lie between 0 and 1, not 1.5"),
        (
            {"alpha": 0.5, "recipe": replace(QUICK, probing=False)},
            "without probing there is no path, and no point 0.5 of it",
        ),
        (
            {"recipe": replace(QUICK, objective=replace(QUICK.objective, occ=1.0, rho=0.0))},
            "rho must be above 0",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_before_training(
    backbone: Backbone, source: Source, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        made(backbone, source, tmp_path, **more)
    assert list(tmp_path.iterdir()) == []


def test_pairs_to_choose_by_of_a_single_grade(
    backbone: Backbone, source: Source, tmp_path: Path
) -> None:
    same = Labelled(source.dev.pairs, source.dev.targets, np.zeros_like(source.dev.labels))
    with pytest.raises(InputError, match="pairs to choose alpha by: all 30 pairs have grade 0"):
        made(backbone, source, tmp_path, shifted=same)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_named_by_all_that_makes_it(backbone: Backbone, source: Source) -> None:
    name = run_name(source, QUICK, backbone)
    assert name == run_name(source, QUICK, backbone)
    targets = torch.roll(source.train.targets, 1, dims=1)
    shared = replace(source, train=replace(source.train, targets=targets))
    longer = replace(QUICK, plan=replace(QUICK.plan, epochs=2))
    others = [
        run_name(shared, QUICK, backbone),
        run_name(replace(source, dev=source.train), QUICK, backbone),
        run_name(source, longer, backbone),
    ]
    assert len({name, *others}) == 4
