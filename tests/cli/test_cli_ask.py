"""ask: one question, many, and a conversation."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import environment, invoke, run

from pointsman.backbone.encoder import Backbone
from pointsman.cli.ask import parse_where
from spaces import change_settings, write_grader, write_selector

QUESTION = "What is the colour of alpha?"


def test_an_answer_is_marked_in_its_source(space: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("ask", space, QUESTION, env=tiny)
    assert result.exit_code == 0
    assert "▸" in result.stdout
    assert " → select 2 → reader · " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_trace_is_a_tree(space: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("ask", space, QUESTION, "--trace", env=tiny)
    stages = [line.split()[1] for line in result.stdout.splitlines() if line[:2] in ("├─", "└─")]
    assert stages == ["route", "retrieve", "grade", "select", "defer", "read"]


def test_json_is_one_document_and_nothing_else(space: Path, tiny: Mapping[str, str]) -> None:
    done = run("ask", space, QUESTION, "--json", env=tiny)
    assert done.returncode == 0
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["question"] == QUESTION
    text = answer["passage"]["text"]
    assert text[answer["start"] : answer["end"]] == answer["text"]
    assert [step["stage"] for step in answer["trace"]["steps"]][-1] == "read"


def test_flags_come_before_the_environment(space: Path, tiny: Mapping[str, str]) -> None:
    settings = {**tiny, "POINTSMAN_SEARCH__MODE": "dense", "POINTSMAN_READ__MIN_CONFIDENCE": "0"}
    flags = ["--mode", "bm25", "--candidates", "1", "--passages", "1", "--min-confidence", "1"]
    answer = json.loads(invoke("ask", space, QUESTION, *flags, "--json", env=settings).stdout)
    steps = {step["stage"]: step for step in answer["trace"]["steps"]}
    assert steps["retrieve"]["note"] == "bm25, 1 passages"
    assert len(steps["select"]["choice"]) == 1
    assert answer["abstained"]


@pytest.fixture(scope="module")
def grader(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone = Backbone.load(tiny_folder, device="cpu")
    return write_grader(tmp_path_factory.mktemp("graders") / "shop", backbone)


def test_a_grader_is_named_by_a_flag(space: Path, tiny: Mapping[str, str], grader: Path) -> None:
    plain = invoke("ask", space, QUESTION, env=tiny)
    assert "relevance" not in plain.stdout
    graded = invoke("ask", space, QUESTION, "--grader", grader, env=tiny)
    assert graded.exit_code == 0, graded.stderr
    assert " · relevance 0." in graded.stdout
    assert " → grade 2 → select 2 → reader · " in graded.stdout
    none = invoke("ask", space, QUESTION, "--grader", grader, "--min-relevance", "1", env=tiny)
    assert none.exit_code == 0
    assert "no answer  (nothing relevant found)" in none.stdout
    assert "nearest, but not relevant enough: " in none.stdout
    assert "→ abstain · " in none.stdout
    assert max(map(len, none.stdout.splitlines())) <= 80


def test_a_selector_is_named_by_a_flag(
    space: Path, tiny: Mapping[str, str], tiny_folder: Path, tmp_path: Path
) -> None:
    selector = write_selector(tmp_path / "one", Backbone.load(tiny_folder, device="cpu"))
    flags = ["--selector", selector, "--trace"]
    chosen = invoke("ask", space, QUESTION, *flags, env=tiny)
    assert chosen.exit_code == 0, chosen.stderr
    assert "├─ select" in chosen.stdout
    # Its chances stand beside what it chose from.
    below = chosen.stdout.split("├─ select")[1].splitlines()[1]
    assert "● " in below
    assert "0." in below
    gone = invoke("ask", space, QUESTION, "--selector", "gone", env=tiny)
    assert gone.exit_code == 6
    assert "no specialist 'gone'" in gone.stderr


def test_a_grader_that_is_not_there(space: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("ask", space, QUESTION, "--min-relevance", "0.5", env=tiny)
    assert result.exit_code == 2
    assert "nothing judges relevance here; name a grader with --grader" in result.stderr
    result = invoke("ask", space, QUESTION, "--grader", "gone", env=tiny)
    assert result.exit_code == 6
    assert "no specialist 'gone'" in result.stderr
    result = invoke("ask", space, QUESTION, "--grader", "default", env=tiny)
    assert result.exit_code == 6


def test_a_budget_is_not_gone_beyond(space: Path, tiny: Mapping[str, str], tmp_path: Path) -> None:
    """An agent of ten cents, that knows the answer, where the settings allow five."""
    own = tmp_path / "space"
    shutil.copytree(space, own)
    (own / "known.json").write_text(json.dumps({QUESTION: "blue"}), "utf-8")
    paid = {"name": "paid", "answers": "known.json", "dollars": 0.1, "right": 1.0}
    change_settings(own, agents=[paid], defer={"budget": 0.05})

    def defer(*flags: str) -> dict[str, Any]:
        found = invoke("ask", own, QUESTION, *flags, "--json", env=tiny)
        assert found.exit_code == 0, found.stderr
        step: dict[str, Any] = json.loads(found.stdout)["trace"]["steps"][4]
        return step

    held = defer()
    assert held["choice"] == ["reader"]
    assert held["note"].endswith("the budget of $0.05 leaves too little for paid")
    assert defer("--budget", "0.1")["choice"] == ["reader", "paid"]
    assert defer("--budget", "0")["choice"] == ["reader"]
    assert invoke("ask", own, QUESTION, "--budget", "-1").exit_code == 2


def test_where_restricts_what_is_looked_at(space: Path, tiny: Mapping[str, str]) -> None:
    found = invoke("ask", space, QUESTION, "--where", "title=letters", "--json", env=tiny)
    assert json.loads(found.stdout)["passage"]["document"] == "letters.txt"
    wrong = invoke("ask", space, QUESTION, "--where", "titel=letters", env=tiny)
    assert wrong.exit_code == 3
    assert "'titel'" in wrong.stderr


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], None),
        (["year=2020"], {"year": 2020}),
        (["price=1.5", "open=true"], {"price": 1.5, "open": True}),
        (["lang=en", "lang=de", "lang=fr"], {"lang": ["en", "de", "fr"]}),
        (["a=b=c"], {"a": "b=c"}),
        (["code='007'"], {"code": "007"}),
        # What YAML takes for a date, nothing, a list or an error is text to us.
        (["day=2020-01-01"], {"day": "2020-01-01"}),
        (["x=", "y=null", "z=[1, 2]"], {"x": "", "y": "null", "z": "[1, 2]"}),
        (["x={", "y=@home"], {"x": "{", "y": "@home"}),
    ],
)
def test_where_reads_values_as_yaml_does(pairs: list[str], expected: object) -> None:
    assert parse_where(pairs) == expected


def test_a_deadline_that_passes(space: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("ask", space, QUESTION, "--deadline", "0.000001", env=tiny)
    assert result.exit_code == 8
    assert "the deadline passed" in result.stderr


@pytest.mark.parametrize(
    ("question", "said"),
    [("   ", "the question is empty"), ("why " * 25_000, "has 99,999 characters")],
)
def test_a_question_that_cannot_be_asked(
    question: str, said: str, space: Path, tiny: Mapping[str, str]
) -> None:
    result = invoke("ask", space, question.rstrip() or question, env=tiny)
    assert result.exit_code == 3
    assert said in result.stderr


def test_nothing_indexed(tmp_path: Path, tiny: Mapping[str, str]) -> None:
    invoke("init", tmp_path / "space")
    result = invoke("ask", tmp_path / "space", QUESTION, env=tiny)
    assert result.exit_code == 3
    assert "the index is empty" in result.stderr


def test_questions_from_a_pipe_are_json_lines_and_one_error_stops_nothing(
    space: Path, tiny: Mapping[str, str]
) -> None:
    asked = f"{QUESTION}\n\n  \n{'x' * 20_000}\nWhat follows beta?\n\x00\ufffd\nשלום?"
    done = run("ask", space, "--json", stdin=asked, env=tiny)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["question"] for a in answers] == [QUESTION, "What follows beta?", "שלום?"]
    errors = [json.loads(line) for line in done.stderr.splitlines()]
    assert [error["exit_code"] for error in errors] == [3, 3]
    assert done.returncode == 3


def test_questions_from_a_pipe_for_people(space: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("ask", space, env=tiny, stdin=f"{QUESTION}\nWhat follows beta?\n")
    assert result.exit_code == 0
    assert result.stdout.count("route base") == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_a_conversation_ends_with_an_empty_line(space: Path, tiny: Mapping[str, str]) -> None:
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pointsman", "ask", str(space)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(**tiny),
    )
    os.close(theirs)
    # The second cannot be answered; that does not end the conversation.
    os.write(ours, b"What is the colour of alpha?\n\x00\nWhat follows beta?\n\n")
    stdout, stderr = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert stdout.count("route base") == 2
    assert "2 passages. An empty line or Ctrl-D ends." in stderr
    assert "error: the question is empty" in stderr
