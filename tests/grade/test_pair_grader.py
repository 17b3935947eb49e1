from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graded import COLOURS, GREEK, quick_recipe
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, new_adapter
from pointsman.backbone.pair_features import feature_width
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError, InputError, SpecialistError
from pointsman.grade.grader import GraderSettings, PairGrader
from pointsman.grade.head import GradeHead
from pointsman.grade.objective import Objective
from pointsman.grade.probe import best_probe, between, probe, scaled
from pointsman.grade.recipe import Labelled, along, train_grader
from pointsman.grade.scaling import Temperature
from pointsman.grade.task import GraderTask, Part, grader_of
from pointsman.protocols import Grader
from pointsman.types import Passage
from tiny import WIDTH, write_tiny

GRADES = ("no", "some", "yes")
SETTINGS = GraderSettings(GRADES, max_length=48)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def part_of(backbone: Backbone, seed: int = 0) -> Part:
    """A random head and an adapter that changes something."""
    generator = torch.Generator().manual_seed(seed)
    fresh = new_adapter(backbone.model, 2, 4.0, generator)
    adapter = LoraAdapter(
        {
            name: LowRank(pair.a, torch.randn(pair.b.shape, generator=generator), pair.scale)
            for name, pair in fresh.layers.items()
        }
    )
    head = GradeHead.fresh("plain", feature_width(WIDTH), 3, 0, generator)
    head.tensors["output.weight"] *= 20
    return Part(adapter, head)


def test_a_pair_is_graded_the_same_in_any_company(backbone: Backbone) -> None:
    grader = grader_of(backbone, part_of(backbone), SETTINGS)
    assert isinstance(grader, Grader)
    passages = [Passage(id=str(i), text=" ".join(GREEK[: i + 1])) for i in range(6)]
    asked = ["what follows alpha", "what", "what follows alpha"]
    none, together = grader.grade(asked, [[], [passages[0]], passages])[::2]
    assert none.probabilities.shape == (0, 3)
    assert none.gflops == 0
    assert together.gflops > 5 * backbone.shape.forward_gflops(1, 6)
    together = together.probabilities
    assert together.shape == (6, 3)
    assert together.sum(axis=1) == pytest.approx(1)
    for i, passage in enumerate(passages):
        alone = grader.grade(["what follows alpha"], [[passage]])[0].probabilities
        assert alone[0] == pytest.approx(together[i], abs=1e-5)
    late = Deadline()
    late.cancel()
    with pytest.raises(DeadlineError):
        grader.grade(["what"], [passages], late)


def test_titles_are_read_too(backbone: Backbone) -> None:
    grader = grader_of(backbone, part_of(backbone), SETTINGS)
    plain, titled = Passage(id="a", text="red"), Passage(id="b", text="red", title="kappa")
    found = grader.grade(["what"], [[plain, titled]])[0].probabilities
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_long_passage_counts_by_its_most_promising_window(backbone: Backbone) -> None:
    grader = grader_of(backbone, part_of(backbone), SETTINGS)
    text = " ".join(GREEK * 12)
    windows = backbone.windows([("what", text)], SETTINGS.max_length, SETTINGS.overlap)
    assert len(windows) > 2
    pieces = [text[w.offsets[w.offsets[:, 0] >= 0][0, 0] : w.offsets[:, 1].max()] for w in windows]
    each = grader.probabilities([("what", piece) for piece in pieces])
    best = int((each @ np.arange(3)).argmax())
    assert grader.probabilities([("what", text)])[0] == pytest.approx(each[best], abs=1e-4)


def test_calibration_is_applied(backbone: Backbone) -> None:
    grader = grader_of(backbone, part_of(backbone), SETTINGS)
    pairs = [("what", "red"), ("is", "blue")]
    raw = grader.probabilities(pairs)
    cool = grader.scaled(Temperature(2.0)).probabilities(pairs)
    expected = np.sqrt(raw) / np.sqrt(raw).sum(axis=1, keepdims=True)
    assert cool == pytest.approx(expected, abs=1e-5)


def test_a_deadline_is_kept(backbone: Backbone) -> None:
    grader = grader_of(backbone, part_of(backbone), SETTINGS)
    with pytest.raises(DeadlineError):
        grader.probabilities([("what", "red")], Deadline(1e-9))


def test_a_head_of_other_grades(backbone: Backbone) -> None:
    head = GradeHead.fresh("plain", feature_width(WIDTH), 4)
    with pytest.raises(SpecialistError, match="knows 4 grades, its settings name 3"):
        PairGrader(backbone, head, None, SETTINGS)


def test_settings_come_back() -> None:
    settings = replace(SETTINGS, head="corn", scaling=Temperature(1.5))
    assert GraderSettings.of(settings.record()) == settings
    with pytest.raises(SpecialistError, match="incomplete"):
        GraderSettings.of({"grades": ["a", "b"]})


def test_the_task_learns_what_inference_says(backbone: Backbone) -> None:
    """The loss that training sees is the likelihood of the grader that comes out of it."""
    part = part_of(backbone)
    pairs = [("what follows", " ".join(GREEK[i : i + 1 + i % 4])) for i in range(7)]
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), 3).float()
    task = GraderTask(
        backbone, part, pairs, targets, Objective(), lambda grader: {}, SETTINGS, batch_size=3
    )
    probabilities = grader_of(backbone, part, SETTINGS).probabilities(pairs)
    expected = -np.log(probabilities[np.arange(7), labels])
    for batch in task.batches(0):
        assert task.loss(batch).item() == pytest.approx(expected[batch].mean(), abs=1e-4)
    assert sorted(i for batch in task.batches(0) for i in batch) == list(range(7))
    assert task.batches(0) == task.batches(0) != task.batches(1)
    other = GraderTask(
        backbone, part, pairs, 1 - targets, Objective(), lambda grader: {}, SETTINGS, batch_size=3
    )
    assert task.fingerprint() != other.fingerprint()


def test_the_ends_of_the_path(backbone: Backbone) -> None:
    tuned = part_of(backbone, 1)
    probed = GradeHead.fresh("plain", feature_width(WIDTH), 3, 0, torch.Generator().manual_seed(5))
    pairs = [("what", "red"), ("is", "blue green")]

    def graded(part: Part) -> np.ndarray:
        return grader_of(backbone, part, SETTINGS).probabilities(pairs)

    frozen = PairGrader(backbone, probed, None, SETTINGS).probabilities(pairs)
    assert graded(between(probed, tuned, 0.0)) == pytest.approx(frozen, abs=1e-5)
    assert graded(between(probed, tuned, 1.0)) == pytest.approx(graded(tuned), abs=1e-5)
    # ΔW is scaled, not its factors: half of the scale, where half of A and of B would be a quarter.
    half = scaled(tuned.adapter, 0.5)
    name, pair = next(iter(tuned.adapter.layers.items()))
    x = torch.randn(2, pair.a.shape[1])
    assert torch.allclose(half.layers[name].delta(x), pair.delta(x) / 2)
    with pytest.raises(ConfigError, match="alpha must lie between 0 and 1"):
        between(probed, tuned, 1.2)


def test_the_path_from_an_adapter_that_was_there() -> None:
    generator = torch.Generator().manual_seed(0)

    def random(rank: int, scale: float, names: str) -> LoraAdapter:
        return LoraAdapter(
            {
                name: LowRank(
                    torch.randn(rank, 6, generator=generator),
                    torch.randn(5, rank, generator=generator),
                    scale,
                )
                for name in names
            }
        )

    start, tuned = random(2, 0.5, "xy"), random(3, 2.0, "yz")
    head = GradeHead.fresh("plain", 4, 3)
    part = between(head, Part(tuned, head), 0.25, start)
    given = torch.randn(7, 6, generator=generator)
    nothing = torch.zeros(7, 5)
    for name in "xyz":
        before = start.layers[name].delta(given) if name in start.layers else nothing
        after = tuned.layers[name].delta(given) if name in tuned.layers else nothing
        mixed = part.adapter.layers[name].delta(given)
        assert torch.allclose(mixed, 0.75 * before + 0.25 * after, atol=1e-5)


def test_a_probe_is_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 6)).astype(np.float32)
    labels = (x[:, 0] + generator.normal(size=300) * 0.5 > 0).astype(int) + (x[:, 1] > 1)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), 3).float()
    head = GradeHead.fresh("plain", 6, 3)
    fitted = probe(torch.from_numpy(x), targets, head, Objective(), penalty=0.01, steps=500)
    theirs = LogisticRegression(C=1 / (0.01 * 300), max_iter=5000, tol=1e-8).fit(x, labels)
    ours = fitted.log_probabilities(torch.from_numpy(x)).exp().numpy()
    assert ours == pytest.approx(theirs.predict_proba(x), abs=2e-3)


def made(seed: int, n: int = 240) -> Labelled:
    """Grade 2 where the question names the passage's colour, 1 where it names another, 0 for Greek."""
    rng = np.random.default_rng(seed)
    pairs, labels = [], []
    for _ in range(n):
        grade, (colour, other) = int(rng.integers(3)), rng.choice(COLOURS, 2, replace=False)
        named = (str(rng.choice(GREEK)), other, colour)[grade]
        pairs.append((f"what is {named}", f"here comes {colour}"))
        labels.append(grade)
    targets = torch.nn.functional.one_hot(torch.tensor(labels), 3).float()
    return Labelled(pairs, targets, np.array(labels))


QUICK = quick_recipe(epochs=4)


def test_training_learns_and_the_path_leads_there(backbone: Backbone, tmp_path: Path) -> None:
    train_on, dev = made(0), made(1, 90)
    trained = train_grader(backbone, train_on, dev, GRADES, QUICK, tmp_path)
    settings = GraderSettings(GRADES, max_length=48)
    grader = grader_of(backbone, trained.at(1.0), settings)
    right = grader.probabilities(dev.pairs).argmax(axis=1) == dev.labels
    assert right.mean() > 0.6
    # Knowing nothing is log 3 = 1.1 nats.
    found = along(lambda a: grader_of(backbone, trained.at(a), settings), dev, (0.0, 1.0))
    assert found[0.0][1] < 0.7
    assert found[1.0][1] == pytest.approx(-trained.outcome.best)
    again = train_grader(backbone, train_on, dev, GRADES, QUICK, tmp_path)
    assert again.outcome.best == trained.outcome.best


def test_training_may_begin_with_an_adapter(backbone: Backbone, tmp_path: Path) -> None:
    train_on, dev = made(0, 60), made(1, 30)
    start = part_of(backbone, 3).adapter
    recipe = replace(QUICK, probed=20, plan=replace(QUICK.plan, epochs=1))
    trained = train_grader(backbone, train_on, dev, GRADES, recipe, tmp_path, start=start)
    settings = GraderSettings(GRADES, max_length=48)
    assert trained.probed is not None
    # At the path's beginning the probe sees the base through the adapter that was given.
    probed = grader_of(backbone, Part(start, trained.probed), settings).probabilities(dev.pairs)
    first = grader_of(backbone, trained.at(0.0), settings).probabilities(dev.pairs)
    assert first == pytest.approx(probed, abs=1e-4)
    assert trained.at(1.0) is trained.tuned


def test_nothing_to_learn_from(backbone: Backbone, tmp_path: Path) -> None:
    dev = made(1, 30)
    empty = Labelled([], torch.zeros(0, 3), np.zeros(0, dtype=np.int64))
    with pytest.raises(InputError, match="training pairs: no graded pair"):
        train_grader(backbone, empty, dev, GRADES, QUICK, tmp_path)
    same = Labelled(dev.pairs, dev.targets, np.ones(30, dtype=np.int64))
    with pytest.raises(InputError, match="all 30 pairs have grade 1 of 3"):
        train_grader(backbone, same, dev, GRADES, QUICK, tmp_path)


def test_one_guard_at_a_time() -> None:
    with pytest.raises(ConfigError, match="either label smoothing or OCC"):
        Objective(smoothing=0.1, occ=0.5)


def test_a_probe_does_not_learn_noise_by_heart() -> None:
    """Random labels: whoever learns them by heart is sure on dev too, and wrong."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 40, generator=generator)
    targets = torch.eye(3)[torch.randint(0, 3, (320,), generator=generator)]
    head = GradeHead.fresh("plain", 40, 3, 64, generator)
    train, dev = (x[:160], targets[:160]), (x[160:], targets[160:])

    def on_dev(fitted: GradeHead) -> float:
        return -float((dev[1] * fitted.log_probabilities(dev[0])).sum(1).mean())

    assert on_dev(probe(*train, head, Objective(), penalty=0.001)) > 2
    assert on_dev(best_probe(*train, dev, head, Objective())) < np.log(3) + 0.05


def test_training_leaves_what_it_began_with_as_it_was(backbone: Backbone, tmp_path: Path) -> None:
    """Or the path from the probe to the end would begin at the end."""
    start = part_of(backbone)
    before = {name: p.clone() for name, p in start.adapter.tensors().items()}
    recipe = replace(QUICK, probing=True)
    data, dev = made(0), made(1, 60)
    trained = train_grader(
        backbone, data, dev, SETTINGS.grades, recipe, tmp_path, start=start.adapter
    )
    for name, tensor in start.adapter.tensors().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert trained.probed is not None
    for name, tensor in trained.probed.tensors.items():
        assert (tensor - trained.tuned.head.tensors[name]).abs().max() > 1e-3

    head = GradeHead.fresh("plain", 6, 3, 4)
    kept = {name: p.clone() for name, p in head.tensors.items()}
    probe(torch.randn(30, 6), torch.eye(3)[torch.arange(30) % 3], head, Objective(), penalty=0.01)
    for name, tensor in head.tensors.items():
        torch.testing.assert_close(tensor, kept[name], rtol=0, atol=0)


def test_a_probe_is_kept_with_its_run(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted again it may differ in the last bits, and the run would be refused as another one."""
    from pointsman.grade import recipe as module

    recipe, data, dev = replace(QUICK, probing=True), made(0), made(1, 60)
    first = train_grader(backbone, data, dev, GRADES, recipe, tmp_path)

    def again(*given: object) -> GradeHead:
        raise AssertionError("it is there already")

    with monkeypatch.context() as patch:
        patch.setattr(module, "best_probe", again)
        second = train_grader(backbone, data, dev, GRADES, recipe, tmp_path)
        assert second.outcome.steps == first.outcome.steps
        # Other data are another probe.
        with pytest.raises(AssertionError, match="there already"):
            train_grader(backbone, made(2), dev, GRADES, recipe, tmp_path)
    assert first.probed is not None
    assert second.probed is not None
    for name, tensor in first.probed.tensors.items():
        torch.testing.assert_close(second.probed.tensors[name], tensor, rtol=0, atol=0)
