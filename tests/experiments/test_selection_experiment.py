from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graded import COLOURS, GREEK
from letters import article, write_articles
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.data.multihop import MultihopQuestion, Paragraph, write_multihop
from pointsman.errors import FormatError, InputError
from pointsman.experiments.report import Report, silent
from pointsman.experiments.selection.bed import SETS, Sizes, fifths, graded, load
from pointsman.experiments.selection.estimator import WEIGHTS, Counted
from pointsman.experiments.selection.hops import ALWAYS, SAID, SPANS, TESTED, load_folds
from pointsman.experiments.selection.lab import Plans
from pointsman.experiments.selection.remembered import RememberingReader
from pointsman.experiments.selection.routed import routed_table
from pointsman.experiments.selection.rows import APART, BOUND, DRO, LOOKED, PLAIN
from pointsman.experiments.selection.run import run
from pointsman.joint.asked import Asked
from pointsman.joint.recipe import Recipe
from pointsman.read.head import SpanHead
from pointsman.read.marginal import reader_of
from pointsman.read.reader import ReaderSettings
from pointsman.read.task import Part as ReaderPart
from pointsman.route.expert import Expert, domain_of
from pointsman.select.em import leave_one_out, log_marginal, posterior
from pointsman.select.selector import SelectorSettings
from pointsman.training.loop import Plan
from pointsman.types import FloatArray, Passage, Reading, ReadingExample
from tiny import write_tiny

SIZES = Sizes(taught=30, together=8, dev=8, test=12, candidates=7, trained_candidates=6)
PLAN = Plan(measure=None, epochs=1, learning_rate=3e-3, evaluations=1)
PLANS = Plans(
    PLAN,
    PLAN,
    PLAN,
    Recipe(
        selector=SelectorSettings("pointer", 5, 48),
        reader=ReaderSettings(max_length=40, overlap=8, answer_width=4),
        iterations=1,
        samples=2,
        frozen=True,
        selector_plan=PLAN,
        reader_plan=PLAN,
    ),
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def reader(backbone: Backbone) -> ReaderPart:
    generator = torch.Generator().manual_seed(0)
    width = backbone.shape.width
    return ReaderPart(
        new_adapter(backbone.model, 4, 8.0, generator), SpanHead.fresh(width, generator)
    )


def several(count: int, rng: random.Random, numbers: Iterator[int]) -> list[MultihopQuestion]:
    """Questions with five paragraphs, two of them supporting; every fourth is answered by yes."""
    made = []
    for _ in range(count):
        number = next(numbers)
        letters, colours = rng.sample(GREEK, 5), rng.choices(COLOURS, k=5)
        paragraphs = tuple(
            Paragraph(letter, f"after {letter} {number} comes {colour}", place < 2)
            for place, (letter, colour) in enumerate(zip(letters, colours, strict=True))
        )
        answer = "yes" if number % 4 == 0 else colours[1]
        asked = f"what follows {letters[0]} {letters[1]} {number}"
        made.append(MultihopQuestion(f"m{number}", asked, (answer,), paragraphs))
    return made


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test bed of the same files."""
    folder = tmp_path_factory.mktemp("bed") / "squad"
    folder.mkdir()
    rng = random.Random(0)
    numbers = itertools.count()
    for name, collection in SETS.items():
        articles = {
            part: [article(next(numbers), rng, 5) for _ in range(count)]
            for part, count in (("train", 14), ("dev", 4), ("test", 4))
        }
        for part, made in articles.items():
            write_articles(folder / f"{name}-{part}.json", made)
        if len(collection) == 1:
            whole = itertools.chain.from_iterable(articles.values())
            write_articles(folder / f"{collection[0]}.json", whole)
    hops = folder.parent / "multihop"
    hops.mkdir()
    for name in (*ALWAYS, *TESTED):
        write_multihop(hops / f"{name}.jsonl", several(20, rng, numbers))
    return folder.parent


def test_who_learns_together_was_not_seen_before(bed: Path, backbone: Backbone) -> None:
    found = load(bed, backbone, SIZES, silent)
    apart = {each.question for each in found.taught}
    together = {each.question for each in found.together}
    dev = {each.question for each in found.dev}
    tests = {e.question for asked in found.tests.values() for e in asked}
    assert 12 < len(found.together) <= 24
    assert not apart & together
    assert not dev & (apart | together)
    assert not tests & (apart | together | dev)
    assert {len(each.passages) for each in (*found.together, *found.dev)} == {6}
    assert {len(e.passages) for asked in found.tests.values() for e in asked} == {7}
    assert sorted(found.tests) == ["squad-articles", "squadshifts-newwiki"]
    # A paragraph is on one side, with all its questions.
    examples = [ReadingExample(str(i), "q", f"paragraph {i // 3}") for i in range(30)]
    sides = fifths(examples)
    assert [len(side) for side in sides] == [12, 12, 6]
    paragraphs = [{each.context for each in side} for side in sides]
    assert not paragraphs[0] & paragraphs[1] | paragraphs[0] & paragraphs[2]
    # Grades go to every sample under its name, and change nothing else.
    names: list[str] = []

    def say(name: str, asked: Sequence[Asked]) -> list[FloatArray]:
        names.append(name)
        return [np.full(len(each.passages), 0.25, np.float32) for each in asked]

    marked = graded(found, say)
    assert names == ["taught", "together", "dev", *found.tests]
    assert {float(value) for each in marked.together for value in each.relevance} == {0.25}
    assert [each.id for each in marked.dev] == [each.id for each in found.dev]


def test_remembering_gives_what_the_reader_gives(backbone: Backbone, reader: ReaderPart) -> None:
    """And asks it for each pair once."""
    settings = ReaderSettings(max_length=40, overlap=8, answer_width=4)
    plain = reader_of(backbone, reader, settings)
    passages = [
        Passage(str(i), f"after {letter} comes {colour}", belief=0.3 * i)
        for i, (letter, colour) in enumerate(zip(GREEK[:4], COLOURS, strict=False))
    ]
    questions = ["what follows alpha", "what follows beta"]
    remembering = RememberingReader(plain)
    for chosen in ((0, 1, 2, 3), (3, 1), (2,), ()):
        given = [[passages[i] for i in chosen], [passages[i] for i in reversed(chosen)]]
        expected = plain.read(questions, given)
        found = remembering.read(questions, given)
        for one, other in zip(expected, found, strict=True):
            assert [s.text for s in one.spans] == [s.text for s in other.spans]
            assert [s.passage for s in one.spans] == [s.passage for s in other.spans]
            assert [s.score for s in one.spans] == pytest.approx(
                [s.score for s in other.spans], abs=1e-4
            )

    class Never:
        def read(self, questions: Sequence[str], *_: object, **__: object) -> list[Reading]:
            assert not questions
            return []

    remembering.reader = Never()  # type: ignore[assignment]
    remembering.read(questions, [passages, passages])


def test_every_fold_is_a_test_once(bed: Path, backbone: Backbone, tmp_path: Path) -> None:
    beds = load_folds(bed, backbone)
    tested = [each for fold in beds for asked in fold.tests.values() for each in asked]
    assert len(tested) == len({each.id for each in tested}) == 40
    for fold in beds:
        held = {each.question for asked in fold.tests.values() for each in asked}
        seen = {each.question for each in (*fold.taught, *fold.together, *fold.dev)}
        assert not held & seen
        assert len(seen) == 60 + 32
        assert len(fold.dev) == 8
        assert all(each.answers == ("yes",) for each in fold.tests[SAID])
        assert not any(each.answers == ("yes",) for each in fold.tests[SPANS])
    # A reader is taught with what supports an answer alone, and among others.
    alone, among = beds[0].read[0].texts
    assert alone.startswith("yes no\n")
    assert alone.count("after") == 2
    assert among.count("after") == 4
    shutil.copytree(bed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "multihop" / f"{ALWAYS[0]}.jsonl").write_bytes(
        (bed / "multihop" / f"{TESTED[0]}.jsonl").read_bytes()
    )
    with pytest.raises(InputError, match="hotpotqa-train100"):
        load_folds(tmp_path, backbone)
    (tmp_path / "multihop" / f"{TESTED[0]}.jsonl").unlink()
    with pytest.raises(InputError, match=r"no hotpotqa-dev500\.jsonl in it"):
        load_folds(tmp_path, backbone)


def test_a_test_question_in_train_is_refused(bed: Path, backbone: Backbone, tmp_path: Path) -> None:
    copied = tmp_path / "squad"
    copied.mkdir()
    for file in (bed / "squad").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    (copied / "squad-articles-train.json").write_bytes(
        (copied / "squadshifts-newwiki-test.json").read_bytes()
    )
    with pytest.raises(InputError, match="squad-articles, train"):
        load(tmp_path, backbone, SIZES, silent)
    (copied / "squadshifts-amazon-dev.json").unlink()
    with pytest.raises(InputError, match=r"no squadshifts-amazon-dev\.json in it"):
        load(tmp_path, backbone, SIZES, silent)


def test_the_whole_experiment_and_going_on_with_it(
    bed: Path, backbone: Backbone, reader: ReaderPart, tmp_path: Path
) -> None:
    def once(seeds: int = 2, **more: Any) -> Report:
        return run(bed, backbone, reader, tmp_path, sizes=SIZES, plans=PLANS, seeds=seeds, **more)

    report = once()
    tables = {table.title: table for table in report.tables}
    main = tables["squad-articles, 2 seeds"]
    rows = {str(row[0]): row for row in main.rows}
    assert {PLAIN, *APART, DRO, "ours: every set counted", BOUND} <= rows.keys()
    # What supports the answer is all that the bound reads.
    assert rows[BOUND][8] == pytest.approx(1.0)
    assert float(rows["retrieval order, all read"][7]) == 7  # type: ignore[arg-type]
    assert len(tables["squad-articles: differences"].rows) == len(rows) - 1
    recalls = tables["squad-articles: answers in the first passages"].rows
    assert recalls[0][0] == APART[0]
    assert tables["iterations, on dev"].rows[0][:2] == [DRO, 0]
    assert [row[1] for row in tables["iterations, on dev"].rows] == [0, 1, 0, 1]
    hops = tables[f"several passages: {SPANS}, 2 seeds"]
    assert "ours: the likeliest selections" in {str(row[0]) for row in hops.rows}
    said = tables[f"several passages: {SAID}, 2 seeds"]
    assert said.notes[0].startswith("10 questions")
    # A passage in which somebody says "no" holds no answer.
    assert not [column for column in said.columns if "answer in" in str(column)]
    assert f"several passages: {SAID}: answers in the first passages" not in tables
    assert {LOOKED, f"{LOOKED}, reader too"} <= rows.keys()
    estimated = tables["The gradient of m drawn selections"].rows
    assert estimated[1][2:] == [pytest.approx(1.0), 0.0, 0.0]  # m = 1, centred: nothing at all
    shown: list[str] = []
    again = once(show=lambda what, *_: shown.append(what))
    # All but seconds, the last of them.
    assert [t.rows for t in again.tables[:-1]] == [t.rows for t in report.tables[:-1]]
    assert again.tables[-1].title == "What a question takes"
    gflops = [row[2] for row in again.tables[-1].rows]
    assert gflops == [row[2] for row in report.tables[-1].rows]
    assert gflops[0] < gflops[1]
    candidates = tables["How many candidates"]
    assert [row[1] for row in candidates.rows[:4]] == ["5", "10", "20", "50"]
    assert len(candidates.rows) == 4 * 9
    by_search = {row[1] for row in tables["How candidates are found, twenty of them"].rows}
    assert by_search == {"words and vectors", "vectors alone", "words alone"}
    made = [row[0] for row in tables["What a selector is made of"].rows]
    assert made[:2] == ["apart, head of 16 alone", "apart, head of 64 alone"]
    assert made[-3:] == [
        "DRO without a teacher, head alone",
        "DRO after a head of 128 alone",
        "DRO, reader as it was",
    ]
    assert not any(what.startswith("reading the candidates") for what in shown)
    with pytest.raises(InputError, match="no row 'theirs'; there are retrieval order, "):
        once(1, only=["theirs"])
    # A row that questions of several passages do not have is one of the others all the same.
    looked = once(1, only=[PLAIN, LOOKED])
    assert {table.title for table in looked.tables} >= {
        "squad-articles, 1 seed",
        f"several passages: {SPANS}, 1 seed",
    }
    # With its outcomes another machine trains nothing, and adds a seed.
    elsewhere = tmp_path / "elsewhere"
    trained: list[str] = []
    more = run(
        bed,
        backbone,
        reader,
        elsewhere,
        sizes=SIZES,
        plans=PLANS,
        seeds=2,
        studies=False,
        outcomes=tmp_path / "outcomes",
        show=lambda what, *_: trained.append(what),
    )
    assert [t.rows for t in more.tables] == [t.rows for t in report.tables[: len(more.tables)]]
    assert not (elsewhere / "runs").exists()
    assert not [what for what in trained if "seed" in what]
    (broken,) = (tmp_path / "outcomes").glob("several-*-seed-1.npz")
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(FormatError, match="no outcomes of a selection run"):
        once(passages=["several"])
    broken.unlink()
    few = once(1, only=[PLAIN], passages=["one"])
    assert [len(table.rows) for table in few.tables] == [1, 0, 0, 1, 0, 0]


def test_a_router_is_learned_from_answers(
    bed: Path, backbone: Backbone, reader: ReaderPart
) -> None:
    generator = torch.Generator().manual_seed(1)
    experts = []
    for name in ("red", "blue"):
        fresh = new_adapter(backbone.model, 4, 8.0, generator)
        # What it changes is random, and a lot.
        moved = {
            key: tensor + 0.5 * torch.randn(tensor.shape, generator=generator)
            for key, tensor in fresh.tensors().items()
        }
        adapter = fresh.with_tensors(moved)
        domain = domain_of(backbone, [f"what follows {letter} {name}" for letter in GREEK])
        experts.append(Expert(name, adapter, backbone.identity.sha256, domain))
    plain = reader_of(backbone, reader, ReaderSettings(max_length=40, overlap=8, answer_width=4))
    table = routed_table(bed, backbone, plain, experts, silent, trained=12, tested=6)
    rows = {str(row[0]): row for row in table.rows}
    assert list(rows)[:4] == ["base", "red", "blue", "the router that ships"]
    assert "learned from answers, mixed" in rows
    best = rows["whoever is best for each question"]
    assert all(float(best[2]) >= float(row[2]) for row in list(rows.values())[:3])  # type: ignore[arg-type]
    assert table.notes[0].startswith("18 test questions of three sets")


def test_more_samples_are_nearer_to_the_exact_gradient() -> None:
    scores = torch.tensor([0.3, -0.2, 0.1, 0.0])
    counted = Counted.of(scores, 2)
    every = counted.selections
    # Candidate 2 answers, best alone with 3.
    log_p = torch.where((every == 2).any(1), -1.0, -torch.inf) + (every == 3).any(1) * 0.5
    # The gradient by differences, of log Σ p(z) p(y | d_z).
    marginal = log_marginal(counted.log_p, log_p.double())
    moved = Counted.of(scores + torch.tensor([0.0, 0.0, 1e-3, 0.0]), 2)
    slope = (log_marginal(moved.log_p, log_p.double()) - marginal) / 1e-3
    exact = posterior(counted.log_p, log_p.double()) @ counted.slopes
    assert exact[2].item() == pytest.approx(slope.item(), abs=1e-3)
    found = [counted.spread(log_p, m, repeats=4_000) for m in (1, 4, 16, 64)]
    assert found[0].deviation == found[0].cosine == 0
    assert found[0].bias == pytest.approx(1)
    biases = [each.bias for each in found]
    assert biases == sorted(biases, reverse=True)
    assert biases[-1] < 0.1
    assert found[-1].cosine > 0.95
    # Against the others alone it is the same direction, and longer.
    alone, four = (counted.spread(log_p, m, weigh=leave_one_out, repeats=4_000) for m in (1, 4))
    assert alone.bias == pytest.approx(1)
    assert four.cosine == pytest.approx(found[1].cosine)
    assert four.deviation == pytest.approx(found[1].deviation * 4 / 3)
    # Without centring one selection teaches whatever was drawn: noise, and in the mean nothing.
    raw = counted.spread(log_p, 1, weigh=WEIGHTS["as they are"], repeats=4_000)
    assert raw.deviation > 1
    nothing = counted.spread(torch.full((len(every),), 0.0), 4)
    assert np.isfinite([nothing.bias, nothing.deviation, nothing.cosine]).all()
