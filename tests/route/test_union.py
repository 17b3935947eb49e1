from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from domains import make_queries
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.collection.judged import Documents, Judged
from pointsman.errors import ConfigError
from pointsman.route.task import ExpertTask
from pointsman.route.union import UnionTask
from pointsman.route.utility import utilities
from pointsman.training.loop import Plan, train
from pointsman.types import FloatArray


def task(
    backbone: Backbone, documents: Documents, judged: Sequence[Judged], rank: int = 4
) -> ExpertTask:
    dev = make_queries(24, seed=50)

    def evaluate(encode: Callable[[Sequence[str]], FloatArray]) -> Mapping[str, float]:
        vectors = encode([query.text for query in dev])
        return {"ndcg": float(utilities(documents, dev, [vectors]).mean())}

    adapter = new_adapter(backbone.model, rank, 16.0, torch.Generator().manual_seed(0))
    return ExpertTask(backbone, adapter, judged, documents, evaluate, batch_size=8)


def test_an_epoch_has_as_many_batches_of_the_small_as_of_the_large(
    tiny: Backbone, documents: Documents
) -> None:
    small, large = task(tiny, documents, make_queries(16)), task(tiny, documents, make_queries(80))
    union = UnionTask([small, large], batches_each=3)
    steps = [step for epoch in range(4) for step in union.batches(epoch)]
    assert [number for number, _ in steps] == [0, 1] * 12
    # Twelve batches of each: the large one's ten and two more, the small one's two six times.
    seen = [i for number, batch in steps for i in batch if number == 1]
    assert sorted(seen[:80]) == list(range(80))
    assert union.batches(2) == union.batches(2)


def test_one_adapter_learns_from_both(
    tiny: Backbone, documents: Documents, run_folder: Path
) -> None:
    letters = make_queries(64, seed=1)
    halves = [
        [query for query in letters if (int(query.id.split("-")[1]) % 8 < 4) == first]
        for first in (True, False)
    ]
    tasks = [task(tiny, documents, half) for half in halves]
    union = UnionTask(tasks, batches_each=2)
    assert tasks[0].parameters() is tasks[1].parameters()
    plan = Plan("ndcg", epochs=20, learning_rate=1e-2, weight_decay=0, evaluations=1, patience=20)
    outcome = train(union, plan, run_folder)
    assert outcome.best > 0.9
    assert union.adapter(outcome.parameters).layers


def test_what_cannot_be_united(tiny: Backbone, documents: Documents) -> None:
    one, other = task(tiny, documents, make_queries(8)), task(tiny, documents, make_queries(8), 2)
    with pytest.raises(ConfigError, match="different adapters"):
        UnionTask([one, other], 1)
    with pytest.raises(ConfigError, match="at least one task"):
        UnionTask([], 1)
