"""Full fine-tuning: all weights of a sequence classifier, and the path to them from its probe (LPFT).

DaRL (arXiv 2412.12504) fine-tunes whole encoders. What is new in a classifier, its head, is fitted
first while all else stays as it is; then everything is trained; and a point between the two
solutions is taken weight by weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.backbone.device import choose_device, trains_in_bf16
from pointsman.backbone.pretrained import load_classifier
from pointsman.errors import ConfigError
from pointsman.evaluate.calibration import nll
from pointsman.grade.objective import Objective
from pointsman.grade.pretrained import CrossEncoderGrader
from pointsman.grade.recipe import MEASURE, Labelled, macro_f1_of
from pointsman.training.batches import similar_batches
from pointsman.training.loop import Outcome, Plan, Progress, train


@dataclass(frozen=True, slots=True)
class FullRecipe:
    """How a classifier is trained: its new part by the plan `probe`, then all of it by `plan`."""

    objective: Objective = field(default_factory=Objective)
    probing: bool = True
    batch_size: int = 32
    max_length: int = 256
    probe: Plan = field(
        default_factory=lambda: Plan(
            measure=MEASURE, epochs=2, learning_rate=3e-3, evaluations=1, patience=2
        )
    )
    plan: Plan = field(
        default_factory=lambda: Plan(
            measure=MEASURE, epochs=3, learning_rate=5e-5, evaluations=2, patience=3
        )
    )

    def on(self, device: torch.device) -> FullRecipe:
        """The same recipe as this machine trains it best: bf16 where the processor multiplies it."""
        fast = trains_in_bf16(device)
        probe, plan = (replace(each, bf16=fast) for each in (self.probe, self.plan))
        return replace(self, probe=probe, plan=plan)


Weights = Mapping[str, Tensor]


def mixed(probed: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """(1 - α) · probed + α · tuned, weight by weight, fp32; α = 0 and 1 are the ends exactly.

    Raises ConfigError where α lies outside [0, 1], or these are not weights of one model.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie between 0 and 1, not {alpha}")
    if {k: v.shape for k, v in probed.items()} != {k: v.shape for k, v in tuned.items()}:
        raise ConfigError("only weights of one model can be interpolated")
    return {name: torch.lerp(probed[name].float(), tuned[name].float(), alpha) for name in probed}


class ClassifierTask:
    """Trains the named weights of a classifier, in place (training protocol `Task`)."""

    def __init__(
        self,
        grader: CrossEncoderGrader,
        names: Sequence[str],
        train_on: Labelled,
        dev: Labelled,
        objective: Objective,
        *,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        self._grader = grader
        self._targets = train_on.targets
        self._dev = dev
        self._objective = objective
        self._batch_size = batch_size
        self._seed = seed
        self._inputs = [grader.encoded(*pair) for pair in train_on.pairs]
        every = dict(grader.model.named_parameters())
        # Dropout stays off throughout: the grader is in evaluation mode.
        for name, parameter in every.items():
            parameter.requires_grad_(name in names)
        self._parameters: dict[str, nn.Parameter] = {name: every[name] for name in names}
        self._began = _digest(every)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(iter(self._parameters.values())).device

    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by their names in the model."""
        return self._parameters

    def fingerprint(self) -> str:
        """Changes with data, settings and the weights that training began with."""
        digest = hashlib.sha256(repr((self._objective, self._batch_size, self._seed)).encode())
        digest.update(repr([row["input_ids"] for row in self._inputs]).encode())
        digest.update(self._targets.numpy().tobytes())
        digest.update(self._began)
        return digest.hexdigest()

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of pairs of similar length, a function of seed and epoch alone."""
        lengths = [len(row["input_ids"]) for row in self._inputs]
        return similar_batches(lengths, self._batch_size, self._seed, epoch)

    def loss(self, batch: Sequence[int]) -> Tensor:
        """The objective of a batch."""
        log_p = self._grader.log_probabilities([self._inputs[i] for i in batch]).float()
        return self._objective(log_p.log_softmax(-1), self._targets[list(batch)].to(self.device))

    def evaluate(self) -> Mapping[str, float]:
        """Log-likelihood of dev and macro-F1 of the model as it stands."""
        found = self._grader.probabilities(self._dev.pairs)
        return {
            MEASURE: -nll(found, self._dev.labels),
            "macro_f1": macro_f1_of(found, self._dev.labels),
        }


@dataclass(frozen=True, eq=False)
class FullyTrained:
    """A classifier and both ends of its path, all weights by name; `probed` is None without probing."""

    grader: CrossEncoderGrader
    probed: Weights | None
    tuned: Weights
    outcome: Outcome

    def at(self, alpha: float) -> CrossEncoderGrader:
        """The grader with the weights of the point α, until the next call; without a probe the end."""
        ends = self.tuned, self.tuned
        if self.probed is not None:
            ends = self.probed, self.tuned
        return _put(self.grader, mixed(*ends, alpha))


def train_fully(
    name: str | None,
    train_on: Labelled,
    dev: Labelled,
    grades: Sequence[str],
    recipe: FullRecipe,
    folder: Path,
    show: Callable[[Progress], None] | None = None,
    *,
    device: str | None = None,
) -> FullyTrained:
    """Train a sequence classifier from the encoder or classifier of a path or hub name, None the default.

    `folder` holds checkpoints of probe and fine-tuning: the same call goes on from them. Raises
    InputError for data of which nothing can be learned, ModelError where there is no such encoder.
    """
    train_on.check("training pairs", len(grades))
    dev.check("dev pairs", len(grades))
    recipe = recipe.on(choose_device(device))
    seed = recipe.plan.seed
    found = load_classifier(name, grades, seed=seed, device=device)
    grader = CrossEncoderGrader(found.model, found.tokenizer, grades, recipe.max_length)
    every = [key for key, _ in grader.model.named_parameters()]

    def trained(names: Sequence[str], plan: Plan, part: str) -> Outcome:
        task = ClassifierTask(
            grader,
            names,
            train_on,
            dev,
            recipe.objective,
            batch_size=recipe.batch_size,
            seed=seed,
        )
        outcome = train(task, plan, folder / part, show)
        _put(grader, outcome.parameters)
        return outcome

    probed = None
    if recipe.probing:
        trained(found.fresh, replace(recipe.probe, seed=seed), "probe")
        probed = _weights(grader)
    outcome = trained(every, recipe.plan, "tuned")
    return FullyTrained(grader, probed, _weights(grader), outcome)


def record(recipe: FullRecipe) -> dict[str, Any]:
    """As a grader's training record holds it, and `grader_card` reads it."""
    return {**asdict(recipe), "full": True}


def _weights(grader: CrossEncoderGrader) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in grader.model.named_parameters()}


def _digest(weights: Weights) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return digest.digest()


def _put(grader: CrossEncoderGrader, weights: Weights) -> CrossEncoderGrader:
    """The grader with these weights, the rest as they were."""
    with torch.no_grad():
        for name, parameter in grader.model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
    return grader
