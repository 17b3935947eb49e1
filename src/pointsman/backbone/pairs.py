"""Question and passage read together: windows of token ids, and where each token stands in the passage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pointsman.errors import ConfigError
from pointsman.text import scrub


@dataclass(frozen=True, slots=True)
class Window:
    """One window over a pair: `ids` and `types` [length], `offsets` [length, 2] in the passage's text.

    Tokens outside the passage (question, separators) have offset (-1, -1). Position 0 is the
    classification token. `pair` is the pair's place in the list that was given.
    """

    pair: int
    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token states [rows, length, d] of windows, padded on the right; `mask` [rows, length]."""

    windows: tuple[Window, ...]
    states: Tensor
    mask: Tensor

    def passage_mask(self) -> Tensor:
        """[rows, length], true on the passage's tokens."""
        return passage_mask(self.windows, self.states.shape[1]).to(self.states.device)


def passage_mask(windows: Sequence[Window], length: int) -> Tensor:
    """[rows, length], true on the passage's tokens of each window."""
    mask = torch.zeros(len(windows), length, dtype=torch.bool)
    for row, window in enumerate(windows):
        mask[row, : len(window)] = torch.from_numpy(window.offsets[:, 0] >= 0)
    return mask


def make_windows(
    tokenizer: Any, pairs: Sequence[tuple[str, str]], max_length: int, overlap: int
) -> list[Window]:
    """Cut every (question, passage) into windows of at most `max_length` tokens.

    Neighbouring windows share `overlap` passage tokens. A question longer than half a window is cut,
    so that a passage always gets the other half. Raises ConfigError where an overlap would fill it.
    """
    longest_question = max_length // 2
    room = max_length - longest_question - tokenizer.num_special_tokens_to_add(pair=True)
    if not 0 <= overlap < room:
        raise ConfigError(
            f"windows of {max_length} tokens can overlap by 0 to {room - 1} of them, not {overlap}"
        )
    if not pairs:
        return []
    questions = tokenizer(
        [scrub(question) for question, _ in pairs],
        add_special_tokens=False,
        truncation=True,
        max_length=longest_question,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["offset_mapping"]
    cut = [
        scrub(question)[: offsets[-1][1]] if offsets else ""
        for (question, _), offsets in zip(pairs, questions, strict=True)
    ]
    encoded = tokenizer(
        cut,
        [scrub(passage) for _, passage in pairs],
        truncation="only_second",
        max_length=max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        padding=False,
    )
    windows = []
    for row, pair in enumerate(encoded["overflow_to_sample_mapping"]):
        offsets = np.asarray(encoded["offset_mapping"][row], dtype=np.int64).reshape(-1, 2)
        inside = np.asarray([part == 1 for part in encoded.sequence_ids(row)], dtype=bool)
        windows.append(
            Window(
                pair=int(pair),
                ids=np.asarray(encoded["input_ids"][row], dtype=np.int64),
                types=np.asarray(encoded["token_type_ids"][row], dtype=np.int64),
                offsets=np.where(inside[:, None], offsets, -1),
            )
        )
    return windows


def collate(windows: Sequence[Window], pad_id: int) -> dict[str, Tensor]:
    """Windows as right-padded `input_ids`, `token_type_ids` and `attention_mask` [rows, longest]."""
    longest = max(len(window) for window in windows)
    ids = torch.full((len(windows), longest), pad_id, dtype=torch.long)
    types = torch.zeros_like(ids)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.from_numpy(window.ids)
        types[row, : len(window)] = torch.from_numpy(window.types)
        mask[row, : len(window)] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
