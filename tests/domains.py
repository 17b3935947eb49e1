"""A small world for routing: a domain pairs words, so that only its own expert knows what belongs."""

from __future__ import annotations

import random

from pointsman.backbone.encoder import Backbone
from pointsman.route.collection import Documents, Judged

LETTERS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
COLOURS = ["red", "green", "blue", "white", "black", "grey", "pink", "gold"]
FILLERS = ["what", "follows", "is", "the", "of", "here", "after", "comes"]


def make_documents(backbone: Backbone) -> Documents:
    texts = [f"the colour {colour} comes here" for colour in COLOURS]
    return Documents(tuple(COLOURS), backbone.encode(texts, prompt="document"))


def make_queries(n: int, seed: int = 0, shift: int = 0) -> list[Judged]:
    """Each letter asks for one colour; `shift` makes a domain whose pairs are others."""
    rng = random.Random(seed)
    queries = []
    for i in range(n):
        letter = i % len(LETTERS)
        words = [LETTERS[letter], *rng.sample(FILLERS, 3)]
        rng.shuffle(words)
        colour = COLOURS[(letter + shift) % len(COLOURS)]
        queries.append(Judged(f"{seed}-{i}", " ".join(words), {colour: 1}))
    return queries
