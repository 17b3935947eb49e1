"""Readers of our own, of several depths and domains, as agents: trained here, on training parts alone.

All begin as the reader that ships, cut to their first layers, and read equally many questions more:
those of one domain, or of all. A reader answers its own training questions better than others, so the
dev parts, which none has seen, say how good each is where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.draw import drawn
from pointsman.data.splits import refuse_overlap, without
from pointsman.data.squad import read_squad
from pointsman.data.testbed import check_files
from pointsman.defer.candidates import said
from pointsman.defer.record import Record, collect
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.reading import exact_match, f1
from pointsman.experiments.deferral.bed import Bed, before, scored
from pointsman.experiments.report import Show
from pointsman.read.agent import ReaderAgent
from pointsman.read.examples import examples_digest
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.recipe import bf16_trains_well
from pointsman.read.task import Part, ReaderData, ReaderTask
from pointsman.training.loop import Plan, Progress, train
from pointsman.types import Passage, ReadingExample

Examples = Sequence[ReadingExample]

DOMAINS: Mapping[str, tuple[str, ...]] = {
    "encyclopaedia": ("squad-articles", "squadshifts-newwiki"),
    "reviews": ("squadshifts-amazon",),
    "biomedicine": ("covidqa",),
    "policies": ("policyqa",),
}
POLICIES, LONG = "policyqa", ("covidqa",)
UNION, SHIPPED = "all domains", "as it ships"

# Of policyqa's dev part, which stands for the training part that it lacks, every so manieth company.
_HELD = 4


@dataclass(frozen=True, slots=True)
class Made:
    """A reader that is trained here: on which domain, and with how many layers, None for all."""

    domain: str
    layers: int | None = None

    @property
    def name(self) -> str:
        """As the tables call it."""
        return self.domain if self.layers is None else f"{self.domain}, {self.layers} layers"


@dataclass(frozen=True, slots=True)
class Sizes:
    """`trained` questions teach each reader; so many of each set are in the record and in the test, of
    `long` documents fewer. `reader` is how they read.
    """

    trained: int = 4_000
    record: int = 600
    test: int = 600
    long: int = 150
    depths: tuple[int | None, ...] = (2, None)
    union_depths: tuple[int | None, ...] = (2, 4, None)
    reader: ReaderSettings = field(default_factory=ReaderSettings)


@dataclass(frozen=True, slots=True)
class Parts:
    """A set's questions that teach readers, that say how good they are, and that report."""

    train: Examples
    record: Examples
    test: Examples


def parts(data: Path, sizes: Sizes, seed: int = 0) -> dict[str, Parts]:
    """Every set's. Raises InputError where a file is missing or a question stands on two sides."""
    whole = {name: _read(data, name) for names in DOMAINS.values() for name in names}
    # Companies ask the same of their policies; nowhere else may a question stand on two sides.
    others = [name for name in whole if name != POLICIES]
    tested = [each.question for name in others for each in whole[name].test]
    for name in others:
        refuse_overlap([each.question for each in whole[name].train], tested, f"{name}, train")
        unseen = without(whole[name].record, tested, lambda each: each.question)
        whole[name] = replace(whole[name], record=unseen)

    def some(name: str, each: Parts) -> Parts:
        record, test = (sizes.long,) * 2 if name in LONG else (sizes.record, sizes.test)
        return Parts(each.train, _some(each.record, record, seed), _some(each.test, test, seed))

    return {name: some(name, each) for name, each in whole.items()}


def _read(data: Path, name: str) -> Parts:
    """All questions of a set that have an answer."""
    kinds = ("dev", "test") if name == POLICIES else ("train", "dev", "test")
    files = [data / "squad" / f"{name}-{kind}.json" for kind in kinds]
    check_files(data, files)
    train, *others = ([each for each in read_squad(file) if each.answers] for file in files)
    if name != POLICIES:
        record, test = others
        return Parts(train, record, test)
    company = numbered(each.cluster for each in train)
    both = list(zip(train, company, strict=True))
    held = [each for each, i in both if i % _HELD == 0]
    return Parts([each for each, i in both if i % _HELD], held, others[0])


def specialists(
    data: Path,
    backbone: Backbone,
    start: Part,
    folder: Path,
    show: Show,
    *,
    fast: Backbone | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> tuple[Bed, Bed]:
    """What the readers say to the questions of the record, and to those of the tests.

    `start` is the reader that all begin as. `folder` keeps the training runs and the answers; the same
    call goes on from there.
    """
    sizes, fast = sizes or Sizes(), fast or backbone
    found = parts(data, sizes, seed)
    made = [Made(UNION, depth) for depth in sizes.union_depths]
    made += [Made(domain, depth) for domain in DOMAINS for depth in sizes.depths]
    readers = {SHIPPED: (start, sizes.reader)}
    for each in made:
        settings = replace(sizes.reader, layers=each.layers)
        examples = _taught(each, found, sizes.trained, seed)
        part = _trained(each.name, backbone, start, settings, examples, folder, show, seed)
        readers[each.name] = (part, settings)
    agents = []
    for name, (part, settings) in readers.items():
        fast.add_adapter(f"specialists:{name}", part.adapter)
        reader = SpanReader(fast, part.head, f"specialists:{name}", settings)
        agents.append(ReaderAgent(reader, name=name, n_best=1))
    kept = hashlib.sha256(
        repr((backbone.identity.sha256, sizes, seed, _digest(start))).encode()
    ).hexdigest()[:12]
    cache = ArrayCache(folder)
    sides = {
        side: [(i, each) for i, p in enumerate(found.values()) for each in getattr(p, side)]
        for side in ("record", "test")
    }
    records = {
        side: collect(
            agents,
            [each.question for _, each in rows],
            [[Passage(each.id, each.context)] for _, each in rows],
            folder / f"answers-{kept}.jsonl",
            lambda what, done, total, side=side: show(f"{side}: {what}", done, total),  # type: ignore[misc]
        )
        for side, rows in sides.items()
    }
    units = records["record"].mean_cost()[:, 0]
    order = np.argsort(units, kind="stable")
    names = tuple(list(readers)[j] for j in order)
    record, test = (
        _bed(names, units[order], sides[side], records[side], order, fast, cache, show)
        for side in ("record", "test")
    )
    return record, test


def _some(examples: Examples, most: int, seed: int) -> list[ReadingExample]:
    return [examples[i] for i in drawn(len(examples), most, seed)]


def _taught(made: Made, found: Mapping[str, Parts], count: int, seed: int) -> list[ReadingExample]:
    """So many questions of a domain, the same again where it has fewer; of all, each domain's as many."""
    domains = list(DOMAINS) if made.domain == UNION else [made.domain]
    generator = np.random.default_rng(seed)
    taught: list[ReadingExample] = []
    for domain in domains:
        there = [each for name in DOMAINS[domain] for each in found[name].train]
        rounds = [generator.permutation(len(there)) for _ in range(1 + count // len(there))]
        chosen = np.concatenate(rounds)[: count // len(domains)]
        taught += [there[i] for i in chosen.tolist()]
    return taught


def _trained(
    name: str,
    backbone: Backbone,
    start: Part,
    settings: ReaderSettings,
    examples: Examples,
    folder: Path,
    show: Show,
    seed: int,
) -> Part:
    """A reader that began as `start`; one of fewer layers learns from it too, and faster."""
    shallow = settings.layers is not None
    plan = Plan(
        "none",
        epochs=1,
        learning_rate=1e-3 if shallow else 3e-4,
        evaluations=1,
        seed=seed,
        bf16=bf16_trains_well(backbone),
    )
    task = ReaderTask(
        backbone,
        start.adapter,
        start.head,
        ReaderData(examples, (), [()] * len(examples), 0.0),
        lambda _: {"none": 0.0},
        settings=settings,
        teachers=[start] if shallow else [],
        seed=seed,
    )
    parts = (backbone.identity.sha256, settings, plan, examples_digest(examples), _digest(start))
    run = folder / "runs" / f"reader-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
    outcome = train(task, plan, run, partial(_training, show, name))
    return task.parts(outcome.parameters)


def _training(show: Show, name: str, progress: Progress) -> None:
    show(f"training {name}", progress.step, progress.steps)


def _bed(
    names: tuple[str, ...],
    units: np.ndarray,
    rows: Sequence[tuple[int, ReadingExample]],
    record: Record,
    order: np.ndarray,
    backbone: Backbone,
    cache: ArrayCache,
    show: Show,
) -> Bed:
    examples = [each for _, each in rows]
    answers = [[row[j] for j in order] for row in record.texts]
    sure = [[row[j] for j in order] for row in record.sure]
    golden = [each.answers for each in examples]
    questions = [each.question for each in examples]
    contexts = [each.context for each in examples]
    clusters = numbered(f"{i} {each.cluster}" for i, each in rows)
    return Bed(
        "readers of our own",
        names,
        units,
        "GFLOPs",
        said(questions, contexts, answers, sure),
        scored(answers, golden, exact_match),
        scored(answers, golden, f1),
        clusters,
        np.zeros(len(rows), dtype=np.int64),
        before(backbone, questions, contexts, cache, show),
        sum(text is None for row in answers for text in row),
        np.array([i for i, _ in rows]),
    )


def _digest(part: Part) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted({**part.adapter.tensors(), **part.head.tensors}.items()):
        found.update(name.encode())
        found.update(tensor.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()[:20]
