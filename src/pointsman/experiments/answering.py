"""Open-domain answering: retrieve among all paragraphs of a collection, then read."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.sources import open_source, passages
from pointsman.data.squad import question_paragraphs, read_squad
from pointsman.defer.plain import FirstAgent
from pointsman.errors import InputError
from pointsman.evaluate.calibration import adaptive_ece, ece, risk_coverage
from pointsman.evaluate.reading import score_reading
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Report, Show, silent
from pointsman.grade.plain import Ungraded
from pointsman.pipeline import Mode, Pipeline, PipelineSettings
from pointsman.protocols import Selector
from pointsman.read.agent import ReaderAgent
from pointsman.read.joined import as_read
from pointsman.read.reader import SpanReader
from pointsman.read.task import read_own_context, score_readings
from pointsman.retrieve.fusion import Fusion
from pointsman.retrieve.ingest import ingest
from pointsman.retrieve.lance import LanceIndex
from pointsman.route.plain import BaseRouter
from pointsman.select.plain import TopK
from pointsman.types import Answer, ReadingExample

_TOGETHER = 128

THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)

Floats = npt.NDArray[np.float64]


def run(
    data: Path,
    reader: SpanReader,
    *,
    split: str = "test",
    modes: Sequence[Mode] = ("dense", "bm25", "hybrid"),
    read: Sequence[int] = (5,),
    candidates: int = 20,
    selector: Selector | None = None,
    fusion: Fusion | None = None,
    limit: int | None = None,
    seed: int = 0,
    show: Show | None = None,
) -> Report:
    """Answer a SQuAD file's questions from all its paragraphs, for each mode and number of passages.

    The first mode and number are asked once more without the passages that hold an answer: what
    confidence below which to abstain costs and saves. With a `selector` each mode has one more row, what it
    chooses among the candidates, and a table of what that changes.

    Of a test bed: the questions of squad-articles in `split`, the paragraphs of the whole set. The
    controls are the first passage alone where 1 is among `read`, and the right paragraph given.
    """
    show = show or silent
    collection, questions = _files(data, split)
    examples = list(read_squad(questions))
    if limit is not None and limit < len(examples):
        examples = random.Random(seed).sample(examples, limit)
    gold = question_paragraphs(collection)
    missing = [example.id for example in examples if example.id not in gold]
    if missing:
        raise InputError(f"{collection}: does not hold the question {missing[0]!r} of {questions}")
    rows: list[list[Cell]] = []
    calibration: list[list[Cell]] = []
    abstention: Table | None = None
    gained: list[list[Cell]] = []
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-") as directory,
        LanceIndex.create(directory, reader.backbone.identity, fusion=fusion) as index,
    ):
        _fill(index, reader.backbone, collection, show)
        for mode in modes:
            plain: dict[str, list[Answer]] = {}
            for k in read:
                name = f"{mode}, {k} read"
                pipeline = _pipeline(reader, index, mode, max(candidates, k), TopK(k))
                plain[name] = answers = _answers(pipeline, examples, name, show)
                result, confidences = _rows(name, examples, answers, gold, seed)
                rows.append(result)
                calibration.append(confidences)
                if abstention is None:
                    abstention = _abstention(
                        name,
                        np.array([answer.confidence for answer in answers]),
                        score_reading(_predictions(examples, answers), examples).em,
                        _confidence_without_answer(pipeline, examples, gold, k, show),
                    )
            if selector is not None:
                name = f"{mode}, selected"
                pipeline = _pipeline(reader, index, mode, candidates, selector)
                answers = _answers(pipeline, examples, name, show)
                result, confidences = _rows(name, examples, answers, gold, seed)
                rows.append(result)
                calibration.append(confidences)
                gained += [
                    [name, other, *_gains(examples, answers, before, seed)]
                    for other, before in plain.items()
                ]
        documents = len(index)
    show("the right paragraph given", 0, len(examples))
    own = score_readings(examples, read_own_context(reader, examples))
    rows.append(
        [
            "the right paragraph given",
            1.0,
            1.0,
            bootstrap_interval(own.em, own.clusters, seed=seed),
            bootstrap_interval(own.f1, own.clusters, seed=seed),
        ]
    )
    tables = (
        Table(
            f"Answering from {documents:,} paragraphs, {split}: {len(examples):,} questions",
            [
                "way",
                Column("right paragraph found", scale=100),
                Column("right paragraph read", scale=100),
                Column("EM", scale=100),
                Column("F1", scale=100),
            ],
            rows,
            [
                f"Found: among the {candidates} retrieved; read: among those put before the reader. "
                "Intervals: 95 % bootstrap over articles. The last row is the bound that better "
                "retrieval and selection could reach with this reader."
            ],
        ),
        Table(
            f"Confidence against exact match, {split}",
            [
                "way",
                Column("mean confidence", 3),
                Column("EM", 3),
                Column("ECE", 3),
                Column("adaptive ECE", 3),
                Column("AURC", 3),
            ],
            calibration,
        ),
        *([] if abstention is None else [abstention]),
        *([_gain_table(gained)] if gained else []),
    )
    return Report(tables, {"split": split, "fusion": fusion or Fusion(), "candidates": candidates})


def _files(data: Path, split: str) -> tuple[Path, Path]:
    if data.is_file():
        return data, data
    squad = data / "squad"
    files = squad / "squad-dev-v1.1.json", squad / f"squad-articles-{split}.json"
    if not all(file.is_file() for file in files):
        raise InputError(
            f"{data}: neither a SQuAD file nor a test bed with {files[0].name} and {files[1].name}"
        )
    return files


def _fill(index: LanceIndex, backbone: Backbone, collection: Path, show: Show) -> None:
    source = open_source(collection)
    total = sum(1 for _ in source.documents())
    ingest(
        index,
        backbone,
        passages(source),
        progress=lambda done: show("paragraphs: encoding", done, total),
    )


def _pipeline(
    reader: SpanReader, index: LanceIndex, mode: Mode, candidates: int, selector: Selector
) -> Pipeline:
    agent = ReaderAgent(as_read(reader), n_best=1)
    return Pipeline(
        reader.backbone,
        index,
        router=BaseRouter(),
        grader=Ungraded(),
        selector=selector,
        allocator=FirstAgent([agent.name]),
        agents=[agent],
        settings=PipelineSettings(mode=mode, candidates=candidates),
    )


def _answers(
    pipeline: Pipeline, examples: Sequence[ReadingExample], name: str, show: Show
) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(examples), _TOGETHER):
        batch = examples[start : start + _TOGETHER]
        answers += pipeline.ask_many([example.question for example in batch])
        show(name, len(answers), len(examples))
    return answers


def _confidence_without_answer(
    pipeline: Pipeline,
    examples: Sequence[ReadingExample],
    gold: Mapping[str, str],
    k: int,
    show: Show,
) -> Floats:
    """Confidence of the best span among the first k passages that hold none of the answers."""
    (agent,) = pipeline.agents
    confidence: list[float] = []
    for start in range(0, len(examples), _TOGETHER):
        batch = examples[start : start + _TOGETHER]
        questions = [example.question for example in batch]
        contexts = []
        for example, hits in zip(
            batch, pipeline.retrieve(questions, pipeline.settings.candidates), strict=True
        ):
            answers = [answer.lower() for answer in example.answers]
            contexts.append(
                [
                    hit.passage
                    for hit in hits
                    if hit.passage.id != gold[example.id]
                    and not any(answer in hit.passage.text.lower() for answer in answers)
                ][:k]
            )
        confidence += [answer.confidence for answer in agent.answer(questions, contexts)]
        show("without the answer", len(confidence), len(examples))
    return np.array(confidence)


def _abstention(name: str, confidence: Floats, right: Floats, silent_confidence: Floats) -> Table:
    rows: list[list[Cell]] = []
    for threshold in THRESHOLDS:
        kept = confidence >= threshold
        rows.append(
            [
                threshold,
                float(kept.mean()),
                float(right[kept].mean()) if kept.any() else None,
                float((right * kept).sum() / max(1.0, right.sum())),
                float((silent_confidence < threshold).mean()),
            ]
        )
    return Table(
        f"Abstaining below a confidence: {name}",
        [
            Column("min. confidence", 2),
            Column("answered", scale=100),
            Column("EM of those", scale=100),
            Column("right answers kept", scale=100),
            Column("abstains without an answer there", scale=100),
        ],
        rows,
        [
            "The last column asks the same questions with every passage taken away that holds one "
            "of the answers, so that to abstain is right."
        ],
    )


def _predictions(examples: Sequence[ReadingExample], answers: Sequence[Answer]) -> dict[str, str]:
    return {example.id: answer.text for example, answer in zip(examples, answers, strict=True)}


def _gains(
    examples: Sequence[ReadingExample],
    answers: Sequence[Answer],
    before: Sequence[Answer],
    seed: int,
) -> list[Cell]:
    """Exact match and F1 above what was answered before, and how likely chance gives that much F1."""
    after, first = (
        score_reading(_predictions(examples, each), examples) for each in (answers, before)
    )
    p = paired_randomisation(after.f1, first.f1, after.clusters).p_value
    return [
        bootstrap_interval(after.em - first.em, after.clusters, seed=seed),
        bootstrap_interval(after.f1 - first.f1, after.clusters, seed=seed),
        f"{p:.4f}",
    ]


def _gain_table(rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(
        "What selection changes",
        ["way", "against", Column("EM", 2, scale=100), Column("F1", 2, scale=100), "p"],
        [list(row) for row in rows],
        ["Paired over questions: 95 % bootstrap and randomisation of F1 over articles."],
    )


def _rows(
    name: str,
    examples: Sequence[ReadingExample],
    answers: Sequence[Answer],
    gold: dict[str, str],
    seed: int,
) -> tuple[list[Cell], list[Cell]]:
    scores = score_reading(_predictions(examples, answers), examples)
    found, read = [], []
    for example, answer in zip(examples, answers, strict=True):
        by_stage = {step.stage: step.choice for step in answer.trace.steps}
        found.append(gold[example.id] in by_stage["retrieve"])
        read.append(gold[example.id] in by_stage["select"])
    confidence = np.array([answer.confidence for answer in answers])
    return (
        [
            name,
            float(np.mean(found)),
            float(np.mean(read)),
            bootstrap_interval(scores.em, scores.clusters, seed=seed),
            bootstrap_interval(scores.f1, scores.clusters, seed=seed),
        ],
        [
            name,
            float(confidence.mean()),
            scores.mean_em,
            ece(confidence, scores.em),
            adaptive_ece(confidence, scores.em),
            risk_coverage(confidence, scores.em).area,
        ],
    )
