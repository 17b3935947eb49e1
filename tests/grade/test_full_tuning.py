"""Full fine-tuning: its path by hand, what the probe leaves alone, a real run, and what is saved of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pointsman.backbone.pretrained import load_classifier
from pointsman.data.graded import Grading
from pointsman.errors import ConfigError, InputError, ModelError, SpecialistError
from pointsman.evaluate.calibration import nll
from pointsman.grade.full import FullRecipe, mixed, train_fully
from pointsman.grade.make_full import check_full_replaceable, full_run_name, make_full_grader
from pointsman.grade.pretrained import CrossEncoderGrader, load_pretrained
from pointsman.grade.scaling import Identity
from pointsman.grade.source import Source, read_source
from pointsman.training.loop import Plan
from tiny import write_classifier, write_tiny

COLOURS = ("red", "blue", "gold", "green", "pink", "white")
GRADING = Grading(("no", "some", "yes"), (2, 2.67))
QUICK = FullRecipe(
    batch_size=16,
    max_length=32,
    probe=Plan(measure="nll", epochs=2, learning_rate=1e-2, evaluations=1),
    plan=Plan(measure="nll", epochs=12, learning_rate=3e-3, evaluations=1, patience=12),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The asked colour is "yes", another colour "some", a letter "no"."""
    lines = [
        json.dumps({"query": f"what is {colour} {i}", "text": f"here comes {item}", "score": score})
        for i in range(8)
        for k, colour in enumerate(COLOURS)
        for item, score in ((colour, 3.0), (COLOURS[(k + i + 1) % 6], 2.33), ("alpha", 1.0))
        if item != colour or score == 3.0
    ]
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return read_source(path, GRADING)


def test_the_path_by_hand() -> None:
    probed, tuned = {"a": torch.tensor([0.0, 10.0])}, {"a": torch.tensor([1.0, 20.0])}
    assert mixed(probed, tuned, 0.6)["a"].tolist() == pytest.approx([0.6, 16.0])
    assert torch.equal(mixed(probed, tuned, 0.0)["a"], probed["a"])
    assert torch.equal(mixed(probed, tuned, 1.0)["a"], tuned["a"])
    with pytest.raises(ConfigError, match="alpha must lie between 0 and 1"):
        mixed(probed, tuned, 1.1)
    with pytest.raises(ConfigError, match="only weights of one model"):
        mixed(probed, {"a": torch.zeros(3)}, 0.5)


def test_what_is_new_is_known_and_drawn_by_the_seed(tmp_path: Path, base: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        load_classifier(base, ("no", "some", "yes"), seed=seed, device="cpu") for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert {"classifier.weight", "classifier.bias"} <= set(first.fresh)
    body = dict(first.model.named_parameters())
    assert not any(name.startswith("bert.encoder") for name in first.fresh)
    heads = [dict(each.model.named_parameters())["classifier.weight"] for each in (again, other)]
    assert torch.equal(body["classifier.weight"], heads[0])
    assert not torch.equal(body["classifier.weight"], heads[1])
    # A classifier with as many labels keeps its head, and it is what is probed; of others it is new.
    trained = str(write_classifier(tmp_path, 3))
    kept = load_classifier(trained, ("no", "some", "yes"), device="cpu")
    assert set(kept.fresh) == {"classifier.weight", "classifier.bias"}
    assert load_classifier(trained, ("no", "yes"), device="cpu").model.config.num_labels == 2
    with pytest.raises(ModelError, match="nowhere"):
        load_classifier("./nowhere", ("no", "yes"))


def test_probing_moves_the_head_alone_and_fine_tuning_the_rest(
    base: str, source: Source, tmp_path: Path
) -> None:
    begun = dict(load_classifier(base, GRADING.names, device="cpu").model.named_parameters())
    trained = train_fully(
        base, source.train, source.dev, GRADING.names, QUICK, tmp_path, device="cpu"
    )
    assert trained.probed is not None
    fresh = load_classifier(base, GRADING.names, device="cpu").fresh
    for name, value in trained.probed.items():
        assert torch.equal(value, begun[name]) == (name not in fresh), name
        # fine-tuning has moved everything that a pair of this length reaches
        if "position" not in name:
            assert not torch.equal(value, trained.tuned[name]), name
    # The ends and the middle of the path are what they say, and a point is not left behind.
    pairs, labels = source.dev.pairs, source.dev.labels
    said = [nll(trained.at(a).probabilities(pairs), labels) for a in (0.0, 1.0, 0.0)]
    assert said[0] == said[2]
    assert said[1] < said[0] - 0.1
    # The same call goes on from its checkpoints, and so finds the same.
    again = train_fully(
        base, source.train, source.dev, GRADING.names, QUICK, tmp_path, device="cpu"
    )
    assert all(torch.equal(again.tuned[name], value) for name, value in trained.tuned.items())
    # What is kept is the best on dev.
    assert trained.outcome.best == max(entry["nll"] for entry in trained.outcome.history)


def test_what_is_saved_is_what_was_measured(base: str, source: Source, tmp_path: Path) -> None:
    short = replace(QUICK, plan=replace(QUICK.plan, epochs=2))
    folder = tmp_path / "graders" / "big"
    made = make_full_grader(
        base,
        source,
        short,
        tmp_path / "run",
        folder,
        command="me",
        shifted=source.dev,
        device="cpu",
    )
    grader = load_pretrained(str(folder), device="cpu", dtype="fp32")
    assert isinstance(grader, CrossEncoderGrader)
    assert grader.grades == GRADING.names
    labels, pairs = source.dev.labels, source.dev.pairs
    raw = grader.scaled(Identity()).probabilities(pairs)
    assert -np.log(raw[np.arange(len(labels)), labels]).mean() == pytest.approx(
        made.calibrated.before.nll, rel=1e-3
    )
    assert grader.probabilities(pairs) == pytest.approx(
        made.calibrated.scaling.apply(raw), abs=1e-5
    )
    known = json.loads((folder / "grading.json").read_text("utf-8"))
    scores = known["numbers"]["alpha"]
    assert made.alpha == float(min(reversed(scores), key=lambda a: scores[a]["nll"]))
    card = (folder / "README.md").read_text("utf-8")
    for part in ("# big: a grader", "all weights of", "up to 32 tokens", "    me"):
        assert part in card
    # Trained again it takes its own place, and nobody else's.
    check_full_replaceable(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("mine")
    with pytest.raises(SpecialistError, match="is there and is not a fully fine-tuned grader"):
        make_full_grader(
            base, source, short, tmp_path / "run", tmp_path / "mine", command="me", device="cpu"
        )
    assert (tmp_path / "mine" / "diary.txt").read_text() == "mine"


def test_a_calibration_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path, 3)
    (folder / "grading.json").write_text('{"grades": ["a", "b", "c"], "max_length": 64}', "utf-8")
    with pytest.raises(SpecialistError, match=r"grading.json: corrupt \(KeyError\('scaling'\)\)"):
        load_pretrained(str(folder), device="cpu")


def test_what_cannot_be_had_is_refused_before_training(
    base: str, source: Source, tmp_path: Path
) -> None:
    def make(recipe: FullRecipe, alpha: float | None) -> None:
        make_full_grader(
            base, source, recipe, tmp_path / "run", tmp_path / "g", command="me", alpha=alpha
        )

    with pytest.raises(ConfigError, match="alpha must lie between 0 and 1"):
        make(QUICK, 2.0)
    with pytest.raises(ConfigError, match="without probing there is no path"):
        make(replace(QUICK, probing=False), 0.5)
    same = replace(source.train, labels=np.zeros_like(source.train.labels))
    with pytest.raises(InputError, match="have grade 0 of 3"):
        train_fully(base, same, source.dev, GRADING.names, QUICK, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_named_by_all_that_makes_it(base: str, source: Source) -> None:
    longer = replace(QUICK, plan=replace(QUICK.plan, epochs=3))
    other = replace(source, dev=source.train)
    names = [
        full_run_name(source, QUICK, base),
        full_run_name(source, longer, base),
        full_run_name(other, QUICK, base),
    ]
    assert full_run_name(source, QUICK, base) == names[0]
    assert len(set(names)) == 3
