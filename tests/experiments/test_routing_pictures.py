from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from svg import Draw, check_same_every_time, check_without_matplotlib, words

from pointsman.errors import InputError, MissingDependencyError
from pointsman.experiments.routing.pictures import embedding_map, growth, heat_maps, size_curves

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

GROWTH = [
    [count, router, part, 0.4 + shift * count, 0.39 + shift * count, 0.42 + shift * count]
    for part, shift in (("seen", 0.02), ("unseen", 0.0))
    for router in ("pilots", "mixture")
    for count in (1, 2, 3)
]


def draw_map(path: Path, count: int = 30) -> Path:
    rng = np.random.default_rng(0)

    def some(centre: int, n: int = 20) -> np.ndarray:
        vectors = rng.normal(0, 0.1, size=(n, 8))
        vectors[:, centre] += 1
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    seen = {"films": some(0), "law": some(1, 40)}
    pilots = np.stack([each.mean(axis=0) for each in seen.values()])
    return embedding_map(seen, {"sport": some(2)}, pilots, ["films", "base"], path, count=count)


def draw_heat(path: Path) -> Path:
    maps = {
        "mixture": np.array([[0.25, 0.75, 0.0], [0.98, 0.016, 0.004]]),
        "oracle": np.array([[0.5, 0.5, 0.0], [0.61, 0.0, 0.39]]),
    }
    return heat_maps(maps, ["films", "law & order"], ["base", "films", "law"], path)


def draw_growth(path: Path) -> Path:
    return growth(GROWTH, path)


def draw_sizes(path: Path) -> Path:
    line = {100: (0.01, -0.01, 0.03), 1_000: (0.05, 0.04, 0.06), 4_400: (0.06, 0.05, 0.07)}
    return size_curves({"own test": {"films": line}, "unseen sets": {"films": line}}, path)


DRAWN = pytest.mark.parametrize("draw", [draw_map, draw_heat, draw_growth, draw_sizes])


@DRAWN
def test_a_picture_comes_out_the_same_every_time(draw: Draw, tmp_path: Path) -> None:
    check_same_every_time(draw, tmp_path)


@DRAWN
def test_without_matplotlib_it_says_what_to_install(
    draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_without_matplotlib(draw, tmp_path, monkeypatch)


def test_a_map_of_embeddings_without_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-learn; pip install"):
        draw_map(tmp_path / "none.svg")


def test_a_map_shows_each_set_and_names_each_pilot(tmp_path: Path) -> None:
    found = words(draw_map(tmp_path / "map.svg"))
    assert {"films", "law", "sport (unseen)", "pilots", "base"} <= set(found)
    assert found.count("films") == 2  # in the legend and at its pilot


def test_a_map_shows_at_most_so_many_queries_of_a_set(tmp_path: Path) -> None:
    few, all, more = (
        draw_map(tmp_path / f"{count}.svg", count).read_bytes() for count in (30, 40, 500)
    )
    assert few != all
    assert all == more


def test_heat_maps_say_every_share_in_its_place(tmp_path: Path) -> None:
    found = words(draw_heat(tmp_path / "heat.svg"))
    numbers = [word for word in found if word.isdigit()]
    # Row by row; what rounds to nothing is left blank.
    assert numbers == ["25", "75", "98", "2", "50", "50", "61", "39"]
    assert {"mixture", "oracle", "law & order", "base"} <= set(found)


def test_growth_has_a_panel_for_seen_and_unseen(tmp_path: Path) -> None:
    found = words(draw_growth(tmp_path / "growth.svg"))
    assert {"seen sets", "unseen sets", "pilots", "mixture", "experts"} <= set(found)
    assert found.count("pilots") == 1  # one legend for both
    with pytest.raises(InputError, match="not a row"):
        growth([[1, "pilots", "seen", 0.4]], tmp_path / "wrong.svg")


def test_sizes_are_marked_by_ones_and_threes(tmp_path: Path) -> None:
    found = words(draw_sizes(tmp_path / "sizes.svg"))
    assert {"100", "300", "1,000", "3,000", "own test", "unseen sets", "films"} <= set(found)
    assert "10,000" not in found
