"""A document of a benchmark, as the mapping that MTEB and BEIR hand over, and its text to embed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.errors import InputError
from pointsman.types import Passage


def document_text(document: Mapping[str, Any]) -> str:
    """Title and text as one string, as the index embeds them. Raises InputError where there is no text."""
    title, text = document.get("title") or "", document.get("text")
    if not isinstance(text, str) or not isinstance(title, str):
        name = document.get("id", document.get("_id", str(document)[:60]))
        raise InputError(f"document {name!r} has no text: a document is a mapping with 'text'")
    return Passage(id="", text=text, title=title).content.strip()
