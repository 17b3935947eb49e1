"""train grader: real runs of a very small encoder on graded pairs written to disk."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
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

from domains import COLOURS
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist
from pointsman.cli.train_grader import HeadName
from pointsman.data.beir import write_beir
from pointsman.evaluate.calibration import nll
from pointsman.grade.grader import PairGrader
from pointsman.grade.head import HeadKind
from pointsman.grade.pretrained import load_pretrained
from pointsman.grade.scaling import Identity
from pointsman.types import Document, Query
from spaces import write_grader

LETTERS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
FAST = ["--epochs", "3", "--learning-rate", "0.003"]

Row = tuple[str, str, float]


def rows(part: str, queries: int = 24, seed: int = 0) -> list[Row]:
    """Score 3 where the query names the item's colour, 2 where it names another, 1 for a letter."""
    rng = random.Random(seed)
    made = []
    for i in range(queries):
        colour, other = rng.sample(COLOURS, 2)
        query = f"what is {colour} {part} {i}"
        made.append((query, f"here comes {colour}", 3.0))
        made.append((query, f"here comes {other}", 2.0))
        made.append((query, f"here comes {rng.choice(LETTERS)}", 1.0))
    return made


def write(path: Path, pairs: Sequence[Row]) -> Path:
    lines = ["query\titem\tscore", *(f"{query}\t{item}\t{score}" for query, item, score in pairs)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def words(tmp_path: Path, tiny_folder: Path) -> list[str]:
    """A command that trains a grader on 240 pairs of 80 queries, with a dev file of 20."""
    names = {
        "--data": write(tmp_path / "pairs.tsv", rows("a", 80)),
        "--dev": write(tmp_path / "dev.tsv", rows("b", 20, seed=1)),
        "--grades": "no, some,yes",
        "--cuts": "2,2.67",
        "--out": tmp_path / "graders",
        "--backbone": tiny_folder,
    }
    return ["train", "grader", "shop", *(str(word) for pair in names.items() for word in pair)]


def without_dev(words: list[str]) -> list[str]:
    place = words.index("--dev")
    return words[:place] + words[place + 2 :]


def refusal(words: Sequence[str], tmp_path: Path, *more: str, code: int = 3) -> str:
    """The one line that is said; nothing is written, and no run is begun."""
    line = refused(words, tmp_path / "cache", *more, code=code)
    assert not (tmp_path / "graders").exists()
    assert not (tmp_path / "cache" / "runs").exists()
    return line


def test_a_grader_learns_and_says_where_it_comes_from(
    words: list[str], tmp_path: Path, tiny_folder: Path
) -> None:
    cache = tmp_path / "cache"
    first = train(words, cache, *FAST, "--licence", "CC0")
    folder = tmp_path / "graders" / "shop"
    assert (first["grader"], first["grades"], first["alpha"]) == (
        str(folder),
        ["no", "some", "yes"],
        1.0,
    )
    made = load_specialist(folder, "grader")
    assert made.settings["grades"] == ["no", "some", "yes"]
    assert made.settings["scaling"]["kind"] == first["calibration"]
    assert made.training["data"] == {
        "name": "pairs.tsv",
        "grades": ["no", "some", "yes"],
        "cuts": [2.0, 2.67],
        "levels": [],
        "meanings": [],
        "train": {"pairs": 240, "queries": 80, "grades": {"no": 80, "some": 80, "yes": 80}},
        "dev": {"pairs": 60, "queries": 20, "grades": {"no": 20, "some": 20, "yes": 20}},
        "licence": "CC0",
        "dev_held_out": False,
    }
    assert made.training["licences"] == {"pairs.tsv": "CC0"}
    assert made.training["recipe"]["plan"]["epochs"] == 3
    assert {"command", "alpha", "steps", "seconds"} <= made.training.keys()
    assert str(tmp_path) not in json.dumps(made.training) + made.card
    assert "pairs.tsv: 240 pairs of 80 training queries, 60 pairs of 20 dev queries." in made.card
    assert "| some | from 2, below 2.67 | 80 | 20 |" in made.card
    found = made.numbers["calibration"]
    assert (found["before"], found["after"]) == (first["before"], first["after"])
    assert made.numbers["dev"]["best"] == found["before"]["nll"]
    # Knowing nothing is log 3 = 1.1 nats, and a macro-F1 of a third.
    assert found["after"]["nll"] < 1
    assert found["after"]["macro_f1"] > 0.5
    assert found["after"]["ece"] < found["before"]["ece"]
    # What lies there is what was measured, but for the calibration and the last of half precision.
    grader = PairGrader.load(Backbone.load(tiny_folder, device="cpu", dtype="fp32"), folder)
    dev = rows("b", 20, seed=1)
    said = grader.scaled(Identity()).probabilities([(query, item) for query, item, _ in dev])
    labels = [int(score) - 1 for _, _, score in dev]
    assert nll(said, labels) == pytest.approx(found["before"]["nll"], rel=0.1)

    # The same command only saves it again; another seed is another run.
    again = train(words, cache, *FAST)
    assert (again["run"], again["after"], again["steps"]) == (
        first["run"],
        first["after"],
        first["steps"],
    )
    assert "licences" not in load_specialist(folder).training
    other = train(words, cache, *FAST, "--seed", "1")
    assert other["run"] != first["run"]


def test_what_is_said_for_people(words: list[str], tmp_path: Path) -> None:
    # A query in other clothes stays with its twin, or dev would stand in train.
    twins = [(f"{query.title()}!", item, score) for query, item, score in rows("a", 80)]
    write(tmp_path / "pairs.tsv", [*rows("a", 80), *twins])
    result = invoke(*without_dev(words), *FAST, env={"POINTSMAN_CACHE": str(tmp_path)})
    assert result.exit_code == 0, result.stderr
    said = result.stdout
    assert f"{tmp_path / 'graders' / 'shop'}: macro-F1 " in said
    assert "Expected calibration error 0." in said
    assert "408 training pairs of 68 queries, 72 dev pairs of 12 queries." in said
    assert "The dev queries were held out of the training queries." in said
    assert "Traceback" not in result.stderr


def test_all_that_can_be_chosen(words: list[str], tmp_path: Path) -> None:
    more = ["--head", "corn", "--soft", "--occ", "0.5", "--rho", "0.2", "--alpha", "0.4"]
    made = train(words, tmp_path, *FAST, *more, "--limit", "10")
    assert made["data"]["train"]["queries"] == 10
    assert made["data"]["levels"] == [1.0, 2.0, 3.0]
    specialist = load_specialist(tmp_path / "graders" / "shop", "grader")
    recipe = specialist.training["recipe"]
    assert (recipe["head"], specialist.settings["head"]) == ("corn", "corn")
    assert (recipe["objective"]["occ"], recipe["objective"]["rho"]) == (0.5, 0.2)
    assert specialist.training["alpha"] == made["alpha"] == 0.4
    assert "OCC of weight 0.5, ρ 0.2" in specialist.card
    assert "these weights stand at 0.4" in specialist.card
    assert "shared between the two grades" in specialist.card
    # Two of the five parts of the way: the adapter counts for so much less.
    [scale] = {pair.scale for pair in specialist.adapter.layers.values()}
    assert scale == pytest.approx(0.4 * recipe["alpha_lora"] / recipe["rank"])
    plain = train(words, tmp_path, *FAST, "--no-probing", "--smoothing", "0.1")
    assert plain["run"] != made["run"]
    specialist = load_specialist(tmp_path / "graders" / "shop")
    assert specialist.training["recipe"]["probing"] is False
    assert "fitted to the features" not in specialist.card
    assert "label smoothing 0.1" in specialist.card


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--cuts", "2.67,2"], 4, "the cuts between grades must rise"),
        (["--cuts", "2"], 4, "3 grades need 2 cuts between them, not 1"),
        (["--cuts", "2,high"], 2, "'2,high' are not numbers with commas between them"),
        (["--grades", "no,no,yes"], 4, "two grades are named 'no'"),
        (["--rho", "0.2"], 2, "is the smoothing of --occ; give both"),
        (["--occ", "1", "--smoothing", "0.1"], 4, "either label smoothing or OCC"),
        (["--occ", "1", "--rho", "0"], 4, "rho must be above 0"),
        (["--alpha", "0.5", "--no-probing"], 4, "without probing there is no path"),
        (["--alpha", "1.5"], 2, "--alpha"),
        (["--learning-rate", "0"], 4, "learning_rate must be above 0"),
        (["--head", "round"], 2, "'plain', 'cumulative', 'corn'"),
        (["--data", "pairs.csv"], 2, "is one file, or BEIR directories"),
        (["--cuts", "0,0.5"], 3, "all 240 pairs have the grade 'yes'"),
    ],
)
def test_what_cannot_be_asked_for(
    words: list[str], tmp_path: Path, more: list[str], code: int, said: str
) -> None:
    assert said in refusal(words, tmp_path, *more, code=code)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--grades", "are needed with a file of scores"),
        ("--cuts", "are needed with a file of scores"),
        ("--data", "Missing option '--data'"),
        ("--out", "Missing option '--out'"),
    ],
)
def test_what_must_be_given(words: list[str], tmp_path: Path, option: str, said: str) -> None:
    place = words.index(option)
    assert said in refusal(words[:place] + words[place + 2 :], tmp_path, code=2)


@pytest.mark.parametrize(
    ("name", "said"), [("pairs.csv", ".tsv or a .jsonl"), ("gone.tsv", "gone")]
)
def test_a_file_that_is_none(words: list[str], tmp_path: Path, name: str, said: str) -> None:
    place = words.index("--data") + 1
    assert said in refusal([*words[:place], name, *words[place + 1 :]], tmp_path)


def test_from_judged_collections(tmp_path: Path, tiny_folder: Path) -> None:
    """Mined pairs, and an adapter to begin with: a grader's own."""
    for name in ("one", "two"):
        documents = [
            Document(f"d{i}", f"{COLOURS[i % 8]} {COLOURS[i // 13]} {i} here {name}")
            for i in range(100)
        ]
        queries = [
            Query(f"q{i}", f"what is {COLOURS[i % 8]} {COLOURS[i // 13]} {i} {name}")
            for i in range(40)
        ]
        parts = {"train": range(30), "dev": range(30, 40)}
        qrels = {part: {f"q{i}": {f"d{i}": 1} for i in numbers} for part, numbers in parts.items()}
        write_beir(tmp_path / name, documents, queries, qrels)
    words = ["train", "grader", "mine", "--out", str(tmp_path / "graders")]
    words += ["--data", str(tmp_path / "one"), "--data", str(tmp_path / "two")]
    words += ["--backbone", str(tiny_folder)]
    begun = write_grader(tmp_path / "begun", Backbone.load(tiny_folder, dtype="fp32"))
    made = train(words, tmp_path, "--start", str(begun))
    assert made["grades"] == ["irrelevant", "related", "relevant"]
    specialist = load_specialist(tmp_path / "graders" / "mine", "grader")
    assert specialist.training["data"]["name"] == "one, two"
    assert specialist.training["recipe"]["start"] == "begun"
    assert "It began as the specialist 'begun'" in specialist.card
    assert set(specialist.adapter.layers) == set(load_specialist(begun).adapter.layers)
    shutil.rmtree(tmp_path / "graders")
    line = refusal([*words, "--grades", "a,b"], tmp_path / "other", code=2)
    assert "pairs from directories have grades of their own" in line
    assert "goes with a file of graded pairs" in refusal([*words, "--soft"], tmp_path, code=2)
    assert "gone: not a specialist" in refusal(
        [*words, "--start", "gone"], tmp_path / "more", code=6
    )


def test_queries_of_dev_among_those_of_training(words: list[str], tmp_path: Path) -> None:
    first = rows("a")[0]
    write(tmp_path / "dev.tsv", [*rows("b", 8), (f"{first[0].upper()}?", *first[1:])])
    line = refusal(words, tmp_path)
    assert f"{tmp_path / 'pairs.tsv'} holds 1 questions of a test part" in line
    assert repr(first[0]) in line


def test_data_that_will_not_do(words: list[str], tmp_path: Path) -> None:
    write(tmp_path / "dev.tsv", rows("b", 4))
    line = refusal(words, tmp_path)
    assert "dev.tsv: 4 dev queries are too few, 5 at least are needed" in line
    write(tmp_path / "dev.tsv", [row for row in rows("b", 8) if row[2] == 1.0])
    assert "dev pairs: all 8 pairs have the grade 'no'" in refusal(words, tmp_path)
    write(tmp_path / "pairs.tsv", rows("a", 9))
    line = refusal(without_dev(words), tmp_path)
    assert "of its 9 queries no more than 4 can be held out as dev" in line
    write(tmp_path / "dev.tsv", rows("b", 8))
    write(tmp_path / "pairs.tsv", [row for row in rows("a") if row[2] != 2.0])
    line = refusal(words, tmp_path, "--soft")
    assert "no training pair has the grade 'some', so none can be shared with it" in line
    (tmp_path / "pairs.tsv").write_text("query\titem\nwhat\tred\n", "utf-8")
    assert "pairs.tsv:1: the header row has no column 'score'" in refusal(words, tmp_path)
    (tmp_path / "pairs.tsv").write_text("query\titem\tscore\nwhat\tred\tvery\n", "utf-8")
    assert "pairs.tsv:2: a score is a number, not 'very'" in refusal(words, tmp_path)


def test_a_place_or_a_name_that_will_not_do_is_refused_before_anything_is_read(
    words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "pairs.tsv").unlink()
    for name in ("none", "default", "a/b", "..", "reader:law", ""):
        said = refusal([*words[:2], name, *words[3:]], tmp_path)
        assert "name" in said
        assert repr(name) in said
    check_others_folder_is_kept(words, tmp_path / "graders" / "shop")


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGINT from another process")
def test_ctrl_c_leaves_a_checkpoint_that_the_same_command_goes_on_from(
    words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Slowly, so that dev goes on improving and nothing stops it but Ctrl-C.
    long = [*words, "--epochs", "20", "--learning-rate", "0.0001", "--no-probing"]
    check_ctrl_c_keeps_a_checkpoint(long, run, tmp_path / "cache")
    assert not (tmp_path / "graders").exists()
    # Going on ends where a run ends that was never interrupted.
    resumed = train([*long, "--run", str(run)], tmp_path / "cache")
    whole = train([*long, "--run", str(tmp_path / "whole")], tmp_path / "cache")
    assert resumed["steps"] == whole["steps"]
    assert resumed["after"] == pytest.approx(whole["after"], abs=1e-6)
    shutil.rmtree(tmp_path / "graders")
    other = [*words, "--run", str(run), "--epochs", "1"]
    train(other, tmp_path / "cache", "--fresh")


def test_the_kinds_of_heads_are_those_that_there_are() -> None:
    assert {kind.value for kind in HeadName} == set(get_args(HeadKind))


def write_pool(path: Path, pairs: Sequence[Row]) -> Path:
    path.write_text("query\titem\n" + "".join(f"{q}\t{item}\n" for q, item, _ in pairs), "utf-8")
    return path


def test_it_learns_from_a_pool_that_nobody_labelled(words: list[str], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.tsv", [*rows("c", 30, seed=2), *rows("a", 80)[:6]])
    alone = train(words, tmp_path / "cache", *FAST)
    both = train(words, tmp_path / "cache", *FAST, "--pool", str(pool), "--teach")
    made = load_specialist(tmp_path / "graders" / "shop", "grader")
    # What has a label is not taught, and half as many steps more are taken.
    assert made.training["taught"] == 90
    assert "90 pairs more without a label, as it had graded them itself" in made.card
    assert both["steps"] > alone["steps"]
    assert both["after"] != alone["after"]
    assert both["after"]["macro_f1"] > 0.5


def test_wording_is_seen_unless_it_is_not_wanted(words: list[str], tmp_path: Path) -> None:
    widths = []
    for option in ("--wording", "--no-wording"):
        train(words, tmp_path / "cache", "--epochs", "1", option)
        made = load_specialist(tmp_path / "graders" / "shop", "grader")
        assert ("question's wording" in made.card) == (option == "--wording")
        widths.append(made.head["hidden.weight"].shape[1])
    assert widths[0] == widths[1] + 12


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--teach"], "needs pairs to learn from; give --pool"),
        (["--pool", "pool.tsv"], "goes with --labelled or --teach"),
        (["--labelled", "sheet.csv"], "goes with --pool, which it was picked from"),
    ],
)
def test_a_pool_that_is_for_nothing(
    words: list[str], tmp_path: Path, more: list[str], said: str
) -> None:
    assert said in refusal(words, tmp_path, *more, code=2)


def test_a_pool_of_devs_queries_is_refused(words: list[str], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.tsv", rows("b", 20, seed=1)[:4])
    line = refusal(words, tmp_path, "--pool", str(pool), "--teach")
    assert "pool.tsv: 2 of its queries stand in dev, such as 'what is" in line


def test_a_pool_that_is_labelled_already(words: list[str], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.tsv", rows("a", 80)[:6])
    line = refusal(words, tmp_path, "--pool", str(pool), "--teach")
    assert "every pair of it has a label; there is none to teach" in line


def test_all_weights_are_trained_where_that_is_asked_for(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "graders" / "shop"
    run = ["--run", str(tmp_path / "run")]
    found = train(words, tmp_path / "cache", *FAST, *run, "--full")
    assert found["grader"] == str(folder)
    assert found["grades"] == ["no", "some", "yes"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"probe", "tuned"}
    grader = load_pretrained(str(folder), device="cpu")
    pairs = [(query, item) for query, item, _ in rows("b", 20, seed=1)]
    assert grader.probabilities(pairs).shape == (60, 3)
    assert "--full" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    "more", [["--wording"], ["--head", "corn"], ["--start", "reader"], ["--teach"]]
)
def test_what_goes_with_an_adapter_alone(words: list[str], tmp_path: Path, more: list[str]) -> None:
    pool = ["--pool", words[words.index("--data") + 1]] if "--teach" in more else []
    said = refusal(words, tmp_path, "--full", *more, *pool, code=2)
    assert "are of an adapter and its head" in said
