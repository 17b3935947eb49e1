"""Where a cascade may stand: the sets of agents that may have been asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pointsman.defer.candidates import Mask

_ALL_SETS = 4
_DOUBLED = 1.8
_ALIKE = 1.1


def stations(units: Sequence[float]) -> Mask:
    """The sets of agents [K, A] that a cascade may have asked, by what each agent takes; first nobody.

    All sets of up to four agents. Of more: each agent alone; the cheapest ones together, up to where
    the next would nearly double what they take; and those with the dearest. Where several take the same,
    who is cheapest says nothing of who should come first: then also every two of which one takes more.
    """
    agents = len(units)
    if agents <= _ALL_SETS:
        sets = [set(s) for size in range(agents + 1) for s in combinations(range(agents), size)]
    else:
        order = np.argsort(np.asarray(units), kind="stable").tolist()
        sums = np.cumsum(np.sort(np.asarray(units, dtype=np.float64)))
        sizes = [i + 1 for i in range(agents - 1) if sums[i + 1] >= _DOUBLED * sums[i]]
        prefixes = [set(order[:size]) for size in (*sizes, agents)]
        sets = [set(), *prefixes, *({j} for j in order)]
        sets += [prefix | {order[-1]} for prefix in prefixes if len(prefix) > 1]
        taken = np.asarray(units, dtype=np.float64)
        dearer = taken[None, :] > _ALIKE * taken[:, None]
        if not (dearer | dearer.T | np.eye(agents, dtype=bool)).all():
            sets += [{i, j} for i, j in np.argwhere(dearer).tolist()]
    found = np.zeros((len(sets), agents), dtype=bool)
    for row, members in zip(found, sets, strict=True):
        row[list(members)] = True
    return np.unique(found, axis=0)
