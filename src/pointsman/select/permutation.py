"""Ordered selections: how likely a sequence of choices is, how to draw one, and what a set of them is.

A selection is a row of places of candidates in reading order, -1 after its end. Candidates have
scores; at every step one of those left is chosen with probability ∝ exp(score) (Plackett 1975, Luce
1959), or the selection stops. Where scores do not depend on what was chosen already, drawing is
Gumbel top-k, and the probability of a set in any order is exact. Pure functions; n candidates, at most
k of them are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

import torch
from torch import Tensor

from pointsman.errors import ConfigError, InputError

Step = Callable[[Tensor], Tensor]
"""Selections so far [m, t] -> scores of the candidates and of stopping [m, n + 1]."""

END = -1


def log_prob(scores: Tensor, selections: Tensor) -> Tensor:
    """Log-probabilities [m] of `selections` [m, k] by scores [m, k, n + 1] of each step.

    The last score is that of stopping, -inf where there is none; the first step cannot stop, and after
    k choices nothing more is asked. Scores [n + 1] stand for every step of every selection. Raises
    InputError for a selection that is empty, chooses what is not there or twice, or goes on after its
    end.
    """
    check(selections, scores.shape[-1] - 1)
    log_p = log_probabilities(scores, selections)
    place = torch.where(selections == END, scores.shape[-1] - 1, selections)
    here = log_p.gather(2, place.unsqueeze(2)).squeeze(2)
    # What follows the end was never asked for.
    asked = torch.ones_like(selections, dtype=torch.bool)
    asked[:, 1:] = selections[:, :-1] != END
    return torch.where(asked, here, torch.zeros_like(here)).sum(1)


def log_probabilities(scores: Tensor, selections: Tensor) -> Tensor:
    """Log-probabilities [m, k, n + 1] of all that could have been chosen at each step of `selections`
    [m, k]; -inf for what was taken before, and for stopping at the first.
    """
    m, k = selections.shape
    n = scores.shape[-1] - 1
    scores = scores.expand(m, k, n + 1)
    taken = torch.zeros(m, n + 1, dtype=torch.bool, device=scores.device)
    steps = []
    for step in range(k):
        chosen = selections[:, step : step + 1]
        steps.append(_allowed(scores[:, step], taken, first=step == 0).log_softmax(-1))
        taken = taken.scatter(1, torch.where(chosen == END, n, chosen), chosen != END)
    return torch.stack(steps, dim=1)


def sample(
    step: Step, candidates: int, k: int, m: int, generator: torch.Generator | None = None
) -> Tensor:
    """m selections [m, k] drawn one choice after the other, by scores that may depend on the former.

    Raises ConfigError for fewer than one choice, candidate or selection.
    """
    _check_sizes(candidates, k, m)
    k = min(k, candidates)
    drawn = torch.full((m, k), END)
    taken = torch.zeros(m, candidates + 1, dtype=torch.bool)
    for t in range(k):
        scores = _allowed(step(drawn[:, :t]).detach().cpu(), taken, first=t == 0)
        place = torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)
        _take(drawn, taken, t, place)
    return drawn


def best(step: Step, candidates: int, k: int, m: int = 1) -> Tensor:
    """m selections [m, k], each of the likeliest candidate at every step, until stopping is likelier
    than going on, whichever candidate that would be with.
    """
    _check_sizes(candidates, k, m)
    chosen = torch.full((m, min(k, candidates)), END)
    taken = torch.zeros(m, candidates + 1, dtype=torch.bool)
    for t in range(chosen.shape[1]):
        p = _allowed(step(chosen[:, :t]).detach().cpu(), taken, first=t == 0).softmax(-1)
        stop = p[:, -1] > 0.5
        _take(chosen, taken, t, torch.where(stop, candidates, p[:, :-1].argmax(-1)))
    return chosen


def likeliest(step: Step, candidates: int, k: int, m: int, questions: int) -> tuple[Tensor, Tensor]:
    """About the m likeliest selections of each question [q, m, k] by beam search, the likeliest first, and
    their log-probabilities [q, m].

    `step` is asked for prefixes [q · m, t]. Where there are fewer than m selections, the first one stands
    in the other rows, at -inf.
    """
    _check_sizes(candidates, k, m)
    k = min(k, candidates)
    beams = torch.full((questions, m, k), END)
    taken = torch.zeros(questions, m, candidates + 1, dtype=torch.bool)
    log_p = torch.full((questions, m), -torch.inf)
    log_p[:, 0] = 0.0
    for t in range(k):
        scores = step(beams[:, :, :t].flatten(0, 1)).detach().float().cpu()
        here = _allowed(scores, taken.flatten(0, 1), first=t == 0).log_softmax(-1)
        here = here.reshape(questions, m, -1)
        if t:  # What has ended stays as it is.
            ended = beams[:, :, t - 1] == END
            here = here.masked_fill(ended.unsqueeze(-1), -torch.inf)
            here[..., -1] = torch.where(ended, 0.0, here[..., -1])
        best = (log_p.unsqueeze(-1) + here).flatten(1).topk(m, dim=1)
        log_p = best.values
        parent, place = best.indices // (candidates + 1), best.indices % (candidates + 1)
        beams = beams.gather(1, parent.unsqueeze(-1).expand(-1, -1, k))
        taken = taken.gather(1, parent.unsqueeze(-1).expand(-1, -1, candidates + 1))
        beams[:, :, t] = torch.where(place == candidates, END, place)
        taken.scatter_(2, place.unsqueeze(-1), True)
        taken[..., -1] = False
    missing = torch.isneginf(log_p).unsqueeze(-1)
    return torch.where(missing, beams[:, :1], beams), log_p


def gumbel_top_k(
    scores: Tensor, k: int, m: int, generator: torch.Generator | None = None
) -> Tensor:
    """m selections [m, k] by scores [n] that stay, without stopping: the k greatest of score + noise.

    With Gumbel noise this is Plackett-Luce sampling without replacement (Kool et al., arXiv
    1903.06059).
    """
    _check_sizes(len(scores), k, m)
    uniform = torch.rand(m, len(scores), generator=generator, dtype=torch.float64)
    noise = -(-uniform.clamp(1e-300, 1 - 1e-16).log()).log()
    return (scores.detach().double().cpu() + noise).topk(min(k, len(scores)), dim=1).indices


def set_log_prob(scores: Tensor, sets: Tensor) -> Tensor:
    """Log-probabilities [s] that the first k choices by scores [n] are the sets [s, k], in any order.

    P(T) = Σ_{i in T} P(T - i) λ_i / (Λ - λ(T - i)) with λ = exp(score) and Λ = Σ λ: 2^k states in
    place of k! orders. What is left, Λ - λ(T - i), is summed rather than subtracted, so that nothing
    cancels where one candidate is nearly everything.
    """
    k = sets.shape[1]
    inside = scores[sets]  # [s, k]
    others = scores.expand(len(sets), -1).scatter(1, sets, -torch.inf)
    # From here on in logarithms; a set of all candidates leaves none outside.
    outside = torch.where(
        torch.isneginf(others).all(1), -torch.inf, _finite(others).logsumexp(1)
    ).unsqueeze(1)
    log_p = [scores.new_zeros(len(sets))]
    for state in range(1, 2**k):
        ways = []
        for i in range(k):
            if state >> i & 1:
                before = state & ~(1 << i)
                left = [j for j in range(k) if not before >> j & 1]
                rest = torch.cat([outside, inside[:, left]], dim=1).logsumexp(1)
                ways.append(log_p[before] + inside[:, i] - rest)
        log_p.append(torch.stack(ways).logsumexp(0))
    return log_p[-1]


def all_sets(candidates: int, k: int) -> Tensor:
    """Every set of k candidates [n over k, k], each rising."""
    return torch.tensor(list(combinations(range(candidates), k)), dtype=torch.long)


def all_selections(candidates: int, k: int, *, stopping: bool) -> Tensor:
    """Every selection of k candidates, or of one to k where it may stop [m, k]; for small cases."""
    rows: list[tuple[int, ...]] = []
    for size in range(1 if stopping else k, k + 1):
        ended = (END,) * (k - size)
        rows += [(*each, *ended) for each in permutations(range(candidates), size)]
    return torch.tensor(rows, dtype=torch.long)


def check(selections: Tensor, n: int) -> None:
    """Raises InputError where rows are no selections of n candidates; see `log_prob`."""
    if ((selections < END) | (selections >= n)).any():
        raise InputError(f"a selection holds places of {n} candidates, and {END} after its end")
    if (selections[:, 0] == END).any():
        raise InputError("a selection holds one candidate at least")
    ended = selections == END
    if (ended[:, :-1] & ~ended[:, 1:]).any():
        raise InputError("a selection goes on after its end")
    places = selections.sort(dim=1).values
    if ((places[:, 1:] == places[:, :-1]) & (places[:, 1:] != END)).any():
        raise InputError("a selection holds a candidate twice")


def _allowed(scores: Tensor, taken: Tensor, first: bool) -> Tensor:
    """Scores [m, n + 1] with -inf where a candidate is taken, and for stopping before anything is."""
    blocked = taken.clone()
    if first:
        blocked[:, -1] = True
    return scores.masked_fill(blocked, -torch.inf)


def _take(chosen: Tensor, taken: Tensor, t: int, place: Tensor) -> None:
    """Write the t-th choices [m] down; the last place is stopping, which stays a choice."""
    stop = taken.shape[1] - 1
    if t:
        place = torch.where(chosen[:, t - 1] == END, stop, place)
    chosen[:, t] = torch.where(place == stop, END, place)
    taken.scatter_(1, place.unsqueeze(1), True)
    taken[:, stop] = False


def _finite(scores: Tensor) -> Tensor:
    """A row that is -inf throughout as zeros: its logsumexp would have no gradient."""
    none = torch.isneginf(scores).all(1, keepdim=True)
    return torch.where(none, torch.zeros_like(scores), scores)


def _check_sizes(candidates: int, k: int, m: int) -> None:
    for value, what in ((candidates, "candidate"), (k, "choice"), (m, "selection")):
        if value < 1:
            raise ConfigError(f"at least 1 {what} is needed, not {value}")
