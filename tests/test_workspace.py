"""A workspace on disk: made, filled, changed, moved, damaged; whatever happens, nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from pointsman import workspace as workspaces
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import HEAD_FILE
from pointsman.deadline import Deadline
from pointsman.errors import (
    BackboneMismatchError,
    ConfigError,
    DeadlineError,
    EmptyCollectionError,
    IndexLockedError,
    InputError,
    ModelError,
    ReadOnlyError,
    SpecialistError,
    WorkspaceError,
)
from pointsman.grade.grader import PairGrader
from pointsman.grade.plain import Ungraded
from pointsman.grade.relevance import expected_relevance
from pointsman.retrieve.lock import WriterLock
from pointsman.route.expert import Expert, domain_of, save_expert
from pointsman.route.mixture import MixtureRouter
from pointsman.route.plain import BASE, BaseRouter
from pointsman.select.plain import TopK
from pointsman.select.selector import ListSelector
from pointsman.settings import FORMAT_VERSION, Settings
from pointsman.workspace import SETTINGS_FILE, SHIPPED, SPECIALISTS, SourceReport, Workspace
from spaces import (
    CORPUS,
    NOTES,
    READER,
    change_settings,
    default_backbone,
    make_space,
    open_space,
    random_adapter,
    write_corpus,
    write_grader,
    write_looking_selector,
    write_notes,
    write_reader,
    write_selector,
)
from tiny import flip_byte, write_classifier, write_tiny

QUESTION = "what is the colour of the bridge"


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def backbone(tiny_folder: Path) -> Backbone:
    return Backbone.load(tiny_folder, device="cpu", dtype="fp32")


@pytest.fixture
def space(tmp_path: Path, backbone: Backbone, tiny_folder: Path) -> Iterator[Workspace]:
    """A workspace on a tiny backbone, with nothing in it yet."""
    with make_space(tmp_path / "space", backbone, tiny_folder) as made:
        yield made


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


def counts(report: SourceReport) -> tuple[int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.removed


def stored(space: Workspace) -> dict[str, str]:
    """What the index holds, by id."""
    return {passage.id: passage.text for passage in space.store.get(space.store.ids())}


def refused(error: type[Exception], call: Callable[[], object], *parts: str) -> None:
    """The call raises this, in one line that holds all these parts."""
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# --- making and opening ---------------------------------------------------------------------------


def test_a_new_workspace_is_a_directory_with_one_readable_file(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "my space"
    made = Workspace.create(folder)
    assert not made.read_only
    assert [path.name for path in folder.iterdir()] == [SETTINGS_FILE]
    text = (folder / SETTINGS_FILE).read_text("utf-8")
    assert Settings.model_validate(yaml.safe_load(text)) == Settings()
    assert yaml.safe_load(text)["format_version"] == FORMAT_VERSION
    assert Workspace.open(str(folder)).settings == made.settings


def test_the_settings_file_holds_no_absolute_path(space: Workspace, notes: Path) -> None:
    Workspace.create(space.path.parent / "plain")
    space.index([notes])
    plain = (space.path.parent / "plain" / SETTINGS_FILE).read_text("utf-8")
    assert str(space.path.parent) not in plain
    assert space.path.parent.name not in plain


def test_what_the_environment_says_is_used_and_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_SEARCH__MODE", "bm25")
    assert Workspace.create(tmp_path / "s").settings.search.mode == "bm25"
    monkeypatch.delenv("POINTSMAN_SEARCH__MODE")
    assert Workspace.open(tmp_path / "s").settings.search.mode == "hybrid"
    monkeypatch.setenv("POINTSMAN_SERACH__MODE", "bm25")
    refused(ConfigError, lambda: Workspace.create(tmp_path / "t"), "POINTSMAN_SERACH__MODE")
    assert not (tmp_path / "t").exists()


def test_it_is_not_made_twice(space: Workspace) -> None:
    before = (space.path / SETTINGS_FILE).read_bytes()
    refused(WorkspaceError, lambda: Workspace.create(space.path), "a workspace already; open it")
    assert (space.path / SETTINGS_FILE).read_bytes() == before


def test_it_is_made_beside_other_files_but_not_in_place_of_one(tmp_path: Path, notes: Path) -> None:
    Workspace.create(notes)
    assert (notes / "tea.txt").read_text("utf-8") == NOTES["tea.txt"]
    file = notes / "tea.txt"
    refused(WorkspaceError, lambda: Workspace.create(file), "tea.txt is a file; a workspace is a")
    refused(ReadOnlyError, lambda: Workspace.create(file / "below"), "below: cannot be made")


def test_opening_what_is_no_workspace(tmp_path: Path) -> None:
    refused(
        WorkspaceError,
        lambda: Workspace.open(tmp_path / "gone"),
        f"{tmp_path / 'gone'}: no such workspace; make one with `pointsman init",
    )
    assert not (tmp_path / "gone").exists()
    refused(WorkspaceError, lambda: Workspace.open(tmp_path), f"no {SETTINGS_FILE}", "init")
    refused(WorkspaceError, lambda: Workspace.open(tmp_path / ("x" * 300)), "too long")


def test_overrides_come_before_the_file(space: Workspace, backbone: Backbone) -> None:
    change_settings(space.path, search={"mode": "dense", "candidates": 7})
    opened = open_space(space.path, backbone, search__mode="bm25", read__passages=9)
    settings = opened.pipeline.settings
    assert (settings.mode, settings.candidates) == ("bm25", 9)  # at least what is read
    refused(
        ConfigError, lambda: open_space(space.path, backbone, serach__mode="bm25"), "search.mode"
    )


# --- indexing -------------------------------------------------------------------------------------


def test_a_folder_and_a_collection_together(space: Workspace, notes: Path, tmp_path: Path) -> None:
    done: list[tuple[str, int]] = []
    corpus = write_corpus(tmp_path / "corpus")
    reports = space.index([notes, str(corpus)], progress=lambda *at: done.append(at))
    assert [report.kind for report in reports] == ["folder", "beir"]
    assert [report.source for report in reports] == [str(notes), str(corpus)]
    assert [counts(report) for report in reports] == [(3, 0, 0, 0), (3, 0, 0, 0)]
    assert done == [(str(notes), 3), (str(corpus), 3)]
    assert set(stored(space)) == {*NOTES, *CORPUS}
    hits = space.search("the european eel", k=2)
    assert len(hits) == 2
    assert hits[0].passage.metadata["source"] == str(corpus)
    answer = space.ask(QUESTION)
    assert answer.passage is not None
    assert answer.passage.text[answer.start : answer.end] == answer.text


def test_one_path_need_not_be_a_list(space: Workspace, notes: Path) -> None:
    [report] = space.index(str(notes))
    assert counts(report) == (3, 0, 0, 0)
    [report] = space.index(notes / "tea.txt", prefix="again/")
    assert (report.kind, counts(report)) == ("file", (1, 0, 0, 0))


def test_only_what_changed_is_done_again(space: Workspace, notes: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    space.index([notes, corpus])
    assert [counts(report) for report in space.index([notes, corpus])] == [(0, 0, 3, 0)] * 2

    (notes / "tea.txt").write_text("Green tea is brewed at seventy degrees.", encoding="utf-8")
    (notes / "bridges.md").unlink()
    write_notes(notes, {"new.txt": "A new file."})
    [report] = space.index([notes])
    assert counts(report) == (1, 1, 1, 1)
    now = stored(space)
    assert set(now) == {"tea.txt", "new.txt", "deep/stars.txt", *CORPUS}
    assert "seventy" in now["tea.txt"]
    # The open pipeline sees it too.
    asked = space.ask("seventy degrees", where={"document": "tea.txt"})
    assert asked.passage is not None
    assert asked.passage.text == now["tea.txt"]


def test_a_document_that_became_shorter_loses_its_tail(space: Workspace, tmp_path: Path) -> None:
    text = " ".join(f"This is sentence number {i}." for i in range(200))
    long = write_notes(tmp_path / "long", {"a.txt": text})
    [report] = space.index([long])
    assert report.added > 3
    for passage in space.store.get(space.store.ids()):
        assert passage.document == "a.txt"
        assert text[passage.start : passage.end] == passage.text
    write_notes(long, {"a.txt": text[:100]})
    space.index([long])
    assert stored(space) == {"a.txt": text[:100]}


def test_what_could_not_be_used_is_reported(space: Workspace, notes: Path) -> None:
    write_notes(notes, {"empty.txt": " \n", "table.csv": "a,b"})
    (notes / "picture.txt").write_bytes(b"\x89PNG\x00\x00")
    [report] = space.index([notes])
    assert counts(report) == (3, 0, 0, 0)
    assert any("empty.txt" in line and "empty" in line for line in report.skipped)
    assert any("picture.txt" in line and "binary" in line for line in report.skipped)


def test_a_title_without_text_is_found_by_its_title(space: Workspace, tmp_path: Path) -> None:
    # Catalogues hold many documents of which nothing but the title is known.
    corpus = write_corpus(tmp_path / "c", {"a": ("Ferns of Norway", ""), "b": ("", "text")})
    [report] = space.index([corpus])
    assert counts(report) == (2, 0, 0, 0)
    assert space.search("Norwegian ferns", 1)[0].passage.id == "a"
    assert counts(space.index([corpus])[0]) == (0, 0, 2, 0)


def test_ids_of_another_source_are_refused_and_taken_with_a_prefix(
    space: Workspace, notes: Path, tmp_path: Path
) -> None:
    other = write_notes(tmp_path / "other", {"tea.txt": "Tea is a drink.", "x.txt": "Other."})
    space.index([notes])
    before = stored(space)
    refused(
        InputError,
        lambda: space.index([other]),
        f"{other}: the id 'tea.txt' is in the index already, from {notes}",
        "--prefix",
    )
    assert stored(space) == before
    [report] = space.index([other], prefix="other/")
    assert counts(report) == (2, 0, 0, 0)
    now = stored(space)
    assert {id: now[id] for id in before} == before
    assert now["other/tea.txt"] == "Tea is a drink."
    [passage] = space.store.get(["other/tea.txt"])
    assert passage.document == "other/tea.txt"
    # Each source is brought up to date without touching the other.
    (other / "x.txt").unlink()
    assert counts(space.index([other], prefix="other/")[0]) == (0, 0, 1, 1)
    assert counts(space.index([notes])[0]) == (0, 0, 3, 0)


def test_two_sources_of_one_call_that_clash(space: Workspace, notes: Path, tmp_path: Path) -> None:
    other = write_notes(tmp_path / "other", {"tea.txt": "Tea is a drink."})
    refused(InputError, lambda: space.index([notes, other]), "'tea.txt'", "prefix")
    assert set(stored(space)) == set(NOTES)


@pytest.mark.parametrize("wrong", ["gone", "table.csv"])
def test_one_wrong_path_among_several_and_nothing_is_indexed(
    space: Workspace, notes: Path, wrong: str
) -> None:
    write_notes(notes, {"table.csv": "a,b"})
    refused(InputError, lambda: space.index([notes, notes / wrong]), str(notes / wrong))
    assert not (space.path / "index").exists()
    refused(InputError, lambda: space.index([]), "name at least one source")


def test_an_empty_folder(space: Workspace, notes: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(EmptyCollectionError, lambda: space.index([empty]), f"{empty}: no document with text")
    refused(EmptyCollectionError, lambda: space.ask(QUESTION), "the index is empty")
    refused(EmptyCollectionError, lambda: space.search(QUESTION), "the index is empty")
    space.index([notes])
    for file in [*notes.rglob("*.md"), *notes.rglob("*.txt")]:
        file.unlink()
    # A disk that is not mounted looks like this: it must not empty the index.
    refused(EmptyCollectionError, lambda: space.index([notes]), "no document with text")
    assert set(stored(space)) == set(NOTES)


def test_a_damaged_line_stops_its_source_and_loses_nothing(
    space: Workspace, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    space.index([corpus])
    with (corpus / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "late", "text": \n')
    refused(InputError, lambda: space.index([corpus]), "corpus.jsonl:4: ", "not valid JSON")
    assert set(stored(space)) == set(CORPUS)


@pytest.mark.parametrize("how", ["ctrl-c", "deadline"])
def test_stopped_in_the_middle_it_goes_on_from_there(
    space: Workspace, tmp_path: Path, how: str
) -> None:
    many = {f"d{i:03d}": ("", f"number {i} of the red bridge") for i in range(520)}
    corpus = write_corpus(tmp_path / "many", many)
    deadline = Deadline()

    def stop(source: str, done: int) -> None:
        if how == "ctrl-c":
            raise KeyboardInterrupt
        deadline.cancel()

    with pytest.raises(KeyboardInterrupt if how == "ctrl-c" else DeadlineError):
        space.index([corpus], progress=stop, deadline=deadline)
    assert len(space.store) == 512
    assert space.ask(QUESTION).text
    assert counts(space.index([corpus])[0]) == (8, 0, 512, 0)


def test_another_writer_is_waited_for_by_the_person(space: Workspace, notes: Path) -> None:
    space.index([notes])
    write_notes(notes, {"new.txt": "A new file."})
    with WriterLock(space.path / "index"):
        refused(IndexLockedError, lambda: space.index([notes]), "being written by")
        assert space.ask(QUESTION).text  # reading needs no lock
    assert set(stored(space)) == set(NOTES)
    assert counts(space.index([notes])[0]) == (1, 0, 3, 0)


# --- opened again, elsewhere, and where nothing can be written ------------------------------------


def test_it_moves_and_still_answers(tmp_path: Path) -> None:
    backbone = default_backbone()
    notes = write_notes(tmp_path / "notes")
    with make_space(tmp_path / "here", backbone) as space:
        space.index([notes])
        before = space.ask("Who designed the first iron bridge?")
    (tmp_path / "away").mkdir()
    moved = shutil.move(tmp_path / "here", tmp_path / "away" / "there")
    with open_space(Path(moved), backbone) as space:
        after = space.ask("Who designed the first iron bridge?")
        assert (after.text, after.passage) == (before.text, before.passage)
        assert after.text
        assert counts(space.index([notes])[0]) == (0, 0, 3, 0)
    assert not (tmp_path / "here").exists()


def test_a_backbone_inside_moves_with_it(tmp_path: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "space" / "models" / "mine")
    Workspace.create(tmp_path / "space", backbone=tmp_path / "space" / "models" / "mine")
    assert str(tmp_path) not in (tmp_path / "space" / SETTINGS_FILE).read_text("utf-8")
    shutil.move(tmp_path / "space", tmp_path / "moved")
    assert Workspace.open(tmp_path / "moved").backbone.identity.name == "mine"


def test_a_relative_backbone_is_found_from_elsewhere(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_folder.parent)
    Workspace.create(tmp_path / "space", backbone="tiny")
    monkeypatch.chdir(tmp_path)
    assert Workspace.open("space").backbone.identity.name == "tiny"


def test_closing_lets_go_and_asking_opens_again(space: Workspace, notes: Path) -> None:
    space.index([notes])
    first = space.ask(QUESTION)
    space.close()
    space.close()
    assert space.ask(QUESTION).text == first.text
    # Dense queries are fitted to the index, which is then another object.
    with open_space(space.path, space.backbone, search__mode="dense") as dense:
        found = dense.search(QUESTION)
        dense.close()
        assert dense.search(QUESTION) == found


def test_opened_for_reading_only(space: Workspace, notes: Path, backbone: Backbone) -> None:
    reading = Workspace.open(space.path, read_only=True)
    reading.backbone = backbone
    refused(WorkspaceError, lambda: reading.ask(QUESTION), "has no index yet, and cannot be")
    refused(ReadOnlyError, lambda: reading.index([notes]), f"{space.path} cannot be written")
    assert not (space.path / "index").exists()
    space.index([notes])
    assert reading.ask(QUESTION).text == space.ask(QUESTION).text
    refused(ReadOnlyError, lambda: reading.index([notes]), "cannot be written")
    assert set(stored(space)) == set(NOTES)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from pointsman.errors import PointsmanError
from pointsman.workspace import Workspace

# Asked once before, because nobody may not be allowed to import what this imports.
Workspace.open(Path(sys.argv[1]) / "readable", read_only=True).ask(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

def tell(call):
    try:
        print("did", call())
    except PointsmanError as error:
        print(type(error).__name__, error)

root = Path(sys.argv[1])
space = Workspace.open(root / "readable")
print(space.read_only)
print(space.ask(sys.argv[2]).text)
tell(lambda: space.index([root / "notes"]))
tell(lambda: Workspace.create(root / "new"))
tell(lambda: Workspace.create(root / "hidden" / "new"))
tell(lambda: Workspace.open(root / "hidden" / "space"))
tell(lambda: Workspace.open(root / "unreadable"))
mine = Workspace.open(root / "writable")
tell(lambda: mine.index([root / "notes", root / "hidden"]))
tell(lambda: mine.index([root / "notes", root / "secret.txt"]))
print((root / "writable" / "index").exists())
"""


def test_without_permission(backbone: Backbone, tiny_folder: Path) -> None:
    if os.name != "posix":
        pytest.skip("permissions are of another kind")
    # Not tmp_path: where tests run as root the script becomes nobody, who may not enter it.
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        model = Path(shutil.copytree(tiny_folder, root / "tiny"))
        notes = write_notes(root / "notes")
        (root / "secret.txt").write_text("secret")
        (root / "hidden").mkdir()
        with make_space(root / "readable", backbone, model) as space:
            space.index([notes])
            expected = space.ask(QUESTION).text
        Workspace.create(root / "writable", backbone=model)
        Workspace.create(root / "unreadable", backbone=model)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        (root / "writable").chmod(0o777)
        sealed = [root / "secret.txt", root / "hidden", root / "unreadable" / SETTINGS_FILE]
        for path in sealed:
            path.chmod(0)
        try:
            done = subprocess.run(
                [sys.executable, "-c", UNPRIVILEGED, made, QUESTION],
                capture_output=True,
                text=True,
                timeout=240,
            )
        finally:
            for path in [root, *sealed, *root.rglob("*")]:
                path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    read_only, text, *told, made_one = done.stdout.splitlines()
    assert (read_only, text) == ("True", expected)
    assert told == [
        f"ReadOnlyError {root}/readable cannot be written, so nothing can be indexed",
        f"ReadOnlyError {root}/new: cannot be made (Permission denied)",
        f"ReadOnlyError {root}/hidden/new: cannot be made (Permission denied)",
        f"WorkspaceError {root}/hidden/space: cannot be opened (Permission denied)",
        f"WorkspaceError {root}/unreadable/{SETTINGS_FILE}: cannot be read (Permission denied)",
        f"InputError {root}/hidden: cannot be read (Permission denied)",
        f"InputError {root}/secret.txt: cannot be read (Permission denied)",
    ]
    assert made_one == "False"


# --- models that do not fit -----------------------------------------------------------------------


def test_another_backbone_on_an_index_is_refused_and_both_are_named(
    space: Workspace, notes: Path, tmp_path: Path
) -> None:
    space.index([notes])
    before = stored(space)
    space.close()
    other = write_tiny(tmp_path / "other-model", seed=1)
    changed = open_space(space.path, Backbone.load(other, device="cpu", dtype="fp32"))
    for call in (
        lambda: changed.ask(QUESTION),
        lambda: changed.search(QUESTION),
        lambda: changed.index([notes]),
    ):
        refused(BackboneMismatchError, call, "tiny (weights ", "other-model (weights ")
    assert stored(changed) == before
    assert space.ask(QUESTION).text


def test_a_reader_for_another_base_is_refused_and_both_are_named(
    space: Workspace, notes: Path, tmp_path: Path, backbone: Backbone
) -> None:
    space.index([notes])
    other = Backbone.load(write_tiny(tmp_path / "other", seed=1), device="cpu", dtype="fp32")
    write_reader(space.path / SPECIALISTS / "foreign", other)
    opened = open_space(space.path, backbone, read__reader="foreign")
    refused(
        BackboneMismatchError,
        lambda: opened.ask(QUESTION),
        "foreign",
        other.identity.sha256[:12],
        backbone.identity.sha256[:12],
    )
    assert space.ask(QUESTION).text


@pytest.mark.parametrize("file", [HEAD_FILE, "adapter_model.safetensors"])
def test_a_corrupt_reader_is_named_and_the_index_is_untouched(
    space: Workspace, notes: Path, file: str
) -> None:
    space.index([notes])
    flip_byte(space.path / SPECIALISTS / READER / file)
    refused(SpecialistError, lambda: space.ask(QUESTION), file, "corrupt", "copy or train it again")
    assert set(stored(space)) == set(NOTES)
    write_reader(space.path / SPECIALISTS / READER, space.backbone)
    assert space.ask(QUESTION).text


def test_a_reader_that_is_not_there(space: Workspace, backbone: Backbone, notes: Path) -> None:
    space.index([notes])
    opened = open_space(space.path, backbone, read__reader="gone")
    expected = f"no specialist 'gone' in {space.path / SPECIALISTS}"
    refused(SpecialistError, lambda: opened.ask(QUESTION), expected)
    opened = open_space(space.path, backbone, read__reader=str(notes))
    refused(SpecialistError, lambda: opened.ask(QUESTION), f"{notes}: not a specialist")


def test_searching_needs_no_reader(space: Workspace, backbone: Backbone, notes: Path) -> None:
    space.index([notes])
    filtered = {"document": ["tea.txt", "bridges.md"]}
    with open_space(space.path, backbone, read__reader="gone") as opened:
        found = opened.search(QUESTION, 2, where=filtered)
        assert found == space.pipeline.retrieve([QUESTION], 2, where=filtered)[0]
        refused(SpecialistError, lambda: opened.ask(QUESTION), "no specialist 'gone'")
        assert opened.search(QUESTION, 2, where=filtered) == found
    with open_space(space.path, backbone) as opened:
        opened.search(QUESTION)
        assert "reader" not in opened.__dict__  # nor is one loaded that is there


def test_a_reader_by_path(space: Workspace, backbone: Backbone, tmp_path: Path) -> None:
    elsewhere = write_reader(tmp_path / "trained", backbone)
    assert open_space(space.path, backbone, read__reader=str(elsewhere)).reader.settings
    shutil.copytree(elsewhere, space.path / "trained")
    assert open_space(space.path, backbone, read__reader="trained").reader.settings


def test_the_default_reader_ships_or_says_that_it_does_not(tmp_path: Path) -> None:
    space = Workspace.create(tmp_path / "space")
    space.backbone = default_backbone()
    if (SHIPPED / "reader").is_dir():
        assert space.reader.settings.max_length > 0
    else:
        refused(SpecialistError, lambda: space.reader, "pointsman train reader")


# --- the selector ---------------------------------------------------------------------------------


def test_a_selector_says_what_is_read_and_why(
    space: Workspace, backbone: Backbone, notes: Path
) -> None:
    space.index([notes])
    assert space.selector_folder is None
    assert isinstance(space.pipeline.selector, TopK)
    usual = space.ask(QUESTION).trace.steps[3]
    folder = write_selector(space.path / SPECIALISTS / "chooser", backbone)
    with open_space(space.path, backbone, select__selector="chooser") as chosen:
        assert chosen.selector_folder == folder
        select = chosen.ask(QUESTION).trace.steps[3]
        assert set(select.options) == set(usual.options)
        assert 1 <= len(select.choice) <= 3
        assert select.options[: len(select.choice)] == select.choice
        assert len(select.scores) == len(select.options)
        assert select.cost.gflops > 0
        hits = [hit.passage for hit in chosen.search(QUESTION)]
        selector = ListSelector.load(backbone, folder)
        (direct,) = selector.select([QUESTION], [hits], [np.ones(len(hits), np.float32)])
        assert [hits[i].id for i in direct.order] == list(select.choice)
    with open_space(space.path, backbone, select__selector="chooser", read__passages=1) as one:
        assert one.ask(QUESTION).trace.steps[3].choice == select.choice[:1]
    with open_space(space.path, backbone, select__selector="gone") as gone:
        refused(SpecialistError, lambda: gone.pipeline, "no specialist 'gone'")


def test_a_selector_looks_first_and_the_answer_is_of_its_first_choice(
    space: Workspace, backbone: Backbone, notes: Path
) -> None:
    space.index([notes])
    write_looking_selector(space.path / SPECIALISTS / "looks", backbone)
    with open_space(space.path, backbone, select__selector="looks") as looking:
        answer = looking.ask(QUESTION)
        select = answer.trace.steps[3]
        assert answer.passage is not None
        assert select.choice[0] == answer.passage.id
        assert len(select.scores) == len(select.options) == len(looking.search(QUESTION))
        assert select.cost.gflops == pytest.approx(answer.trace.steps[5].cost.gflops)


# --- the grader -----------------------------------------------------------------------------------


def test_without_a_grader_nothing_is_graded(space: Workspace, notes: Path) -> None:
    space.index([notes])
    assert isinstance(space.pipeline.grader, Ungraded)
    assert space.grader_folder is None
    assert space.ask(QUESTION).trace.steps[2].note == "ungraded"


def test_a_cross_encoder_of_hugging_faces_says_what_is_read(
    space: Workspace, backbone: Backbone, notes: Path, tmp_path: Path
) -> None:
    space.index([notes])
    folder = write_classifier(tmp_path / "cross", 1)
    change_settings(space.path, grade={"grader": f"hf:{folder}", "weight": 1.0})
    graded = open_space(space.path, backbone)
    assert graded.grader_folder is None
    grade = graded.ask(QUESTION).trace.steps[2]
    assert grade.note == "irrelevant, relevant"
    assert list(grade.scores) == sorted(grade.scores, reverse=True)
    assert grade.cost.gflops > 0


def test_a_grader_says_what_is_read(space: Workspace, backbone: Backbone, notes: Path) -> None:
    space.index([notes])
    folder = write_grader(space.path / SPECIALISTS / "shop", backbone)
    change_settings(space.path, grade={"grader": "shop", "weight": 1.0})
    graded = open_space(space.path, backbone)
    passages = [hit.passage for hit in graded.search(QUESTION)]
    grader = PairGrader.load(backbone, folder)
    relevance = expected_relevance(grader.grade([QUESTION], [passages])[0].probabilities)
    by_id = {passage.id: float(value) for passage, value in zip(passages, relevance, strict=True)}
    expected = sorted(by_id, key=by_id.__getitem__, reverse=True)
    assert expected != [passage.id for passage in passages]  # or nothing would be shown
    grade = graded.ask(QUESTION).trace.steps[2]
    assert list(grade.options) == expected
    assert grade.scores == pytest.approx([by_id[id] for id in expected], abs=1e-4)
    assert grade.note == "no, some, yes"
    # Two of the three go on, then none.
    least = by_id[expected[1]] - 1e-3
    with open_space(space.path, backbone, grade__min_relevance=least) as strict:
        assert list(strict.ask(QUESTION).trace.steps[3].choice) == expected[:2]
    with open_space(space.path, backbone, grade__min_relevance=1.0) as stricter:
        assert stricter.ask(QUESTION).abstained
    elsewhere = write_grader(space.path.parent / "elsewhere", backbone)
    for name in ("none", str(elsewhere)):
        with open_space(space.path, backbone, grade__grader=name) as other:
            assert isinstance(other.grader, Ungraded) == (name == "none")


def test_a_grader_that_cannot_be_used(
    space: Workspace, backbone: Backbone, notes: Path, tmp_path: Path
) -> None:
    space.index([notes])

    def asked(name: str) -> object:
        with open_space(space.path, backbone, grade__grader=name) as opened:
            return opened.ask(QUESTION)

    refused(SpecialistError, lambda: asked("gone"), f"no specialist 'gone' in {space.path}")
    refused(SpecialistError, lambda: asked(READER), "of kind 'reader', but 'grader' is needed")
    refused(SpecialistError, lambda: asked(str(notes)), f"{notes}: not a specialist")
    if not (SHIPPED / "grader").is_dir():
        refused(SpecialistError, lambda: asked("default"), "no grader ships", "train grader")
    other = Backbone.load(write_tiny(tmp_path / "other", seed=1), device="cpu", dtype="fp32")
    write_grader(space.path / SPECIALISTS / "foreign", other)
    refused(BackboneMismatchError, lambda: asked("foreign"), other.identity.sha256[:12])
    # Retrieval needs none, and neither does a workspace that names none.
    with open_space(space.path, backbone, grade__grader="gone") as opened:
        assert opened.search(QUESTION)
    assert space.ask(QUESTION).text


def test_a_backbone_that_is_not_there(tmp_path: Path, notes: Path) -> None:
    space = Workspace.create(tmp_path / "space", backbone="./gone")
    refused(ModelError, lambda: space.index([notes]), "./gone: not a model directory")
    assert not (space.path / "index").exists()


def test_an_index_that_is_damaged(space: Workspace, notes: Path, backbone: Backbone) -> None:
    space.index([notes])
    space.close()
    shutil.rmtree(space.path / "index" / "passages.lance" / "_versions")
    opened = open_space(space.path, backbone)
    refused(WorkspaceError, lambda: opened.ask(QUESTION), "index", "documents")
    assert set(NOTES) == {p.relative_to(notes).as_posix() for p in notes.rglob("*.*")}


def test_what_cannot_be_read_this_time_is_not_forgotten(space: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    for name in ("kept.txt", "emptied.txt", "gone.txt"):
        (folder / name).write_text(f"What stands in {name} is short.", "utf-8")
    space.index([folder])
    (folder / "kept.txt").write_bytes(b"\x00\x01\x02" * 50)
    (folder / "emptied.txt").write_text("", "utf-8")
    (folder / "gone.txt").unlink()
    (folder / "new.txt").write_text("A new letter.", "utf-8")
    (report,) = space.index([folder])
    assert (report.added, report.removed) == (1, 2)
    assert space.store.ids() == ["kept.txt", "new.txt"]


def test_documents_that_moved_are_taken_from_their_new_place(
    space: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "one.txt").write_text("One short text.", "utf-8")
    space.index([folder])
    folder.rename(tmp_path / "there")
    (report,) = space.index([tmp_path / "there"])
    assert report.replaced == 1
    assert space.store.ids() == ["one.txt"]


# --- query experts --------------------------------------------------------------------------------


def write_expert(folder: Path, backbone: Backbone, topic: str, seed: int) -> Path:
    """An expert whose domain is questions of one word; what it has learned is random."""
    domain = domain_of(backbone, [f"what is {topic} {i}" for i in range(20)])
    identity = backbone.identity
    adapter = random_adapter(backbone, seed)
    expert = Expert(folder.name, adapter, identity.sha256, domain)
    save_expert(expert, identity, folder, training={}, numbers={}, card="")
    return folder


def test_without_experts_the_base_embeds_every_question(space: Workspace) -> None:
    assert isinstance(space.pipeline.router, BaseRouter)
    assert (space.experts, space.left_out) == ({}, {})


def test_experts_are_mixed_by_what_is_asked(
    space: Workspace, backbone: Backbone, notes: Path
) -> None:
    write_expert(space.path / SPECIALISTS / "law", backbone, "alpha", 1)
    write_expert(space.path / SPECIALISTS / "tax", backbone, "gold", 2)
    space.index([notes])
    assert list(space.experts) == ["law", "tax"]
    assert isinstance(space.router, MixtureRouter)
    assert {"law", "tax"} <= set(backbone.adapters)
    answers = space.ask_many(["what is alpha 3", "what is gold 3"])
    steps = [answer.trace.steps[0] for answer in answers]
    weights = [dict(zip(step.options, step.scores, strict=True)) for step in steps]
    assert all(each.keys() == {BASE, "law", "tax"} for each in weights)
    assert weights[0]["law"] > weights[0]["tax"]
    assert weights[1]["tax"] > weights[1]["law"]
    # The expert moves the query, and with it what is found.
    mixed = space.search("what is alpha 3")
    with open_space(space.path, backbone, route__router="base") as plain:
        assert isinstance(plain.pipeline.router, BaseRouter)
        scores = [hit.score for hit in plain.search("what is alpha 3")]
    assert [hit.score for hit in mixed] != pytest.approx(scores, abs=1e-4)
    with open_space(space.path, backbone, search__mode="bm25") as words:
        assert isinstance(words.pipeline.router, BaseRouter)


def test_the_settings_name_the_experts(space: Workspace, backbone: Backbone) -> None:
    write_expert(space.path / SPECIALISTS / "law", backbone, "alpha", 1)
    write_expert(space.path / SPECIALISTS / "tax", backbone, "gold", 2)
    with open_space(space.path, backbone, route__experts=["tax", "gone"]) as chosen:
        assert list(chosen.experts) == ["tax"]
        assert chosen.left_out == {"gone": "there is no expert of this name"}
        router = chosen.router
        assert isinstance(router, MixtureRouter)
        assert router.experts == (BASE, "tax")
    with open_space(space.path, backbone, route__experts=[]) as none:
        assert isinstance(none.router, BaseRouter)


def test_an_expert_of_the_collection_stands_in_for_the_base(
    space: Workspace, backbone: Backbone, notes: Path
) -> None:
    write_expert(space.path / SPECIALISTS / "law", backbone, "alpha", 1)
    write_expert(space.path / SPECIALISTS / "ours", backbone, "gold", 2)
    space.index([notes])
    with open_space(space.path, backbone, route__home="ours") as home:
        step = home.ask("kappa kappa kappa nu").trace.steps[0]
        weights = dict(zip(step.options, step.scores, strict=True))
        assert weights.keys() == {BASE, "law", "ours"}
        assert weights[BASE] == 0
        assert weights["ours"] > 0.5
    with open_space(space.path, backbone, route__home="ours", route__experts=[]) as alone:
        assert alone.ask("what is alpha 3").trace.steps[0].choice == ("ours",)
    with (
        open_space(space.path, backbone, route__home="gone") as gone,
        pytest.raises(ConfigError, match=r"route.home names 'gone': there is no expert"),
    ):
        gone.ask("what is alpha 3")


def test_those_that_ship_are_for_the_default_encoder(
    space: Workspace, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another encoder nobody misses them, unless they are named."""
    write_expert(tmp_path / "shipped" / "shop", default_backbone(), "gold", 3)
    monkeypatch.setattr(workspaces, "SHIPPED_EXPERTS", tmp_path / "shipped")
    with open_space(space.path, backbone) as other:
        assert (dict(other.experts), dict(other.left_out)) == ({}, {})
        assert "made on all-MiniLM-L6-v2" in other.found_experts["shop"].reason
    with open_space(space.path, backbone, route__experts=["shop"]) as named:
        assert "made on all-MiniLM-L6-v2" in named.left_out["shop"]
    with open_space(space.path, default_backbone()) as fitting:
        assert list(fitting.experts) == ["shop"]
