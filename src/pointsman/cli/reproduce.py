"""`pointsman reproduce`: the papers' tables on real data, with their controls and with ours."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pointsman.cli.measuring import run_experiment
from pointsman.cli.options import BackboneName, Json, Limit, RecipeName, ResultStem, Seed
from pointsman.cli.places import cache_directory
from pointsman.cli.training import LOG_EVERY, encoder_to_train, grader_folder, reader_folder

if TYPE_CHECKING:
    from pointsman.experiments.report import Report, Show

ROUTING_EXAMPLES = """
Examples:
  pointsman reproduce routing --data test-bed --out results/routing/ours
  pointsman reproduce routing --data test-bed --recipe paper --limit 200

Experts and vectors are kept in a folder of the cache directory (--run): the
same command goes on where it was stopped. docs/data.md describes the data.
"""

RELEVANCE_EXAMPLES = """
Examples:
  pointsman reproduce relevance --data test-bed --out results/relevance/ours
  pointsman reproduce relevance --data test-bed --seeds 1 --row OCC --row ours

Graders and what they say are kept in a folder of the cache directory (--run):
the same command goes on where it was stopped.
"""

SELECTION_EXAMPLES = """
Examples:
  pointsman reproduce selection --data test-bed --out results/selection/ours
  pointsman reproduce selection --data test-bed --seeds 1 --limit 200

Selectors, readers and what they give are kept in a folder of the cache
directory (--run): the same command goes on where it was stopped.
"""

DEFERRAL_EXAMPLES = """
Examples:
  pointsman reproduce deferral --data test-bed --out results/deferral/ours
  pointsman reproduce deferral --data test-bed --row "look before you ask"

Readers and what they say are kept in a folder of the cache directory (--run):
the same command goes on where it was stopped.
"""

app = typer.Typer(
    help="Make the papers' tables again.", epilog=ROUTING_EXAMPLES, rich_markup_mode="rich"
)


@app.callback()
def reproduce() -> None:
    """Make the papers' tables again, with their rivals, controls and bounds, and ours."""


Data = Annotated[Path, typer.Option(metavar="DIR", help="The test bed.", show_default=False)]
Run = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where trained models and their outputs are kept.", show_default=False
    ),
]


@app.command(epilog=ROUTING_EXAMPLES)
def routing(
    context: typer.Context,
    data: Data,
    recipe: Annotated[
        RecipeName, typer.Option(help="How the experts are trained.")
    ] = RecipeName.ours,
    studies: Annotated[
        bool,
        typer.Option(
            "--studies/--no-studies",
            help="With those that train more experts: a second seed, growing training sets, the context encoder, documents alone.",
        ),
    ] = True,
    limit: Limit = None,
    seed: Seed = 0,
    backbone: BackboneName = None,
    run: Run = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """RouterRetriever: which expert encoder should embed each query.

    Seven domains with experts, six without; the paper's router, its rivals, oracles, and ours.
    """

    def measure(show: Show) -> Report:
        from pointsman.experiments.routing.run import run as run_routing
        from pointsman.route.recipe import RECIPES

        folder = run or cache_directory() / "routing"
        base = encoder_to_train(backbone)
        return run_routing(
            data,
            base,
            folder,
            recipe=RECIPES[recipe.value],
            limit=limit,
            seed=seed,
            studies=studies,
            draw=out,
            show=show,
        )

    run_experiment(context, data, measure, seed, out, json, every=LOG_EVERY)


@app.command(epilog=RELEVANCE_EXAMPLES)
def relevance(
    context: typer.Context,
    data: Data,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="How often each grader is trained.")
    ] = 5,
    row: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="This row only; may be repeated.", show_default=False),
    ] = None,
    studies: Annotated[
        bool,
        typer.Option(
            "--studies/--no-studies",
            help="With those that train more: budgets, shares, cut-offs, seven grades, automatic labels.",
        ),
    ] = True,
    picked: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page of what DASA picked, to look at.", show_default=False
        ),
    ] = None,
    limit: Limit = None,
    backbone: BackboneName = None,
    run: Run = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """DaRL: graded relevance that is calibrated and survives a shift.

    Home Depot's known and unknown topics, and another shop; the paper's three
    parts apart and together, their controls, and ours.
    """

    def measure(show: Show) -> Report:
        from pointsman.experiments.relevance.run import run as run_relevance

        base = encoder_to_train(backbone)
        folder = run or cache_directory() / "relevance"
        return run_relevance(
            data,
            base,
            folder,
            seeds=seeds,
            limit=limit,
            only=row or None,
            studies=studies,
            draw=out,
            picked=picked,
            show=show,
        )

    run_experiment(context, data, measure, 0, out, json, every=LOG_EVERY)


class Passages(StrEnum):
    """How many passages a question takes."""

    one = "one"
    several = "several"
    both = "both"

    @property
    def kinds(self) -> tuple[Literal["one", "several"], ...]:
        """As the experiment calls them."""
        every: tuple[Literal["one", "several"], ...] = ("one", "several")
        return every if self is Passages.both else tuple(k for k in every if k == self.value)


@app.command(epilog=SELECTION_EXAMPLES)
def selection(
    context: typer.Context,
    data: Data,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="How often everything is trained.")
    ] = 3,
    row: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="This row only; may be repeated.", show_default=False),
    ] = None,
    passages: Annotated[
        Passages, typer.Option(metavar="WHICH", help="Questions that take one, several, or both.")
    ] = Passages.both,
    studies: Annotated[
        bool,
        typer.Option("--studies/--no-studies", help="Candidates, searches, sizes, seconds."),
    ] = True,
    reader: Annotated[
        str,
        typer.Option(metavar="DIR", help="The reader to begin as; by default the one that ships."),
    ] = "default",
    grader: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Who grades for the selectors; by default the one that ships."
        ),
    ] = "default",
    outcomes: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What rows gave to each question: kept here, and not measured again.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = None,
    backbone: BackboneName = None,
    run: Run = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """DRO: the passages and the reader learn each other.

    Questions on articles and on an encyclopaedia, and questions that take
    several passages; selector and reader apart, together by the paper's EM, its
    two ablations, and ours.
    """

    def measure(show: Show) -> Report:
        from pointsman.backbone.encoder import Backbone
        from pointsman.backbone.lora import weights_digest
        from pointsman.backbone.specialist import load_specialist
        from pointsman.experiments.selection.run import run as run_selection
        from pointsman.grade.grader import KIND, PairGrader
        from pointsman.read.recipe import read_trained
        from pointsman.route.shelf import find_experts
        from pointsman.workspace import SHIPPED_EXPERTS

        base, fast = encoder_to_train(backbone), Backbone.load(backbone)
        judge = load_specialist(grader_folder(grader), KIND)
        folder = run or cache_directory() / "selection"
        shipped = find_experts(SHIPPED_EXPERTS, SHIPPED_EXPERTS, fast.identity)
        return run_selection(
            data,
            base,
            read_trained(base, reader_folder(reader)),
            folder,
            fast=fast,
            grader=PairGrader.of(fast, judge),
            graded_by=weights_digest(judge.adapter, judge.head),
            experts=[each.expert for each in shipped.values() if each.expert is not None],
            seeds=seeds,
            limit=limit,
            only=row or None,
            passages=passages.kinds,
            outcomes=outcomes,
            studies=studies,
            show=show,
        )

    run_experiment(context, data, measure, 0, out, json, every=LOG_EVERY)


class DeferralTables(StrEnum):
    """Which tables of Learning to Defer are made."""

    all = "all"
    read = "read"
    others = "others"


@app.command(epilog=DEFERRAL_EXAMPLES)
def deferral(
    context: typer.Context,
    data: Data,
    row: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="This row only; may be repeated.", show_default=False),
    ] = None,
    readers: Annotated[
        bool,
        typer.Option(
            "--readers/--no-readers", help="With readers of our own, which are trained first."
        ),
    ] = True,
    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What readers of our own said: kept here, and not asked again.",
            show_default=False,
        ),
    ] = None,
    tables: Annotated[
        DeferralTables,
        typer.Option(
            help="read: the paper's surrogates trained end to end, an hour or two; others: all else."
        ),
    ] = DeferralTables.all,
    limit: Limit = None,
    seed: Seed = 0,
    backbone: BackboneName = None,
    run: Run = None,
    out: ResultStem = None,
    json: Json = False,
) -> None:
    """Learning to Defer: which agent should answer, at what price.

    Ten published readers on SQuAD and five systems judged by people, by their
    recorded answers, and readers of our own of several depths and domains; the
    paper's surrogates, recent ones, controls, and ours.
    """

    def measure(show: Show) -> Report:
        from pointsman.backbone.encoder import Backbone
        from pointsman.backbone.weights import DEFAULT_SHA256
        from pointsman.experiments.deferral.run import run as run_deferral
        from pointsman.read.recipe import read_trained

        base = encoder_to_train(backbone)
        folder = run or cache_directory() / "deferral"
        ours = readers and base.identity.sha256 == DEFAULT_SHA256
        return run_deferral(
            data,
            base,
            folder,
            # The reader that ships, as which ours begin, is of the base that ships.
            reader=read_trained(base, reader_folder("default")) if ours else None,
            fast=Backbone.load(backbone) if ours else None,
            seed=seed,
            limit=limit,
            only=row or None,
            draw=out,
            answers=answers,
            tables=tables.value,
            show=show,
        )

    run_experiment(context, data, measure, seed, out, json, every=LOG_EVERY)
