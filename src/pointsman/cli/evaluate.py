"""`pointsman evaluate`: the experiments, their tables, and result files that can be made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.measuring import run_experiment
from pointsman.cli.options import BackboneName, Json, Limit, Mode, ResultStem, Seed

if TYPE_CHECKING:
    from pointsman.experiments.report import Report, Show
    from pointsman.workspace import Workspace

_SETS = "The sets are those of docs/data.md."

RETRIEVAL_EXAMPLES = f"""
Examples:
  pointsman evaluate retrieval --data path/to/beir/scifact
  pointsman evaluate retrieval --data test-bed --set nq --limit 100
  pointsman evaluate retrieval --data test-bed --out results/retrieval

{_SETS}
"""
READING_EXAMPLES = f"""
Examples:
  pointsman evaluate reading --data dev-v2.0.json
  pointsman evaluate reading --data test-bed --limit 200
  pointsman evaluate reading --data test-bed --reader specialists/legal
  pointsman evaluate reading --data test-bed --out results/reading

{_SETS}
"""
ANSWERING_EXAMPLES = """
Examples:
  pointsman evaluate answering --data dev-v2.0.json --limit 200
  pointsman evaluate answering --data test-bed --mode hybrid --passages 1
  pointsman evaluate answering --data test-bed --out results/answering
"""

GRADING_EXAMPLES = """
Examples:
  pointsman evaluate grading --data path/to/beir/scifact --grader my-grader
  pointsman evaluate grading --data test-bed --split dev --limit 200
"""

app = typer.Typer(
    help="Measure on labelled data.", epilog=RETRIEVAL_EXAMPLES, rich_markup_mode="rich"
)


@app.callback()
def evaluate() -> None:
    """Measure on labelled data, with intervals and significance.

    Every table says what was measured; a result file also says how to get it again.
    """


Data = Annotated[
    Path,
    typer.Option(metavar="PATH", help="Labelled data, or the test bed.", show_default=False),
]
Split = Annotated[str, typer.Option(metavar="NAME", help="Which part: test or dev.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME", help="Only this set; may come again.", show_default=False
    ),
]
Modes = Annotated[
    list[Mode] | None,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="Only hybrid, dense or bm25; may come again.",
        show_default=False,
    ),
]
ReaderName = Annotated[
    str | None,
    typer.Option(
        "--reader", metavar="NAME", help="Another reader: a directory.", show_default=False
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="auto, fp32, bf16, fp16 or, on a CPU, int8.", show_default=False
    ),
]


@app.command(epilog=RETRIEVAL_EXAMPLES)
def retrieval(
    context: typer.Context,
    data: Data,
    sets: Sets = None,
    split: Split = "test",
    modes: Modes = None,
    limit: Limit = None,
    seed: Seed = 0,
    backbone: BackboneName = None,
    dtype: Dtype = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """How well passages are found: dense, BM25 and hybrid.

    On BEIR directories: nDCG@10 with bootstrap intervals, and paired tests between the modes.
    """

    def measure(models: Workspace, show: Show) -> Report:
        from pointsman.experiments import retrieval

        chosen = retrieval.MODES if not modes else [mode.value for mode in modes]
        return retrieval.run(
            data,
            models.backbone,
            sets=sets,
            split=split,
            modes=chosen,
            limit=limit,
            seed=seed,
            show=show,
        )

    _evaluate(context, data, measure, {"backbone": backbone, "dtype": dtype}, seed, out, json)


@app.command(epilog=READING_EXAMPLES)
def reading(
    context: typer.Context,
    data: Data,
    sets: Sets = None,
    split: Split = "test",
    limit: Limit = None,
    seed: Seed = 0,
    reader: ReaderName = None,
    backbone: BackboneName = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """How well answers are read when the passage is given.

    On SQuAD files: exact match and F1 with intervals over articles, and calibration.
    """

    def measure(models: Workspace, show: Show) -> Report:
        from pointsman.experiments import reading

        return reading.run(
            data, models.reader, sets=sets, split=split, limit=limit, seed=seed, show=show
        )

    names = {"backbone": backbone, "read.reader": reader}
    _evaluate(context, data, measure, names, seed, out, json)


@app.command(epilog=ANSWERING_EXAMPLES)
def answering(
    context: typer.Context,
    data: Data,
    split: Split = "test",
    modes: Modes = None,
    passages: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Passages read; may come again. By default 5.",
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[int, typer.Option(metavar="N", min=1, help="Passages retrieved.")] = 20,
    limit: Limit = None,
    seed: Seed = 0,
    reader: ReaderName = None,
    selector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also what a selector chooses: a directory, or default.",
            show_default=False,
        ),
    ] = None,
    backbone: BackboneName = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """How well questions are answered from a whole collection.

    Every question of a SQuAD file is asked of all its paragraphs.
    """

    def measure(models: Workspace, show: Show) -> Report:
        from pointsman.experiments import answering
        from pointsman.pipeline import MODES

        chosen = [mode for mode in MODES if not modes or mode in modes]
        return answering.run(
            data,
            models.reader,
            split=split,
            modes=chosen,
            read=passages or (5,),
            candidates=candidates,
            selector=models.selector if selector else None,
            limit=limit,
            seed=seed,
            show=show,
        )

    names = {"backbone": backbone, "read.reader": reader, "select.selector": selector}
    _evaluate(context, data, measure, names, seed, out, json)


@app.command(epilog=GRADING_EXAMPLES)
def grading(
    context: typer.Context,
    data: Data,
    sets: Sets = None,
    split: Split = "test",
    grader: Annotated[
        str, typer.Option("--grader", metavar="NAME", help="A grader: a directory, or hf:MODEL.")
    ] = "default",
    candidates: Annotated[int, typer.Option(metavar="N", min=1, help="Passages graded.")] = 20,
    weight: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            max=1,
            help="What relevance counts for in the order. By default the setting's.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    backbone: BackboneName = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """What grading adds to retrieval: the order, the time, and whether relevance means it.

    On BEIR directories: the candidates of hybrid search, before and after.
    """

    def measure(models: Workspace, show: Show) -> Report:
        from pointsman.errors import ConfigError
        from pointsman.experiments import reranking
        from pointsman.grade.pairwise import PairwiseGrader

        chosen = models.grader
        if not isinstance(chosen, PairwiseGrader):
            raise ConfigError("there is no grader to measure; name one with --grader")
        return reranking.run(
            data,
            models.backbone,
            chosen,
            sets=sets,
            split=split,
            candidates=candidates,
            weight=models.settings.grade.weight if weight is None else weight,
            limit=limit,
            seed=seed,
            show=show,
        )

    names = {"backbone": backbone, "grade.grader": grader}
    _evaluate(context, data, measure, names, seed, out, json)


def _evaluate(
    context: typer.Context,
    data: Path,
    measure: Callable[[Workspace, Show], Report],
    names: dict[str, str | None],
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run one experiment with the models that the names and the environment choose."""
    from pointsman.settings import read_settings
    from pointsman.workspace import Workspace

    def with_models(show: Show) -> Report:
        # No workspace of anybody's: it loads the models, nothing else.
        models = Workspace(Path(), read_settings(None, names), read_only=True)
        return measure(models, show)

    run_experiment(context, data, with_models, seed, out, as_json)
