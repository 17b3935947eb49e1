"""Abstaining with a promise: among the answered questions at most so many are wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, t

from pointsman.errors import ConfigError, InputError

NEVER = float("inf")
"""The threshold above which nothing is answered: nothing could be promised."""


def threshold(
    chances: npt.ArrayLike,
    right: npt.ArrayLike,
    error: float,
    delta: float = 0.1,
    clusters: npt.ArrayLike | None = None,
) -> float:
    """The least chance to answer at, so that at most a share `error` of the answered is wrong.

    From chances [n] of held-out questions and whether each was `right` [n]. With probability 1 - δ over
    those questions the promise holds for new ones like them: thresholds are tested from the strictest
    on, each by the exact binomial bound of Clopper and Pearson, and the last that passes before the
    first that fails is taken (fixed-sequence testing, arXiv 2110.01052).

    Questions about one text are wrong together more often than others. With `clusters` [n], the number of
    each one's text, whole texts are what was drawn: a share must also be below `error` by the spread among
    those (Student's t of what each text has above or below its part of the promise), and new questions are
    questions about new texts. Raises ConfigError for shares outside (0, 1), InputError where the lengths
    differ or nothing is held out.
    """
    for name, value in (("error", error), ("delta", delta)):
        if not 0 < value < 1:
            raise ConfigError(f"{name} lies between 0 and 1, not {value}")
    given, good = np.asarray(chances, dtype=float), np.asarray(right, dtype=float)
    texts = np.arange(good.size) if clusters is None else np.asarray(clusters)
    if not given.shape == good.shape == texts.shape or not given.size:
        raise InputError(
            f"{given.size} chances, {good.size} outcomes and {texts.size} numbers of clusters"
        )
    order = np.argsort(-given, kind="stable")
    given, missed = given[order], 1 - good[order]
    wrong, texts = np.cumsum(missed), np.unique(texts, return_inverse=True)[1][order]
    # Questions of one chance are answered together or not at all.
    ends = np.flatnonzero(np.append(np.diff(given) < 0, True))
    # Of a few answers no promise follows; to begin with them would fail the first test by chance.
    ends = ends[ends + 1 >= min(len(given), max(_least(error, delta), len(given) // 10))]
    found = NEVER
    for end in ends[:: max(1, len(ends) // 100)]:
        some = slice(end + 1)
        if _upper(float(wrong[end]), end + 1, delta) > error:
            break
        if clusters is not None and not _fewer(missed[some], texts[some], error, delta):
            break
        found = float(given[end])
    return found


def _upper(wrong: float, count: int, delta: float) -> float:
    """The upper bound of a share of which `wrong` of `count` were seen."""
    return 1.0 if wrong >= count else float(beta.ppf(1 - delta, wrong + 1, count - wrong))


def _fewer(
    missed: npt.NDArray[np.floating],
    texts: npt.NDArray[np.integer],
    error: float,
    delta: float,
) -> bool:
    """Whether fewer than a share `error` is wrong, by how that differs among texts; not by one alone.

    The spread is about what was promised, not about the mean that was seen: few errors look alike in all
    texts by chance, and would make a bound of their own spread too tight.
    """
    count = np.bincount(texts)
    above = (np.bincount(texts, weights=missed) - error * count)[count > 0]
    number = len(above)
    if number < 2:
        return False
    spread = (number / (number - 1) * (above**2).sum()) ** 0.5
    return bool(above.sum() + t.ppf(1 - delta, number - 1) * spread <= 0)


def _least(error: float, delta: float) -> int:
    """Twice as many answers as would pass if all were right."""
    return int(np.ceil(2 * np.log(delta) / np.log1p(-error)))
