"""The way to an allocator that decides before anybody is asked: train, calibrate, measure, save."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.pair_reading import first_windows
from pointsman.backbone.specialist import Specialist, check_replaceable, save_specialist
from pointsman.defer.adapted import Pair, Part, Reads, learn, outputs
from pointsman.defer.answered import Answered
from pointsman.defer.card import foreseeing_card
from pointsman.defer.cost import Pricing, cheapest
from pointsman.defer.foreseen import KIND, Foresight, Learned
from pointsman.defer.logistic import Logistic
from pointsman.defer.make import PRICES, AtPrice, Made
from pointsman.defer.record import Show
from pointsman.defer.surrogate import deferral
from pointsman.errors import ConfigError
from pointsman.training.loop import Progress

# Of every five sources one reports, and where chances are calibrated one does that.
_REPORTS, _CALIBRATES = 4, 3
# A slope and a level for each agent, of a fifth of the questions.
_PENALTY = 1e-2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is learned: each agent's `errors`, for any price, or the paper's `surrogate` Φ^u at the price `at`.

    Raises ConfigError for a surrogate without a price, and for errors with one.
    """

    learned: Learned = "errors"
    at: float | None = None
    u: float = 1.0
    reads: Reads = field(default_factory=Reads)

    def __post_init__(self) -> None:
        if self.learned == "surrogate" and self.at is None:
            raise ConfigError("a surrogate is trained at one price; name it")
        if self.learned == "errors" and self.at is not None:
            raise ConfigError("what each agent's errors are does not depend on a price; name none")


def make_foreseeing(
    backbone: Backbone,
    known: Answered,
    units: Sequence[float],
    plan: Plan,
    runs: Path,
    folder: Path,
    *,
    data: str,
    command: str,
    show: Show,
) -> Made:
    """Train a rejector that reads, end to end, on what all agents answered, and save it to `folder`.

    `runs` keeps checkpoints: the same call goes on from there. A fifth of the sources only reports.
    `units` [A] is what each agent takes. Raises what `save_specialist` raises.
    """
    check_replaceable(folder)
    pairs = list(zip(known.questions, known.texts, strict=True))
    test = np.flatnonzero(known.folds == _REPORTS)
    held = np.flatnonzero(known.folds == _CALIBRATES)
    foresight = (
        _errors(backbone, known, pairs, plan, held, runs, show)
        if plan.learned == "errors"
        else _surrogate(backbone, known, pairs, units, plan, runs, show)
    )
    show("measuring", 0, len(test))
    said = outputs(backbone, foresight.part, [pairs[i] for i in test], plan.reads)
    prices = PRICES if plan.at is None else (plan.at,)
    at = tuple(_at(foresight, said, known, test, units, price) for price in prices)
    right = tuple(known.right.mean(axis=0).tolist())
    made = Made(folder, len(pairs), right, at, known.record.failures)
    windows = first_windows(backbone, [pairs[i] for i in test], plan.reads.max_length, 0)
    shape = backbone.shape.first(plan.reads.layers)
    numbers = {
        "right": dict(zip(known.agents, right, strict=True)),
        "failures": dict(zip(known.agents, made.failures, strict=True)),
        "reported": len(test),
        "gflops": float(np.mean([shape.forward_gflops(1, len(each)) for each in windows])),
        "at": [asdict(each) for each in at],
    }
    training = {"command": command, "data": data, "questions": len(pairs)}
    specialist = Specialist(
        KIND,
        folder.name,
        backbone.identity.sha256,
        backbone.identity.name,
        foresight.part.adapter,
        {
            "weight": foresight.part.weight,
            "bias": foresight.part.bias,
            "scale": torch.from_numpy(foresight.scale),
            "shift": torch.from_numpy(foresight.shift),
        },
        {
            "learned": plan.learned,
            "price": plan.at,
            "agents": list(known.agents),
            "layers": plan.reads.layers,
            "max_length": plan.reads.max_length,
            "rank": plan.reads.rank,
        },
        training,
        numbers,
    )
    card = foreseeing_card(folder.name, known.agents, plan.at, training, numbers)
    # What was measured is what is saved: nothing is rounded.
    save_specialist(replace(specialist, card=card), folder, torch.float32)
    return made


def _errors(
    backbone: Backbone,
    known: Answered,
    pairs: Sequence[Pair],
    plan: Plan,
    held: npt.NDArray[np.int64],
    runs: Path,
    show: Show,
) -> Foresight:
    """How likely each agent is right, calibrated on questions that it did not learn from."""
    rows = np.flatnonzero(known.folds < _CALIBRATES)
    right = known.right[rows].astype(np.float32)

    def loss(scores: Tensor, truth: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(scores, truth)

    part = _learned(backbone, pairs, rows, right, loss, plan, runs, show)
    said = outputs(backbone, part, [pairs[i] for i in held], plan.reads)
    count = len(known.agents)
    scale, shift = np.zeros(count), np.zeros(count)
    for j in range(count):
        one = Logistic.learn(said[:, [j]], known.right[held][:, [j]], _PENALTY)
        scale[j] = float(one.weights[0, 0] / one.spread[0])
        shift[j] = float(one.bias[0]) - scale[j] * float(one.mean[0])
    return Foresight("errors", part, plan.reads, scale, shift)


def _surrogate(
    backbone: Backbone,
    known: Answered,
    pairs: Sequence[Pair],
    units: Sequence[float],
    plan: Plan,
    runs: Path,
    show: Show,
) -> Foresight:
    """The paper's scores, by the loss whose weights keep their order and tell agents apart."""
    assert plan.at is not None  # the plan says
    rows = np.flatnonzero(known.folds != _REPORTS)
    costs = Pricing.at(plan.at, known.agents, units).costs(1 - known.right[rows])

    def loss(scores: Tensor, truth: Tensor) -> Tensor:
        return deferral(scores, truth, plan.u, "shifted")

    part = _learned(backbone, pairs, rows, costs.astype(np.float32), loss, plan, runs, show)
    count = len(known.agents)
    return Foresight("surrogate", part, plan.reads, np.ones(count), np.zeros(count), float(plan.at))


def _learned(
    backbone: Backbone,
    pairs: Sequence[Pair],
    rows: npt.NDArray[np.int64],
    truth: npt.NDArray[np.float32],
    loss: Callable[[Tensor, Tensor], Tensor],
    plan: Plan,
    runs: Path,
    show: Show,
) -> Part:
    """Trained on these rows of the pairs, of which `truth` [rows, A] is known."""
    told = torch.from_numpy(truth)
    some = [pairs[i] for i in rows.tolist()]
    key = repr((backbone.identity.sha256, plan, some, truth.tobytes())).encode()

    def progress(each: Progress) -> None:
        show("learning", each.step, each.steps)

    return learn(
        backbone,
        some,
        truth.shape[1],
        lambda scores, batch: loss(scores, told[batch].to(scores.device)),
        plan.reads,
        runs / hashlib.sha256(key).hexdigest()[:12],
        truth.tobytes(),
        progress,
    )


def _at(
    foresight: Foresight,
    said: npt.NDArray[np.floating],
    known: Answered,
    test: npt.NDArray[np.int64],
    units: Sequence[float],
    price: float,
) -> AtPrice:
    """What came of a price on questions that nothing was learned from."""
    pricing = Pricing.at(price, known.agents, units)
    choice = cheapest(foresight.costs(said, pricing, price))
    unit = np.asarray(units, dtype=np.float64) / (max(units) or 1.0)
    asked = np.eye(len(unit))[choice]
    return AtPrice(
        price,
        float(known.right[test, choice].mean()),
        float(unit[choice].mean()),
        tuple(asked.mean(axis=0).tolist()),
        (),
    )
