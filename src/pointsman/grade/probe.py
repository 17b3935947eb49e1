"""Linear probing then fine-tuning, and the path between the two (LPFT).

Fine-tuning from a random head distorts features that were good (Kumar et al., arXiv 2202.10054);
probing first gives it a head that fits them. DaRL (arXiv 2412.12504) goes on from there and takes
a point between the two solutions: what fine-tuning gained, without all that it forgot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pointsman.backbone.lora import LoraAdapter, LowRank, own_parameters
from pointsman.errors import ConfigError
from pointsman.grade.head import GradeHead, interpolate
from pointsman.grade.objective import Objective
from pointsman.grade.task import Part

PENALTIES = (0.3, 0.1, 0.03, 0.01)


def probe(
    features: Tensor,
    targets: Tensor,
    head: GradeHead,
    objective: Objective,
    *,
    penalty: float,
    steps: int = 40,
) -> GradeHead:
    """The head fitted to frozen features [n, 4d] and targets [n, G] by L-BFGS.

    `penalty` is twice the weight of the squared weights beside the mean loss: without it a head on
    separable data never comes to rest. Deterministic.
    """
    parameters = own_parameters(head.tensors)
    optimizer = torch.optim.LBFGS(
        list(parameters.values()), max_iter=steps, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_p = GradeHead(head.kind, parameters).log_probabilities(features)
        weights = sum(p.square().sum() for name, p in parameters.items() if name.endswith("weight"))
        loss = objective(log_p, targets) + penalty / 2 * weights
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return GradeHead(head.kind, {name: p.detach() for name, p in parameters.items()})


def best_probe(
    features: Tensor,
    targets: Tensor,
    dev: tuple[Tensor, Tensor],
    head: GradeHead,
    objective: Objective,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> GradeHead:
    """The probe of the penalty that makes `dev`, features [m, 4d] and targets [m, G], likeliest.

    A head with a hidden layer learns a few thousand features by heart. Where that is the start,
    fine-tuning goes on from certainties that are wrong.
    """
    fitted = [probe(features, targets, head, objective, penalty=each) for each in penalties]
    return min(fitted, key=lambda each: _cross_entropy(each, *dev))


def _cross_entropy(head: GradeHead, features: Tensor, targets: Tensor) -> float:
    with torch.inference_mode():
        return -float((targets * head.log_probabilities(features)).sum(-1).mean())


def between(probed: GradeHead, tuned: Part, alpha: float, start: LoraAdapter | None = None) -> Part:
    """The point α of the way from the probe (0) to the fine-tuned grader (1).

    ΔW = s · B A is scaled as a whole, to α ΔW: interpolating A and B apart would give α² ΔW. The
    heads are interpolated weight by weight. Where fine-tuning began from an adapter `start` (the
    probe saw the base through it) the change is (1 - α) ΔW_start + α ΔW, of both ranks together.
    Raises ConfigError where α lies outside [0, 1].
    """
    head = interpolate(probed, tuned.head, alpha)
    if start is None:
        return Part(scaled(tuned.adapter, alpha), head)
    return Part(added(scaled(start, 1 - alpha), scaled(tuned.adapter, alpha)), head)


def added(one: LoraAdapter, other: LoraAdapter) -> LoraAdapter:
    """The adapter that changes the base by what both change together; its ranks are their sums."""
    layers = dict(one.layers)
    for name, pair in other.layers.items():
        if name in layers:
            first = layers[name]
            a = torch.cat([first.a.detach(), pair.a.detach()])
            b = torch.cat([first.b.detach() * first.scale, pair.b.detach() * pair.scale], dim=1)
            layers[name] = LowRank(a, b, 1.0)
        else:
            layers[name] = pair
    return LoraAdapter(layers)


def scaled(adapter: LoraAdapter, share: float) -> LoraAdapter:
    """The adapter that changes the base by a share of what this one does."""
    if not 0 <= share <= 1:
        raise ConfigError(f"alpha must lie between 0 and 1, not {share}")
    return LoraAdapter(
        {name: LowRank(pair.a, pair.b, pair.scale * share) for name, pair in adapter.layers.items()}
    )
