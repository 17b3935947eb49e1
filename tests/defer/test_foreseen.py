"""Allocators that decide before anybody is asked, by reading: learned, saved, loaded, asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.deadline import Deadline
from pointsman.defer.adapted import Part, Reads
from pointsman.defer.answered import Answered, ask_everybody
from pointsman.defer.cost import Pricing
from pointsman.defer.foreseen import Foresight, load_foreseeing
from pointsman.defer.make import PRICES, Made
from pointsman.defer.make_foreseen import Plan, make_foreseeing
from pointsman.defer.saved import check_allocator_replaceable
from pointsman.errors import BackboneMismatchError, ConfigError, DeadlineError, SpecialistError
from pointsman.protocols import Allocator
from pointsman.trace import Cost
from pointsman.training.loop import Plan as Training
from pointsman.types import Answer, Passage
from tiny import write_tiny

N = 300
COLOURS = ("red", "blue")
# Every other question is about its own passage's colour, which is when the small one is right.
EASY = [i % 2 == 0 for i in range(N)]
QUESTIONS = [f"what of {COLOURS[i // 2 % 2]}" for i in range(N)]
CONTEXTS = [
    [Passage(f"p{i}", f"here comes the {COLOURS[(i // 2 + (not EASY[i])) % 2]} one")]
    for i in range(N)
]
GOLD = [["one"]] * N
UNITS = [0.1, 1.0]
QUICK = Training(measure=None, epochs=24, learning_rate=5e-3, evaluations=1)
READS = Reads(layers=1, max_length=32, rank=4, batch_size=16, plan=QUICK)


class Agent:
    """The small one is right where it is easy, the large one everywhere."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        return [self._one(q, row[0]) for q, row in zip(questions, contexts, strict=True)]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [Cost()] * len(questions)

    def _one(self, question: str, passage: Passage) -> Answer:
        i = int(passage.id[1:])
        good = self.name == "large" or EASY[i]
        return Answer(question, "one" if good else "tin", 0.5, agent=self.name)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("tiny"))
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    return ask_everybody(
        [Agent("small"), Agent("large")],
        QUESTIONS,
        CONTEXTS,
        GOLD,
        [row[0].id for row in CONTEXTS],
        tmp_path_factory.mktemp("answers") / "answers.jsonl",
        lambda *_: None,
    )


def make(
    backbone: Backbone,
    known: Answered,
    place: Path,
    plan: Plan,
    alpha: Sequence[float] | None = None,
) -> Made:
    return make_foreseeing(
        backbone,
        known,
        UNITS,
        plan,
        place / "runs",
        place / "mine",
        data="a.json",
        command="me",
        show=lambda *_: None,
        alpha=alpha,
    )


@pytest.fixture(scope="module")
def errors(
    backbone: Backbone, known: Answered, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Made, Path]:
    place = tmp_path_factory.mktemp("errors")
    return make(backbone, known, place, Plan(reads=READS)), place / "mine"


def test_it_knows_by_reading_who_will_be_right(
    backbone: Backbone, errors: tuple[Made, Path]
) -> None:
    made, folder = errors
    assert [each.price for each in made.at] == list(PRICES)
    assert made.right == (0.5, 1.0)  # of those that report
    dear = made.at[PRICES.index(0.2)]
    assert dear.right > 0.9
    assert dear.asked[0] == pytest.approx(0.5, abs=0.1)
    assert dear.cost == pytest.approx(0.55, abs=0.1)
    allocator = load_foreseeing(folder, backbone, ["small", "large"], UNITS)
    assert isinstance(allocator, Allocator)
    found = allocator.allocate(QUESTIONS[:80], CONTEXTS[:80], 0.2)
    assert np.mean((found.choice == 0) == np.array(EASY[:80])) > 0.9
    # Nothing is worth the price: the cheaper one.
    assert set(allocator.allocate(QUESTIONS[:9], CONTEXTS[:9], 5.0).choice) == {0}
    # One question alone gets what it gets among others.
    alone = allocator.allocate(QUESTIONS[3:4], CONTEXTS[3:4], 0.2)
    np.testing.assert_allclose(alone.expected_cost[0], found.expected_cost[3], atol=1e-4)
    assert allocator.allocate([], [], 0.2).choice.tolist() == []
    # What takes 25 times as much is decided as at 25 times the price.
    long = np.arange(80) % 2 == 0
    lengthy = load_foreseeing(
        folder, backbone, ["small", "large"], UNITS, lambda q, _: np.where(long, 25.0, 1.0)[:, None]
    )
    choice = lengthy.allocate(QUESTIONS[:80], CONTEXTS[:80], 0.2).choice
    assert set(choice[long]) == {0}
    assert choice[~long].tolist() == found.choice[~long].tolist()
    # Each agent's error apart from its cost, and what reading took, which is paid once.
    assert found.errors is not None
    np.testing.assert_allclose(
        found.expected_cost, found.errors + 0.2 * np.array(UNITS) / max(UNITS), atol=1e-5
    )
    assert alone.gflops is not None
    assert alone.gflops.tolist() == [0.0]
    new = load_foreseeing(folder, backbone, ["small", "large"], UNITS)
    fresh = new.allocate([QUESTIONS[3]] * 2, [CONTEXTS[3]] * 2, 0.2)
    assert fresh.gflops is not None
    assert fresh.gflops[0] > 0 == fresh.gflops[1]  # it is read once
    gone = Deadline()
    gone.cancel()
    with pytest.raises(DeadlineError, match="reading who should answer"):
        new.allocate(QUESTIONS[5:7], CONTEXTS[5:7], 0.2, deadline=gone)


def test_how_sure_an_answer_is_it_says_itself(
    backbone: Backbone, errors: tuple[Made, Path]
) -> None:
    """So that the pipeline gives none below the least confidence."""
    allocator = load_foreseeing(errors[1], backbone, ["small", "large"], UNITS)
    said = Answer("?", "tin", 0.25)
    found = allocator.allocate([QUESTIONS[0]], [CONTEXTS[0]], 0.2, seen=[{1: said}])
    assert found.confidence is not None
    assert found.confidence.tolist() == [[0.0, 0.25]]
    # And so is how likely it is wrong; of the other that is foreseen as before.
    before = allocator.allocate([QUESTIONS[0]], [CONTEXTS[0]], 0.2)
    assert found.errors is not None
    assert before.errors is not None
    assert found.errors[0].tolist() == [before.errors[0, 0], 0.75]
    down = Answer("?", "", 0.0, failure="down")
    failed = allocator.allocate([QUESTIONS[0]], [CONTEXTS[0]], 0.2, seen=[{0: down}])
    assert failed.errors is not None
    assert failed.errors[0, 0] == 1.0


def test_the_next_best_where_one_fails(backbone: Backbone, errors: tuple[Made, Path]) -> None:
    allocator = load_foreseeing(errors[1], backbone, ["small", "large"], UNITS)
    down, said = Answer("?", "", 0.0, failure="down"), Answer("?", "tin", 0.5)
    asked = ([QUESTIONS[0]], [CONTEXTS[0]], 0.2)
    assert allocator.allocate(*asked, seen=[{}]).choice.tolist() == [0]
    assert allocator.allocate(*asked, seen=[{0: down}]).choice.tolist() == [1]
    assert allocator.allocate(*asked, seen=[{0: down, 1: said}]).choice.tolist() == [1]
    assert allocator.allocate(*asked, seen=[{0: down, 1: down}]).choice.tolist() == [0]


def test_who_may_not_be_asked_is_not(backbone: Backbone, errors: tuple[Made, Path]) -> None:
    allocator = load_foreseeing(errors[1], backbone, ["small", "large"], UNITS)
    down, said = Answer("?", "", 0.0, failure="down"), Answer("?", "tin", 0.5)
    for may, seen, choice in (
        ([False, True], {}, 1),
        ([True, False], {}, 0),
        ([False, False], {}, -1),
        ([False, False], {0: down}, 0),
        ([False, False], {0: down, 1: said}, 1),
    ):
        found = allocator.allocate(
            [QUESTIONS[0]], [CONTEXTS[0]], 0.2, [seen], allowed=np.array([may])
        )
        assert found.choice.tolist() == [choice]


def test_the_papers_surrogate_at_its_price(
    backbone: Backbone, known: Answered, tmp_path: Path
) -> None:
    made = make(backbone, known, tmp_path, Plan("surrogate", 0.2, reads=READS))
    (at,) = made.at
    assert at.right > 0.9
    assert at.asked[0] == pytest.approx(0.5, abs=0.1)
    allocator = load_foreseeing(tmp_path / "mine", backbone, ["small", "large"], UNITS)
    found = allocator.allocate(QUESTIONS[:80], CONTEXTS[:80], 0.2)
    assert np.mean((found.choice == 0) == np.array(EASY[:80])) > 0.9
    # It foresees none, and tells how often each was wrong on the record, half of the time and never.
    assert found.errors is not None
    assert found.errors.tolist() == [[0.5, 0.0]] * 80
    said = allocator.allocate(
        QUESTIONS[:1], CONTEXTS[:1], 0.2, seen=[{0: Answer("?", "tin", 0.25)}]
    )
    assert said.errors is not None
    assert said.errors.tolist() == [[0.75, 0.0]]
    with pytest.raises(ConfigError, match=r"trained for the price 0\.2 and no other, not for 0\.5"):
        allocator.allocate(QUESTIONS[:1], CONTEXTS[:1], 0.5)
    # Its scores know what agents cost when it was trained, and no other costs.
    dearer = load_foreseeing(tmp_path / "mine", backbone, ["small", "large"], [0.5, 1.0])
    with pytest.raises(ConfigError, match=r"cost small 0\.10, large 1\.00 of the dearest, and now"):
        dearer.allocate(QUESTIONS[:1], CONTEXTS[:1], 0.2)
    twice = load_foreseeing(tmp_path / "mine", backbone, ["small", "large"], [0.2, 2.0])
    assert twice.allocate(QUESTIONS[:1], CONTEXTS[:1], 0.2).choice.tolist() == [0]
    card = (tmp_path / "mine" / "README.md").read_text("utf-8")
    assert "    price: 0.2\n    defer:\n      allocator: mine\n      unit: dollars\n" in card
    assert "at the price 0.2 alone: small, large" in card
    assert "GFLOPs a question" in card
    assert "What can be promised" not in card


def test_calibrated_errors_make_costs() -> None:
    """σ(2 · 1 - 1) and σ(2 · 0 - 1), less their prices."""
    adapter = Part(None, torch.zeros(2, 4), torch.zeros(2))  # type: ignore[arg-type]
    two, one, units = np.array([2.0, 2.0]), np.array([-1.0, -1.0]), np.array([0.2, 1.0])
    made = Foresight("errors", adapter, READS, two, one, units, np.ones(2))
    costs = made.costs(np.array([[1.0, 0.0]]), Pricing.at(0.5, ("a", "b"), (0.2, 1.0)), 0.5)
    np.testing.assert_allclose(costs, [[1 - 0.731059 + 0.1, 1 - 0.268941 + 0.5]], atol=1e-6)
    # Of the other agent an error weighs twice as much, and one may say so any time.
    heavy = Pricing.at(0.5, ("a", "b"), (0.2, 1.0), (1.0, 2.0))
    costs = made.costs(np.array([[1.0, 0.0]]), heavy, 0.5)
    np.testing.assert_allclose(costs, [[1 - 0.731059 + 0.1, 2 * (1 - 0.268941) + 0.5]], atol=1e-6)


def test_what_an_error_weighs_is_learned_by_a_surrogate(
    backbone: Backbone, known: Answered, tmp_path: Path
) -> None:
    """The dear agent is always right, but were it not, nobody could pay for that: it is never worth less.
    The cheap one's errors weigh nothing, and so it is asked everywhere; and only while they do.
    """
    plan, alpha = Plan("surrogate", 0.2, reads=READS), [0.0, 1.0]
    made = make(backbone, known, tmp_path, plan, alpha)
    assert made.at[0].asked == (1.0, 0.0)
    assert "An error weighs 1, but of small 0." in (tmp_path / "mine/README.md").read_text("utf-8")
    names, asked = ["small", "large"], (QUESTIONS[:2], CONTEXTS[:2], 0.2)
    same = load_foreseeing(tmp_path / "mine", backbone, names, UNITS, alpha=alpha)
    assert same.allocate(*asked).choice.tolist() == [0, 0]
    usual = load_foreseeing(tmp_path / "mine", backbone, names, UNITS)
    with pytest.raises(
        ConfigError, match=r"weighed small 0\.00, large 1\.00, and now they weigh sm"
    ):
        usual.allocate(*asked)


def test_without_evidence_nothing_is_foreseen(
    backbone: Backbone, known: Answered, tmp_path: Path
) -> None:
    """Agents that are right at random: one is as good as its mean everywhere, and the best answers alone."""
    rng = np.random.default_rng(0)
    chance = replace(known, right=(rng.random((N, 2)) < [0.5, 0.8]).astype(float))
    quick = replace(READS, plan=replace(QUICK, epochs=2))
    made = make(backbone, chance, tmp_path / "any", Plan(reads=quick))
    assert {each.asked for each in made.at} <= {(0.0, 1.0), (1.0, 0.0)}
    card = (tmp_path / "any" / "mine" / "README.md").read_text("utf-8")
    assert "Of small, large it could not tell easy questions from hard ones" in card
    made = make(backbone, chance, tmp_path / "one", Plan("surrogate", 0.1, reads=quick))
    assert made.at[0].asked == (0.0, 1.0)
    card = (tmp_path / "one" / "mine" / "README.md").read_text("utf-8")
    assert "Nothing shows that it is worth more than the best single agent" in card


def test_what_cannot_be(
    backbone: Backbone, errors: tuple[Made, Path], tmp_path: Path, known: Answered
) -> None:
    folder = errors[1]
    with pytest.raises(ConfigError, match="trained for the agents small, large, not for large"):
        load_foreseeing(folder, backbone, ["large"], [1.0])
    other = Backbone.load(write_tiny(tmp_path / "other", seed=1), device="cpu", dtype="fp32")
    with pytest.raises(BackboneMismatchError, match="was trained on the base"):
        load_foreseeing(folder, other, ["small", "large"], UNITS)
    with pytest.raises(ConfigError, match="a surrogate is trained at one price; name it"):
        Plan("surrogate")
    with pytest.raises(ConfigError, match="does not depend on a price; name none"):
        Plan("errors", 0.1)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    description = json.loads((broken / "specialist.json").read_text("utf-8"))
    del description["settings"]["layers"]
    (broken / "specialist.json").write_text(json.dumps(description), "utf-8")
    with pytest.raises(SpecialistError, match="corrupt"):
        load_foreseeing(broken, backbone, ["small", "large"], UNITS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("mine", "utf-8")
    with pytest.raises(SpecialistError, match="is not an allocator, so it is not replaced"):
        make(backbone, known, tmp_path, Plan(reads=READS))
    assert (tmp_path / "mine" / "diary.txt").read_text("utf-8") == "mine"
    # An allocator of the other layout may be replaced, and a specialist of another kind not.
    check_allocator_replaceable(folder)
    reader = {**description, "kind": "reader"}
    (broken / "specialist.json").write_text(json.dumps(reader), "utf-8")
    with pytest.raises(SpecialistError, match=r"is not an allocator \(reader\), so it is not"):
        check_allocator_replaceable(broken)
    for price, u in ((float("nan"), 1.0), (float("inf"), 1.0), (0.1, float("inf"))):
        with pytest.raises(ConfigError, match="must be 0 or more, not"):
            Plan("surrogate", price, u)
