"""Keeping text that came from anywhere safe to store and to tokenise, without moving an offset."""

from __future__ import annotations

import re

# Lone surrogates cannot be encoded in UTF-8 (tokenisers and Arrow refuse them); of the control
# characters only tab, line feed and carriage return mean anything in a document.
_UNSAFE = re.compile("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def scrub(text: str) -> str:
    """Replace lone surrogates and control characters by U+FFFD, one for one: len(out) == len(text)."""
    return _UNSAFE.sub("\ufffd", text)
