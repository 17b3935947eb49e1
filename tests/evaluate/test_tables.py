from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from pointsman.errors import ConfigError
from pointsman.evaluate.significance import Interval
from pointsman.evaluate.tables import Column, Table

TABLE = Table(
    title="Retrieval",
    columns=[
        "set",
        "queries",
        Column("nDCG@10", scale=100, best="max"),
        Column("s", 2, best="min"),
    ],
    rows=[
        ["scifact", 1300, 0.6449, 0.5],
        ["nq", 7, Interval(0.953, 0.94, 0.961, 7), 0.25],
        ["npl", 93, None, math.nan],
    ],
    notes=["Exact search."],
)


def test_markdown() -> None:
    assert TABLE.to_markdown() == (
        "## Retrieval\n"
        "\n"
        "| set     | queries |               nDCG@10 |        s |\n"
        "| ------- | ------: | --------------------: | -------: |\n"
        "| scifact |   1,300 |                  64.5 |     0.50 |\n"
        "| nq      |       7 | **95.3 [94.0, 96.1]** | **0.25** |\n"
        "| npl     |      93 |                     – |        – |\n"
        "\n"
        "- Exact search.\n"
    )


def test_json_has_the_numbers_shown_unrounded() -> None:
    data = json.loads(json.dumps(TABLE.to_json(), allow_nan=False))
    assert data["columns"] == ["set", "queries", "nDCG@10", "s"]
    assert data["rows"][0] == ["scifact", 1300, 64.49, 0.5]
    assert data["rows"][1][2] == {"mean": 95.3, "low": 94.0, "high": 96.1, "n": 7, "clusters": None}
    assert data["rows"][2] == ["npl", 93, None, None]
    assert data["notes"] == ["Exact search."]


def test_terminal() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    console.print(TABLE.to_rich())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Retrieval" in shown
    assert "64.5" in shown
    assert "\x1b[1m95.3 [94.0, 96.1]\x1b[0m" in shown


def test_text_is_never_read_as_markup() -> None:
    table = Table("[red]t", ["[bold]c"], [["[/]x[link=y]"]], notes=["[dim]n"])
    console = Console(file=io.StringIO(), width=60)
    console.print(table.to_rich())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ["[red]t", "[bold]c", "[/]x[link=y]", "[dim]n"]:
        assert text in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a|b", r"a\|b"), (r"a\|b", r"a\\\|b"), ("a\nb", "a b"), (r"a\b", r"a\b")],
)
def test_a_cell_stays_one_cell(text: str, expected: str) -> None:
    line = Table("t", ["c"], [[text]]).to_markdown().splitlines()[-1]
    assert line == f"| {expected} |".replace(f"{expected} ", expected.ljust(3) + " ")


def test_wide_characters_are_aligned() -> None:
    lines = Table("t", ["c", "d"], [["漢字", "x"], ["abcd", "x"]]).to_markdown().splitlines()
    assert lines[-2:] == ["| 漢字 | x   |", "| abcd | x   |"]


def test_all_that_look_equally_good_are_bold() -> None:
    column = Column("F1", scale=100, best="max")
    text = Table("t", [column], [[0.7421], [0.7424], [0.7399]]).to_markdown()
    assert text.count("**74.2**") == 2
    assert "**74.0**" not in text


def test_a_single_number_is_not_the_best_of_anything() -> None:
    assert "**" not in Table("t", [Column("c", best="max")], [[1.0], ["text"]]).to_markdown()


def test_numbers() -> None:
    column = Column("c", decimals=1)
    assert column.text(-0.04) == "0.0"
    assert column.text(1234.56) == "1,234.6"
    assert column.text(10_570) == "10,570"
    assert column.text(True) == "yes"
    assert column.text(Interval(0.5, math.nan, math.nan, 1)) == "0.5"
    assert Column("c", scale=100).value(0.57) == 57.0


def test_no_rows() -> None:
    assert Table("t", ["c"], []).to_markdown().endswith("| c   |\n| --- |\n")


def test_a_row_of_another_length() -> None:
    with pytest.raises(ConfigError, match=r"table 't', row 2: 1 cells for 2 columns"):
        Table("t", ["a", "b"], [[1, 2], [3]])
