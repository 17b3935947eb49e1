"""What a grader is trained for: cross-entropy, label smoothing, or OCC, as one choice of settings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pointsman.errors import ConfigError
from pointsman.grade.loss import Direction, label_smoothing, occ_loss


@dataclass(frozen=True, slots=True)
class Objective:
    """Cross-entropy with at most one guard against over-confidence; see `grade.loss`.

    `smoothing` is label smoothing's ε. `occ` is λ, the weight of OCC's divergence from the smooth
    prior of factor `rho`. Raises ConfigError where both are asked for: forward they are one another.
    """

    smoothing: float = 0.0
    occ: float = 0.0
    rho: float = 0.3
    direction: Direction = "reverse"
    ordinal: bool = True

    def __post_init__(self) -> None:
        if self.smoothing and self.occ:
            raise ConfigError("either label smoothing or OCC; together they would smooth twice")

    def __call__(self, log_p: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of log-probabilities [n, G] against targets [n, G]."""
        if not self.occ:
            return label_smoothing(log_p, targets, self.smoothing)
        return occ_loss(
            log_p,
            targets,
            rho=self.rho,
            weight=self.occ,
            direction=self.direction,
            ordinal=self.ordinal,
        )
