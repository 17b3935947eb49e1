"""The promises of the house: its face, its floors, its Makefile, and what its files may not say."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import pointsman

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pointsman"

PUBLIC = ["Answer", "Backbone", "Pipeline", "PointsmanError", "Trace", "Workspace", "__version__"]

# From the ground up. A module imports from lower floors and from its own room, and the rooms of one
# floor do not know each other. The ground floor's modules are one room.
GROUND = frozenset(
    {"types", "trace", "errors", "deadline", "text", "wording", "links", "products", "protocols"}
)
STAGES = frozenset({"route", "retrieve", "grade", "select", "defer", "read"})
FACE = "__init__"
FLOORS: list[frozenset[str]] = [
    GROUND,
    frozenset({"data", "sample"}),
    frozenset({"evaluate"}),
    frozenset({"backbone"}),
    frozenset({"collection"}),
    frozenset({"training"}),
    STAGES,
    frozenset({"retriever", "hybrid", "joint", "asking"}),
    frozenset({"pipeline"}),
    frozenset({"settings"}),
    frozenset({"workspace"}),
    frozenset({FACE}),
    frozenset({"experiments"}),
    frozenset({"serve", "integrations"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
]
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


# --- the face -------------------------------------------------------------------------------------


def test_importing_is_cheap_and_loads_no_heavy_library() -> None:
    program = (
        "import json, sys, time; start = time.process_time(); import pointsman; "
        "spent = time.process_time() - start; "
        "heavy = ['torch', 'transformers', 'lancedb', 'pyarrow', 'pandas']; "
        "print(json.dumps([spent, [name for name in heavy if name in sys.modules]]))"
    )
    spent = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        seconds, loaded = json.loads(done.stdout)
        assert loaded == []
        spent.append(seconds)
    assert min(spent) < 0.3


def test_public_names_are_exactly_these() -> None:
    assert sorted(pointsman.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(pointsman, name) is not None
    assert set(PUBLIC) <= set(dir(pointsman))
    unknown = "conductor"
    with pytest.raises(AttributeError, match=unknown):
        getattr(pointsman, unknown)


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert pointsman.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- the floors -----------------------------------------------------------------------------------


def room_of(module: tuple[str, ...]) -> str:
    """The room of a module's path below `pointsman`: () is the face, ("read", "spans") is "read"."""
    return module[0] if module else FACE


def imported_rooms(source: str, module: tuple[str, ...], package: bool) -> Iterator[str]:
    """The rooms that a module's source imports from, wherever in the file it does.

    `module` is its path below `pointsman`; `package` says that it is an `__init__`, from which a
    relative import starts one step lower. The version is a fact, not a room.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            paths = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["pointsman", *module]
            up = node.level - package
            start = above[: len(above) - up] if node.level else []
            origin = start + (node.module.split(".") if node.module else [])
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            # `from pointsman import x` may name a room or a name on the face.
            rooms = [[*origin, name] if name in FLOOR else origin for name in names]
            paths = rooms if origin == ["pointsman"] else [origin]
        else:
            continue
        yield from (room_of(tuple(path[1:])) for path in paths if path[0] == "pointsman")


def wrong_imports(source: str, module: tuple[str, ...], package: bool = False) -> list[str]:
    """The rooms that this module imports from and must not."""
    room = room_of(module)
    return [
        other
        for other in imported_rooms(source, module, package)
        if other != room
        and not (room in GROUND and other in GROUND)
        and FLOOR[other] >= FLOOR[room]
    ]


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("read.spans", "from pointsman.types import Span", []),
        ("read.spans", "from pointsman.read.windows import cut", []),
        ("read.spans", "from .windows import cut", []),
        ("read.spans", "from ..retrieve import lance", ["retrieve"]),
        ("read.spans", "import pointsman.retrieve.lance", ["retrieve"]),
        ("read.spans", "def f():\n    from pointsman.pipeline import Pipeline", ["pipeline"]),
        ("read.spans", "from pointsman import backbone, defer", ["defer"]),
        ("read.spans", "from pointsman import Workspace", ["__init__"]),
        ("read.spans", "from pointsman import __version__", []),
        ("read.spans", "import torch, numpy as np\nfrom pathlib import Path", []),
        ("types", "from pointsman.errors import InputError", []),
        ("types", "from pointsman.data.beir import read_corpus", ["data"]),
        ("sample", "from pointsman.data.beir import read_corpus", ["data"]),
        ("cli.demo", "from pointsman import Workspace\nfrom pointsman.sample import x", []),
        ("workspace", "from pointsman.cli import main", ["cli"]),
    ],
)
def test_the_rule_itself(module: str, source: str, expected: list[str]) -> None:
    assert wrong_imports(source, tuple(module.split("."))) == expected


def test_relative_imports_of_a_package_start_in_the_package() -> None:
    assert wrong_imports("from .spans import Span", ("read",), package=True) == []
    assert wrong_imports("from ..defer import x", ("read",), package=True) == ["defer"]
    assert wrong_imports("from .cli import main", (), package=True) == ["cli"]


def test_every_room_has_its_floor() -> None:
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    }
    assert rooms <= FLOOR.keys(), "a new room gets its line in FLOORS and in CONTRIBUTING.md"


def test_imports_point_upward_and_stages_do_not_know_each_other() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        package = inside[-1] == "__init__"
        module = inside[:-1] if package else inside
        found = wrong_imports(path.read_text(encoding="utf-8"), module, package)
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in found]
    assert wrong == []


# --- what the files say ---------------------------------------------------------------------------


def files_of_the_repository() -> Iterator[Path]:
    """What belongs to the repository; a user's own workspaces and environments do not."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in ("src", "tests", "docs", "results", "benchmarks", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            generated = any(
                part == "__pycache__" or part.endswith(".egg-info") for part in path.parts
            )
            if path.is_file() and not generated:
                yield path


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    # Put together here, so that this file does not hold them either. Bytes, because the metadata of
    # weights is a place where paths hide.
    needles = [f"/{name}".encode() for name in ("work" + "/", "root" + "/", "tmp" + "/bash")]
    found = [
        f"{path.relative_to(ROOT)}: {needle.decode()}"
        for path in files_of_the_repository()
        for needle in needles
        if needle in path.read_bytes()
    ]
    assert found == []


PAGES = ["README.md", "CONTRIBUTING.md", "docs/install.md"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_link_to_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_targets_that_exist(page: str) -> None:
    code = re.findall(r"(?:^ {4}|`)make ([a-z][a-z-]*)", (ROOT / page).read_text("utf-8"), re.M)
    assert code
    assert set(code) <= set(TARGETS)


def test_python_in_the_readme_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert blocks
    for block in blocks:
        ast.parse(block)


# --- the Makefile ---------------------------------------------------------------------------------

TARGETS = ["help", "install", "demo", "test", "test-data", "lint", "bench", "clean"]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder, with a space in its name, that `make` takes for a fresh clone."""
    folder = tmp_path / "fresh clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # An environment of its own: a `make test` that runs this hands its flags and variables down.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(folder: Path, *arguments: str) -> str:
    """The one line that a refused call prints; nothing has been made by then."""
    done = make(folder, *arguments)
    assert done.returncode != 0
    assert not (folder / ".venv").exists()
    [line] = (done.stdout + done.stderr).splitlines()
    return line


def stand_in(folder: Path, script: str) -> str:
    """A program that answers in Python's place."""
    program = folder / "python-stand-in"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@needs_make
def test_help_is_the_default_and_lists_every_target(checkout: Path) -> None:
    done = make(checkout)
    assert [line.split()[1] for line in done.stdout.splitlines()] == TARGETS


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_plan(checkout: Path, target: str) -> None:
    done = make(checkout, "-n", target, f"PYTHON={sys.executable}", "DATA=.")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout


@needs_make
def test_demo_does_without_the_tools_of_development(checkout: Path) -> None:
    assert "[dev]" not in make(checkout, "-n", "demo").stdout
    assert "[dev]" in make(checkout, "-n", "test").stdout


@needs_make
def test_a_second_call_installs_nothing_until_the_requirements_change(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "pip").touch()
    (checkout / ".venv" / ".installed").touch()
    assert make(checkout, "-n", "demo").stdout == ".venv/bin/pointsman demo\n"
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / "constraints.txt", (later, later))
    assert "pip install" in make(checkout, "-n", "demo").stdout


@needs_make
def test_a_named_torch_index_serves_torch_alone_and_first(checkout: Path) -> None:
    plan = make(checkout, "-n", "demo", "TORCH_INDEX=https://example.org/cpu").stdout
    torch, rest = [line for line in plan.splitlines() if "pip install" in line]
    assert torch.endswith('-c constraints.txt --index-url "https://example.org/cpu" torch')
    assert rest.endswith("-c constraints.txt -e .")
    assert "example.org" not in rest


@needs_make
def test_a_missing_python_is_one_line(checkout: Path) -> None:
    line = refusal(checkout, "install", "PYTHON=/nonexistent")
    assert "PYTHON=/nonexistent is not Python 3.11 or newer" in line
    assert "make PYTHON=/path/to" in line


@needs_make
def test_a_python_that_is_too_old_is_one_line(checkout: Path) -> None:
    # What an older Python does with the version check: it runs, and says no.
    old = stand_in(checkout, "exit 1")
    assert "is not Python 3.11 or newer" in refusal(checkout, "demo", f"PYTHON={old}")


@needs_make
def test_a_missing_venv_module_is_one_line(checkout: Path) -> None:
    debian = stand_in(checkout, 'case "$2" in *ensurepip*) exit 1;; esac')
    line = refusal(checkout, "demo", f"PYTHON={debian}")
    assert "apt install python3-venv" in line
    assert "uv venv --seed" in line


@needs_make
def test_test_data_names_what_it_misses_before_it_installs(checkout: Path) -> None:
    assert "DATA is missing" in refusal(checkout, "test-data")
    line = refusal(checkout, "test-data", "DATA=no such folder")
    assert "DATA=no such folder is no directory" in line
