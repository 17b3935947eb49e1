"""The training loop on a small regression whose minimum is known."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from pointsman.errors import ConfigError, ReadOnlyError
from pointsman.training.checkpoint import checkpoints, latest_checkpoint
from pointsman.training.loop import Outcome, Plan, Progress, learning_rate_factor, train

TRUE_WEIGHTS = torch.tensor([1.0, -2.0, 0.5])
PER_EPOCH = 6


class Regression:
    """Learns y = X w from batches that are a function of the epoch; `hook` runs before each loss."""

    def __init__(self, hook: Callable[[int], None] | None = None, width: int = 3) -> None:
        self.w = nn.Parameter(torch.zeros(width))
        self.hook = hook
        self.losses = 0
        self.evaluations = 0
        self.epochs: list[int] = []

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"w": self.w}

    def batches(self, epoch: int) -> list[Tensor]:
        self.epochs.append(epoch)
        generator = torch.Generator().manual_seed(100 + epoch)
        return [torch.randn(8, len(self.w), generator=generator) for _ in range(PER_EPOCH)]

    def loss(self, batch: Tensor) -> Tensor:
        if self.hook is not None:
            self.hook(self.losses)
        self.losses += 1
        # Dropout draws from the generator that a checkpoint has to put back.
        x = nn.functional.dropout(batch, 0.2)
        return ((x @ self.w - batch @ TRUE_WEIGHTS[: len(self.w)]) ** 2).mean()

    def evaluate(self) -> Mapping[str, float]:
        self.evaluations += 1
        distance = (self.w.detach() - TRUE_WEIGHTS[: len(self.w)]).norm()
        return {"closeness": -float(distance), "length": float(self.w.detach().norm())}


class Scripted(Regression):
    """Measures follow a script; an exception in it is raised."""

    def __init__(self, script: list[float | type[BaseException]]) -> None:
        super().__init__()
        self.script = script

    def evaluate(self) -> Mapping[str, float]:
        value = self.script[self.evaluations]
        self.evaluations += 1
        if isinstance(value, float):
            return {"closeness": value}
        raise value


PLAN = Plan(measure="closeness", epochs=3, learning_rate=0.1, evaluations=2, patience=50)


def interrupt_at(step: int) -> Callable[[int], None]:
    def hook(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return hook


def same(one: Outcome, other: Outcome) -> bool:
    return (
        one.history == other.history
        and one.best_step == other.best_step
        and one.steps == other.steps
        and one.parameters.keys() == other.parameters.keys()
        and all(torch.equal(one.parameters[k], other.parameters[k]) for k in one.parameters)
    )


def test_it_learns_and_counts(tmp_path: Path) -> None:
    seen: list[Progress] = []
    task = Regression()
    outcome = train(task, replace(PLAN, epochs=40, patience=80), tmp_path, seen.append)
    # Dropout shrinks the minimum to w / (1 + 0.2 / 0.8): the best on the way lies nearer.
    assert outcome.best > -0.5
    assert outcome.steps == 40 * PER_EPOCH == len(seen) == task.losses
    assert [p.step for p in seen] == list(range(1, 241))
    assert task.evaluations == 80
    assert [h["step"] for h in outcome.history][:4] == [3, 6, 9, 12]
    assert seen[2].measures
    assert not seen[0].measures
    assert seen[-1].remaining == 0
    # The first call counts the batches; then every epoch is asked for once, in turn.
    assert task.epochs == [0, *range(40)]


@pytest.mark.parametrize("step", [0, 1, 5, 6, 7, 11, 17])
def test_resuming_ends_at_the_same_bits(tmp_path: Path, step: int) -> None:
    whole_task = Regression()
    whole = train(whole_task, PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(step)), PLAN, tmp_path / "halved")
    found = latest_checkpoint(tmp_path / "halved")
    assert found is not None
    assert found.step == step
    task = Regression()
    resumed = train(task, PLAN, tmp_path / "halved")
    assert same(whole, resumed)
    assert torch.equal(whole_task.w, task.w)
    assert task.losses == 3 * PER_EPOCH - step


def test_interrupted_twice(tmp_path: Path) -> None:
    whole = train(Regression(), PLAN, tmp_path / "whole")
    for step in (4, 5):
        with pytest.raises(KeyboardInterrupt):
            train(Regression(interrupt_at(step)), PLAN, tmp_path / "run")
    resumed = train(Regression(), PLAN, tmp_path / "run")
    assert same(whole, resumed)


@pytest.mark.parametrize("at", [0, 3, 5])
def test_an_interrupted_evaluation_is_made_up_for(tmp_path: Path, at: int) -> None:
    script = [1.0, 3.0, 2.0, 2.5, 0.0, 4.0]
    whole = train(Scripted(list(script)), PLAN, tmp_path / "whole")
    broken: list[float | type[BaseException]] = [*script[:at], KeyboardInterrupt]
    with pytest.raises(KeyboardInterrupt):
        train(Scripted(broken), PLAN, tmp_path / "run")
    resumed = train(Scripted(list(script[at:])), PLAN, tmp_path / "run")
    assert same(whole, resumed)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = train(Regression(), PLAN, tmp_path)
    task = Regression()
    assert same(first, train(task, PLAN, tmp_path))
    assert task.losses == 0
    assert task.evaluations == 0


def test_early_stopping_and_the_best_weights_rather_than_the_last(tmp_path: Path) -> None:
    task = Scripted([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])  # equal to the best is not better
    weights = []
    original = task.evaluate

    def evaluate() -> Mapping[str, float]:
        weights.append(task.w.detach().clone())
        return original()

    task.evaluate = evaluate  # type: ignore[method-assign]
    outcome = train(task, replace(PLAN, epochs=10, patience=3), tmp_path)
    assert outcome.stopped_early
    assert outcome.best == 0.5
    assert outcome.best_step == 6
    assert outcome.steps == 15
    assert torch.equal(outcome.parameters["w"], weights[1])
    assert not torch.equal(outcome.parameters["w"], task.w.detach())
    again = Scripted([])
    assert train(again, replace(PLAN, epochs=10, patience=3), tmp_path).stopped_early
    assert again.losses == 0


def test_without_a_measure_it_goes_to_its_end_and_keeps_the_last_weights(tmp_path: Path) -> None:
    task, plan = Scripted([]), replace(PLAN, measure=None, epochs=6, patience=1)
    outcome = train(task, plan, tmp_path)
    assert (outcome.steps, outcome.best_step) == (36, 36)
    assert not outcome.stopped_early
    assert task.evaluations == 0
    assert torch.equal(outcome.parameters["w"], task.w.detach())
    again = train(Scripted([]), plan, tmp_path)
    assert torch.equal(again.parameters["w"], outcome.parameters["w"])


def test_a_new_best_starts_patience_again(tmp_path: Path) -> None:
    outcome = train(Scripted([0.5, 0.1, 0.6, 0.1, 0.7, 0.1]), replace(PLAN, patience=2), tmp_path)
    assert not outcome.stopped_early
    assert outcome.best_step == 15


def test_same_seed_same_result_other_seed_another(tmp_path: Path) -> None:
    one = train(Regression(), PLAN, tmp_path / "1")
    two = train(Regression(), PLAN, tmp_path / "2")
    other = train(Regression(), replace(PLAN, seed=1), tmp_path / "3")
    assert same(one, two)
    assert not same(one, other)


def test_a_leftover_from_a_crash_in_the_middle_of_a_save_is_ignored(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path / "run")
    leftover = tmp_path / "run" / ".checkpoint-00000099.aside"
    leftover.mkdir()
    (leftover / "state.pt").write_bytes(b"half")
    empty = tmp_path / "run" / "checkpoint-00000098"
    empty.mkdir()
    whole = train(Regression(), PLAN, tmp_path / "whole")
    assert same(whole, train(Regression(), PLAN, tmp_path / "run"))


def test_one_checkpoint_is_kept_and_it_is_whole(tmp_path: Path) -> None:
    train(Regression(), PLAN, tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000018"]
    assert {path.name for path in tmp_path.iterdir() if "tfevents" not in path.name} == {
        "checkpoint-00000018",
        "log.jsonl",
    }


@pytest.mark.parametrize(
    ("changed", "value"),
    [("learning_rate", 0.2), ("epochs", 4), ("seed", 7), ("bf16", True), ("accumulation", 2)],
)
def test_another_plan_is_refused_by_name(
    tmp_path: Path, changed: str, value: float | int | bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path)
    before = checkpoints(tmp_path)[0].joinpath("state.pt").read_bytes()
    other = replace(PLAN, **{changed: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"another {changed};"):
        train(Regression(), other, tmp_path)
    assert checkpoints(tmp_path)[0].joinpath("state.pt").read_bytes() == before


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path)
    # One number would broadcast over all three without a word.
    with pytest.raises(ConfigError, match="other weights than this task trains"):
        train(Regression(width=1), PLAN, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_corrupt_checkpoint_is_named_and_left_alone(
    tmp_path: Path, content: bytes | None
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path)
    file = checkpoints(tmp_path)[0] / "state.pt"
    damaged = file.read_bytes()[:300] if content is None else content
    file.write_bytes(damaged)
    task = Regression()
    with pytest.raises(ConfigError, match=r"checkpoint-00000004: .*delete it") as caught:
        train(task, PLAN, tmp_path)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == damaged
    assert task.losses == 0


def test_an_unknown_measure_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'f1'.*closeness, length"):
        train(Regression(), replace(PLAN, measure="f1"), tmp_path)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    task = Regression()
    task.batches = lambda epoch: []  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="no batches"):
        train(task, PLAN, tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReadOnlyError, match=r"file/run: .*cannot be written"):
        train(Regression(), PLAN, tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "in the way"


class LateInterrupt(Regression):
    """Ctrl-C comes after a step has drawn its dropout."""

    def loss(self, batch: Tensor) -> Tensor:
        hook, self.hook = self.hook, None
        loss = super().loss(batch)
        self.hook = hook
        if hook is not None:
            hook(self.losses - 1)
        return loss


class Plain(Regression):
    """No dropout; each epoch is 10 batches of 8, or the same rows `together` in each batch."""

    def __init__(self, together: int = 1) -> None:
        super().__init__()
        self.together = together

    def batches(self, epoch: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(100 + epoch)
        rows = torch.randn(80, 3, generator=generator)
        return list(rows.split(8 * self.together))

    def loss(self, batch: Tensor) -> Tensor:
        self.losses += 1
        return ((batch @ self.w - batch @ TRUE_WEIGHTS) ** 2).mean()


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    large, small = Plain(together=4), Plain()
    # The last step of an epoch is smaller: 16 rows, two batches of 8.
    assert [len(batch) for batch in large.batches(0)] == [32, 32, 16]
    expected = train(large, PLAN, tmp_path / "large")
    seen: list[Progress] = []
    outcome = train(small, replace(PLAN, accumulation=4), tmp_path / "small", seen.append)
    assert torch.allclose(small.w, large.w, rtol=0, atol=1e-6)
    assert not torch.allclose(small.w, torch.zeros(3), atol=0.1)
    assert outcome.steps == expected.steps == 9
    assert small.losses == 30
    assert [h["step"] for h in outcome.history] == [h["step"] for h in expected.history]
    assert outcome.best == pytest.approx(expected.best, abs=1e-6)
    assert [p.steps for p in seen] == [9] * 9
    assert seen[-1].remaining == 0


def test_accumulating_more_than_an_epoch_has(tmp_path: Path) -> None:
    outcome = train(Plain(), replace(PLAN, accumulation=64), tmp_path)
    assert outcome.steps == 3
    assert [h["step"] for h in outcome.history] == [1, 2, 3]


@pytest.mark.parametrize(("loss", "step"), [(0, 0), (3, 0), (4, 1), (5, 1), (6, 2), (11, 3)])
@pytest.mark.parametrize("kind", [Regression, LateInterrupt])
def test_resuming_between_two_accumulated_steps(
    tmp_path: Path, kind: type[Regression], loss: int, step: int
) -> None:
    plan = replace(PLAN, accumulation=4)  # 6 batches an epoch: steps of 4 and 2
    whole = train(Regression(), plan, tmp_path / "whole")
    interrupted = kind(interrupt_at(loss))
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, plan, tmp_path / "run")
    found = latest_checkpoint(tmp_path / "run")
    assert found is not None
    assert found.step == step
    # The same object may go on: what half a step left in its gradients does not count.
    interrupted.hook = None
    assert same(whole, train(interrupted, plan, tmp_path / "run"))


def test_ctrl_c_after_dropout_was_drawn(tmp_path: Path) -> None:
    whole = train(Regression(), PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(LateInterrupt(interrupt_at(4)), PLAN, tmp_path / "run")
    assert same(whole, train(Regression(), PLAN, tmp_path / "run"))


@pytest.fixture
def ctrl_c_in_the_optimizer() -> Iterator[None]:
    """The signal arrives when the fourth step has moved the weights and has not been counted."""
    steps = 0

    def hook(*arguments: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            signal.raise_signal(signal.SIGINT)

    # Whoever started the tests may have ignored it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    handle = register_optimizer_step_post_hook(hook)
    yield
    handle.remove()
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_end_of_a_step(tmp_path: Path, ctrl_c_in_the_optimizer: None) -> None:
    task = Regression()
    with pytest.raises(KeyboardInterrupt):
        train(task, PLAN, tmp_path / "run")
    assert task.losses == 4
    found = latest_checkpoint(tmp_path / "run")
    assert found is not None
    assert found.step == 4
    assert torch.equal(found.parameters["w"], task.w)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole = train(Regression(), PLAN, tmp_path / "whole")
    assert same(whole, train(Regression(), PLAN, tmp_path / "run"))


def test_an_epoch_of_another_length_is_evaluated_at_its_end(tmp_path: Path) -> None:
    class Shrinking(Regression):
        def batches(self, epoch: int) -> list[Tensor]:
            return super().batches(epoch)[: PER_EPOCH - 2 * epoch]

    seen: list[Progress] = []
    outcome = train(Shrinking(), PLAN, tmp_path, seen.append)
    assert [h["step"] for h in outcome.history] == [3, 6, 8, 10, 11, 12]
    assert all(p.remaining >= 0 for p in seen)


def edit_checkpoint(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    file = checkpoints(folder)[0] / "state.pt"
    fields = torch.load(file, weights_only=True)
    edit(fields)
    torch.save(fields, file)


def test_a_checkpoint_from_before_a_field_existed(tmp_path: Path) -> None:
    whole = train(Regression(), PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path / "run")

    def age(fields: dict[str, Any]) -> None:
        for name in ("processes", "fingerprint", "loss"):
            del fields[name]
        del fields["plan"]["accumulation"]
        fields["generator"] = fields["generator"][0]

    edit_checkpoint(tmp_path / "run", age)
    with pytest.raises(ConfigError, match="another accumulation;"):
        train(Regression(), replace(PLAN, accumulation=2), tmp_path / "run")
    assert same(whole, train(Regression(), PLAN, tmp_path / "run"))


class Marked(Regression):
    def __init__(self, mark: str, hook: Callable[[int], None] | None = None) -> None:
        super().__init__(hook)
        self.mark = mark

    def fingerprint(self) -> str:
        return self.mark


def test_a_run_is_not_continued_on_other_data(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Marked("news", interrupt_at(4)), PLAN, tmp_path)
    before = checkpoints(tmp_path)[0].joinpath("state.pt").read_bytes()
    task = Marked("mail")
    with pytest.raises(ConfigError, match=r"other data .*start afresh") as caught:
        train(task, PLAN, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert task.losses == 0
    assert checkpoints(tmp_path)[0].joinpath("state.pt").read_bytes() == before
    assert train(Marked("news"), PLAN, tmp_path).steps == 18


@pytest.mark.parametrize(("first", "then"), [("", "news"), ("news", "")])
def test_what_has_no_fingerprint_goes_on(tmp_path: Path, first: str, then: str) -> None:
    def task(mark: str, hook: Callable[[int], None] | None = None) -> Regression:
        return Marked(mark, hook) if mark else Regression(hook)

    with pytest.raises(KeyboardInterrupt):
        train(task(first, interrupt_at(4)), PLAN, tmp_path)
    assert train(task(then), PLAN, tmp_path).steps == 18
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.fingerprint == "news"


def test_mixed_precision_and_back_in_one_process(tmp_path: Path) -> None:
    mixed = train(Regression(), replace(PLAN, bf16=True), tmp_path / "bf16")
    plain = train(Regression(), PLAN, tmp_path / "fp32")
    assert mixed.parameters["w"].dtype == torch.float32
    assert not torch.equal(mixed.parameters["w"], plain.parameters["w"])
    assert torch.allclose(mixed.parameters["w"], plain.parameters["w"], atol=0.1)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (12, 0.5), (19, 1 / 16), (20, 0.0), (25, 0.0)],
)
def test_learning_rate_by_hand(step: int, expected: float) -> None:
    # 20 steps, a fifth of them warm-up: 4 steps up to 1, then 16 steps down to 0.
    assert learning_rate_factor(step, 20, 0.2) == pytest.approx(expected)


def test_learning_rate_without_warm_up_starts_at_the_top() -> None:
    assert learning_rate_factor(0, 10, 0.0) == 1.0
    assert learning_rate_factor(0, 1, 0.0) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": -1.0},
        {"evaluations": 0},
        {"patience": 0},
        {"accumulation": 0},
        {"warmup": 1.0},
        {"warmup": -0.1},
        {"max_grad_norm": float("nan")},
    ],
)
def test_impossible_plans(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Plan(measure="f1", **wrong)  # type: ignore[arg-type]
