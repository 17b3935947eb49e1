"""What an allocation is worth: exact match, cost, and one less the price of the other."""

from __future__ import annotations

import numpy as np

from pointsman.experiments.deferral.bed import Bed, Floats
from pointsman.experiments.deferral.rows import Given


def outcome(bed: Bed, given: Given) -> tuple[Floats, Floats, Floats]:
    """Exact match [n], F1 [n] and cost [n] of what was given, the dearest agent's mean costing one.

    The cost is of all that were asked, by what this question took of each, and of deciding.
    """
    rows = np.arange(len(bed))
    cost = taken(bed, given) / bed.units.max()
    return bed.em[rows, given.given], bed.f1[rows, given.given], cost


def taken(bed: Bed, given: Given) -> Floats:
    """What it took [n], in the bed's unit."""
    asked = np.asarray((given.asked * bed.costs).sum(axis=1))
    return asked if given.deciding is None else asked + given.deciding


def utility(bed: Bed, given: Given, price: float) -> Floats:
    """Correct answers less what they cost at a price [n]."""
    em, _, cost = outcome(bed, given)
    return em - price * cost
