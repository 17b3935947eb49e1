"""`pointsman specialists`: what there is, whether it is whole, and the ways in and out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pointsman.cli.options import BackboneName, Json
from pointsman.cli.output import Output
from pointsman.errors import InputError, ModelError

if TYPE_CHECKING:
    from pointsman.backbone.shelf import Found
    from pointsman.backbone.specialist import Specialist

LIST_EXAMPLES = """
Examples:
  pointsman specialists list
  pointsman specialists list my-space
"""
SHOW_EXAMPLES = """
Examples:
  pointsman specialists show reader
  pointsman specialists show my-space/specialists/legal --json
"""
VERIFY_EXAMPLES = """
Examples:
  pointsman specialists verify
  pointsman specialists verify my-space
  pointsman specialists verify experts/law --backbone path/to/encoder
"""
IMPORT_EXAMPLES = """
Examples:
  pointsman specialists import path/to/peft --out my-space/specialists
  pointsman specialists import some-org/some-adapter --out experts --name law
"""
EXPORT_EXAMPLES = """
Examples:
  pointsman specialists export reader --to reader-peft --format peft
  pointsman specialists export law --to out --format sentence-transformers
"""
PUSH_EXAMPLES = """
Examples:
  pointsman specialists push experts/law my-org/law --private
  pointsman specialists push reader my-org/reader --token-env MY_TOKEN
"""
EXAMPLES = """
Examples:
  pointsman specialists list
  pointsman specialists show reader
  pointsman specialists verify my-space
"""

app = typer.Typer(
    help="List, check, import and export specialists.", epilog=EXAMPLES, rich_markup_mode="rich"
)


class Kind(StrEnum):
    """What an imported adapter serves as; one that needs a head cannot come from PEFT alone."""

    encoder = "encoder"


class Format(StrEnum):
    """What can be written for others."""

    peft = "peft"
    sentence_transformers = "sentence-transformers"


Places = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PLACE]…",
        help="A workspace, a directory of specialists, or one of them. Without: those that ship.",
        show_default=False,
    ),
]
Named = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="One that ships, by its name, or a directory.", show_default=False
    ),
]


@app.callback()
def specialists() -> None:
    """Specialists: small adapters and heads on the frozen encoder."""


@app.command(name="list", epilog=LIST_EXAMPLES)
def list_(places: Places = None, json: Json = False) -> None:
    """List specialists.

    Name, kind, the encoder that each was made on, its adapter, size, main number on dev, licences. A broken one is listed with its fault.
    """
    from pointsman.backbone.shelf import find

    output = Output(json)
    with output.working("looking"):
        found = [each for place in _places(places) for each in find(_directory(place))]
    if not found:
        output.show("No specialists here.")
    else:
        output.show(_table(found))
    for each in found:
        if each.fault:
            output.show(f"{each.folder.name}: {each.fault}")
    output.document([_record(each) for each in found])


@app.command(epilog=SHOW_EXAMPLES)
def show(name: Named, json: Json = False) -> None:
    """Show one specialist: its card, and what programs know of it."""
    from rich.markdown import Markdown

    from pointsman.backbone.card import without_front_matter
    from pointsman.backbone.shelf import Found
    from pointsman.cli.info import _flat

    output = Output(json)
    folder, specialist = _load(name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    record = _record(Found(folder, size, specialist)) | {
        "settings": dict(specialist.settings),
        "training": dict(specialist.training),
        "numbers": dict(specialist.numbers),
        "card": specialist.card,
    }
    facts = {key: value for key, value in record.items() if key not in ("card", "fault")}
    grid = Table.grid(padding=(0, 2))
    for key, value in _flat(facts).items():
        grid.add_row(Text(key, "cyan", no_wrap=True), Text(value, overflow="fold"))
    output.show(Markdown(without_front_matter(specialist.card)), "", grid)
    output.document(record)


@app.command(epilog=VERIFY_EXAMPLES)
def verify(places: Places = None, backbone: BackboneName = None, json: Json = False) -> None:
    """Check specialists, file by file.

    Every recorded SHA-256, whether the tensors can be read, and the encoder that each was made on. Leaves with exit code 6 where something is wrong.
    """
    from pointsman.backbone import shelf
    from pointsman.backbone.weights import locate

    output = Output(json)
    results = []
    with output.working("checking"):
        for place in _places(places):
            base = locate(backbone if backbone is not None else _backbone_of(place))
            found = shelf.folders(_directory(place))
            if not found:
                raise InputError(f"{place}: no specialists here")
            results += [shelf.verify(folder, base) for folder in found]
    for result in results:
        output.show(Text(str(result.folder), "bold"))
        table = Table.grid(padding=(0, 2))
        for finding in result.findings:
            sign, style = ("✓", "green") if finding.fine else ("✗", "bold red")
            table.add_row(
                Text(sign, style), Text(finding.part), Text(finding.said, overflow="fold")
            )
        output.show(table)
    wrong = [result for result in results if not result.fine]
    output.show("" if wrong else "All is as recorded.")
    output.document(
        [
            {
                "folder": str(result.folder),
                "fine": result.fine,
                "findings": [
                    {"part": each.part, "fine": each.fine, "said": each.said}
                    for each in result.findings
                ],
            }
            for result in results
        ]
    )
    if wrong:
        output.show(f"Not as recorded: {', '.join(str(result.folder) for result in wrong)}")
        raise typer.Exit(ModelError.exit_code)


@app.command(name="import", epilog=IMPORT_EXAMPLES)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A PEFT folder, or ORG/NAME on the hub.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="It is written to DIR/NAME.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What it is called. By default as there.", show_default=False
        ),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="What it serves as.")] = Kind.encoder,
    backbone: BackboneName = None,
    json: Json = False,
) -> None:
    """Make a specialist of a LoRA adapter in PEFT's format.

    The adapter must fit the encoder, which is recorded by the SHA-256 of its weights. A name on the hub is downloaded, because you named it.
    """
    from pointsman.backbone.card import Extent
    from pointsman.backbone.export import own_dtype
    from pointsman.backbone.hub import download, is_hub_name
    from pointsman.backbone.incoming import import_specialist
    from pointsman.backbone.specialist import save_specialist

    output = Output(json)
    folder, revision, origin = Path(source).expanduser(), "", ""
    called = name if name is not None else folder.resolve().name
    if Path(called).name != called or called.startswith("."):
        raise InputError(f"{called!r} is not a name for a specialist; choose another with --name")
    target = out.expanduser() / called
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target}: is there already, and is not replaced; use another --name")
    with output.working("importing") as working:
        if not folder.is_dir():
            if folder.exists() or not is_hub_name(source):
                raise InputError(f"{source}: neither a directory nor a name on the hub (ORG/NAME)")
            working.say(f"downloading {source}")
            origin = source
            folder, revision = download(source)
        specialist = import_specialist(
            folder, called, backbone, kind=kind.value, origin=origin, revision=revision
        )
        save_specialist(specialist, target, own_dtype(specialist))
    output.show(
        f"Made {target}: {specialist.kind}, {Extent.of(specialist.adapter)}, on "
        f"{specialist.base_name} {specialist.base_sha256[:12]}…"
    )
    made_on = str(specialist.training.get("source_base", ""))
    if made_on and made_on.rsplit("/", 1)[-1] != specialist.base_name.rsplit("/", 1)[-1]:
        output.note(f"Its own configuration names {made_on}; that is another name than you gave.")
    output.document(_described(target, specialist))


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    name: Named,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="A new directory.", show_default=False)
    ],
    form: Annotated[
        Format, typer.Option("--format", help="For whom it is written.", show_default=False)
    ],
    backbone: BackboneName = None,
    json: Json = False,
) -> None:
    """Write a specialist for other libraries.

    peft: the adapter, as PEFT loads it. sentence-transformers: the encoder with the adapter merged into its weights. Replaces nothing.
    """
    from pointsman.backbone.export import export_peft, export_sentence_transformers

    output = Output(json)
    _, specialist = _load(name)
    to = to.expanduser()
    with output.working("exporting"):
        if form is Format.peft:
            export_peft(specialist, to)
        else:
            export_sentence_transformers(specialist, to, backbone)
    output.show(f"Wrote {to}")
    if specialist.head:
        output.note("Its head is not part of PEFT's format, and is left out.")
    output.document({"folder": str(to), "format": form.value, "head": False})


@app.command(epilog=PUSH_EXAMPLES)
def push(
    name: Named,
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="On the hub.", show_default=False)
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Only you see it, if it is new.")
    ] = False,
    token_env: Annotated[
        str, typer.Option(metavar="NAME", help="The environment variable that holds your token.")
    ] = "HF_TOKEN",
    json: Json = False,
) -> None:
    """Upload a specialist to the Hugging Face hub.

    It is verified first. No other command uploads anything.
    """
    from pointsman.backbone.hub import push as upload
    from pointsman.backbone.hub import token_from

    output = Output(json)
    folder, _ = _load(name)
    with output.working(f"uploading to {repository}"):
        address = upload(folder, repository, private=private, token=token_from(token_env))
    output.show(f"Pushed {folder} to {address}")
    output.document({"folder": str(folder), "address": address})


# ---- places


def _places(given: list[Path] | None) -> list[Path]:
    from pointsman.workspace import SHIPPED

    return [place.expanduser() for place in given] if given else [SHIPPED]


def _directory(place: Path) -> Path:
    """Where a place's specialists lie; a name of one that ships will do where there is no such place."""
    from pointsman.workspace import SETTINGS_FILE, SHIPPED, SPECIALISTS

    if (place / SETTINGS_FILE).is_file():
        inside = place / SPECIALISTS
        if not inside.is_dir():
            raise InputError(f"{place}: this workspace has no specialists of its own")
        return inside
    if not place.exists() and (SHIPPED / place).is_dir():
        return SHIPPED / place
    return place


def _backbone_of(place: Path) -> str | Path | None:
    """The encoder that a workspace's specialists must fit; elsewhere it is the default."""
    from pointsman.workspace import SETTINGS_FILE, Workspace

    if not (place / SETTINGS_FILE).is_file():
        return None
    name = Workspace.open(place).settings.backbone
    return place / name if name and (place / name).is_dir() else name


def _load(name: str) -> tuple[Path, Specialist]:
    from pointsman.backbone.shelf import named
    from pointsman.backbone.specialist import load_specialist
    from pointsman.workspace import SHIPPED

    folder = named(name, SHIPPED)
    return folder, load_specialist(folder)


# ---- what is shown


def _record(found: Found) -> dict[str, Any]:
    """A specialist or its fault, for programs."""
    about: dict[str, Any] = {"name": found.folder.name, "folder": str(found.folder)}
    if found.specialist is not None:
        about = _described(found.folder, found.specialist)
    return about | {"bytes": found.size, "fault": found.fault}


def _described(folder: Path, specialist: Specialist) -> dict[str, Any]:
    from pointsman.backbone.card import Extent, licences, main_number
    from pointsman.backbone.weights import DEFAULT_SHA256

    extent, dev = Extent.of(specialist.adapter), main_number(specialist.numbers)
    return {
        "name": specialist.name,
        "folder": str(folder),
        "kind": specialist.kind,
        "base": {
            "name": specialist.base_name,
            "sha256": specialist.base_sha256,
            "default": specialist.base_sha256 == DEFAULT_SHA256,
        },
        "adapter": {
            "ranks": list(extent.ranks),
            "linear": extent.linear,
            "layers": list(extent.layers),
            "weights": specialist.adapter.parameters,
        },
        "head": bool(specialist.head),
        "dev": None if dev is None else {"measure": dev[0], "value": dev[1]},
        "licences": list(licences(specialist)),
    }


def _table(found: list[Found]) -> Table:
    from pointsman.backbone.card import Extent, licences, main_number
    from pointsman.backbone.weights import DEFAULT_SHA256

    # Narrow gaps: in 80 columns the licences need what room there is.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for title in ("name", "kind", "base", "adapter", "size", "dev", "licence"):
        # A name that is cut in two is not one to copy.
        table.add_column(
            title,
            overflow="fold",
            no_wrap=title in ("base", "adapter", "dev"),
            min_width=len("selector") if title == "name" else None,
        )
    for each in found:
        size = f"{each.size / 1e6:.1f} MB"
        this = each.specialist
        if this is None:
            sign = Text("✗ broken", "bold red")
            table.add_row(Text(each.folder.name), sign, "", "", size, "", "")
            continue
        default = " default" if this.base_sha256 == DEFAULT_SHA256 else ""
        dev = main_number(this.numbers)
        table.add_row(
            Text(this.name),
            Text(this.kind),
            Text(f"{this.base_name}\n{this.base_sha256[:8]}…{default}"),
            Text("\n".join(Extent.of(this.adapter).facts)),
            size,
            "" if dev is None else f"{dev[0]} {dev[1]:.1f}",
            Text(", ".join(licences(this))),
        )
    return table
