"""Windows over (question, passage): every token is covered, and offsets point into the passage."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.pairs import Window, collate, passage_mask
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError
from tiny import VOCABULARY, WORDS

CLS, SEP = VOCABULARY.index("[CLS]"), VOCABULARY.index("[SEP]")
LONG = " ".join(WORDS[i % len(WORDS)] for i in range(150))


def ids(*tokens: str) -> list[int]:
    return [VOCABULARY.index(token) for token in tokens]


def spans(window: Window) -> list[tuple[int, int]]:
    return [(int(s), int(e)) for s, e in window.offsets if s >= 0]


def test_one_window_by_hand(tiny: Backbone) -> None:
    (window,) = tiny.windows([("What follows?", "alpha, Beta")], 64, 8)
    question = ["[CLS]", "what", "follows", "?", "[SEP]"]
    assert window.ids.tolist() == ids(*question, "alpha", ",", "beta", "[SEP]")
    assert window.types.tolist() == [0] * 5 + [1] * 4
    assert window.offsets.tolist() == [[-1, -1]] * 5 + [[0, 5], [5, 6], [7, 11], [-1, -1]]
    assert (window.pair, len(window)) == (0, 9)


def test_overlap_is_as_asked(tiny: Backbone) -> None:
    windows = tiny.windows([("alpha", LONG)], 32, 10)
    assert all(len(window) <= 32 for window in windows)
    covered = [spans(window) for window in windows]
    for before, after in pairwise(covered):
        assert before[-10:] == after[:10]
        assert before[-11] != after[0]
    # Four tokens are taken by [CLS] alpha [SEP] … [SEP].
    assert [len(c) for c in covered[:-1]] == [28] * (len(covered) - 1)


def test_without_overlap_each_token_comes_once(tiny: Backbone) -> None:
    windows = tiny.windows([("alpha", LONG)], 32, 0)
    flat = [span for window in windows for span in spans(window)]
    assert [LONG[s:e] for s, e in flat] == LONG.split()


def test_a_long_question_is_cut_to_half_a_window(tiny: Backbone) -> None:
    windows = tiny.windows([(LONG, LONG)], 64, 8)
    assert len(windows) > 1
    for window in windows:
        asked = np.flatnonzero(window.ids == SEP)[0] - 1
        assert asked == 32
        assert window.ids[1:33].tolist() == ids(*LONG.split()[:32])
    assert max(len(window) for window in windows) == 64
    assert {LONG[s:e] for window in windows for s, e in spans(window)} == set(LONG.split())


def test_pairs_keep_their_places(tiny: Backbone) -> None:
    windows = tiny.windows([("a", "beta"), ("b", LONG), ("c", ""), ("d", "gamma")], 32, 8)
    assert [w.pair for w in windows if w.pair != 1] == [0, 2, 3]
    assert sum(w.pair == 1 for w in windows) > 1
    empty = next(w for w in windows if w.pair == 2)
    assert spans(empty) == []
    assert tiny.windows([], 32, 8) == []


def test_a_models_own_limit_bounds_a_window(tiny: Backbone) -> None:
    assert max(len(window) for window in tiny.windows([("alpha", LONG)], 10_000, 16)) == 128


@pytest.mark.parametrize("overlap", [-1, 29, 64, 500])
def test_an_overlap_that_leaves_no_room(tiny: Backbone, overlap: int) -> None:
    # Half of 64 for the question, 3 special tokens: 29 for the passage.
    with pytest.raises(
        ConfigError, match=f"64 tokens can overlap by 0 to 28 of them, not {overlap}"
    ):
        tiny.windows([("alpha", LONG)], 64, overlap)
    assert tiny.windows([(LONG, LONG)], 64, 28)


# Letters of several scripts, an emoji of two code points, what must be scrubbed, and spaces.
ALPHABET = "abé日本ש🙂Z.,'- \n\t\x00\u0301\ud800\u200b"


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    question=st.text(ALPHABET, max_size=60),
    passage=st.text(ALPHABET, max_size=120),
    length=st.integers(16, 40),
    overlap=st.integers(0, 4),
)
def test_offsets_are_exact_and_every_token_is_covered(
    tiny: Backbone, question: str, passage: str, length: int, overlap: int
) -> None:
    windows = tiny.windows([(question, passage)], length, overlap)
    (whole,) = tiny.windows([("", passage)], 128, 0)
    found: dict[tuple[int, int], int] = {}
    for window in windows:
        assert len(window) <= length
        assert window.ids[0] == CLS
        inside = window.offsets[:, 0] >= 0
        assert (window.types[inside] == 1).all()
        for token, (start, end) in zip(
            window.ids[inside].tolist(), window.offsets[inside].tolist(), strict=True
        ):
            assert 0 <= start < end <= len(passage)
            text = VOCABULARY[token].removeprefix("##")
            # Lower-casing is all that stands between a token and the text it points to.
            assert text == "[UNK]" or passage[start:end].lower() == text
            found[start, end] = token
    assert found == dict(
        zip(spans(whole), whole.ids[whole.offsets[:, 0] >= 0].tolist(), strict=True)
    )


def test_collate_pads_on_the_right(tiny: Backbone) -> None:
    windows = tiny.windows([("alpha", "beta"), ("alpha", "beta gamma delta")], 32, 4)
    inputs = collate(windows, pad_id=0)
    assert inputs["attention_mask"].tolist() == [[1] * 5 + [0] * 2, [1] * 7]
    assert inputs["input_ids"][0].tolist() == [*windows[0].ids.tolist(), 0, 0]
    assert inputs["token_type_ids"][0].tolist() == [0, 0, 0, 1, 1, 0, 0]
    mask = passage_mask(windows, 7)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [
        [False, False, False, True, False, False, False],
        [False, False, False, True, True, True, False],
    ]


def test_every_window_comes_once_with_the_states_it_has_alone(tiny: Backbone) -> None:
    pairs = [("alpha", "beta"), ("what follows alpha", LONG), ("", ""), ("gamma", "pi rho")]
    expected = {(w.pair, w.ids.tobytes()) for w in tiny.windows(pairs, 48, 8)}
    seen = []
    for batch in tiny.tokens(pairs, max_length=48, overlap=8):
        assert batch.states.shape[:2] == batch.mask.shape == batch.passage_mask().shape
        for row, window in enumerate(batch.windows):
            seen.append((window.pair, window.ids.tobytes()))
            with torch.inference_mode():
                alone = tiny.forward(collate([window], 0))[0]
            assert torch.allclose(batch.states[row, : len(window)], alone, atol=1e-5)
            assert batch.mask[row].sum() == len(window)
    assert len(seen) == len(set(seen)) == len(expected)
    assert set(seen) == expected


def test_a_deadline_that_has_passed(tiny: Backbone) -> None:
    deadline = Deadline()
    deadline.cancel()
    with pytest.raises(DeadlineError, match="reading"):
        list(tiny.tokens([("alpha", "beta")], max_length=32, overlap=4, deadline=deadline))
