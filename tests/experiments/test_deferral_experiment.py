"""The deferral experiment on a toy test bed: files, folds, rows, tables, pictures."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from svg import words

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.data.arrays import ArrayCache
from pointsman.data.multihop import MultihopQuestion, Paragraph, write_multihop
from pointsman.data.squad import write_squad
from pointsman.deadline import Deadline
from pointsman.defer.adapted import Reads
from pointsman.defer.candidates import said
from pointsman.defer.verifier import Verifier
from pointsman.errors import FormatError, InputError
from pointsman.evaluate.significance import Interval
from pointsman.experiments.deferral import specialists
from pointsman.experiments.deferral.ablations import (
    MUDDLED,
    elsewhere,
    looked,
    muddled,
    rejectors,
    went_on,
)
from pointsman.experiments.deferral.answers import Answers
from pointsman.experiments.deferral.bed import (
    Bed,
    both_ends,
    golden,
    judged,
    looked_at,
    proportions,
    squad,
)
from pointsman.experiments.deferral.economy import CHOSEN, SHARES, economy
from pointsman.experiments.deferral.hops import ELSEWHERE, HERE, ROWS, TESTED, several
from pointsman.experiments.deferral.measured import outcome, taken, utility
from pointsman.experiments.deferral.published import JUDGED, SQUAD
from pointsman.experiments.deferral.reading import FORESEEN, Reading, readers
from pointsman.experiments.deferral.rows import (
    BEST,
    LABEL,
    NEAREST,
    ORACLE,
    OURS,
    SURROGATE,
    Fold,
    Given,
    Learned,
    all_folds,
    decided,
    rows,
)
from pointsman.experiments.deferral.run import frontier_area, price_table, run
from pointsman.experiments.deferral.shared import one_for_all
from pointsman.experiments.deferral.spans import both_ends_at
from pointsman.experiments.deferral.specialists import (
    DOMAINS,
    POLICIES,
    SHIPPED,
    UNION,
    Made,
    Sizes,
    Specialists,
    parts,
)
from pointsman.experiments.deferral.tampered import PLAIN, tampered
from pointsman.experiments.deferral.troubles import distracted, misspelt, without_answer
from pointsman.experiments.report import silent
from pointsman.read.head import SpanHead
from pointsman.read.reader import ReaderSettings
from pointsman.read.task import Part, ReaderTask
from pointsman.trace import Cost
from pointsman.training.loop import Outcome, Plan, train
from pointsman.types import Answer, Judged, Passage, ReadingExample
from tiny import write_tiny

ARTICLES, EACH = 15, 12
SOME = [
    BEST,
    "logistic",
    "surrogate, u = 1, printed",
    "MILD",
    OURS,
    "the same, shuffled",
    "the same, one verifier for all sets",
    ORACLE,
    FORESEEN,
]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("tiny"))
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readers that are right as often as they are dear."""
    folder = tmp_path_factory.mktemp("bed")
    rng = random.Random(0)
    examples = [
        ReadingExample(
            f"{a}-{i}",
            f"what is {i}",
            f"here comes red {a} {i} after blue",
            (f"red {a} {i}",),
            (11,),
            f"article {a}",
            f"article {a}",
        )
        for a in range(ARTICLES)
        for i in range(EACH)
    ]
    (folder / "squad").mkdir()
    write_squad(folder / "squad" / "squad-dev-v1.1.json", examples)
    recorded = folder / "agents" / "squad-v1.1"
    recorded.mkdir(parents=True)
    order = sorted(SQUAD, key=lambda file: SQUAD[file][1])
    for rank, file in enumerate(order):
        answers = {
            each.id: each.answers[0] if rng.random() < 0.5 + 0.045 * rank else "blue"
            for each in examples
        }
        answers.pop("0-0")  # an answer that is missing
        (recorded / f"{file}.json").write_text(json.dumps(answers), "utf-8")
    asked = []
    for i in range(60):
        entry: dict[str, object] = {"question": f"what is {i}", "golden_answer": "red"}
        for rank, name in enumerate(JUDGED):
            good = rng.random() < 0.5 + 0.1 * rank
            entry |= {f"answer_{name}": "it is red" if good else "blue", f"judge_{name}": good}
        asked.append(entry)
    (folder / "agents" / "evouna-nq-test.json").write_text(json.dumps(asked), "utf-8")
    for names in DOMAINS.values():
        for name in names:
            for part in ("dev", "test") if name == POLICIES else ("train", "dev", "test"):
                write_squad(folder / "squad" / f"{name}-{part}.json", questions(name, part))
    return folder


def questions(name: str, part: str) -> list[ReadingExample]:
    """Twelve of a set's part, about six articles."""
    return [
        ReadingExample(
            f"{name}-{part}-{i}",
            f"what is {part} {i} of {name}",
            f"here comes {part} {i} of {name}",
            (f"{part} {i}",),
            (11,),
            f"{name} {part} {i // 2}",
            f"{name} {part} {i // 2}",
        )
        for i in range(12)
    ]


SIZES = Sizes(
    half=4,
    record=9,
    test=10,
    long=6,
    troubled=4,
    depths=(1, None),
    union_depths=(1, None),
    reader=ReaderSettings(max_length=64, overlap=8),
)


def fresh_reader(backbone: Backbone) -> Part:
    generator = torch.Generator().manual_seed(0)
    adapter = new_adapter(backbone.model, 2, 4.0, generator)
    return Part(adapter, SpanHead.fresh(backbone.shape.width, generator))


@pytest.fixture(scope="module")
def own(
    data: Path, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Specialists, Path]:
    folder = tmp_path_factory.mktemp("own")
    return trained(data, backbone, folder), folder


def trained(
    data: Path, backbone: Backbone, folder: Path, answers: Path | None = None
) -> Specialists:
    start = fresh_reader(backbone)
    return Specialists(data, backbone, start, folder, silent, answers=answers, sizes=SIZES)


def test_readers_of_our_own(
    own: tuple[Specialists, Path], data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    made, folder = own
    record, test = made.bed(made.record), made.bed(made.test)
    assert len(record) == 3 * 9 + 6 + 4  # of six companies' policies two are not taught
    assert len(test) == 4 * 10 + 6
    assert set(record.agents) == {
        *(Made(domain, depth).name for domain in (*DOMAINS, UNION) for depth in (1, None)),
        SHIPPED,
    }
    assert list(test.units) == sorted(test.units)
    shallow = test.agents.index("policies, 1 layers")
    assert test.units[shallow] == pytest.approx(test.units.max() / 2, rel=0.1)
    assert np.unique(test.sets).tolist() == [0, 1, 2, 3, 4]
    assert test.said.own.any()
    assert not set(record.clusters.tolist()) & set(test.clusters.tolist())
    # Each question has its own cost, of which the units are the means on the record.
    np.testing.assert_allclose(record.costs.mean(axis=0), record.units)
    assert (test.costs > 0).all()
    assert (test.encoding > 0).all()
    assert (test.encoding < test.costs[:, -1]).all()  # a question is shorter than its passage
    # What they said when they had learned half; who learns nothing more says the same.
    earlier = made.bed(made.record, earlier=True)
    assert not np.array_equal(earlier.said.own, record.said.own)
    ships = record.agents.index(SHIPPED)
    np.testing.assert_array_equal(earlier.said.own[:, ships], record.said.own[:, ships])
    # The same again, on a machine that has their answers alone, trains and asks nobody.
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}
    again = trained(data, backbone, tmp_path, folder / "answers")
    for asked, before in ((again.record, record), (again.test, test)):
        found = again.bed(asked)
        np.testing.assert_array_equal(found.em, before.em)
        np.testing.assert_array_equal(found.said.own, before.said.own)
        np.testing.assert_array_equal(found.costs, before.costs)
    assert kept == {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}
    assert not (tmp_path / "runs").exists()


def test_who_is_taught_by_whom_and_how_fast(
    data: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shallow reader by the whole one of its domain; it, and one of a new domain, at the higher rate."""
    layers: list[int | None] = []
    teachers: list[list[bytes]] = []
    learned: list[bytes] = []
    rates: list[float] = []

    def spied(task: ReaderTask, plan: Plan, folder: Path, show: object) -> Outcome:
        outcome = train(task, plan, folder)
        layers.append(task._settings.layers)
        teachers.append([weights(each) for each in task._teachers])
        learned.append(weights(task.parts(outcome.parameters)))
        rates.append(plan.learning_rate)
        return outcome

    def weights(part: Part) -> bytes:
        return b"".join(each.numpy().tobytes() for each in part.head.tensors.values())

    monkeypatch.setattr(specialists, "train", spied)
    trained(data, backbone, tmp_path)
    domains = [UNION, *DOMAINS]
    # Whole ones first, each in two halves.
    assert layers == [None] * 10 + [1] * 10
    assert teachers[:10] == [[]] * 10
    assert teachers[10:] == [[learned[2 * i + 1]] for i in range(5) for _ in range(2)]
    assert (
        rates
        == [1e-3 if d == "policies" else 3e-4 for d in domains for _ in range(2)] + [1e-3] * 10
    )


def test_what_allocation_depends_on(
    own: tuple[Specialists, Path], backbone: Backbone, tmp_path: Path
) -> None:
    made, _ = own
    record, test = made.bed(made.record), made.bed(made.test)
    folds = [Fold.whole(Learned(record, 0, 0), test)]
    plan = Plan(measure=None, epochs=1, evaluations=1)
    reads = [Reads(layers=1, max_length=32, rank=2, plan=plan)]
    reading = Reading(backbone, backbone, tmp_path, silent, reads)
    sizes = rejectors(test, folds, reading, [0.05, 0.2])
    assert [row[:2] for row in sizes.rows[:2]] == [[0.05, "linear"], [0.05, "16 hidden units"]]
    assert [row[0] for row in sizes.rows if row[1] == "an adapter, 1 layers"] == [0.05]
    assert len(rejectors(test, folds, None, [0.05, 0.2]).rows) == len(sizes.rows) - 1
    # What it reads for that is paid for, and more than a look at the question alone.
    read = reading.allocate(folds[0], reads[0], 0.05)
    assert read.deciding is not None
    assert (read.deciding > test.encoding / 2).all()  # one of two layers
    degraded = muddled(test, folds, [0.05])
    assert len(degraded.rows) == 2 * len(MUDDLED)
    known = Learned(record, 0, 0)
    others = elsewhere(known, test, [str(i) for i in range(5)])
    assert len(others.rows) == 5 * 2 * 3
    stale = went_on(Learned(made.bed(made.record, earlier=True), 0, 0), known, test, [0.05])
    assert [row[-1] is None for row in stale.rows] == [True, False] * 4
    # The best single agent is against itself.
    itself = stale.rows[0][-2]
    assert isinstance(itself, Interval)
    assert (itself.mean, itself.low, itself.high) == (0.0, 0.0, 0.0)
    harder = tampered(made, known)
    assert len(harder.rows) == 4 * 4
    # Where there is no answer nobody is right; as the questions are, nothing has moved.
    em = {(row[0], row[1]): row[2] for row in harder.rows}
    assert not any(value for (what, _), value in em.items() if what == "passages without an answer")
    assert all(row[4] is None for row in harder.rows if row[0] == PLAIN)


def test_questions_that_take_several_passages(
    own: tuple[Specialists, Path], tmp_path: Path
) -> None:
    made, _ = own
    (tmp_path / "multihop").mkdir()
    for name in TESTED:
        asked = [
            MultihopQuestion(
                f"{name}-{i}",
                f"what is {i} of both",
                ("no",) if i == 3 else (f"Red {i}",),  # titles are written in capitals in some sets
                (
                    Paragraph("a", f"here comes red {i}", True),
                    Paragraph("b", "after blue in the north", True),
                    Paragraph("c", "nothing", False),
                ),
            )
            for i in range(12)
        ]
        write_multihop(tmp_path / "multihop" / f"{name}.jsonl", asked)
    found = several(made, Learned(made.bed(made.record), 0, 0), tmp_path)
    assert len(found.rows) == 2 * len(ROWS)
    # Where no is the answer there is no span to be found, and none in north.
    assert found.notes[0].startswith("22 questions of")
    em = {(row[0], row[1]): float(row[2]) for row in found.rows}  # type: ignore[arg-type]
    assert em[ORACLE, ELSEWHERE] == max(em.values()) == em[ORACLE, HERE]


def test_questions_and_passages_made_harder() -> None:
    asked = [
        ReadingExample(
            "1", "Who wrote Hamlet in 1603?", "It was Shakespeare.", ("Shakespeare",), (7,)
        ),
        ReadingExample("2", "Who painted Olympia?", "Manet did that.", ("Manet",), (0,)),
    ]
    slipped = misspelt(asked * 20, seed=0)
    assert any(one.question != each.question for one, each in zip(slipped, asked * 20, strict=True))
    for one, each in zip(slipped, asked * 20, strict=True):
        assert (one.context, one.answers) == (each.context, each.answers)
        assert abs(len(one.question) - len(each.question)) <= 3
    first, second = distracted(asked, seed=0)
    # Another's answer, another name, another year; the right one stands where it stood.
    assert first.context.startswith("It was Shakespeare. Manet wrote Olympia in 16")
    assert "1603" not in first.context
    assert "Hamlet" not in first.context
    assert second.context == "Manet did that. Shakespeare painted Hamlet."
    for each in (first, second):
        assert each.context[each.starts[0] :].startswith(each.answers[0])
    silent_one, other = without_answer(asked, seed=0)
    assert (silent_one.context, silent_one.answers) == ("Manet did that.", ())
    assert other.context == "It was Shakespeare."
    (alone,) = without_answer(asked[:1], seed=0)
    assert alone.context == ""


def test_no_question_stands_on_two_sides(data: Path, tmp_path: Path) -> None:
    found = parts(data, SIZES)
    for name, each in found.items():
        sides = [{(e.question, e.context) for e in p} for p in (each.train, each.record, each.test)]
        assert len(set.union(*sides)) == sum(map(len, sides)), name
    policies = found[POLICIES]
    assert not {e.cluster for e in policies.train} & {e.cluster for e in policies.record}
    shutil.copytree(data, tmp_path / "bed")
    file = tmp_path / "bed" / "squad" / "covidqa-train.json"
    write_squad(file, questions("covidqa", "test"))
    with pytest.raises(InputError, match="covidqa, train holds 12 questions of a test part"):
        parts(tmp_path / "bed", SIZES)


def made_bed(own: np.ndarray, em: np.ndarray, sets: np.ndarray) -> Bed:
    n, agents = em.shape
    given = said(["?"] * n, [""] * n, [[f"{j}" for j in range(agents)]] * n)
    return Bed(
        "made",
        tuple("abc"[:agents]),
        np.array([0.1, 1.0][:agents]),
        "units",
        replace(given, own=own.astype(np.float32)),
        em,
        em,
        np.stack([em, em], axis=-1),
        np.arange(n),
        np.zeros(n, dtype=np.int64),
        np.zeros((n, 2), dtype=np.float32),
        0,
        sets,
        [("?", "")] * n,
        *proportions(np.array([0.1, 1.0][:agents]), n),
    )


def test_costs_are_of_each_question_and_of_deciding() -> None:
    """The dear one takes 1 in the mean, of these questions 3, 1 and 1; deciding takes 0.5."""
    em = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    bed = made_bed(0 * em, em, np.zeros(3))
    costs = np.array([[0.2, 3.0], [0.1, 1.0], [0.1, 1.0]])
    bed = replace(bed, costs=costs, encoding=np.full(3, 0.5), unit="GFLOPs", units=bed.units * 2)
    asked = Given(np.array([1, 1, 0]), np.array([[True, True], [False, True], [True, False]]))
    assert taken(bed, asked).tolist() == pytest.approx([3.2, 1.0, 0.1])
    looked_first = replace(asked, deciding=bed.encoding)
    assert taken(bed, looked_first).tolist() == pytest.approx([3.7, 1.5, 0.6])
    right, _, cost = outcome(bed, looked_first)
    assert cost.tolist() == pytest.approx([1.85, 0.75, 0.3])  # the dearest's mean is 2
    assert utility(bed, looked_first, 0.1).tolist() == pytest.approx((right - 0.1 * cost).tolist())


def test_who_looks_at_a_question_pays_for_it() -> None:
    rng = np.random.default_rng(0)
    em = (rng.random((60, 2)) < [0.4, 0.8]).astype(float)
    bed = replace(
        made_bed(rng.normal(size=(60, 2)), em, np.arange(60) % 2),
        features=rng.normal(size=(60, 4)).astype(np.float32),
        encoding=np.full(60, 0.25),
        unit="GFLOPs",
    )
    fold = Fold.whole(Learned(bed, 0, 0), bed)
    free = {"a", "b", "random", BEST, "majority of all", "the surest of all"}
    free |= {"confidence threshold", LABEL, f"{LABEL}, oracle", ORACLE}
    free |= {"best set of agents, all asked", "everyone asked, verified"}
    found = {row.name: decided(bed, row, 0.05, [fold]) for row in rows(bed)}
    assert free < set(found)
    for name, given in found.items():
        assert given.deciding is not None
        assert (given.deciding == (0 if name in free else 0.25)).all(), name
    # The table says what a question took, and what was right for it.
    chosen = [row for row in rows(bed) if row.name in ("b", NEAREST)]
    table = price_table(bed, {(row.name, 0.0): found[row.name] for row in chosen}, chosen, 0.0)
    heads = [c if isinstance(c, str) else c.name for c in table.columns]
    place = heads.index("GFLOPs")
    assert heads[place + 1] == "EM per GFLOP"
    dear, near = table.rows
    assert dear[place] == pytest.approx(1.0)
    assert dear[place + 1] == pytest.approx(em[:, 1].mean())
    assert near[place] == pytest.approx(float(taken(bed, found[NEAREST]).mean()))
    assert "encoding the question" in table.notes[1]


def test_answers_begin_and_end_at_characters() -> None:
    context = "the red barn, then the red house."
    example = ReadingExample("1", "where?", context, ("the red house",), (19,))
    house, barn = context.index("red house"), context.index("red barn")
    spans = [(house, house + 9), (barn, barn + 8), (barn, house + 10), (0, 3), None]
    found = both_ends_at([example], [spans])
    # Articles and full stops move no end; the same word at another place is another place.
    assert found[0].tolist() == [[1, 1], [0, 0], [0, 1], [0, 0], [0, 0]]
    assert not both_ends_at([replace(example, answers=(), starts=())], [spans]).any()


class Second:
    """An agent that finds the second red, and counts what it is asked."""

    name = "second"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        self.asked += questions
        places = [row[0].text.rfind("red") for row in contexts]
        return [
            Answer(q, "red", 0.5, start=place, end=place + 3, cost=Cost(gflops=0.25))
            if place >= 0
            else Answer(q, "", 0.1, abstained=True)
            for q, place in zip(questions, places, strict=True)
        ]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [Cost()] * len(questions)


def test_what_a_reader_said_is_kept_by_its_place(tmp_path: Path) -> None:
    agent = Second()
    found, none, other = (
        ReadingExample(str(i), "where?", context, ())
        for i, context in enumerate(["a red house, a red barn", "blue", "red"])
    )
    first = Answers(tmp_path).of("key", lambda: agent, [found, none, found], silent)
    assert first.texts == ["red", None, "red"]
    assert first.spans == [(15, 18), None, (15, 18)]
    assert first.sure == pytest.approx([0.5, 0.1, 0.5])
    assert first.gflops.tolist() == [0.25, 0.0, 0.25]
    assert len(agent.asked) == 2  # the same question about the same passage once
    # Another run asks what is new, and makes nobody where nothing is.
    again = Answers(tmp_path).of("key", lambda: agent, [other, found], silent)
    assert again.spans == [(0, 3), (15, 18)]
    assert len(agent.asked) == 3

    def nobody() -> Second:
        raise AssertionError("asked")

    kept = Answers(tmp_path).of("key", nobody, [other, none], silent)
    assert kept.texts == ["red", None]
    assert Answers(tmp_path).of("key", nobody, [], silent).gflops.shape == (0,)
    (tmp_path / "key.npz").write_bytes(b"no")
    with pytest.raises(FormatError, match=r"no answers of a reader"):
        Answers(tmp_path).of("key", nobody, [other], silent)


def test_golden_answers_of_judged_questions() -> None:
    assert golden("291 episodes/291") == ["291 episodes/291", "291 episodes", "291"]
    assert golden("AC/DC")[0] == "AC/DC"
    assert golden("red") == ["red"]
    assert golden("") == []


def test_where_an_answer_begins_and_ends_right() -> None:
    golden = [["the red house", "house by the lake"]]
    found = both_ends(
        [["red barn", "green house", "red house", "house at a lake", None, "the"]], golden
    )
    assert found[0].tolist() == [[1, 0], [0, 1], [1, 1], [1, 1], [0, 0], [0, 0]]


def test_start_and_end_are_allocated_apart() -> None:
    """The cheap one begins right and the dear one ends right, both always: one of them answers both."""
    em = np.tile([[0.0, 1.0]], (40, 1))
    bed = made_bed(np.ones((40, 2)), em, np.zeros(40))
    features = np.zeros(
        (40, 4), dtype=np.float32
    )  # nothing to see: what is learned is one level each
    apart = np.stack([np.tile([[1.0, 0.0]], (40, 1)), np.tile([[0.0, 1.0]], (40, 1))], axis=-1)
    bed = replace(bed, features=features, ends=apart)
    every = {row.name: row for row in rows(bed)}
    assert "surrogate, u = 1, shifted, start and end" not in {
        r.name for r in rows(made_bed(em, em, em[:, 0]))
    }
    fold = Fold.whole(Learned(bed, 0, 0), bed)
    found = every["surrogate, u = 1, shifted, start and end"].decide(fold, 0.1)
    assert found.asked.sum(axis=1).tolist() == [1] * 40
    # Both ends point at the dear one where the cheap one's are wrong.
    bed = replace(bed, ends=np.stack([em, em * 0.99], axis=-1))
    fold = Fold.whole(Learned(bed, 0, 0), bed)
    found = every["surrogate, u = 1, shifted, start and end"].decide(fold, 0.1)
    assert found.given.tolist() == [1] * 40


def test_the_controls_of_confidence_and_of_the_data_set_by_hand() -> None:
    """The cheap one is right where it is sure; the dear one always is."""
    own = np.array([[2.0, 0.0], [1.0, 0.5], [-1.0, 0.0], [-2.0, 0.0]])
    em = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    sets = np.array([0, 0, 1, 1])
    bed = made_bed(own, em, sets)
    fold = Fold.whole(Learned(bed, 0, 0), bed)
    every = {row.name: row for row in rows(bed)}
    found = every["confidence threshold"].decide(fold, 0.2)
    assert found.given.tolist() == [0, 0, 1, 1]
    assert found.asked.tolist() == [[True, False]] * 2 + [[True, True]] * 2
    # So dear that asking the other is never worth it.
    dear = every["confidence threshold"].decide(fold, 2.0)
    assert dear.given.tolist() == [0] * 4
    assert not dear.asked[:, 1].any()
    surest = every["the surest of all"].decide(fold, 0.0)
    assert surest.given.tolist() == [0, 0, 1, 1]
    assert surest.asked.all()
    label = every[LABEL].decide(fold, 0.2)
    assert label.given.tolist() == [0, 0, 1, 1]
    # Without confidences, and of one data set, there is nothing of the kind.
    plain = {row.name for row in rows(made_bed(0 * own, em, 0 * sets))}
    assert not plain & {"confidence threshold", "the surest of all", LABEL}


def test_the_beds(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    assert len(bed) == ARTICLES * EACH
    assert bed.missing == 10
    assert not bed.em[0].any()
    assert list(bed.units) == sorted(bed.units)
    assert bed.em.mean(axis=0)[-1] > bed.em.mean(axis=0)[0]
    # No article is in two folds, nor in two parts of what a fold learns from.
    for fold in all_folds(bed):
        assert not set(fold.train.clusters) & set(fold.test.clusters)
        parts = [set(fold.train.clusters[fold.learned.inner == i]) for i in range(3)]
        assert not parts[0] & parts[1]
    other = judged(data, backbone, ArrayCache(tmp_path), silent)
    assert other.agents == tuple(name for name, _ in JUDGED.values())
    assert sorted(np.bincount(other.folds)) == [12] * 5
    # Right is what people say; "it is red" has one word of three.
    assert set(other.em.ravel().tolist()) == {0, 1}
    np.testing.assert_allclose(other.f1, other.em * 0.5)
    assert not bed.counted
    np.testing.assert_array_equal(bed.costs, np.tile(bed.units, (len(bed), 1)))


def test_what_a_look_is_worth(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    """A reader that knows: who is asked matters no more, all that any agent knows is found."""
    asked: list[int] = []

    def judge(
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        texts: Sequence[Sequence[str | None]],
        deadline: Deadline | None = None,
    ) -> Judged:
        asked.append(len(questions))
        likes = [[-0.1 if (t or "").startswith("red") else -6.0 for t in row] for row in texts]
        return Judged(np.array(likes, dtype=np.float32), np.zeros(len(likes), dtype=np.float32))

    bed = looked_at(data, backbone, ArrayCache(tmp_path), silent, judge)
    assert bed is not None
    assert looked_at(data, backbone, ArrayCache(tmp_path), silent, judge, limit=EACH) is None
    # Articles 3, 4, 8, 9, 13 and 14: those that no reader of ours learned from.
    assert len(bed) == 6 * EACH
    assert asked == [8, len(bed)]
    table = looked(bed, (0.0,), 0)
    em = {row[1]: row[2] for row in table.rows}
    assert em["everyone asked, verified, looked"] == bed.em.max(axis=1).mean()
    assert em["everyone asked, verified, looked"] >= em["everyone asked, verified"]
    assert [row[-1] is None for row in table.rows] == [True, False, True, False]


def test_no_row_but_the_bound_knows_the_test(
    data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """With the tests' truth turned over every row does what it did."""
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    fold, other = Fold.of(bed, 0, 0), Fold.of(bed, 0, 0)
    object.__setattr__(other.test, "em", 1 - other.test.em)
    for row in rows(bed):
        if "u = " in row.name and row.name != "surrogate, u = 1, printed":
            continue
        one, two = row.decide(fold, 0.1), row.decide(other, 0.1)
        same = np.array_equal(one.given, two.given) and np.array_equal(one.asked, two.asked)
        assert same == (row.name != ORACLE), row.name


def test_how_seldom_the_dearest_has_to_be_asked(
    data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    folds = all_folds(bed)
    ours = {row.name: row for row in rows(bed)}[OURS]
    (table,) = economy(bed, folds, {0.0: decided(bed, ours, 0.0, folds)})
    unsure = [row for row in table.rows if row[1] == "others are unsure"]
    asked, cost = ([float(row[i]) for row in unsure] for i in (2, 3))  # type: ignore[arg-type]
    assert asked == sorted(asked)
    assert asked[0] < asked[-1]
    assert len(asked) == len(SHARES)
    for mine, paid in zip(asked, cost, strict=True):
        # All others are paid for everywhere.
        assert paid == pytest.approx(mine + bed.units[:-1].sum() / bed.units[-1])
    for row in unsure:
        interval = row[5]
        assert isinstance(interval, Interval)
        assert interval.low <= float(row[6]) <= interval.mean  # type: ignore[arg-type]
    chosen, cascade = table.rows[-2:]
    assert [row[:2] for row in (chosen, cascade)] == [[None, CHOSEN], [None, f"{OURS}, price 0"]]
    assert all(float(row[6]) <= row[5].mean for row in (chosen, cascade))  # type: ignore[arg-type, union-attr]
    # What is chosen for a fold depends on its record alone.
    turned = replace(bed, em=np.where(bed.folds[:, None] == 0, 1 - bed.em, bed.em))
    one, two = (
        re.findall(r"\d+", t.notes[1].split("Chosen:")[1])
        for t in (table, *economy(turned, all_folds(turned), {}))
    )
    assert len(one) == 5
    assert one[0] == two[0]
    # Where two agents are the dearest nobody is the one to be spared.
    level = replace(bed, units=np.ones(len(bed.agents)))
    assert economy(level, all_folds(level), {}) == []


def test_a_rejector_that_reads(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    fold = Fold.of(bed, 0, 0)
    plan = Plan(measure=None, epochs=1, evaluations=1)
    steps: list[str] = []
    reading = Reading(
        backbone,
        backbone,
        tmp_path,
        lambda what, done, of: steps.append(what),
        [Reads(layers=1, max_length=32, rank=2, plan=plan)],
    )
    table = readers(bed, fold, reading, prices=(0.0, 0.2))
    both = [f"a rejector that reads, u = 1, {kind}" for kind in ("printed", "shifted")]
    others = [f"a rejector that reads, u = {u}, shifted" for u in (0, 0.5, 1.5, 2)]
    names = {0.0: both, 0.2: [*both, *others]}
    assert [row[:2] for row in table.rows] == [
        [p, name] for p in names for name in (BEST, SURROGATE, OURS, *names[p], FORESEEN)
    ]
    assert {"training an adapter, 1 layers"} == set(steps)
    # Nothing is trained again, and what reading takes has no place among published costs.
    trained, again = len(steps), readers(bed, fold, reading, prices=(0.0, 0.2))
    assert again.rows == table.rows
    assert len(list((tmp_path / "runs").iterdir())) == 8 + 1
    assert len(steps) <= 2 * trained
    assert reading.allocate(fold, reading.reads[0], 0.2).deciding is None


def test_the_whole(data: Path, backbone: Backbone, tmp_path: Path) -> None:
    found = run(
        data,
        backbone,
        tmp_path / "run",
        reader=fresh_reader(backbone),
        sizes=SIZES,
        prices=(0.0, 0.2),
        only=SOME,
        draw=tmp_path / "out",
        reads=[Reads(layers=1, max_length=32, rank=2)],
    )
    titles = [table.title for table in found.tables]
    first = "ten readers, SQuAD"
    assert titles[:7] == [
        f"{first}: price 0",
        f"{first}: price 0.2",
        f"{first}: utility",
        f"{first}: who is asked",
        f"{first}: how seldom BERT, ensemble has to be asked",
        f"{first}: mistaken prices",
        f"{first}: promises",
    ]
    assert len(titles) == 19
    table = found.tables[0]
    assert [row[0] for row in table.rows] == SOME
    em = {row[0]: float(row[2]) for row in table.rows}  # type: ignore[arg-type]
    assert em[ORACLE] == max(em.values())
    assert em[OURS] >= em[BEST] - 0.05
    # Shuffled it asks as often, and so costs as much.
    costs = {row[0]: float(row[4]) for row in table.rows}  # type: ignore[arg-type]
    assert costs["the same, shuffled"] == pytest.approx(costs[OURS])
    for name in ("squad", "squad-asked", "judged", "judged-asked", "specialists"):
        assert any(
            "question" in text or "exact match" in text
            for text in words(tmp_path / f"out-{name}.svg")
        )
    assert "answers given, price 0" in words(tmp_path / "out-specialists-calibration.svg")
    short = Reads(layers=1, max_length=16, rank=2, plan=Plan(measure=None, epochs=1, evaluations=1))
    (alone,) = run(data, backbone, tmp_path / "run", reads=[short], tables="read").tables
    assert alone.title == f"{first}: a rejector that reads"
    with pytest.raises(InputError, match="there is no row 'nobody'"):
        run(data, backbone, tmp_path / "run", only=["nobody"])


def test_one_verifier_for_all_sets_hears_who_was_asked(
    data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """Of agents that were not asked it knows nothing: changed answers of theirs change no chance."""
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    known = np.array([[True] * 3 + [False] * (len(bed.agents) - 3), [True] * len(bed.agents)])
    few, all_ = one_for_all(bed.said, bed.em, known)
    assert few is not None
    assert all_ is not None
    other = bed.said.take(np.roll(np.arange(len(bed)), 1))
    mixed = replace(
        bed.said, given=np.where(known[0], bed.said.given, other.given), own=bed.said.own + 0.0
    )
    np.testing.assert_array_equal(few(bed.said)[:, :3], few(mixed)[:, :3])
    assert not few(bed.said)[:, 3:].any()
    assert (all_(bed.said) > 0).sum() == bed.said.given.sum()
    # The same as one of its own where there is no other set.
    (alone,) = one_for_all(bed.said, bed.em, known[1:])
    own = Verifier.learn(bed.said, bed.em, known[1])
    assert alone is not None
    np.testing.assert_allclose(alone(bed.said), own(bed.said), atol=1e-5)


def test_prices_that_are_believed_change_no_record(
    data: Path, backbone: Backbone, tmp_path: Path
) -> None:
    bed = squad(data, backbone, ArrayCache(tmp_path), silent)
    fold = Fold.of(bed, 0, 0)
    learned = fold.neighbours
    believing = fold.believing(np.append(np.full(fold.agents - 1, 1e4), 1.0))
    assert believing.neighbours is learned
    assert believing.units[:-1] == pytest.approx(1e4 * fold.units[:-1])
    assert fold.units[-1] == believing.units[-1] == 1
    every = {row.name: row for row in rows(bed)}
    asked = {
        name: [every[name].decide(each, 0.1).asked.any() for each in (fold, believing)]
        for name in (BEST, OURS)
    }
    assert all(all(each) for each in asked.values())
    # Whoever is held to be dearer than the dearest is not asked.
    assert every[BEST].decide(believing, 0.5).asked[:, -1].all()


def test_the_area_under_a_frontier() -> None:
    assert frontier_area([(1.0, 0.8)]) == pytest.approx(0.4)  # mixed with answering nothing
    assert frontier_area([(0.0, 0.5), (1.0, 0.5)]) == pytest.approx(0.5)
    assert frontier_area([(0.5, 0.8), (0.75, 0.5)]) == pytest.approx(
        0.2 + 0.4
    )  # the dearer, worse one is not used
    assert frontier_area([(0.5, 0.6), (2.0, 0.9)]) == pytest.approx(0.15 + 0.5 * (0.6 + 0.7) / 2)


def test_a_folder_that_is_no_test_bed(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(InputError, match=r"not the test bed \(no squad-dev-v1.1.json in it\)"):
        run(tmp_path, backbone, tmp_path / "run")
