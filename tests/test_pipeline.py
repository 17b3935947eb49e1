"""The way of a question: real encoder, real index, a reader of random weights, exchanged stages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pointsman import pipeline as module
from pointsman.backbone.encoder import Backbone
from pointsman.deadline import Deadline
from pointsman.defer.look_first import LookFirst
from pointsman.defer.plain import FirstAgent
from pointsman.errors import (
    ConfigError,
    DeadlineError,
    EmptyCollectionError,
    InputError,
    QuestionError,
)
from pointsman.grade.plain import Ungraded
from pointsman.pipeline import NOTHING_RELEVANT, Pipeline, PipelineSettings
from pointsman.protocols import Queries
from pointsman.retrieve.lance import LanceIndex
from pointsman.retriever import MAX_QUESTION, Retriever, check_question
from pointsman.route.plain import BaseRouter
from pointsman.select.plain import TopK
from pointsman.trace import Cost
from pointsman.types import Allocation, Answer, FloatArray, Graded, Passage, Routing, Selection
from pointsman.workspace import Workspace
from spaces import (
    CORPUS,
    NOTES,
    default_backbone,
    make_space,
    open_space,
    random_adapter,
    write_corpus,
    write_notes,
)

QUESTIONS = [
    "Who designed the first iron bridge?",
    "How hot is green tea brewed?",
    "How far away is Sirius, and which star is the brightest of the night sky in winter?",
    "eel",
    "How many flowers does a bee visit?",
]
STAGES = ["route", "retrieve", "grade", "select", "defer", "read"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return default_backbone()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("pipeline")
    with make_space(root / "space", backbone) as made:
        made.index([write_notes(root / "notes"), write_corpus(root / "corpus")])
        yield made


class Recorder:
    """An agent that answers with its own name and remembers what it was asked."""

    def __init__(self, name: str, usd: float = 0.0) -> None:
        self.name = name
        self.asked: list[str] = []
        self.contexts: list[list[str]] = []
        self.calls = 0
        self._cost = Cost(usd=usd)

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        self.calls += 1
        self.asked += questions
        self.contexts += [[passage.id for passage in context] for context in contexts]
        return [
            Answer(question, self.name, 0.5, agent=self.name, cost=self._cost)
            for question in questions
        ]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [self._cost for _ in questions]


@pytest.fixture
def build(space: Workspace) -> Callable[..., Pipeline]:
    """The workspace's pipeline with some of its parts exchanged."""

    def build(**parts: Any) -> Pipeline:
        usual = space.pipeline
        agents = parts.get("agents", usual.agents)
        given: dict[str, Any] = {
            "encoder": usual.encoder,
            "index": usual.index,
            "router": usual.router,
            "grader": usual.grader,
            "selector": usual.selector,
            "allocator": FirstAgent([agent.name for agent in agents]),
            "agents": agents,
            "settings": usual.settings,
        }
        return Pipeline(**{**given, **parts})

    return build


def without_times(answer: Answer) -> Answer:
    """Everything but the numbers that differ between two runs or in the last bits."""
    spans = tuple(
        (replace(span, score=0.0, probability=0.0), passage)
        for span, passage in answer.alternatives
    )
    return replace(answer, confidence=0.0, alternatives=spans, cost=Cost(), trace=module.Trace())


# --- asking ---------------------------------------------------------------------------------------


def test_asking_many_is_asking_one_by_one(space: Workspace) -> None:
    together = space.ask_many(QUESTIONS)
    alone = [space.ask(question) for question in QUESTIONS]
    assert [answer.question for answer in together] == QUESTIONS
    for one, other in zip(together, alone, strict=True):
        assert without_times(one) == without_times(other)
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)
        for step, step_alone in zip(one.trace.steps, other.trace.steps, strict=True):
            assert step.options == step_alone.options
            assert step.choice == step_alone.choice
            assert step.scores == pytest.approx(step_alone.scores, rel=1e-3)
    assert len({answer.text for answer in together}) > 1


def test_many_questions_are_taken_in_turns(
    space: Workspace, build: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = [without_times(answer) for answer in space.ask_many(QUESTIONS)]
    agent = Recorder("one")
    monkeypatch.setattr(module, "_TOGETHER", 2)
    assert [without_times(answer) for answer in space.ask_many(QUESTIONS)] == usual
    build(agents=[agent]).ask_many(QUESTIONS)
    assert (agent.calls, agent.asked) == (3, QUESTIONS)


def test_start_and_end_mark_the_answer_in_its_passage(space: Workspace) -> None:
    for answer in space.ask_many(QUESTIONS):
        assert answer.text
        assert answer.passage is not None
        assert answer.passage.text[answer.start : answer.end] == answer.text
        assert 0 < answer.confidence <= 1
        assert (answer.agent, answer.abstained, answer.failure) == ("reader", False, "")
        assert answer.cost.gflops > 0
        assert len(answer.alternatives) == 2  # n_best is 3
        for span, passage in answer.alternatives:
            assert passage.text[span.start : span.end] == span.text
            assert span.probability <= answer.confidence


def test_the_trace_has_six_steps(space: Workspace) -> None:
    answer = space.ask("Who designed the first iron bridge?")
    steps = answer.trace.steps
    assert [step.stage for step in steps] == STAGES
    route, retrieve, grade, select, defer, read = steps
    # Every expert is weighed, and the weights are shares.
    assert set(route.options) == {"base", *space.experts}
    assert sum(route.scores) == pytest.approx(1.0)
    assert list(route.choice) == [
        name for name, weight in zip(route.options, route.scores, strict=True) if weight > 0
    ]
    everything = {*CORPUS, *NOTES}
    assert set(retrieve.options) == everything
    assert list(retrieve.scores) == sorted(retrieve.scores, reverse=True)
    assert retrieve.options[0] == "bridges.md"
    assert grade.options == retrieve.options
    assert select.choice == retrieve.options[:5]
    assert (defer.options, defer.choice) == (("reader",), ("reader",))
    assert read.choice == (answer.text,)
    assert read.cost.gflops == answer.cost.gflops
    assert all(step.seconds >= 0 for step in steps)
    assert answer.trace.seconds == pytest.approx(sum(step.seconds for step in steps))


def test_the_trace_as_a_tree_and_as_json(space: Workspace) -> None:
    answer = space.ask("Who designed the first iron bridge?")
    lines = str(answer.trace).splitlines()
    stages = [line.split()[1] for line in lines if line[0] in "├└"]
    assert stages == STAGES
    assert any("●" in line and "bridges.md" in line for line in lines)
    back = json.loads(json.dumps(answer.as_dict(), allow_nan=False))
    assert back["text"] == answer.text
    assert [step["stage"] for step in back["trace"]["steps"]] == STAGES
    assert back["trace"]["cost"]["gflops"] == answer.cost.gflops
    assert json.loads(json.dumps(answer.trace.as_dict())) == back["trace"]


def test_a_reader_that_is_not_sure_abstains(space: Workspace, backbone: Backbone) -> None:
    with open_space(space.path, backbone, read__min_confidence=1.0) as strict:
        answer = strict.ask("Who designed the first iron bridge?")
    sure = space.ask("Who designed the first iron bridge?")
    assert (answer.text, answer.passage, answer.start, answer.end) == ("", None, None, None)
    assert answer.abstained
    assert answer.confidence == pytest.approx(sure.confidence)
    assert answer.alternatives[0][0].text == sure.text  # what it would have said
    read = answer.trace.steps[-1]
    assert (read.choice, read.note) == ((), "reader: abstained")
    json.dumps(answer.as_dict())


# --- what can be asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    ["", "   ", "\t\r\n", "\x00\x01\x7f", "\ud800", " \ud800 \x00 ", "\u3000\xa0"],
)
def test_nothing_is_no_question(space: Workspace, question: str) -> None:
    with pytest.raises(QuestionError, match="the question is empty: ask something"):
        space.ask(question)


def test_a_hundred_thousand_characters_are_no_question(space: Workspace) -> None:
    with pytest.raises(QuestionError, match=r"has 100,000 characters, 10,000 are the most; ask "):
        space.ask("x" * 100_000)
    longest = ("Which bridge? " * MAX_QUESTION)[:MAX_QUESTION]
    assert space.ask(longest).question == longest.strip()


def test_one_bad_question_stops_all_before_any_is_asked(build: Callable[..., Pipeline]) -> None:
    agent = Recorder("one")
    with pytest.raises(QuestionError):
        build(agents=[agent]).ask_many([*QUESTIONS, " "])
    assert agent.calls == 0


@pytest.mark.parametrize(
    "question",
    [
        "من صمّم أول جسر حديدي؟",
        "第一座铁桥是谁设计的？",
        "पहला लोहे का पुल किसने बनाया?",
        "🙂👩‍👩‍👧 🦉?",
        "\u202eegdirb\u202c a\u0301\u0301\u0301",
        "???",
        "' OR 1=1; --",
        '"iron bridge" AND (tea OR NOT *:*) ^2 ~ \\',
    ],
)
@pytest.mark.parametrize("mode", ["hybrid", "bm25"])
def test_any_script_and_any_sign_can_be_asked(
    build: Callable[..., Pipeline], question: str, mode: Any
) -> None:
    answer = build(settings=PipelineSettings(mode=mode)).ask(question)
    assert answer.question == question
    assert answer.abstained == (not answer.text)
    json.dumps(answer.as_dict()).encode()


def test_what_cannot_be_stored_is_replaced_in_a_question(space: Workspace) -> None:
    answer = space.ask("  iron\x00 bridge\ud800?\n")
    assert answer.question == "iron\ufffd bridge\ufffd?"
    assert answer.trace.steps[1].options[0] == "bridges.md"
    json.dumps(answer.as_dict(), ensure_ascii=False).encode("utf-8")


def test_checking_a_question() -> None:
    assert check_question("  a question \n") == "a question"
    assert check_question("\ufffd?") == "\ufffd?"


def test_one_string_is_not_many_questions(space: Workspace) -> None:
    with pytest.raises(TypeError, match="a sequence of questions, not one string"):
        space.ask_many("eel")


def test_no_questions_no_answers(space: Workspace) -> None:
    assert space.ask_many([]) == []


# --- filters --------------------------------------------------------------------------------------


def test_a_filter_holds_for_what_is_retrieved_and_read(space: Workspace) -> None:
    question = "Who designed the first iron bridge?"
    answer = space.ask(question, where={"document": ["tea.txt", "owl"]})
    assert set(answer.trace.steps[1].options) == {"tea.txt", "owl"}
    assert answer.passage is not None
    assert answer.passage.document in ("tea.txt", "owl")
    assert [hit.passage.id for hit in space.search(question, where={"title": "Owls"})] == ["owl"]


def test_a_filter_that_nothing_meets_is_an_abstention(space: Workspace) -> None:
    answer = space.ask("Who?", where={"document": 'it\'s "no" document'})
    assert answer.abstained
    assert (answer.text, answer.confidence, answer.alternatives) == ("", 0.0, ())
    assert [step.options for step in answer.trace.steps[1:4]] == [(), (), ()]
    assert "0 passages" in str(answer.trace)


def test_a_filter_on_a_field_that_no_passage_has(space: Workspace) -> None:
    with pytest.raises(InputError, match=r"no passage of .* has the field 'yaer'; fields are "):
        space.ask("Who?", where={"yaer": 1781})


# --- exchanged stages -----------------------------------------------------------------------------


class TwoExperts:
    """Weights of two experts, given row by row."""

    def __init__(self, *weights: tuple[float, float]) -> None:
        self._weights = np.asarray(weights, dtype=np.float32)

    def route(self, queries: Queries) -> Routing:
        assert queries.vectors.shape == (len(queries.texts), 384)
        return Routing(("base", "expert"), self._weights, self._weights)


class CountingEncoder:
    """Passes on to a backbone, and remembers who was asked for what."""

    def __init__(self, backbone: Backbone) -> None:
        self.identity = backbone.identity
        self._backbone = backbone
        self.calls: list[tuple[str | None, list[str]]] = []

    def encode(
        self,
        texts: Sequence[str],
        adapter: Any = None,
        *,
        prompt: str | None = None,
        deadline: Deadline | None = None,
    ) -> FloatArray:
        self.calls.append((adapter, list(texts)))
        return self._backbone.encode(texts, adapter, prompt=prompt, deadline=deadline)


def test_a_router_mixes_the_vectors_of_two_experts(
    build: Callable[..., Pipeline], backbone: Backbone
) -> None:
    backbone.add_adapter("expert", random_adapter(backbone, seed=3, rank=4))
    try:
        encoder = CountingEncoder(backbone)
        mixing = build(
            encoder=encoder,
            router=TwoExperts((0.25, 0.75), (1, 0), (0, 1)),
            settings=PipelineSettings(mode="dense", candidates=6),
        )
        questions = QUESTIONS[:3]
        answers = mixing.ask_many(questions)
        base = backbone.encode(questions)
        expert = backbone.encode(questions, "expert")
    finally:
        backbone.remove_adapter("expert")
    # By hand: each row's weighted sum, of unit length again.
    queries = np.stack([0.25 * base[0] + 0.75 * expert[0], base[1], expert[2]])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    assert base[0] @ expert[0] < 0.99  # or the mixture would show nothing
    contents = {**{id: f"{title} {text}".strip() for id, (title, text) in CORPUS.items()}}
    titles = {"bridges.md": "Bridges", "tea.txt": "tea", "deep/stars.txt": "stars"}
    contents |= {id: f"{titles[id]} {text}" for id, text in NOTES.items()}
    vectors = dict(zip(contents, backbone.encode(list(contents.values())), strict=True))
    for query, answer in zip(queries, answers, strict=True):
        retrieve = answer.trace.steps[1]
        expected = {id: float(query @ vector) for id, vector in vectors.items()}
        assert dict(zip(retrieve.options, retrieve.scores, strict=True)) == pytest.approx(
            expected, abs=1e-4
        )
    # Each expert saw only the rows that use it, and the base's vectors were made once.
    assert encoder.calls == [
        (None, questions),
        (["expert", "expert"], [questions[0], questions[2]]),
    ]
    routes = [answer.trace.steps[0] for answer in answers]
    assert [route.options[0] for route in routes] == ["expert", "base", "expert"]
    assert [route.choice for route in routes] == [("expert", "base"), ("base",), ("expert",)]
    assert routes[0].scores == (0.75, 0.25)


def test_queries_are_fitted_to_the_collection_before_the_search(
    build: Callable[..., Pipeline], backbone: Backbone
) -> None:
    class Reversed:
        def fit(self, queries: FloatArray) -> FloatArray:
            return -queries

    dense = PipelineSettings(mode="dense", candidates=3)
    everything = PipelineSettings(mode="dense", candidates=100)
    question = QUESTIONS[0]
    last = build(settings=everything).retrieve([question], 100)[0][-1].passage.id
    fitted = build(query_fit=Reversed(), settings=dense).retrieve([question], 3)[0]
    assert fitted[0].passage.id == last


def test_the_router_says_how_much_words_count(
    build: Callable[..., Pipeline], space: Workspace
) -> None:
    class Words(BaseRouter):
        def route(self, queries: Queries) -> Routing:
            shift = np.array([-0.5, 0.5][: len(queries.texts)], dtype=np.float32)
            return replace(super().route(queries), dense_shift=shift)

    routed = build(router=Words(), settings=PipelineSettings(mode="hybrid", candidates=5))
    answers = routed.ask_many(QUESTIONS[:2])
    notes = [answer.trace.steps[1].note for answer in answers]
    assert notes[0].endswith(", vectors count -0.5")
    assert notes[1].endswith(", vectors count +0.5")
    for answer, mode in zip(answers, ("bm25", "dense"), strict=True):
        alone = build(router=BaseRouter(), settings=PipelineSettings(mode=mode, candidates=1))
        best = alone.ask(answer.question).trace.steps[1].options[0]
        assert answer.trace.steps[1].options[0] == best
    # By vectors alone there are no words to weigh.
    dense = build(router=Words(), settings=PipelineSettings(mode="dense", candidates=5))
    assert "count" not in dense.ask(QUESTIONS[0]).trace.steps[1].note


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_what_is_retrieved_is_what_is_read_from(build: Callable[..., Pipeline], mode: Any) -> None:
    """A pipeline looks at what its retriever finds, whichever way it is asked."""
    whole = build(settings=PipelineSettings(mode=mode, candidates=4))
    found = whole.retriever.retrieve(QUESTIONS, 4)
    assert whole.retrieve(QUESTIONS, 4) == found
    for answer, hits in zip(whole.ask_many(QUESTIONS), found, strict=True):
        retrieve = answer.trace.steps[1]
        assert retrieve.options == tuple(hit.passage.id for hit in hits)
        assert retrieve.scores == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_bm25_needs_no_vectors(build: Callable[..., Pipeline], backbone: Backbone) -> None:
    encoder = CountingEncoder(backbone)
    words = PipelineSettings(mode="bm25")
    by_words = build(encoder=encoder, router=BaseRouter(), settings=words)
    answer = by_words.ask("Sargasso honey")
    assert encoder.calls == []
    assert set(answer.trace.steps[1].options) == {"eel", "bee"}
    assert by_words.ask("xylophone").abstained


class ByWord:
    """Three grades: strong where a word occurs, weak where the title has it, else irrelevant."""

    grades = ("irrelevant", "weak", "strong")

    def __init__(self, word: str) -> None:
        self._word = word

    def grade(self, questions: Sequence[str], passages: Any, deadline: Any = None) -> list[Graded]:
        return [Graded(self.of(row), gflops=len(row)) for row in passages]

    def of(self, passages: Sequence[Passage]) -> FloatArray:
        rows = [
            (0.0, 0.2, 0.8)
            if self._word in passage.text
            else (0.1, 0.8, 0.1)
            if self._word in passage.title
            else (0.9, 0.1, 0.0)
            for passage in passages
        ]
        return np.asarray(rows, dtype=np.float32).reshape(-1, 3)


def test_a_grader_decides_what_the_reader_sees(build: Callable[..., Pipeline]) -> None:
    agent = Recorder("one")
    alone = PipelineSettings(relevance_weight=1)
    graded = build(grader=ByWord("eel"), selector=TopK(2), agents=[agent], settings=alone)
    answer = graded.ask("Who designed the first iron bridge?")
    retrieve, grade, select = answer.trace.steps[1:4]
    scores = dict(zip(grade.options, grade.scores, strict=True))
    # 0.2 · 1/2 + 0.8 for the eel, 0.1 · 1/2 for the others.
    assert scores.pop("eel") == pytest.approx(0.9)
    assert list(scores.values()) == pytest.approx([0.05] * 5)
    assert grade.note == "irrelevant, weak, strong"
    others = tuple(id for id in retrieve.options if id != "eel")
    assert grade.options == grade.choice == ("eel", *others)  # what ties is as it was found
    assert select.options == grade.options
    assert select.choice == ("eel", "bridges.md")
    assert agent.contexts == [["eel", "bridges.md"]]
    nothing = graded.ask("Who?", where={"document": "none"})
    assert nothing.trace.steps[2].scores == ()
    assert not nothing.abstained  # the agent was asked, as ever where nothing is found
    assert agent.calls == 2


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.6, 1.0])
def test_relevance_is_weighed_against_the_retrieval_score(
    build: Callable[..., Pipeline], weight: float
) -> None:
    agent = Recorder("one")
    settings = PipelineSettings(mode="dense", relevance_weight=weight)
    graded = build(grader=ByWord("eel"), selector=TopK(9), agents=[agent], settings=settings)
    answer = graded.ask("Who designed the first iron bridge?")
    retrieve, grade = answer.trace.steps[1:3]
    relevance = dict(zip(grade.options, grade.scores, strict=True))
    low, high = min(retrieve.scores), max(retrieve.scores)
    mixed = {
        id: weight * relevance[id] + (1 - weight) * (score - low) / (high - low)
        for id, score in zip(retrieve.options, retrieve.scores, strict=True)
    }
    expected = sorted(retrieve.options, key=mixed.__getitem__, reverse=True)
    assert list(grade.options) == agent.contexts[0] == expected
    # Retrieval alone knows nothing of it.
    [hits] = graded.retrieve(["Who designed the first iron bridge?"], 9)
    assert tuple(hit.passage.id for hit in hits) == retrieve.options


def test_what_is_not_relevant_enough_is_not_read(build: Callable[..., Pipeline]) -> None:
    agent = Recorder("one")
    settings = PipelineSettings(relevance_weight=0, min_relevance=0.9)
    graded = build(grader=ByWord("eel"), selector=TopK(3), agents=[agent], settings=settings)
    answer = graded.ask("Who designed the first iron bridge?")
    retrieve, grade, select = answer.trace.steps[1:4]
    assert agent.contexts == [["eel"]]  # 0.9 of 0.9 is enough
    assert grade.options == retrieve.options  # the others are still to be seen
    assert (grade.choice, select.options, select.choice) == (("eel",),) * 3
    assert grade.note == "irrelevant, weak, strong; 1 of 6 reach 0.9"
    assert grade.cost.gflops == 6
    assert select.note == "1 of 1"
    assert answer.text == "one"


def test_where_nothing_is_relevant_nobody_is_asked(build: Callable[..., Pipeline]) -> None:
    class ByQuestion(ByWord):
        def grade(
            self, questions: Sequence[str], passages: Any, deadline: Any = None
        ) -> list[Graded]:
            pairs = zip(questions, passages, strict=True)
            return [Graded(ByWord(question).of(row)) for question, row in pairs]

    agent = Recorder("one")
    settings = PipelineSettings(min_relevance=0.5)
    graded = build(grader=ByQuestion(""), agents=[agent], settings=settings)
    silent, given = graded.ask_many(["xylophone", "honey"])
    assert agent.asked == ["honey"]
    assert agent.contexts == [["bee"]]
    assert given.text == "one"
    assert silent.abstained
    assert (silent.text, silent.failure, silent.passage, silent.alternatives) == ("", "", None, ())
    retrieve, grade, select, defer, read = silent.trace.steps[1:]
    assert set(grade.options) == set(retrieve.options) == {*CORPUS, *NOTES}
    assert grade.scores == pytest.approx([0.05] * 6)
    assert [step.choice for step in (grade, select, defer, read)] == [()] * 4
    assert grade.note.endswith("; 0 of 6 reach 0.5")
    assert read.note == f"abstained: {NOTHING_RELEVANT}"
    assert json.loads(json.dumps(silent.as_dict()))["abstained"]


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_without_a_grader_retrieval_decides(
    build: Callable[..., Pipeline], space: Workspace, weight: float
) -> None:
    """Whatever is asked of relevance, for nothing is known of it."""
    usual = [without_times(answer) for answer in space.ask_many(QUESTIONS)]
    settings = replace(space.pipeline.settings, relevance_weight=weight, min_relevance=1.0)
    answers = build(grader=Ungraded(), settings=settings).ask_many(QUESTIONS)
    assert [without_times(answer) for answer in answers] == usual
    for answer in answers:
        retrieve, grade = answer.trace.steps[1:3]
        assert grade.options == grade.choice == retrieve.options
        assert (grade.scores, grade.note) == ((), "ungraded")


def test_without_a_grader_scores_are_not_looked_at(
    build: Callable[..., Pipeline], space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of someone's own may put its passages in another order than their scores'."""
    search = space.store.search
    monkeypatch.setattr(
        space.store, "search", lambda *given: [hits[::-1] for hits in search(*given)]
    )
    agent = Recorder("one")
    answer = build(agents=[agent], selector=TopK(9)).ask("Which bridge?")
    retrieve = answer.trace.steps[1]
    assert list(retrieve.scores) == sorted(retrieve.scores)
    assert agent.contexts == [list(retrieve.options)]


class Backwards:
    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        found = []
        for given, known in zip(passages, relevance, strict=True):
            assert known.shape == (len(given),)
            # Two are left out, the likelier one of them the last that came.
            chances = np.linspace(0.1, 0.2, len(given), dtype=np.float32)
            found.append(
                Selection(np.arange(len(given))[-3::-1], chances, 0.5, reason="from behind")
            )
        return found


def test_a_selector_decides_the_order(build: Callable[..., Pipeline]) -> None:
    agent = Recorder("one")
    answer = build(selector=Backwards(), agents=[agent]).ask("Which bridge?")
    retrieve, select = answer.trace.steps[1], answer.trace.steps[3]
    assert select.choice == retrieve.options[3::-1]
    assert agent.contexts == [list(retrieve.options[3::-1])]
    assert select.options == (*select.choice, *retrieve.options[:3:-1])
    assert select.scores == pytest.approx((0.16, 0.14, 0.12, 0.1, 0.2, 0.18))
    assert select.note == "4 of 6: from behind"
    assert select.cost.gflops == 0.5


class Fixed:
    def __init__(self, agents: Sequence[str], choice: Sequence[int]) -> None:
        self._agents = tuple(agents)
        self._choice = choice
        self.prices: list[float] = []

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Sequence[Mapping[int, Answer]] | None = None,
        deadline: Deadline | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Allocation:
        self.prices.append(price)
        costs = np.tile(np.arange(1, 1 + len(self._agents), dtype=np.float32), (len(questions), 1))
        choice = self._choice if seen is None else [next(iter(each)) for each in seen]
        return Allocation(self._agents, np.asarray(choice, dtype=np.int64), costs)


class Deciding(Fixed):
    """Knows how likely the small one is wrong, takes two GFLOPs a time, and heeds the deadline."""

    deadline: Deadline | None = None

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Sequence[Mapping[int, Answer]] | None = None,
        deadline: Deadline | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Allocation:
        self.deadline = deadline
        time.sleep(0 if seen is None else 0.06)
        found = super().allocate(questions, contexts, price, seen)
        errors = np.tile(np.array([0.25, np.nan], dtype=np.float32), (len(questions), 1))
        gflops = np.full(len(questions), 2.0, dtype=np.float32)
        return replace(found, errors=errors, gflops=gflops)


def test_the_trace_tells_expected_errors_and_what_deciding_took(
    build: Callable[..., Pipeline],
) -> None:
    allocator, deadline = Deciding(["small", "large"], [0]), Deadline(60)
    deferring = build(agents=[Recorder("small"), Recorder("large")], allocator=allocator)
    answer = deferring.ask(QUESTIONS[0], deadline=deadline)
    step, reading = answer.trace.steps[4:6]
    json.dumps(answer.trace.as_dict(), allow_nan=False)
    # It thinks for a while after it was answered, and that is not reading.
    assert step.seconds > 0.05 > reading.seconds >= 0
    assert step.note == "expected costs; expected errors: small 0.25"
    assert step.cost.gflops == 4.0  # before anybody was asked, and after
    assert allocator.deadline is deadline


def test_each_agent_gets_its_own_questions(build: Callable[..., Pipeline]) -> None:
    small, large = Recorder("small"), Recorder("large", usd=0.5)
    allocator = Fixed(["small", "large"], [1, -1, 0, 1, 0])
    settings = PipelineSettings(price=0.25)
    deferring = build(agents=[small, large], allocator=allocator, settings=settings)
    answers = deferring.ask_many(QUESTIONS)
    assert [answer.text for answer in answers] == ["large", "", "small", "large", "small"]
    assert [answer.question for answer in answers] == QUESTIONS
    assert small.asked == [QUESTIONS[2], QUESTIONS[4]]
    assert large.asked == [QUESTIONS[0], QUESTIONS[3]]
    assert (small.calls, large.calls) == (1, 1)
    assert len(small.contexts[0]) == 5
    assert allocator.prices == [0.25, 0.25]  # before anybody was asked, and after
    defer = [answer.trace.steps[4] for answer in answers]
    assert [step.choice for step in defer[:3]] == [("large",), (), ("small",)]
    assert (defer[0].options, defer[0].scores) == (("small", "large"), (1.0, 2.0))
    silent = answers[1]
    assert silent.abstained
    assert (silent.passage, silent.confidence, silent.agent) == (None, 0.0, "")
    assert silent.trace.steps[5].note == "abstained"
    assert [answer.trace.cost.usd for answer in answers] == [0.5, 0, 0, 0.5, 0]


def test_a_failed_agent_is_told_in_the_trace(build: Callable[..., Pipeline]) -> None:
    class Failing(Recorder):
        def answer(self, questions: Any, contexts: Any, deadline: Any = None) -> list[Answer]:
            return [Answer(q, "", 0.0, agent=self.name, failure="no route") for q in questions]

    answer = build(agents=[Failing("far")]).ask("Who?")
    assert answer.failure == "no route"
    assert answer.trace.steps[5].note == "far: no route"


@pytest.mark.parametrize("names", [["large", "small"], ["small"], []])
def test_an_allocator_for_other_agents_is_refused(
    build: Callable[..., Pipeline], names: list[str]
) -> None:
    small, large = Recorder("small"), Recorder("large")
    wrong = build(agents=[small, large], allocator=Fixed(names, [0]))
    expected = f"chooses among {', '.join(names) or 'none'}, but the agents are small, large;"
    with pytest.raises(ConfigError, match=expected):
        wrong.ask("Who?")
    assert small.calls == large.calls == 0


# --- deadlines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_a_deadline_that_was_cancelled(build: Callable[..., Pipeline], mode: Any) -> None:
    agent = Recorder("one")
    deadline = Deadline()
    deadline.cancel()
    asked = build(agents=[agent], settings=PipelineSettings(mode=mode))
    with pytest.raises(DeadlineError, match="cancelled while "):
        asked.ask("Which bridge?", deadline=deadline)
    with pytest.raises(DeadlineError):
        asked.retrieve(["Which bridge?"], 3, deadline=deadline)
    assert agent.calls == 0
    assert asked.ask("Which bridge?").text == "one"  # the next one is not cancelled


def test_a_deadline_that_passed(space: Workspace) -> None:
    with pytest.raises(DeadlineError, match=r"the deadline passed while .*; allow more time"):
        space.ask("Which bridge?", deadline=Deadline(1e-9))
    assert space.ask("Which bridge?", deadline=Deadline(600)).text


@pytest.mark.parametrize(
    ("part", "doing"),
    [
        ("router", "routing"),
        ("grader", "grading"),
        ("selector", "selecting"),
        ("agents", "reading"),
    ],
)
def test_cancelled_in_the_middle(build: Callable[..., Pipeline], part: str, doing: str) -> None:
    deadline = Deadline()

    class Router(BaseRouter):
        def route(self, queries: Queries) -> Routing:
            deadline.cancel()
            return super().route(queries)

    class Slowly(Ungraded):
        def grade(self, *given: Any) -> list[Graded]:
            deadline.cancel()
            return super().grade(*given)

    class Selector(TopK):
        def select(self, *given: Any) -> Any:
            deadline.cancel()
            return super().select(*given)

    class Slow(Recorder):
        def answer(self, *given: Any, **named: Any) -> list[Answer]:
            deadline.cancel()
            return super().answer(*given, **named)

    parts = {
        "router": Router(),
        "grader": Slowly(),
        "selector": Selector(2),
        "agents": [Slow("slow")],
    }
    with pytest.raises(DeadlineError, match=f"cancelled while {doing}"):
        build(**{part: parts[part]}).ask("Which bridge?", deadline=deadline)


# --- settings and an empty index ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"mode": "sparse"}, "'sparse' is unknown .hybrid, dense, bm25."),
        ({"candidates": 0}, "at least 1 passage must be retrieved, not 0"),
        ({"price": -0.5}, "a price is at least 0, not -0.5"),
        ({"price": float("nan")}, "a price is at least 0, not nan"),
        ({"budget": -0.5}, "a budget is 0 dollars or more, not -0.5"),
        ({"budget": float("nan")}, "a budget is 0 dollars or more, not nan"),
        ({"budget": float("inf")}, "a budget is 0 dollars or more, not inf"),
        ({"min_relevance": 1.5}, "the least relevance lies between 0 and 1, not 1.5"),
        ({"relevance_weight": -1}, "the weight of relevance lies between 0 and 1, not -1"),
        ({"relevance_weight": float("nan")}, "between 0 and 1, not nan"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        PipelineSettings(**given)


def test_a_retriever_with_a_mode_that_there_is_not(space: Workspace) -> None:
    wrong: Any = "sparse"
    with pytest.raises(ConfigError, match="'sparse' is unknown"):
        Retriever(space.backbone, space.store, BaseRouter(), mode=wrong)


def test_an_empty_index_has_no_answers(
    tmp_path: Path, build: Callable[..., Pipeline], backbone: Backbone
) -> None:
    with LanceIndex.create(tmp_path / "index", backbone.identity) as index:
        agent = Recorder("one")
        empty = build(index=index, agents=[agent], grader=Ungraded())
        with pytest.raises(EmptyCollectionError, match="the index is empty: index some documents"):
            empty.ask("Who?")
        with pytest.raises(EmptyCollectionError):
            empty.retrieve(["Who?"], 3)
        with pytest.raises(QuestionError):  # said first: it is wrong wherever it is asked
            empty.ask(" ")
        assert empty.ask_many([]) == []
        assert agent.calls == 0


def test_fewer_candidates_than_passages_to_read(build: Callable[..., Pipeline]) -> None:
    answer = build(settings=PipelineSettings(candidates=2)).ask("Which bridge?")
    assert [len(step.choice) for step in answer.trace.steps[1:4]] == [2, 2, 2]


# --- looking, and asking again ----------------------------------------------------------------------


class Saying:
    """An agent that answers the same each time, or fails, and counts its questions."""

    def __init__(self, name: str, confidence: float, failure: str = "", usd: float = 0.0) -> None:
        self.name = name
        self._confidence = confidence
        self._failure = failure
        self._usd = usd
        self.asked: list[str] = []

    def answer(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]], deadline: Any = None
    ) -> list[Answer]:
        self.asked += questions
        text = "" if self._failure else self.name
        given = Answer("", text, self._confidence, agent=self.name, failure=self._failure)
        return [replace(given, question=q, cost=Cost(usd=self._usd)) for q in questions]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [Cost(usd=self._usd)] * len(questions)


@pytest.mark.parametrize(
    ("confidence", "price", "asked"),
    [
        (0.9, 0.0, False),  # surer than the other is good
        (0.7, 0.0, True),
        (0.7, 0.2, False),  # 0.8 less 0.2
        (0.5, 0.2, True),
        (0.0, 1.0, False),
    ],
)
def test_another_is_asked_where_that_is_worth_it(
    build: Callable[..., Pipeline], confidence: float, price: float, asked: bool
) -> None:
    small, large = Saying("small", confidence), Saying("large", 0.8, usd=0.5)
    looking = build(
        agents=[small, large],
        allocator=LookFirst(["small", "large"], [0.0, 0.8], [0.0, 3.0]),
        settings=PipelineSettings(price=price),
    )
    answer = looking.ask("Which bridge?")
    assert answer.text == ("large" if asked else "small")
    assert len(large.asked) == asked
    assert answer.cost.usd == (0.5 if asked else 0.0)
    defer = answer.trace.steps[4]
    assert defer.choice == (("small", "large") if asked else ("small",))
    assert defer.scores[0] == pytest.approx(1 - confidence)
    assert f"expected errors: small {1 - confidence:.2f}, large 0.20" in defer.note


def test_what_an_agent_does_not_answer_another_does(build: Callable[..., Pipeline]) -> None:
    down, up = Saying("down", 0.0, "down cannot be reached", usd=0.1), Saying("up", 0.6, usd=0.2)
    answer = build(agents=[down, up]).ask("Which bridge?")
    assert (answer.text, answer.failure) == ("up", "")
    assert answer.cost.usd == pytest.approx(0.3)  # what was paid in vain was paid
    defer = answer.trace.steps[4]
    assert defer.choice == ("down", "up")
    assert defer.note == "expected costs; down cannot be reached"


def test_where_all_fail_the_last_failure_is_told(build: Callable[..., Pipeline]) -> None:
    one, two = Saying("one", 0.0, "one is down"), Saying("two", 0.0, "two is down")
    answer = build(agents=[one, two]).ask("Which bridge?")
    assert (answer.text, answer.failure) == ("", "two is down")
    assert len(one.asked) == len(two.asked) == 1
    assert answer.trace.steps[4].note == "expected costs; one is down"


def test_after_a_failure_the_next_best_by_the_same_decision(build: Callable[..., Pipeline]) -> None:
    names = ["reader", "dear", "cheap"]
    reader, dear = Saying("reader", 0.2), Saying("dear", 0.0, "dear is down", usd=1.0)
    cheap = Saying("cheap", 0.7)
    looking = build(
        agents=[reader, dear, cheap],
        allocator=LookFirst(names, [0.0, 0.9, 0.7], [0.0, 1.0, 0.1]),
        settings=PipelineSettings(price=0.05),
    )
    answer = looking.ask("Which bridge?")
    assert answer.text == "cheap"
    assert answer.trace.steps[4].choice == ("reader", "dear", "cheap")
