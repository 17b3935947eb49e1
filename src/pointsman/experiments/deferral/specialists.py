"""Readers of our own, of several depths and domains, as agents: trained here, on training parts alone.

All begin as the reader that ships, cut to their first layers, and read equally many questions more:
those of one domain, or of all. One of fewer layers also learns from the whole one of its domain, as that
is in the end. A reader answers its own training questions better than others, so the dev parts, which none
learned from, say how good each is where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from pointsman.backbone.device import trains_in_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import weights_digest
from pointsman.data.arrays import ArrayCache
from pointsman.data.draw import drawn
from pointsman.data.splits import refuse_overlap, without
from pointsman.data.squad import read_squad
from pointsman.data.testbed import check_files
from pointsman.defer.before import encoding_gflops
from pointsman.defer.candidates import said
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.reading import exact_match, f1
from pointsman.experiments.deferral.answers import Answers, Replies
from pointsman.experiments.deferral.bed import GFLOPS, Bed, before, scored
from pointsman.experiments.deferral.spans import both_ends_at
from pointsman.experiments.report import Show
from pointsman.protocols import Agent
from pointsman.read.agent import ReaderAgent
from pointsman.read.examples import examples_digest
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.task import Part, ReaderData, ReaderTask
from pointsman.training.loop import Plan, Progress, train
from pointsman.types import ReadingExample

Examples = Sequence[ReadingExample]

DOMAINS: Mapping[str, tuple[str, ...]] = {
    "encyclopaedia": ("squad-articles", "squadshifts-newwiki"),
    "reviews": ("squadshifts-amazon",),
    "biomedicine": ("covidqa",),
    "policies": ("policyqa",),
}
SETS = tuple(name for names in DOMAINS.values() for name in names)
POLICIES, LONG = "policyqa", ("covidqa",)
UNION, SHIPPED = "all domains", "as it ships"

# The reader that ships has learned from training parts of all domains but this, and has more to learn
# there. The rates were chosen on record questions, for this domain and for all domains at once.
_NEW = "policies"
_RATE, _HIGHER_RATE = 3e-4, 1e-3

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
class Asked:
    """A question, and the number of the data set that it is from."""

    number: int
    example: ReadingExample

    @property
    def cluster(self) -> str:
        """What it must not be resampled apart from."""
        return f"{self.number} {self.example.cluster}"


@dataclass(frozen=True, slots=True)
class Learned:
    """A reader's weights, trained when they are first asked for; how it reads; and what it is known by."""

    part: Callable[[], Part]
    settings: ReaderSettings
    key: str


@dataclass(frozen=True, slots=True)
class Keyed:
    """A reader that can be put to work, and what its answers are kept under."""

    name: str
    key: str
    agent: Callable[[], Agent]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Twice `half` questions teach each reader; so many of each set are in the record and in the test, of
    `long` documents fewer. `troubled` of each that is not long are asked again, made harder and by readers
    that have learned half. `reader` is how they read.
    """

    half: int = 1_200
    record: int = 600
    test: int = 600
    long: int = 150
    troubled: int = 100
    depths: tuple[int | None, ...] = (4, None)
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
    whole = {name: _read(data, name) for name in SETS}
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


class Specialists:
    """The readers and what they say to whatever questions; one is trained when it is first asked.

    `start` is the reader that all begin as. `folder` keeps the training runs, and the `answers` too unless
    they have a folder of their own; the same call goes on from there. `fast` answers, an encoder of the
    same weights that need not train.
    """

    def __init__(
        self,
        data: Path,
        backbone: Backbone,
        start: Part,
        folder: Path,
        show: Show,
        *,
        fast: Backbone | None = None,
        answers: Path | None = None,
        sizes: Sizes | None = None,
        seed: int = 0,
    ) -> None:
        self.sizes = sizes or Sizes()
        self._backbone, self._fast = backbone, fast or backbone
        self._folder, self._show, self._seed = folder, show, seed
        self._cache = ArrayCache(folder)
        self._answers = Answers(answers or folder / "answers")
        found = parts(data, self.sizes, seed)
        self.record, self.test = (
            [Asked(i, each) for i, p in enumerate(found.values()) for each in getattr(p, side)]
            for side in ("record", "test")
        )
        both = [*self.record, *self.test]
        names = dict.fromkeys(each.cluster for each in both)
        self._clusters = {name: number for number, name in enumerate(names)}
        made = [Made(UNION, depth) for depth in self.sizes.union_depths]
        made += [Made(domain, depth) for domain in DOMAINS for depth in self.sizes.depths]
        # A whole one teaches those of its domain that have fewer layers.
        made.sort(key=lambda each: each.layers is not None)
        key = hashlib.sha256(
            repr((weights_digest(start.adapter, start.head.tensors), self.sizes.reader)).encode()
        ).hexdigest()[:12]
        shipped = (Learned(lambda: start, self.sizes.reader, key),) * 2
        readers: dict[str, tuple[Learned, Learned]] = {SHIPPED: shipped}
        for each in made:
            _, teacher = readers.get(each.domain, shipped)
            readers[each.name] = self._taught(each, shipped[0], teacher, found)
        # The cheapest first, by what reading the record takes them.
        self._agents = [self._at_work(name, whole) for name, (_, whole) in readers.items()]
        self._earlier = [self._at_work(name, half) for name, (half, _) in readers.items()]
        self.units = np.array(
            [each.gflops.mean() for each in self._asked(self._agents, self.record)]
        )
        order = np.argsort(self.units, kind="stable").tolist()
        self.units = self.units[order]
        self._agents, self._earlier = (
            [agents[j] for j in order] for agents in (self._agents, self._earlier)
        )

    def some(self, asked: Sequence[Asked]) -> list[list[Asked]]:
        """Those of each set that are asked again."""
        short = [i for i, name in enumerate(SETS) if name not in LONG]
        of_each = [[each for each in asked if each.number == i] for i in short]
        return [
            [mine[i] for i in drawn(len(mine), self.sizes.troubled, self._seed)] for mine in of_each
        ]

    def bed(self, asked: Sequence[Asked], *, earlier: bool = False) -> Bed:
        """What they say to these questions, or what they said when they had learned half of it."""
        replies = self._asked(self._earlier if earlier else self._agents, asked)
        texts = list(zip(*(each.texts for each in replies), strict=True))
        spans = list(zip(*(each.spans for each in replies), strict=True))
        sure = list(zip(*(each.sure for each in replies), strict=True))
        examples = [each.example for each in asked]
        golden = [each.answers for each in examples]
        questions = [each.question for each in examples]
        contexts = [each.context for each in examples]
        return Bed(
            "readers of our own",
            tuple(each.name for each in self._agents),
            self.units,
            GFLOPS,
            said(questions, contexts, texts, sure),
            scored(texts, golden, exact_match),
            scored(texts, golden, f1),
            both_ends_at(examples, spans),
            np.array([self._cluster(each) for each in asked]),
            np.zeros(len(asked), dtype=np.int64),
            before(self._fast, questions, contexts, self._cache, self._show),
            sum(text is None for row in texts for text in row),
            np.array([each.number for each in asked]),
            list(zip(questions, contexts, strict=True)),
            np.stack([each.gflops for each in replies], axis=1),
            # Passages' vectors stand in the index.
            np.array(encoding_gflops(self._fast, questions, contexts, frozenset(contexts))),
        )

    def _cluster(self, asked: Asked) -> int:
        """The number of its cluster, a new one where it has not been met."""
        return self._clusters.setdefault(asked.cluster, len(self._clusters))

    def _asked(self, agents: Sequence[Keyed], asked: Sequence[Asked]) -> list[Replies]:
        """What each says."""
        examples = [each.example for each in asked]
        return [self._answers.of(each.key, each.agent, examples, self._show) for each in agents]

    def _at_work(self, name: str, reader: Learned) -> Keyed:
        @cache
        def agent() -> Agent:
            part, slot = reader.part(), f"specialists:{reader.key}"
            self._fast.add_adapter(slot, part.adapter)
            return ReaderAgent(SpanReader(self._fast, part.head, slot, reader.settings), name=name)

        return Keyed(name, f"{self._backbone.identity.sha256[:8]}-{reader.key}", agent)

    def _taught(
        self, made: Made, start: Learned, teacher: Learned, found: Mapping[str, Parts]
    ) -> tuple[Learned, Learned]:
        """A reader that began as `start`, after half of its questions and after all."""
        settings = replace(self.sizes.reader, layers=made.layers)
        examples = _taught(made, found, 2 * self.sizes.half, self._seed)
        stages: list[Learned] = []
        teachers: list[Learned] = []
        earlier = start
        if settings.layers is not None:
            teachers, earlier = [teacher], replace(start, key=f"{start.key}, {teacher.key}")
        for stage in range(2):
            plan = Plan(
                None,
                epochs=1,
                # One of fewer layers has more to learn as well.
                learning_rate=_HIGHER_RATE if teachers or made.domain == _NEW else _RATE,
                evaluations=1,
                seed=self._seed,
            )
            some = examples[stage::2]
            base = self._backbone.identity.sha256
            known = (base, earlier.key, settings, plan, examples_digest(some))
            key = hashlib.sha256(repr(known).encode()).hexdigest()[:12]
            what = f"{made.name}, half {stage + 1}"
            make = partial(self._trained, what, key, earlier.part, some, settings, plan, teachers)
            stages.append(Learned(cache(make), settings, key))
            earlier = stages[-1]
        return stages[0], stages[1]

    def _trained(
        self,
        what: str,
        key: str,
        start: Callable[[], Part],
        examples: Sequence[ReadingExample],
        settings: ReaderSettings,
        plan: Plan,
        teachers: Sequence[Learned],
    ) -> Part:
        """A reader's next half. Whether a machine trains in bf16 is in no key: the reader is the same to us."""
        begun = start()
        task = ReaderTask(
            self._backbone,
            begun.adapter,
            begun.head,
            ReaderData(examples, (), [()] * len(examples), 0.0),
            lambda _: {},
            settings=settings,
            teachers=[each.part() for each in teachers],
            seed=self._seed,
        )
        bf16 = trains_in_bf16(self._backbone.device)
        folder = self._folder / "runs" / f"reader-{key}{'-bf16' if bf16 else ''}"
        show = partial(self._training, what)
        return task.parts(train(task, replace(plan, bf16=bf16), folder, show).parameters)

    def _training(self, what: str, progress: Progress) -> None:
        self._show(f"training {what}", progress.step, progress.steps)


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
