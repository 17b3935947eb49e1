"""Settings: which of several values counts, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pointsman.errors import ConfigError, ReadOnlyError, WorkspaceError
from pointsman.settings import (
    FORMAT_VERSION,
    DeferSettings,
    GradeSettings,
    Settings,
    change_setting,
    read_settings,
    write_settings,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pointsman.yaml"


def read(file: Path, text: str, **environment: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return read_settings(file, environment=environment)


def refusal(file: Path, text: str, **environment: str) -> str:
    """The one line that such a file, or such an environment, is told."""
    with pytest.raises(ConfigError) as refused:
        read(file, text, **environment)
    line = str(refused.value)
    assert "\n" not in line
    return line.replace(f"{file}", "FILE")


# --- which value counts ---------------------------------------------------------------------------


def test_without_anything_the_defaults() -> None:
    assert read_settings(None, environment={}) == Settings()


def test_flag_before_environment_before_file_before_default(file: Path) -> None:
    text = "price: 0.25\nsearch:\n  candidates: 30\n  mode: dense\n"
    file.write_text(text, encoding="utf-8")
    environment = {"POINTSMAN_SEARCH__CANDIDATES": "40", "POINTSMAN_SEARCH__MODE": "bm25"}
    settings = read_settings(file, {"search.candidates": 50, "price": None}, environment)
    assert settings.search.candidates == 50  # flag
    assert settings.search.mode == "bm25"  # environment
    assert settings.price == 0.25  # file: a flag of None is none
    assert settings.search.fusion == "weighted"  # default, in a section that the file has
    assert settings.read == Settings().read


def test_a_flag_makes_the_section_that_the_file_lacks(file: Path) -> None:
    file.write_text("device: cpu\n", encoding="utf-8")
    settings = read_settings(file, {"read.n_best": 7}, {})
    assert (settings.device, settings.read.n_best) == ("cpu", 7)


def test_the_environment_is_read_where_none_is_given(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_READ__MIN_CONFIDENCE", "0.5")
    assert read_settings(None).read.min_confidence == 0.5


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("POINTSMAN_PRICE", "2", "price", 2.0),
        ("POINTSMAN_DEFER__BUDGET", "0.01", "defer", DeferSettings(budget=0.01)),
        ("POINTSMAN_DEFER__BUDGET", "null", "defer", DeferSettings()),
        ("POINTSMAN_GRADE__GRADER", "shop", "grade", GradeSettings(grader="shop")),
        ("POINTSMAN_GRADE__WEIGHT", "1", "grade", GradeSettings(weight=1.0)),
        ("POINTSMAN_BACKBONE", "null", "backbone", None),
        ("POINTSMAN_BACKBONE", "some/model", "backbone", "some/model"),
        ("POINTSMAN_BACKBONE", "123", "backbone", "123"),
        ("POINTSMAN_INDEX", "s3://bucket/index: a", "index", "s3://bucket/index: a"),
        ("POINTSMAN_DEVICE", " cpu ", "device", "cpu"),
        ("POINTSMAN_DEVICE", "", "device", "auto"),
    ],
)
def test_the_environment_says_what_it_says(
    variable: str, text: str, field: str, value: object
) -> None:
    settings = read_settings(None, environment={variable: text})
    assert getattr(settings, field) == value


def test_a_list_in_the_environment_has_commas(file: Path) -> None:
    for text, expected in (("law, tax,,", ["law", "tax"]), ("7", ["7"]), ("null", None)):
        settings = read_settings(None, environment={"POINTSMAN_ROUTE__EXPERTS": text})
        assert settings.route.experts == expected


def test_what_is_no_setting_and_no_variable_of_ours_is_left_alone() -> None:
    environment = {"POINTSMAN_CACHE": "/somewhere", "PATH": "/bin", "XPOINTSMAN_MODE": "x"}
    assert read_settings(None, environment=environment) == Settings()


def test_an_empty_file_and_an_empty_section_are_defaults(file: Path) -> None:
    assert read(file, "") == Settings()
    assert read(file, "# nothing\nsearch:\n  # mode: dense\n") == Settings()
    assert read(file, "search:\n", POINTSMAN_SEARCH__MODE="bm25").search.mode == "bm25"


def test_written_values_are_read_back(file: Path) -> None:
    settings = read_settings(
        None,
        {
            "backbone": "a: model # named\noddly 漢",
            "dtype": "fp32",
            "index": "s3://bucket/index",
            "price": 0.125,
            "passages.size": 500,
            "search.mode": "bm25",
            "search.dense_weight": 1,
            "grade.grader": "shop",
            "grade.weight": 1,
            "select.selector": "chooser",
            "read.reader": "123",
            "read.min_confidence": 0,
            "route.router": "base",
            "route.experts": ["law", "null", "7"],
            "route.whitening": None,
        },
        {},
    )
    write_settings(file, settings)
    assert read_settings(file, environment={}) == settings
    assert [path.name for path in file.parent.iterdir()] == ["pointsman.yaml"]
    assert yaml.safe_load(file.read_text("utf-8")) == settings.model_dump()


# --- one value changed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "route:\n  experts: [a, b]\n"),
        ("# mine\n", "# mine\nroute:\n  experts: [a, b]\n"),
        ("price: 1.0 # dear", "price: 1.0 # dear\nroute:\n  experts: [a, b]\n"),
        ("route:\n  experts: null # all\n", "route:\n  experts: [a, b] # all\n"),
        ("route:\n  experts:\nprice: 1.0\n", "route:\n  experts: [a, b]\nprice: 1.0\n"),
        (
            "route:\n    router: base # for now\n# and\nprice: 1.0\n",
            "route:\n    experts: [a, b]\n    router: base # for now\n# and\nprice: 1.0\n",
        ),
        (
            "route:\n  experts: # these\n  - c\n  - 'd' # not e\n  # but\n  router: base\n",
            "route:\n  experts: [a, b] # not e\n  # but\n  router: base\n",
        ),
        (
            "route:\n  experts: [\n    c,\n  ]\n  router: base\n",
            "route:\n  experts: [a, b]\n  router: base\n",
        ),
        ("route: {experts: [], router: base}\n", "route: {experts: [a, b], router: base}\n"),
    ],
)
def test_one_value_changes_and_all_else_stays(file: Path, before: str, after: str) -> None:
    settings = read(file, before)
    change_setting(file, "route.experts", ["a", "b"])
    assert file.read_text("utf-8") == after
    route = settings.route.model_copy(update={"experts": ["a", "b"]})
    assert read_settings(file, environment={}) == settings.model_copy(update={"route": route})
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("text", ["{price: 2.0}", "route: {router: base}", "route: # none\n"])
def test_a_file_of_an_unusual_layout_keeps_its_values(file: Path, text: str) -> None:
    settings = read(file, text)
    change_setting(file, "route.experts", ["null", "a: b"])
    found = read_settings(file, environment={})
    assert found.route.experts == ["null", "a: b"]
    assert (found.price, found.route.router) == (settings.price, settings.route.router)


def test_a_value_that_is_refused_changes_nothing(file: Path) -> None:
    read(file, "price: 2.0\n")
    with pytest.raises(ConfigError, match=r"route\.whitening is 2"):
        change_setting(file, "route.whitening", 2)
    assert file.read_text("utf-8") == "price: 2.0\n"


# --- what a wrong one is told ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prise: 1", "FILE: unknown setting 'prise'; did you mean 'price'?"),
        ("serach:\n  mode: bm25", "FILE: unknown setting 'serach'; did you mean 'search'?"),
        (
            "search:\n  candidate: 3",
            "FILE: unknown setting 'search.candidate'; did you mean 'search.candidates'?",
        ),
        ("mode: bm25", "FILE: unknown setting 'mode'; did you mean 'search.mode'?"),
        ("read:\n  mode: bm25", "FILE: unknown setting 'read.mode'; did you mean 'search.mode'?"),
        (
            "read:\n  candidates: 9",
            "FILE: unknown setting 'read.candidates'; did you mean 'search.candidates'?",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(file: Path, text: str, expected: str) -> None:
    assert refusal(file, text) == expected


def test_an_unknown_key_like_no_other_lists_them_all(file: Path) -> None:
    line = refusal(file, "zzz: 1")
    assert line.startswith("FILE: unknown setting 'zzz' (known: format_version, backbone, ")
    assert "search.mode" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("search:\n  candidates: many", "FILE: search.candidates is 'many': input should be a"),
        ("search:\n  candidates: '20'", "FILE: search.candidates is '20': input should be a"),
        ("search:\n  candidates: 0", "greater than or equal to 1"),
        ("search:\n  candidates: 2.5", "FILE: search.candidates is 2.5: "),
        ("search:\n  mode: sparse", "'hybrid', 'dense' or 'bm25'"),
        ("price: yes", "FILE: price is True: "),
        ("price: -1", "FILE: price is -1: "),
        ("price: .nan", "FILE: price is nan: "),
        (
            "defer:\n  budget: -0.1",
            "FILE: defer.budget is -0.1: input should be greater than or equal",
        ),
        ("defer:\n  budget: .inf", "FILE: defer.budget is inf: "),
        ("defer:\n  budget: .nan", "FILE: defer.budget is nan: "),
        ("read:\n  min_confidence: 1.5", "less than or equal to 1"),
        ("grade:\n  min_relevance: 1.5", "less than or equal to 1"),
        ("grade:\n  weight: -0.1", "FILE: grade.weight is -0.1: "),
        ("grade:\n  grader: null", "FILE: grade.grader is None: input should be a valid string"),
        ("grade:\n  grade: shop", "unknown setting 'grade.grade'; did you mean 'grade.grader'?"),
        ("backbone: 7", "FILE: backbone is 7: "),
        ("route:\n  router: pilots", "'mixture' or 'base'"),
        ("route:\n  experts: law", "FILE: route.experts is 'law': input should be a valid list"),
        ("route:\n  experts: [1]", "FILE: route.experts.0 is 1: input should be a valid string"),
        ("route:\n  whitening: 1.1", "less than or equal to 1"),
        ("route:\n  whitening: -0.1", "greater than or equal to 0"),
        ("device: [cpu]", "FILE: device is ['cpu']: "),
        ("search: dense", "FILE: search is a section; below it, indented, stand search.mode, "),
        ("search: [a]", "FILE: search is a section; "),
        ("passages:\n  size: 100\n  overlap: 100", "overlap 100 must be less than size 100"),
        ("format_version: '2'", "FILE: format_version is '2': "),
        ("format_version: 0", "FILE: format_version is 0: "),
        ("1: 2", "FILE: 1 is "),
    ],
)
def test_a_value_of_the_wrong_kind_names_the_key_and_the_value(
    file: Path, text: str, expected: str
) -> None:
    assert expected in refusal(file, text)


def test_the_environment_does_not_hide_a_wrong_section(file: Path) -> None:
    line = refusal(file, "search: dense", POINTSMAN_SEARCH__MODE="bm25")
    assert line.startswith("FILE: search is a section")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("POINTSMAN_PRISE", "1", "POINTSMAN_PRISE: no such setting; did you mean 'price'?"),
        ("POINTSMAN_MODE", "1", "POINTSMAN_MODE: no such setting; did you mean 'search.mode'?"),
        ("POINTSMAN_SEARCH", "1", "POINTSMAN_SEARCH: no such setting; it is a section, with"),
        ("POINTSMAN_SEARCH_MODE", "bm25", "did you mean 'search.mode'?"),
        ("POINTSMAN_SEARCH__CANDIDATES", "a few", "POINTSMAN_SEARCH__CANDIDATES: search.candid"),
        ("POINTSMAN_DTYPE", "int4", "POINTSMAN_DTYPE: dtype is 'int4': input should be 'auto'"),
        ("POINTSMAN_DEVICE", "[", None),
    ],
)
def test_a_wrong_variable_is_named(
    file: Path, variable: str, text: str, expected: str | None
) -> None:
    if expected is None:  # no YAML is expected of a variable
        assert read(file, "", **{variable: text}).device == text
    else:
        assert expected in refusal(file, "", **{variable: text})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"search.mode": "sparse"}, "--search-mode: search.mode is 'sparse'"),
        ({"serach.mode": "bm25"}, "no setting is called 'serach.mode'; did you mean 'search.mode'"),
        ({"search": {"mode": "bm25"}}, "no setting is called 'search'; it is a section, with"),
    ],
)
def test_a_wrong_flag_is_named(file: Path, overrides: dict[str, object], expected: str) -> None:
    file.write_text("search:\n  mode: bm25\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="^" + expected):
        read_settings(file, overrides, {})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"price: 1\nsearch: [\n", "FILE:3: not valid YAML ("),
        (b"price: 1\n\tdevice: cpu\n", "FILE:2: not valid YAML ("),
        (b"device: \xff\xfe\n", "FILE: not valid YAML (not text)"),
        (b"device: a\x00b\n", "FILE: not valid YAML (not text)"),
        (b"- price\n- device\n", "FILE: settings are `key: value` lines, not a list"),
        (b"price\n", "FILE: settings are `key: value` lines, not a str"),
        (b"device: !!python/object:os.system x\n", "FILE:1: not valid YAML ("),
    ],
)
def test_what_is_no_yaml_is_told_its_line(file: Path, raw: bytes, expected: str) -> None:
    file.write_bytes(raw)
    with pytest.raises(ConfigError) as refused:
        read_settings(file, environment={})
    assert str(refused.value).replace(str(file), "FILE").startswith(expected)
    assert "\n" not in str(refused.value)
    assert file.read_bytes() == raw


def test_a_newer_format_asks_for_an_upgrade_before_it_minds_unknown_keys(file: Path) -> None:
    file.write_text(f"format_version: {FORMAT_VERSION + 1}\nfuture: 1\n", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"has format 2, this .* up to 1; upgrade with"):
        read_settings(file, environment={})


def test_a_missing_file_and_a_directory_in_its_place(file: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"pointsman\.yaml: missing"):
        read_settings(file, environment={})
    file.mkdir()
    with pytest.raises(WorkspaceError, match=r"pointsman\.yaml: cannot be read"):
        read_settings(file, environment={})


def test_writing_fails_with_one_line_and_keeps_what_was_there(file: Path) -> None:
    with pytest.raises(ReadOnlyError, match=r"cannot be written \(No such file"):
        write_settings(file.parent / "gone" / file.name, Settings())
    file.mkdir()  # cannot be replaced by a file
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        write_settings(file, Settings())
    assert list(file.parent.iterdir()) == [file]  # nothing left beside it
