"""Cuts documents into passages at paragraph, sentence and word boundaries.

The cutting is semantic-text-splitter's; what is added here are ids and offsets. Its offsets are
characters, as Python counts them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pointsman.data.documents import is_markdown
from pointsman.errors import ConfigError
from pointsman.text import scrub
from pointsman.types import Document, Passage

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

SIZE = 900
"""Characters of a passage at most: about 200 tokens of English, within the encoder's 256."""

OVERLAP = 150
"""Characters that two neighbours share at most: about a sentence, so that none loses its context."""


def chunk(
    document: Document,
    size: int = SIZE,
    overlap: int = OVERLAP,
    *,
    markdown: bool | None = None,
) -> list[Passage]:
    """Cut a document into passages of at most `size` characters.

    A document that fits is one passage with its own id; otherwise the ids are "DOCUMENT#0",
    "DOCUMENT#1", … and `passage.text == document.text[passage.start:passage.end]`. Together the
    passages hold all text that is not space. A document without text gives a passage only if it
    has a title.

    Args:
        document: what to cut.
        size: characters of a passage at most.
        overlap: characters that neighbours share at most; whole sentences or words are shared.
        markdown: cut by Markdown's structure; by default where the id ends in .md.

    Raises:
        ConfigError: `size` is not positive, or `overlap` does not lie in [0, size).
    """
    if size < 1:
        raise ConfigError(f"the passage size must be at least 1 character, not {size}")
    if not 0 <= overlap < size:
        raise ConfigError(f"the overlap must lie between 0 and the size {size}, not {overlap}")
    if len(document.text) <= size or not document.text.strip():
        return [whole(document)] if document.text.strip() or document.title.strip() else []
    markdown = is_markdown(document.id) if markdown is None else markdown
    # Rust strings cannot hold lone surrogates; scrubbing moves no offset.
    pieces = _splitter(size, overlap, markdown).chunk_indices(scrub(document.text))
    return [
        Passage(
            id=f"{document.id}#{number}",
            text=document.text[start : start + len(piece)],
            title=document.title,
            document=document.id,
            start=start,
            end=start + len(piece),
            metadata=document.metadata,
        )
        for number, (start, piece) in enumerate(pieces)
    ]


def whole(document: Document) -> Passage:
    """The document as one passage with its own id; the encoder truncates what is too long for it."""
    return Passage(
        id=document.id,
        text=document.text,
        title=document.title,
        document=document.id,
        end=len(document.text),
        metadata=document.metadata,
    )


@lru_cache(maxsize=8)
def _splitter(size: int, overlap: int, markdown: bool) -> TextSplitter | MarkdownSplitter:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    return (MarkdownSplitter if markdown else TextSplitter)(size, overlap=overlap)
