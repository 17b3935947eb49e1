"""Deciding before anybody is asked: a rejector that reads question and passages, as an allocator of the pipeline.

The allocation of arXiv 2410.15761. Two things may have been learned of a question:

errors     how likely each agent is right; c_j = 1 - P_j + β_j serves any price.
surrogate  scores whose highest is the Bayes-optimal agent at one price, the one it was trained at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist
from pointsman.deadline import Deadline
from pointsman.defer.adapted import Part, Reads, outputs, reading_gflops
from pointsman.defer.allocator import check_agents, shown
from pointsman.defer.cost import Floats, Pricing, Times
from pointsman.defer.remembered import Remembered
from pointsman.defer.saved import KIND, check_base
from pointsman.errors import ConfigError, SpecialistError
from pointsman.types import Allocation, Answer, FloatArray, Passage

Learned = Literal["errors", "surrogate"]
Seen = Sequence[Mapping[int, Answer]]

# So much of the dearest agent's cost a price list may change before a surrogate is refused.
_ALIKE = 0.02
# Questions whose passages were read; on its way a question comes here once for every agent that fails.
_REMEMBERED = 1_024


@dataclass(frozen=True, eq=False)
class Foresight:
    """What was learned: the weights, how they read, and what their outputs x [n, A] mean.

    Of errors `scale` [A] and `shift` [A] make chances of them, σ(scale · x + shift). A surrogate's are
    right for agents that take `units` [A], the dearest 1, and whose errors weigh `alpha` [A], at the price `at`.
    """

    learned: Learned
    part: Part
    reads: Reads
    scale: Floats
    shift: Floats
    units: Floats
    alpha: Floats
    at: float | None = None

    def __post_init__(self) -> None:
        if self.learned not in get_args(Learned):
            raise ConfigError(
                f"what is foreseen is one of {', '.join(get_args(Learned))}, not {self.learned!r}"
            )

    def errors(self, outputs: npt.NDArray[np.floating]) -> Floats | None:
        """How likely each agent is wrong [n, A]; a surrogate does not know."""
        if self.learned == "surrogate":
            return None
        return np.asarray(1 - expit(self.scale * outputs + self.shift))

    def costs(
        self,
        outputs: npt.NDArray[np.floating],
        pricing: Pricing,
        price: float,
        times: Floats | float = 1.0,
    ) -> Floats:
        """Expected costs [n, A] at a price, of questions that take so many `times` [n, A] what is usual; of a
        surrogate, which knows none, what is left of its shares.

        Raises ConfigError for a surrogate's at another price than its own, or with agents that take more
        or less of one another's cost than when it was trained.
        """
        errors = self.errors(outputs)
        if errors is not None:
            return pricing.costs(errors, times)
        if price != self.at:
            raise ConfigError(
                f"the allocator was trained for the price {self.at:g} and no other, not for {price:g}; "
                f"ask at that price (`price: {self.at:g}` in the settings, or `ask --price`), or train one "
                "of another policy"
            )
        if not np.allclose(pricing.beta, price * self.units, atol=_ALIKE * price):
            raise ConfigError(
                "the allocator was trained when agents cost "
                f"{_listed(pricing.agents, self.units)} of the dearest, and now they cost "
                f"{_listed(pricing.agents, pricing.beta / price)}; train it again"
            )
        if not np.allclose(pricing.alpha, self.alpha, atol=_ALIKE):
            raise ConfigError(
                "the allocator was trained when agents' errors weighed "
                f"{_listed(pricing.agents, self.alpha)}, and now they weigh "
                f"{_listed(pricing.agents, pricing.alpha)}; train it again"
            )
        return np.asarray(1 - softmax(outputs.astype(np.float64), axis=1))


def _listed(agents: Sequence[str], shares: Floats) -> str:
    return ", ".join(f"{agent} {share:.2f}" for agent, share in zip(agents, shares, strict=True))


class ForeseeingAllocator:
    """Decides by reading question and passages (protocol `Allocator`).

    `units` [A] is what each agent takes, in any one unit, `rates` [A] how often each was wrong on the
    record, where that is known, `times` says how much more than usual a question takes, and `alpha` [A] what
    an error weighs, 1 unless it is given. Raises ConfigError where it was trained for other agents.
    """

    def __init__(
        self,
        backbone: Backbone,
        trained_for: Sequence[str],
        foresight: Foresight,
        agents: Sequence[str],
        units: Sequence[float],
        rates: Sequence[float] | None = None,
        times: Times | None = None,
        alpha: Sequence[float] | None = None,
    ) -> None:
        check_agents(trained_for, agents)
        self._backbone = backbone
        self._foresight = foresight
        self._rates = rates
        self._times = times
        self._agents = tuple(agents)
        self._units = tuple(units)
        self._alpha = alpha
        self._known = Remembered[tuple[str, str]](_REMEMBERED)

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Seen | None = None,
        deadline: Deadline | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Allocation:
        """Whom to ask; the next best where that one failed, and whoever answered gives its answer, as likely
        right as it says itself.

        Of an agent that was not asked a surrogate, which foresees no errors, tells how often it was wrong on
        the record.
        """
        pricing = Pricing.at(price, self._agents, self._units, self._alpha)
        outputs, gflops = self._read(questions, contexts, deadline)
        times = 1.0 if self._times is None else self._times(questions, contexts)
        costs = self._foresight.costs(outputs, pricing, price, times)
        choice = np.zeros(len(costs), dtype=np.int64)
        sure = np.zeros(costs.shape, dtype=np.float32)
        foreseen = self._foresight.errors(outputs)
        if foreseen is None and self._rates is not None:
            foreseen = np.tile(self._rates, (len(costs), 1))
        errors = None if foreseen is None else foreseen.astype(np.float32)
        may = np.ones(costs.shape, dtype=bool) if allowed is None else allowed
        for i, answers in enumerate(seen or [{}] * len(costs)):
            choice[i] = _next(costs[i], answers, may[i])
            for j, answer in answers.items():
                sure[i, j] = answer.confidence
                if errors is not None:
                    errors[i, j] = 1 - answer.confidence if answer.text else 1.0
        return Allocation(self._agents, choice, costs.astype(np.float32), sure, errors, gflops)

    def _read(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None,
    ) -> tuple[Floats, FloatArray]:
        """What is said of each question [n, A], and what reading took [n]: nothing where it was read before."""
        pairs = [(q, shown(row)) for q, row in zip(questions, contexts, strict=True)]

        def read(new: list[tuple[str, str]]) -> tuple[Floats, list[float]]:
            reads = self._foresight.reads
            said = outputs(self._backbone, self._foresight.part, new, reads, deadline)
            return said.astype(np.float64), reading_gflops(self._backbone, new, reads)

        if not pairs:
            return np.zeros((0, len(self._agents))), np.zeros(0, dtype=np.float32)
        found, gflops = self._known(pairs, read)
        return np.asarray(found, dtype=np.float64), gflops


def _next(costs: Floats, answers: Mapping[int, Answer], may: npt.NDArray[np.bool_]) -> int:
    """Whoever answered; else the best of those that may be asked and did not fail; of the failed where there
    is no other, and -1 where nobody was asked.
    """
    left = np.where(may, costs, np.inf)
    for j, answer in answers.items():
        left[j] = np.inf if answer.failure else -np.inf
    if (left < np.inf).any():
        return int(left.argmin())
    return min(answers, key=lambda j: costs[j], default=-1)


def load_foreseeing(
    folder: Path,
    backbone: Backbone,
    agents: Sequence[str],
    units: Sequence[float],
    times: Times | None = None,
    alpha: Sequence[float] | None = None,
) -> ForeseeingAllocator:
    """Read what `train allocator --policy errors` or `surrogate` left; `times` and `alpha` as above.

    Raises SpecialistError where it is corrupt, BackboneMismatchError where it was trained on another
    base, ConfigError where it was trained for other agents.
    """
    found = load_specialist(folder, KIND)
    check_base(folder, found.base_sha256, found.base_name, backbone)
    try:
        settings, head = found.settings, found.head
        layers = settings["layers"]
        reads = Reads(
            None if layers is None else int(layers),
            int(settings["max_length"]),
            int(settings["rank"]),
        )
        at = settings["price"]
        foresight = Foresight(
            settings["learned"],
            Part(found.adapter, head["weight"].float(), head["bias"].float()),
            reads,
            head["scale"].double().numpy(),
            head["shift"].double().numpy(),
            head["units"].double().numpy(),
            # Before they could be told they were 1.
            head.get("alpha", torch.ones_like(head["units"])).double().numpy(),
            None if at is None else float(at),
        )
        names = [str(name) for name in settings["agents"]]
        right = found.numbers.get("right", {})
        known = set(names) <= set(right)
        rates = [1 - float(right[name]) for name in names] if known else None
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise SpecialistError(f"{folder}: corrupt ({error!r}); train it again") from error
    return ForeseeingAllocator(backbone, names, foresight, agents, units, rates, times, alpha)
