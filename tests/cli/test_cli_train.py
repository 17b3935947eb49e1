"""train reader: real runs of a very small encoder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import invoke, start

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist
from pointsman.cli.train_reader import run_name
from pointsman.cli.training import interruptible
from pointsman.data.squad import write_squad
from pointsman.data.testbed import READING_SETS
from pointsman.read.recipe import Recipe
from pointsman.types import ReadingExample

LETTERS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
COLOURS = ("red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "silver")


def examples(part: str, n: int) -> list[ReadingExample]:
    """What is the colour of a letter, with another number of letters before it in every question."""
    made = []
    for i in range(n):
        letter, colour = LETTERS[i % 10], COLOURS[(i * 7 + i // 10) % 10]
        context = f"the colour of {letter} is {colour}. here comes {part} {i}."
        made.append(
            ReadingExample(
                id=f"{part}-{i}",
                question=f"what is the colour of {letter} {part} {i}",
                context=context,
                answers=(colour,),
                starts=(context.index(colour),),
            )
        )
    return made


@pytest.fixture
def command(tmp_path: Path, tiny_folder: Path) -> list[str]:
    """A command that trains on 24 questions, with checkpoints in a directory of the test's."""
    write_squad(tmp_path / "train.json", examples("a", 24))
    write_squad(tmp_path / "dev.json", examples("b", 6))
    names = {
        "--train": tmp_path / "train.json",
        "--dev": tmp_path / "dev.json",
        "--out": tmp_path / "readers",
        "--backbone": tiny_folder,
        "--epochs": 1,
        "--rank": 2,
        "--batch-size": 8,
    }
    return ["train", "reader", *(str(word) for pair in names.items() for word in pair)]


def train(command: list[str], cache: Path, *more: str) -> dict[str, object]:
    result = invoke(*command, *more, "--json", env={"POINTSMAN_CACHE": str(cache)})
    assert result.exit_code == 0, result.stderr
    trained = json.loads(result.stdout)
    assert isinstance(trained, dict)
    return trained


def test_a_reader_learns_from_another_and_without_practice(
    command: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    train(command, cache, "--name", "first")
    first = tmp_path / "readers" / "first"
    card = (first / "README.md").read_text(encoding="utf-8")
    assert "practised on questions made from the sentences" in card
    train(command, cache, "--name", "second", "--no-pretrain", "--teacher", str(first))
    second = load_specialist(tmp_path / "readers" / "second", "reader")
    assert second.training["recipe"]["teachers"] == ["first"]
    assert second.training["recipe"]["clozes"] == 0
    assert "practised" not in second.card
    assert "distributions of first" in second.card
    train(command, cache, "--name", "third", "--start", str(first), "--dropout", "0")
    third = load_specialist(tmp_path / "readers" / "third", "reader")
    assert third.training["recipe"]["start"] == "first"
    assert third.training["recipe"]["clozes"] == 0
    assert third.training["recipe"]["dropout"] == 0
    assert "began as the reader first" in third.card
    train(command, cache, "--name", "shallow", "--layers", "1", "--teacher", str(first))
    shallow = load_specialist(tmp_path / "readers" / "shallow", "reader")
    assert shallow.settings["layers"] == 1
    deeper = invoke(*command, "--name", "deeper", "--layers", "9")
    assert deeper.exit_code == 4
    assert "--layers: this encoder has 2, not 9" in deeper.stderr
    result = invoke(*command, "--teacher", str(tmp_path))
    assert result.exit_code != 0
    assert "not a specialist" in result.stderr


def test_two_processes_make_one_reader(command: list[str], tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "pointsman", *command, "--json"],
        env={**os.environ, "POINTSMAN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    # One of them speaks.
    trained = json.loads(done.stdout)
    made = load_specialist(Path(trained["reader"]), "reader")
    assert made.training["train"] == {"train.json": 24}
    (run,) = (tmp_path / "cache" / "runs").iterdir()
    assert (run / "log.jsonl").is_file()


def test_training_goes_on_from_its_own_run_and_makes_a_reader(
    command: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = train(command, cache, "--name", "colours")
    assert first["reader"] == str(tmp_path / "readers" / "colours")
    run = Path(str(first["run"]))
    assert run.parent == cache / "runs"
    made = load_specialist(tmp_path / "readers" / "colours", "reader")
    assert made.training["train"] == {"train.json": 24}
    assert made.training["dev"] == {"dev.json": 6}
    assert made.training["recipe"]["rank"] == 2
    # The alpha of the recipe belongs to its rank.
    assert made.training["recipe"]["alpha"] == 2 * Recipe().alpha / Recipe().rank
    assert str(tmp_path) not in json.dumps(made.training) + made.card
    assert "--train train.json" in made.training["command"]
    # The run is complete: the same command only saves it again.
    again = train(command, cache, "--name", "colours")
    assert (again["run"], again["steps"]) == (first["run"], first["steps"])
    assert again["history"] == first["history"]
    # Another seed is another run.
    other = train(command, cache, "--name", "colours", "--seed", "1")
    assert other["run"] != first["run"]


def test_a_named_run_is_held_to_its_plan_until_it_is_started_afresh(
    command: list[str], tmp_path: Path
) -> None:
    run = ["--run", str(tmp_path / "run")]
    train(command, tmp_path, *run)
    (tmp_path / "run" / "notes.txt").write_text("mine", "utf-8")
    refused = invoke(*command, *run, "--learning-rate", "0.01")
    assert refused.exit_code == 4
    assert "another learning_rate" in refused.stderr
    fresh = train(command, tmp_path, *run, "--learning-rate", "0.01", "--fresh")
    assert fresh["run"] == str(tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text("utf-8") == "mine"


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGINT from another process")
def test_ctrl_c_leaves_a_checkpoint(command: list[str], tmp_path: Path) -> None:
    write_squad(tmp_path / "train.json", examples("a", 600))
    run = tmp_path / "run"
    long = [*command, "--batch-size", "1", "--run", str(run)]
    process = start(*long)
    while process.poll() is None and not any(run.glob("checkpoint-*/state.pt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == (
        f"interrupted; a checkpoint is in {run}, and the same command goes on from there"
    )
    assert "Traceback" not in stderr
    assert any(run.glob("checkpoint-*/state.pt"))
    assert not (tmp_path / "readers").exists()


def test_ctrl_c_finds_a_run_that_began_within_a_folder_of_runs(tmp_path: Path) -> None:
    runs = tmp_path / "answers.jsonl.runs"
    kept = runs / "rejector-1" / "checkpoint-00000001"

    def train_some() -> None:
        kept.mkdir(parents=True)
        (kept / "state.pt").write_bytes(b"")
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt, match=re.escape(f"a checkpoint is in {kept.parent},")),
        interruptible(runs),
    ):
        train_some()
    with (
        pytest.raises(KeyboardInterrupt, match="before there was anything to keep"),
        interruptible(tmp_path / "nothing"),
    ):
        raise KeyboardInterrupt


def test_limit_takes_the_same_few_every_time(command: list[str], tmp_path: Path) -> None:
    first = train(command, tmp_path, "--limit", "5")
    made = load_specialist(tmp_path / "readers" / "reader")
    assert made.training["train"] == {"train.json": 5}
    assert train(command, tmp_path, "--limit", "5")["run"] == first["run"]


def test_dev_questions_among_the_training_questions_are_refused(
    command: list[str], tmp_path: Path
) -> None:
    write_squad(tmp_path / "dev.json", examples("a", 1))
    result = invoke(*command)
    assert result.exit_code == 3
    assert "take them out before training" in result.stderr
    assert "what is the colour of alpha a 0" in result.stderr


def test_a_place_that_is_taken_is_refused_before_anything_is_read(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "readers" / "reader").mkdir(parents=True)
    (tmp_path / "readers" / "reader" / "diary.txt").write_text("mine", "utf-8")
    (tmp_path / "train.json").unlink()
    result = invoke(*command)
    assert result.exit_code == 6
    assert "is not a specialist, so it is not replaced" in result.stderr
    assert (tmp_path / "readers" / "reader" / "diary.txt").read_text("utf-8") == "mine"


def test_files_that_are_no_use(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"data": []}', "utf-8")
    empty = invoke(*command)
    assert (empty.exit_code, "no questions in it" in empty.stderr) == (3, True)
    (tmp_path / "train.json").write_text("[]", "utf-8")
    wrong = invoke(*command)
    assert (wrong.exit_code, "not a SQuAD file" in wrong.stderr) == (3, True)
    bed = invoke("train", "reader", "--data", tmp_path, "--out", tmp_path / "readers")
    assert (bed.exit_code, "not the test bed" in bed.stderr) == (3, True)


def test_a_run_is_named_by_data_recipe_and_base_alone(tiny_folder: Path) -> None:
    backbone = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    train, dev = {"a": examples("a", 3), "b": examples("b", 2)}, {"c": examples("c", 2)}
    name = run_name(train, dev, Recipe(), backbone)
    assert name == run_name(dict(reversed(train.items())), dev, Recipe(), backbone)
    changed = replace(train["a"][0], answers=("gold",))
    recipe = Recipe()
    others = [
        run_name(dev, train, recipe, backbone),
        run_name({**train, "a": [changed, *train["a"][1:]]}, dev, recipe, backbone),
        run_name({"a": train["a"]}, {"b": train["b"], **dev}, recipe, backbone),
        run_name(train, dev, replace(recipe, rank=8), backbone),
        run_name(train, dev, replace(recipe, plan=replace(recipe.plan, seed=1)), backbone),
    ]
    assert len({name, *others}) == 6


def test_help_names_the_recipes_own_numbers() -> None:
    text = " ".join(invoke("train", "reader", "--help", env={"COLUMNS": "200"}).stdout.split())
    recipe = Recipe()
    for flag, value in {
        "--epochs": recipe.plan.epochs,
        "--rank": recipe.rank,
        "--learning-rate": recipe.plan.learning_rate,
        "--batch-size": recipe.batch_size,
        "--seed": recipe.plan.seed,
    }.items():
        described = text.partition(f"│ {flag} ")[2].partition("│")[0]
        assert f"By default {value:g}." in described, flag


@pytest.mark.data
def test_training_on_the_test_bed(data_dir: Path, tmp_path: Path, tiny_folder: Path) -> None:
    command = ["train", "reader", "--data", str(data_dir), "--out", str(tmp_path / "readers")]
    command += ["--backbone", str(tiny_folder), "--limit", "4", "--epochs", "1"]
    train(command, tmp_path / "cache")
    made = load_specialist(tmp_path / "readers" / "reader", "reader")
    assert made.training["train"] == {each.name: 4 for each in READING_SETS if each.ships}
    assert "CC BY-SA 4.0" in made.card
    assert "--data DATA" in made.training["command"]
