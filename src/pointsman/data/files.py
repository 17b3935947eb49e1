"""Reading and writing files so that every failure is one clear line and no file is left half written."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TextIO, cast

from pointsman.errors import FormatError, InputError, ReadOnlyError
from pointsman.text import scrub


def made_directory(folder: Path) -> Path:
    """A directory that is there, made where it was not. Raises ReadOnlyError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReadOnlyError(f"{folder}: cannot be made ({error.strerror})") from error
    return folder


@contextmanager
def opened(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes; `.gz` is unpacked on the way.

    Raises InputError where the file is missing or unreadable, FormatError where the gzip is damaged.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a file is needed here, this is a directory") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(path, f"damaged gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Stream the lines of a UTF-8 file that hold more than space, with their numbers from 1.

    A byte order mark, CRLF line ends and empty lines are passed over.
    """
    for number, line in enumerate(every_line(path), 1):
        if line.strip():
            yield number, line


def every_line(path: str | Path) -> Iterator[str]:
    """Stream all lines of a UTF-8 file without their ends, empty ones too, nor a byte order mark."""
    with opened(path) as file:
        # Only "\n" ends a line: text mode would also cut at a lone "\r", and a decoding error in
        # text mode does not know its line.
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8"
                raise FormatError(path, reason, number) from None
            yield line.rstrip("\r\n")


def json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Stream the objects of a JSON Lines file with their line numbers."""
    for number, line in numbered_lines(path):
        try:
            # strict=False: raw control characters inside a string are scrubbed, not refused
            value = json.loads(line, strict=False)
        except json.JSONDecodeError as error:
            reason = f"not valid JSON: {error.msg} at column {error.colno}"
            raise FormatError(path, reason, number) from None
        except (ValueError, RecursionError) as error:
            raise FormatError(path, f"JSON that cannot be read: {error}", number) from None
        if not isinstance(value, dict):
            raise FormatError(path, f"a JSON object is needed, this is {kind_of(value)}", number)
        yield number, value


def load_json(path: str | Path, *, unique_keys: bool = False) -> object:
    """Read a file that is one JSON value, whole: such a file cannot be streamed line by line.

    With `unique_keys` a key that stands twice in one object is an error; otherwise the last counts.
    """

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(items)
        if len(made) < len(items):
            twice = Counter(key for key, _ in items).most_common(1)[0][0]
            raise FormatError(path, f"the key {twice!r} stands twice")
        return made

    with opened(path) as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        reason = f"not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8"
        raise FormatError(path, reason, line) from None
    try:
        hook = pairs if unique_keys else None
        return cast(object, json.loads(text, strict=False, object_pairs_hook=hook))
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} at column {error.colno}"
        raise FormatError(path, reason, error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"JSON that cannot be read: {error}") from None


def dump(value: object) -> str:
    """One line of JSON that any UTF-8 file can hold."""
    return scrub(json.dumps(value, ensure_ascii=False))


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """Write a UTF-8 file beside `path` and rename it into place when the block ends without error.

    Until then, and after a failure, what stood at `path` is untouched. `.gz` is packed. Raises
    ReadOnlyError without the permission, InputError where the place cannot hold a file.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            with gzip.open(part, "xt", encoding="utf-8", newline="\n") as packed:
                yield cast(TextIO, packed)
        else:
            with part.open("x", encoding="utf-8", newline="\n") as plain:
                yield plain
        os.replace(part, path)
    except PermissionError as error:
        reason = f"{path}: cannot be written ({error.strerror}); choose another place"
        raise ReadOnlyError(reason) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def text_of(item: Mapping[str, object], key: str, path: str | Path, line: int) -> str:
    """The string under `key`, scrubbed; FormatError where it is missing or no string."""
    if key not in item:
        raise FormatError(path, f"the field {key!r} is missing", line)
    value = item[key]
    if not isinstance(value, str):
        raise FormatError(path, f"the field {key!r} must be text, not {kind_of(value)}", line)
    return scrub(value)


def id_of(item: Mapping[str, object], key: str, path: str | Path, line: int) -> str:
    """The id under `key`: text that is not empty, or a whole number, which becomes text."""
    value = item.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    made = text_of(item, key, path, line)
    if not made.strip():
        raise FormatError(path, f"the field {key!r} is empty", line)
    return made


def whole_number(text: str, path: str | Path, line: int) -> int:
    """A grade as a whole number, or FormatError."""
    try:
        return int(text)
    except ValueError:
        raise FormatError(path, f"a grade is a whole number, not {text!r}", line) from None


class Unique:
    """Remembers where each id stood first, and refuses it a second time."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._lines: dict[str, int] = {}

    def add(self, id: str, line: int) -> None:
        """Raise FormatError, naming both lines, where `id` was there before."""
        first = self._lines.setdefault(id, line)
        if first != line:
            raise FormatError(self._path, f"the id {id!r} stands already on line {first}", line)


def kind_of(value: object) -> str:
    """What JSON calls a value, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
