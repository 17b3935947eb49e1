from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains import make_queries
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.collection.judged import Documents, Judged
from pointsman.errors import ModelError
from pointsman.route.loss import contrastive_loss
from pointsman.route.task import ExpertTask, Negatives
from pointsman.route.utility import utilities
from pointsman.training.loop import Plan, train
from pointsman.types import FloatArray


def make_task(
    backbone: Backbone,
    documents: Documents,
    judged: Sequence[Judged],
    dev: Sequence[Judged] = (),
    **settings: Any,
) -> ExpertTask:
    def evaluate(encode: Callable[[Sequence[str]], FloatArray]) -> Mapping[str, float]:
        vectors = encode([query.text for query in dev])
        return {"ndcg": float(utilities(documents, dev, [vectors]).mean())}

    adapter = new_adapter(backbone.model, 4, 16.0, torch.Generator().manual_seed(0))
    settings = {"batch_size": 16, **settings}
    return ExpertTask(backbone, adapter, judged, documents, evaluate, **settings)


@pytest.mark.parametrize("negatives", ["batch", "mined", "judged", "all"])
def test_an_expert_learns_its_domain(
    tiny: Backbone, documents: Documents, run_folder: Path, negatives: Negatives
) -> None:
    judged, dev = make_queries(96, seed=1), make_queries(40, seed=2)
    hard = [[0, 1] for _ in judged]
    task = make_task(tiny, documents, judged, dev, negatives=negatives, hard=hard)
    before = task.evaluate()["ndcg"]
    plan = Plan("ndcg", epochs=12, learning_rate=1e-2, evaluations=1, patience=12, weight_decay=0)
    outcome = train(task, plan, run_folder)
    assert before < 0.6
    assert outcome.best > 0.9


def test_a_fresh_expert_is_the_base(tiny: Backbone, documents: Documents) -> None:
    judged = make_queries(8)
    task = make_task(tiny, documents, judged)
    texts = [query.text for query in judged]
    assert task.encoder()(texts) == pytest.approx(tiny.encode(texts, prompt="query"), abs=1e-5)


def test_the_loss_over_all_documents_by_hand(tiny: Backbone, documents: Documents) -> None:
    judged = [
        Judged("1", "what follows alpha", {"red": 1, "gold": 2}),
        Judged("2", "beta is here", {"blue": 1}),
    ]
    task = make_task(tiny, documents, judged, temperature=0.1)
    vectors = torch.from_numpy(tiny.encode([query.text for query in judged], prompt="query"))
    positive = torch.zeros(2, len(documents), dtype=torch.bool)
    for row, id in ((0, "red"), (0, "gold"), (1, "blue")):
        positive[row, documents.rows[id]] = True
    expected = contrastive_loss(vectors @ torch.from_numpy(documents.vectors).T, positive, 0.1)
    assert task.loss([0, 1]).item() == pytest.approx(expected.item(), rel=1e-4)


def test_in_batch_negatives_are_the_other_queries_positives(
    tiny: Backbone, documents: Documents
) -> None:
    """Two queries that share their document have no negative of each other."""
    same = [Judged("1", "alpha is", {"red": 1}), Judged("2", "is alpha here", {"red": 1})]
    assert make_task(tiny, documents, same, negatives="batch").loss([0, 1]).item() == 0.0
    other = [same[0], Judged("3", "beta", {"blue": 1})]
    assert make_task(tiny, documents, other, negatives="batch").loss([0, 1]).item() > 0.0


def test_a_mined_negative_that_is_relevant_to_another_query_counts_for_this_one(
    tiny: Backbone, documents: Documents
) -> None:
    judged = [Judged("1", "alpha is", {"red": 1})]
    hard = [[documents.rows["red"], documents.rows["blue"]]]
    task = make_task(tiny, documents, judged, negatives="mined", hard=hard, temperature=0.1)
    vector = torch.from_numpy(tiny.encode(["alpha is"], prompt="query"))
    chosen = torch.from_numpy(documents.vectors[[documents.rows["red"], documents.rows["blue"]]])
    expected = contrastive_loss(vector @ chosen.T, torch.tensor([[True, False]]), 0.1)
    assert task.loss([0]).item() == pytest.approx(expected.item(), rel=1e-4)


def test_judged_negatives_are_every_querys_positives_and_nothing_else(
    tiny: Backbone, documents: Documents
) -> None:
    judged = [
        Judged("1", "alpha is", {"red": 1}),
        Judged("2", "beta", {"blue": 1}),
        Judged("3", "gamma", {"gold": 1, "red": 1}),
    ]
    task = make_task(tiny, documents, judged, negatives="judged", temperature=0.1)
    vector = torch.from_numpy(tiny.encode(["alpha is"], prompt="query"))
    rows = sorted(documents.rows[id] for id in ("red", "blue", "gold"))
    positive = torch.tensor([[row == documents.rows["red"] for row in rows]])
    expected = contrastive_loss(vector @ torch.from_numpy(documents.vectors[rows]).T, positive, 0.1)
    assert task.loss([0]).item() == pytest.approx(expected.item(), rel=1e-4)


def test_batches_hold_every_query_once_and_follow_from_seed_and_epoch(
    tiny: Backbone, documents: Documents
) -> None:
    judged = make_queries(37)
    one, two = (
        make_task(tiny, documents, judged, seed=3),
        make_task(tiny, documents, judged, seed=3),
    )
    for epoch in range(3):
        batches = one.batches(epoch)
        assert sorted(i for batch in batches for i in batch) == list(range(37))
        assert batches == two.batches(epoch)
    assert one.batches(0) != one.batches(1)
    # 16, 16 and 5: the rest is too few to be its own negatives.
    assert [len(batch) for batch in one.batches(0)] == [16, 21]


def test_fingerprint_tells_data_and_settings_apart(tiny: Backbone, documents: Documents) -> None:
    judged = make_queries(8)
    moved = Documents(documents.ids, np.roll(documents.vectors, 1, axis=0))
    changed = [*judged[:-1], Judged("7", judged[-1].text, {"gold": 2})]
    fingerprints = [
        make_task(tiny, documents, judged).fingerprint(),
        make_task(tiny, moved, judged).fingerprint(),
        make_task(tiny, documents, changed).fingerprint(),
        make_task(tiny, documents, judged, temperature=0.1).fingerprint(),
        make_task(tiny, documents, judged, negatives="batch").fingerprint(),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert fingerprints[0] == make_task(tiny, documents, judged).fingerprint()


def test_only_the_named_layers_are_adapted(tiny: Backbone) -> None:
    adapter = new_adapter(tiny.model, 2, 8.0, targets=("query", "value"))
    assert {name.rpartition(".")[2] for name in adapter.layers} == {"query", "value"}
    with pytest.raises(ModelError, match="no linear layer called nothing"):
        new_adapter(tiny.model, 2, 8.0, targets=("nothing",))
