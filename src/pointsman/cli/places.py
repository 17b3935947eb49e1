"""Where runs and caches lie: in the user's cache directory, never in the package."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """POINTSMAN_CACHE, or the system's place for caches. It need not exist."""
    named = os.environ.get("POINTSMAN_CACHE", "").strip()
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("pointsman", appauthor=False)


def can_be_written(place: Path) -> bool:
    """Whether files can be made there, or the directory itself if it does not exist."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
