"""The surrogate losses: by their definition, by hand, and by what minimises them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pointsman.defer.cost import cheapest, taken
from pointsman.defer.network import Fit
from pointsman.defer.rejector import Rejector
from pointsman.defer.surrogate import comp_sum, deferral, margins, mild, picce, weights
from pointsman.errors import ConfigError

US = (0.0, 0.5, 1.0, 1.5, 2.0)

Loss = Callable[[Tensor, Tensor], Tensor]


def by_definition(scores: list[float], j: int, u: float) -> float:
    v = sum(np.exp(each - scores[j]) for k, each in enumerate(scores) if k != j)
    return float(np.log(1 + v) if u == 1 else ((1 + v) ** (1 - u) - 1) / (1 - u))


@pytest.mark.parametrize("u", US)
def test_phi_is_what_the_paper_defines(u: float) -> None:
    scores = [0.3, -1.2, 2.0, 0.0]
    found = comp_sum(torch.tensor([scores], dtype=torch.float64), u)[0]
    assert found.tolist() == pytest.approx([by_definition(scores, j, u) for j in range(4)])


def test_its_well_known_members() -> None:
    scores = torch.tensor([[0.3, -1.2, 2.0]], dtype=torch.float64)
    p = scores.softmax(-1)
    assert torch.allclose(comp_sum(scores, 1.0), -p.log())
    assert torch.allclose(comp_sum(scores, 2.0), 1 - p)  # mean absolute error
    assert torch.allclose(comp_sum(scores, 0.0), 1 / p - 1)  # sum-exponential
    # It goes over continuously into the logarithm.
    assert torch.allclose(comp_sum(scores, 1 + 1e-7), comp_sum(scores, 1.0), atol=1e-5)
    with pytest.raises(ConfigError, match="u must be 0 or more, not -1"):
        comp_sum(scores, -1)


def test_the_loss_by_hand() -> None:
    scores, costs = torch.zeros(1, 2), torch.tensor([[0.0, 1.5]])
    # Two equal scores: log 2 each; as printed choosing agent 0 is rewarded by 1.5, agent 1 by 0.
    assert float(deferral(scores, costs)) == pytest.approx(1.5 * np.log(2))
    three = torch.tensor([[0.0, 1.0, 0.4]])
    assert weights(three, "printed")[0].tolist() == pytest.approx([1.4, 0.4, 1.0])
    assert weights(three, "shifted")[0].tolist() == pytest.approx([1.0, 0.0, 0.6])


def test_shifted_weights_differ_by_a_constant_of_the_row() -> None:
    costs = torch.rand(20, 5, generator=torch.Generator().manual_seed(0))
    apart = weights(costs, "printed") - weights(costs, "shifted")
    assert torch.allclose(apart, apart[:, :1].expand(-1, 5), atol=1e-6)


def minimised(loss: Loss, share: Tensor, costs: Tensor, steps: int = 1_200) -> Tensor:
    """The scores [x, A] of least expected loss: outcome z has chance `share` [z] and `costs` [z, x, A]."""
    scores = torch.zeros(costs.shape[1:], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.08)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(p * loss(scores, c) for p, c in zip(share, costs, strict=True)).backward()  # type: ignore[union-attr]
        optimizer.step()
    return scores.detach()


@pytest.mark.parametrize("agents", [2, 4])
@pytest.mark.parametrize("kind", ["printed", "shifted"])
@pytest.mark.parametrize("u", US)
def test_what_minimises_it_allocates_as_bayes_does(u: float, kind: str, agents: int) -> None:
    generator = torch.Generator().manual_seed(agents)
    errors = torch.rand(6, 12, agents, generator=generator, dtype=torch.float64).round()
    beta = torch.linspace(0, 0.3, agents, dtype=torch.float64)
    share = torch.full((6,), 1 / 6, dtype=torch.float64)
    costs = errors + beta
    expected = (share[:, None, None] * costs).sum(0)
    scores = minimised(partial(deferral, u=u, kind=kind), share, costs)  # type: ignore[arg-type]
    # Where two agents are equally good either will do.
    chosen = expected.gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1)
    assert torch.allclose(chosen, expected.min(-1).values, atol=1e-9)


def test_picce_rewards_one_agent() -> None:
    scores = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    costs = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.2]])
    log_p = scores.log_softmax(-1)
    # Both are right and the second is surer; in the other row only the third is right.
    wanted = -(log_p[0, 1] + 0.8 * log_p[1, 2]) / 2
    assert float(picce(scores, costs)) == pytest.approx(float(wanted))


def test_mild_widens_the_margin_of_who_is_worth_most() -> None:
    costs = torch.tensor([[0.0, 1.0]] * 7 + [[1.0, 0.0]] + [[0.0, 0.0]] * 2)
    rho = margins(costs)
    assert rho.mean() == pytest.approx(1)
    # Where both are right neither is worth anything.
    assert float(rho[0] / rho[1]) == pytest.approx(((7 + 1) / (1 + 1)) ** (1 / 3))
    assert margins(torch.zeros(3, 2)).tolist() == [1, 1]
    scores = torch.tensor([[1.0, 0.0]])
    right_second = torch.tensor([[1.0, 0.0]])
    assert float(mild(scores, right_second, torch.ones(2))) == pytest.approx(np.log(1 + np.e))
    assert float(mild(scores, right_second, torch.tensor([1.0, 0.5]))) == pytest.approx(
        np.log(1 + np.e**2)
    )
    # With equal margins it is the shifted logistic surrogate.
    some = torch.rand(5, 3, generator=torch.Generator().manual_seed(1))
    other = torch.rand(5, 3, generator=torch.Generator().manual_seed(2))
    assert float(mild(some, other, torch.ones(3))) == pytest.approx(
        float(deferral(some, other, 1.0, "shifted")), rel=1e-5
    )


@given(seed=st.integers(0, 2**31), agents=st.integers(2, 6), price=st.floats(0, 1e-4))
def test_a_tiny_price_changes_mild_but_little(seed: int, agents: int, price: float) -> None:
    """Continuous at price 0, where many agents are equally good."""
    generator = torch.Generator().manual_seed(seed)
    errors = torch.rand(20, agents, generator=generator, dtype=torch.float64).round()
    scores = torch.randn(20, agents, generator=generator, dtype=torch.float64)
    taken = torch.linspace(0.01, 1, agents, dtype=torch.float64)

    def loss(price: float) -> float:
        costs = errors + price * taken
        return float(mild(scores, costs, margins(costs)))

    assert abs(loss(price) - loss(0)) <= 100 * agents * price + 1e-12


@pytest.mark.parametrize("u", [0.0, 1.0, 2.0])
def test_a_trained_rejector_comes_closer_to_bayes_with_data(u: float) -> None:
    """Two agents, each good on its side of a line, and a third that is always middling and free."""

    def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 3))
        left = 1 / (1 + np.exp(4 * x[:, 0]))
        chances = np.stack([np.full(n, 0.45), left, 1 - left], axis=1)  # of being wrong
        beta = np.array([0.0, 0.05, 0.05])
        return x, chances + beta, (rng.random((n, 3)) < chances) + beta

    x, expected, _ = world(4_000, seed=9)
    bayes = expected.min(axis=1).mean()
    excess = []
    for n in (60, 4_000):
        seen, _, costs = world(n, seed=1)
        plan = Fit(hidden=16, epochs=max(12, 20_000 // n), batch=64, learning_rate=1e-2, decay=0.0)
        rejector = Rejector.learn(seen, costs, partial(deferral, u=u, kind="shifted"), plan)
        choice = rejector.allocate(x)
        excess.append(expected[np.arange(len(x)), choice].mean() - bayes)
    assert excess[1] < 0.012
    assert excess[1] < excess[0]
    assert (cheapest(expected) == rejector.allocate(x)).mean() > 0.9


@pytest.mark.parametrize("agents", [2, 4, 8])
@pytest.mark.parametrize("kind", ["printed", "shifted"])
@pytest.mark.parametrize("u", [0.0, 1.0, 2.0])
def test_excess_risk_goes_to_zero_with_data(u: float, kind: str, agents: int) -> None:
    """Eight places, at each of which the agents are wrong with other chances, drawn once and known."""
    places = np.tile(np.linspace(0.2, 0.8, agents), (8, 1))
    chances = np.random.default_rng(agents).permuted(places, axis=1)
    beta = np.linspace(0, 0.1, agents)
    expected = chances + beta
    excess = []
    for n in (40, 20_000):
        rng = np.random.default_rng(2)
        where = rng.integers(0, 8, n)
        costs = (rng.random((n, agents)) < chances[where]) + beta
        plan = Fit(
            hidden=0,
            epochs=150 if n == 40 else 15,
            batch=2_000,
            learning_rate=0.1,
            decay=0.0,
        )
        loss = partial(deferral, u=u, kind=kind)  # type: ignore[arg-type]
        choice = Rejector.learn(np.eye(8)[where], costs, loss, plan).allocate(np.eye(8))
        excess.append(float((taken(expected, choice) - expected.min(axis=1)).mean()))
    assert excess[1] < 0.005  # the least gap between two agents, at one place of eight, is 0.03
    assert excess[1] < excess[0] / 10
