"""Queries made from the documents themselves, for a domain that nobody has asked about yet."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pointsman.collection.judged import Judged
from pointsman.types import Passage

# Up to the first full stop, question or exclamation mark that ends a word, in any of these scripts.
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|[。！？]|$)", re.DOTALL)
_WORD = re.compile(r"\w+")
# A title of one word names a page, not a question; a sentence of hundreds is a table or a list.
_SHORTEST, _LONGEST = 3, 40


def made_queries(passages: Iterable[Passage]) -> list[Judged]:
    """A passage's title and its first sentence, each a query that this passage answers.

    Weaker than what people ask, whose words are their own: such a query shares all of its words
    with its document, so an expert trained on it learns the domain's words more than its questions.
    Passages of one document share its title; together they are relevant to it.
    """
    titles: dict[str, dict[str, int]] = {}
    made = []
    for passage in passages:
        if _usable(passage.title):
            titles.setdefault(" ".join(passage.title.split()), {})[passage.id] = 1
        first = _SENTENCE.match(passage.text.strip())
        if first is not None and _usable(first[0]):
            made.append(Judged(f"{passage.id}:lead", " ".join(first[0].split()), {passage.id: 1}))
    asked = [
        Judged(f"{min(relevant)}:title", title, relevant) for title, relevant in titles.items()
    ]
    return asked + made


def _usable(text: str) -> bool:
    return _SHORTEST <= len(_WORD.findall(text)) <= _LONGEST
