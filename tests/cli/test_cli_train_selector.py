"""train selector, train selection: real runs of a very small encoder on questions written to disk."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import (
    check_ctrl_c_keeps_a_checkpoint,
    check_others_folder_is_kept,
    refused,
    train,
    write_reader,
)

from graded import COLOURS, GREEK
from letters import article, write_articles
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist
from pointsman.joint.looking import load_selector
from pointsman.read.reader import SpanReader
from pointsman.select.selector import ListSelector
from pointsman.types import Passage


def squad(path: Path, numbers: range, seed: int) -> Path:
    rng = random.Random(seed)
    return write_articles(path, [article(number, rng, 4) for number in numbers])


def hops(path: Path, numbers: range, seed: int) -> Path:
    """Questions with four paragraphs of their own, two of which support the answer."""
    rng = random.Random(seed)
    lines = []
    for number in numbers:
        letters, colours = rng.sample(GREEK, 4), rng.sample(COLOURS, 4)
        paragraphs = [
            {
                "title": letter,
                "text": f"after {letter} {number} comes {colour}",
                "is_supporting": i < 2,
            }
            for i, (letter, colour) in enumerate(zip(letters, colours, strict=True))
        ]
        rng.shuffle(paragraphs)
        lines.append(
            {
                "id": str(number),
                "question": f"what follows {letters[0]} {number}",
                "answers": [colours[0]],
                "paragraphs": paragraphs,
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def words(tmp_path: Path, tiny_folder: Path) -> list[str]:
    names = {
        "--train": squad(tmp_path / "train.json", range(10), seed=1),
        "--dev": squad(tmp_path / "dev.json", range(10, 14), seed=2),
        "--out": tmp_path / "made",
        "--reader": write_reader(tmp_path / "reader", tiny_folder),
        "--candidates": 6,
        "--passages": 3,
        "--backbone": tiny_folder,
    }
    return ["selector", "first", *(str(word) for pair in names.items() for word in pair)]


def command(words: list[str]) -> list[str]:
    return ["train", *words]


def together(words: list[str]) -> list[str]:
    return ["train", "selection", *words[1:]]


def without(words: list[str], flag: str) -> list[str]:
    place = words.index(flag)
    return words[:place] + words[place + 2 :]


def refusal(words: Sequence[str], tmp_path: Path, *more: str, code: int = 3) -> str:
    """The one line that is said; nothing is written."""
    line = refused(words, tmp_path / "cache", *more, code=code)
    assert not (tmp_path / "made").exists()
    return line


def test_a_selector_learns_and_says_where_it_comes_from(
    words: list[str], tmp_path: Path, tiny_folder: Path
) -> None:
    fast = ["--epochs", "3", "--learning-rate", "0.01", "--licence", "CC0", "--policy", "pointer"]
    made = train(command(words), tmp_path / "cache", *fast)
    folder = tmp_path / "made" / "first"
    assert made["folders"] == [str(folder)]
    assert made["kept"] == 1
    before, after = made["history"]
    assert after["recall@1"] > max(80, before["recall@1"])
    specialist = load_specialist(folder, "selector")
    assert specialist.settings == {
        "policy": "pointer",
        "passages": 3,
        "max_length": 256,
        "belief": 1.0,
    }
    assert specialist.training["data"] == {
        "name": "train.json",
        "train": 40,
        "dev": 16,
        "candidates": 6,
        "licence": "CC0",
    }
    assert specialist.numbers["dev"]["best"] == after["f1"]
    for part in ("40 training questions", "CC0", "one passage after the other", "| 1 (kept) |"):
        assert part in specialist.card
    assert str(tmp_path) not in specialist.card
    backbone = Backbone.load(tiny_folder, device="cpu")
    selector = ListSelector.load(backbone, folder)
    passages = [Passage(str(i), f"after {letter} 3 comes red") for i, letter in enumerate(GREEK)]
    (chosen,) = selector.select(
        ["what follows gamma 3"], [passages], [np.ones(len(passages), np.float32)]
    )
    assert 1 <= len(chosen.order) <= 3
    # The same command goes on from the run that is there, and gives the same.
    shutil.rmtree(tmp_path / "made")
    again = train(command(words), tmp_path / "cache", *fast)
    assert again["history"] == made["history"]


def test_a_selector_that_looks_first(words: list[str], tmp_path: Path, tiny_folder: Path) -> None:
    made = train(command(words), tmp_path / "cache", "--policy", "look", "--licence", "CC0")
    folder = tmp_path / "made" / "first"
    assert (made["folders"], made["kept"], made["run"]) == ([str(folder)], 1, None)
    before, after = made["history"]
    # The first as they came against what answers best: the reader is the same.
    assert after["f1"] >= before["f1"]
    specialist = load_specialist(folder, "selector")
    assert specialist.settings["policy"] == "look"
    for part in ("after a first look", "| words found |", "40 training questions", "CC0"):
        assert part in specialist.card
    assert str(tmp_path) not in specialist.card
    selector = load_selector(Backbone.load(tiny_folder, device="cpu"), folder)
    passages = [Passage(str(i), f"after {letter} 3 comes red") for i, letter in enumerate(GREEK)]
    (chosen,) = selector.select(
        ["what follows gamma 3"], [passages], [np.ones(len(passages), np.float32)]
    )
    assert len(chosen.order) == 3
    assert chosen.gflops > 0
    begun = together([*without(words, "--passages"), "--selector", str(folder)])
    said = refused([*begun[:2], "second", *begun[3:]], tmp_path / "cache", code=3)
    assert "does not learn with the reader" in said


def test_what_means_nothing_to_a_look_is_refused(words: list[str], tmp_path: Path) -> None:
    looking = [*command(words), "--policy", "look"]
    for more in (["--epochs", "3"], ["--frozen"], ["--belief", "0.5"]):
        said = refusal(looking, tmp_path, *more, code=2)
        assert f"--policy look takes no {more[0]}" in said


@pytest.mark.parametrize("policy", ["sets", "pointer"])
def test_selector_and_reader_are_trained_together(
    words: list[str], tmp_path: Path, tiny_folder: Path, policy: str
) -> None:
    few = ["--iterations", "2", "--samples", "2", "--policy", policy, "--frozen"]
    made = train(together(words), tmp_path / "cache", *few)
    assert made["folders"] == [str(tmp_path / "made" / name) for name in ("first", "first-reader")]
    assert len(made["history"]) == 3
    best = max(each["f1"] for each in made["history"])
    assert made["history"][made["kept"]]["f1"] == best
    reader = load_specialist(tmp_path / "made" / "first-reader", "reader")
    assert reader.training["recipe"]["iterations"] == 2
    assert "trained together by EM" in reader.card
    assert "with which it was trained" in reader.card
    for part in ("selector's entropy before", "questions that taught nothing"):
        assert part in reader.card
    assert made["history"][1]["entropy"] > 0
    assert made["history"][1]["unanswered"] >= 0
    backbone = Backbone.load(tiny_folder, device="cpu")
    SpanReader.load(backbone, tmp_path / "made" / "first-reader")
    selector = ListSelector.load(backbone, tmp_path / "made" / "first")
    assert selector.settings.policy == policy
    # Begun as a trained selector, its own settings count.
    begun = [
        *("--selector", str(tmp_path / "made" / "first"), "--iterations", "1"),
        *("--trains", "reader"),
    ]
    shutil.copytree(tmp_path / "made" / "first", tmp_path / "kept")
    begun[1] = str(tmp_path / "kept")
    said = refused(together(words), tmp_path / "cache", *begun, code=2)
    assert "--selector takes no --passages" in said
    more = train(together(without(words, "--passages")), tmp_path / "cache", *begun)
    assert len(more["history"]) == 2
    head = load_specialist(tmp_path / "made" / "first", "selector").head
    for name, tensor in load_specialist(tmp_path / "kept", "selector").head.items():
        assert (tensor == head[name]).all()


def test_questions_with_paragraphs_of_their_own(words: list[str], tmp_path: Path) -> None:
    given = {
        "--train": hops(tmp_path / "train.jsonl", range(20), seed=1),
        "--dev": hops(tmp_path / "dev.jsonl", range(20, 28), seed=2),
    }
    changed = list(words)
    for flag, path in given.items():
        changed[changed.index(flag) + 1] = str(path)
    made = train(command(changed), tmp_path / "cache", "--epochs", "1", "--start", "none")
    specialist = load_specialist(tmp_path / "made" / "first", "selector")
    assert specialist.training["data"]["candidates"] == 4
    assert len(made["history"]) == 2
    joined = ["--joined", "--looks", "likeliest", "--iterations", "1", "--frozen"]
    run = tmp_path / "run"
    train(together(changed), tmp_path / "cache", *joined, "--run", str(run))
    reader = load_specialist(tmp_path / "made" / "first-reader", "reader")
    assert reader.settings["joined"]
    assert "4 likeliest selections of each question" in reader.card
    selector = load_specialist(tmp_path / "made" / "first", "selector")
    assert selector.settings["policy"] == "pointer"
    # It had read passages one at a time so far, and is taught by marked ones together first.
    assert any((run / "reader").glob("checkpoint-*"))
    mixed = [*changed, "--train", str(tmp_path / "train.json")]
    shutil.rmtree(tmp_path / "made")
    assert "not both" in refusal(command(mixed), tmp_path)


def test_from_answers_alone_where_no_passage_is_marked(words: list[str], tmp_path: Path) -> None:
    """And more iterations go on after those that are there."""
    changed = list(words)
    for flag, numbers in (("--train", range(20)), ("--dev", range(20, 28))):
        path = hops(tmp_path / f"{flag[2:]}.jsonl", numbers, seed=1)
        text = path.read_text("utf-8").replace('"is_supporting": true', '"is_supporting": false')
        path.write_text(text, "utf-8")
        changed[changed.index(flag) + 1] = str(path)
    few = ["--frozen", "--epochs", "2", "--selector-rate", "0.01", "--reader-rate", "0.001"]
    made = train(together(changed), tmp_path / "cache", *few, "--iterations", "1")
    (kept,) = (tmp_path / "cache").rglob("iteration-1/estimate.npz")
    stamp = kept.stat().st_mtime_ns
    more = train(together(changed), tmp_path / "cache", *few, "--iterations", "2")
    assert more["history"][:2] == made["history"]
    assert len(more["history"]) == 3
    assert kept.stat().st_mtime_ns == stamp
    recipe = load_specialist(tmp_path / "made" / "first", "selector").training["recipe"]
    assert recipe["selector_plan"]["epochs"] == recipe["reader_plan"]["epochs"] == 2
    assert recipe["selector_plan"]["learning_rate"] == 0.01
    assert recipe["reader_plan"]["learning_rate"] == 0.001
    assert "no question has a passage" in refused(command(changed), tmp_path / "cache", code=3)


def test_ctrl_c_leaves_what_both_have_learned(words: list[str], tmp_path: Path) -> None:
    long = [*together(words), "--frozen", "--samples", "2"]
    slow = ["--selector-rate", "0.0001", "--reader-rate", "0.0001"]
    check_ctrl_c_keeps_a_checkpoint(
        [*long, *slow, "--epochs", "200"],
        tmp_path / "run",
        tmp_path / "cache",
        within="iteration-1",
    )


def test_ctrl_c_leaves_a_checkpoint(words: list[str], tmp_path: Path) -> None:
    long = [*command(words), "--epochs", "200", "--learning-rate", "0.0001"]
    check_ctrl_c_keeps_a_checkpoint(long, tmp_path / "run", tmp_path / "cache")
    train([*words_with_run(words, tmp_path)], tmp_path / "cache", "--fresh", "--epochs", "1")


def words_with_run(words: list[str], tmp_path: Path) -> list[str]:
    return [*command(words), "--run", str(tmp_path / "run")]


def test_fresh_drops_a_run_and_nothing_else(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "diary.txt").write_text("mine", "utf-8")
    few = ["--iterations", "1", "--frozen", "--run", str(run)]
    train(together(words), tmp_path / "cache", *few)
    assert (run / "iteration-1" / "estimate.npz").is_file()
    stamp = (run / "iteration-1" / "estimate.npz").stat().st_mtime_ns
    train(together(words), tmp_path / "cache", *few, "--fresh")
    assert (run / "iteration-1" / "estimate.npz").stat().st_mtime_ns > stamp
    assert (run / "diary.txt").read_text("utf-8") == "mine"


def test_what_cannot_be_used_is_refused(words: list[str], tmp_path: Path) -> None:
    dev = words[words.index("--dev") + 1]
    said = refusal(command(words), tmp_path, "--train", dev)
    assert "question" in said
    assert "'../x' is not a name" in refusal(["train", "selector", "../x", *words[2:]], tmp_path)
    assert "means something to the settings" in refusal(
        ["train", "selector", "none", *words[2:]], tmp_path
    )
    empty = tmp_path / "empty.json"
    empty.write_text('{"version": "1.1", "data": []}', "utf-8")
    changed = list(words)
    changed[changed.index("--dev") + 1] = str(empty)
    assert "no question with an answer in it" in refusal(command(changed), tmp_path)
    line = refusal(together(words), tmp_path, "--joined", "--policy", "sets", code=2)
    assert "take --policy pointer" in line
    many = ["--candidates", "60", "--passages", "5"]
    line = refusal(together(words), tmp_path, *many, code=2)
    assert "5,985,197 sets of up to 5 among 60 candidates" in line
    line = refusal(together(words), tmp_path, "--looks", "likeliest", code=2)
    assert "--policy sets counts every set" in line
    elsewhere = squad(tmp_path / "elsewhere.json", range(50, 52), seed=3)
    said = refusal(command(words), tmp_path, "--collection", str(elsewhere))
    assert "the collection does not hold the paragraph of question" in said


def test_somebodys_folder_is_not_replaced(words: list[str], tmp_path: Path) -> None:
    check_others_folder_is_kept(command(words), tmp_path / "made" / "first")
    shutil.rmtree(tmp_path / "made")
    check_others_folder_is_kept(together(words), tmp_path / "made" / "first-reader")
