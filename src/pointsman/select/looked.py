"""Choosing after a first look: which passage's best span is the answer, by a few numbers of each.

The reader's own scores tell passages apart nearly as well as a selector that reads the pairs, and the two
err on different questions. So the choice z of one passage is made of both: p(z = i | x) ∝ exp(w · f_i)
with FEATURES f_i, and w climbs log Σ_i p(z = i | x) r_i, the marginal likelihood of DRO (arXiv 2505.03075)
with the worth r_i of what the reader says of passage i, in [0, 1], in place of its own p(y | x, d_i). All
n choices are counted; nothing is drawn. Pure functions; n candidates, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor

from pointsman.errors import InputError
from pointsman.evaluate.reading import normalize_answer
from pointsman.types import Look, Selection
from pointsman.wording import FEATURES as WORDING
from pointsman.wording import wording

OWN = (
    "rank",
    "relevance",
    "best span",
    "all spans",
    "best above second",
    "best among its passage's",
    "best against the best of all",
    "passage's share of all spans",
    "holds the best of all",
    "others that say the same",
)
FEATURES = (*OWN, *WORDING)
"""The columns of `features`. Ranks and counts are logarithms of one plus them, spans' are of odds; how much
of the question's wording a passage repeats (`wording.FEATURES`) does nearly what a grader's relevance does.
"""

# A passage without a span is as one whose spans are this unlikely.
_LEAST = -30.0
_FARTHEST = 20.0
# A question that nobody answers well must not rule the fit: no worth counts as less.
_HOPELESS = 0.02
_STEPS = 200

Floats = npt.NDArray[np.float64]


def features(
    look: Look, question: str, passages: Sequence[str], relevance: npt.ArrayLike
) -> Floats:
    """FEATURES [n, F] of candidates that come best first; `relevance` [n] counts against its mean."""
    n = len(look.best)
    if not n:
        return np.zeros((0, len(FEATURES)))
    best, second, every = (np.maximum(each, _LEAST) for each in (look.best, look.second, look.all))
    said = [normalize_answer(text) for text in look.texts]
    same = Counter(said)
    known = np.asarray(relevance, dtype=np.float64)
    own = np.stack(
        [
            np.log1p(np.arange(n)),
            known - known.mean(),
            best,
            every,
            (best - second).clip(0, _FARTHEST),
            (best - every).clip(-_FARTHEST, 0),
            (best - best.max()).clip(-_FARTHEST, 0),
            log_softmax(every).clip(-_FARTHEST, 0),
            (best == best.max()).astype(np.float64),
            np.log1p([same[text] - 1 if text else 0 for text in said]),
        ],
        axis=1,
    )
    return np.concatenate([own, wording([(question, passage) for passage in passages])], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """p(z = i | x) ∝ exp(w · f_i): `weights` [F]. Raises InputError where they are not as many as FEATURES."""

    weights: Floats

    def __post_init__(self) -> None:
        if self.weights.shape != (len(FEATURES),):
            raise InputError(
                f"a choice weighs {len(FEATURES)} features, not {list(self.weights.shape)}"
            )

    @classmethod
    def fit(cls, of: Sequence[Floats], worths: Sequence[Floats], penalty: float = 1e-2) -> Choice:
        """From features [n, F] and worths [n] of each question; `penalty` is twice the weight of the squared
        weights of standardised features beside the mean loss.

        A question of which no candidate is worth anything teaches nothing. Raises InputError where all are
        such, or a worth does not lie between 0 and 1.
        """
        if any(len(w) and not (w.min() >= 0 and w.max() <= 1) for w in worths):
            raise InputError("what a candidate's answer is worth lies between 0 and 1")
        told = [i for i, w in enumerate(worths) if len(w) and w.max() > 0]
        if not told:
            raise InputError("no candidate of any question holds an answer that the reader finds")
        most = max(len(worths[i]) for i in told)
        x = torch.zeros(len(told), most, len(FEATURES), dtype=torch.float64)
        worth = torch.zeros(len(told), most, dtype=torch.float64)
        there = torch.zeros(len(told), most, dtype=torch.bool)
        for row, i in enumerate(told):
            n = len(worths[i])
            x[row, :n] = torch.from_numpy(of[i])
            worth[row, :n] = torch.from_numpy(np.asarray(worths[i], dtype=np.float64))
            there[row, :n] = True
        spread = x[there].std(0, correction=0)
        # What is the same of all candidates, as relevance is without a grader, says nothing.
        scale = torch.where(spread > 1e-6, 1 / spread.clamp(min=1e-6), torch.zeros_like(spread))
        standard = x * scale
        weights = torch.zeros(len(FEATURES), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            log_p = (standard @ weights).masked_fill(~there, -torch.inf).log_softmax(1)
            expected = (log_p.exp() * worth).sum(1)
            loss = -(expected + _HOPELESS).log().mean()
            loss = loss + penalty / 2 * weights.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return cls((weights.detach() * scale).numpy())

    def scores(self, of: Floats) -> Floats:
        """w · f [n]."""
        return np.asarray(of @ self.weights, dtype=np.float64)


def selection(scores: Floats, best: Floats, most: int) -> Selection:
    """The `most` likeliest candidates by `scores` [n], and what the reader must believe of each so that,
    with its `best` spans [n], it answers from the likeliest.
    """
    order = np.argsort(-scores, kind="stable")[:most].astype(np.int64)
    if not len(order):
        return Selection(order)
    beliefs = scores - np.maximum(best, _LEAST)
    # The first is the measure of all: what is said of the others must not silence it.
    beliefs = np.minimum(beliefs, beliefs[order[0]])
    return Selection(order, softmax(scores).astype(np.float32), beliefs=beliefs.astype(np.float32))
