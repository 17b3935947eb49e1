"""What tells domains apart before a text is encoded: its mean state half-way up the encoder.

On the seven domains of docs/data.md, a Gaussian for each tells a query's domain better by these
states than by the finished vector, and better what belongs to none; and they are there before
any expert of the upper layers has to be chosen, so that routing costs no pass of its own.

States have a large part in common whatever the text says, so the mean over a few texts of all kinds
is taken off, and what is left is scaled to unit length: short texts scatter more than long ones.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pointsman.types import FloatArray

REFERENCE = (
    "how do I boil an egg",
    "what is the capital of France",
    "The committee met on Tuesday to discuss the budget.",
    "red running shoes size 9",
    "symptoms of iron deficiency in adults",
    "sort a list of dictionaries by a key",
    "who wrote the first novel in English",
    "Prices rose by three per cent last year.",
    "does this charger work with an older phone",
    "effect of temperature on the yield of a reaction",
    "flight delayed what are my rights",
    "The river froze in the winter of 1963.",
    "best guitar for beginners",
    "convert string to date",
    "boundary layer of a flat plate",
    "when was the bridge built",
    "Vitamin D lowers the risk of fractures.",
    "stainless steel kitchen sink",
    "how long does a passport take",
    "the court held that the contract was void",
    "galaxies with active nuclei",
    "why is the sky blue",
    "reset password",
    "Climate models underestimate rainfall.",
    "cordless drill battery",
    "information retrieval systems for libraries",
    "who won the match on Saturday",
    "gene expression in mice",
    "is the fabric soft",
    "open file and read lines",
    "interest rate on savings",
    "A storm is expected in the north.",
)
"""Texts of many kinds, whose mean state is what all texts have in common."""


def mean_states(rows: tuple[Tensor, ...]) -> Tensor:
    """The mean over tokens of each text's states; rows [length_i, d] to [n, d], in fp32."""
    return torch.stack([row.float().mean(0) for row in rows])


def features(rows: tuple[Tensor, ...], reference: Tensor) -> FloatArray:
    """Centred mean states [n, d] of unit length; `reference` [d] is the mean of those of REFERENCE."""
    if not rows:
        return np.zeros((0, len(reference)), dtype=np.float32)
    centred = mean_states(rows) - reference
    found: FloatArray = torch.nn.functional.normalize(centred, dim=-1).cpu().numpy()
    return found
