"""A small world for routing: a domain pairs words, so that only its own expert knows what belongs."""

from __future__ import annotations

import random

from pointsman.backbone.encoder import Backbone
from pointsman.collection.judged import Documents, Judged
from pointsman.experiments.routing.bed import RoutingSet
from pointsman.route.recipe import Recipe
from pointsman.training.loop import Plan

LETTERS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
COLOURS = ["red", "green", "blue", "white", "black", "grey", "pink", "gold"]
FILLERS = ["what", "follows", "is", "the", "of", "here", "after", "comes"]

# How many queries the parts of a routing set have.
PARTS = {"train": 64, "dev": 24, "test": 32}
# Enough training to learn a domain's pairs.
QUICK = Recipe(
    name="quick",
    negatives=("judged",),
    rank=4,
    alpha=16.0,
    targets=(),
    batch_size=16,
    plan=Plan("nDCG@10", epochs=6, learning_rate=1e-2, weight_decay=0, evaluations=1, patience=6),
)


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


def make_parts(shift: int = 0) -> dict[str, list[Judged]]:
    """The queries of a domain by part."""
    return {
        part: make_queries(count, seed, shift) for seed, (part, count) in enumerate(PARTS.items())
    }


def make_sets(backbone: Backbone) -> dict[str, RoutingSet]:
    """Three domains over the same documents."""
    documents = make_documents(backbone)
    return {
        name: RoutingSet(name, documents, make_parts(shift))
        for name, shift in {"first": 0, "second": 3, "third": 5}.items()
    }
