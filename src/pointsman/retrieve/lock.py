"""One writer at a time: a lock file in the index's directory.

The operating system holds the lock, so it is gone when its process is, however that ended.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from pointsman.errors import IndexLockedError, ReadOnlyError, WorkspaceError

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


class WriterLock:
    """A re-entrant context manager around `DIRECTORY/writer.lock`.

    Entering waits up to `wait` seconds, then raises IndexLockedError with the holder's process id;
    a directory that cannot be written raises ReadOnlyError.
    """

    def __init__(self, directory: Path, wait: float = 0.0) -> None:
        self.directory = directory
        # Held by whoever is inside, whichever thread leaves: the index guards its threads itself.
        self._lock = FileLock(directory / "writer.lock", timeout=wait, thread_local=False)
        # Beside the lock, not in it: Windows lets nobody read a locked file.
        self._holder = directory / "writer.pid"

    def __enter__(self) -> WriterLock:
        try:
            self._lock.acquire(poll_interval=0.05)
        except Timeout:
            raise IndexLockedError(
                f"{self.directory} is being written by {self._who()}; "
                "wait until it has finished, or stop it, and try again"
            ) from None
        except OSError as error:
            raise self._refused(error) from error
        if self._lock.lock_counter == 1:
            try:
                self._holder.write_text(f"{os.getpid()}\n", encoding="ascii")
            except OSError as error:
                self._lock.release()
                raise self._refused(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _who(self) -> str:
        try:
            pid = int(self._holder.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return "another process"
        return "this process already" if pid == os.getpid() else f"process {pid}"

    def _refused(self, error: OSError) -> WorkspaceError:
        if error.errno in _NOT_WRITABLE:
            return ReadOnlyError(
                f"{self.directory} cannot be written ({error.strerror}); "
                "it can be searched, but changing it needs write permission"
            )
        return WorkspaceError(f"{self.directory} cannot be locked: {error}")
