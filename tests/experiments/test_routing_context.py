from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains import COLOURS, QUICK, make_documents, make_parts, make_queries
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.collection.judged import Documents, Judged
from pointsman.data.beir import write_beir
from pointsman.evaluate.significance import Interval
from pointsman.experiments.report import silent
from pointsman.experiments.routing.context import ContextTask, context
from pointsman.experiments.routing.trained_bed import load_bed
from pointsman.route.loss import contrastive_loss
from pointsman.route.task import ExpertTask
from pointsman.training.loop import Plan, train
from pointsman.types import Document, Query
from tiny import write_tiny

TEXTS = [f"the colour {colour} comes here" for colour in COLOURS]
# So much alike that the base's vectors hardly tell them apart.
ALIKE = [" ".join(["what follows is the"] * 12 + [colour]) for colour in COLOURS]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


@pytest.fixture(scope="module")
def documents(backbone: Backbone) -> Documents:
    return make_documents(backbone)


def some_adapter(backbone: Backbone, from_layer: int = 0) -> LoraAdapter:
    """An adapter that changes something, as one under way does."""
    generator = torch.Generator().manual_seed(0)
    adapter = new_adapter(backbone.model, 4, 8.0, generator, from_layer=from_layer)
    drawn = {
        name: torch.empty_like(value).normal_(0, 0.2, generator=generator)
        for name, value in adapter.tensors().items()
    }
    return adapter.with_tensors(drawn)


def both_sides(
    backbone: Backbone,
    adapter: LoraAdapter,
    judged: Sequence[Judged],
    documents: Documents,
    **settings: Any,
) -> ContextTask:
    return ContextTask(
        backbone, adapter, judged, documents, TEXTS, judged, batch_size=16, **settings
    )


def test_the_loss_is_over_documents_encoded_by_the_adapter(
    backbone: Backbone, documents: Documents
) -> None:
    judged = make_queries(8)
    adapter = some_adapter(backbone)
    backbone.add_adapter("some", adapter)
    batch = [0, 3, 5]
    colours = [COLOURS.index(colour) for i in batch for colour in judged[i].relevant]
    queries = backbone.encode([judged[i].text for i in batch], "some", prompt="query")
    contexts = backbone.encode([TEXTS[i] for i in colours], "some", prompt="document")
    expected = contrastive_loss(torch.from_numpy(queries @ contexts.T), torch.eye(3) > 0, 0.05)
    loss = both_sides(backbone, adapter, judged, documents).loss(batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    alone = ExpertTask(backbone, adapter, judged, documents, lambda _: {}, negatives="batch")
    assert loss.item() != pytest.approx(alone.loss(batch).item(), rel=0.05)


def test_gradients_reach_the_documents(backbone: Backbone, documents: Documents) -> None:
    """The loss changes along its gradient as fast as the gradient says.

    It would not, were the documents' vectors taken as they are.
    """
    task = both_sides(backbone, some_adapter(backbone), make_queries(8), documents, temperature=0.5)
    parameters = list(task.parameters().values())
    task.loss(range(8)).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in parameters if p.grad is not None]
    assert len(gradients) == len(parameters)
    square = float(sum((gradient**2).sum() for gradient in gradients))
    step = 0.02 / np.sqrt(square)
    losses = []
    with torch.no_grad():
        for by in (step, -2 * step):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter += by * gradient
            losses.append(task.loss(range(8)).item())
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(square, rel=0.02)


def test_layers_that_the_adapter_leaves_alone_need_not_run_again(
    backbone: Backbone, documents: Documents
) -> None:
    judged, adapter = make_queries(8), some_adapter(backbone, from_layer=1)
    whole = both_sides(backbone, adapter, judged, documents)
    upper = both_sides(backbone, adapter, judged, documents, lower_layers=1)
    assert upper.loss(range(8)).item() == pytest.approx(whole.loss(range(8)).item(), rel=1e-4)


def test_dev_is_looked_at_with_every_document_encoded_anew(
    backbone: Backbone, documents: Documents
) -> None:
    judged, adapter = make_queries(16), some_adapter(backbone)
    backbone.add_adapter("some", adapter)
    anew = Documents(documents.ids, backbone.encode(TEXTS, "some", prompt="document"))
    queries = backbone.encode([query.text for query in judged], "some", prompt="query")
    ranks = [
        run.index(next(iter(query.relevant)))
        for query, run in zip(judged, map(list, anew.run(judged, queries).values()), strict=True)
    ]
    expected = np.mean([1 / np.log2(2 + rank) for rank in ranks])
    task = both_sides(backbone, adapter, judged, documents)
    assert task.evaluate()["nDCG@10"] == pytest.approx(expected)


def test_it_is_another_run_than_that_of_the_queries_alone(
    backbone: Backbone, documents: Documents
) -> None:
    judged, adapter = make_queries(8), some_adapter(backbone)
    both = both_sides(backbone, adapter, judged, documents)
    alone = ExpertTask(
        backbone, adapter, judged, documents, lambda _: {}, negatives="batch", batch_size=16
    )
    assert both.fingerprint() != alone.fingerprint()
    assert both.fingerprint() == both_sides(backbone, adapter, judged, documents).fingerprint()


def test_documents_that_the_base_confuses_are_told_apart(
    backbone: Backbone, tmp_path: Path
) -> None:
    """The frozen documents stand so close that no query vectors could have a loss this low.

    For unit q the cosines of two documents differ by no more than their distance: with a positive
    p the loss is at least log(1 + Σ_j exp(-|d_j - d_p| / t)).
    """
    judged, temperature = make_queries(16), 0.05
    frozen = Documents(tuple(COLOURS), backbone.encode(ALIKE, prompt="document"))
    distances = np.linalg.norm(frozen.vectors[:, None] - frozen.vectors[None], axis=2)
    bound = np.log(np.exp(-distances / temperature).sum(axis=1)).mean()
    adapter = new_adapter(backbone.model, 4, 16.0, torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {"temperature": temperature, "batch_size": 16}
    plan = Plan(
        "nDCG@10", epochs=30, learning_rate=1e-2, weight_decay=0, evaluations=1, patience=30
    )

    alone = ExpertTask(
        backbone, adapter, judged, frozen, lambda _: {"nDCG@10": 0}, negatives="batch", **settings
    )
    both = ContextTask(backbone, adapter, judged, frozen, ALIKE, judged, **settings)
    train(alone, plan, tmp_path / "alone")
    outcome = train(both, plan, tmp_path / "both")
    assert alone.loss(range(16)).item() > bound > 2 * both.loss(range(16)).item()
    assert outcome.best > 0.99


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bed")
    parts = make_parts()
    write_beir(
        folder / "beir" / "alike",
        [Document(colour, text) for colour, text in zip(COLOURS, ALIKE, strict=True)],
        [Query(each.id, each.text) for judged in parts.values() for each in judged],
        {part: {each.id: dict(each.relevant) for each in judged} for part, judged in parts.items()},
    )
    return folder


def test_the_study_and_going_on_with_it(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    bed = load_bed(data, backbone, tmp_path, QUICK, silent, seen=[], unseen=["alike"])
    shown: list[str] = []

    def listen(label: str, done: int, total: int) -> None:
        shown.append(label)

    def study() -> Sequence[Any]:
        (row,) = context(bed, QUICK, tmp_path / "experts", listen, names=["alike"]).rows
        return row

    name, base, queries, both, frozen, difference, p = study()
    assert name == "alike"
    assert base == pytest.approx(bed.test["alike"].utilities[:, 0].mean())
    assert queries > base + 0.1
    assert both > base + 0.1
    # The adapter of both sides has moved the documents: the base's are not what its queries look for.
    assert frozen < both - 0.1
    assert isinstance(difference, Interval)
    assert difference.mean == pytest.approx(both - queries)
    assert 0 < float(p) <= 1
    assert {label.rpartition(" ")[2] for label in shown if "training" in label} == {
        "queries",
        "both",
    }
    shown.clear()
    assert study()[1:5] == [base, queries, both, frozen]
    assert shown == []
