"""A learned allocator: what is recorded, learned and saved, and how it decides in a pipeline's hands."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import read_safetensors
from pointsman.deadline import Deadline
from pointsman.defer.allocator import CascadeAllocator, Judge
from pointsman.defer.answered import Answered, ask_everybody
from pointsman.defer.cost import Pricing
from pointsman.defer.make import PROMISES, AtPrice, Made, make_allocator
from pointsman.defer.measured import promised
from pointsman.defer.record import Record, collect
from pointsman.defer.saved import DESCRIPTION, WEIGHTS, load_allocator
from pointsman.errors import (
    BackboneMismatchError,
    ConfigError,
    DeadlineError,
    InputError,
    SpecialistError,
)
from pointsman.protocols import Allocator
from pointsman.trace import Cost
from pointsman.types import Answer, FloatArray, Judged, Passage
from tiny import write_tiny

N = 240
QUESTIONS = [f"what is {i}" for i in range(N)]
CONTEXTS = [[Passage(f"p{i // 2}", f"here comes red {i // 2} after blue")] for i in range(N)]
GOLD = [[f"red {i // 2}"] for i in range(N)]
UNITS = [0.0, 1.0]


class Guessing:
    """An agent that is right so often, and fails or says nothing where it is told to."""

    def __init__(self, name: str, share: float, usd: float = 0.0) -> None:
        self.name = name
        self._share = share
        self._usd = usd
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        self.asked += questions
        return [self._one(question) for question in questions]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [Cost(usd=self._usd)] * len(questions)

    def _one(self, question: str) -> Answer:
        if question in self.failing:
            return Answer(question, "", 0.0, agent=self.name, failure="down")
        if question in self.silent:
            return Answer(question, "", 0.0, abstained=True, agent=self.name)
        i = int(question.split()[-1])
        good = random.Random(f"{self.name}-{i}").random() < self._share
        text = f"red {i // 2}" if good else "blue"
        return Answer(question, text, 0.5, agent=self.name, cost=Cost(usd=self._usd))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def agents() -> list[Guessing]:
    return [Guessing("small", 0.6), Guessing("large", 0.9, usd=0.01)]


def answered(place: Path, given: Sequence[Guessing], **more: Any) -> Answered:
    usual: dict[str, Any] = {"questions": QUESTIONS, "contexts": CONTEXTS, "answers": GOLD}
    usual |= more
    return ask_everybody(
        given,
        usual["questions"],
        usual["contexts"],
        usual["answers"],
        [context[0].text if context else "" for context in usual["contexts"]],
        place / "answers.jsonl",
        lambda *_: None,
        measure=usual.get("measure", "em"),
    )


def make(
    backbone: Backbone,
    place: Path,
    given: Sequence[Guessing],
    judge: Judge | None = None,
    **more: Any,
) -> Made:
    return make_allocator(
        backbone,
        answered(place, given, **more),
        UNITS,
        place / "allocator",
        data="a.json",
        command="me",
        show=lambda *_: None,
        judge=judge,
    )


@pytest.fixture(scope="module")
def made(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    place = tmp_path_factory.mktemp("made")
    return make(backbone, place, agents()), place


def test_everybody_is_asked_once(tmp_path: Path) -> None:
    given, path = agents(), tmp_path / "deep" / "answers.jsonl"
    given[1].failing = {QUESTIONS[3]}
    record = collect(given, QUESTIONS, CONTEXTS, path, lambda *_: None)
    assert record.failures == (0, 1)
    assert record.texts[3][1] is None
    assert record.texts[0][0] in {"red 0", "blue"}
    assert record.sure[0][0] == 0.5
    assert record.sure[3][1] is None
    assert record.mean_cost()[1, 2] == pytest.approx(0.01 * (N - 1) / N)
    # The same again asks what failed, and that alone; a line that was cut off is asked again.
    text = path.read_text("utf-8")
    path.write_text(text[:-20], "utf-8")
    again = agents()
    other = collect(again, QUESTIONS, CONTEXTS, path, lambda *_: None)
    assert again[0].asked == []
    assert sorted(again[1].asked) == sorted([QUESTIONS[3], QUESTIONS[-1]])
    assert other.texts[5] == record.texts[5]
    assert other.texts[3][1] is not None
    assert other.sure[5] == record.sure[5]
    # What an earlier version kept has no confidence, and is not asked again.
    lines = [
        json.loads(line) for line in path.read_text("utf-8").splitlines() if line.endswith("}")
    ]
    for line in lines:
        del line["confidence"]
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    old = agents()
    assert collect(old, QUESTIONS, CONTEXTS, path, lambda *_: None).sure[5] == [None, None]
    assert old[0].asked == []
    # Another passage is another question.
    changed = [[Passage("p", "nothing")], *CONTEXTS[1:]]
    third = agents()
    collect(third, QUESTIONS, changed, path, lambda *_: None)
    assert third[0].asked == QUESTIONS[:1]
    # Another model under the same name is another agent.
    for known_by, asked in ((["a", ""], N), (["a", ""], 0), (["b", ""], N)):
        fourth = agents()
        collect(fourth, QUESTIONS, CONTEXTS, path, lambda *_: None, known_by=known_by)
        assert (len(fourth[0].asked), len(fourth[1].asked)) == (asked, 0)


def test_what_a_price_gave_against_the_best_single_agent() -> None:
    """By hand, at price 0.2: the first is right on 2 of 4 and takes nothing, the second on 3 and takes 1,
    0.5 against 0.55. Right on all with the second asked twice is 1 - 0.2 / 2 = 0.9, which is 0.35 more.
    """
    right = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    texts = [["a", "b"]] * 4
    record = Record(texts, [[None] * 2] * 4, [[Cost()] * 2] * 4, np.zeros((4, 2), dtype=bool))
    known = Answered(
        ("one", "other"), ["?"] * 4, [[]] * 4, [""] * 4, record, right, np.array([0, 0, 1, 1])
    )
    asked = np.array([[True, False], [True, False], [True, True], [True, True]])
    whose = np.array([0, 0, 1, 1])
    pricing = Pricing.at(1.0, known.agents, [0.0, 1.0])
    found = AtPrice.of(0.2, known, np.arange(4), whose, asked, pricing)
    assert (found.right, found.cost, found.asked) == (1.0, 0.5, (1.0, 0.5))
    assert found.gain.mean == pytest.approx(0.9 - 0.55)
    # In the first cluster 1 against 0.3, in the other 0.8 against 0.8.
    assert found.gain.low == pytest.approx(0.0)
    assert found.gain.high == pytest.approx(0.7)
    assert found.gain.clusters == 2


def test_what_came_of_it(made: tuple[Made, Path]) -> None:
    found, place = made
    assert found.right[0] == pytest.approx(0.6, abs=0.1)
    assert found.right[1] == pytest.approx(0.9, abs=0.06)
    rights, costs = [each.right for each in found.at], [each.cost for each in found.at]
    assert rights[0] >= found.right[1] - 0.03
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.1  # at a price of one answer nobody asks the dear one
    # At price 0 nearly all are right, so that a tenth of errors can be promised for most questions; in
    # the end the cheap one alone answers, of whom the verifier knows when it is wrong.
    for each in found.at:
        five, ten, twenty = each.promises
        assert (five.error, ten.error, twenty.error) == PROMISES
        assert five.answered <= ten.answered <= twenty.answered
        assert twenty.least is not None
        assert each.gain.low <= each.gain.mean <= each.gain.high
        assert each.gain.low > -0.1
    assert found.at[0].promises[1].answered > 0.8
    card = (place / "allocator" / "README.md").read_text("utf-8")
    assert "| at most wrong | 5 % | 10 % | 20 % |" in card
    for part in (
        "# allocator: an allocator",
        "small, large",
        "    me",
        "| price 0.1 |",
        "| worth more than the best one alone |",
    ):
        assert part in card


def test_a_reader_that_looks_is_asked_where_it_was_trained_with_one(
    backbone: Backbone, tmp_path: Path
) -> None:
    """It likes what is right: then the cheap one is known to be wrong, whatever it says."""
    looked: list[int] = []

    def judge(
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        texts: Sequence[Sequence[str | None]],
        deadline: Deadline | None = None,
    ) -> Judged:
        looked.append(len(questions))
        rows = [
            [0.0 if not t else -0.1 if t.startswith("red") else -5.0 for t in row] for row in texts
        ]
        return Judged(np.array(rows, dtype=np.float32), np.full(len(rows), 2.0, dtype=np.float32))

    made = make(backbone, tmp_path, agents(), judge=judge)
    assert sum(looked) == N
    looked.clear()
    assert made.at[1].right > 0.9
    folder = tmp_path / "allocator"
    allocator = load_allocator(folder, backbone, ["small", "large"], UNITS, judge)
    allocator.allocate(QUESTIONS[:2], CONTEXTS[:2], 0.05)
    assert looked == []  # nothing was said yet
    seen = [{0: Answer(QUESTIONS[0], "red 0", 0.5)}, {0: Answer(QUESTIONS[1], "blue", 0.5)}]
    found = allocator.allocate(QUESTIONS[:2], CONTEXTS[:2], 0.05, seen)
    assert looked == [2]
    # What looking took is told, and how likely each answer is wrong; of what was not said, what is foreseen.
    assert found.gflops is not None
    assert found.errors is not None
    assert found.confidence is not None
    assert found.gflops.tolist() == [2.0, 2.0]  # the question was encoded before
    assert found.errors[:, 0] == pytest.approx(1 - found.confidence[:, 0])
    assert found.errors[:, 1] == pytest.approx(1 - made.right[1], abs=0.15)
    # The same again, and another agent that says the same, are not looked at again.
    again = allocator.allocate(QUESTIONS[:2], CONTEXTS[:2], 0.05, seen)
    assert again.gflops is not None
    assert again.gflops.tolist() == [0.0, 0.0]
    both = [{**seen[0], 1: Answer(QUESTIONS[0], "red 0", 0.5)}, seen[1]]
    allocator.allocate(QUESTIONS[:2], CONTEXTS[:2], 0.05, both)
    assert looked == [2]
    seen[1] = {**seen[1], 1: Answer(QUESTIONS[1], "red 0", 0.5)}
    assert allocator.allocate(QUESTIONS[:2], CONTEXTS[:2], 0.05, seen).choice.tolist() == [0, 1]
    assert looked == [2, 1]
    assert found.choice.tolist() == [0, 1]
    with pytest.raises(ConfigError, match="trained with a reader that looks"):
        load_allocator(folder, backbone, ["small", "large"], UNITS)


def test_it_decides_by_what_was_said(made: tuple[Made, Path], backbone: Backbone) -> None:
    allocator: Allocator = load_allocator(
        made[1] / "allocator", backbone, ["small", "large"], UNITS
    )
    new = [f"what is {i}" for i in range(1_000, 1_020)]
    contexts = [[Passage("p", f"here comes red {i // 2} after blue")] for i in range(1_000, 1_020)]
    gone = Deadline()
    gone.cancel()
    with pytest.raises(DeadlineError):
        allocator.allocate(new, contexts, 0.3, deadline=gone)
    first = allocator.allocate(new, contexts, 0.3)
    assert first.gflops is not None
    assert (first.gflops > 0).all()
    once_more = allocator.allocate(new, contexts, 0.3)
    assert once_more.gflops is not None
    assert not once_more.gflops.any()  # encoded once
    assert first.choice.tolist() == [0] * 20  # it costs nothing, and so is asked first
    seen = [
        {0: Answer(q, f"red {(1_000 + i) // 2}" if i % 2 else "blue", 0.5)}
        for i, q in enumerate(new)
    ]
    then = allocator.allocate(new, contexts, 0.3, seen)
    # It learned what a good answer looks like: the others are asked about again.
    assert then.choice.tolist() == [1, 0] * 10
    assert then.confidence is not None
    assert then.confidence[1, 0] > 0.8 > 0.3 > then.confidence[0, 0]
    # Both were asked: the better answer is given, and nobody else is asked.
    both = [
        {**row, 1: Answer(q, f"red {(1_000 + i) // 2}", 0.5)}
        for i, (q, row) in enumerate(zip(new, seen, strict=True))
    ]
    last = allocator.allocate(new, contexts, 0.3, both)
    assert all(last.choice[i] == 1 for i in range(0, 20, 2))
    # At no price at all nobody is spared, at a high one nobody else is asked.
    assert (allocator.allocate(new, contexts, 5.0, seen).choice == 0).all()
    assert allocator.allocate([], [], 0.3, []).choice.shape == (0,)


def test_whose_errors_weigh_less_is_heard_more(made: tuple[Made, Path], backbone: Backbone) -> None:
    """The cheap agent says what is known to be wrong; where its errors weigh nothing it answers all the same,
    and nobody else is asked. The same allocator serves.
    """
    folder, names = made[1] / "allocator", ["small", "large"]
    usual, careless = (
        load_allocator(folder, backbone, names, UNITS, alpha=alpha) for alpha in (None, [0.0, 1.0])
    )
    both = [{0: Answer(q, "blue", 0.5), 1: Answer(q, "red", 0.5)} for q in QUESTIONS[:8]]
    blue = [{0: Answer(q, "blue", 0.5)} for q in QUESTIONS[:8]]
    for allocator, given, onward in ((usual, 1, 1), (careless, 0, 0)):
        found = allocator.allocate(QUESTIONS[:8], CONTEXTS[:8], 0.05, both)
        assert found.choice.tolist() == [given] * 8
        assert (
            allocator.allocate(QUESTIONS[:8], CONTEXTS[:8], 0.05, blue).choice.tolist()
            == [onward] * 8
        )
    told = careless.allocate(QUESTIONS[:8], CONTEXTS[:8], 0.05, blue)
    assert told.expected_cost[:, 0].tolist() == [0.0] * 8
    assert told.errors is not None
    assert (told.errors[:, 0] > 0.9).all()
    with pytest.raises(ConfigError, match="alpha of large must be 0 or more, not nan"):
        load_allocator(folder, backbone, names, UNITS, alpha=[1.0, float("nan")])


def test_an_answer_is_as_right_as_its_words(backbone: Backbone, tmp_path: Path) -> None:
    """By F1 half of "red 3" is right where "red" is, and an agent that says half is half as good; of shares of
    wrong answers nothing is promised then.
    """
    gold = [[answers[0].split()[0]] for answers in GOLD]
    exact, words = (
        answered(tmp_path, agents(), answers=gold, measure=each) for each in ("em", "f1")
    )
    assert set(exact.right.ravel().tolist()) == {0.0}
    assert set(words.right.ravel().round(4).tolist()) == {0.0, 0.6667}
    made = make(backbone, tmp_path, agents(), answers=gold, measure="f1")
    assert made.right[1] == pytest.approx(0.9 * 2 / 3, abs=0.05)
    assert made.at[0].promises == ()
    card = (tmp_path / "allocator" / "README.md").read_text("utf-8")
    assert "F1, five-fold by passage" in card
    assert "What can be promised" not in card
    with pytest.raises(ConfigError, match=r"promises nothing: .* or learned from F1"):
        promised(tmp_path / "allocator", 0.0, 0.1)


def test_without_an_answer_to_say_nothing_is_right(tmp_path: Path) -> None:
    """And to fail is not, on such a question or any other."""
    given = agents()
    given[1].failing = {QUESTIONS[3], QUESTIONS[4]}
    silent = Guessing("silent", 1.0)
    silent.silent = {*QUESTIONS[2:6]}
    gold = [[] if i in {2, 3} else answers for i, answers in enumerate(GOLD)]
    found = answered(tmp_path, [*given, silent], answers=gold)
    assert found.right[2:6, 2].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert found.right[2:5, :2].max() <= 1.0
    assert found.right[2, :2].tolist() == [0.0, 0.0]
    assert found.right[3, :2].tolist() == [0.0, 0.0]
    assert found.record.failures == (0, 2, 0)


def test_a_long_question_is_a_dear_one(backbone: Backbone, made: tuple[Made, Path]) -> None:
    """What takes so many times as much is decided as at so many times the price, whatever stands beside it."""
    folder, names, many = made[1] / "allocator", ["small", "large"], 1.1**35
    long = [i % 2 == 0 for i in range(8)]

    def times(questions: Sequence[str], _: Sequence[Sequence[Passage]]) -> np.ndarray:
        return np.array([[many if int(q.split()[-1]) % 2 == 0 else 1.0] * 2 for q in questions])

    plain = load_allocator(folder, backbone, names, UNITS)
    lengthy = load_allocator(folder, backbone, names, UNITS, times=times)
    seen = [{0: Answer(q, "blue", 0.5)} for q in QUESTIONS[:8]]
    at = [plain.allocate(QUESTIONS[:8], CONTEXTS[:8], price, seen) for price in (0.05, 0.05 * many)]
    found = lengthy.allocate(QUESTIONS[:8], CONTEXTS[:8], 0.05, seen)
    for i, dear in enumerate(long):
        assert found.choice[i] == at[dear].choice[i]
        assert found.expected_cost[i] == pytest.approx(at[dear].expected_cost[i], abs=1e-4)
    assert {found.choice[i] for i in range(8) if long[i]} == {0}
    assert {found.choice[i] for i in range(8) if not long[i]} == {1}


def test_one_that_failed_is_not_asked_again(made: tuple[Made, Path], backbone: Backbone) -> None:
    allocator = load_allocator(made[1] / "allocator", backbone, ["small", "large"], UNITS)
    failed = Answer("what is 7", "", 0.0, failure="down")
    bad = Answer("what is 7", "blue", 0.5)
    for seen, choice in (
        ({}, 0),
        ({0: failed}, 1),
        ({0: failed, 1: failed}, 1),  # why the last one failed
        ({1: failed, 0: failed}, 0),
        ({0: bad}, 1),
        ({0: bad, 1: failed}, 0),  # better than none
    ):
        found = allocator.allocate(["what is 7"], [CONTEXTS[7]], 0.1, [seen])
        assert found.choice.tolist() == [choice], seen
        assert found.errors is not None
        assert all(found.errors[0, j] == 1 for j, answer in seen.items() if answer.failure)


def test_where_nothing_shows_whom_to_ask_the_next_best_answers_for_one_that_failed(
    backbone: Backbone, tmp_path: Path
) -> None:
    """All say the same, right on seven of ten: the cheapest answers alone. It fails, and the others are there."""
    alike = [Guessing("small", 1.0), Guessing("large", 1.0, usd=0.01)]
    wrong = set(random.Random(0).sample(range(N), 72))
    gold = [["green"] if i in wrong else answers for i, answers in enumerate(GOLD)]
    made = make(backbone, tmp_path, alike, answers=gold)
    assert made.right == (0.7, 0.7)
    allocator = load_allocator(tmp_path / "allocator", backbone, ["small", "large"], UNITS)
    asked = [f"what is {i}" for i in range(50)], CONTEXTS[:50]
    failed, silent = Answer("?", "", 0.0, failure="down"), Answer("?", "", 0.0, abstained=True)
    said = Answer("?", "red 0", 0.5)
    assert allocator.allocate(*asked, 0.2).choice.tolist() == [0] * 50
    assert allocator.allocate(*asked, 0.2, [{0: said}] * 50).choice.tolist() == [0] * 50
    assert allocator.allocate(*asked, 0.2, [{0: failed}] * 50).choice.tolist() == [1] * 50
    # One that has no answer replied: others are asked where they are worth their price, and heard.
    rate = made.right[1]
    assert allocator.allocate(*asked, 0.05, [{0: silent}] * 50).choice.tolist() == [1] * 50
    assert allocator.allocate(*asked, 1.0, [{0: silent}] * 50).choice.tolist() == [0] * 50
    heard = allocator.allocate(*asked, 0.05, [{0: silent, 1: said}] * 50)
    assert heard.choice.tolist() == [1] * 50
    # Expected costs are those of asking, though no way leads to the dear one.
    first = allocator.allocate(*asked, 0.2)
    assert first.errors is not None
    assert first.errors.mean(axis=0) == pytest.approx([1 - rate, 1 - rate], abs=0.1)
    assert first.expected_cost.mean(axis=0) == pytest.approx([1 - rate, 1.2 - rate], abs=0.1)


def test_nobody_is_asked_who_failed_or_may_not_be(backbone: Backbone, tmp_path: Path) -> None:
    """Of five, whose stations are few: what each did in all ways, and whoever may still be asked."""
    names = ["a", "b", "c", "d", "e"]
    five = [Guessing(name, 0.5 + 0.08 * j) for j, name in enumerate(names)]
    units = [0.1, 0.2, 0.3, 0.5, 1.0]
    make_allocator(
        backbone,
        answered(tmp_path, five),
        units,
        tmp_path / "allocator",
        data="a.json",
        command="me",
        show=lambda *_: None,
    )
    allocator = load_allocator(tmp_path / "allocator", backbone, names, units)
    failed, said = Answer("?", "", 0.0, failure="down"), Answer("?", "red 3", 0.5)
    fates = list(product((None, failed, said), repeat=5))
    seen = [{j: fate for j, fate in enumerate(row) if fate is not None} for row in fates]
    n = len(seen)
    for free in (
        [True] * 5,
        [False] * 5,
        [True, True, False, False, True],
        [False] * 3 + [True] * 2,
    ):
        may = np.tile(np.array(free), (n, 1))
        found = allocator.allocate(["what is 7"] * n, [CONTEXTS[7]] * n, 0.02, seen, allowed=may)
        for chosen, row in zip(found.choice.tolist(), seen, strict=True):
            left = [j for j in range(5) if free[j] and j not in row]
            heard = [j for j, answer in row.items() if answer.text]
            if heard:
                assert chosen in heard + left
            elif left:
                assert chosen in left
            else:
                assert chosen == (max(row) if row else -1)
        assert np.isfinite(found.expected_cost).all()
    # What was decided of one question does not depend on the others.
    alone = allocator.allocate(["what is 7"], [CONTEXTS[7]], 0.02, seen[40:41])
    together = allocator.allocate(["what is 7"] * n, [CONTEXTS[7]] * n, 0.02, seen)
    assert alone.choice[0] == together.choice[40]


def test_what_an_index_holds_of_a_passage_is_not_encoded_again(
    made: tuple[Made, Path], backbone: Backbone
) -> None:
    folder, agents = made[1] / "allocator", ["small", "large"]
    asked: list[str] = []
    texts = {row[0].id: row[0].content for row in CONTEXTS[:5]}

    def stored(ids: Sequence[str]) -> dict[str, FloatArray]:
        asked.extend(ids)
        held = [id_ for id_ in ids if id_ != CONTEXTS[4][0].id]
        vectors = backbone.encode([texts[id_] for id_ in held])
        return dict(zip(held, vectors, strict=True))

    plain = load_allocator(folder, backbone, agents, UNITS)
    quick = load_allocator(folder, backbone, agents, UNITS, stored=stored)
    one, other = (
        each.allocate(QUESTIONS[:5], CONTEXTS[:5], 0.2, [{} for _ in range(5)])
        for each in (plain, quick)
    )
    np.testing.assert_allclose(one.expected_cost, other.expected_cost, atol=1e-5)
    np.testing.assert_array_equal(one.choice, other.choice)
    assert asked == list(texts)
    assert one.gflops is not None
    assert other.gflops is not None
    assert (other.gflops[:4] < one.gflops[:4]).all()
    assert (other.gflops > 0).all()  # the question itself
    assert other.gflops[4] == one.gflops[4]  # the one that the index lost


def test_saved_and_read_again_it_says_the_same(made: tuple[Made, Path], backbone: Backbone) -> None:
    one, two = (
        load_allocator(made[1] / "allocator", backbone, ["small", "large"], UNITS) for _ in range(2)
    )
    seen = [{0: Answer(q, "blue", 0.5)} for q in QUESTIONS[:5]]
    for price in (0.0, 0.2):
        first = one.allocate(QUESTIONS[:5], CONTEXTS[:5], price, seen)
        second = two.allocate(QUESTIONS[:5], CONTEXTS[:5], price, seen)
        np.testing.assert_array_equal(first.expected_cost, second.expected_cost)


def test_what_is_promised_is_the_cards(made: tuple[Made, Path], tmp_path: Path) -> None:
    folder = made[1] / "allocator"
    given = {p.error: p.least for at in made[0].at if at.price == 0.1 for p in at.promises}
    error, least = next((e, least) for e, least in given.items() if least is not None)
    assert promised(folder, 0.1, error) == pytest.approx(least)
    for price, share, said in (
        (0.07, error, "not measured at the price 0.07, but at 0, "),
        (0.1, 0.33, "promises at most 0.05, 0.1, 0.2 of the given answers wrong, not 0.33"),
    ):
        with pytest.raises(ConfigError, match=said):
            promised(folder, price, share)
    described = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    for each in described["numbers"]["at"]:
        each["promises"][0]["least"] = None
    (tmp_path / DESCRIPTION).write_text(json.dumps(described), "utf-8")
    with pytest.raises(ConfigError, match=r"it cannot be promised that at most 0\.05"):
        promised(tmp_path, 0.1, 0.05)
    for each in described["numbers"]["at"]:
        each["promises"] = []
    (tmp_path / DESCRIPTION).write_text(json.dumps(described), "utf-8")
    with pytest.raises(ConfigError, match="promises nothing: it does not look"):
        promised(tmp_path, 0.1, 0.05)
    (tmp_path / DESCRIPTION).write_text("{", "utf-8")
    with pytest.raises(SpecialistError, match="corrupt"):
        promised(tmp_path, 0.1, 0.05)


def test_questions_of_one_source_stand_in_one_part(made: tuple[Made, Path]) -> None:
    """Two questions are about each passage, and nothing learned from one tells what is worth of the other."""
    parts = read_safetensors(made[1] / "allocator" / WEIGHTS)["parts"].tolist()
    assert parts == [i // 2 % 3 for i in range(N)]


def test_what_it_cannot_be_used_for(
    made: tuple[Made, Path], backbone: Backbone, tmp_path: Path
) -> None:
    folder = made[1] / "allocator"
    with pytest.raises(
        ConfigError, match="trained for the agents small, large, not for small, huge"
    ):
        load_allocator(folder, backbone, ["small", "huge"], UNITS)
    other = Backbone.load(write_tiny(tmp_path / "other", seed=1), device="cpu", dtype="fp32")
    with pytest.raises(BackboneMismatchError, match="was trained on the base"):
        load_allocator(folder, other, ["small", "large"], UNITS)
    with pytest.raises(SpecialistError, match="not an allocator"):
        load_allocator(tmp_path, backbone, ["small", "large"], UNITS)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "allocator.json").write_text("{", "utf-8")
    with pytest.raises(SpecialistError, match="corrupt"):
        load_allocator(broken, backbone, ["small", "large"], UNITS)
    description = json.loads((folder / "allocator.json").read_text("utf-8"))
    (broken / "allocator.json").write_text(
        json.dumps({**description, "format_version": 9}), "utf-8"
    )
    with pytest.raises(SpecialistError, match="format 9 is newer"):
        load_allocator(broken, backbone, ["small", "large"], UNITS)
    (broken / "allocator.json").write_text(
        json.dumps({**description, "format_version": 1}), "utf-8"
    )
    with pytest.raises(
        SpecialistError,
        match="knows less of questions and answers than this Pointsman asks about; train it again",
    ):
        load_allocator(broken, backbone, ["small", "large"], UNITS)


def test_what_nothing_can_be_learned_from(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one agent only, small, and so nothing to choose"):
        make(backbone, tmp_path, agents()[:1])
    few = {"questions": QUESTIONS[:9], "contexts": CONTEXTS[:9], "answers": GOLD[:9]}
    with pytest.raises(InputError, match="9 questions are too few to learn from; 100 at least"):
        make(backbone, tmp_path, agents(), **few)
    alike = [CONTEXTS[0]] * N
    with pytest.raises(InputError, match="about 1 passages; give questions about 10 or more"):
        make(backbone, tmp_path, agents(), contexts=alike)
    (tmp_path / "allocator").mkdir()
    (tmp_path / "allocator" / "diary.txt").write_text("mine")
    with pytest.raises(SpecialistError, match="is not an allocator, so it is not replaced"):
        make(backbone, tmp_path, agents())


def test_a_silent_agent_costs_no_more_than_being_wrong(backbone: Backbone, tmp_path: Path) -> None:
    given = agents()
    given[0].failing = set(QUESTIONS)
    found = make(backbone, tmp_path, given)
    assert found.right[0] == 0
    assert found.failures == (N, 0)
    assert found.at[0].right == pytest.approx(found.right[1], abs=0.02)
    card = (tmp_path / "allocator" / "README.md").read_text("utf-8")
    assert f"count as wrong: small {N}." in card


def test_it_is_an_allocator(made: tuple[Made, Path], backbone: Backbone) -> None:
    found = load_allocator(made[1] / "allocator", backbone, ["small", "large"], UNITS)
    assert isinstance(found, CascadeAllocator)
    assert isinstance(found, Allocator)
