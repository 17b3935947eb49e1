"""The choice of an expert encoder as a part of what is latent: the router learns from answers, by EM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.queries import EncodedQueries, routed_vectors
from pointsman.evaluate.reading import exact_match, f1
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Show
from pointsman.experiments.selection.bed import of_every_set
from pointsman.joint.experts import fit_experts
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.reader import SpanReader
from pointsman.route.expert import Expert
from pointsman.route.mixture import MixtureRouter
from pointsman.route.plain import BASE
from pointsman.types import FloatArray, Passage, ReadingExample

TRAINED, TESTED = 80, 100  # questions of each set
_READ = 5
_SHIPPED = "the router that ships"
_LEARNED = "learned from answers"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Questions:
    """Questions [n] with the passages of their set, `documents` [passages, d], and what is known of them:
    `features` [n, f], and `vectors` [n, d] by every expert and as the router that ships mixes them.
    """

    examples: Sequence[ReadingExample]
    passages: Sequence[Passage]
    documents: FloatArray
    features: FloatArray
    vectors: Mapping[str, FloatArray]

    def found(self, vectors: FloatArray) -> list[list[Passage]]:
        """The nearest passages of each question by these vectors."""
        order = np.argsort(-(vectors @ self.documents.T), axis=1, kind="stable")[:, :_READ]
        return [[self.passages[i] for i in row] for row in order]


def routed_table(
    data: Path,
    backbone: Backbone,
    reader: SpanReader,
    experts: Sequence[Expert],
    show: Show,
    *,
    trained: int = TRAINED,
    tested: int = TESTED,
    seed: int = 0,
) -> Table:
    """What is read in the nearest passages by each expert's vectors, by routers', and by whoever is best.

    The learned router knows questions with their answers, and of no passage whether it is relevant.
    """
    domains = {}
    for expert in experts:
        backbone.add_adapter(expert.name, expert.adapter, expert.base_sha256)
        if expert.domain is not None:
            domains[expert.name] = expert.domain
    router = MixtureRouter(domains)
    names = [BASE, *domains]

    def look(
        examples: Sequence[ReadingExample], passages: Sequence[Passage], documents: FloatArray
    ) -> _Questions:
        questions = [example.question for example in examples]
        queries = EncodedQueries(questions, backbone)
        vectors = {
            name: backbone.encode(questions, None if name == BASE else name, prompt="query")
            for name in names
        }
        vectors[_SHIPPED] = routed_vectors(backbone, queries, router.route(queries))
        return _Questions(examples, passages, documents, queries.features, vectors)

    taught, asked = [], []
    for name, passages, train, test in of_every_set(data, trained, tested, seed):
        show(f"{name}: searching by {len(names)} experts", 0, 1)
        documents = backbone.encode([p.content for p in passages], prompt="document")
        taught.append(look(train, passages, documents))
        asked.append(look(test, passages, documents))
    show("reading what every expert finds", 0, 1)
    log_p = np.concatenate(
        [np.stack([_log_p(reader, part, part.vectors[n]) for n in names], 1) for part in taught]
    )
    features = np.concatenate([part.features for part in taught])
    choice, history = fit_experts(
        torch.from_numpy(features), torch.from_numpy(log_p), l2=1.0 / np.sqrt(len(features))
    )
    shares = [choice.log_p(torch.from_numpy(part.features)).exp().numpy() for part in asked]
    own = [int(np.argmax(block)) for block in _means(log_p, [len(p.examples) for p in taught])]

    ways: dict[str, list[FloatArray]] = {
        name: [part.vectors[name] for part in asked] for name in (*names, _SHIPPED)
    }
    ways[f"{_LEARNED}, the likeliest"] = [
        _mixed(part, names, np.eye(len(names))[share.argmax(1)])
        for part, share in zip(asked, shares, strict=True)
    ]
    ways[f"{_LEARNED}, mixed"] = [
        _mixed(part, names, share) for part, share in zip(asked, shares, strict=True)
    ]
    ways["the set's best, by its name"] = [
        part.vectors[names[best]] for part, best in zip(asked, own, strict=True)
    ]
    told = {
        way: [_answered(reader, part, given) for part, given in zip(asked, vectors, strict=True)]
        for way, vectors in ways.items()
    }
    told["whoever is best for each question"] = [
        np.stack([told[name][i] for name in names]).max(0) for i in range(len(asked))
    ]
    clusters = [example.cluster for part in asked for example in part.examples]
    base = np.concatenate(told[BASE])[:, 1]
    columns: list[Column | str] = ["vectors"]
    columns += [Column("EM", scale=100), Column("F1", scale=100)]
    columns += [Column("F1 above the base", decimals=2, scale=100)]
    cells: list[list[Cell]] = []
    for way, parts in told.items():
        whole = np.concatenate(parts)
        above = bootstrap_interval(whole[:, 1] - base, clusters)
        cells.append([way, float(whole[:, 0].mean()), float(whole[:, 1].mean()), above])
    note = (
        f"{len(clusters)} test questions of three sets, vectors alone, {_READ} passages read by the reader "
        f"that ships. Learned from {len(features)} other questions and their answers: mean log p(y | x) "
        f"{history[0]:.3f} before EM, {history[-1]:.3f} after."
    )
    return Table("The expert's choice as a part of what is latent", columns, cells, [note])


def _log_p(reader: SpanReader, part: _Questions, vectors: FloatArray) -> Floats:
    """log p(y | x, what these vectors find) [n]."""
    shares = SpanLikelihood(reader).shares(
        [example.question for example in part.examples],
        part.found(vectors),
        [example.answers for example in part.examples],
    )
    return np.array([each.log_likelihood() for each in shares])


def _answered(reader: SpanReader, part: _Questions, vectors: FloatArray) -> Floats:
    """EM and F1 [n, 2] of what is read in what these vectors find."""
    questions = [example.question for example in part.examples]
    readings = reader.read(questions, part.found(vectors))
    said = [reading.spans[0].text if reading.spans else "" for reading in readings]
    return np.array(
        [
            [exact_match(text, example.answers), f1(text, example.answers)]
            for text, example in zip(said, part.examples, strict=True)
        ]
    )


def _mixed(part: _Questions, names: Sequence[str], shares: Floats) -> FloatArray:
    """Experts' vectors [n, d] in these shares [n, E]; their length does not matter for an order."""
    every = np.stack([part.vectors[name] for name in names], 1)
    return np.asarray((every * shares[:, :, None]).sum(1), dtype=np.float32)


def _means(log_p: Floats, counts: Sequence[int]) -> list[Floats]:
    """Of each set the mean likelihood by every expert [E], of the questions that any of them answers."""
    blocks = np.split(log_p, np.cumsum(counts)[:-1])
    return [np.exp(block).mean(0) for block in blocks]
