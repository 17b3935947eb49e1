"""The retrieval tables, on the sample collection, and the reference values on the test bed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.errors import InputError
from pointsman.experiments import retrieval
from pointsman.sample import sample_directory

# Test nDCG@10 × 100 of the frozen all-MiniLM-L6-v2 in bf16, mean pooling, 256 tokens, exact search,
# measured independently of this code (docs/data.md).
REFERENCE = {
    "scifact": 64.5,
    "covidqa": 45.1,
    "climate-fever": 33.7,
    "cosqa": 59.2,
    "newwiki": 77.2,
    "amazon": 28.8,
    "homedepot": 28.4,
    "nq": 95.3,
    "cranfield": 50.6,
    "medline": 78.6,
    "cisi": 41.9,
    "cacm": 41.0,
    "npl": 43.6,
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.load()


def test_the_sample_collection_in_three_modes(backbone: Backbone) -> None:
    seen: list[str] = []
    report = retrieval.run(
        sample_directory(), backbone, show=lambda label, done, total: seen.append(label)
    )
    means = report.details["means"]
    assert isinstance(means, dict)
    (by_mode,) = means.values()
    assert set(by_mode) == {"dense", "bm25", "hybrid"}
    # Every passage is about something else, so any working retriever finds most of them; one that
    # confuses ids or order does not.
    assert all(scores["nDCG@10"] > 0.8 for scores in by_mode.values())
    assert any("encoding" in label for label in seen)


def test_a_limit_bounds_the_queries_and_a_seed_draws_them(backbone: Backbone) -> None:
    first, second = (
        retrieval.run(sample_directory(), backbone, modes=("dense",), limit=7, seed=3)
        for _ in range(2)
    )
    assert first.tables[0].rows[0][2] == 7
    assert first.details["means"] == second.details["means"]


def test_a_directory_that_is_no_collection_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(InputError, match="neither a BEIR directory nor a test bed"):
        retrieval.run(tmp_path, backbone)
    with pytest.raises(InputError, match="no judgements for 'dev'"):
        retrieval.run(sample_directory(), backbone, split="dev")


@pytest.mark.data
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_values_are_met(name: str, data_dir: Path, backbone: Backbone) -> None:
    report = retrieval.run(data_dir, backbone, sets=[name], modes=("dense",))
    means = report.details["means"]
    assert isinstance(means, dict)
    assert 100 * means[name]["dense"]["nDCG@10"] == pytest.approx(REFERENCE[name], abs=0.5)
