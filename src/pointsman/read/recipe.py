"""From questions and paragraphs to a reader specialist: mine, pre-train, train, calibrate, save."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.backbone.specialist import Specialist, load_specialist, save_specialist
from pointsman.evaluate.calibration import ece
from pointsman.evaluate.reading import exact_match
from pointsman.protocols import Reader
from pointsman.read.card import reader_card
from pointsman.read.cloze import cloze_examples
from pointsman.read.confidence import UNCALIBRATED, Calibration, features, fit
from pointsman.read.examples import confusable_contexts
from pointsman.read.head import SpanHead
from pointsman.read.reader import KIND, ReaderSettings, SpanReader
from pointsman.read.task import (
    Part,
    ReaderData,
    ReaderTask,
    read_own_context,
    score_readings,
)
from pointsman.training.distributed import is_main_process
from pointsman.training.loop import Outcome, Plan, Progress, train
from pointsman.types import FloatArray, Passage, Reading, ReadingExample


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a reader is trained. `unanswerable` is the share of questions that also come with a wrong
    paragraph; `dropout` the share of the adapter's inner activations that is zeroed; `clozes` the
    number of questions made from each training passage for pre-training (0: none). `start` names the
    reader that it begins as, in place of pre-training, and `teachers` those whose distributions are
    half of the target. `dev_questions` bounds how many dev questions early stopping looks at, and
    `calibration_questions` how many confidence is fitted to.
    """

    rank: int = 32
    alpha: float = 64.0
    batch_size: int = 32
    unanswerable: float = 0.3
    dropout: float = 0.1
    clozes: int = 6
    start: str | None = None
    teachers: tuple[str, ...] = ()
    dev_questions: int = 800
    calibration_questions: int = 1000
    settings: ReaderSettings = field(default_factory=ReaderSettings)
    plan: Plan = field(
        default_factory=lambda: Plan(measure="f1", epochs=3, learning_rate=1e-3, evaluations=2)
    )
    pretraining: Plan = field(
        default_factory=lambda: Plan(measure="f1", epochs=1, learning_rate=1.5e-3, evaluations=2)
    )


def training_backbone(name: str | Path | None, device: str | None = None) -> Backbone:
    """The base as it trains best: bf16 where the processor multiplies it, and fast gradients."""
    return Backbone.load(name, device=device, to_train=True)


def train_reader(
    backbone: Backbone,
    train_examples: Sequence[ReadingExample],
    dev_examples: Sequence[ReadingExample],
    recipe: Recipe,
    run_folder: Path,
    show: Callable[[Progress], None] | None = None,
    *,
    start: Part | None = None,
    teachers: Sequence[Part] = (),
) -> tuple[ReaderTask, Outcome]:
    """Train an adapter and a span head, afresh or from `start`; the best weights are in the outcome."""
    contexts, question_vectors, context_vectors = _vectors(backbone, train_examples)
    confusable = confusable_contexts(train_examples, contexts, question_vectors, context_vectors)
    rng = random.Random(recipe.plan.seed)
    watched = rng.sample(list(dev_examples), min(recipe.dev_questions, len(dev_examples)))

    def evaluate(reader: SpanReader) -> Mapping[str, float]:
        readings = read_own_context(reader, watched)
        scores = score_readings(watched, readings)
        return {"em": 100 * scores.mean_em, "f1": 100 * scores.mean_f1}

    generator = torch.Generator().manual_seed(recipe.plan.seed)
    start = start or Part(
        new_adapter(backbone.model, recipe.rank, recipe.alpha, generator),
        SpanHead.fresh(backbone.shape.width, generator),
    )
    task = ReaderTask(
        backbone,
        start.adapter,
        start.head,
        ReaderData(train_examples, contexts, confusable, recipe.unanswerable),
        evaluate,
        batch_size=recipe.batch_size,
        settings=recipe.settings,
        dropout=recipe.dropout,
        teachers=teachers,
        seed=recipe.plan.seed,
    )
    return task, train(task, recipe.plan, run_folder, show)


def read_trained(backbone: Backbone, folder: Path) -> Part:
    """A trained reader of a folder. Raises SpecialistError, and BackboneMismatchError for another base."""
    specialist = load_specialist(folder, KIND)
    backbone.check_base(folder.name, specialist.base_sha256)
    return Part(specialist.adapter, SpanHead(specialist.head))


def pretrain_reader(
    backbone: Backbone,
    train_examples: Sequence[ReadingExample],
    dev_examples: Sequence[ReadingExample],
    recipe: Recipe,
    run_folder: Path,
    show: Callable[[Progress], None] | None = None,
) -> Part | None:
    """An adapter and a head that have learned to find spans from the training passages' text alone.

    None where no question can be made from them.
    """
    contexts = dict.fromkeys(example.context for example in train_examples)
    clozes = cloze_examples(contexts, recipe.clozes, recipe.plan.seed)
    if not clozes:
        return None
    plan = replace(recipe.pretraining, bf16=recipe.plan.bf16, seed=recipe.plan.seed)
    task, outcome = train_reader(
        backbone, clozes, dev_examples, replace(recipe, plan=plan), run_folder, show
    )
    return task.parts(outcome.parameters)


@dataclass(frozen=True, slots=True)
class Asked:
    """One way of being asked: the question, and the passages that were put before the reader."""

    question: str
    answers: tuple[str, ...]
    passages: tuple[Passage, ...]


def asked_with_retrieval(
    backbone: Backbone, examples: Sequence[ReadingExample], ks: Sequence[int]
) -> list[Asked]:
    """Each question with its own paragraph, and with the k nearest of all paragraphs for one k of `ks`.

    The ks are dealt out in turn, so that calibration sees every number of passages.
    """
    contexts, question_vectors, context_vectors = _vectors(backbone, examples)
    passages = [Passage(id=str(i), text=text) for i, text in enumerate(contexts)]
    asked = []
    for i, example in enumerate(examples):
        asked.append(
            Asked(example.question, example.answers, (Passage(id="own", text=example.context),))
        )
        k = ks[i % len(ks)]
        nearest = np.argsort(-(context_vectors @ question_vectors[i]), kind="stable")[:k]
        asked.append(Asked(example.question, example.answers, tuple(passages[j] for j in nearest)))
    return asked


def calibrate(
    reader: SpanReader, examples: Sequence[ReadingExample], ks: Sequence[int] = (1, 3, 5, 10)
) -> tuple[Calibration, dict[str, float]]:
    """Fit confidence to exact match on dev, and report the expected calibration error before and after.

    The error after is measured across two halves, each scored by the fit on the other.
    """
    return calibrate_on(reader, asked_with_retrieval(reader.backbone, examples, ks))


def calibrate_on(reader: Reader, asked: Sequence[Asked]) -> tuple[Calibration, dict[str, float]]:
    """The same on questions with whatever passages they come with."""
    readings = reader.read([a.question for a in asked], [a.passages for a in asked])
    x, right = calibration_data(asked, readings)
    half = np.arange(len(right)) // 2 % 2 == 0
    crossed = np.empty(len(right))
    raw = np.array([r.spans[0].probability if r.spans else 0.0 for r in readings])
    try:
        crossed[half] = fit(x[~half], right[~half]).apply(x[half])
        crossed[~half] = fit(x[half], right[half]).apply(x[~half])
        calibration = fit(x, right)
    except ValueError:
        # Too few dev questions, or all of one kind: hours of training are not thrown away for that.
        calibration, crossed = UNCALIBRATED, raw
    return calibration, {
        "questions": float(len(right)),
        "ece_uncalibrated": ece(raw, right),
        "ece_cross_fitted": ece(crossed, right),
    }


def calibration_data(
    asked: Sequence[Asked], readings: Sequence[Reading]
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Features [n, 5] of the best spans and whether each is an exact match [n]."""
    best = [reading.spans[0] if reading.spans else None for reading in readings]
    x = features(
        np.array([span.probability if span else 0.0 for span in best]),
        np.array([reading.no_answer for reading in readings]),
        np.array([len(a.passages) for a in asked], dtype=np.float64),
        np.array([len(span.text) if span else 0 for span in best], dtype=np.float64),
    )
    right = [
        exact_match(span.text if span else "", a.answers)
        for span, a in zip(best, asked, strict=True)
    ]
    return x, np.array(right)


@dataclass(frozen=True, slots=True)
class Trained:
    """What training a reader gave: where it lies, how training went, how well calibrated it is."""

    folder: Path
    outcome: Outcome
    calibration: Mapping[str, float]


def make_reader(
    backbone: Backbone,
    train_sets: Mapping[str, Sequence[ReadingExample]],
    dev_sets: Mapping[str, Sequence[ReadingExample]],
    recipe: Recipe,
    run_folder: Path,
    folder: Path,
    *,
    command: str,
    licences: Mapping[str, str],
    start: Part | None = None,
    teachers: Sequence[Part] = (),
    show: Callable[[Progress], None] | None = None,
) -> Trained | None:
    """The whole way: pre-train and train on the train sets, calibrate on the dev sets, save to `folder`.

    `licences` goes onto the card, a set's name to its licence. A run that was interrupted goes on
    from its last checkpoint in `run_folder`. Among several processes (torchrun) one calibrates and
    saves; the others return None when training is over.
    """
    examples = [example for examples in train_sets.values() for example in examples]
    dev = [example for examples in dev_sets.values() for example in examples]
    if start is None and recipe.clozes:
        start = pretrain_reader(backbone, examples, dev, recipe, run_folder / "pretraining", show)
    task, outcome = train_reader(
        backbone, examples, dev, recipe, run_folder, show, start=start, teachers=teachers
    )
    if not is_main_process():
        return None
    sample = min(recipe.calibration_questions, len(dev))
    chosen = random.Random(recipe.plan.seed).sample(dev, sample)
    calibration, errors = calibrate(task.reader(outcome.parameters), chosen)
    training = {
        "command": command,
        "train": {name: len(examples) for name, examples in train_sets.items()},
        "licences": {name: licences[name] for name in train_sets if name in licences},
        "dev": {name: len(examples) for name, examples in dev_sets.items()},
        "recipe": asdict(recipe),
        "steps": outcome.steps,
        "seconds": round(outcome.seconds),
    }
    numbers = {
        "dev": {
            "best": outcome.best,
            "measure": recipe.plan.measure,
            "step": outcome.best_step,
            "history": [dict(entry) for entry in outcome.history],
        },
        "calibration": errors,
    }
    card = reader_card(folder.name, backbone.identity.name, training, numbers, licences)
    save_reader(
        task,
        outcome,
        recipe,
        calibration,
        folder,
        training=training,
        numbers=numbers,
        card=card,
    )
    return Trained(folder, outcome, errors)


def save_reader(
    task: ReaderTask,
    outcome: Outcome,
    recipe: Recipe,
    calibration: Calibration,
    folder: Path,
    *,
    training: Mapping[str, Any],
    numbers: Mapping[str, Any],
    card: str,
) -> None:
    """Write the trained reader as a specialist: adapter and head only."""
    part = task.parts(outcome.parameters)
    identity = task.backbone.identity
    settings = asdict(recipe.settings) | {"calibration": asdict(calibration)}
    specialist = Specialist(
        kind=KIND,
        name=folder.name,
        base_sha256=identity.sha256,
        base_name=identity.name,
        adapter=part.adapter,
        head=part.head.tensors,
        settings=settings,
        training=training,
        numbers=numbers,
        card=card,
    )
    save_specialist(specialist, folder)


def _vectors(
    backbone: Backbone, examples: Sequence[ReadingExample]
) -> tuple[list[str], FloatArray, FloatArray]:
    contexts = list(dict.fromkeys(example.context for example in examples))
    questions = backbone.encode([example.question for example in examples], prompt="query")
    return contexts, questions, backbone.encode(contexts, prompt="document")
