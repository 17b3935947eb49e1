"""What a reader is trained on: questions with their paragraph, and questions with a wrong one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pointsman.types import FloatArray, ReadingExample


def examples_digest(examples: Iterable[ReadingExample]) -> str:
    """SHA-256, in hex, of examples in their order: of all that a reader may learn from them."""
    digest = hashlib.sha256()
    for e in examples:
        digest.update(repr((e.id, e.question, e.context, e.answers, e.starts)).encode())
    return digest.hexdigest()


def unanswerable(example: ReadingExample, context: str) -> ReadingExample:
    """The same question with a context that does not answer it."""
    return replace(example, context=context, answers=(), starts=())


def confusable_contexts(
    examples: Sequence[ReadingExample],
    contexts: Sequence[str],
    question_vectors: FloatArray,
    context_vectors: FloatArray,
    k: int = 8,
) -> list[list[int]]:
    """For each example the k nearest contexts (by cosine) in which none of its answers occurs.

    These are what retrieval puts beside the right paragraph, so they are what a reader must learn
    to stay silent on. `question_vectors` [n, d] and `context_vectors` [m, d] are unit vectors.
    """
    lowered = [context.lower() for context in contexts]
    chosen = []
    for start in range(0, len(examples), 1024):
        similarity = question_vectors[start : start + 1024] @ context_vectors.T
        for row, example in zip(similarity, examples[start : start + 1024], strict=True):
            answers = [answer.lower() for answer in example.answers]
            near = []
            for i in row.argsort()[::-1][: 8 * k]:
                if contexts[i] != example.context and not any(a in lowered[i] for a in answers):
                    near.append(int(i))
                if len(near) == k:
                    break
            chosen.append(near)
    return chosen


def epoch_examples(
    examples: Sequence[ReadingExample],
    contexts: Sequence[str],
    confusable: Sequence[Sequence[int]],
    share: float,
    seed: int,
) -> list[ReadingExample]:
    """One epoch: every example once, and for a `share` of them a copy with a confusable context.

    Every epoch has the same number of examples, so that a learning-rate schedule can count on it.
    """
    rng = random.Random(seed)
    possible = [i for i, near in enumerate(confusable) if near and examples[i].answers]
    copies = rng.sample(possible, round(share * len(possible)))
    chosen = list(examples)
    chosen += [unanswerable(examples[i], contexts[rng.choice(confusable[i])]) for i in copies]
    rng.shuffle(chosen)
    return chosen
