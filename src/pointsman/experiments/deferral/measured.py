"""What an allocation is worth: exact match, cost, and one less the price of the other."""

from __future__ import annotations

import numpy as np

from pointsman.experiments.deferral.bed import Bed, Floats
from pointsman.experiments.deferral.rows import Given


def outcome(bed: Bed, given: Given) -> tuple[Floats, Floats, Floats]:
    """Exact match [n], F1 [n] and cost [n] of what was given, the dearest agent costing one."""
    rows = np.arange(len(bed))
    cost = given.asked @ (bed.units / bed.units.max())
    return bed.em[rows, given.given], bed.f1[rows, given.given], cost


def utility(bed: Bed, given: Given, price: float) -> Floats:
    """Correct answers less what they cost at a price [n]."""
    em, _, cost = outcome(bed, given)
    return em - price * cost
