"""The mathematics of spans against sums done by hand and by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointsman.errors import SpecialistError
from pointsman.read.head import BLOCKED, SpanHead, choosable
from pointsman.read.loss import span_loss
from pointsman.read.spans import joint_log_probabilities, span_log_odds, window_partition

NEVER = float("-inf")


def test_log_odds_by_hand() -> None:
    start = torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    end = torch.tensor([[0.5, 0.0, 3.0, 1.0]])
    allowed = torch.tensor([[False, True, True, True]])
    # Silence is 1 + 0.5. Token 1: 2 + 0, 2 + 3, 2 + 1, each less 1.5; and so on.
    assert span_log_odds(start, end, allowed, 3).tolist() == [
        [[NEVER] * 3, [0.5, 3.5, 1.5], [1.5, -0.5, NEVER], [-1.5, NEVER, NEVER]]
    ]


def test_width_bounds_a_span() -> None:
    start, end = torch.zeros(1, 4), torch.zeros(1, 4)
    allowed = torch.tensor([[False, True, True, True]])
    assert torch.isfinite(span_log_odds(start, end, allowed, 1)).sum() == 3
    assert torch.isfinite(span_log_odds(start, end, allowed, 2)).sum() == 5
    assert torch.isfinite(span_log_odds(start, end, allowed, 4)).sum() == 6


def brute_force(
    start: Tensor, end: Tensor, allowed: Tensor, width: int
) -> dict[tuple[int, int, int], float]:
    odds = {}
    rows, length = start.shape
    for row in range(rows):
        for i in range(length):
            for j in range(i, min(i + width, length)):
                if allowed[row, i] and allowed[row, j]:
                    null = start[row, 0] + end[row, 0]
                    odds[row, i, j] = float(start[row, i] + end[row, j] - null)
    return odds


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 3),
    length=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_all_pairs_by_brute_force(seed: int, rows: int, length: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, rows, length, generator=generator) * 3
    allowed = torch.rand(rows, length, generator=generator) < 0.6
    allowed[:, 0] = False
    width = min(width, length)
    odds = span_log_odds(start, end, allowed, width)
    expected = brute_force(start, end, allowed, width)
    assert odds.shape == (rows, length, width)
    assert int(torch.isfinite(odds).sum()) == len(expected)
    for (row, i, j), value in expected.items():
        assert float(odds[row, i, j - i]) == pytest.approx(value, abs=1e-5)
    # One distribution over every window's spans and silence.
    partition = window_partition(odds)
    for row in range(rows):
        mine = [value for (r, _, _), value in expected.items() if r == row]
        total = math.log(sum(map(math.exp, mine))) if mine else NEVER
        assert float(partition[row]) == pytest.approx(total, abs=1e-4)
    flat = torch.tensor(list(expected.values()), dtype=torch.float64)
    spans, silence = joint_log_probabilities(flat)
    assert float(spans.exp().sum() + silence.exp()) == pytest.approx(1)
    # Summed by window first, it is the same silence.
    _, again = joint_log_probabilities(partition.double())
    assert float(again) == pytest.approx(float(silence), abs=1e-4)


def test_joint_probabilities_by_hand() -> None:
    spans, silence = joint_log_probabilities(torch.tensor([math.log(2.0), 0.0]))
    assert spans.exp().tolist() == pytest.approx([0.5, 0.25])
    assert float(silence.exp()) == pytest.approx(0.25)


def test_nothing_to_choose_from_is_silence() -> None:
    _, silence = joint_log_probabilities(torch.empty(0))
    assert float(silence) == 0
    _, silence = joint_log_probabilities(torch.tensor([NEVER, NEVER]))
    assert float(silence) == 0
    assert window_partition(torch.full((2, 3, 2), NEVER)).tolist() == [NEVER, NEVER]


def test_huge_odds_do_not_overflow() -> None:
    spans, silence = joint_log_probabilities(torch.tensor([1e4, 1e4, -1e4], dtype=torch.float64))
    assert spans.exp().tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert float(silence) == pytest.approx(-1e4, rel=1e-3)


def test_logits_in_half_precision_are_summed_in_full() -> None:
    # In fp16 2048 + 1 is 2048.
    start = torch.tensor([[0.0, 2048.0]], dtype=torch.float16)
    end = torch.tensor([[0.0, 1.0]], dtype=torch.float16)
    odds = span_log_odds(start.float(), end.float(), torch.tensor([[False, True]]), 1)
    assert odds[0, 1, 0] == 2049


def test_the_head_blocks_what_cannot_be_chosen() -> None:
    head = SpanHead(
        {"weight": torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "bias": torch.tensor([0.5, 0])}
    )
    states = torch.tensor([[[1.0, 1.0], [2.0, 3.0], [4.0, 5.0]]])
    passage = torch.tensor([[False, False, True]])
    start, end = head.logits(states, choosable(passage))
    assert start.tolist() == [[1.5, BLOCKED, 4.5]]
    assert end.tolist() == [[2.0, BLOCKED, 10.0]]
    assert passage.tolist() == [[False, False, True]]  # not changed in place
    assert float(start.softmax(-1)[0, 1]) == 0


def test_a_fresh_head_is_a_function_of_its_generator() -> None:
    heads = [SpanHead.fresh(8, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(heads[0].tensors["weight"], heads[1].tensors["weight"])
    assert heads[0].tensors["weight"].shape == (2, 8)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"weight": torch.ones(2, 4)},
        {"weight": torch.ones(4), "bias": torch.ones(2)},
        {"weight": torch.ones(2, 4), "bias": torch.ones(2), "more": torch.ones(1)},
    ],
)
def test_other_tensors_are_no_span_head(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(SpecialistError, match="a span head has"):
        SpanHead(tensors)


def test_loss_by_hand() -> None:
    # Start: softmax (1/2, 1/2), all on the second: ln 2. End: (1/4, 3/4), shared: (ln 4 + ln 4/3) / 2.
    start, end = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3.0)]])
    loss = span_loss(start, end, torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]))
    expected = (math.log(2) + (math.log(4) + math.log(4 / 3)) / 2) / 2
    assert float(loss) == pytest.approx(expected)


def test_loss_of_single_answers_is_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(2)
    start, end = torch.randn(2, 5, 7, generator=generator)
    first, last = torch.randint(0, 7, (2, 5), generator=generator)
    one_hot = torch.nn.functional.one_hot
    loss = span_loss(start, end, one_hot(first, 7).float(), one_hot(last, 7).float())
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(start, first) + cross_entropy(end, last)) / 2
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_blocked_tokens_neither_cost_nor_learn() -> None:
    start = torch.tensor([[1.0, BLOCKED, 2.0]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 1.0]])
    loss = span_loss(start, start, target, target)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    loss.backward()
    assert start.grad is not None
    assert start.grad[0, 1] == 0
