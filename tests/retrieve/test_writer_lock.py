from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pointsman.errors import IndexLockedError, ReadOnlyError
from pointsman.retrieve.lance import LanceIndex
from pointsman.retrieve.lock import WriterLock
from pointsman.types import BackboneIdentity, FloatArray, Passage

HOLD = """
import sys, time
from pathlib import Path
from pointsman.retrieve.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

SEARCH_TWICE = """
import sys, numpy as np
from pointsman.retrieve.lance import LanceIndex
index = LanceIndex.open(sys.argv[1], read_only=True)
for line in sys.stdin:
    hits = index.search(np.ones((1, 8), np.float32), 50)[0]
    words = index.search(None, 50, ["passage"])[0]
    print(len(index), len(hits), len(words), flush=True)
"""

UNPRIVILEGED = """
import os, sys, numpy as np
from pointsman.errors import ReadOnlyError
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Passage
vectors = np.eye(1, 8, dtype=np.float32)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
index = LanceIndex.open(sys.argv[1])
print(len(index.search(vectors, 3, ["passage"])[0]))
for write in (lambda: index.upsert([Passage("new", "x")], vectors), lambda: index.delete(["p000"]),
              lambda: LanceIndex.create(sys.argv[1] + "/below", index.identity)):
    try:
        write()
        print("wrote")
    except ReadOnlyError as error:
        print(error)
print(len(index))
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_writer_is_told_who_writes_and_a_killed_one_lets_go(
    tmp_path: Path,
    identity: BackboneIdentity,
    unit: Callable[..., FloatArray],
    numbered: Callable[..., list[Passage]],
) -> None:
    path = tmp_path / "index"
    index = LanceIndex.create(path, identity)
    index.add(numbered(3), unit(3))
    holder = python(HOLD, str(path))
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(IndexLockedError, match=rf"written by process {holder.pid}; wait"):
            index.add(numbered(1, first=3), unit(1))
        assert len(index.search(unit(1), 10)[0]) == 3  # a reader needs no lock
        assert LanceIndex.open(path).ids() == ["p000", "p001", "p002"]
    finally:
        holder.send_signal(signal.SIGKILL) if os.name == "posix" else holder.kill()
        holder.wait()
    index.add(numbered(1, first=3), unit(1))
    assert len(index) == 4


def test_the_lock_is_re_entrant_and_another_object_is_another_writer(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    with lock, lock, pytest.raises(IndexLockedError, match="this process already"):
        WriterLock(tmp_path).__enter__()
    with WriterLock(tmp_path):
        pass


def test_readers_in_other_processes_see_commits_without_reopening(
    index: LanceIndex, unit: Callable[..., FloatArray], numbered: Callable[..., list[Passage]]
) -> None:
    reader = python(SEARCH_TWICE, index.uri)
    assert reader.stdin is not None
    assert reader.stdout is not None

    def seen() -> list[int]:
        reader.stdin.write("\n")  # type: ignore[union-attr]
        reader.stdin.flush()  # type: ignore[union-attr]
        return [int(n) for n in reader.stdout.readline().split()]  # type: ignore[union-attr]

    try:
        assert seen() == [0, 0, 0]
        index.add(numbered(5), unit(5))
        assert seen() == [5, 5, 5]
        with index.writing():
            index.add(numbered(2, first=5), unit(2))
            assert seen() == [7, 7, 7]  # before the index was optimised
        index.delete(["p000"])
        assert seen() == [6, 6, 6]
    finally:
        reader.stdin.close()
        reader.wait()


def test_a_directory_without_write_permission_is_searched_and_not_written(
    identity: BackboneIdentity,
    unit: Callable[..., FloatArray],
    numbered: Callable[..., list[Passage]],
) -> None:
    if os.name != "posix":
        pytest.skip("permissions are of another kind")
    # Not tmp_path: where tests run as root the script becomes nobody, who may not enter it.
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "index"
        LanceIndex.create(path, identity).add(numbered(4), unit(4))
        everything = [Path(made), path, *path.rglob("*")]
        for one in everything:
            one.chmod(0o555 if one.is_dir() else 0o444)
        try:
            reader = python(UNPRIVILEGED, str(path))
            lines = reader.communicate(timeout=240)[0].splitlines()
        finally:
            for one in everything:
                one.chmod(0o755 if one.is_dir() else 0o644)
    assert lines[0] == "3"
    assert len(lines) == 5
    assert all("write" in line and line != "wrote" for line in lines[1:4]), lines
    assert lines[4] == "4"


def test_opened_for_reading_only(index: LanceIndex, unit: Callable[..., FloatArray]) -> None:
    reader = LanceIndex.open(index.uri, read_only=True)
    for write in (
        lambda: reader.add([Passage("a", "x")], unit(1)),
        lambda: reader.delete(["a"]),
        reader.optimize,
    ):
        with pytest.raises(ReadOnlyError, match="opened for reading only"):
            write()
    assert reader.search(np.asarray(unit(1)), 1) == [[]]
