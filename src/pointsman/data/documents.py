"""A person's own text files: one document for each .txt and .md file of a folder.

What cannot be used is not an error but a `Skipped` with its reason, so that one bad file among a
thousand does not stop the rest.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import InputError
from pointsman.text import scrub
from pointsman.types import Document

EMPTY = "empty"
"""Why a file without text is skipped: it was read, unlike with the other reasons."""

TEXT_SUFFIXES = frozenset({".txt"})
MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
# A share of control characters that no text reaches, and few binary files stay below.
_BINARY_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that a source held and that gives no document. `line` counts from 1 where it applies."""

    path: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.reason}"


def is_text_file(path: str | Path) -> bool:
    """Whether the name ends as those of text and Markdown files do."""
    return Path(path).suffix.lower() in TEXT_SUFFIXES | MARKDOWN_SUFFIXES


def is_markdown(name: str | Path) -> bool:
    """Whether the name ends as those of Markdown files do."""
    return Path(name).suffix.lower() in MARKDOWN_SUFFIXES


def read_folder(root: str | Path) -> Iterator[Document | Skipped]:
    """Read every .txt and .md file below `root`, in the order of their names.

    Hidden files and folders are passed over. Links are followed, but no folder is entered twice,
    so a loop of links ends. Ids are paths relative to `root`, with forward slashes.

    Raises InputError where `root` is no directory that can be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such directory; check the path")
    if not os.access(root, os.R_OK | os.X_OK):
        raise InputError(f"{root}: cannot be read (permission denied)")
    seen: set[str] = set()
    for path in _walk(root, set()):
        if isinstance(path, Skipped):
            yield path
            continue
        read = read_document(path, root)
        if isinstance(read, Document):
            if read.id in seen:  # two names that differ only in bytes which are no text
                yield Skipped(read.id, "another file has the same name once it is made readable")
                continue
            seen.add(read.id)
        yield read


def read_document(path: str | Path, root: str | Path | None = None) -> Document | Skipped:
    """Read one file. `root` is the source it belongs to, by default the file itself.

    UTF-8, or UTF-16 and UTF-32 with a byte order mark; anything else is taken as Windows-1252 or
    Latin-1, and `metadata["encoding"]` says so. Line ends become "\\n", as Python's text mode gives
    them: character offsets hold for the file opened that way. The title is the first Markdown
    heading or the file's stem. `metadata` holds "path" and "source", both absolute.
    """
    path = Path(path)
    source = path if root is None else Path(root)
    id = scrub(path.name if root is None else path.relative_to(source).as_posix())
    if not is_text_file(path):
        return Skipped(id, "only .txt and .md files are read")
    try:
        # Asked before opening: opening a named pipe would wait for a writer.
        if not path.is_file():
            gone = not path.exists()
            return Skipped(id, "a link to nothing" if gone else "not a regular file")
        raw = path.read_bytes()
    except OSError as error:
        return Skipped(id, f"cannot be read ({error.strerror or error})")
    decoded = _decode(raw)
    if decoded is None:
        return Skipped(id, "binary data, not text")
    text, encoding = decoded
    text = scrub(text.replace("\r\n", "\n").replace("\r", "\n"))
    if not text.strip():
        return Skipped(id, EMPTY)
    title = (_heading(text) if is_markdown(path) else "") or scrub(path.stem)
    metadata = {"path": scrub(os.path.abspath(path)), "source": scrub(os.path.abspath(source))}
    if encoding:
        metadata["encoding"] = encoding
    return Document(id, text, title, metadata)


def _walk(
    root: Path, entered: set[tuple[int, int]], folder: Path | None = None
) -> Iterator[Path | Skipped]:
    folder = folder or root
    name = scrub(folder.relative_to(root).as_posix())
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in entered:
            return
        entered.add((status.st_dev, status.st_ino))
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Skipped(name, f"cannot be read ({error.strerror or error})")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        try:
            inside = entry.is_dir()
        except OSError as error:
            yield Skipped(
                scrub(path.relative_to(root).as_posix()), f"cannot be read ({error.strerror})"
            )
            continue
        if inside:
            yield from _walk(root, entered, path)
        else:
            yield path


def _decode(raw: bytes) -> tuple[str, str] | None:
    """The text, and the encoding's name where it had to be guessed; None for binary data."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return raw.decode(encoding).removeprefix("\ufeff"), ""
            except UnicodeDecodeError:
                return None
    if b"\0" in raw:
        return None
    try:
        text, encoding = raw.decode("utf-8"), ""
    except UnicodeDecodeError:
        try:
            text, encoding = raw.decode("cp1252"), "windows-1252"
        except UnicodeDecodeError:
            text, encoding = raw.decode("latin-1"), "latin-1"
    sample = text[:8192]
    controls = scrub(sample).count("\ufffd") - sample.count("\ufffd")
    return None if controls > _BINARY_SHARE * len(sample) else (text, encoding)


def _heading(text: str) -> str:
    fence = ""
    for line in text.split("\n"):
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1][:3]
            elif mark[1].startswith(fence):
                fence = ""
        elif not fence and (found := _HEADING.match(line)) and found[1].strip():
            return found[1].strip()
    return ""
