from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from domains import make_queries
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.backbone.specialist import load_specialist, save_specialist
from pointsman.collection.judged import Documents
from pointsman.errors import InputError, SpecialistError
from pointsman.route.expert import Expert, load_expert, save_expert, with_domain
from pointsman.route.familiarity import Domain, Familiarity
from pointsman.route.recipe import OURS, PAPER, Data, Recipe, mined, train_expert
from pointsman.training.loop import Plan


def saved(backbone: Backbone, folder: Path, domain: Domain | None) -> Path:
    adapter = new_adapter(backbone.model, 2, 8.0, torch.Generator().manual_seed(0), ("query",))
    expert = Expert("law", adapter, backbone.identity.sha256, domain)
    save_expert(expert, backbone.identity, folder, training={}, numbers={}, card="# law\n")
    return folder


def test_what_is_saved_comes_back(tiny: Backbone, tmp_path: Path) -> None:
    vectors = tiny.encode([query.text for query in make_queries(60)], prompt="query")
    domain = replace(Domain.of(vectors), dense_weight=0.7)
    found = load_expert(saved(tiny, tmp_path / "law", domain))
    assert (found.name, found.base_sha256) == ("law", tiny.identity.sha256)
    assert found.domain is not None
    assert (found.domain.queries, found.domain.dense_weight) == (60, 0.7)
    # In halves on disk, and still as near to every query as before.
    before = Familiarity([domain]).distances(vectors)
    assert Familiarity([found.domain]).distances(vectors) == pytest.approx(before, rel=0.02)


def test_an_expert_without_a_domain(tiny: Backbone, tmp_path: Path) -> None:
    assert load_expert(saved(tiny, tmp_path / "law", None)).domain is None


def test_a_domain_that_is_not_whole(tiny: Backbone, tmp_path: Path) -> None:
    folder = saved(tiny, tmp_path / "law", Domain.of(tiny.encode(["alpha", "beta"])))
    specialist = load_specialist(folder)
    broken = {"domain_mean": specialist.head["domain_mean"]}
    save_specialist(replace(specialist, head=broken), folder)
    with pytest.raises(SpecialistError, match="its domain cannot be read"):
        load_expert(folder)
    settings = {"domain": {"queries": 2, "dense_weight": 7}}
    save_specialist(replace(specialist, settings=settings), folder)
    with pytest.raises(SpecialistError, match="a weight of 7"):
        load_expert(folder)


def test_a_reader_is_no_expert(tiny: Backbone, tmp_path: Path) -> None:
    folder = saved(tiny, tmp_path / "law", None)
    save_specialist(replace(load_specialist(folder), kind="reader"), folder)
    with pytest.raises(SpecialistError, match="kind 'reader'"):
        load_expert(folder)


def test_a_domain_can_be_given_later(tiny: Backbone, tmp_path: Path) -> None:
    folder = saved(tiny, tmp_path / "law", None)
    domain = Domain.of(tiny.encode(["alpha", "beta"]))
    save_specialist(with_domain(load_specialist(folder), domain), folder)
    assert load_expert(folder).domain is not None
    assert json.loads((folder / "specialist.json").read_text())["settings"] == {
        "domain": {"queries": 2}
    }


QUICK = Recipe(
    name="quick",
    negatives=("judged", "all"),
    batch_size=16,
    plan=Plan("nDCG@10", epochs=8, learning_rate=1e-2, weight_decay=0, evaluations=1, patience=8),
)


def test_a_trained_expert_beats_the_base_in_its_domain(
    tiny: Backbone, documents: Documents, run_folder: Path
) -> None:
    data = Data(documents, make_queries(96, seed=1), make_queries(40, seed=2))
    seen: list[str] = []
    trained = train_expert(tiny, data, QUICK, run_folder, lambda kind, progress: seen.append(kind))
    assert trained.helps
    assert trained.best > 0.85 > 0.6 > trained.base
    assert set(seen) == set(trained.outcomes) == {"judged", "all"}
    assert trained.best == max(outcome.best for outcome in trained.outcomes.values())


def test_the_base_is_kept_where_nothing_beats_it(
    tiny: Backbone, documents: Documents, run_folder: Path
) -> None:
    """Dev asks for other documents than training did: what is learned cannot help."""
    data = Data(documents, make_queries(96, seed=1), make_queries(40, seed=2, shift=3))
    still = replace(QUICK, plan=replace(QUICK.plan, learning_rate=1e-2, epochs=6))
    trained = train_expert(tiny, data, still, run_folder)
    assert not trained.helps


def test_too_little_data_is_refused(tiny: Backbone, documents: Documents, tmp_path: Path) -> None:
    few, dev = make_queries(5), make_queries(8, seed=2)
    with pytest.raises(InputError, match="5 training queries are fewer than a batch of 16"):
        train_expert(tiny, Data(documents, few, dev), QUICK, tmp_path)
    with pytest.raises(InputError, match="no dev queries"):
        train_expert(tiny, Data(documents, make_queries(32), []), QUICK, tmp_path)
    same = make_queries(32)
    with pytest.raises(InputError, match="train holds"):
        train_expert(tiny, Data(documents, same, same[:4]), QUICK, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mined_documents_are_the_nearest_that_nobody_judged(
    tiny: Backbone, documents: Documents
) -> None:
    queries = make_queries(8)
    data = Data(documents, queries, [])
    vectors = tiny.encode([query.text for query in queries], prompt="query")
    for query, vector, rows in zip(queries, vectors, mined(tiny, data, 3), strict=True):
        order = np.argsort(-(documents.vectors @ vector), kind="stable").tolist()
        relevant = {documents.rows[id] for id in query.relevant}
        assert rows == [row for row in order if row not in relevant][:3]


def test_the_papers_recipe_is_the_papers() -> None:
    assert (PAPER.rank, PAPER.alpha, PAPER.plan.learning_rate) == (8, 32.0, 1e-4)
    assert (PAPER.batch_size, PAPER.temperature, PAPER.negatives) == (256, 0.05, ("batch",))


@pytest.mark.parametrize(("queries", "epochs"), [(64, 200), (730, 18), (5000, 3), (50_000, 1)])
def test_training_is_about_as_long_whatever_there_is(queries: int, epochs: int) -> None:
    plan = OURS.plan_for(queries)
    assert plan.epochs == epochs
    assert plan.epochs * plan.evaluations >= 12
