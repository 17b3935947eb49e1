"""label: from a pool to a sheet, from the sheet to a grader that was trained on it as well."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import invoke

from domains import COLOURS, LETTERS
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist, save_specialist
from pointsman.cli.label import By, Distance
from pointsman.data.graded import read_pairs
from pointsman.data.labels import BY, read_labels
from pointsman.grade.acquire import DISTANCES
from pointsman.grade.augment import STRATEGIES
from pointsman.grade.grader import PairGrader
from spaces import write_grader
from tiny import write_causal, write_classifier

GRADES = ("no", "some", "yes")
Row = dict[str, Any]


def rows(part: str, queries: int, seed: int, words: Sequence[str] = COLOURS) -> list[Row]:
    """Three pairs a query: the word that it names, another one, and a letter."""
    rng = random.Random(seed)
    made = []
    for i in range(queries):
        word, other = rng.sample(list(words), 2)
        for score, item in ((3, word), (2, other), (1, rng.choice(LETTERS))):
            query = f"what is {word} {part} {i}"
            made.append({"query": query, "text": f"here comes {item}", "score": score})
    return made


def write(path: Path, pairs: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs), "utf-8")
    return path


def as_pool(pairs: Sequence[Row]) -> list[Row]:
    """Without what is to be found out."""
    return [
        {"id": f"-{i}", "query": row["query"], "text": row["text"]} for i, row in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A grader of random weights with the grades no, some, yes."""
    backbone = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    return write_grader(tmp_path_factory.mktemp("graders") / "larger", backbone)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Training pairs, dev, and a pool about letters, which training does not ask for."""
    write(tmp_path / "train.jsonl", rows("a", 30, 0))
    write(tmp_path / "dev.jsonl", rows("b", 8, 1))
    write(tmp_path / "pool.jsonl", as_pool(rows("c", 20, 2, LETTERS)))
    return tmp_path


def picking(files: Path, grader: Path, tiny_folder: Path, *more: object) -> list[str]:
    names = ["--grader", grader, "--train", files / "train.jsonl", "--backbone", tiny_folder]
    words = ["label", "pick", files / "pool.jsonl", *names, "--out", files / "sheet.csv"]
    return [str(word) for word in (*words, *more)]


def training(files: Path, tiny_folder: Path, name: str, *more: object) -> list[str]:
    names = [
        "--data",
        files / "train.jsonl",
        "--dev",
        files / "dev.jsonl",
        "--grades",
        "no,some,yes",
    ]
    where = ["--cuts", "1.5,2.5", "--out", files / "graders", "--backbone", tiny_folder]
    fast = ["--epochs", "1", "--learning-rate", "0.003", "--no-probing"]
    return [str(word) for word in ("train", "grader", name, *names, *where, *fast, *more)]


def said(words: Sequence[str], files: Path) -> str:
    result = invoke(*words, env={"POINTSMAN_CACHE": str(files / "cache")})
    assert result.exit_code == 0, result.stderr
    return result.stdout


def document(words: Sequence[str], files: Path) -> dict[str, Any]:
    made = json.loads(said([*words, "--json"], files))
    assert isinstance(made, dict)
    return made


def refusal(words: Sequence[str], files: Path, code: int = 3) -> str:
    """The one line that is said; no sheet is written."""
    before = sorted(files.glob("*.csv"))
    result = invoke(*words, env={"POINTSMAN_CACHE": str(files / "cache")})
    assert result.exit_code == code, result.stderr or result.stdout
    assert result.stderr.count("\n") == 1
    assert sorted(files.glob("*.csv")) == before
    assert not (files / "cache" / "runs").exists()
    return result.stderr


def filled(sheet: Path, label: Callable[[Mapping[str, str]], str], out: Path | None = None) -> Path:
    """What a person does in a spreadsheet: looks at every row, and writes into its last column."""
    with sheet.open(encoding="utf-8-sig", newline="") as opened:
        header, *body = csv.reader(opened)
    for cells in body:
        cells[header.index("grade (0 no | 1 some | 2 yes)")] = label(
            dict(zip(header, cells, strict=True))
        )
    with (out or sheet).open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([header, *body])
    return out or sheet


def judged(row: Mapping[str, str]) -> str:
    """By the rule that the pool was made by."""
    item = row["text"].split()[-1]
    return "yes" if item in row["query"].split() else "no"


def test_pick_fill_in_and_train(files: Path, tiny_folder: Path) -> None:
    """From end to end, with a grader that knows where its grades begin."""
    train, pool, sheet = (files / name for name in ("train.jsonl", "pool.jsonl", "sheet.csv"))
    said(training(files, tiny_folder, "first"), files)
    grader = files / "graders" / "first"
    window = ["--by", "distance", "--low", "0", "--high", "1"]
    shown = said(picking(files, grader, tiny_folder, "--budget", 9, *window), files)
    assert f"{sheet}: 9 pairs to label with no, some, yes." in shown
    assert " of 60 pairs lie inside the windows" in shown
    with sheet.open(encoding="utf-8-sig", newline="") as opened:
        found = list(csv.DictReader(opened))
    assert len({row["id"] for row in found}) == 9
    by_id = {pair.id: pair for pair in read_pairs(pool)}
    for row in found:  # the ids begin with a minus, which a spreadsheet takes for a formula
        assert by_id[row["id"].removeprefix("'")].query == row["query"]
    # A person leaves one out.
    first = found[0]["id"]
    filled(sheet, lambda row: "" if row["id"] == first else judged(row))
    more = ["--labelled", sheet, "--pool", pool]
    line = refusal_of_training(training(files, tiny_folder, "second", *more), files)
    assert "1 of 9 pairs have no label, first" in line
    made = document(training(files, tiny_folder, "second", *more, "--allow-missing"), files)
    labels = read_labels(sheet, list(by_id.values()), GRADES, allow_missing=True, some=True)
    counts = [int((labels.labels == grade).sum()) for grade in range(3)]
    assert sum(counts) == 8
    record = made["data"]
    assert record["labelled"]["sheet"] == "sheet.csv"
    assert record["labelled"]["pairs"] == 8
    assert record["labelled"]["automatic"] == 0
    assert record["labelled"]["grades"] == dict(zip(GRADES, counts, strict=True))
    # 30 of each grade in the file, and what was labelled.
    assert record["train"]["pairs"] == 98
    assert list(record["train"]["grades"].values()) == [30 + count for count in counts]
    specialist = load_specialist(files / "graders" / "second", "grader")
    assert specialist.training["data"] == record
    assert "8 of the training pairs, of " in specialist.card
    assert "were picked from an unlabelled pool and labelled in sheet.csv.\n" in specialist.card
    assert "a grader's, not people's" not in specialist.card
    assert str(files) not in specialist.card
    assert "labelled" not in load_specialist(grader).training["data"]
    assert "unlabelled pool" not in load_specialist(grader).card
    # The file of training pairs is as it was.
    assert len(train.read_text("utf-8").splitlines()) == 90


def refusal_of_training(words: Sequence[str], files: Path) -> str:
    """A training that is refused leaves no grader of that name."""
    result = invoke(*words, env={"POINTSMAN_CACHE": str(files / "cache")})
    assert result.exit_code == 3, result.stderr or result.stdout
    assert result.stderr.count("\n") == 1
    assert not (files / "graders" / words[2]).exists()
    return result.stderr


def test_a_larger_grader_fills_in_what_people_left(
    files: Path, untrained: Path, tiny_folder: Path
) -> None:
    sheet, pool = files / "sheet.csv", list(read_pairs(files / "pool.jsonl"))
    said(picking(files, untrained, tiny_folder, "--budget", 12, "--by", "random"), files)
    with sheet.open(encoding="utf-8-sig", newline="") as opened:
        ids = [row["id"] for row in csv.DictReader(opened)]
    theirs = dict(zip(ids, ["yes", "0", "some"], strict=False))
    filled(sheet, lambda row: theirs.get(row["id"], ""))
    fill = ["label", "fill", str(sheet), "--grader", str(untrained), "--backbone", str(tiny_folder)]
    out = files / "out.csv"
    shown = said([*fill, "--out", str(out)], files)
    assert f"{out}: 9 labels filled in by the grader larger, not by people" in shown
    assert "3 labels stay as they were." in shown
    # People's are theirs to the letter, all others the likeliest grades.
    grader = PairGrader.load(Backbone.load(tiny_folder, device="cpu", dtype="fp32"), untrained)
    best = grader.probabilities([(pair.query, pair.content) for pair in pool]).argmax(axis=1)
    places = {pair.id: place for place, pair in enumerate(pool)}
    with out.open(encoding="utf-8-sig", newline="") as opened:
        for row in csv.DictReader(opened):
            label, by = row["grade (0 no | 1 some | 2 yes)"], row[BY]
            if row["id"] in theirs:
                assert (label, by) == (theirs[row["id"]], "")
            else:
                grade = best[places[row["id"].removeprefix("'")]]
                assert (label, by) == (f"{grade} {GRADES[grade]}", "grader larger")
    made = document([*fill, "--out", str(files / "json.csv")], files)
    assert (made["filled"], made["kept"], made["grader"]) == (9, 3, "larger")
    assert (files / "json.csv").read_bytes() == out.read_bytes()
    # Whose labels they are goes on to the card.
    more = ["--labelled", out, "--pool", files / "pool.jsonl"]
    shown = said(training(files, tiny_folder, "third", *more), files)
    assert "12 of the training pairs were labelled in out.csv, 9 of them by a grader" in shown
    specialist = load_specialist(files / "graders" / "third")
    assert specialist.training["data"]["labelled"]["automatic"] == 9
    assert "9 of these labels are a grader's, not people's." in specialist.card
    assert "there is nothing to fill in" in refused(
        ["label", "fill", str(out), *fill[3:], "--out", str(files / "more.csv")]
    )


def refused(words: Sequence[str], code: int = 3) -> str:
    result = invoke(*words)
    assert result.exit_code == code, result.stderr or result.stdout
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_language_model_fills_a_sheet_in(files: Path, untrained: Path, tiny_folder: Path) -> None:
    """It is asked for the grades' own names."""
    from pointsman.grade.pretrained import load_pretrained

    sheet, model = files / "sheet.csv", write_causal(files / "writer")
    said(picking(files, untrained, tiny_folder, "--budget", 4, "--by", "random"), files)
    fill = ["label", "fill", str(sheet), "--grader", f"hf:{model}", "--out", str(files / "o.csv")]
    shown = said([*fill, "--grades", ",".join(GRADES)], files)
    assert "4 labels filled in by the grader writer, not by people" in shown
    with (files / "o.csv").open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    pairs = [(row["query"], row["text"]) for row in rows]
    best = load_pretrained(str(model), GRADES).probabilities(pairs).argmax(axis=1)
    labels = [row["grade (0 no | 1 some | 2 yes)"] for row in rows]
    assert labels == [f"{grade} {GRADES[grade]}" for grade in best.tolist()]
    (files / "o.csv").unlink()
    assert "goes with hf:MODEL" in refusal(fill, files, code=2)
    classifier = write_classifier(files / "two", 2)
    fill[4] = f"hf:{classifier}"
    assert "2 grades, not 3" in refusal([*fill, "--grades", ",".join(GRADES)], files, code=4)


def test_a_sheet_that_no_grader_may_fill_in(
    files: Path, untrained: Path, tiny_folder: Path
) -> None:
    sheet = files / "sheet.csv"
    fill = [
        "label",
        "fill",
        str(sheet),
        "--grader",
        str(untrained),
        "--out",
        str(files / "out.csv"),
    ]
    sheet.write_text("id,query,title,text,grade (0 bad | 1 good)\na,q,,x,\n", "utf-8")
    assert "made for other grades: 'grade (0 bad | 1 good)', not" in refusal(fill, files)
    sheet.write_text("id,query,title,text,grade\na,q,,x,good\n", "utf-8")
    assert "'good' is no grade; use 0 or 'no'" in refusal(fill, files)
    sheet.write_text("id,grade\na,\n", "utf-8")
    assert "needs id, query, title, text" in refusal(fill, files)
    sheet.write_text("id,query,title,text,grade\na,q,,x,\n", "utf-8")
    (files / "out.csv").write_text("mine", "utf-8")
    assert "is there already and may hold labels" in refusal(fill, files)
    assert (files / "out.csv").read_text("utf-8") == "mine"
    gone = [*fill[:4], str(files / "gone"), *fill[5:-1], str(files / "new.csv")]
    assert "not a specialist" in refusal(gone, files, code=6)


def test_what_is_written_for_programs(files: Path, untrained: Path, tiny_folder: Path) -> None:
    with (files / "train.jsonl").open("a", encoding="utf-8") as file:
        # The pool's first pair was labelled before, however its query was spelt.
        query = as_pool(rows("c", 20, 2, LETTERS))[0]["query"].upper()
        text = rows("c", 20, 2, LETTERS)[0]["text"]
        file.write(json.dumps({"query": query, "text": text, "score": 3}) + "\n")
    bounded = ["--budget", 6, "--distance", "neighbours", "--low", "0.1", "--high", "1"]
    made = document(picking(files, untrained, tiny_folder, *bounded, "--seed", 5), files)
    assert {name: made[name] for name in ("by", "seed", "pool", "training_pairs", "picked")} == {
        "by": "coverage",
        "seed": 5,
        "pool": 60,
        "training_pairs": 1,
        "picked": 6,
    }
    assert made["grades"] == list(GRADES)
    assert list(made["windows"]) == ["neighbours"]
    assert 0 < made["windows"]["neighbours"]["above"] < made["windows"]["neighbours"]["up_to"]
    assert made["picked_inside"] == min(6, made["inside"])
    with (files / "sheet.csv").open(encoding="utf-8-sig", newline="") as opened:
        assert "'-0" not in [row["id"] for row in csv.DictReader(opened)]


def test_the_cap_of_a_query_is_said(files: Path, untrained: Path, tiny_folder: Path) -> None:
    shown = said(
        picking(files, untrained, tiny_folder, "--budget", 50, "--per-query", 1, "--by", "margin"),
        files,
    )
    assert "20 pairs to label" in shown
    assert "The pool gives no more at 1 of a query" in shown
    (files / "sheet.csv").unlink()
    shown = said(picking(files, untrained, tiny_folder, "--budget", 90), files)
    assert "60 pairs to label" in shown
    assert "That is the whole pool." in shown


def test_pairs_that_will_not_do(files: Path, untrained: Path, tiny_folder: Path) -> None:
    words = picking(files, untrained, tiny_folder, "--budget", 5)
    train, pool = files / "train.jsonl", files / "pool.jsonl"
    tested = rows("c", 20, 2, LETTERS)[0]["query"]
    write(files / "test.jsonl", [{"query": f"{tested}?!", "text": "x", "score": 1}])
    line = refusal([*words, "--test", str(files / "test.jsonl")], files)
    assert f"{pool} holds 1 questions of a test part, such as {tested!r}" in line
    # Mahalanobis distances want grades, and this grader does not say where they begin.
    bounded = [*words, "--by", "distance"]
    assert "does not say at which scores its grades begin; give --cuts" in refusal(bounded, files)
    line = refusal([*words, "--distance", "neighbours", "--low", "0", "--high", "1e-9"], files)
    assert "none of 60 samples lies inside the windows" in line
    assert "(minimum/quartiles/maximum); widen a window" in line
    write(pool, rows("a", 30, 0))
    assert "all its pairs are training pairs; give others" in refusal(words, files)
    write(pool, [{"id": "x", "query": "what", "text": "x" * 40_000}])
    assert "the text of the pair 'x' has 40,000 characters" in refusal(words, files)
    write(pool, [])
    assert "pool.jsonl: there is no pair in it to pick from" in refusal(words, files)
    write(pool, as_pool(rows("c", 2, 2)))
    write(train, rows("a", 2, 0))
    line = refusal([*words, "--distance", "neighbours"], files)
    assert "10 neighbours are wanted of 6 training samples" in line


@pytest.mark.parametrize(
    ("more", "code", "line"),
    [
        (["--budget", "0"], 2, "--budget"),
        (["--per-query", "0"], 2, "--per-query"),
        (
            ["--by", "luck"],
            2,
            "'coverage', 'random', 'entropy', 'margin', 'distance', 'typicality'",
        ),
        (["--distance", "cosine"], 2, "'mahalanobis', 'neighbours'"),
        (["--low", "0.5"], 2, "bound a --distance; name one"),
        (["--distance", "neighbours", "--low", "0.9", "--high", "0.5"], 4, "above q_low (0.9)"),
        (["--by", "distance", "--cuts", "2"], 4, "3 grades need 2 cuts between them"),
        (["--by", "distance", "--cuts", "2,high"], 2, "are not numbers with commas"),
        (["--out", "sheet.xlsx"], 3, "a .csv or a .tsv file; name it so"),
    ],
)
def test_what_cannot_be_asked_for(
    files: Path, untrained: Path, tiny_folder: Path, more: list[str], code: int, line: str
) -> None:
    words = picking(files, untrained, tiny_folder, "--budget", "5")
    assert line in refusal([*words, *more], files, code)


def test_no_sheet_is_written_over(files: Path, untrained: Path, tiny_folder: Path) -> None:
    (files / "sheet.csv").write_text("mine", "utf-8")
    (files / "pool.jsonl").unlink()  # refused before anything is read
    line = refusal(picking(files, untrained, tiny_folder, "--budget", 5), files)
    assert "sheet.csv: is there already and may hold labels; choose another name" in line
    assert (files / "sheet.csv").read_text("utf-8") == "mine"


def test_a_grader_that_says_nan_fills_in_nothing(
    files: Path, untrained: Path, tiny_folder: Path
) -> None:
    lost = load_specialist(untrained)
    broken = {name: tensor * float("nan") for name, tensor in lost.head.items()}
    save_specialist(type(lost)(**{**vars(lost), "head": broken, "name": "lost"}), files / "lost")
    words = picking(files, files / "lost", tiny_folder, "--budget", 5, "--by", "entropy")
    assert "probabilities must be finite" in refusal(words, files)
    (files / "sheet.csv").write_text("id,query,title,text,grade\na,q,,x,\n", "utf-8")
    fill = ["label", "fill", files / "sheet.csv", "--grader", files / "lost", "--backbone"]
    fill += [tiny_folder, "--out", files / "out.csv"]
    assert "probabilities must be finite" in refusal([str(word) for word in fill], files)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id,grade\n-0,yes\nz,no\n", "no pair has the id 'z'; was the sheet made for other pairs"),
        ("id,grade\n-0,yes\n-1,\n", "1 of 2 pairs have no label, first '-1'; fill them in"),
        ("id,grade (0 bad | 1 good)\n-0,1\n", "made for other grades"),
        ("id,grade\n-0,maybe\n", "'maybe' is no grade; use 0 or 'no'"),
        ("id,grade\n", "no pair of it has a label; fill it in first"),
    ],
)
def test_sheets_that_nothing_is_trained_on(
    files: Path, tiny_folder: Path, text: str, line: str
) -> None:
    sheet = files / "sheet.csv"
    sheet.write_text(text, "utf-8")
    more = ["--labelled", sheet, "--pool", files / "pool.jsonl"]
    assert line in refusal(training(files, tiny_folder, "shop", *more), files)


def test_a_sheet_whose_queries_are_dev(files: Path, tiny_folder: Path) -> None:
    sheet = files / "sheet.csv"
    sheet.write_text("id,grade\n-0,yes\n", "utf-8")
    dev = rows("b", 8, 1)
    write(files / "pool.jsonl", as_pool([{**dev[0], "query": f"{dev[0]['query'].upper()}!"}]))
    words = training(
        files, tiny_folder, "shop", "--labelled", sheet, "--pool", files / "pool.jsonl"
    )
    line = refusal(words, files)
    assert f"sheet.csv: 1 of its queries stand in dev, such as {dev[0]['query']!r}; take" in line
    assert "--dev FILE" not in line
    # Held out of the training queries, which the pool may have more pairs of.
    place = words.index("--dev")
    every = [{**row, "text": "another"} for row in rows("a", 30, 0)[::3]]
    write(files / "pool.jsonl", as_pool(every))
    labels = "".join(f"-{i},yes\n" for i in range(30))
    sheet.write_text(f"id,grade\n{labels}", "utf-8")
    line = refusal(words[:place] + words[place + 2 :], files)
    assert "sheet.csv: 5 of its queries stand in dev" in line
    assert line.endswith("take them out of it, or give --dev FILE\n")


def test_missing_labels_are_a_sheets(files: Path, tiny_folder: Path) -> None:
    line = refusal(training(files, tiny_folder, "shop", "--allow-missing"), files, code=2)
    assert "is about a sheet; give --labelled" in line


def test_targets_of_the_labelled_with_soft_ones(files: Path, tiny_folder: Path) -> None:
    """They have no raw score to share them by."""
    from pointsman.data.graded import Grading
    from pointsman.grade.source import read_added, read_source

    sheet = files / "sheet.csv"
    sheet.write_text("id,grade\n-2,some\n-0,yes\n", "utf-8")
    grading = Grading(GRADES, (1.5, 2.5))
    added = read_added(sheet, files / "pool.jsonl", grading)
    source = read_source(
        files / "train.jsonl", grading, files / "dev.jsonl", soft=True, limit=4, added=added
    )
    pool = list(read_pairs(files / "pool.jsonl"))
    assert source.train.pairs[-2:] == [(pool[i].query, pool[i].content) for i in (0, 2)]
    assert source.train.targets[-2:].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert source.train.labels[-2:].tolist() == [2, 1]
    assert len(source.train.pairs) == len(source.train.targets) == 4 * 3 + 2
    assert source.levels == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("command", [["label"], ["label", "pick"], ["label", "fill"]])
def test_help_has_examples_that_stay_on_their_lines(command: list[str]) -> None:
    shown = invoke(*command, "--help").stdout.splitlines()
    assert max(map(len, shown)) <= 80
    examples = [line.strip() for line in shown[shown.index(" Examples:".ljust(80)) + 1 :]]
    assert all(line.startswith("pointsman label ") for line in examples if line)


def test_what_can_be_chosen_is_what_there_is() -> None:
    assert {kind.value for kind in By} == set(STRATEGIES)
    assert {kind.value for kind in Distance} == set(DISTANCES)
