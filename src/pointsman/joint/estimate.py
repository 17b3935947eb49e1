"""The E-step: how well selections explain the answers, and what selector and reader learn from that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import reading_arrays, write_arrays
from pointsman.errors import ConfigError
from pointsman.joint.asked import Asked, digest, lists
from pointsman.joint.recipe import Both, Recipe
from pointsman.read.joined import Joined, find
from pointsman.read.likelihood import Shares, SpanLikelihood
from pointsman.read.marginal import Shown
from pointsman.read.reader import SpanReader
from pointsman.select import sets
from pointsman.select.chooser import Chooser
from pointsman.select.em import posterior, sample_weights, sampled_log_marginal, told
from pointsman.select.objectives import Marginal, Weighed
from pointsman.select.passagewise import set_log_likelihood
from pointsman.select.permutation import END
from pointsman.select.pointer import Candidates
from pointsman.select.selector import is_linked, padded
from pointsman.select.task import Objective, read_lists
from pointsman.select.task import Part as SelectorPart
from pointsman.types import Passage

# So many questions are looked at together while selections are drawn.
_TOGETHER = 64
# Reading a joined text costs the same however little its selection weighs; one of less than this
# teaches a reader nothing that can be seen.
_NEGLIGIBLE = 0.01

COLLAPSED = 1e-3
"""Nats: a selector of less entropy draws one and the same selection, and could only grow surer of it."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """The E-step's result: selections `drawn` [q, m, k] of each question, from the selector or, exactly,
    from the posterior; `log_p` [q, m] of the answers, given each; `entropy`, the selector's mean one in
    nats. Of a reader that looks at one passage at a time also its `shares` of each question. Selections
    that were not drawn but are the selector's likeliest have their `log_prior` [q, m].
    """

    drawn: Tensor
    log_p: Tensor
    entropy: float
    shares: Sequence[Shares] = ()
    log_prior: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """How much each selection counts [q, m]: what was drawn from the selector has its prior already."""
        if self.log_prior is None:
            return sample_weights(self.log_p)
        return posterior(self.log_prior, self.log_p)

    @property
    def unanswered(self) -> int:
        """Questions that teach nothing: their answer stands in none of their candidates, or, where the
        reader sees them together, in none of the selections drawn.
        """
        if self.shares:
            return sum(not np.isfinite(each.answer).any() for each in self.shares)
        return int(torch.isneginf(self.log_p).all(1).sum())

    def tells(self, recipe: Recipe) -> bool:
        """Whether the selector can learn from it: drawn selections say something against one another alone,
        so that there have to be two of a question, and a selector that still draws different ones.
        """
        if recipe.selector.policy == "sets":
            return True
        return bool(told(self.weights).any()) and self.entropy > COLLAPSED

    def objective(self, recipe: Recipe) -> Objective:
        """What the selector learns from."""
        if recipe.selector.policy == "sets":
            both = [_tensors(each) for each in self.shares]
            return Marginal([a for a, _ in both], [b for _, b in both])
        weights = told(self.weights).float()
        return Weighed(list(self.drawn), list(weights))

    def shown(self, asked: Sequence[Asked], recipe: Recipe) -> list[Shown]:
        """What the reader learns from."""
        weights = self.weights
        if recipe.selector.policy == "sets":  # drawn from the posterior: all weigh the same
            weights = torch.isfinite(self.log_p).double() / self.log_p.shape[1]
        show = _joined if recipe.reader.joined else _apart
        return [
            show(each, rows.tolist(), of_rows.tolist())
            for each, rows, of_rows in zip(asked, self.drawn, weights, strict=True)
        ]


def _apart(asked: Asked, rows: Sequence[Sequence[int]], weights: Sequence[float]) -> Shown:
    """Passages one at a time: their order is nothing to the reader."""
    chosen: dict[tuple[int, ...], float] = {}
    for row, weight in zip(rows, weights, strict=True):
        key = tuple(sorted(_chosen(row)))
        chosen[key] = chosen.get(key, 0.0) + weight
    texts = tuple(passage.text for passage in asked.passages)
    return Shown(asked.question, texts, asked.answers, tuple(chosen), tuple(chosen.values()))


def _joined(asked: Asked, rows: Sequence[Sequence[int]], weights: Sequence[float]) -> Shown:
    """Every selection that counts as one text."""
    texts: dict[str, float] = {}
    for row, weight in zip(rows, weights, strict=True):
        text = Joined.of([asked.passages[i] for i in _chosen(row)]).text
        texts[text] = texts.get(text, 0.0) + weight
    least = min(_NEGLIGIBLE, max(texts.values(), default=0.0))
    texts = {text: weight for text, weight in texts.items() if weight >= least}
    selections = tuple((i,) for i in range(len(texts)))
    return Shown(asked.question, tuple(texts), asked.answers, selections, tuple(texts.values()))


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
    key = f"{digest(asked)} {recipe.selector} {recipe.reader} {recipe.samples} {recipe.looks} {recipe.seed} {both.digest}"
    if path.is_file():
        return _kept(path, key, asked, recipe)
    _, reader = both.on(backbone, recipe)
    shares = [] if recipe.reader.joined else _shares(reader, asked)
    drawn, entropy, log_prior = _drawn(backbone, both.selector, asked, shares, recipe, read)
    log_p = _joined_log_p(reader, asked, drawn) if recipe.reader.joined else _log_p(shares, drawn)
    found = Estimate(drawn, log_p, entropy, shares, log_prior)
    folder.mkdir(parents=True, exist_ok=True)
    nothing = [np.zeros(0)]
    arrays = {
        "key": np.array(key),
        "answer": np.concatenate([each.answer for each in shares] or nothing),
        "all": np.concatenate([each.all for each in shares] or nothing),
        "drawn": drawn.numpy(),
        "log_p": log_p.numpy(),
        "log_prior": np.zeros(0) if log_prior is None else log_prior.numpy(),
        "entropy": np.array(entropy),
    }
    write_arrays(path, arrays)
    return found


def explained(
    backbone: Backbone,
    asked: Sequence[Asked],
    both: Both,
    recipe: Recipe,
    read: Tensor | None = None,
) -> tuple[Tensor, float]:
    """log (1/m Σ p(y | x, d_z)) [q] of the recipe's m selections, drawn from the selector by its seed, and
    the selector's mean entropy in nats.
    """
    _, reader = both.on(backbone, recipe)
    drawn, entropy, _ = _drawn(
        backbone, both.selector, asked, None, replace(recipe, looks="drawn"), read
    )
    if recipe.reader.joined:
        return sampled_log_marginal(_joined_log_p(reader, asked, drawn)), entropy
    return sampled_log_marginal(_log_p(_shares(reader, asked), drawn)), entropy


def _kept(path: Path, key: str, asked: Sequence[Asked], recipe: Recipe) -> Estimate:
    """An estimate that was made before. Raises ConfigError for one of something else, FormatError for a file
    that is not whole.
    """
    with reading_arrays(path, "estimate of a selection run") as kept:
        if str(kept["key"]) != key:
            raise ConfigError(
                f"{path.parent} holds a run on other questions, with other settings or from other weights; "
                "go on with the same ones, or start afresh: with --fresh, or in another directory"
            )
        ends = np.cumsum([len(each.passages) for each in asked])[:-1]
        pairs = zip(np.split(kept["answer"], ends), np.split(kept["all"], ends), strict=True)
        return Estimate(
            torch.from_numpy(kept["drawn"]),
            torch.from_numpy(kept["log_p"]),
            float(kept["entropy"]),
            () if recipe.reader.joined else [Shares(answer, every) for answer, every in pairs],
            torch.from_numpy(kept["log_prior"]) if kept["log_prior"].size else None,
        )


def _shares(reader: SpanReader, asked: Sequence[Asked]) -> list[Shares]:
    return SpanLikelihood(reader).shares(
        [each.question for each in asked],
        [each.passages for each in asked],
        [each.answers for each in asked],
    )


def _log_p(shares: Sequence[Shares], drawn: Tensor) -> Tensor:
    """log p(y | x, d_z) [q, m] of selections that are read one passage at a time."""
    return torch.stack(
        [
            set_log_likelihood(*_tensors(each), rows, log_c=0.0)
            for each, rows in zip(shares, drawn, strict=True)
        ]
    )


def _joined_log_p(reader: SpanReader, asked: Sequence[Asked], drawn: Tensor) -> Tensor:
    """The same of selections that are read as one text each."""
    texts = [
        [Joined.of([each.passages[i] for i in _chosen(row)]).text for row in rows]
        for each, rows in zip(asked, drawn.tolist(), strict=True)
    ]
    # A selector that is sure draws the same selection again and again; and of a text in which no answer
    # stands it is known without reading what a reader makes of it.
    drawn_once = dict.fromkeys((q, text) for q, mine in enumerate(texts) for text in mine)
    once = [(q, text) for q, text in drawn_once if find(text, asked[q].answers)]
    shares = SpanLikelihood(reader, find).shares(
        [asked[q].question for q, _ in once],
        [[Passage("", text)] for _, text in once],
        [asked[q].answers for q, _ in once],
    )
    found = {key: each.log_likelihood() for key, each in zip(once, shares, strict=True)}
    return torch.tensor(
        [[found.get((q, text), -math.inf) for text in mine] for q, mine in enumerate(texts)],
        dtype=torch.float64,
    ).reshape(drawn.shape[:2])


def _chosen(row: Sequence[int]) -> list[int]:
    return [place for place in row if place != END]


def _drawn(
    backbone: Backbone,
    part: SelectorPart,
    asked: Sequence[Asked],
    shares: Sequence[Shares] | None,
    recipe: Recipe,
    read: Tensor | None,
) -> tuple[Tensor, float, Tensor | None]:
    """Selections of each question [q, m, k], the selector's mean entropy, and the log-probabilities
    [q, m] of selections that are the likeliest ones.

    A policy of sets draws from the posterior by the passages' `shares`, and from itself without any.
    """
    given = lists(asked)
    if read is None:
        read = read_lists(backbone, part.adapter, given, recipe.selector)
    beside = given.extras(is_linked(part.head, backbone.shape.width))
    chooser = Chooser(part.head, recipe.selector.policy, recipe.selector.passages)
    generator = torch.Generator().manual_seed(recipe.seed)
    m, k = recipe.samples, recipe.selector.passages
    drawn = torch.full((len(asked), m, k), END)
    by_looks = recipe.looks == "likeliest" and recipe.selector.policy == "pointer"
    log_prior = torch.full((len(asked), m), -torch.inf) if by_looks else None
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
            if recipe.selector.policy == "sets" and shares is not None:
                for row, place in enumerate(places):
                    mine = seen.rows(slice(row, row + 1))
                    chosen, entropy = _from_posterior(chooser, mine, shares[place], m, generator)
                    drawn[place, :, : chosen.shape[1]] = chosen
                    entropies.append(entropy)
                continue
            found = chooser.sample(seen, m, generator)
            entropies += (-chooser.log_prob(seen, found)).mean(1).tolist()
            if log_prior is not None:
                found, log_prior[places] = chooser.likeliest(seen, m)
            drawn[places, :, : found.shape[2]] = found
    return drawn, float(np.mean(entropies)) if entropies else 0.0, log_prior


def _from_posterior(
    chooser: Chooser, seen: Candidates, shares: Shares, m: int, generator: torch.Generator
) -> tuple[Tensor, float]:
    """m sets [m, k] of one question by how well they explain its answer, nobody in them where none does;
    and the selector's exact entropy.
    """
    every = sets.all_up_to(len(shares.all), chooser.passages)
    log_prior = chooser.log_prob(seen, every.unsqueeze(0))[0].double()
    q = posterior(log_prior, set_log_likelihood(*_tensors(shares), every, log_c=0.0))
    entropy = float(-(log_prior.exp() * log_prior).sum())
    if not q.sum() > 0:
        return torch.full((m, every.shape[1]), END), entropy
    return every[torch.multinomial(q, m, replacement=True, generator=generator)], entropy


def _tensors(shares: Shares) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(shares.answer), torch.from_numpy(shares.all)
