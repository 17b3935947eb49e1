"""What tests of graders share: words for queries and items, and a recipe that trains in seconds."""

from __future__ import annotations

from pointsman.grade.recipe import Recipe
from pointsman.training.loop import Plan

# All of them are whole words of the very small encoder of `tiny`.
COLOURS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "silver"]
GREEK = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def quick_recipe(epochs: int, measure: str = "nll", rank: int = 4) -> Recipe:
    """A head without a hidden layer on a small adapter, taught fast."""
    return Recipe(
        hidden=0,
        rank=rank,
        batch_size=16,
        max_length=48,
        plan=Plan(measure=measure, epochs=epochs, learning_rate=1e-2, evaluations=1),
    )
