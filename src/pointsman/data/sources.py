"""Recognises what a path holds and gives its documents, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.beir import is_beir, read_corpus
from pointsman.data.chunks import OVERLAP, SIZE, chunk, whole
from pointsman.data.documents import Skipped, is_text_file, read_document, read_folder
from pointsman.data.squad import squad_paragraphs
from pointsman.errors import EmptyCollectionError, InputError
from pointsman.types import Document, Passage


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: how it is recognised, how it is read, whether its documents are long."""

    name: str
    description: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Iterator[Document | Skipped]]
    cut: bool


def _named(*endings: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and path.name.lower().endswith(endings)


def _one(path: Path) -> Iterator[Document | Skipped]:
    yield read_document(path)


KINDS = (
    Kind("beir", "a BEIR directory (with corpus.jsonl)", is_beir, read_corpus, cut=False),
    Kind("folder", "a folder of .txt and .md files", Path.is_dir, read_folder, cut=True),
    Kind(
        "jsonl",
        "a .jsonl corpus (_id, text, title)",
        _named(".jsonl", ".jsonl.gz"),
        read_corpus,
        cut=False,
    ),
    Kind("squad", "a SQuAD .json file", _named(".json", ".json.gz"), squad_paragraphs, cut=False),
    Kind(
        "file",
        "a .txt or .md file",
        lambda path: path.is_file() and is_text_file(path),
        _one,
        cut=True,
    ),
)
"""The first that recognises a path reads it."""


class Source:
    """Documents at a path.

    Attributes:
        path: where they are.
        kind: which format it is, one of "beir", "folder", "jsonl", "squad", "file".
        cut: whether its documents are long texts, to be cut into passages.
        skipped: what gave no document, filled while `documents()` is being gone through.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.kind = kind.name
        self.cut = kind.cut
        self._kind = kind
        self.skipped: list[Skipped] = []

    def __repr__(self) -> str:
        return f"Source({str(self.path)!r}, {self.kind})"

    def documents(self) -> Iterator[Document]:
        """Stream the documents that have a text or a title; each call begins anew.

        Raises:
            InputError, FormatError: what the format's reader raises.
            EmptyCollectionError: at the end, where there was no document.
        """
        self.skipped = []
        empty = True
        for read in self._kind.read(self.path):
            if isinstance(read, Skipped):
                self.skipped.append(read)
            elif not (read.text.strip() or read.title.strip()):
                self.skipped.append(Skipped(str(self.path), f"the document {read.id!r} is empty"))
            else:
                empty = False
                yield read
        if empty:
            why = (
                f" (skipped {len(self.skipped)}, first: {self.skipped[0]})" if self.skipped else ""
            )
            raise EmptyCollectionError(
                f"{self.path}: no document with text in {self._kind.description}{why}"
            )


def open_source(path: str | Path) -> Source:
    """Recognise what `path` holds, by its name and layout; nothing is read yet.

    Raises InputError where there is nothing, or nothing that is understood.
    """
    path = Path(path)
    try:
        kind = next((kind for kind in KINDS if kind.recognises(path)), None)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if kind is not None:
        return Source(path, kind)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or directory; check the path")
    understood = ", ".join(kind.description for kind in KINDS)
    raise InputError(f"{path}: not a source that is understood; understood are {understood}")


def passages(
    source: Source, size: int = SIZE, overlap: int = OVERLAP, *, cut: bool | None = None
) -> Iterator[Passage]:
    """Stream the passages of a source, document by document.

    Args:
        source: from `open_source`.
        size: characters of a passage at most.
        overlap: characters that neighbours share at most.
        cut: whether documents are cut; by default a person's own files are, collections are not
            (their judgements are for whole documents, and the encoder truncates).

    Raises what `Source.documents` and `chunk` raise.
    """
    cut = source.cut if cut is None else cut
    for document in source.documents():
        if cut:
            yield from chunk(document, size, overlap)
        else:
            yield whole(document)
