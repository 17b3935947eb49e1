"""train expert: real runs of a very small encoder on collections written to disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest
from command_line import (
    check_ctrl_c_keeps_a_checkpoint,
    check_others_folder_is_kept,
    invoke,
    refused,
    train,
)

from domains import COLOURS, make_queries
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist
from pointsman.cli.options import RecipeName
from pointsman.cli.train_expert import NegativesName
from pointsman.collection.judged import Judged
from pointsman.data.beir import write_beir
from pointsman.data.splits import without
from pointsman.route.expert import domain_of, load_expert
from pointsman.route.recipe import RECIPES
from pointsman.route.task import Negatives
from pointsman.types import Document, Query

FAST = ["--epochs", "25", "--learning-rate", "0.01"]


def colours() -> list[Document]:
    return [Document(colour, f"the colour {colour} comes here") for colour in COLOURS]


def domain(train: int = 96, dev: int = 24, test: int = 8) -> dict[str, list[Judged]]:
    """Letters that ask for colours, in three parts without a question in common."""
    parts: dict[str, list[Judged]] = {}
    taken: list[str] = []
    for seed, (part, count) in enumerate((("test", test), ("dev", dev), ("train", train))):
        unique = {query.text: query for query in make_queries(4 * count + 40, seed=seed)}
        parts[part] = without(unique.values(), taken, lambda query: query.text)[:count]
        taken += [query.text for query in parts[part]]
    return {part: queries for part, queries in parts.items() if queries}


def write(
    folder: Path, parts: Mapping[str, Sequence[Judged]], documents: Sequence[Document] = ()
) -> Path:
    shutil.rmtree(folder / "qrels", ignore_errors=True)
    queries = [Query(query.id, query.text) for part in parts.values() for query in part]
    qrels = {part: {q.id: q.relevant for q in queries} for part, queries in parts.items()}
    write_beir(folder, documents or colours(), queries, qrels)
    return folder


@pytest.fixture
def words(tmp_path: Path, tiny_folder: Path) -> list[str]:
    """A command that trains an expert on a small collection."""
    write(tmp_path / "colours", domain())
    names = {
        "--data": tmp_path / "colours",
        "--out": tmp_path / "experts",
        "--backbone": tiny_folder,
    }
    return ["train", "expert", "law", *(str(word) for pair in names.items() for word in pair)]


def refusal(words: Sequence[str], tmp_path: Path, *more: str, code: int = 3) -> str:
    """The one line that is said; nothing is written, and nothing is encoded."""
    line = refused(words, tmp_path / "cache", *more, code=code)
    assert not (tmp_path / "experts").exists()
    assert not list((tmp_path / "cache").rglob("*.npy"))
    return line


def test_an_expert_learns_and_says_where_it_comes_from(
    words: list[str], tmp_path: Path, tiny_folder: Path
) -> None:
    cache = tmp_path / "cache"
    first = train(words, cache, *FAST, "--licence", "CC BY 4.0")
    folder = tmp_path / "experts" / "law"
    assert first["expert"] == str(folder)
    base, best = float(str(first["base"])), float(str(first["best"]))
    assert best > max(base, 0.8)
    made = load_specialist(folder, "encoder")
    assert made.numbers["dev"] == {"measure": "nDCG@10", "best": best, "base": base}
    assert made.settings["domain"]["dense_weight"] == made.numbers["dense_weight"] == 0.5
    assert made.training["data"] == {
        "name": "colours",
        "train": 96,
        "dev": 24,
        "documents": 8,
        "licence": "CC BY 4.0",
        "dev_held_out": False,
        "made": False,
        "left_out": 0,
    }
    assert made.training["licences"] == {"colours": "CC BY 4.0"}
    recipe = made.training["recipe"]
    assert (recipe["name"], recipe["steps"], recipe["plan"]["epochs"]) == ("ours", 0, 25)
    assert recipe.keys() == asdict(RECIPES["ours"]).keys()
    assert {"command", "negatives", "steps", "seconds"} <= made.training.keys()
    assert str(tmp_path) not in json.dumps(made.training) + made.card
    assert "96 training queries over 8 documents, 24 dev queries: colours" in made.card
    # What a router knows of it: the moments of the base's vectors of its training queries.
    backbone = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    texts = [query.text for query in domain()["train"]]
    expected = domain_of(backbone, texts)
    found = load_expert(folder).domain
    assert found is not None
    assert found.queries == 96
    assert found.mean == pytest.approx(expected.mean, abs=0.01)

    # The same command only saves it again; another expert finds the documents encoded.
    [vectors] = (cache / "vectors").glob("*.npy")
    written = vectors.stat().st_mtime_ns
    again = train(words, cache, *FAST)
    assert (again["run"], again["best"], again["steps"]) == (
        first["run"],
        best,
        first["steps"],
    )
    other = train([*words[:2], "tax", *words[3:]], cache, *FAST[2:], "--epochs", "1", "--seed", "1")
    assert other["run"] != first["run"]
    assert [path.stat().st_mtime_ns for path in (cache / "vectors").glob("*.npy")] == [written]
    assert "licences" not in load_specialist(folder).training


def test_where_nothing_beats_the_base_nothing_is_written(words: list[str], tmp_path: Path) -> None:
    idle = ["--epochs", "1", "--learning-rate", "1e-9"]
    trained = train(words, tmp_path, *idle)
    assert trained["expert"] is None
    assert trained["best"] == trained["base"]
    said = invoke(*words, *idle, env={"POINTSMAN_CACHE": str(tmp_path)})
    assert said.exit_code == 0
    both = f"{100 * float(str(trained['best'])):.1f}"
    assert f"Nothing is written: nDCG@10 on dev is {both}, and {both} by the base" in said.stdout
    assert not (tmp_path / "experts").exists()


def test_without_a_dev_part_some_training_queries_are_held_out(
    words: list[str], tmp_path: Path
) -> None:
    parts = domain(train=200)
    # Two questions of the same words: neither may be dev to the other.
    twin = Judged("twin", f"{parts['train'][0].text.upper()}?", {"red": 1})
    write(tmp_path / "colours", {"train": [*parts["train"], twin]})
    trained = train(words, tmp_path, *FAST)
    data = load_specialist(tmp_path / "experts" / "law").training["data"]
    assert data["dev_held_out"]
    assert data["dev"] in (30, 31)
    assert data["train"] + data["dev"] == 201
    assert trained["data"] == data
    card = (tmp_path / "experts" / "law" / "README.md").read_text("utf-8")
    assert "held out of the training queries" in card
    said = invoke(*words, *FAST, env={"POINTSMAN_CACHE": str(tmp_path)}).stdout
    assert "The dev queries were held out of the training queries." in said


def test_queries_made_from_the_documents(words: list[str], tmp_path: Path) -> None:
    """Titles and first sentences; what a test query says too is left out."""
    documents = [
        Document(query.id, f"The colour of {query.text} is here. Beta.", f"{query.text}")
        for query in domain(train=60)["train"]
    ]
    asked = Judged("t", documents[0].title, {documents[0].id: 1})
    write(tmp_path / "colours", {"test": [asked]}, documents)
    assert "no training queries (qrels/train.tsv); with --from-documents" in refusal(
        words, tmp_path
    )
    trained = train(words, tmp_path, *FAST, "--from-documents", "--limit", "70")
    data = trained["data"]
    assert isinstance(data, dict)
    # 60 titles but one, 60 sentences; a tenth is less than the 20 that dev has at least.
    assert (data["made"], data["dev_held_out"], data["left_out"]) == (True, True, 1)
    assert (data["train"], data["dev"]) == (70, 20)
    if trained["expert"]:
        card = (tmp_path / "experts" / "law" / "README.md").read_text("utf-8")
        assert "Nobody asked these queries" in card


@pytest.mark.parametrize(("into", "names"), [("train", "test"), ("dev", "test"), ("train", "dev")])
def test_parts_that_overlap_are_refused_or_left_out(
    words: list[str], tmp_path: Path, into: str, names: str
) -> None:
    parts = domain()
    spoilt = Judged("spoilt", f"{parts[names][0].text.title()}!", {"red": 1})
    write(tmp_path / "colours", {**parts, into: [*parts[into], spoilt]})
    line = refusal(words, tmp_path)
    assert f"1 {into} queries stand in its {names} part too, such as" in line
    assert repr(parts[names][0].text) in line
    assert "--drop-overlap" in line
    trained = train(words, tmp_path, "--epochs", "1", "--drop-overlap")
    data = trained["data"]
    assert isinstance(data, dict)
    assert (data["left_out"], data["train"], data["dev"]) == (1, 96, 24)


def test_fewer_queries_than_a_batch(words: list[str], tmp_path: Path) -> None:
    write(tmp_path / "colours", domain(train=40))
    assert "40 training queries are fewer than a batch of 64" in refusal(words, tmp_path)
    assert "40 training queries are fewer than a batch of 256" in refusal(
        words, tmp_path, "--recipe", "paper"
    )
    assert "10 training queries are fewer than a batch of 64" in refusal(
        words, tmp_path, "--limit", "10"
    )
    (tmp_path / "colours" / "qrels" / "dev.tsv").unlink()
    line = refusal(words, tmp_path)
    assert "20 training queries, after 20 are held out for dev, are fewer than a batch" in line


def test_judgements_of_what_is_not_there(words: list[str], tmp_path: Path) -> None:
    qrels = tmp_path / "colours" / "qrels" / "train.tsv"
    whole = qrels.read_text("utf-8")
    qrels.write_text(f"{whole}2-0\tmauve\t1\n", "utf-8")
    line = refusal(words, tmp_path)
    assert "train.tsv: query '2-0' is judged with document 'mauve', which is not in the" in line
    qrels.write_text(f"{whole}nobody\tred\t1\n", "utf-8")
    assert "train.tsv: 1 judged queries are unknown, such as 'nobody'" in refusal(words, tmp_path)


def test_a_document_without_text_is_relevant_to_nobody(words: list[str], tmp_path: Path) -> None:
    parts = domain()
    first = parts["train"][0]
    parts["train"][0] = Judged(first.id, first.text, {**first.relevant, "void": 1})
    write(tmp_path / "colours", parts, [*colours(), Document("void", " ")])
    data = train(words, tmp_path, "--epochs", "1")["data"]
    assert isinstance(data, dict)
    assert (data["documents"], data["train"]) == (8, 96)


def test_places_that_are_no_collection(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "colours" / "corpus.jsonl").write_text("", "utf-8")
    assert "colours: no document with text in its corpus" in refusal(words, tmp_path)
    (tmp_path / "colours" / "corpus.jsonl").unlink()
    assert "colours: not a BEIR directory (no corpus.jsonl in it)" in refusal(words, tmp_path)


def test_a_place_or_a_name_that_will_not_do_is_refused_before_anything_is_read(
    words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "colours" / "corpus.jsonl").unlink()
    for name in ("base", "a/b", "..", "reader:law", ""):
        said = refusal([*words[:2], name, *words[3:]], tmp_path)
        assert "name" in said
        assert repr(name) in said
    check_others_folder_is_kept(words, tmp_path / "experts" / "law")


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGINT from another process")
def test_ctrl_c_leaves_a_checkpoint(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    long = [*words, "--recipe", "ours", "--epochs", "100000"]
    check_ctrl_c_keeps_a_checkpoint(long, run, tmp_path / "cache")
    assert not (tmp_path / "experts").exists()
    other = [*words, "--run", str(run), "--epochs", "1"]
    train(other, tmp_path / "cache", "--fresh")


def test_the_kind_of_negatives_can_be_named(words: list[str], tmp_path: Path) -> None:
    made = train(words, tmp_path / "cache", *FAST, "--negatives", "mined")
    assert made["negatives"] == "mined"
    recipe = load_specialist(tmp_path / "experts" / "law", "encoder").training["recipe"]
    assert recipe["negatives"] == ["mined"]


def test_the_kinds_of_negatives_are_those_that_there_are() -> None:
    assert {kind.value for kind in NegativesName} == set(get_args(Negatives))


def test_the_recipes_are_those_that_there_are() -> None:
    assert {each.value for each in RecipeName} == RECIPES.keys()


def test_help() -> None:
    result = invoke("train", "expert", "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "pointsman train expert law --data path/to/beir --out my-space/specialists" in (
        result.stdout
    )
    assert "pointsman train expert" in invoke("train", "--help").stdout


@pytest.mark.data
def test_the_test_bed_has_queries_in_two_parts(
    data_dir: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    """As published; they are told before a document is encoded."""
    words = ["train", "expert", "law", "--out", str(tmp_path / "experts")]
    words += ["--backbone", str(tiny_folder), "--data"]
    line = refusal([*words, str(data_dir / "beir" / "scifact")], tmp_path)
    assert "2 train queries stand in its test part too" in line
    line = refusal([*words, str(data_dir / "beir" / "amazon")], tmp_path)
    assert "21 dev queries stand in its test part too" in line
    line = refusal([*words, str(data_dir / "beir" / "cacm")], tmp_path)
    assert "no training queries" in line
