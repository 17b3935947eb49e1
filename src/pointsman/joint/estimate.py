"""The E-step: how well selections explain the answers, and what selector and reader learn from that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.errors import ConfigError
from pointsman.joint.asked import Asked, digest, lists
from pointsman.joint.recipe import Both, Recipe
from pointsman.read.likelihood import Shares, SpanLikelihood
from pointsman.read.marginal import Shown
from pointsman.select import sets
from pointsman.select.chooser import Chooser
from pointsman.select.em import centred, posterior, sample_weights
from pointsman.select.objectives import Marginal, Weighed
from pointsman.select.passagewise import set_log_likelihood
from pointsman.select.permutation import END
from pointsman.select.selector import extras, padded
from pointsman.select.task import Objective, read_lists
from pointsman.select.task import Part as SelectorPart

# So many questions are looked at together while selections are drawn.
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Estimate:
    """The E-step's result: of each question a reader's `shares`, and selections `drawn` [q, m, k], from
    the selector or, exactly, from the posterior; `entropy` is the selector's, in nats, the mean.
    """

    shares: Sequence[Shares]
    drawn: Tensor
    entropy: float

    @property
    def unanswered(self) -> int:
        """Questions whose answer stands in none of their candidates: they teach nothing."""
        return sum(not np.isfinite(each.answer).any() for each in self.shares)

    def log_likelihoods(self) -> list[Tensor]:
        """log p(y | x, d_z) [m] of each question's selections."""
        return [
            set_log_likelihood(*_tensors(each), rows, log_c=0.0)
            for each, rows in zip(self.shares, self.drawn, strict=True)
        ]

    def objective(self, recipe: Recipe) -> Objective:
        """What the selector learns from."""
        if recipe.selector.policy == "sets":
            both = [_tensors(each) for each in self.shares]
            return Marginal([a for a, _ in both], [b for _, b in both])
        weights = [centred(sample_weights(each)).float() for each in self.log_likelihoods()]
        return Weighed(list(self.drawn), weights)

    def shown(self, asked: Sequence[Asked], recipe: Recipe) -> list[Shown]:
        """What the reader learns from."""
        found = []
        for each, rows, log_p in zip(asked, self.drawn, self.log_likelihoods(), strict=True):
            if recipe.selector.policy == "sets":  # drawn from the posterior: all weigh the same
                weights = torch.isfinite(log_p).double() / len(log_p)
            else:
                weights = sample_weights(log_p)
            chosen: dict[tuple[int, ...], float] = {}
            for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
                # The reader looks at one passage at a time: their order is nothing to it.
                key = tuple(sorted(place for place in row if place != END))
                chosen[key] = chosen.get(key, 0.0) + weight
            texts = tuple(passage.text for passage in each.passages)
            found.append(
                Shown(each.question, texts, each.answers, tuple(chosen), tuple(chosen.values()))
            )
        return found


def estimate(
    backbone: Backbone,
    asked: Sequence[Asked],
    both: Both,
    recipe: Recipe,
    folder: Path,
    read: Tensor | None = None,
) -> Estimate:
    """The E-step, kept in `folder`; `read` is what a selector that stays read of the pairs."""
    path = folder / "estimate.npz"
    key = f"{digest(asked)} {recipe.selector} {recipe.reader} {recipe.samples} {recipe.seed}"
    ends = np.cumsum([len(each.passages) for each in asked])[:-1]
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                raise ConfigError(
                    f"{folder} holds a run on other questions or with other settings; go on with the "
                    "same ones, or start afresh in another directory"
                )
            pairs = zip(np.split(kept["answer"], ends), np.split(kept["all"], ends), strict=True)
            shares = [Shares(answer, every) for answer, every in pairs]
            return Estimate(shares, torch.from_numpy(kept["drawn"]), float(kept["entropy"]))
    _, reader = both.on(backbone, recipe)
    shares = SpanLikelihood(reader).shares(
        [each.question for each in asked],
        [each.passages for each in asked],
        [each.answers for each in asked],
    )
    drawn, entropy = _drawn(backbone, both.selector, asked, shares, recipe, read)
    folder.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(".estimate.npz")
    np.savez(
        aside,
        key=key,
        answer=np.concatenate([each.answer for each in shares]),
        all=np.concatenate([each.all for each in shares]),
        drawn=drawn.numpy(),
        entropy=entropy,
    )
    os.replace(aside, path)
    return Estimate(shares, drawn, entropy)


def _drawn(
    backbone: Backbone,
    part: SelectorPart,
    asked: Sequence[Asked],
    shares: Sequence[Shares],
    recipe: Recipe,
    read: Tensor | None,
) -> tuple[Tensor, float]:
    """Selections of each question [q, m, k], and the selector's mean entropy."""
    given = lists(asked)
    if read is None:
        read = read_lists(backbone, part.adapter, given, recipe.selector)
    beside = torch.from_numpy(extras(given.questions, given.texts, given.relevance))
    chooser = Chooser(part.head, recipe.selector.policy, recipe.selector.passages)
    generator = torch.Generator().manual_seed(recipe.seed)
    m, k = recipe.samples, recipe.selector.passages
    drawn = torch.full((len(asked), m, k), END)
    entropies = []
    for start in range(0, len(asked), _TOGETHER):
        places = [
            i for i in range(start, min(start + _TOGETHER, len(asked))) if len(asked[i].passages)
        ]
        if not places:
            continue
        pairs = [pair for i in places for pair in given.places[i]]
        features = torch.cat([read[pairs].float(), beside[pairs]], dim=1)
        with torch.no_grad():
            seen = chooser.head.candidates(*padded(features, [given.counts[i] for i in places]))
            if recipe.selector.policy == "pointer":
                found = chooser.sample(seen, m, generator)
                drawn[places, :, : found.shape[2]] = found
                entropies += (-chooser.log_prob(seen, found)).mean(1).tolist()
                continue
            for row, place in enumerate(places):
                every = sets.all_up_to(len(asked[place].passages), k)
                mine = seen.rows(slice(row, row + 1))
                log_prior = chooser.log_prob(mine, every.unsqueeze(0))[0].double()
                entropies.append(float(-(log_prior.exp() * log_prior).sum()))
                explained = set_log_likelihood(*_tensors(shares[place]), every, log_c=0.0)
                q = posterior(log_prior, explained)
                if q.sum() > 0:
                    rows = every[torch.multinomial(q, m, replacement=True, generator=generator)]
                    drawn[place, :, : rows.shape[1]] = rows
    return drawn, float(np.mean(entropies)) if entropies else 0.0


def _tensors(shares: Shares) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(shares.answer), torch.from_numpy(shares.all)
