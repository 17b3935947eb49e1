"""From a stream of passages to an index: in batches, only what has changed, ready to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from pointsman.deadline import Deadline
from pointsman.errors import InputError
from pointsman.protocols import Encoder, Index
from pointsman.retrieve.rows import check_ids, fingerprint, scrubbed
from pointsman.types import BackboneIdentity, Passage, Where


class Ingestable(Index, Protocol):
    """An index that can say what it holds already."""

    def check_backbone(self, identity: BackboneIdentity) -> None: ...  # noqa: D102

    def fingerprints(self, ids: Sequence[str]) -> dict[str, str]: ...  # noqa: D102

    def ids(self, where: Where | None = None) -> list[str]: ...  # noqa: D102

    def writing(self) -> AbstractContextManager[None]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class IngestReport:
    """How many passages were new, changed, as before, and gone; `blank` ids had no text."""

    added: int
    replaced: int
    unchanged: int
    removed: int
    blank: tuple[str, ...]
    seconds: float


def ingest(
    index: Ingestable,
    encoder: Encoder,
    passages: Iterable[Passage],
    *,
    batch_size: int = 512,
    upsert: bool = True,
    remove_missing: bool = False,
    sources: Collection[str] = (),
    progress: Callable[[int], None] | None = None,
    deadline: Deadline | None = None,
) -> IngestReport:
    """Encode and store passages that are new or changed; each batch is one commit.

    A passage that is stored already with the same text, place and metadata is not encoded again, so
    a second run over the same documents is quick, and a run that was stopped goes on where it was.
    Blank passages, without text and title, are
    reported and not stored. With `upsert=False` a changed passage is an
    InputError instead of a replacement.

    With `remove_missing`, once the stream has ended, stored passages are deleted whose metadata
    `source` is that of some passage of this run (blank ones count), or is listed in `sources`, and
    that did not come themselves: the tail of a document that became shorter, or with `sources` all
    of a document that is gone. An error before the end removes nothing.

    `progress` gets the number of passages done so far, after each batch. Raises
    BackboneMismatchError, InputError for ids that come twice (earlier batches stay), DeadlineError.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1, not {batch_size}")
    index.check_backbone(encoder.identity)
    started = time.perf_counter()
    seen: set[str] = set()
    covered: set[str | int | float | bool] = set(sources)
    blank: list[str] = []
    added = replaced = unchanged = removed = done = 0
    with index.writing():
        for batch in _batches(passages, batch_size):
            if deadline is not None:
                deadline.check(f"indexing, with {done} passages done")
            check_ids([passage.id for passage in batch])
            again = next((passage.id for passage in batch if passage.id in seen), None)
            if again is not None:
                raise InputError(f"id {again!r} comes twice in the passages; ids must be unique")
            covered.update(p.metadata["source"] for p in batch if "source" in p.metadata)
            blank.extend(passage.id for passage in batch if not passage.content.strip())
            full = [passage for passage in batch if passage.content.strip()]
            seen.update(passage.id for passage in full)
            stored = index.fingerprints([passage.id for passage in full])
            changed = [p for p in full if stored.get(p.id) != fingerprint(p)]
            if changed:
                contents = [passage.content for passage in changed]
                vectors = encoder.encode(contents, prompt="document", deadline=deadline)
                (index.upsert if upsert else index.add)(changed, vectors)
            known = sum(passage.id in stored for passage in changed)
            replaced += known
            added += len(changed) - known
            unchanged += len(full) - len(changed)
            done += len(batch)
            if progress is not None:
                progress(done)
        if remove_missing and covered:
            there = index.ids(where={"source": list(covered)})
            removed = index.delete(id_ for id_ in there if id_ not in seen)
    seconds = time.perf_counter() - started
    return IngestReport(added, replaced, unchanged, removed, tuple(blank), seconds)


def _batches(passages: Iterable[Passage], size: int) -> Iterator[list[Passage]]:
    stream = iter(passages)
    # Scrubbed here, because the index compares and returns ids that are.
    while batch := [scrubbed(passage) for passage in islice(stream, size)]:
        yield batch
