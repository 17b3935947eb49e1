from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.special import expit
from torch import Tensor, nn

from pointsman.errors import ConfigError, SpecialistError
from pointsman.grade.head import (
    GradeHead,
    HeadKind,
    corn_log_probabilities,
    cumulative_log_probabilities,
    increasing,
    interpolate,
)
from pointsman.grade.loss import cross_entropy

KINDS: list[HeadKind] = ["plain", "cumulative", "corn"]
values = st.floats(-8, 8)
few = st.lists(values, min_size=1, max_size=5)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def inverse_softplus(gap: float) -> float:
    return math.log(math.expm1(gap))


def random_head(kind: HeadKind, hidden: int = 0, grades: int = 3, seed: int = 0) -> GradeHead:
    """A head over features of width 5 whose every weight is far from its start."""
    generator = torch.Generator().manual_seed(seed)
    fresh = GradeHead.fresh(kind, 5, grades, hidden)
    drawn = {k: torch.randn(v.shape, generator=generator) for k, v in fresh.tensors.items()}
    return GradeHead(kind, drawn)


def features(rows: int = 6, seed: int = 1) -> Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed))


# --- by hand --------------------------------------------------------------------------------------


def test_plain_by_hand() -> None:
    tensors = {
        "output.weight": torch.tensor([[1.0], [0.0], [0.0]]),
        "output.bias": torch.tensor([0.0, math.log(2), 0.0]),
    }
    found = GradeHead("plain", tensors).log_probabilities(torch.tensor([[0.0], [math.log(3)]]))
    expected = [[1 / 4, 2 / 4, 1 / 4], [3 / 6, 2 / 6, 1 / 6]]
    assert found.exp().tolist() == [pytest.approx(row) for row in expected]


def test_cumulative_by_hand() -> None:
    # Thresholds -1 and 2. At latent 0.5: P(y ≤ 0) = σ(-1.5), P(y ≤ 1) = σ(1.5).
    tensors = {
        "output.weight": torch.tensor([[2.0, -1.0]]),
        "thresholds": torch.tensor([-1.0, inverse_softplus(3.0)]),
    }
    found = GradeHead("cumulative", tensors).log_probabilities(torch.tensor([[0.5, 0.5]]))
    low, high = expit(-1.5), expit(1.5)
    assert found.exp().tolist() == [pytest.approx([low, high - low, 1 - high])]


def test_corn_by_hand() -> None:
    # P(y > 0) = ¾, P(y > 1 | y ≥ 1) = ⅓.
    tensors = {
        "output.weight": torch.zeros(2, 1),
        "output.bias": torch.tensor([logit(3 / 4), logit(1 / 3)]),
    }
    found = GradeHead("corn", tensors).log_probabilities(torch.zeros(1, 1))
    assert found.exp().tolist() == [pytest.approx([1 / 4, 3 / 4 * 2 / 3, 3 / 4 * 1 / 3])]


def test_hidden_layer_by_hand() -> None:
    # Both hidden units see 1; GELU(1) = Φ(1), which the output doubles for the second grade.
    tensors = {
        "hidden.weight": torch.tensor([[1.0], [0.0]]),
        "hidden.bias": torch.tensor([0.0, 1.0]),
        "output.weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        "output.bias": torch.zeros(2),
    }
    found = GradeHead("plain", tensors).log_probabilities(torch.ones(1, 1))
    phi = (1 + math.erf(1 / math.sqrt(2))) / 2
    assert found.exp()[0, 1].item() == pytest.approx(expit(2 * phi))


# --- every kind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("grades", [2, 3, 5])
def test_probabilities_are_distributions(kind: HeadKind, hidden: int, grades: int) -> None:
    head = random_head(kind, hidden, grades)
    log_p = head.log_probabilities(features().half())
    assert head.grades == grades
    assert log_p.shape == (6, grades)
    assert log_p.dtype == torch.float32
    assert log_p.exp().sum(-1).tolist() == pytest.approx([1] * 6, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("grades", [2, 3, 5])
def test_a_fresh_head_starts_near_uniform(kind: HeadKind, hidden: int, grades: int) -> None:
    head = GradeHead.fresh(kind, 5, grades, hidden, torch.Generator().manual_seed(0))
    at_zero = head.log_probabilities(torch.zeros(1, 5)).exp()
    assert at_zero.tolist() == [pytest.approx([1 / grades] * grades)]
    assert (head.log_probabilities(features()).exp() - 1 / grades).abs().max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_head_is_a_function_of_its_generator(kind: HeadKind) -> None:
    one, same, other = (
        GradeHead.fresh(kind, 5, 3, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert all(one.tensors[name].equal(tensor) for name, tensor in same.tensors.items())
    assert not one.tensors["output.weight"].equal(other.tensors["output.weight"])
    assert not one.tensors["hidden.weight"].equal(other.tensors["hidden.weight"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_far_away_it_is_finite_and_sums_to_one(kind: HeadKind, latent: float) -> None:
    fresh = GradeHead.fresh(kind, 1, 4)
    scale = torch.linspace(1, 2, len(fresh.tensors["output.weight"]))
    head = GradeHead(kind, fresh.tensors | {"output.weight": scale.unsqueeze(1)})
    for tensor in head.tensors.values():
        tensor.requires_grad_()
    log_p = head.log_probabilities(torch.tensor([[latent]]))
    assert torch.isfinite(log_p).all()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-6)
    for grade in range(4):
        gradients = torch.autograd.grad(
            log_p[0, grade], list(head.tensors.values()), retain_graph=True
        )
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 4])
def test_gradient_reaches_every_tensor(kind: HeadKind, hidden: int) -> None:
    head = random_head(kind, hidden, grades=4)
    parameters = {name: nn.Parameter(tensor) for name, tensor in head.tensors.items()}
    log_p = GradeHead(kind, parameters).log_probabilities(features())
    cross_entropy(log_p, torch.eye(4)[[0, 1, 2, 3, 0, 1]]).backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_does_not_round_it(kind: HeadKind) -> None:
    head = random_head(kind, hidden=4)
    expected = head.log_probabilities(features())
    with torch.autocast("cpu", torch.bfloat16):
        assert head.log_probabilities(features()).equal(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 8])
def test_a_tiny_fit_learns_ordered_grades(kind: HeadKind, hidden: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 3, generator=generator)
    labels = torch.bucketize(rows @ torch.tensor([1.0, -1.0, 0.5]), torch.tensor([-0.7, 0.7]))
    targets = torch.eye(3)[labels]
    head = GradeHead.fresh(kind, 3, 3, hidden, generator)
    parameters = {name: nn.Parameter(tensor) for name, tensor in head.tensors.items()}
    head = GradeHead(kind, parameters)
    optimizer = torch.optim.Adam(parameters.values(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss = cross_entropy(head.log_probabilities(rows), targets)
        loss.backward()
        optimizer.step()
    predicted = head.log_probabilities(rows).argmax(-1)
    assert (predicted == labels).float().mean() >= 0.9
    assert loss.item() < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_survives_its_file(kind: HeadKind, tmp_path: Path) -> None:
    head = random_head(kind, hidden=4, grades=2)
    save_file(head.tensors, tmp_path / "head.safetensors")
    again = GradeHead(kind, load_file(tmp_path / "head.safetensors"))
    assert again.log_probabilities(features()).equal(head.log_probabilities(features()))


# --- cumulative -----------------------------------------------------------------------------------


def test_thresholds_by_hand() -> None:
    free = torch.tensor([-2.0, inverse_softplus(0.5), inverse_softplus(3.0)])
    assert increasing(free).tolist() == pytest.approx([-2, -1.5, 1.5])


@given(values, few)
def test_cumulative_is_differences_of_sigmoids(latent: float, free: list[float]) -> None:
    thresholds = torch.tensor(free, dtype=torch.float64)
    log_p = cumulative_log_probabilities(torch.tensor([latent], dtype=torch.float64), thresholds)
    below = expit(increasing(thresholds).numpy() - latent)
    expected = [b - a for a, b in zip([0, *below], [*below, 1], strict=True)]
    assert log_p.exp()[0].tolist() == pytest.approx(expected, abs=1e-12)


@given(values, st.floats(0.1, 8), few)
def test_raising_the_latent_moves_mass_upward(
    latent: float, step: float, free: list[float]
) -> None:
    latents = torch.tensor([latent, latent + step], dtype=torch.float64)
    p = cumulative_log_probabilities(latents, torch.tensor(free, dtype=torch.float64)).exp()
    before, after = p.cumsum(-1)[:, :-1]
    # First-order stochastic dominance: less mass below every threshold.
    assert (after < before).all()


def test_a_gap_below_rounding_still_leaves_a_finite_loss() -> None:
    log_p = cumulative_log_probabilities(torch.zeros(1), torch.tensor([30.0, -60.0]))
    assert torch.isfinite(log_p).all()


# --- corn -----------------------------------------------------------------------------------------


@given(few, st.data())
def test_cross_entropy_of_corn_is_the_sum_of_its_binary_tasks(
    logits: list[float], data: st.DataObject
) -> None:
    f = torch.tensor([logits], dtype=torch.float64)
    tasks = f.shape[1]
    label = data.draw(st.integers(0, tasks))
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    expected = sum(
        binary(f[0, j], torch.tensor(float(label > j), dtype=torch.float64)).item()
        for j in range(tasks)
        if label >= j
    )
    target = torch.eye(tasks + 1, dtype=torch.float64)[label : label + 1]
    found = cross_entropy(corn_log_probabilities(f), target).item()
    assert found == pytest.approx(expected)


@given(few)
def test_corn_keeps_the_chain_rule(logits: list[float]) -> None:
    p = corn_log_probabilities(torch.tensor([logits], dtype=torch.float64)).exp()[0]
    at_least = p.flip(0).cumsum(0).flip(0)
    conditional = at_least[1:] / at_least[:-1]
    assert conditional.tolist() == pytest.approx(expit(logits).tolist())
    assert p.sum().item() == pytest.approx(1)


# --- between two heads ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_ends_of_an_interpolation_are_the_heads(kind: HeadKind) -> None:
    first, second = random_head(kind, 4, seed=1), random_head(kind, 4, seed=2)
    for alpha, end in ((0.0, first), (1.0, second)):
        mixed = interpolate(first, second, alpha)
        assert mixed.kind == kind
        assert mixed.tensors.keys() == end.tensors.keys()
        assert all(mixed.tensors[name].equal(tensor) for name, tensor in end.tensors.items())


def test_a_quarter_of_the_way() -> None:
    first, second = random_head("corn", seed=1), random_head("corn", seed=2)
    mixed = interpolate(first, second, 0.25)
    for name, tensor in mixed.tensors.items():
        expected = 0.75 * first.tensors[name] + 0.25 * second.tensors[name]
        torch.testing.assert_close(tensor, expected)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_thresholds_increase_all_the_way(seed: int, alpha: float) -> None:
    first = random_head("cumulative", grades=5, seed=seed)
    second = random_head("cumulative", grades=5, seed=seed + 1)
    mixed = interpolate(first, second, alpha)
    assert (increasing(mixed.tensors["thresholds"]).diff() > 0).all()


def test_an_interpolation_of_parameters_has_no_gradient() -> None:
    first, second = (
        GradeHead("plain", {k: nn.Parameter(v) for k, v in random_head("plain").tensors.items()})
        for _ in range(2)
    )
    assert not any(t.requires_grad for t in interpolate(first, second, 0.5).tensors.values())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha must lie between 0 and 1"):
        interpolate(random_head("plain"), random_head("plain"), alpha)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (random_head("plain", grades=2), random_head("corn", grades=3)),
        (random_head("plain", grades=2), random_head("plain", grades=3)),
        (random_head("corn", hidden=4), random_head("corn", hidden=0)),
    ],
)
def test_heads_that_differ_are_not_interpolated(first: GradeHead, second: GradeHead) -> None:
    with pytest.raises(ConfigError, match="only heads of one kind and shape"):
        interpolate(first, second, 0.5)


# --- what is no head ------------------------------------------------------------------------------


def test_a_head_says_what_it_needs_and_what_it_found() -> None:
    tensors = {"output.weight": torch.zeros(3, 5), "output.bias": torch.zeros(2)}
    with pytest.raises(SpecialistError) as error:
        GradeHead("plain", tensors)
    assert str(error.value) == (
        "a plain grade head of G >= 2 grades has output.weight [G, w] and output.bias [G], and "
        "with a hidden layer hidden.weight [w, d] and hidden.bias [w]; found output.weight [3, 5], "
        "output.bias [2]"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 4])
def test_every_wrong_shape_is_refused(kind: HeadKind, hidden: int) -> None:
    tensors = random_head(kind, hidden).tensors
    for name, tensor in tensors.items():
        wrong: list[dict[str, Tensor]] = [
            {k: v for k, v in tensors.items() if k != name},
            {**tensors, name: torch.zeros(())},
            {**tensors, name: tensor.unsqueeze(0)},
            {**tensors, name: tensor[:0]},
            {**tensors, f"{name}s": tensor},
        ]
        for given_tensors in wrong:
            with pytest.raises(SpecialistError, match=f"a {kind} grade head of G >= 2 grades has"):
                GradeHead(kind, given_tensors)


def test_one_grade_is_no_grading() -> None:
    one = {"output.weight": torch.zeros(1, 5), "output.bias": torch.zeros(1)}
    with pytest.raises(SpecialistError, match="of G >= 2 grades"):
        GradeHead("plain", one)
    with pytest.raises(ConfigError, match="two grades or more, not 1"):
        GradeHead.fresh("plain", 5, 1)


def test_nothing_is_no_head() -> None:
    with pytest.raises(SpecialistError, match="found none"):
        GradeHead("corn", {})


def test_a_kind_that_does_not_exist() -> None:
    with pytest.raises(SpecialistError, match="one of plain, cumulative, corn, not 'tree'"):
        GradeHead("tree", {})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one of plain, cumulative, corn, not 'tree'"):
        GradeHead.fresh("tree", 5, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "hidden"), [(0, 0), (5, -1)])
def test_sizes_that_cannot_be(width: int, hidden: int) -> None:
    with pytest.raises(ConfigError, match="width must be 1 or more and hidden 0 or more"):
        GradeHead.fresh("plain", width, 3, hidden)
