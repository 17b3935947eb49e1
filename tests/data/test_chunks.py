"""Passages: every offset true, nothing lost, sizes kept."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.data.chunks import chunk
from pointsman.errors import ConfigError
from pointsman.types import Document

words = st.sampled_from(
    [
        "rail",
        "Ünïcödé",
        "日本語。",
        "switch.",
        "a" * 40,
        "😀",
        "e\u0301",
        "\ud800",
        "\n\n",
        "\n",
        "\r\n",
        "\t",
        "# Head\n",
        "- item\n",
        "```\ncode\n```\n",
        "| a | b |\n",
        "> quote\n",
        "[x](y)",
        "\u2003",
        "\ufeff",
        "\x1c",
    ]
)
texts = st.lists(words, max_size=60).map(" ".join) | st.text(max_size=300)


@given(texts, st.integers(1, 80), st.integers(0, 79), st.booleans())
@settings(max_examples=300, deadline=None)
@example("word " * 50, 20, 19, True)
def test_passages_are_true_slices_that_lose_nothing(
    text: str, size: int, overlap: int, markdown: bool
) -> None:
    overlap = min(overlap, size - 1)
    passages = chunk(Document("d", text, "T", {"k": 1}), size, overlap, markdown=markdown)
    covered = set()
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert len(passage.text) <= max(size, len(text) if not text.strip() else 0)
        assert (passage.document, passage.title, passage.metadata) == ("d", "T", {"k": 1})
        covered.update(range(passage.start, passage.end))
    assert all(at in covered or text[at].isspace() for at in range(len(text)))
    assert len({passage.id for passage in passages}) == len(passages)
    assert [passage.start for passage in passages] == sorted(passage.start for passage in passages)


def test_a_document_that_fits_keeps_its_own_id() -> None:
    (passage,) = chunk(Document("d", "x" * 20), 20, 5)
    assert (passage.id, passage.document, passage.start, passage.end) == ("d", "d", 0, 20)


def test_cuts_fall_between_sentences_and_ids_count() -> None:
    sentences = [f"Sentence number {n} is about trains." for n in range(10, 20)]
    passages = chunk(Document("a.txt", " ".join(sentences)), 80, 0)
    assert [passage.id for passage in passages] == [f"a.txt#{n}" for n in range(5)]
    assert all(passage.text.endswith("trains.") for passage in passages)


def test_neighbours_share_whole_sentences() -> None:
    text = " ".join(f"Sentence number {n} is about trains." for n in range(10, 20))
    passages = chunk(Document("a.txt", text), 120, 40)
    for left, right in pairwise(passages):
        shared = text[right.start : left.end]
        assert shared.startswith("Sentence")
        assert shared.endswith("trains.")


def test_markdown_is_cut_at_its_headings() -> None:
    text = "# One\n\nAlpha text here.\n\n# Two\n\nBeta text here."
    assert [p.text.split("\n")[0] for p in chunk(Document("a.md", text), 30, 0)] == [
        "# One",
        "# Two",
    ]


def test_a_document_without_text() -> None:
    assert chunk(Document("d", " \n")) == []
    (passage,) = chunk(Document("d", "", "Title only"))
    assert passage.content.strip() == "Title only"


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (0, 0, "size must be at least 1"),
        (10, 10, "between 0 and the size 10, not 10"),
        (10, -1, "not -1"),
    ],
)
def test_sizes_that_cannot_be(size: int, overlap: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chunk(Document("d", "text"), size, overlap)
