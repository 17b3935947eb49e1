"""`pointsman experts`: the query experts of a workspace, which come and go without training."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pointsman.cli.options import Json, Space
from pointsman.cli.output import Output
from pointsman.errors import BackboneMismatchError, InputError, ReadOnlyError, SpecialistError

if TYPE_CHECKING:
    from pointsman.backbone.specialist import Specialist
    from pointsman.route.shelf import FoundExpert
    from pointsman.workspace import Workspace

LIST_EXAMPLES = """
Examples:
  pointsman experts list my-space
"""
ADD_EXAMPLES = """
Examples:
  pointsman experts add my-space path/to/law
  pointsman experts add my-space path/to/peft --name law --queries asked.txt
"""
REMOVE_EXAMPLES = """
Examples:
  pointsman experts remove my-space law
"""
CARD_EXAMPLES = """
Examples:
  pointsman experts card my-space law
"""
EXAMPLES = """
Examples:
  pointsman experts list my-space
  pointsman experts add my-space path/to/law
  pointsman experts remove my-space law
"""

app = typer.Typer(
    help="List, add and remove query experts.", epilog=EXAMPLES, rich_markup_mode="rich"
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called.", show_default=False)]


@app.callback()
def experts() -> None:
    """Query experts: adapters that a router mixes by what is asked."""


@app.command(name="list", epilog=LIST_EXAMPLES)
def list_(space: Space, json: Json = False) -> None:
    """List a workspace's query experts.

    Where each is from, how many queries its domain was learned from, what it gained on dev, its licence, and why one is not used.
    """
    from pointsman.workspace import Workspace

    output = Output(json)
    with Workspace.open(space) as workspace, output.working("looking"):
        rows = [_row(workspace, found) for found in workspace.found_experts.values()]
        missing = workspace.left_out.keys() - workspace.found_experts.keys()
        rows += [_shown(name, reason=workspace.left_out[name]) for name in sorted(missing)]
    output.show(_table(rows) if rows else "No query experts: the base embeds every question.")
    output.show(*(f"{row['name']}: {row['reason']}" for row in rows if row["reason"]))
    output.document(rows)


@app.command(epilog=ADD_EXAMPLES)
def add(
    space: Space,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="An expert's folder, or a PEFT folder.", show_default=False
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What it is called. By default as there.", show_default=False
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Questions of its domain: one a line, or a BEIR queries.jsonl.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of one of that name.")
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="The encoder that a PEFT folder was made on. By default the workspace's.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Add a query expert to a workspace.

    It must have been made on the workspace's encoder. The router chooses it by the questions of its domain: those it was trained on, or --queries.
    """
    from pointsman.workspace import Workspace

    output = Output(json)
    with Workspace.open(space) as workspace, output.working("adding"):
        added = add_expert(
            workspace,
            path.expanduser(),
            path.expanduser().resolve().name if name is None else name,
            queries=None if queries is None else read_texts(queries.expanduser()),
            replace=replace,
            backbone=backbone,
        )
    with Workspace.open(space) as workspace:
        row = _row(workspace, workspace.found_experts[added])
    output.show(f"Added {added}, with a domain of {row['queries']:,} queries.")
    if row["reason"]:
        output.show(f"It is not used: {row['reason']}")
    output.document(row)


@app.command(epilog=REMOVE_EXAMPLES)
def remove(space: Space, name: Name, json: Json = False) -> None:
    """Remove a query expert from a workspace.

    One of its own is deleted; one that ships is left out by the setting route.experts.
    """
    from pointsman.workspace import Workspace

    output = Output(json)
    with Workspace.open(space) as workspace:
        done = remove_expert(workspace, name)
    with Workspace.open(space) as workspace:
        left = list(workspace.experts)
        uncovered = name in left
    output.show(f"{name}: {done}.")
    if uncovered:
        output.show(f"The {name} that ships is used from now on.")
    output.show(
        f"Left: {', '.join(left)}."
        if left
        else "No expert is left: the base embeds every question."
    )
    output.document({"removed": name, "how": done, "left": left})


@app.command(epilog=CARD_EXAMPLES)
def card(space: Space, name: Name, json: Json = False) -> None:
    """Show a query expert's card."""
    from rich.markdown import Markdown

    from pointsman.backbone.card import without_front_matter
    from pointsman.workspace import Workspace

    output = Output(json)
    with Workspace.open(space) as workspace:
        found = _named(workspace, name)
    if found.specialist is None:
        raise SpecialistError(found.reason)
    text = found.specialist.card
    output.show(Markdown(without_front_matter(text)) if text.strip() else f"{name} has no card.")
    output.document({"name": name, "folder": str(found.folder), "card": text})


# ---- what is done


def read_texts(file: Path) -> list[str]:
    """Questions of a text file, one a line, or of a BEIR queries file. Raises InputError, FormatError."""
    from pointsman.data.beir import read_queries
    from pointsman.data.files import numbered_lines

    if file.name.endswith((".jsonl", ".jsonl.gz")):
        texts = [query.text for query in read_queries(file)]
    else:
        texts = [line.strip() for _, line in numbered_lines(file)]
    if not texts:
        raise InputError(f"{file}: no questions in it")
    return texts


def add_expert(
    workspace: Workspace,
    source: Path,
    name: str,
    *,
    queries: Sequence[str] | None = None,
    replace: bool = False,
    backbone: str | None = None,
) -> str:
    """Put a specialist or a PEFT adapter among a workspace's experts; gives its name.

    `queries` are what its domain's moments are taken from, in place of its own. Raises InputError,
    SpecialistError, BackboneMismatchError, ReadOnlyError; then everything is as it was.
    """
    from pointsman.backbone.export import own_dtype
    from pointsman.backbone.specialist import save_specialist
    from pointsman.route.expert import domain_of, with_domain
    from pointsman.route.shelf import check_name
    from pointsman.settings import change_setting
    from pointsman.workspace import SETTINGS_FILE, SPECIALISTS

    if workspace.read_only:
        raise ReadOnlyError(f"{workspace.path} cannot be written, so no expert can be added")
    check_name(name)
    target = workspace.path / SPECIALISTS / name
    there = workspace.found_experts.get(name)
    if there is None and target.exists():
        raise InputError(f"{target}: is there and is no expert; use another --name")
    if there is not None and not replace:
        raise InputError(
            f"{workspace.path} has an expert {name!r} already; "
            "--replace puts this one in its place, --name gives it another name"
        )
    specialist = _incoming(workspace, source, name, backbone)
    if queries is not None:
        specialist = with_domain(specialist, domain_of(workspace.backbone, queries))
    elif not specialist.head:
        raise InputError(
            f"{source}: has no domain that a router could choose it by; "
            "give questions of its domain with --queries FILE"
        )
    save_specialist(specialist, target, own_dtype(specialist))
    listed = _listed(workspace)
    if listed is not None and name not in listed:
        try:
            change_setting(workspace.path / SETTINGS_FILE, "route.experts", [*listed, name])
        except Exception:
            if there is None:
                shutil.rmtree(target)
            raise
    return name


def remove_expert(workspace: Workspace, name: str) -> str:
    """Take an expert away, and say how. Raises InputError for an unknown one, ReadOnlyError."""
    from pointsman.settings import change_setting
    from pointsman.workspace import SETTINGS_FILE

    listed = _listed(workspace)
    # A name in the settings that nothing answers to can be taken out of them.
    found = None if name in (listed or ()) else _named(workspace, name)
    found = workspace.found_experts.get(name, found)
    if workspace.read_only:
        raise ReadOnlyError(f"{workspace.path} cannot be written, so no expert can be removed")
    settings = workspace.path / SETTINGS_FILE
    if found is not None and not found.shipped:
        with _set_aside(found.folder):
            if listed is not None and name in listed:
                change_setting(settings, "route.experts", [each for each in listed if each != name])
        return "deleted"
    names = list(workspace.found_experts) if listed is None else listed
    if name not in names:
        used = ", ".join(names) or "none"
        raise InputError(f"{name!r} is not used as it is; route.experts in {settings} has: {used}")
    change_setting(settings, "route.experts", [each for each in names if each != name])
    return f"taken out of route.experts in {settings}"


def _incoming(workspace: Workspace, source: Path, name: str, backbone: str | None) -> Specialist:
    """A specialist's folder, or PEFT's, as an expert on the workspace's encoder."""
    from pointsman.backbone.card import ENCODER
    from pointsman.backbone.incoming import fit, import_specialist
    from pointsman.backbone.specialist import SPECIALIST_FILE, load_specialist
    from pointsman.backbone.weights import locate

    if not source.is_dir():
        raise InputError(f"{source}: no such directory; name an expert's folder or a PEFT folder")
    is_one = (source / SPECIALIST_FILE).is_file()
    if is_one:
        specialist = load_specialist(source, ENCODER)
    else:
        on = backbone if backbone is not None else workspace.backbone_name
        specialist = import_specialist(source, name, on)
    if specialist.base_sha256 != workspace.base.sha256:
        raise BackboneMismatchError(
            f"{source}: made on {specialist.base_name} ({specialist.base_sha256[:12]}…), but "
            f"{workspace.path} uses {workspace.base.name} ({workspace.base.sha256[:12]}…); "
            "train it on that one"
        )
    if is_one:
        fit(specialist.adapter, locate(workspace.backbone_name), source)
    return dataclasses.replace(specialist, name=name)


def _listed(workspace: Workspace) -> list[str] | None:
    """The names that the settings file lists, whatever the environment says; None for all."""
    from pointsman.settings import read_settings
    from pointsman.workspace import SETTINGS_FILE

    return read_settings(workspace.path / SETTINGS_FILE, environment={}).route.experts


@contextlib.contextmanager
def _set_aside(folder: Path) -> Iterator[None]:
    """Delete a folder when the block ends without error; else it is back in its place."""
    aside = folder.with_name(f".{folder.name}-removed")
    _delete(aside)
    try:
        os.replace(folder, aside)
    except OSError as error:
        raise ReadOnlyError(f"{folder}: cannot be removed ({error.strerror})") from error
    try:
        yield
    except BaseException:
        os.replace(aside, folder)
        raise
    _delete(aside)


def _delete(folder: Path) -> None:
    """A folder, or a link to one, which then stays."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _named(workspace: Workspace, name: str) -> FoundExpert:
    found = workspace.found_experts
    if name not in found:
        known = ", ".join(found) or "none"
        raise InputError(f"{workspace.path} has no expert {name!r} (it has: {known})")
    return found[name]


# ---- what is shown


def left_out_line(left_out: Mapping[str, str]) -> str:
    """One line on the experts that a workspace does without."""
    return f"left out: {'; '.join(f'{name}, {reason}' for name, reason in left_out.items())}"


def _row(workspace: Workspace, found: FoundExpert) -> dict[str, Any]:
    """An expert for programs."""
    from pointsman.backbone.card import licences

    specialist, expert = found.specialist, found.expert
    reason = found.reason
    if not reason and found.name not in workspace.experts:
        reason = "not among route.experts"
    elif not reason and workspace.settings.route.router == "base":
        reason = "route.router is base"
    dev = {} if specialist is None else specialist.numbers.get("dev", {})
    return _shown(
        found.name,
        "shipped" if found.shipped else "space",
        str(found.folder),
        expert.domain.queries if expert is not None and expert.domain else None,
        {key: dev[key] for key in ("measure", "base", "best") if key in dev} or None,
        () if specialist is None else licences(specialist),
        reason,
    )


def _shown(
    name: str,
    origin: str = "",
    folder: str | None = None,
    queries: int | None = None,
    dev: Mapping[str, Any] | None = None,
    licences: Sequence[str] = (),
    reason: str = "",
) -> dict[str, Any]:
    return {
        "name": name,
        "from": origin,
        "folder": folder,
        "queries": queries,
        "dev": dev,
        "licences": list(licences),
        "used": not reason,
        "reason": reason,
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for title in ("name", "from", "queries", "dev: base → best", "licence", "used"):
        table.add_column(title, overflow="fold")
    for row in rows:
        queries = row["queries"]
        table.add_row(
            Text(row["name"]),
            row["from"],
            "" if queries is None else f"{queries:,}",
            Text(_gain(row["dev"] or {})),
            Text(", ".join(row["licences"])),
            Text("yes") if row["used"] else Text("no", "bold red"),
        )
    return table


def _gain(dev: Mapping[str, Any]) -> str:
    """nDCG@10 54.3 → 62.1; nothing where it was not measured."""
    base, best = dev.get("base"), dev.get("best")
    if not isinstance(base, int | float) or not isinstance(best, int | float):
        return ""
    return f"{dev.get('measure', '')} {100 * base:.1f} → {100 * best:.1f}".strip()
