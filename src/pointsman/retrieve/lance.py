"""The embedded index: LanceDB in a directory or on object storage.

Dense search is exact, on one matrix of all vectors that is read once for each version of the table
and kept (1.5 GB for a million vectors of 384 dimensions); BM25 is LanceDB's native full text.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import FTS, BTree
from lancedb.query import MatchQuery

from pointsman.deadline import Deadline
from pointsman.errors import InputError, PointsmanError, ReadOnlyError, WorkspaceError
from pointsman.retrieve import filters
from pointsman.retrieve.dense import top_k
from pointsman.retrieve.fusion import Fusion
from pointsman.retrieve.lock import WriterLock
from pointsman.retrieve.manifest import FullText, Manifest, check_same_backbone
from pointsman.retrieve.rows import STORED, check_vectors, named, schema, to_arrow, to_passage
from pointsman.text import scrub
from pointsman.types import BackboneIdentity, FloatArray, Hit, Passage, Where

TABLE = "passages"
# What each side of a hybrid search contributes at least, so that a passage that one side ranks
# low can still be lifted by the other.
_CANDIDATES = 100
# A search reads one version from start to end; none takes an hour.
_KEEP_VERSIONS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """All ids [m] in ascending order and their vectors [m, d], as of one version of the table."""

    version: int
    ids: Any
    vectors: FloatArray


class LanceIndex:
    """Stores passages and their vectors in LanceDB and finds them again (`protocols.Index`).

    Made by `create` or `open`. One process writes at a time (IndexLockedError for the next), any
    number reads, and each search sees the latest commit. Each `add`, `upsert` and `delete` is one
    commit: it happens as a whole or not at all. Methods may be called from any thread; searches of
    one object run one after another. On object storage there is no lock: keep to one writer.
    """

    def __init__(
        self, uri: str, table: Any, manifest: Manifest, lock: WriterLock | None, read_only: bool
    ) -> None:
        self.uri = uri
        self.read_only = read_only
        self._table = table
        self._manifest = manifest
        self._lock = lock
        self._snapshot: _Snapshot | None = None
        # Writing may take long, and searches go on meanwhile: so two locks. A thread that holds
        # `_writer` may take `_access`, never the other way round.
        self._writer = threading.RLock()
        self._access = threading.RLock()
        self._writing = False

    @classmethod
    def create(
        cls,
        uri: str | Path,
        identity: BackboneIdentity,
        *,
        full_text: FullText | None = None,
        fusion: Fusion | None = None,
        overwrite: bool = False,
        storage_options: Mapping[str, str] | None = None,
        lock_wait: float = 0.0,
    ) -> LanceIndex:
        """An empty index for vectors of the encoder `identity`.

        `uri` is a directory or an object-store URI (`s3://…`, with its `storage_options`);
        `lock_wait` is how many seconds a writer waits for another. Raises WorkspaceError where an
        index is already there and not to be overwritten, ReadOnlyError, IndexLockedError.
        """
        uri = str(uri)
        directory = _directory(uri)
        manifest = Manifest(identity, full_text or FullText(), fusion or Fusion())
        lock = None if directory is None else WriterLock(directory, lock_wait)
        if directory is not None:
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except PermissionError as error:
                raise ReadOnlyError(f"{directory} cannot be made: no write permission") from error
            except OSError as error:
                raise WorkspaceError(f"{directory} cannot be made: {error.strerror}") from error
        with lock or nullcontext(), _plain_errors(f"creating the index {uri}"):
            database = _connect(uri, directory, storage_options)
            columns = schema(identity.dimension, manifest.to_metadata())
            try:
                mode = "overwrite" if overwrite else "create"
                table = database.create_table(TABLE, schema=columns, mode=mode)
            except (ValueError, OSError) as error:
                if "already exists" not in str(error):
                    raise
                raise WorkspaceError(
                    f"{uri} already holds an index; open it, or overwrite it"
                ) from error
            index = cls(uri, table, manifest, lock, read_only=False)
            index._ensure_indices()
        return index

    @classmethod
    def open(
        cls,
        uri: str | Path,
        read_only: bool = False,
        *,
        fusion: Fusion | None = None,
        storage_options: Mapping[str, str] | None = None,
        lock_wait: float = 0.0,
    ) -> LanceIndex:
        """An index that exists; `fusion` replaces, for this object, what the index was made with.

        Takes no lock: a writer does when it writes. Raises WorkspaceError where there is none, or
        where it is damaged or made by a newer version.
        """
        uri = str(uri)
        directory = _directory(uri)
        # Asked here because LanceDB would make the missing directory.
        if directory is not None and not (directory / f"{TABLE}.lance").is_dir():
            raise WorkspaceError(f"{uri} holds no index; check the path, or create one there")
        with _plain_errors(f"opening the index {uri}"):
            table = _connect(uri, directory, storage_options).open_table(TABLE)
            manifest = Manifest.from_metadata(table.schema.metadata, uri)
        if fusion is not None:
            manifest = replace(manifest, fusion=fusion)
        lock = None if directory is None else WriterLock(directory, lock_wait)
        return cls(uri, table, manifest, lock, read_only)

    @staticmethod
    def exists(uri: str | Path) -> bool:
        """Whether a local directory holds an index (not asked of object storage: open it)."""
        directory = _directory(str(uri))
        return directory is not None and (directory / f"{TABLE}.lance").is_dir()

    def close(self) -> None:
        """Let go of the table and the vectors in memory; the object cannot be used afterwards."""
        with self._writer, self._access:
            self._table = None
            self._snapshot = None

    def __enter__(self) -> LanceIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def identity(self) -> BackboneIdentity:
        """The encoder that the vectors are from."""
        return self._manifest.identity

    @property
    def full_text(self) -> FullText:
        """How text is cut into terms."""
        return self._manifest.full_text

    @property
    def fusion(self) -> Fusion:
        """How a hybrid search fuses its two rankings."""
        return self._manifest.fusion

    def check_backbone(self, identity: BackboneIdentity) -> None:
        """Raise BackboneMismatchError, naming both, for an encoder other than the index's."""
        check_same_backbone(self.identity, identity, self.uri)

    # Reading

    def __len__(self) -> int:
        with self._reading("counting") as table:
            return int(table.count_rows())

    def ids(self, where: Where | None = None) -> list[str]:
        """All ids in ascending order, or those of the passages that meet the filter."""
        query = filters.to_sql(where or {})
        with self._reading("listing") as table:
            return sorted(_ids(table, query).to_pylist())

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Passages by id, in the order of `ids`. Raises InputError for ids that are not there."""
        wanted = [scrub(id_) for id_ in ids]
        with self._reading("reading") as table:
            found = _passages(table, wanted)
        missing = [id_ for id_ in dict.fromkeys(wanted) if id_ not in found]
        if missing:
            raise InputError(f"not in the index {self.uri}: {named(missing)}")
        return [found[id_] for id_ in wanted]

    def vectors(self) -> tuple[int, FloatArray]:
        """The index's version, which every change raises, and all its vectors [m, d] by ascending id."""
        with self._reading("reading") as table:
            snapshot = self._vectors(table)
            return snapshot.version, snapshot.vectors

    def of_ids(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors [d] of those passages that are there, by id."""
        wanted = [scrub(id_) for id_ in ids]
        with self._reading("reading") as table:
            snapshot = self._vectors(table)
            rows = pc.index_in(pa.array(wanted, pa.string()), value_set=snapshot.ids).to_pylist()
            found = zip(wanted, rows, strict=True)
            return {id_: snapshot.vectors[row] for id_, row in found if row is not None}

    def fingerprints(self, ids: Sequence[str]) -> dict[str, str]:
        """`rows.fingerprint` of the passages that are there, by id."""
        wanted = filters.one_of("id", (scrub(id_) for id_ in ids))
        with self._reading("reading") as table:
            found = table.search().where(wanted).select(["id", "fingerprint"]).to_arrow()
        return dict(zip(found["id"].to_pylist(), found["fingerprint"].to_pylist(), strict=True))

    def search(
        self,
        vectors: FloatArray | None,
        k: int,
        text: Sequence[str] | None = None,
        where: Where | None = None,
        deadline: Deadline | None = None,
        dense_shift: FloatArray | None = None,
    ) -> list[list[Hit]]:
        """The best k passages for each query, best first, equal scores by id.

        `vectors` [n, d] alone: exact dense search, scores are cosines (the vectors need no unit
        norm). `text`, n strings, alone: BM25 over title and text, any of the words may match; text
        is never read as a query language. Both: the two rankings fused, the vectors' weight moved
        by `dense_shift` [n] for each query. `where` holds for both sides; fields are metadata, or
        the passage's `document` and `title`. Raises InputError for wrong shapes and for a field that
        no passage has, DeadlineError.
        """
        if k < 1:
            raise InputError(f"a search returns at least 1 passage, not k={k}")
        if vectors is None and text is None:
            raise InputError("a search needs vectors, text or both")
        if isinstance(text, str):
            raise InputError("search takes a list of texts, one for each query, not one string")
        queries = None if vectors is None else self._unit(vectors)
        if queries is not None and text is not None and len(queries) != len(text):
            raise InputError(f"{len(queries)} query vectors came with {len(text)} texts")
        predicate = filters.to_sql(where or {})
        depth = k if queries is None or text is None else max(k, _CANDIDATES)
        with self._reading("searching") as table:
            rankings: list[list[tuple[str, float]]] = []
            if queries is not None:
                rankings = self._dense(table, queries, depth, predicate, deadline)
            if text is not None:
                by_words = [_bm25(table, one, depth, predicate, deadline) for one in text]
                if queries is None:
                    rankings = by_words
                else:
                    rankings = [
                        fusion.fuse(*both)
                        for fusion, *both in zip(
                            self._fusions(len(text), dense_shift), rankings, by_words, strict=True
                        )
                    ]
            rankings = [ranking[:k] for ranking in rankings]
            if where and not any(rankings):
                self._check_fields(table, where)
            wanted = {id_ for ranking in rankings for id_, _ in ranking}
            found = _passages(table, sorted(wanted))
        return [[Hit(found[id_], score) for id_, score in ranking] for ranking in rankings]

    def _fusions(self, n: int, dense_shift: FloatArray | None) -> list[Fusion]:
        """How each of n queries' rankings are fused."""
        if dense_shift is None:
            return [self.fusion] * n
        if np.shape(dense_shift) != (n,):
            raise InputError(f"{n} queries came with a dense_shift of {np.shape(dense_shift)}")
        return [self.fusion.shifted(float(each)) for each in dense_shift]

    # Writing

    def add(self, passages: Sequence[Passage], vectors: FloatArray) -> None:
        """Store new passages with their unit vectors [n, d], all or none.

        Raises InputError for an id that is already there or comes twice, and for vectors of
        another width, norm or number, or with NaN; nothing is stored then.
        """
        self._write(passages, vectors, replacing=False)

    def upsert(self, passages: Sequence[Passage], vectors: FloatArray) -> None:
        """Store passages, replacing those of the same id; otherwise like `add`."""
        self._write(passages, vectors, replacing=True)

    def delete(self, ids: Iterable[str]) -> int:
        """Remove passages by id, all in one commit; returns how many were there."""
        wanted = sorted({scrub(id_) for id_ in ids})
        if not wanted:
            return 0
        predicate = filters.one_of("id", wanted)
        with self.writing(), self._reading("deleting") as table:
            count = int(table.count_rows(predicate))
            if count:
                table.delete(predicate)
        return count

    def optimize(self) -> None:
        """Merge small files, bring BM25 up to date, drop versions that are an hour old.

        Writing does this by itself, once at the end of `writing()`.
        """
        with self.writing():
            pass

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock for several writes, and optimise once at the end.

        Rows that are not yet in the full-text index are found, but their BM25 scores come from
        other statistics, so it is brought up to date also when an error ends the block. Ctrl-C
        leaves at once: what was committed stays, and the next writer does the rest. Raises
        IndexLockedError, ReadOnlyError.
        """
        if self.read_only:
            raise ReadOnlyError(f"{self.uri} was opened for reading only; open it for writing")
        lock: AbstractContextManager[object] = self._lock or nullcontext()
        with self._writer, lock:
            if self._writing:
                yield
                return
            with self._reading("writing") as table:
                self._check_not_remade(table)
                self._writing = True
            try:
                yield
            except Exception:
                with suppress(PointsmanError):  # The first error is the one to tell.
                    self._settle()
                raise
            else:
                self._settle()
            finally:
                self._writing = False

    def _write(self, passages: Sequence[Passage], vectors: FloatArray, replacing: bool) -> None:
        if not len(passages) and not len(vectors):
            return
        rows = to_arrow(passages, vectors, self.identity.dimension)
        with self.writing(), self._reading("writing") as table:
            if replacing:
                merge = table.merge_insert("id").when_matched_update_all()
                merge.when_not_matched_insert_all().execute(rows)
            else:
                there = _ids(table, filters.one_of("id", rows["id"].to_pylist())).to_pylist()
                if there:
                    raise InputError(
                        f"already in the index: {named(sorted(there))}; upsert replaces them"
                    )
                table.add(rows)

    def _settle(self) -> None:
        # Also after a block that wrote nothing: the last writer may have been stopped before this.
        # Searches go on meanwhile, for no row changes.
        with self._reading("optimising") as table:
            self._ensure_indices()
        with _plain_errors(f"optimising the index {self.uri}"):
            table.optimize(cleanup_older_than=_KEEP_VERSIONS)

    def _ensure_indices(self) -> None:
        # Each time, because whoever created the table may have been stopped before its indices.
        indexed = {column for index in self._table.list_indices() for column in index.columns}
        if "id" not in indexed:
            self._table.create_index("id", config=BTree())
        if "content" not in indexed:
            self._table.create_index("content", config=_fts(self.full_text))

    # Parts of a search

    @contextmanager
    def _reading(self, doing: str) -> Iterator[Any]:
        """The table at its latest version, which stays until the block ends."""
        with self._access:
            if self._table is None:
                raise WorkspaceError(f"the index {self.uri} was closed; open it again")
            with _plain_errors(f"{doing} the index {self.uri}"):
                self._table.checkout_latest()
                yield self._table

    def _unit(self, vectors: FloatArray) -> FloatArray:
        queries = check_vectors(vectors, self.identity.dimension, what="query")
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        zero = np.flatnonzero(norms == 0.0)
        if zero.size:
            raise InputError(f"the vector of query {zero[0] + 1} of {len(queries)} is all zeros")
        return np.asarray(queries / norms, dtype=np.float32)

    def _dense(
        self,
        table: Any,
        queries: FloatArray,
        k: int,
        predicate: str,
        deadline: Deadline | None,
    ) -> list[list[tuple[str, float]]]:
        snapshot = self._vectors(table)
        allowed = None
        if predicate:
            allowed = pc.is_in(snapshot.ids, value_set=_ids(table, predicate))
            allowed = allowed.to_numpy(zero_copy_only=False)
        return [
            list(zip(snapshot.ids.take(pa.array(rows)).to_pylist(), scores.tolist(), strict=True))
            for rows, scores in top_k(queries, snapshot.vectors, k, allowed, deadline)
        ]

    def _vectors(self, table: Any) -> _Snapshot:
        version = int(table.version)
        if self._snapshot is None or self._snapshot.version != version:
            self._check_not_remade(table)
            self._snapshot = None  # Never two matrices in memory.
            rows = table.search().select(["id", "vector"]).to_arrow()
            # In the order of ids, so that equal scores by row are equal scores by id.
            rows = rows.sort_by("id").combine_chunks()
            flat = pa.concat_arrays([chunk.flatten() for chunk in rows["vector"].chunks] or [_NONE])
            vectors = flat.to_numpy().reshape(-1, self.identity.dimension)
            ids = pa.concat_arrays([*rows["id"].chunks, pa.array([], pa.string())])
            self._snapshot = _Snapshot(version, ids, vectors)
        return self._snapshot

    def _check_not_remade(self, table: Any) -> None:
        """Another process may have overwritten the index for an encoder of its own."""
        if Manifest.from_metadata(table.schema.metadata, self.uri).identity != self.identity:
            raise WorkspaceError(
                f"{self.uri} has been made anew with another encoder; open it again"
            )

    def _check_fields(self, table: Any, where: Where) -> None:
        """A filter that nothing meets is an answer; one on a field that nothing has is a mistake."""
        stored = table.search().select(["tags"]).to_arrow()["tags"]
        if not len(stored):
            return
        tags = pc.unique(pc.list_flatten(stored)).to_pylist()
        known = {*filters.COLUMNS, *filters.fields([tags])}
        unknown = sorted(set(where) - known)
        if unknown:
            raise InputError(
                f"no passage of {self.uri} has the field {unknown[0]!r}; "
                f"fields are {', '.join(sorted(known))}"
            )


_NONE = pa.array([], pa.float32())


def _directory(uri: str) -> Path | None:
    """The local directory that a URI means, None for object storage."""
    if "://" not in uri:
        return Path(uri)
    parsed = urlparse(uri)
    return Path(url2pathname(parsed.path)) if parsed.scheme == "file" else None


def _connect(uri: str, directory: Path | None, options: Mapping[str, str] | None) -> Any:
    return lancedb.connect(
        uri if directory is None else str(directory),
        storage_options=None if options is None else dict(options),
    )


@contextmanager
def _plain_errors(doing: str) -> Iterator[None]:
    """LanceDB's errors, which are of Python's general kinds, as one line of ours."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        if isinstance(error, PermissionError) or "Permission denied" in str(error):
            raise ReadOnlyError(f"{doing}: no permission ({reason})") from error
        raise WorkspaceError(
            f"{doing} failed: {reason}; if this stays so, make the index again from its documents"
        ) from error


def _fts(full_text: FullText) -> FTS:
    return FTS(
        base_tokenizer=full_text.tokenizer,
        language=full_text.language,
        stem=full_text.stem,
        remove_stop_words=full_text.remove_stop_words,
        lower_case=full_text.lower_case,
        ascii_folding=full_text.ascii_folding,
        max_token_length=full_text.max_token_length,
    )


def _ids(table: Any, predicate: str) -> Any:
    query = table.search().select(["id"])
    return (query.where(predicate) if predicate else query).to_arrow()["id"].combine_chunks()


def _passages(table: Any, ids: Sequence[str]) -> dict[str, Passage]:
    query = table.search().where(filters.one_of("id", ids)).select(list(STORED))
    return {row["id"]: to_passage(row) for row in query.to_arrow().to_pylist()} if ids else {}


def _bm25(
    table: Any, text: str, k: int, predicate: str, deadline: Deadline | None
) -> list[tuple[str, float]]:
    if deadline is not None:
        deadline.check("searching the full text")
    # LanceDB breaks ties at its limit as it likes, so ask on until the k-th score is passed.
    limit = k + 16
    while True:
        query = table.search(MatchQuery(scrub(text), "content"), query_type="fts")
        query = query.select(["id", "_score"]).limit(limit)
        rows = (query.where(predicate) if predicate else query).to_arrow()
        scores = rows["_score"].to_pylist()
        if len(scores) < limit or min(scores) < sorted(scores, reverse=True)[k - 1]:
            break
        limit *= 4
    ranking = sorted(
        zip(rows["id"].to_pylist(), scores, strict=True), key=lambda hit: (-hit[1], hit[0])
    )
    return ranking[:k]
