"""The way to an allocator that decides before anybody is asked: train, calibrate, measure, save."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import Specialist, save_specialist
from pointsman.defer.adapted import Pair, Part, Reads, learn, outputs, reading_gflops
from pointsman.defer.answered import Answered
from pointsman.defer.card import foreseeing_card
from pointsman.defer.cost import Pricing, Unit, cheapest
from pointsman.defer.evidence import calibrated, surely_above
from pointsman.defer.foreseen import Foresight, Learned
from pointsman.defer.make import PRICES, AtPrice, Made
from pointsman.defer.record import Show
from pointsman.defer.saved import KIND, check_allocator_replaceable
from pointsman.defer.surrogate import deferral
from pointsman.errors import ConfigError
from pointsman.training.loop import Progress

# Of every five sources one reports and one says what the outputs are worth.
_REPORTS, _CALIBRATES = 4, 3
_WEIGHED = ("scale", "shift", "units", "alpha")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is learned: each agent's `errors`, for any price, or the paper's `surrogate` Φ^u at the price `at`.

    Raises ConfigError for a surrogate without a price, for errors with one, and for numbers that are none.
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
        for value, what in ((self.at or 0.0, "a price"), (self.u, "u")):
            if not 0 <= value < np.inf:
                raise ConfigError(f"{what} must be 0 or more, not {value}")


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
    fast: Backbone | None = None,
    unit: Unit = "dollars",
    alpha: Sequence[float] | None = None,
) -> Made:
    """Train a rejector that reads, end to end, on what all agents answered, and save it to `folder`.

    `runs` keeps checkpoints: the same call goes on from there. Three fifths of the sources teach, one says
    what that is worth, and where nothing shows that it is worth more than the best single agent, it is
    what that one would be; one only reports. `units` [A] is what each agent takes, in the
    `unit` that its card names, and `alpha` [A] what an error of each weighs. `fast` reads as it will be used, an encoder of the same weights that need
    not train. Raises what `save_specialist` raises.
    """
    check_allocator_replaceable(folder)
    fast, pricing = fast or backbone, Pricing.at(1.0, known.agents, units, alpha)
    pairs = list(zip(known.questions, known.texts, strict=True))
    taught = np.flatnonzero(known.folds < _CALIBRATES)
    held, test = (np.flatnonzero(known.folds == fold) for fold in (_CALIBRATES, _REPORTS))
    part = _learned(backbone, known, [pairs[i] for i in taught], taught, pricing, plan, runs, show)
    show("measuring", 0, len(held) + len(test))
    said = {
        name: outputs(fast, part, [pairs[i] for i in rows], plan.reads)
        for name, rows in (("held", held), ("test", test))
    }
    foresight, sure = _weighed(part, said["held"], known, held, pricing, plan)
    at = tuple(
        _at(foresight, said["test"], known, test, pricing, price)
        for price in (PRICES if plan.at is None else (plan.at,))
    )
    right = tuple(known.right[test].mean(axis=0).tolist())
    made = Made(folder, len(pairs), right, at, known.record.failures)
    took = reading_gflops(fast, [pairs[i] for i in test], plan.reads)
    numbers = {
        "unit": unit,
        "measure": known.measure,
        "alpha": dict(zip(known.agents, pricing.alpha.tolist(), strict=True)),
        "right": dict(zip(known.agents, right, strict=True)),
        "failures": dict(zip(known.agents, made.failures, strict=True)),
        "taught": len(taught),
        "weighed": len(held),
        "reported": len(test),
        "evidence": dict(zip(known.agents, sure, strict=True)),
        "gflops": float(np.mean(took)),
        "at": [asdict(each) for each in at],
    }
    settings = {
        "learned": plan.learned,
        "price": plan.at,
        "agents": list(known.agents),
        "models": dict(known.models),
        "layers": plan.reads.layers,
        "max_length": plan.reads.max_length,
        "rank": plan.reads.rank,
    }
    training = {"command": command, "data": data, "questions": len(pairs)}
    head = {"weight": foresight.part.weight, "bias": foresight.part.bias} | {
        name: torch.from_numpy(getattr(foresight, name)) for name in _WEIGHED
    }
    specialist = Specialist(
        KIND,
        folder.name,
        backbone.identity.sha256,
        backbone.identity.name,
        foresight.part.adapter,
        head,
        settings,
        training,
        numbers,
        foreseeing_card(folder.name, known.agents, plan.at, training, numbers),
    )
    # What was measured is what is saved: nothing is rounded.
    save_specialist(specialist, folder, torch.float32, check_allocator_replaceable)
    return made


def _learned(
    backbone: Backbone,
    known: Answered,
    pairs: Sequence[Pair],
    rows: npt.NDArray[np.int64],
    pricing: Pricing,
    plan: Plan,
    runs: Path,
    show: Show,
) -> Part:
    """Whether each agent is right, or the paper's scores by weights that tell agents apart."""

    def progress(each: Progress) -> None:
        show("learning", each.step, each.steps)

    if plan.at is None:
        truth = known.right[rows].astype(np.float32)
        loss: Callable[[Tensor, Tensor], Tensor] = binary_cross_entropy_with_logits
    else:
        costs = pricing.scaled(plan.at).costs(1 - known.right[rows])
        truth, loss = costs.astype(np.float32), partial(deferral, u=plan.u, kind="shifted")
    what = f"{plan.learned} {plan.u:g}"
    return learn(backbone, pairs, truth, loss, what, plan.reads, runs, progress)


def _weighed(
    part: Part,
    said: npt.NDArray[np.floating],
    known: Answered,
    held: npt.NDArray[np.int64],
    pricing: Pricing,
    plan: Plan,
) -> tuple[Foresight, list[bool]]:
    """What outputs are worth on the questions `held` back, and of which agents anything is foreseen.

    No harm without evidence: an agent whose record the outputs do not explain is as good everywhere, and
    a surrogate that is not surely worth more than the best single agent always names that one.
    """
    count = len(known.agents)
    right = known.right[held]
    terms = pricing.beta, pricing.alpha
    scale, shift, sure = np.ones(count), np.zeros(count), [True] * count
    if plan.at is None:
        for j in range(count):
            scale[j], shift[j], sure[j] = calibrated(said[:, j], right[:, j])
        return Foresight("errors", part, plan.reads, scale, shift, *terms), sure
    utility = 1 - pricing.scaled(plan.at).costs(1 - right)
    best = int(utility.mean(axis=0).argmax())
    gain = utility[np.arange(len(held)), said.argmax(axis=1)] - utility[:, best]
    if not surely_above(gain, known.clusters[held]):
        bias = torch.zeros(count)
        bias[best] = 1.0
        part = replace(part, weight=torch.zeros_like(part.weight), bias=bias)
        sure = [False] * count
    return Foresight("surrogate", part, plan.reads, scale, shift, *terms, plan.at), sure


def _at(
    foresight: Foresight,
    said: npt.NDArray[np.floating],
    known: Answered,
    test: npt.NDArray[np.int64],
    pricing: Pricing,
    price: float,
) -> AtPrice:
    """What came of a price on questions that nothing was learned from; `pricing` is that of the price 1."""
    choice = cheapest(foresight.costs(said, pricing.scaled(price), price))
    asked = np.eye(len(known.agents), dtype=bool)[choice]
    return AtPrice.of(price, known, test, choice, asked, pricing)
