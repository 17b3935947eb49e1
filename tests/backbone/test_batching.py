"""Length buckets: a partition within budget, longest first."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BartConfig, BertConfig

from pointsman.backbone.batching import length_buckets
from pointsman.backbone.flops import Shape


def test_by_hand() -> None:
    # Budget 12: 5 + 5 fits as 2 · 5, a third would make 15; then 4 · 3 = 12 just fits.
    assert list(length_buckets([3, 5, 1, 5, 3, 2], 12)) == [[1, 3], [0, 4, 5, 2]]


def test_a_row_longer_than_the_budget_travels_alone() -> None:
    assert list(length_buckets([2, 100, 3], 10)) == [[1], [2, 0]]


def test_nothing_gives_no_batch() -> None:
    assert list(length_buckets([], 10)) == []


@given(
    lengths=st.lists(st.integers(0, 60), max_size=60),
    budget=st.integers(1, 200),
    max_rows=st.none() | st.integers(1, 7),
)
def test_partition_budget_and_order(lengths: list[int], budget: int, max_rows: int | None) -> None:
    batches = list(length_buckets(lengths, budget, max_rows))
    flat = [i for batch in batches for i in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert flat == sorted(flat, key=lambda i: (-lengths[i], i))
    for batch in batches:
        assert batch
        assert len(batch) * max(lengths[i] for i in batch) <= budget or len(batch) == 1
        assert max_rows is None or len(batch) <= max_rows
    # No batch could have taken the first row of the next one too.
    for batch, following in itertools.pairwise(batches):
        longest = max(1, lengths[batch[0]])  # an empty row is a token of padding
        assert (len(batch) + 1) * longest > budget or len(batch) == max_rows
        assert lengths[following[0]] <= lengths[batch[0]]


def test_a_batch_ends_where_its_padding_costs_more_than_another_batch() -> None:
    # Two short rows beside one of 10 would be padded by 9 each: 18 tokens, more than a batch costs.
    assert list(length_buckets([10, 1, 1], 100, batch_cost=17)) == [[0], [1, 2]]
    assert list(length_buckets([10, 1, 1], 100, batch_cost=18)) == [[0, 1, 2]]
    # Only one of them would have found room, and then another batch is needed anyhow.
    assert list(length_buckets([10, 1, 1], 20, batch_cost=9)) == [[0, 1], [2]]


@given(
    lengths=st.lists(st.integers(0, 60), max_size=60),
    budget=st.integers(1, 500),
    cost=st.integers(0, 100),
)
def test_ending_early_never_costs_more(lengths: list[int], budget: int, cost: int) -> None:
    def price(batches: list[list[int]]) -> int:
        return sum(cost + len(batch) * max(lengths[i] for i in batch) for batch in batches)

    early = list(length_buckets(lengths, budget, batch_cost=cost))
    assert sorted(i for batch in early for i in batch) == list(range(len(lengths)))
    assert price(early) <= price(list(length_buckets(lengths, budget)))


def test_ending_early_that_comes_out_dearer_is_not_done() -> None:
    """By itself ending after each of 15, 9 and 5 pays; all in all two full batches cost 92, not 93."""
    lengths = [0, 0, 0, 0, 5, 9, 15]
    assert list(length_buckets(lengths, 60, batch_cost=16)) == list(length_buckets(lengths, 60))


def test_flops_by_hand() -> None:
    # One layer, width 2, feed-forward 3, one row of 5 tokens. A token: 4·4 + 2·6 = 28 weights, and
    # 2·5·2 = 20 multiply-adds of attention; 5 · 48 multiply-adds are 480 operations.
    assert Shape(1, 2, 3).forward_gflops(1, 5) == pytest.approx(480e-9)
    assert Shape(6, 2, 3).forward_gflops(4, 5) == pytest.approx(24 * 480e-9)


def test_a_decoder_reads_the_text_once_more_and_looks_at_the_encoder() -> None:
    # As above; its one layer attends twice: 4·4 weights and 20 multiply-adds of attention more.
    config = BartConfig(encoder_layers=2, decoder_layers=1, d_model=2, encoder_ffn_dim=3)
    assert Shape.of(config) == Shape(2, 2, 3, decoder=1)
    both = Shape.of(config).forward_gflops(1, 5)
    assert both == pytest.approx((3 * 480 + 5 * 2 * (16 + 20)) * 1e-9)
    assert Shape.of(BertConfig(num_hidden_layers=2)).decoder == 0


def test_flops_of_the_default_are_near_its_weights() -> None:
    # 10.6 M weights in MiniLM-L6's layers: 2 operations each and token, attention on top.
    one_token = Shape(6, 384, 1536).forward_gflops(1, 1)
    assert one_token == pytest.approx(2 * 10.6e6 / 1e9, rel=0.01)
    assert Shape(6, 384, 1536).forward_gflops(1, 256) > 256 * one_token
