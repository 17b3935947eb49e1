"""Sheets that a grader fills in: people's labels stay, and whose a label is stays known."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.data.graded import Pair
from pointsman.data.labels import (
    BY,
    COLUMNS,
    check_new,
    check_pairs,
    read_labels,
    read_sheet,
    write_to_label,
)
from pointsman.errors import FormatError, InputError

GRADES = ("irrelevant", "weak", "strong")
TITLE = "grade (0 irrelevant | 1 weak | 2 strong)"
PAIRS = [Pair(id, f"query {id}", "", f"text of {id}") for id in ("a", "b", "c")]


def sheet(folder: Path, text: str) -> Path:
    file = folder / "sheet.csv"
    file.write_text(text, encoding="utf-8", newline="")
    return file


def test_a_line_of_spaces_within_a_text_stays(tmp_path: Path) -> None:
    pairs = [Pair("a", "which", "", "first\n \n\nlast")]
    write_to_label(pairs, GRADES, tmp_path / "sheet.csv")
    assert read_sheet(tmp_path / "sheet.csv", GRADES).pairs == tuple(pairs)


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.reader(opened, delimiter="\t" if path.suffix == ".tsv" else ","))


plain = st.text("=+-@',;\n\"ab ü", max_size=8)
some_text = plain.filter(str.strip)


@given(
    st.lists(
        st.tuples(some_text, plain, some_text, st.sampled_from([None, 0, 1, 2])),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([".csv", ".tsv"]),
)
@settings(max_examples=100, deadline=None)
def test_texts_and_labels_come_back(
    rows: list[tuple[str, str, str, int | None]], suffix: str
) -> None:
    pairs = [Pair(f"-{i}", *texts) for i, (*texts, _) in enumerate(rows)]
    labels = [label for *_, label in rows]
    with tempfile.TemporaryDirectory() as folder:
        empty, half, full = (Path(folder) / f"{name}{suffix}" for name in ("a", "b", "c"))
        write_to_label(pairs, GRADES, empty)
        found = read_sheet(empty, GRADES)
        assert found.pairs == tuple(pairs)
        assert found.empty == list(range(len(pairs)))
        # What one has filled in, another fills up.
        given = {place: label for place, label in enumerate(labels) if label is not None}
        found.write(given, "grader one", half)
        again = read_sheet(half, GRADES)
        assert (again.pairs, again.labels) == (tuple(pairs), tuple(labels))
        again.write(dict.fromkeys(again.empty, 1), "grader two", full)
        read = read_labels(full, pairs, GRADES)
        assert read.labels.tolist() == [1 if label is None else label for label in labels]
        assert read.automatic == len(pairs)
        by = ["grader two" if label is None else "grader one" for label in labels]
        assert [row[-1] for row in table(full)[1:]] == by


def test_what_a_person_wrote_stays_as_it_is(tmp_path: Path) -> None:
    """Semicolons, moved columns, a comment that looks like a formula, labels in three spellings."""
    file = sheet(
        tmp_path,
        'note;grade;id;query;title;text\n-;Strong;a;q;;x\n;;b;q;t;\'=1\n=hm;1.0;c;q;;"two\n\nlines"\n',
    )
    found = read_sheet(file, GRADES)
    assert (found.labels, found.empty) == ((2, None, 1), [1])
    assert found.pairs[1] == Pair("b", "q", "t", "=1")
    assert found.pairs[2].text == "two\n\nlines"
    found.write({1: 0}, "grader big", tmp_path / "out.tsv")
    assert table(tmp_path / "out.tsv") == [
        ["note", TITLE, *COLUMNS, BY],
        ["-", "Strong", "a", "q", "", "x", ""],
        ["", "0 irrelevant", "b", "q", "t", "'=1", "grader big"],
        ["=hm", "1.0", "c", "q", "", "two\n\nlines", ""],
    ]
    pairs = [Pair(id, "q", "", "x") for id in ("a", "b", "c")]
    read = read_labels(tmp_path / "out.tsv", pairs, GRADES)
    assert (read.labels.tolist(), read.automatic) == ([2, 0, 1], 1)
    with pytest.raises(InputError, match="the pair 'a' has a label; no label is written over"):
        found.write({0: 0}, "grader big", tmp_path / "other.csv")
    with pytest.raises(InputError, match="is there already and may hold labels"):
        found.write({1: 2}, "grader big", tmp_path / "out.tsv")
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("id,query,text,grade\na,q,x,\n", 2, "a sheet needs id, query, title, text, and no column"),
        ("id,query,title,text,x,x,grade\na,q,,x,,,\n", 2, "no column twice"),
        ("id,query,title,text,grade (0 no | 1 yes)\na,q,,x,\n", 1, "made for other grades: 'gra"),
        ("id,query,title,text,grade\na,q,,x,\nb,,,x,\n", 3, "the pair 'b' lacks its query or its"),
        ("id,query,title,text,grade\na,q,,,\n", 2, "the pair 'a' lacks its query or its texts"),
        ("id,query,title,text,grade\na,q,,x,\na,q,,x,\n", 3, "'a' stands already on line 2"),
        ("id,query,title,text,grade\na,q,,x,good\n", 2, "'good' is no grade; use 0 or 'irrel"),
        ("id,query,title,text,grade\n", None, "there is no pair in it to be filled in"),
    ],
)
def test_a_sheet_that_nobody_can_fill_in(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read_sheet(sheet(tmp_path, text), GRADES)
    assert caught.value.line == line


def test_a_sheet_of_some_pairs(tmp_path: Path) -> None:
    file = sheet(tmp_path, f"id,grade,{BY}\nc,weak,grader big\na,0, \n")
    read = read_labels(file, PAIRS, GRADES, some=True)
    assert (read.indices.tolist(), read.labels.tolist()) == ([0, 2], [0, 1])
    assert (read.missing, read.automatic) == (0, 1)
    file = sheet(tmp_path, "id,grade\nc,weak\na,\n")
    with pytest.raises(FormatError, match="1 of 2 pairs have no label, first 'a'; fill them in"):
        read_labels(file, PAIRS, GRADES, some=True)
    assert read_labels(file, PAIRS, GRADES, some=True, allow_missing=True).missing == 1


def test_what_can_be_told_beforehand(tmp_path: Path) -> None:
    assert check_new(tmp_path / "a.csv") == tmp_path / "a.csv"
    with pytest.raises(InputError, match="is there already"):
        check_new(sheet(tmp_path, "labels"))
    with pytest.raises(InputError, match=r"a \.csv or a \.tsv file"):
        check_new(tmp_path / "a.txt")
    check_pairs(PAIRS)
    with pytest.raises(InputError, match="the text of the pair 'long' has 40,000 characters"):
        check_pairs([*PAIRS, Pair("long", "q", "", "x" * 40_000)])
