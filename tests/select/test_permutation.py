"""Ordered selections against what can be counted: every one of them, and thousands drawn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import ConfigError, InputError
from pointsman.select.permutation import (
    END,
    all_selections,
    all_sets,
    best,
    gumbel_top_k,
    likeliest,
    log_prob,
    sample,
    set_log_prob,
)

SCORES = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
NEVER = torch.tensor([-torch.inf], dtype=torch.float64)
STOP = torch.tensor([0.3], dtype=torch.float64)


def test_by_hand() -> None:
    """Weights 1, 2, 3: third then first is 3/6 · 1/3, and then stopping, of weight 4, 4/(2 + 4)."""
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0]).log()
    found = log_prob(scores, torch.tensor([[2, 0, END]])).exp()
    # At the second step stopping is a choice too: 1/(1 + 2 + 4).
    assert found.item() == pytest.approx(3 / 6 * 1 / 7 * 4 / 6)
    never = torch.cat([scores[:3], torch.tensor([-torch.inf])])
    assert log_prob(never, torch.tensor([[2, 0]])).exp().item() == pytest.approx(3 / 6 * 1 / 3)


@pytest.mark.parametrize("stopping", [False, True])
def test_all_selections_together_are_certain(stopping: bool) -> None:
    scores = torch.cat([SCORES, STOP if stopping else NEVER])
    every = all_selections(4, 3, stopping=stopping)
    assert len(every) == (4 + 12 + 24 if stopping else 24)
    assert log_prob(scores, every).exp().sum().item() == pytest.approx(1)


def test_scores_may_depend_on_what_was_chosen() -> None:
    """A pointer that never takes the neighbour of what it took last; probabilities still sum to 1."""

    def step(prefix: torch.Tensor) -> torch.Tensor:
        scores = torch.cat([SCORES, STOP]).repeat(len(prefix), 1)
        for row, taken in enumerate(prefix.tolist()):
            if taken and taken[-1] != END:
                scores[row, (taken[-1] + 1) % 4] -= 5
        return scores

    every = all_selections(4, 3, stopping=True)
    scores = torch.stack([step(every[:, :t]) for t in range(3)], dim=1)
    chances = log_prob(scores, every).exp()
    assert chances.sum().item() == pytest.approx(1)
    drawn = sample(step, 4, 3, 20_000, torch.Generator().manual_seed(0))
    log_prob(scores[:1], drawn[:5])  # what is drawn is a selection
    shares = [(drawn == row).all(1).double().mean().item() for row in every]
    assert shares == pytest.approx(chances.tolist(), abs=0.012)
    one, again = best(step, 4, 3, m=2)
    assert one.tolist() == again.tolist() == [2, 0, END]


def test_a_wide_beam_finds_the_likeliest_selections() -> None:
    """Of two questions; against all 40 selections of one to three, whose scores depend on what was taken."""
    offsets = torch.tensor([[0.0, 0.4, -0.3, 0.9], [1.0, -1.0, 0.2, 0.1]], dtype=torch.float64)

    def scores_of(question: int, prefix: torch.Tensor) -> torch.Tensor:
        scores = torch.cat([SCORES + offsets[question], STOP]).repeat(len(prefix), 1)
        for row, taken in enumerate(prefix.tolist()):
            if taken and taken[-1] != END:
                scores[row, (taken[-1] + 1) % 4] -= 1
        return scores

    every = all_selections(4, 3, stopping=True)

    def step(prefix: torch.Tensor) -> torch.Tensor:
        half = len(prefix) // 2
        return torch.cat([scores_of(0, prefix[:half]), scores_of(1, prefix[half:])])

    found, log_p = likeliest(step, 4, 3, 40, 2)
    for question in range(2):
        along = torch.stack([scores_of(question, every[:, :t]) for t in range(3)], dim=1)
        exact = log_prob(along, every)
        torch.testing.assert_close(log_p[question].double(), exact.sort(descending=True).values)
        assert found[question, 0].tolist() == every[exact.argmax()].tolist()
        assert {tuple(row) for row in found[question].tolist()} == set(map(tuple, every.tolist()))
    # More than there are: what is missing weighs nothing and is still a selection.
    more, weights = likeliest(lambda prefix: step(prefix)[:, [0, 1, 4]], 2, 2, 9, 2)
    assert torch.isneginf(weights[:, 4:]).all()
    assert torch.isfinite(weights[:, :4]).all()
    assert (more[:, 4:] == more[:, :1]).all()


def test_gumbel_top_k_draws_as_often_as_is_likely() -> None:
    every = all_selections(4, 2, stopping=False)
    drawn = gumbel_top_k(SCORES, 2, 20_000, torch.Generator().manual_seed(0))
    shares = [(drawn == row).all(1).double().mean().item() for row in every]
    chances = log_prob(torch.cat([SCORES, NEVER]), every).exp()
    assert shares == pytest.approx(chances.tolist(), abs=0.012)


@settings(deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=3, max_size=6), st.integers(1, 3))
def test_a_set_is_as_likely_as_all_its_orders(scores: list[float], k: int) -> None:
    given_scores = torch.tensor(scores, dtype=torch.float64)
    sets = all_sets(len(scores), k)
    found = set_log_prob(given_scores, sets)
    assert found.exp().sum().item() == pytest.approx(1)
    with_stop = torch.cat([given_scores, NEVER])
    for each, value in zip(sets.tolist(), found.tolist(), strict=True):
        orders = torch.tensor(list(itertools.permutations(each)))
        assert value == pytest.approx(log_prob(with_stop, orders).logsumexp(0).item(), abs=1e-6)


def test_a_sets_gradient_is_finite_where_one_candidate_is_everything() -> None:
    scores = torch.tensor([60.0, 0.0, -3.0, 1.0], dtype=torch.float64, requires_grad=True)
    found = set_log_prob(scores, all_sets(4, 2))
    assert found.exp().sum().item() == pytest.approx(1)
    found.logsumexp(0).backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ([0, 0], "twice"),
        ([END, END], "one candidate at least"),
        ([4, 0], "places of 4 candidates"),
        ([-2, 0], "places of 4 candidates"),
    ],
)
def test_what_is_no_selection(selection: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        log_prob(torch.cat([SCORES, STOP]), torch.tensor([selection]))


def test_going_on_after_the_end() -> None:
    with pytest.raises(InputError, match="goes on after its end"):
        log_prob(torch.cat([SCORES, STOP]), torch.tensor([[0, END, 1]]))


def test_fewer_candidates_than_choices() -> None:
    assert gumbel_top_k(SCORES, 9, 2).shape == (2, 4)
    drawn = sample(lambda prefix: torch.zeros(len(prefix), 3), 2, 5, 6)
    assert drawn.shape == (6, 2)
    with pytest.raises(ConfigError, match="1 candidate"):
        sample(lambda prefix: torch.zeros(len(prefix), 1), 0, 1, 1)
    with pytest.raises(ConfigError, match="1 choice"):
        gumbel_top_k(SCORES, 0, 1)
    assert math.comb(20, 5) == len(all_sets(20, 5)) == 15_504
