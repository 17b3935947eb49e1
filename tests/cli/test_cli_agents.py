"""agents list, price and test, and ask with a chat endpoint: a real server on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from command_line import invoke

from domains import COLOURS
from pointsman.backbone.encoder import Backbone
from pointsman.data.squad import write_squad
from pointsman.read.reader import SpanReader
from pointsman.types import Passage, ReadingExample
from pointsman.workspace import DEFAULT_READER, SHIPPED, Workspace
from tiny import write_answering

KEY = "sk-very-secret"


class _Reader(BaseHTTPRequestHandler):
    """A chat endpoint behind which a trained reader stands, so that its answers, and errors, are real."""

    reader: SpanReader

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown, _, question = body["messages"][1]["content"].rpartition("\n\nQuestion: ")
        passages = [Passage(text, text.partition("] ")[2]) for text in shown.split("\n\n[")]
        spans = self.reader.read([question], [passages])[0].spans
        text = spans[0].text if spans else "NONE"
        reply = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    reader = SpanReader.load(Backbone.load(), SHIPPED / DEFAULT_READER)
    handler = type("_Handler", (_Reader,), {"reader": reader})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def space(tmp_path: Path, url: str) -> Path:
    made = tmp_path / "space"
    Workspace.create(made)
    _append(made, f"- {{name: far, url: '{url}', model: m, dollars_in: 1.0, right: 0.99}}")
    return made


def _append(space: Path, line: str) -> None:
    file = space / "pointsman.yaml"
    text = file.read_text("utf-8").replace("agents: []", "agents:")
    file.write_text(f"{text.rstrip()}\n{line}\n", "utf-8")


def test_list(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_KEY", KEY)
    monkeypatch.delenv("UNSET_KEY", raising=False)
    _append(space, "- {name: a, url: 'http://x', model: m, key: SET_KEY}")
    _append(space, "- {name: b, url: 'http://x', model: m, key: UNSET_KEY}")
    result = invoke("agents", "list", space)
    assert result.exit_code == 0, result.stderr
    assert KEY not in result.stdout
    rows = json.loads(invoke("agents", "list", space, "--json").stdout)
    assert [row["name"] for row in rows] == ["reader", "far", "a", "b"]
    assert [row["key"] for row in rows] == ["", "", "SET_KEY", "UNSET_KEY, not set"]


def test_price(space: Path) -> None:
    found = json.loads(invoke("agents", "price", space, "--price", "0.2", "--json").stdout)
    assert found["price"] == 0.2
    reader, far = found["agents"]
    assert (reader["asked"], reader["cost"]) == ("always, first", 0)
    assert far["cost"] == 0.2  # the dearest costs the price
    assert far["asked"] == "where the reader is less sure than 79%"
    assert far["dollars for 1,000"] > 0
    assert "never" in invoke("agents", "price", space, "--price", "2").stdout


def test_test(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = invoke("agents", "test", space, "--json")
    assert found.exit_code == 0, found.stderr
    reader, far = json.loads(found.stdout)
    assert (reader["answer"], far["answer"]) == ("red", "red")
    monkeypatch.delenv("UNSET_KEY", raising=False)
    _append(space, "- {name: b, url: 'http://x', model: m, key: UNSET_KEY}")
    _append(space, "- {name: gone, url: 'http://127.0.0.1:9/v1', model: m, retries: 0}")
    failed = invoke("agents", "test", space, "--json")
    assert failed.exit_code == 4
    rows = json.loads(failed.stdout)
    assert rows[2]["wrong"].startswith("b needs a key: set UNSET_KEY")
    assert rows[3]["wrong"].startswith("gone cannot be reached")


def test_ask(space: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boat.md").write_text("The boat on the lake is red. Nobody knows why.", "utf-8")
    assert invoke("index", space, notes).exit_code == 0
    question = "Who sold the house on the hill?"
    free = json.loads(invoke("ask", space, question, "--price", "0", "--json").stdout)
    assert free["trace"]["steps"][4]["choice"] == ["reader", "far"]
    dear = json.loads(invoke("ask", space, question, "--price", "3", "--json").stdout)
    assert dear["trace"]["steps"][4]["choice"] == ["reader"]
    assert invoke("ask", space, question, "--price", "-1").exit_code == 2


def test_agents_that_are_here(space: Path, tmp_path: Path) -> None:
    """A model of Hugging Face's, a reader of ours a second time, and answers of a file."""
    file = space / "answers.json"
    file.write_text(json.dumps({"What colour is the boat?": "red"}), "utf-8")
    _append(space, f"- {{name: theirs, reader: 'hf:{write_answering(tmp_path / 'hf')}'}}")
    _append(space, f"- {{name: again, reader: '{SHIPPED / DEFAULT_READER}', dollars: 0.002}}")
    _append(space, "- {name: old, answers: answers.json, right: 0.9, dollars: 0.001}")
    rows = json.loads(invoke("agents", "list", space, "--json").stdout)
    assert [row["where"] for row in rows[2:]] == [
        f"hf:{tmp_path / 'hf'}",
        str(SHIPPED / DEFAULT_READER),
        "answers.json",
    ]
    priced = json.loads(invoke("agents", "price", space, "--price", "0.1", "--json").stdout)
    by_name = {row["name"]: row for row in priced["agents"]}
    assert by_name["again"]["cost"] == 2 * by_name["old"]["cost"] == pytest.approx(0.1)
    tested = json.loads(invoke("agents", "test", space, "--json").stdout)
    answers = {row["name"]: row["answer"] for row in tested}
    assert answers["again"] == answers["old"] == "red"
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boat.md").write_text("The boat on the lake is red. Nobody knows why.", "utf-8")
    assert invoke("index", space, notes).exit_code == 0
    # Who is not there is told apart from who is wrong: nothing is recorded for this one.
    asked = json.loads(invoke("ask", space, "Who sold the house?", "--json").stdout)
    assert "old" in asked["trace"]["steps"][4]["options"]
    file.unlink()
    gone = invoke("agents", "test", space)
    assert gone.exit_code == 3
    assert "answers.json" in gone.stderr


def test_another_model_of_the_same_name_is_another_agent(space: Path) -> None:
    """So that nobody's kept answers are taken for another's; its price and its patience change nothing."""
    answers = space / "answers.json"
    answers.write_text('{"Who?": "nobody"}', "utf-8")
    _append(space, "- {name: told, answers: answers.json}")

    def known_by() -> list[str]:
        with Workspace.open(space) as workspace:
            return workspace.agents_known_by

    before = known_by()
    assert len(set(before)) == 3
    assert known_by() == before
    settings = space / "pointsman.yaml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("model: m", "model: m, timeout: 7.5, retries: 1"))
    assert known_by() == before
    settings.write_text(text.replace("model: m", "model: larger"))
    answers.write_text('{"Who?": "somebody"}', "utf-8")
    assert [a == b for a, b in zip(known_by(), before, strict=True)] == [True, False, False]
    # How often it is right is kept as how sure it is of its answers.
    settings.write_text(text.replace("right: 0.99", "right: 0.5"))
    assert known_by()[1] not in {before[1], before[0]}
    settings.write_text(f"{text.rstrip()}\n- {{name: own, reader: default}}\n")
    assert known_by()[3] == before[0]


def test_an_agent_is_one_thing(space: Path) -> None:
    _append(space, "- {name: both, url: 'http://x', model: m, reader: default}")
    result = invoke("agents", "list", space)
    assert result.exit_code == 4
    assert "one of url, reader and answers, and this one has url and reader" in " ".join(
        result.stderr.split()
    )


def boats(file: Path) -> Path:
    """A file of questions about the colours of boats."""
    examples = [
        ReadingExample(
            f"q{i}",
            f"What colour is boat {i}?",
            f"Boat {i} on the lake is {COLOURS[i % len(COLOURS)]}. It is number {i + 3} of all.",
            (COLOURS[i % len(COLOURS)],),
            (len(f"Boat {i} on the lake is "),),
            f"boat {i}",
            f"boat {i}",
        )
        for i in range(120)
    ]
    write_squad(file, examples)
    return file


def test_an_allocator_is_trained_and_decides(space: Path, tmp_path: Path) -> None:
    """Two agents that read alike: what is learned is that the second need not be asked."""
    questions = boats(tmp_path / "questions.json")
    words = ["train", "allocator", space, "--data", questions, "--given"]
    env = {"POINTSMAN_CACHE": str(tmp_path / "cache")}
    result = invoke(*words, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["agents"] == ["reader", "far"]
    assert found["questions"] == 120
    assert found["right"][0] == pytest.approx(found["right"][1], abs=0.1)
    assert [each["asked"][1] for each in found["at"]][-1] < 0.1
    assert sum(1 for line in Path(found["answers"]).read_text("utf-8").splitlines() if line) == 240
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boat.md").write_text("Boat 7 on the lake is red. It is number 10 of all.", "utf-8")
    assert invoke("index", space, notes).exit_code == 0
    used = {"POINTSMAN_DEFER__ALLOCATOR": "allocator"}
    answer = json.loads(
        invoke("ask", space, "What colour is boat 7?", "--price", "1", "--json", env=used).stdout
    )
    assert answer["text"] == "red"
    assert answer["trace"]["steps"][4]["choice"] == ["reader"]
    _append(space, "- {name: more, url: 'http://x', model: m}")
    refused = invoke("ask", space, "What?", env=used)
    assert refused.exit_code == 4
    assert "was trained for the agents reader, far, not for reader, far, more" in refused.stderr


def test_an_allocator_that_reads_decides_before_anybody_is_asked(
    space: Path, tmp_path: Path
) -> None:
    questions = boats(tmp_path / "questions.json")
    words = ["train", "allocator", space, "--data", questions, "--given"]
    env = {"POINTSMAN_CACHE": str(tmp_path / "cache")}
    paper = ["--policy", "surrogate", "--price", "0.1", "--name", "paper"]
    result = invoke(*words, *paper, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (at,) = found["at"]
    assert at["price"] == 0.1
    assert sum(at["asked"]) == pytest.approx(1)  # one agent a question
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boat.md").write_text("Boat 7 on the lake is red. It is number 10 of all.", "utf-8")
    assert invoke("index", space, notes).exit_code == 0
    used = {"POINTSMAN_DEFER__ALLOCATOR": "paper"}
    asked = ["ask", space, "What colour is boat 7?", "--json"]
    answer = json.loads(invoke(*asked, "--price", "0.1", env=used).stdout)
    assert answer["text"] == "red"
    # Less sure than asked for: nothing is said, whoever was chosen.
    shy = invoke(*asked, "--price", "0.1", "--min-confidence", "1", env=used)
    assert json.loads(shy.stdout)["text"] == ""
    other = invoke(*asked, "--price", "0.5", env=used)
    assert other.exit_code == 4
    assert "trained for the price 0.1 and no other, not for 0.5" in " ".join(other.stderr.split())
    # The answers are kept: another policy asks nobody again, and needs no price.
    result = invoke(*words, "--policy", "errors", "--name", "any", env=env)
    assert result.exit_code == 0, result.stderr
    assert "price 0.05: right on" in result.stdout
    assert "below which chance" not in result.stdout
    # One allocator takes the place of another, whichever they are, and of nothing else.
    assert invoke(*words, "--name", "any", env=env).exit_code == 0
    assert invoke(*words, "--policy", "errors", "--name", "any", env=env).exit_code == 0
    assert "Decides who answers, at any price: reader, far." in (
        space / "specialists" / "any" / "README.md"
    ).read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "surrogate"], "a surrogate is trained at one price; name it"),
        (["--policy", "errors", "--price", "1"], "does not depend on a price; name none"),
        (["--price", "1"], "the policy look serves any price; leave --price out"),
        (["--policy", "errors", "--u", "2"], "--u is of a surrogate's loss; leave it out"),
        (["--policy", "errors", "--look"], "only the policy look has anything to look at"),
    ],
)
def test_policies_that_cannot_be(space: Path, tmp_path: Path, words: list[str], said: str) -> None:
    result = invoke("train", "allocator", space, "--data", boats(tmp_path / "q.json"), *words)
    assert result.exit_code == 4
    assert said in " ".join(result.stderr.split())


def test_an_allocator_is_not_put_over_something_else(space: Path, tmp_path: Path) -> None:
    """It is refused before anybody is asked and paid."""
    mine = space / "specialists" / "allocator"
    mine.mkdir(parents=True)
    (mine / "diary.txt").write_text("mine", "utf-8")
    cache = tmp_path / "cache"
    questions = boats(tmp_path / "q.json")
    for words in ([], ["--policy", "errors"]):
        result = invoke(
            "train",
            "allocator",
            space,
            "--data",
            questions,
            *words,
            env={"POINTSMAN_CACHE": str(cache)},
        )
        assert result.exit_code != 0
        assert "so it is not replaced" in " ".join(result.stderr.split())
    assert not list(cache.rglob("*.jsonl"))
    assert (mine / "diary.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("- {name: reader, url: 'http://x', model: m}", "two agents are called 'reader'"),
        ("- {name: a, model: m}", "one of url, reader and answers, and this one has none"),
        ("- {name: a, url: 'http://x', model: m, dollars_in: -1}", "agents.1.dollars_in"),
        ("- {name: a, url: 'x', model: m}", "a: the url must begin with http"),
    ],
)
def test_agents_that_cannot_be(space: Path, line: str, said: str) -> None:
    _append(space, line)
    result = invoke("agents", "list", space)
    assert result.exit_code == 4
    assert said in result.stderr
