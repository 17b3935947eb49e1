"""Questions and passages that are made harder, or that somebody tampered with.

misspelt: letters of a question are swapped, dropped or doubled, as hurried fingers do.
distracted: a sentence at the passage's end reads like the answer to the question, but speaks of something
else (after adversarial SQuAD, arXiv 1707.07328, by rules instead of people).
without an answer: the passage is another one of the same data set, in which no answer stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pointsman.defer.candidates import question_kind
from pointsman.types import ReadingExample

Examples = Sequence[ReadingExample]

_WORD = re.compile(r"\w+")
_LEAST = 4  # letters of a word that is misspelt
_SHARE = 0.4  # of those words
_ASKING = re.compile(
    r"^(in |on |at |for |to |by |with )?(who|whom|whose|what|which|when|where|why|how)\b", re.I
)


def misspelt(examples: Examples, seed: int) -> list[ReadingExample]:
    """The same questions, four of ten longer words with a slip."""
    rng = np.random.default_rng(seed)

    def slip(match: re.Match[str]) -> str:
        word = match.group()
        if len(word) < _LEAST or rng.random() >= _SHARE:
            return word
        place = int(rng.integers(1, len(word) - 1))
        kind = int(rng.integers(3))
        if kind == 0:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        return word[:place] + (word[place] * 2 if kind == 1 else "") + word[place + 1 :]

    return [replace(each, question=_WORD.sub(slip, each.question)) for each in examples]


def distracted(examples: Examples, seed: int) -> list[ReadingExample]:
    """The same, a sentence at the end of each passage that answers a question which was not asked.

    It repeats the question's words with another answer of the same kind in place of the asking word, and
    with other names and numbers.
    """
    rng = np.random.default_rng(seed)
    kinds: dict[int, list[ReadingExample]] = {}
    for each in examples:
        kinds.setdefault(question_kind(each.question), []).append(each)
    names = [word for each in examples for word in _names(each.question)] or ["Elsewhere"]
    found = []
    for each in examples:
        others = kinds[question_kind(each.question)]
        right = {answer.lower() for answer in each.answers}
        wrong = [o.answers[0] for o in others if o.answers[0].lower() not in right]
        said = wrong[int(rng.integers(len(wrong)))] if wrong else "nobody"
        known = set(_names(each.question))
        strange = [name for name in names if name not in known] or ["Elsewhere"]

        def other(
            match: re.Match[str], known: set[str] = known, strange: list[str] = strange
        ) -> str:
            word = match.group()
            if word.isdigit():
                return str(int(word) + int(rng.integers(1, 10)))
            return strange[int(rng.integers(len(strange)))] if word in known else word

        told = _WORD.sub(other, each.question.strip().rstrip("?. "))
        asking = _ASKING.match(told)
        rest = told[asking.end() :].strip() if asking else told
        sentence = f"{said} {rest}." if asking else f"{rest} {said}."
        found.append(replace(each, context=f"{each.context.rstrip()} {sentence}"))
    return found


def without_answer(examples: Examples, seed: int) -> list[ReadingExample]:
    """The same questions with others' passages, and nothing that would be right; with an empty one where
    every other passage holds an answer.
    """
    rng = np.random.default_rng(seed)
    contexts = list(dict.fromkeys(each.context for each in examples))
    found = []
    for each in examples:
        answers = [answer.lower() for answer in each.answers]
        shuffled = (contexts[place] for place in rng.permutation(len(contexts)).tolist())
        silent = (text for text in shuffled if not any(a in text.lower() for a in answers))
        found.append(replace(each, context=next(silent, ""), answers=(), starts=()))
    return found


TROUBLES: Mapping[str, Callable[[Examples, int], list[ReadingExample]]] = {
    "misspelt questions": misspelt,
    "a distracting sentence": distracted,
    "passages without an answer": without_answer,
}


def _names(question: str) -> list[str]:
    """Capitalised words but the first."""
    return [word for word in _WORD.findall(question)[1:] if word[:1].isupper()]
