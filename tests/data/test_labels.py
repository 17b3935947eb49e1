"""Sheets that people fill in: what goes out comes back, and nothing that was filled in is lost."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.data.graded import Pair
from pointsman.data.labels import COLUMNS, Labels, read_labels, write_to_label
from pointsman.errors import ConfigError, FormatError, InputError
from pointsman.text import scrub

GRADES = ("irrelevant", "weak", "strong")
TITLE = "grade (0 irrelevant | 1 weak | 2 strong)"
PAIRS = [Pair(id, "a query", "", f"text of {id}") for id in ("a", "b", "c")]


RUN_OR_QUOTED = set("=+-@\t\r\n＝＋－＠'")


def sheet(folder: Path, text: str) -> Path:
    file = folder / "sheet.csv"
    file.write_text(text, encoding="utf-8", newline="")
    return file


def plain(labels: Labels) -> tuple[list[int], list[int], int]:
    return labels.indices.tolist(), labels.labels.tolist(), labels.missing


# --- there and back -------------------------------------------------------------------------------

texts = st.one_of(
    st.text(max_size=12),
    st.text("=+-@'\"\t\r\n,; ab\ud800\u2028ü", max_size=12),
)
ids = texts.map(lambda text: "".join(scrub(text).split())).filter(bool)
spelled = st.sampled_from(
    [("0", 0), ("1.0", 1), (" STRONG ", 2), ("weak", 1), ("2 strong", 2), ("", None)]
)


@given(
    st.lists(
        st.tuples(st.builds(Pair, ids, texts, texts, texts), spelled),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0].id,
    ),
    st.sampled_from([".csv", ".tsv"]),
    st.sampled_from([",", ";", "\t"]),
    # with bare "\n" and few quotes, Python below 3.13 writes a "\r" that nobody can read back
    st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_labels_come_back_to_their_pairs(
    rows: list[tuple[Pair, tuple[str, int | None]]],
    suffix: str,
    delimiter: str,
    style: tuple[str, Literal[0, 1]],
    random: Random,
) -> None:
    pairs = [pair for pair, _ in rows]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"sheet{suffix}"
        write_to_label(pairs, GRADES, file)
        # as a spreadsheet: read it all, fill the last column in, sort, save in its own way
        given_delimiter = "\t" if suffix == ".tsv" else ","
        with file.open(encoding="utf-8-sig", newline="") as opened:
            header, *body = csv.reader(opened, delimiter=given_delimiter)
        assert header == [*COLUMNS, TITLE]
        assert len(body) == len(pairs)
        for cells, pair in zip(body, pairs, strict=True):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
            for cell, column in zip(cells[:-1], COLUMNS, strict=True):
                text = scrub(getattr(pair, column))
                assert cell == (f"'{text}" if text[:1] in RUN_OR_QUOTED else text)
        for cells, (_, (label, _)) in zip(body, rows, strict=True):
            cells[-1] = label
        random.shuffle(body)
        saved = io.StringIO(newline="")
        line_end, quoting = style
        writer = csv.writer(saved, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
        writer.writerows([header, *body])
        file.write_text(saved.getvalue(), encoding="utf-8", newline="")
        read = read_labels(file, pairs, GRADES, allow_missing=True)
    expected = [(place, grade) for place, (_, (_, grade)) in enumerate(rows) if grade is not None]
    assert list(zip(read.indices.tolist(), read.labels.tolist(), strict=True)) == expected
    assert read.missing == len(rows) - len(expected)


def test_what_a_person_gets_to_see(tmp_path: Path) -> None:
    file = tmp_path / "new" / "sheet.csv"
    pairs = [Pair("7", "=1+1", 'a "big" one', "two\nlines"), Pair("-8", "'tis", "ü", "")]
    write_to_label(pairs, GRADES, file)
    assert file.read_bytes().decode() == (
        f'\ufeff"id","query","title","text","{TITLE}"\n'
        '"7","\'=1+1","a ""big"" one","two\nlines",""\n'
        '"\'-8","\'\'tis","ü","",""\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "id,grade\nc,2\na,0\nb,1\n",
        "\ufeffid;comment;grade\nc;x;strong\n;;\na;;irrelevant\n\nb;y;Weak\n",
        f'"{TITLE}"\t"id"\r\n"2"\t"c"\r\n"0"\t"a"\r\n"1"\t"b"\r\n',
        "id,grade\rc,2\ra,0\rb,1\r",
        "id,grade\nc,2.0\na,0.0\nb,1.0",
    ],
    ids=["bare", "semicolons", "columns moved", "old line ends", "decimals"],
)
def test_sheets_that_others_made(tmp_path: Path, text: str) -> None:
    assert plain(read_labels(sheet(tmp_path, text), PAIRS, GRADES)) == ([0, 1, 2], [0, 1, 2], 0)


# --- nothing is lost ------------------------------------------------------------------------------


def test_no_sheet_is_written_over(tmp_path: Path) -> None:
    file = sheet(tmp_path, "id,grade\na,2\n")
    with pytest.raises(InputError, match="is there already and may hold labels; choose another"):
        write_to_label(PAIRS, GRADES, file)
    assert file.read_text() == "id,grade\na,2\n"


@pytest.mark.parametrize(
    ("pairs", "name", "message"),
    [
        ([], "a.csv", "no pairs to label"),
        (PAIRS, "a.xlsx", r"a \.csv or a \.tsv file; name it so"),
        ([*PAIRS, PAIRS[0]], "a.csv", "two pairs have the id 'a'"),
        ([Pair("x\ny", "q", "t", "")], "a.csv", "cannot stand in a table"),
        ([Pair("long", "q", "", "x" * 40_000)], "a.csv", "the text of the pair 'long' has 40,000"),
    ],
)
def test_what_cannot_be_labelled_leaves_no_file(
    tmp_path: Path, pairs: list[Pair], name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_to_label(pairs, GRADES, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_grades_that_could_be_mistaken_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no number, not '0'"):
        write_to_label(PAIRS, ("0", "1"), tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="two grades at least"):
        read_labels(tmp_path / "a.csv", PAIRS, ("only",))


# --- what is wrong is named -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("id,grade\na,2\n\nz,1\n", 4, "no pair has the id 'z'"),
        ("id,grade\na,2\nb,3\n", 3, "'3' is no grade; use 0 or 'irrelevant', 1 or 'weak'"),
        ("id,grade\na,good\n", 2, "'good' is no grade"),
        ("id,grade\na,1.5\n", 2, "'1.5' is no grade"),
        ("id,grade\na,-1\n", 2, "'-1' is no grade"),
        ('id,text,grade\na,"two\nlines",2\nb,,1\na,,1\n', 5, "stands already on line 2"),
        ("id,text,grade\na,one, two,2\n", 2, "4 columns where the first row has 3"),
        ("id,text,grade\na,2\n", 2, "2 columns where the first row has 3"),
        ('id,text,grade\na,"open,2\nb,,1\n', 2, "not a table that can be read"),
        ("a,2\nb,1\n", 1, "must name one column id and one column grade; it names a, 2"),
        ("id,grade,grade\na,2,1\n", 1, "one column id and one column grade"),
        ("id,grade (0 no | 1 yes)\na,1\n", 1, "made for other grades"),
        ("", None, "empty; a sheet needs a first row"),
        ("id,grade\na,0\nb,\nc,\n", 3, "2 of 3 pairs have no label, first 'b'; fill them in"),
        ("id,grade\na,0\nb,1\n", None, "1 of 3 pairs have no label, first 'c', which has no row"),
    ],
)
def test_a_sheet_that_cannot_be_read(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read_labels(sheet(tmp_path, text), PAIRS, GRADES)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


def test_a_sheet_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    file.write_bytes(b"id,text,grade\na,caf\xe9,1\n")
    with pytest.raises(FormatError, match=r"sheet\.csv:2: not UTF-8"):
        read_labels(file, PAIRS, GRADES)


def test_missing_labels_may_be_allowed_and_are_counted(tmp_path: Path) -> None:
    file = sheet(tmp_path, "id,grade\nc,weak\na,  \n")
    assert plain(read_labels(file, PAIRS, GRADES, allow_missing=True)) == ([2], [1], 2)
    file = sheet(tmp_path, "id,grade\n")
    assert plain(read_labels(file, PAIRS, GRADES, allow_missing=True)) == ([], [], 3)
