"""agents list, price and test, and ask with a chat endpoint: a real server on a real socket."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import invoke, start

from domains import COLOURS
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import load_specialist, save_specialist
from pointsman.data.squad import read_squad, write_squad
from pointsman.read.reader import SpanReader
from pointsman.types import Passage, ReadingExample
from pointsman.workspace import DEFAULT_READER, SHIPPED, SPECIALISTS, Workspace
from spaces import change_settings
from tiny import write_answering

KEY = "sk-very-secret"


class _Reader(BaseHTTPRequestHandler):
    """A chat endpoint behind which a trained reader stands, so that its answers, and errors, are real."""

    reader: SpanReader
    reading: threading.Lock
    """Models are for one thread at a time."""
    down: frozenset[str] = frozenset()
    """Questions that it fails at, each time."""
    throttled: frozenset[str] = frozenset()
    """Questions that it refuses the first time."""
    slow: float = 0.0
    asked: Counter[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown, _, question = body["messages"][1]["content"].rpartition("\n\nQuestion: ")
        self.asked[question] += 1
        time.sleep(self.slow)
        if question in self.down:
            self.send_error(500)
            return
        if question in self.throttled and self.asked[question] == 1:
            self.send_error(429)
            return
        passages = [Passage(text, text.partition("] ")[2]) for text in shown.split("\n\n[")]
        with self.reading:
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
def handler() -> type[_Reader]:
    reader = SpanReader.load(Backbone.load(), SHIPPED / DEFAULT_READER)
    more = {"reader": reader, "reading": threading.Lock(), "asked": Counter()}
    return type("_Handler", (_Reader,), more)


@pytest.fixture(scope="module")
def url(handler: type[_Reader]) -> Iterator[str]:
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


def test_when_an_agent_is_asked_by_what_errors_weigh(space: Path) -> None:
    """It is right on 0.99 and free at price 0: twice its errors leave 0.98, and against the reader's at half
    their weight 1 - 0.02 / 0.5; of a reader whose errors weigh nothing nobody else is asked.
    """
    asked = ["agents", "price", space, "--price", "0", "--json"]
    _say(space, alpha=2.0)
    for own, least in ((1.0, "98%"), (0.5, "96%"), (0.0, None)):
        change_settings(space, read={"alpha": own})
        rows = json.loads(invoke(*asked).stdout)["agents"]
        when = f"where the reader is less sure than {least}" if least else "never"
        assert rows[1]["asked"] == when


@pytest.mark.parametrize(("unit", "longer"), [("dollars", (1, 3)), ("gflops", (3, 1))])
def test_a_long_passage_makes_an_agent_dearer(
    space: Path, unit: str, longer: tuple[float, float]
) -> None:
    """By what it takes of each in the unit of the price: the reader takes no dollars, and of the endpoint it
    is said what a question takes in GFLOPs.
    """
    settings = space / "pointsman.yaml"
    settings.write_text(settings.read_text("utf-8").replace("right: 0.99", "gflops: 9"), "utf-8")
    change_settings(space, defer={"unit": unit})
    with Workspace.open(space) as workspace:
        size, count = workspace.settings.passages.size, workspace.settings.read.passages
        usual = [Passage("", "x" * size)] * count
        times = workspace.times(["x" * 60] * 2, [usual, 3 * usual])
    assert times[0].tolist() == [1, 1]
    assert times[1] == pytest.approx(longer, rel=0.05)


def test_seconds_are_measured_once_there_are_some(space: Path) -> None:
    """What the settings say holds until then; an endpoint that turns out ten times slower is as dear."""
    _say(space, seconds=2.0)
    change_settings(space, defer={"unit": "seconds"}, read={"seconds": 1.0})
    with Workspace.open(space) as workspace:
        asked = ["what?"], [[Passage("", "x")]]
        assert workspace.times(*asked).tolist() == [[1, 1]]
        reader, far = workspace.agents
        for _ in range(20):
            far._durations.add(20.0)  # type: ignore[attr-defined]
        assert workspace.times(*asked).tolist() == [[1, 10]]
        assert workspace.units == [1.0, 20.0]
        reader.answer(*asked)
        assert 0 < workspace.units[0] != 1.0
        # What is usual stays what the allocator was told.
        assert workspace.times(*asked)[0, 1] == 10


def test_price_in_another_unit(space: Path) -> None:
    """The local reader's GFLOPs are counted; what nobody knows is to be set, and is named."""

    def price(**defer: str) -> Any:
        change_settings(space, defer=defer)
        return invoke("agents", "price", space, "--price", "0.2", "--json")

    def refused(**defer: str) -> str:
        found = price(**defer)
        assert found.exit_code == 4
        return " ".join(found.stderr.split())

    assert "gflops a question takes of the agent far is not known; set `gflops:` beside" in refused(
        unit="gflops"
    )
    _say(space, gflops=700.0, seconds=2.0)
    found = json.loads(price(unit="gflops").stdout)
    assert found["unit"] == "gflops"
    reader, far = found["agents"]
    assert (far["gflops"], far["cost"]) == (700, 0.2)
    assert 10 < reader["gflops"] < 100
    assert reader["cost"] == pytest.approx(0.2 * reader["gflops"] / 700, abs=1e-6)
    assert "the agent reader is not known; set `seconds:` under `read:`" in refused(unit="seconds")
    change_settings(space, read={"seconds": 0.5})
    assert [row["cost"] for row in json.loads(price(unit="seconds").stdout)["agents"]] == [
        0.05,
        0.2,
    ]
    # In dollars the reader is free, whatever else it takes.
    asked = json.loads(price(unit="dollars").stdout)["agents"]
    assert [row["cost"] for row in asked] == [0, 0.2]


def test_agents_that_are_free(space: Path) -> None:
    """They cost nothing, whatever the price; where all do, a price of nothing is no price."""
    _append(space, "- {name: free, reader: default, right: 0.5}")
    priced = json.loads(invoke("agents", "price", space, "--price", "0.1", "--json").stdout)
    assert [row["cost"] for row in priced["agents"]] == [0, 0.1, 0]
    _say(space, dollars_in=0.0)
    for words in (["agents", "price", space], ["ask", space, "What?"]):
        refused = invoke(*words, "--price", "0.1")
        assert refused.exit_code == 4
        assert "the price 0.1 weighs dollars, and no agent takes any; set" in " ".join(
            refused.stderr.split()
        )
    # Without a price there is nothing to weigh.
    free = json.loads(invoke("agents", "price", space, "--json").stdout)
    assert [row["cost"] for row in free["agents"]] == [0, 0, 0]


def _say(space: Path, **said: float) -> None:
    """More of the agent `far`."""
    settings = yaml.safe_load((space / "pointsman.yaml").read_text("utf-8"))
    far, *others = settings["agents"]
    change_settings(space, agents=[far | said, *others])


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


def test_a_key_that_is_not_there_is_missed_before_anybody_is_asked(
    space: Path, tmp_path: Path, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSET_KEY", raising=False)
    _append(space, "- {name: b, url: 'http://x', model: m, key: UNSET_KEY, dollars_in: 1.0}")
    handler.asked.clear()
    env = {"POINTSMAN_CACHE": str(tmp_path / "cache")}
    for words in (
        ["ask", space, "What colour is the boat?"],
        ["train", "allocator", space, "--data", boats(tmp_path / "q.json"), "--given"],
    ):
        refused = invoke(*words, env=env)
        assert refused.exit_code == 4
        assert "b needs a key: set UNSET_KEY in the environment" in refused.stderr
    assert not handler.asked
    assert not list((tmp_path / "cache").rglob("*.jsonl"))
    # One may still look whose key it is.
    assert "UNSET_KEY, not set" in " ".join(invoke("agents", "list", space).stdout.split())


def test_ask(space: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boat.md").write_text("The boat on the lake is red. Nobody knows why.", "utf-8")
    assert invoke("index", space, notes).exit_code == 0
    question = "Who sold the house on the hill?"
    free = json.loads(invoke("ask", space, question, "--price", "0", "--json").stdout)
    assert free["trace"]["steps"][4]["choice"] == ["reader", "far"]
    # One short passage takes a fraction of what a price is said for, a question of usual length.
    for price, asked in (("3", ["reader", "far"]), ("30", ["reader"])):
        dear = json.loads(invoke("ask", space, question, "--price", price, "--json").stdout)
        assert dear["trace"]["steps"][4]["choice"] == asked
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
    asking = ["ask", space, "What colour is boat 7?", "--price", "1", "--json"]
    answer = json.loads(invoke(*asking, "--allocator", "allocator").stdout)
    assert answer["text"] == "red"
    assert answer["trace"]["steps"][4]["choice"] == ["reader"]
    # What it does is asked of it.
    priced = invoke("agents", "price", space, "--price", "0.9", env=used)
    assert "The allocator allocator decides question by question" in priced.stdout
    assert "at price 1 in dollars" in priced.stdout
    rows = json.loads(invoke("agents", "price", space, "--price", "0.9", "--json", env=used).stdout)
    asked = found["at"][-1]["asked"]
    assert [row["asked"] for row in rows["agents"]] == [f"on {share:.0%}" for share in asked]
    assert rows["changed"] == []
    assert "not the same model" not in priced.stderr
    # Another model of the same name may be used, and somebody is told.
    settings = space / "pointsman.yaml"
    as_it_was = settings.read_text("utf-8")
    settings.write_text(as_it_was.replace("model: m", "model: larger"), "utf-8")
    for words in (["ask", space, "What?"], ["agents", "price", space]):
        told = invoke(*words, env=used)
        assert told.exit_code == 0, told.stderr
        assert "far: not the same model" in " ".join(told.stderr.split())
    settings.write_text(as_it_was, "utf-8")
    _append(space, "- {name: more, url: 'http://x', model: m}")
    for words in (["ask", space, "What?"], ["agents", "price", space]):
        refused = invoke(*words, env=used)
        assert refused.exit_code == 4
        assert "was trained for the agents reader, far, not for reader, far, more" in refused.stderr
    for gone in (
        invoke("agents", "price", space, env={"POINTSMAN_DEFER__ALLOCATOR": "nobody"}),
        invoke(*asking, "--allocator", "nobody"),
    ):
        assert gone.exit_code == 6
        assert "no specialist 'nobody'" in " ".join(gone.stderr.split())


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
    settings = space / "pointsman.yaml"
    as_it_was = settings.read_text("utf-8")
    for model, changed in (("larger", ["far"]), ("m", [])):
        settings.write_text(as_it_was.replace("model: m", f"model: {model}"), "utf-8")
        with Workspace.open(space, overrides={"defer.allocator": "paper"}) as workspace:
            assert workspace.changed_agents == changed
    for elsewhere in (asked, ["agents", "price", space]):
        other = invoke(*elsewhere, "--price", "0.5", env=used)
        assert other.exit_code == 4
        assert "for the price 0.1 and no other, not for 0.5" in " ".join(other.stderr.split())
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


@pytest.mark.parametrize("told", ["command", "card"])
def test_what_is_advised_can_be_done(space: Path, tmp_path: Path, told: str) -> None:
    """The lines that are printed, put into the settings as they are, make the workspace use it."""
    words = ["--data", boats(tmp_path / "q.json"), "--given", "--limit", "100", "--name", "paper"]
    result = invoke(
        *["train", "allocator", space, *words, "--policy", "surrogate", "--price", "0.15"],
        env={"POINTSMAN_CACHE": str(tmp_path / "cache")},
    )
    assert result.exit_code == 0, result.stderr
    card = (space / SPECIALISTS / "paper" / "README.md").read_text("utf-8")
    text, begin = (
        (result.stdout, "in pointsman.yaml:\n") if told == "command" else (card, ".yaml`\n")
    )
    lines = text.partition(begin)[2].strip("\n").splitlines()
    advice = [
        line for i, line in enumerate(lines) if all(each[:1] == " " for each in lines[: i + 1])
    ]
    change_settings(space, **yaml.safe_load("\n".join(advice)))
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boat.md").write_text("Boat 7 on the lake is red. It is number 10 of all.", "utf-8")
    assert invoke("index", space, notes).exit_code == 0
    answer = invoke("ask", space, "What colour is boat 7?", "--json")
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)["text"] == "red"


def test_words_count_and_some_questions_have_no_answer(space: Path, tmp_path: Path) -> None:
    """Half of a right answer is half as good by F1; of a question without an answer, which every agent here
    gives one to, all are wrong; and an error of one agent may weigh more.
    """
    file = boats(tmp_path / "q.json")
    _say(space, alpha=2.5)
    examples = [
        replace(each, answers=(f"{each.answers[0]}. It",))
        if i % 4
        else replace(each, answers=(), starts=())
        for i, each in enumerate(read_squad(file))
    ]
    write_squad(file, examples)
    words = ["train", "allocator", space, "--data", file, "--given", "--measure", "f1"]
    result = invoke(*words, env={"POINTSMAN_CACHE": str(tmp_path / "cache")})
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "learned from 120 questions, 30 of them without an answer" in said
    assert "reader alone has an F1 of 50.0%" in said  # two thirds of three quarters
    assert "price 0: an F1 of" in said
    assert "5, 10 or 20 %" not in said
    card = (space / SPECIALISTS / "allocator" / "README.md").read_text("utf-8")
    assert "F1, five-fold" in card
    assert "An error weighs 1, but of far 2.5." in card


@pytest.fixture
def shallow(space: Path) -> Path:
    """A workspace whose local reader is the one that ships, cut to four of its six layers: it is right on
    about half of the boats, and the endpoint, which reads with all six, on all.
    """
    whole = load_specialist(SHIPPED / DEFAULT_READER)
    cut = replace(
        whole,
        name="shallow",
        settings={**whole.settings, "layers": 4},
        adapter=whole.adapter.first_layers(4),
    )
    save_specialist(cut, space / SPECIALISTS / "shallow")
    change_settings(space, read={"reader": "shallow"})
    return space


def test_an_allocator_of_two_that_differ(
    shallow: Path, tmp_path: Path, handler: type[_Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an endpoint that is slow, throttled and now and then down: what fails counts as wrong and is asked
    again, and nobody is asked twice for what was kept.
    """
    names = [f"What colour is boat {i}?" for i in range(120)]
    monkeypatch.setattr(handler, "slow", 0.005)
    monkeypatch.setattr(handler, "down", frozenset(names[::6]))
    monkeypatch.setattr(handler, "throttled", frozenset(names[1::12]))
    _say(shallow, retries=1)
    words = [
        "train",
        "allocator",
        shallow,
        "--data",
        boats(tmp_path / "q.json"),
        "--given",
        "--json",
    ]
    env = {"POINTSMAN_CACHE": str(tmp_path / "cache")}

    def trained() -> dict[str, Any]:
        handler.asked.clear()
        result = invoke(*words, env=env)
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    found = trained()
    assert found["failures"] == [0, 20]
    assert 0.3 < found["right"][0] < 0.7
    assert found["right"][1] == pytest.approx(100 / 120)
    assert handler.asked[names[0]] == handler.asked[names[1]] == 2
    assert handler.asked[names[2]] == 1
    monkeypatch.setattr(handler, "down", frozenset())
    found = trained()
    assert set(handler.asked) == set(names[::6])
    assert found["failures"] == [0, 0]
    assert found["right"][1] == 1
    free, dear = found["at"][0], found["at"][-1]
    # Whom it asks is worth asking; at the price of a right answer it is not.
    assert free["asked"][1] > 0.9
    assert free["right"] > 0.9 > dear["right"]
    assert dear["asked"][1] < free["asked"][1]
    _promised(shallow)
    # All of it is kept: nobody answers any more, and it trains again.
    monkeypatch.setattr(handler, "down", frozenset(names))
    assert trained()["right"] == found["right"]
    assert not handler.asked


def _promised(space: Path) -> None:
    """A promise of the card is the least confidence; one that was not made is refused, and says why."""

    def asked(*words: str) -> Any:
        return invoke("ask", space, "What colour is boat 3?", "--json", *words)

    none = asked("--promise", "0.1")
    assert none.exit_code == 4
    assert "nobody has measured what can be promised" in " ".join(none.stderr.split())
    (space / "boats.md").write_text("Boat 3 on the lake is red.\n", "utf-8")
    assert invoke("index", space, space / "boats.md").exit_code == 0
    learned = ["--allocator", "allocator", "--price", "0"]
    described = json.loads((space / SPECIALISTS / "allocator/allocator.json").read_text("utf-8"))
    promises = described["numbers"]["at"][0]["promises"]
    least = {each["error"]: each["least"] for each in promises}
    for error, chance in least.items():
        found = asked(*learned, "--promise", str(error))
        if chance is None:
            assert found.exit_code == 4
            assert "it cannot be promised" in found.stderr
        else:
            assert found.exit_code == 0, found.stderr
            given = json.loads(found.stdout)
            assert given["abstained"] == (given["confidence"] < chance)
    both = asked(*learned, "--promise", "0.1", "--min-confidence", "0.5")
    assert both.exit_code == 2
    assert "leave --min-confidence out" in " ".join(both.stderr.split())


def test_ctrl_c_loses_no_answer(
    space: Path, tmp_path: Path, handler: type[_Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "slow", 0.2)
    handler.asked.clear()
    words = ["train", "allocator", space, "--data", boats(tmp_path / "q.json"), "--given"]
    env = {"POINTSMAN_CACHE": str(tmp_path / "cache")}
    process = start(*words, env=env)
    while process.poll() is None and handler.asked.total() < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    (file,) = (tmp_path / "cache").rglob("*.jsonl")
    assert said.splitlines()[-1] == (
        f"interrupted; the answers so far are in {file}, and the same command goes on from there"
    )
    answered = handler.asked.total()
    assert answered < 120
    # The local reader's, and each that the endpoint was asked for.
    assert sum(1 for line in file.read_text("utf-8").split("\n") if line) == 120 + answered
    monkeypatch.setattr(handler, "slow", 0.0)
    assert invoke(*words, env=env).exit_code == 0
    assert handler.asked.total() == 120


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
        ("- {name: a, reader: default, dollars: .inf}", "agents.1.dollars is inf: input should be"),
        ("- {name: a, reader: default, seconds: .nan}", "agents.1.seconds is nan: input should be"),
        ("- {name: a, reader: default, dollars_in: 1}", "says dollars, not dollars_in or dollars"),
        ("- {name: a, url: 'http://x', model: m, dollars: 1}", "dollars_out, not dollars"),
        ("- {name: a, reader: default, alpha: -1}", "agents.1.alpha is -1: input should be"),
        ("- {name: a, reader: default, alpha: .nan}", "agents.1.alpha is nan: input should be"),
    ],
)
def test_agents_that_cannot_be(space: Path, line: str, said: str) -> None:
    _append(space, line)
    result = invoke("agents", "list", space)
    assert result.exit_code == 4
    assert said in " ".join(result.stderr.split())
