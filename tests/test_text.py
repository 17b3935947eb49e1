"""Scrubbing: whatever comes in can be stored afterwards, and every offset still holds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.text import scrub

# Hypothesis leaves surrogates out unless they are asked for.
ANYTHING = st.text(st.characters(exclude_categories=()))


def test_what_is_replaced_and_what_stays() -> None:
    assert scrub("a\ud800b\udfffc") == "a\ufffdb\ufffdc"
    assert scrub("\x00\x08\x0b\x0c\x0e\x1f\x7f") == "\ufffd" * 7
    assert scrub("tab\tline\nreturn\r") == "tab\tline\nreturn\r"
    # A pair of surrogates in a str is two characters that mean nothing, not one emoji.
    assert scrub("\ud83d\ude42") == "\ufffd\ufffd"
    for script in (
        "עברית",
        "العربية",
        "हिन्दी",
        "漢字かな",
        "🙂👩‍👩‍👧",
        "e\u0301",
        "\u202e\u200b\xa0\x85",
    ):
        assert scrub(script) == script


@settings(deadline=None)
@given(ANYTHING)
def test_offsets_hold_and_the_result_can_be_stored(text: str) -> None:
    clean = scrub(text)
    assert len(clean) == len(text)
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert scrub(clean) == clean
    assert all(after in (before, "\ufffd") for before, after in zip(text, clean, strict=True))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_text_without_control_characters_is_untouched(text: str) -> None:
    assert scrub(text) == text
