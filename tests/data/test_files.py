"""Files in and out: damage is named with its line, and what was stored stays."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from pointsman.data.files import dump, json_lines, load_json, numbered_lines, replacing
from pointsman.errors import FormatError, InputError, ReadOnlyError


def test_lines_keep_their_numbers_past_mark_crlf_and_empty_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone\r\n\r\n  \ntwo\u2028still two\n".encode())
    assert list(numbered_lines(file)) == [(1, "one"), (4, "two\u2028still two")]


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(FormatError, match=r"a\.txt:2: not UTF-8 \(byte 0xe9\)"):
        list(numbered_lines(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "not valid JSON"),
        ("[1]", "a JSON object is needed, this is a list"),
        ('{"a": ' + "9" * 5000 + "}", "JSON that cannot be read"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_bad_json_is_one_line_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 0}\n' + line + "\n")
    with pytest.raises(FormatError, match=message) as caught:
        list(json_lines(file))
    assert caught.value.line == 2
    assert "\n" not in str(caught.value)


def test_json_over_several_lines_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{\n"a": 1,\n"b": }\n')
    with pytest.raises(FormatError) as caught:
        load_json(file)
    assert caught.value.line == 3


def test_missing_file_and_directory_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        list(numbered_lines(tmp_path / "none"))
    with pytest.raises(InputError, match="this is a directory"):
        list(numbered_lines(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "not gzip", "flipped"])
def test_a_damaged_gzip_is_a_format_error(tmp_path: Path, damage: str) -> None:
    whole = bytearray(gzip.compress(os.urandom(2000)))
    file = tmp_path / "a.jsonl.gz"
    if damage == "flipped":
        whole[-6] ^= 255  # the checksum
    file.write_bytes(
        {"cut": bytes(whole[:900]), "not gzip": b"{}\n", "flipped": bytes(whole)}[damage]
    )
    # random bytes may fail as UTF-8 on a first line that arrives before the damage is met
    with pytest.raises(FormatError):
        load_json(file)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    file = tmp_path / "kept.txt"
    file.write_text("old")

    def write_and_fail() -> None:
        with replacing(file) as out:
            out.write("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.txt"]


def test_writing_makes_folders_and_packs_gz(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.jsonl.gz"
    with replacing(file) as out:
        out.write(dump({"a": "ü\ud800"}) + "\n")
    assert list(json_lines(file)) == [(1, {"a": "ü\ufffd"})]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_no_permission_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(ReadOnlyError, match="cannot be written"),
            replacing(tmp_path / "a") as out,
        ):
            out.write("")
    finally:
        tmp_path.chmod(0o700)


def test_a_place_that_holds_no_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be written"),
        replacing(tmp_path / "file" / "a") as out,
    ):
        out.write("")
